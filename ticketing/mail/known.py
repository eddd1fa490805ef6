"""Reads from the store what the desk knows when it judges a mail."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ticketing.clocks.consent import reopen_until
from ticketing.core.db import Connection, storable, utc, utc_or_none
from ticketing.core.message_ids import bounced_letter
from ticketing.mail import limits, named
from ticketing.mail.facts import Contact, Earlier, Known, Letter, Match, Named, Settings, Thread
from ticketing.mail.match import Claims, choose, claims
from ticketing.mail.message import Mail
from ticketing.mail.verdicts import CHANGES, Kind
from ticketing.tickets.rules import policy_of

SAME_WITHIN = timedelta(days=7)  # an equal Message-ID of the same sender is the same mail
BOUNCED_WITHIN = timedelta(days=7)  # servers try for five days at most
_IN = [str(kind) for kind in (*CHANGES, Kind.OPENED, Kind.APPENDED, Kind.FOLLOWED_UP)]  # its sender takes part
_RUSSIAN = re.compile(r"[A-Z][0-9]{3}[A-Z]{2}")  # a plate without its region
_SURVIVORS = 20  # a ticket merged into one that was merged …


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the inbox that is being judged."""

    id: int
    received_at: datetime
    message_id: str = ""
    envelope_to: tuple[str, ...] = ()
    size: int = 0
    cut: bool = False
    accepted_by: str = ""


async def load(connection: Connection, mail: Mail, row: Row, settings: Settings, now: datetime) -> Known:
    """All facts for one mail, as the store has them now."""
    claimed = claims(mail, settings.secret)
    contacts = await _contacts(connection, mail.sender.address)
    letters = await _letters(connection, (*claimed.message_ids, *mail.returned_ids))
    verp = await _bounced(connection, mail, row, settings) if mail.report is not None else None
    match = await _match(connection, claimed, letters)
    sent_to = await _sent_to(connection, mail, now) if mail.report is not None else {}
    letter = verp or next((one for one in sent_to.values() if one.ticket is not None), None)
    if match is None and letter is not None and letter.ticket is not None:
        match = Match(Thread(letter.ticket, "", ""), "message-id" if verp else "reference", letter)
    if match is not None:
        match = replace(match, thread=await _thread(connection, match.thread.id, now))
    return Known(
        now=now,
        received_at=utc(row.received_at),
        settings=settings,
        contacts=contacts,
        match=match,
        duplicate_of=await _duplicate(connection, mail, row),
        earlier=await _earlier(connection, mail, row),
        named=await _named(connection, mail),
        accepted=bool(row.accepted_by),
        size=row.size,
        cut=row.cut,
        returned=letters,
        sent_to=sent_to,
        verp=verp,
    )


async def _contacts(connection: Connection, address: str) -> tuple[Contact, ...]:
    if not address:
        return ()
    rows = await connection.execute(
        "SELECT c.id, c.organisation, c.name, coalesce(c.language, o.language) FROM contact c"
        " JOIN organisation o ON o.id = c.organisation"
        " WHERE c.active AND o.active AND c.emails @> ARRAY[%s] ORDER BY c.id LIMIT 20",
        (storable(address),),
    )
    return tuple(Contact(*values) for values in await rows.fetchall())


async def _letters(connection: Connection, identities: Sequence[str]) -> Mapping[str, Letter]:
    if not identities:
        return {}
    rows = await connection.execute(
        f"SELECT l.message_id, {_LETTER} FROM letter l WHERE l.message_id = ANY(%s)",  # noqa: S608  # a constant
        ([storable(identity) for identity in identities],),
    )
    return {values[0]: Letter(*values[1:]) for values in await rows.fetchall()}


_LETTER = (
    "l.id, l.kind, l.ticket, lower(l.address), NOT EXISTS (SELECT FROM letter n WHERE n.ticket = l.ticket"
    " AND n.kind = l.kind AND n.n > l.n AND n.state <> 'untold')"
)


async def _bounced(connection: Connection, mail: Mail, row: Row, settings: Settings) -> Letter | None:
    addresses = (*row.envelope_to, *(one.address for one in mail.to))
    told = (bounced_letter(settings.secret, address) for address in addresses)
    letter = next((one for one in told if one is not None and one < 1 << 63), None)
    if letter is None:
        return None
    rows = await connection.execute(f"SELECT {_LETTER} FROM letter l WHERE l.id = %s", (letter,))  # noqa: S608
    values = await rows.fetchone()
    return None if values is None else Letter(*values)


