"""Tickets in SQL: what the desk reads, and what people do to them.

Each action is one transaction: the ticket's row is locked, the table of `ticketing.tickets` decides, and the
journal gets exactly one entry.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from ticketing.clock_records import load_clock, refresh
from ticketing.errors import InvalidTextError, NotFoundError
from ticketing.numbers import parse
from ticketing.tickets import Action, JournalEntry, State, Ticket, TicketSummary, checked_text, next_state

Pool: TypeAlias = AsyncConnectionPool[AsyncConnection[TupleRow]]
Item = TypeVar("Item")

PAGE_LIMIT = 500  # rows one request may ask for

_SUMMARY = sql.SQL("t.number, t.kind, t.state, t.title, t.zone, t.priority, e.identity, t.opened_at, t.due_at")
_QUEUE = sql.SQL("(t.state = 'closed'), t.priority, coalesce(t.due_at, 'infinity'), t.id")

# What an action changes on the ticket besides its state.
_EFFECTS = {
    Action.TAKE: sql.SQL("owner = %(actor)s,"),
    Action.CONSENT: sql.SQL("consent_at = %(at)s, consent_by = %(actor)s,"),
    Action.CLOSE: sql.SQL("closed_at = %(at)s, consent_at = NULL, consent_by = NULL,"),
    Action.RECOVERED: sql.SQL("consent_at = NULL, consent_by = NULL,"),
    Action.RELAPSED: sql.SQL("closed_at = NULL, consent_at = NULL, consent_by = NULL,"),
}


class Page(msgspec.Struct, Generic[Item]):
    """One page of a list; `next` is the cursor of the page after, None on the last."""

    items: list[Item]
    total: int
    next: str | None = None


class Incident(msgspec.Struct, kw_only=True):
    """A problem of one terminal and kind; `ticket` is the number of the ticket it is worked under."""

    id: int
    kind: str
    state: str
    terminal: str
    ticket: str
    opened_at: datetime
    detected_at: datetime
    last_bad_at: datetime
    last_good_at: datetime | None
    closed_at: datetime | None
    flaps: int
    zone: str


class Counts(msgspec.Struct):
    """Numbers for the metrics, by kind."""

    incidents_open: dict[str, int]
    tickets_open: dict[str, int]
    tickets_opened: dict[str, int]


def utc_now() -> datetime:
    """The wall clock; tests hand in their own."""
    return datetime.now(UTC)


class TicketStore:
    """Tickets and incidents of one database. All instants are UTC.

    Lists answer in the queue's order: open before closed, then priority, deadline, arrival.
    """

    def __init__(self, pool: Pool, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._pool = pool
        self._clock = clock

    async def list(
        self,
        state: str | None = None,
        kind: str | None = None,
        terminal: str | None = None,
        search: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[TicketSummary]:
        """One page of the queue; every filter is optional.

        `search` is found in number, terminal, terminal's name and title. An unreadable cursor raises
        `InvalidTextError`.
        """
        where: list[sql.Composable] = []
        values: list[Any] = []
        for column, value in (("t.state", state), ("t.kind", kind), ("e.identity", terminal)):
            if value is not None:
                where.append(sql.SQL(column + " = %s"))
                values.append(_storable(value))
        if search is not None and search.strip():
            pattern = f"%{_escaped(_storable(search.strip()))}%"
            where.append(
                sql.SQL(
                    "(t.number = %s OR t.number ILIKE %s OR e.identity ILIKE %s OR e.name ILIKE %s OR t.title ILIKE %s)"
                )
            )
            values += [parse(search), pattern, pattern, pattern, pattern]
        limit = max(1, min(limit, PAGE_LIMIT))
        after, after_values = _after(cursor)
        source = sql.SQL("FROM ticket t JOIN terminal e ON e.id = t.terminal")
        async with self._pool.connection() as connection:
            total = await connection.execute(sql.SQL("SELECT count(*) {} {}").format(source, _where(where)), values)
            count = await total.fetchone()
            rows = await connection.execute(
                sql.SQL("SELECT {}, t.id {} {} ORDER BY {} LIMIT {}").format(
                    _SUMMARY,
                    source,
                    _where([*where, sql.SQL("({}) > {}").format(_QUEUE, after)] if cursor else where),
                    _QUEUE,
                    sql.Literal(limit + 1),
                ),
                [*values, *after_values],
            )
            found = await rows.fetchall()
        items = [_summary(row) for row in found[:limit]]
        following = _cursor(items[-1], found[limit - 1][9]) if len(found) > limit else None
        return Page(items, count[0] if count else 0, following)

    async def get(self, number: str) -> Ticket | None:
        """The ticket whole, or None."""
        async with self._pool.connection() as connection:
            return await load_ticket(connection, number, self._clock())

    async def take(self, number: str, actor: str, text: str | None = None) -> Ticket:
        """An engineer takes the ticket into work."""
        return await self._act(Action.TAKE, number, actor, text)

    async def note(self, number: str, actor: str, text: str | None) -> Ticket:
        """Write a line into the journal; no change of state."""
        return await self._act(Action.NOTE, number, actor, text)

    async def ask(self, number: str, actor: str, text: str | None) -> Ticket:
        """Ask the client; the ticket waits for the answer."""
        return await self._act(Action.ASK, number, actor, text)

    async def consent(self, number: str, actor: str, text: str | None) -> Ticket:
        """Record the client's consent to close, once recovery is proven."""
        return await self._act(Action.CONSENT, number, actor, text)

    async def close(self, number: str, actor: str, text: str | None = None) -> Ticket:
        """Close with the consent on record; the consent is used up."""
        return await self._act(Action.CLOSE, number, actor, text)

    async def act(self, action: Action, number: str, actor: str, text: str | None = None) -> Ticket:
        """Any of the five above by name.

        Raises
        ------
        NotFoundError, ConflictError, InvalidTextError
        """
        return await self._act(action, number, actor, text)

    async def incidents(
        self,
        state: str | None = None,
        kind: str | None = None,
        terminal: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Incident]:
        """One page of incidents, newest first; `state` is ``open`` or ``closed``."""
        where: list[sql.Composable] = []
        values: list[Any] = []
        for column, value in (("i.state", state), ("i.kind", kind), ("e.identity", terminal)):
            if value is not None:
                where.append(sql.SQL(column + " = %s"))
                values.append(_storable(value))
        limit = max(1, min(limit, PAGE_LIMIT))
        source = sql.SQL("FROM incident i JOIN terminal e ON e.id = i.terminal JOIN ticket t ON t.id = i.ticket")
        async with self._pool.connection() as connection:
            total = await connection.execute(sql.SQL("SELECT count(*) {} {}").format(source, _where(where)), values)
            count = await total.fetchone()
            if cursor is not None:
                where.append(sql.SQL("i.id < %s"))
                values.append(_unpacked(cursor, int))
            rows = await connection.execute(
                sql.SQL(
                    "SELECT i.id, i.kind, i.state, e.identity, t.number, i.opened_at, i.detected_at, i.last_bad_at,"
                    " i.last_good_at, i.closed_at, i.flaps, i.zone {} {} ORDER BY i.id DESC LIMIT {}"
                ).format(source, _where(where), sql.Literal(limit + 1)),
                values,
            )
            found = await rows.fetchall()
        items = [
            Incident(
                id=row[0],
                kind=row[1],
                state=row[2],
                terminal=row[3],
                ticket=row[4],
                opened_at=_utc(row[5]),
                detected_at=_utc(row[6]),
                last_bad_at=_utc(row[7]),
                last_good_at=_utc_or_none(row[8]),
                closed_at=_utc_or_none(row[9]),
                flaps=row[10],
                zone=row[11],
            )
            for row in found[:limit]
        ]
        following = _packed(items[-1].id) if len(found) > limit else None
        return Page(items, count[0] if count else 0, following)

    async def counts(self) -> Counts:
        """Open incidents, open tickets and tickets ever opened, by kind."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "SELECT kind, count(*) FILTER (WHERE state <> 'closed'), count(*) FROM ticket GROUP BY kind"
            )
            tickets = await rows.fetchall()
            rows = await connection.execute("SELECT kind, count(*) FROM incident WHERE state = 'open' GROUP BY kind")
            incidents = await rows.fetchall()
        return Counts(
            incidents_open=dict(incidents),
            tickets_open={kind: n for kind, n, _ in tickets},
            tickets_opened={kind: n for kind, _, n in tickets},
        )

    async def _act(self, action: Action, number: str, actor: str, text: str | None) -> Ticket:
        text = checked_text(action, text)
        async with self._pool.connection() as connection, connection.transaction():
            rows = await connection.execute(
                "SELECT id, state, consent_at FROM ticket WHERE number = %s FOR UPDATE", (_storable(number),)
            )
            row = await rows.fetchone()
            if row is None:
                raise NotFoundError(f"no ticket {number}")
            ticket, before, consent_at = row
            after = next_state(State(before), action, consented=consent_at is not None)
            await apply_action(connection, ticket, action, after, actor, text, self._clock())
            found = await load_ticket(connection, number, self._clock())
        if found is None:
            raise NotFoundError(f"no ticket {number}")
        return found


async def apply_action(
    connection: AsyncConnection[TupleRow],
    ticket: int,
    action: Action,
    after: State,
    actor: str,
    text: str,
    at: datetime,
) -> None:
    """Write one decided step: the ticket's row, its journal entry, and what follows for its clock.

    The caller holds the row's lock.
    """
    await connection.execute(
        sql.SQL("UPDATE ticket SET {} state = %(state)s WHERE id = %(ticket)s").format(
            _EFFECTS.get(action, sql.SQL(""))
        ),
        {"actor": actor, "at": at, "state": after, "ticket": ticket},
    )
    await append_journal(connection, ticket, at, actor, action, text, after)
    await refresh(connection, ticket, at)


async def append_journal(
    connection: AsyncConnection[TupleRow], ticket: int, at: datetime, actor: str, action: str, text: str, state: str
) -> None:
    """Append one entry; the database numbers and chains it."""
    await connection.execute(
        "INSERT INTO journal (ticket, at, actor, action, text, state) VALUES (%s, %s, %s, %s, %s, %s)",
        (ticket, at, actor, str(action), text, str(state)),
    )


async def load_ticket(connection: AsyncConnection[TupleRow], number: str, now: datetime) -> Ticket | None:
    """Read a ticket with its journal, and its clock as of `now`, inside the caller's transaction."""
    rows = await connection.execute(
        sql.SQL(
            "SELECT {}, t.evidence, t.id FROM ticket t JOIN terminal e ON e.id = t.terminal WHERE t.number = %s"
        ).format(_SUMMARY),
        (_storable(number),),
    )
    row = await rows.fetchone()
    if row is None:
        return None
    rows = await connection.execute(
        "SELECT at, actor, action, text FROM journal WHERE ticket = %s ORDER BY seq", (row[10],)
    )
    journal = [JournalEntry(_utc(at), actor, action, text) for at, actor, action, text in await rows.fetchall()]
    summary = _summary(row)
    clock = await load_clock(connection, row[10], now)
    clocks = [] if clock is None else [clock.as_json(now)]
    return Ticket(**msgspec.structs.asdict(summary), evidence=row[9], journal=journal, clocks=clocks)


