"""What a decision is made of, read from the store: `View` and its parts, with or without the locks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from detectors.verdicts import Finding
from ticketing.core.errors import NotFoundError
from ticketing.incidents.decisions import Group, Known, Limiter, Members, View
from ticketing.incidents.rules import AHEAD, MINUTE
from ticketing.model.kinds import STORM
from ticketing.model.states import State

# Who may open tickets, attach to a group or end one: one at a time, in all services of a store, so that the limit
# is exact. Held while something is written, never while evidence is gathered.
_GATE = "SELECT pg_advisory_xact_lock(hashtext('dozor tickets'))"


@dataclass(frozen=True, slots=True)
class Row:
    """The rows behind a `Known` or a `Group`; `ticket` and `number` are None for a member."""

    incident: int
    ticket: int | None
    number: str | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A view, and the rows that it was read from."""

    view: View
    row: Row | None = None
    storm: Row | None = None


async def pass_gate(connection: AsyncConnection[TupleRow]) -> None:
    """Wait until nobody else opens, attaches or ends a group; until the end of the transaction."""
    await connection.execute(_GATE)


async def look(
    connection: AsyncConnection[TupleRow], finding: Finding, now: float, per_minute: int, *, lock: bool
) -> Seen:
    """All that decides about `finding`; with `lock` its incident's row and its ticket's are locked."""
    known, row = await look_at(connection, finding.kind, finding.terminal, lock=lock)
    limiter, storm, storm_row = await look_around(connection, now, per_minute)
    members = None
    if known is not None and known.open and known.parent is not None:
        members = await muster(connection, known.parent)
    return Seen(View(limiter, known, storm, members), row, storm_row)


async def look_at(
    connection: AsyncConnection[TupleRow], kind: str, terminal: int, *, lock: bool
) -> tuple[Known | None, Row | None]:
    """The latest incident of a terminal and kind."""
    rows = await connection.execute(
        SQL(
            "SELECT i.id, i.state = 'open', i.flaps,"
            " coalesce(extract(epoch FROM coalesce(i.closed_at, i.last_good_at))::float8, '-infinity'), i.parent,"
            " i.ticket, t.number, t.state, t.closed_at, g.kind, g.state = 'open'"
            " FROM incident i LEFT JOIN ticket t ON t.id = i.ticket LEFT JOIN incident g ON g.id = i.parent"
            " WHERE i.terminal = %s AND i.kind = %s"
            " ORDER BY i.id DESC LIMIT 1 {}"
        ).format(SQL("FOR UPDATE OF i" if lock else "")),
        (terminal, kind),
    )
    found = await rows.fetchone()
    if found is None:
        return None, None
    incident, is_open, flaps, good_until, parent, ticket, number, state, closed_at, parent_kind, parent_open = found
    if lock and ticket is not None:
        state, closed_at = await lock_ticket(connection, ticket)
    known = Known(
        is_open,
        flaps,
        good_until,
        parent,
        None if state is None else State(state),
        None if closed_at is None else closed_at.timestamp(),
        parent_kind or STORM,
        parent_open is not False,
    )
    return known, Row(incident, ticket, number)


async def look_around(
    connection: AsyncConnection[TupleRow], now: float, per_minute: int
) -> tuple[Limiter, Group | None, Row | None]:
    """The limiter's state and the latest storm. No more is counted than decides."""
    rows = await connection.execute(
        "SELECT (SELECT count(*) FROM (SELECT FROM incident WHERE terminal IS NOT NULL AND NOT grouped"
        "         AND raised_at > %s AND raised_at <= %s LIMIT %s) recent),"
        " s.id, s.state = 'open', s.ticket, s.number, s.ticket_state"
        " FROM (SELECT) one LEFT JOIN LATERAL ("
        "   SELECT i.id, i.state, i.ticket, t.number, t.state AS ticket_state"
        "   FROM incident i JOIN ticket t ON t.id = i.ticket WHERE i.terminal IS NULL AND i.kind = %s"
        "   ORDER BY i.id DESC LIMIT 1) s ON true",
        (utc(now - MINUTE), utc(now + AHEAD), per_minute, STORM),
    )
    found = await rows.fetchone()
    if found is None:
        raise NotFoundError("the store counts nothing")
    recent, incident, is_open, ticket, number, state = found
    limiter = Limiter(per_minute, recent)
    if incident is None:
        return limiter, None, None
    return limiter, Group(incident, is_open, State(state)), Row(incident, ticket, number)


async def muster(connection: AsyncConnection[TupleRow], group: int) -> Members:
    """Count a group's members: those that fail whenever they joined, the others since it was (re)opened."""
    rows = await connection.execute(
        "SELECT count(*) FILTER (WHERE m.state = 'open'),"
        " count(*) FILTER (WHERE m.state = 'open' OR m.raised_at >= g.raised_at),"
        " extract(epoch FROM coalesce(max(m.raised_at), g.raised_at))::float8"
        " FROM incident g LEFT JOIN incident m ON m.parent = g.id WHERE g.id = %s GROUP BY g.id",
        (group,),
    )
    found = await rows.fetchone()
    if found is None:
        raise NotFoundError(f"an incident's group (row {group}) is gone")
    return Members(*found)


async def lock_ticket(connection: AsyncConnection[TupleRow], ticket: int) -> tuple[str, datetime | None]:
    """A ticket's state and when it was closed, under its row's lock."""
    rows = await connection.execute("SELECT state, closed_at FROM ticket WHERE id = %s FOR UPDATE", (ticket,))
    row = await rows.fetchone()
    if row is None:
        raise NotFoundError(f"an incident's ticket (row {ticket}) is gone")
    return row[0], row[1]


def utc(seconds: float) -> datetime:
    """Unix seconds as the store has them."""
    return datetime.fromtimestamp(seconds, UTC)