async def _sent_to(connection: Connection, mail: Mail, now: datetime) -> Mapping[str, Letter]:
    addresses = [storable(one.address) for one in mail.report.recipients] if mail.report is not None else []
    if not addresses:
        return {}
    rows = await connection.execute(
        f"SELECT DISTINCT ON (l.address) {_LETTER} FROM letter l WHERE l.address = ANY(%s) AND l.created_at > %s"  # noqa: S608
        " AND l.state NOT IN ('untold', 'digested') ORDER BY l.address, l.created_at DESC, l.id DESC",
        (addresses, now - BOUNCED_WITHIN),
    )
    found = [Letter(*values) for values in await rows.fetchall()]
    return {letter.address: letter for letter in found}


async def _match(connection: Connection, claimed: Claims, letters: Mapping[str, Letter]) -> Match | None:
    by_number: dict[str, Thread] = {}
    by_id: dict[str, Thread] = {}
    if claimed.numbers:
        rows = await connection.execute(
            "SELECT number, id FROM ticket WHERE number = ANY(%s)", (list(claimed.numbers),)
        )
        by_number = {number: Thread(ticket, number, "") for number, ticket in await rows.fetchall()}
    if claimed.foreign:
        rows = await connection.execute(
            "SELECT message_id, max(ticket) FROM ticket_message WHERE message_id = ANY(%s) GROUP BY message_id",
            ([storable(identity) for identity in claimed.foreign],),
        )
        by_id = {identity: Thread(ticket, "", "") for identity, ticket in await rows.fetchall()}
        # Letters of ours without a number (an outage's, a digest) whose ticket is known all the same.
        by_id |= {
            identity: Thread(letter.ticket, "", "")
            for identity, letter in letters.items()
            if letter.ticket is not None and identity in claimed.foreign
        }
    return choose(claimed, by_number, by_id, letters)


async def _thread(connection: Connection, ticket: int, now: datetime) -> Thread:
    """The ticket, or the one it was merged into, with who takes part in it."""
    rows = await connection.execute(
        "WITH RECURSIVE way AS (SELECT id, merged_into, 1 AS step FROM ticket WHERE id = %s"
        "  UNION ALL SELECT t.id, t.merged_into, w.step + 1 FROM way w JOIN ticket t ON t.id = w.merged_into"
        "  WHERE w.step < %s)"
        " SELECT t.id, t.number, t.state, t.organisation, t.closed_at, t.policy_version,"
        "  coalesce(e.identity, ve.identity, ''),"
        "  lower(coalesce(t.sender, '')), coalesce(c.emails, '{}'),"
        "  ARRAY(SELECT v.plate_key FROM vehicle v WHERE (v.id = t.vehicle OR v.terminal = t.terminal)"
        "   AND v.plate_key <> '')"
        " FROM way w JOIN ticket t ON t.id = w.id LEFT JOIN terminal e ON e.id = t.terminal"
        " LEFT JOIN vehicle h ON h.id = t.vehicle LEFT JOIN terminal ve ON ve.id = h.terminal"
        " LEFT JOIN contact c ON c.id = t.reporter ORDER BY w.step DESC LIMIT 1",
        (ticket, _SURVIVORS),
    )
    values = await rows.fetchone()
    assert values is not None  # noqa: S101  # it was found in the same transaction, and tickets are never deleted
    survivor, number, state, organisation, closed_at, version, terminal, sender, emails, plates = values
    closed = utc_or_none(closed_at)
    policy = None if closed is None else await policy_of(connection, version)
    rows = await connection.execute(
        "WITH RECURSIVE all_of AS (SELECT %(id)s::bigint AS id, 1 AS step"
        "  UNION SELECT t.id, a.step + 1 FROM all_of a JOIN ticket t ON t.merged_into = a.id WHERE a.step < %(deep)s)"
        " SELECT lower(c) FROM all_of a JOIN ticket t ON t.id = a.id JOIN contact x ON x.id = t.reporter,"
        "  unnest(x.emails) c"
        " UNION SELECT lower(t.sender) FROM all_of a JOIN ticket t ON t.id = a.id WHERE t.sender LIKE '%%@%%'"
        " UNION SELECT i.sender FROM all_of a JOIN inbox i ON i.ticket = a.id WHERE i.verdict = ANY(%(in)s)"
        " UNION SELECT lower(r) FROM all_of a JOIN ticket_message m ON m.ticket = a.id, unnest(m.recipients) r"
        "  WHERE m.public AND m.direction = 'in'"
        " UNION SELECT lower(l.address) FROM all_of a JOIN letter l ON l.ticket = a.id WHERE l.address <> ''",
        {"id": survivor, "deep": _SURVIVORS, "in": _IN},
    )
    people = {address for (address,) in await rows.fetchall() if address}
    rows = await connection.execute(
        "SELECT count(*) FILTER (WHERE verdict = ANY(%s) AND judged_at > %s),"
        " count(*) FILTER (WHERE verdict = 'noted') FROM inbox WHERE ticket = %s AND judged_at > %s",
        ([str(kind) for kind in CHANGES], now - limits.FLIPS_WITHIN, survivor, now - limits.NOTES_WITHIN),
    )
    counted = await rows.fetchone()
    flips, notes = counted if counted is not None else (0, 0)
    return Thread(
        survivor,
        number,
        state,
        organisation,
        frozenset({*people, *(address.lower() for address in emails), sender} - {""}),
        closed,
        terminal,
        frozenset(plates),
        flips,
        notes,
        None if policy is None or closed is None else reopen_until(policy, closed),
    )


