"""The journal of a ticket: append-only, each entry chained to the one before by the database.

An entry is a code and its data; sentences are made when it is shown. `text` holds only what somebody typed. Entries of
version 1, of before, have no data: what the watch said stands in their text, and their hash covers no version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from psycopg.types.json import Jsonb

from ticketing.core.db import Connection, storable

VERSION = 2


class Broken(NamedTuple):
    """The first entry of a chain that does not fit; `seq` counts from 1."""

    number: str
    seq: int


async def append_journal(
    connection: Connection,
    ticket: int,
    at: datetime,
    actor: str,
    action: str,
    text: str,
    state: str,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Append one entry; the database numbers and chains it."""
    await connection.execute(
        "INSERT INTO journal (ticket, at, actor, action, text, state, version, data)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            ticket,
            at,
            actor,
            str(action),
            storable(text),
            str(state),
            VERSION,
            Jsonb(data or {}, dumps=msgspec.json.encode),
        ),
    )


async def verify(connection: Connection, number: str | None = None) -> tuple[int, list[Broken]]:
    """How many tickets were checked, and the first entry of each that does not fit its chain.

    Hashes are computed here, by another hand than the one that wrote them. `number`: one ticket alone.
    """
    rows = await connection.execute(
        "SELECT id, number FROM ticket WHERE %(number)s::text IS NULL OR number = %(number)s ORDER BY id",
        {"number": number},
    )
    found = await rows.fetchall()
    broken = []
    for ticket, its_number in found:
        rows = await connection.execute(
            "SELECT seq, (extract(epoch FROM at) * 1000000)::bigint, actor, action, text, state, version, data::text,"
            " prev_hash, hash FROM journal WHERE ticket = %s ORDER BY seq",
            (ticket,),
        )
        before = hashlib.sha256(its_number.encode()).digest()
        for place, (seq, at, actor, action, text, state, version, data, prev, digest) in enumerate(
            await rows.fetchall(), start=1
        ):
            fields = [str(seq), str(at), actor, action, text, state]
            if version != 1:
                fields += [str(version), data]
            if seq != place or bytes(prev) != before or bytes(digest) != chained(before, fields):
                broken.append(Broken(its_number, place))
                break
            before = bytes(digest)
    return len(found), broken


def chained(before: bytes, fields: Sequence[str]) -> bytes:
    """SHA-256 over the hash before and the fields as netstrings, as `journal_hash` of the schema."""
    octets = [field.encode() for field in fields]
    return hashlib.sha256(before + b"".join(b"%d:%b," % (len(field), field) for field in octets)).digest()