def _summary(row: Sequence[Any]) -> TicketSummary:
    return TicketSummary(
        number=row[0],
        kind=row[1],
        state=State(row[2]),
        title=row[3],
        zone=row[4],
        priority=row[5],
        terminal=row[6],
        opened_at=_utc(row[7]),
        due_at=_utc_or_none(row[8]),
    )


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _utc_or_none(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)


def _where(conditions: Sequence[sql.Composable]) -> sql.Composable:
    return sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _storable(text: str) -> str:
    """A filter that PostgreSQL can compare; a NUL or a lone surrogate matches nothing."""
    return "".join("\ufffd" if c == "\x00" or "\ud800" <= c <= "\udfff" else c for c in text)


def _packed(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")


def _unpacked(cursor: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=kind)
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise InvalidTextError("the cursor is not one of ours") from error


def _cursor(last: TicketSummary, row: int) -> str:
    return _packed((last.state == State.CLOSED, last.priority, last.due_at, row))


def _after(cursor: str | None) -> tuple[sql.Composable, list[Any]]:
    if cursor is None:
        return sql.SQL(""), []
    closed, priority, due_at, row = _unpacked(cursor, tuple[bool, int, datetime | None, int])
    return sql.SQL("(%s, %s, coalesce(%s::timestamptz, 'infinity'), %s)"), [closed, priority, due_at, row]
