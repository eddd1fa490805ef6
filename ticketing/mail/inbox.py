"""The inbox: every mail is kept raw before anybody looks at it; what was seen already is not kept twice."""

from __future__ import annotations

import email.parser
import email.policy
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from psycopg import sql

from ticketing.core.db import Connection, Pool, storable, utc, utc_or_none
from ticketing.core.errors import NotFoundError
from ticketing.mail.read import ids
from ticketing.people.scope import ALL

LARGEST = 50 << 20  # bytes kept of one mail; larger ones are refused or left where they are
_HEAD = 256 << 10  # bytes looked at for the Message-ID
_BLANK = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A mail as a mailbox or another server handed it over.

    `source` names the mailbox, or lmtp. `size` is that of the whole, where `raw` is only its head.
    """

    raw: bytes
    source: str
    envelope_from: str | None = None
    envelope_to: Sequence[str] = ()
    size: int | None = None


class InboxRow(msgspec.Struct, kw_only=True):
    """A mail as the admin sees it; `step` spoke the verdict, `ticket` is a number."""

    id: int
    received_at: datetime
    source: str
    sender: str | None
    subject: str
    size: int
    verdict: str | None
    reason: str | None
    step: str | None
    ticket: str | None
    judged_at: datetime | None
    judged_by: str | None
    attempts: int
    last_error: str | None


async def keep(connection: Connection, arrival: Arrival, now: datetime) -> int | None:
    """Insert a mail, to be judged at once; None: it is there already. Safe with the caller's commit only."""
    message_id, digest = identity(arrival)
    rows = await connection.execute(
        "INSERT INTO inbox (message_id, sha256, source, envelope_from, envelope_to, raw, size, received_at, judge_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (message_id, sha256) DO NOTHING RETURNING id",
        (
            message_id,
            digest,
            arrival.source,
            None if arrival.envelope_from is None else storable(arrival.envelope_from)[:320],
            [storable(address)[:320] for address in arrival.envelope_to[:100]],
            arrival.raw,
            len(arrival.raw) if arrival.size is None else arrival.size,
            now,
            now,
        ),
    )
    row = await rows.fetchone()
    return None if row is None else row[0]


def identity(arrival: Arrival) -> tuple[str, bytes]:
    """Message-ID and hash by which a mail is known again.

    The hash is of the body, whose line ends and last blank lines change on the way; without a Message-ID also of the
    headers that its writer chose, for two people may write the same words.
    """
    raw = arrival.raw
    found = _BLANK.search(raw)
    head, body = (raw, b"") if found is None else (raw[: found.start() + 1], raw[found.end() :])
    try:
        headers = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(head[:_HEAD])
        told = [str(value) for name, value in headers.raw_items() if name.lower() == "message-id"]
        chosen = [str(value) for name, value in headers.raw_items() if name.lower() in ("from", "date", "subject")]
    except Exception:  # nobody's mail may be refused for its headers
        told, chosen = [], [head[:_HEAD].decode("latin-1")]
    message_id = storable(next(iter(ids(told)), ""))
    digest = hashlib.sha256()
    if not message_id:
        digest.update("\n".join(chosen).encode("utf-8", "surrogateescape") + b"\n\n")
    if arrival.size is not None:
        digest.update(b"%d\n" % arrival.size)
    digest.update(body.replace(b"\r\n", b"\n").rstrip(b"\n"))
    return message_id, digest.digest()


async def listed(
    pool: Pool,
    *,
    verdict: str | None = None,
    failing: bool = False,
    before: int | None = None,
    limit: int = 100,
    seen: sql.Composable = ALL,
    only: int | None = None,
) -> list[InboxRow]:
    """Mails, the newest first; `verdict` one kind alone, `failing` those that cannot be judged, `only` the one.

    `seen` is the reader's condition on tickets, `t` (`people.scope`): a mail is seen with its ticket, without by all.
    """
    async with pool.connection() as connection:
        statement = sql.SQL(
            "SELECT i.id, i.received_at, i.source, i.sender, i.subject, i.size, i.verdict, i.reason, i.step, t.number,"
            " i.judged_at, i.judged_by, i.attempts, i.last_error FROM inbox i LEFT JOIN ticket t ON t.id = i.ticket"
            " WHERE (%(verdict)s::text IS NULL OR i.verdict = %(verdict)s)"
            " AND (NOT %(failing)s OR (i.verdict IS NULL AND i.attempts > 0))"
            " AND (%(before)s::bigint IS NULL OR i.id < %(before)s) AND (%(only)s::bigint IS NULL OR i.id = %(only)s)"
            " AND (i.ticket IS NULL OR {}) ORDER BY i.id DESC LIMIT %(limit)s"
        ).format(seen)
        given = {"verdict": verdict, "failing": failing, "before": before, "limit": limit, "only": only}
        rows = await connection.execute(statement, given)
        return [_row(values) for values in await rows.fetchall()]


async def raw_of(pool: Pool, row: int) -> bytes:
    """The mail as it came.

    Raises
    ------
    NotFoundError
        If there is no such row.
    """
    async with pool.connection() as connection:
        rows = await connection.execute("SELECT raw FROM inbox WHERE id = %s", (row,))
        found = await rows.fetchone()
    if found is None:
        raise NotFoundError(f"no mail {row} in the inbox")
    return bytes(found[0])


async def received(pool: Pool, message_id: str, sender: str) -> bool:
    """Whether a mail of this Message-ID arrived from this address (S2-15: was my mail received?)."""
    async with pool.connection() as connection:
        rows = await connection.execute(
            "SELECT 1 FROM inbox WHERE message_id = %s AND sender = %s LIMIT 1",
            (storable(message_id)[:1000], storable(sender).lower()[:320]),
        )
        return await rows.fetchone() is not None


def _row(values: Sequence[Any]) -> InboxRow:
    row = InboxRow(**dict(zip(InboxRow.__struct_fields__, values, strict=True)))
    row.received_at = utc(row.received_at)
    row.judged_at = utc_or_none(row.judged_at)
    return row
