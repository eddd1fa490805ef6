"""A letter comes to be owed: rows in the transaction of what causes it, one for each recipient.

Also where nobody can be told: the row says why, and the caller is told, so that somebody phones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from psycopg.types.json import Jsonb

from ticketing.core.db import Connection
from ticketing.letters.facts import facts_of
from ticketing.letters.kinds import KINDS
from ticketing.letters.quiet import awake
from ticketing.letters.recipients import Recipient

# Why nobody was told.
NO_RECIPIENT = "no_recipient"  # the ticket has nobody who gets this kind
NO_ADDRESS = "no_address"  # they have no mail address
BOUNCED = "bounced"  # they have one that takes no letters


class Untold(NamedTuple):
    """A letter that reaches nobody: its row, whom it was for (None: there is nobody), and why."""

    letter: int
    contact: int | None
    name: str
    reason: str


class Owed(list[int]):
    """The rows written now; `untold` are those among them that reach nobody. Empty where all was owed before."""

    def __init__(self) -> None:
        super().__init__()
        self.untold: list[Untold] = []


async def owe(
    connection: Connection,
    kind: str,
    *,
    key: str,
    ticket: int | None,
    outage: int | None = None,
    recipients: Sequence[Recipient],
    data: Mapping[str, Any],
    at: datetime,
    auto: bool,
) -> Owed:
    """Owe a letter to each recipient, once for each key and address, inside the caller's transaction.

    Call it after the ticket's row says what the letter is to say: its facts (`facts_of`) are read now and kept.

    Parameters
    ----------
    kind : of `KINDS`.
    key : what makes it the same letter, such as ``DZ-10017/ack`` or ``DZ-10017/delay/2``.
    ticket, outage : rows; both None for an advisory or a report.
    data : what it says besides, over the ticket's facts: ``text``, ``items``, ``eta``, ``old_eta``, ``step`` … as
        `docs/letters.md` lists them; JSON.
    auto : nobody typed it: it carries the marks of automatic mail, waits for the end of quiet hours, and may be
        counted against its address's storm budget.

    Raises
    ------
    KeyError
        If there is no such kind.
    """
    traits = KINDS[kind]
    owed = Owed()
    facts = {} if ticket is None else await facts_of(connection, ticket)
    said = dict(data)
    if facts.get("proof") and not isinstance(said.get("proof"), dict):
        said.pop("proof", None)  # instants are told in the reader's language, a sentence is not
    gone = await _bounced(connection, recipients)
    n = await _last_n(connection, ticket, kind)
    seen: set[str] = set()
    for one in recipients or (Recipient(None, "", ""),):
        address = one.address.strip().lower()
        reason = ""
        if not recipients:
            reason = NO_RECIPIENT
        elif one.bounced or (one.contact, address) in gone:
            reason = BOUNCED
        elif not address:
            reason = NO_ADDRESS
        who = (address if not reason else "") or f"#{one.contact if one.contact is not None else one.name}"
        if who in seen:
            continue
        seen.add(who)
        content = {
            **facts,
            **said,
            "to": {"name": one.name, "zone": one.zone, "quiet_hours": one.quiet_hours},
        }
        rows = await connection.execute(
            "INSERT INTO letter (key, ticket, outage, kind, n, contact, address, language, subject, auto, data, state,"
            " untold, created_at, not_before) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, '', %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (key) DO NOTHING RETURNING id",
            (
                f"{key}/{who}",
                ticket,
                outage,
                kind,
                0 if reason else n + 1,
                one.contact,
                "" if reason else address,
                one.language,
                auto,
                Jsonb(content, dumps=msgspec.json.encode),
                "untold" if reason else "owed",
                reason or None,
                at,
                awake(at, one.quiet_hours, one.zone) if auto and traits.calm else at,
            ),
        )
        row = await rows.fetchone()
        if row is None:
            continue
        owed.append(row[0])
        if reason:
            owed.untold.append(Untold(row[0], one.contact, one.name, reason))
        else:
            n += 1
    return owed


async def _bounced(connection: Connection, recipients: Sequence[Recipient]) -> set[tuple[int | None, str]]:
    """Contact and address of those among them that take no letters."""
    contacts = [one.contact for one in recipients if one.contact is not None]
    if not contacts:
        return set()
    rows = await connection.execute(
        "SELECT id, jsonb_object_keys(bounced) FROM contact WHERE id = ANY(%s) AND bounced <> '{}'", (contacts,)
    )
    return {(contact, address) for contact, address in await rows.fetchall()}


async def _last_n(connection: Connection, ticket: int | None, kind: str) -> int:
    """The highest number of this kind so far, of the ticket or of all that have none; nobody else counts meanwhile."""
    if ticket is None:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('letter'), hashtext(%s))", (kind,))
        rows = await connection.execute(
            "SELECT coalesce(max(n), 0) FROM letter WHERE ticket IS NULL AND kind = %s", (kind,)
        )
    else:
        await connection.execute("SELECT 1 FROM ticket WHERE id = %s FOR NO KEY UPDATE", (ticket,))
        rows = await connection.execute(
            "SELECT coalesce(max(n), 0) FROM letter WHERE ticket = %s AND kind = %s", (ticket, kind)
        )
    row = await rows.fetchone()
    return 0 if row is None else int(row[0])