async def _duplicate(connection: Connection, mail: Mail, row: Row) -> int | None:
    if not row.message_id:
        return None
    rows = await connection.execute(
        "SELECT id FROM inbox WHERE message_id = %s AND sender = %s AND subject_key = %s AND id <> %s"
        " AND verdict IS NOT NULL AND reason <> 'duplicate' AND received_at > %s ORDER BY id LIMIT 1",
        (
            row.message_id,
            storable(mail.sender.address),
            limits.subject_key(mail),
            row.id,
            row.received_at - SAME_WITHIN,
        ),
    )
    found = await rows.fetchone()
    return None if found is None else found[0]


async def _earlier(connection: Connection, mail: Mail, row: Row) -> tuple[Earlier, ...]:
    if not mail.sender.address:
        return ()
    rows = await connection.execute(
        "SELECT subject_key, text_key, received_at, reason = 'muted' FROM inbox"
        " WHERE sender = %s AND subject_key = %s AND id <> %s AND received_at > %s AND received_at <= %s"
        " AND verdict IS NOT NULL AND reason <> 'duplicate' ORDER BY received_at DESC, id DESC LIMIT 50",
        (
            storable(mail.sender.address),
            limits.subject_key(mail),
            row.id,
            row.received_at - limits.MUTED_FOR - limits.LOOP_WITHIN,
            row.received_at,
        ),
    )
    return tuple(
        Earlier(bytes(subject), bytes(text), utc(at), muted) for subject, text, at, muted in await rows.fetchall()
    )


async def _named(connection: Connection, mail: Mail) -> tuple[Named, ...]:
    text = f"{mail.subject}\n{mail.said}"
    numbers, plates = named.imeis(text), named.plates(text)
    if not numbers and not plates:
        return ()
    keys = list(dict.fromkeys((*plates, *(plate[:6] for plate in plates))))  # with and without the region
    whole = [f"{key}{region}" for key in plates if _RUSSIAN.fullmatch(key) for region in ("__", "___")]
    rows = await connection.execute(
        "SELECT coalesce(e.identity, ''), coalesce(v.plate_key, ''), v.id, v.organisation"
        " FROM vehicle v FULL JOIN terminal e ON e.id = v.terminal WHERE v.plate_key = ANY(%s) OR e.identity = ANY(%s)"
        " OR v.plate_key LIKE ANY(%s) LIMIT 100",
        (keys, list(numbers), whole),
    )
    found: list[Named] = []
    for terminal, plate, vehicle, organisation in await rows.fetchall():
        value = terminal if terminal in numbers else plate
        found.append(Named("imei" if terminal in numbers else "plate", value, terminal, plate, vehicle, organisation))
    seen = {one.terminal for one in found}
    found += [Named("imei", number, number) for number in numbers if number not in seen]
    return tuple(found)
