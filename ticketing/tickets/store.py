"""Tickets in SQL: what the desk reads, and what people do to them.

Each action is one transaction: the ticket's row is locked, the table of `ticketing.model.tickets` decides, and the
journal gets exactly one entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, LiteralString, NamedTuple

import msgspec
from psycopg import sql

from ticketing.core.db import Pool, escaped, storable, utc, utc_or_none, where_all
from ticketing.core.errors import NotFoundError
from ticketing.core.idempotency import done
from ticketing.core.moments import utc_now
from ticketing.core.numbers import parse
from ticketing.core.paging import PAGE_LIMIT, Page, RowId, cursor_of, read_cursor
from ticketing.model.sentences import told
from ticketing.model.states import WAITING, Action, State
from ticketing.model.tickets import Ticket, TicketSummary
from ticketing.people.normal import phone, plate_key
from ticketing.people.scope import ALL
from ticketing.people.users import User
from ticketing.threads.attachments import Offered
from ticketing.tickets.acts import act
from ticketing.tickets.bodies import Body
from ticketing.tickets.eyes import sees_its_end, through, ticket_for
from ticketing.tickets.facts import Actor
from ticketing.tickets.fleet_health import BY, Health, fleet_health
from ticketing.tickets.office import Office
from ticketing.tickets.reading import SUMMARY, SUMMARY_FROM, load_ticket, summary

MEMBERS_LIMIT = 1000  # of an incident's members

# The tickets of a terminal are its own and those of groups that it is or was a member of.
_OF_TERMINAL = sql.SQL(
    "(e.identity = %s OR t.id IN (SELECT g.ticket FROM terminal x JOIN incident m ON m.terminal = x.id"
    " JOIN incident g ON g.id = m.parent WHERE x.identity = %s))"
)
_INCIDENT = sql.SQL(
    "i.id, i.kind, i.state, e.identity, i.group_by, i.group_value,"
    " CASE WHEN i.terminal IS NULL THEN (SELECT count(*) FROM incident m WHERE m.parent = i.id) ELSE 0 END,"
    " i.parent, t.number, i.opened_at, i.detected_at, i.last_bad_at, i.last_good_at, i.closed_at, i.flaps, i.zone,"
    " i.zone_confidence"
)
# Its ticket, and what that says, is there for who sees the ticket.
_INCIDENTS = sql.SQL(
    "FROM incident i LEFT JOIN terminal e ON e.id = i.terminal LEFT JOIN ticket t ON t.id = i.ticket AND {seen}"
)


class _Column(NamedTuple):
    """What a list sorts by: its SQL, how a cursor's value stands for it, that value's type and where it comes from."""

    key: LiteralString
    value: LiteralString
    kind: Any
    of: Callable[[TicketSummary], Any]


_Word = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00]*$")]
_CLOSED = _Column("(t.state = 'closed')", "%s", bool, lambda t: t.state == State.CLOSED)
_PLACE = _Column("coalesce(t.queue_key, '~')", "%s", _Word, lambda t: t.queue_key or "~")  # who waits stands behind
_PRIORITY = _Column("t.priority", "%s", int, lambda t: t.priority)
_DUE = _Column(
    "coalesce(t.due_at, 'infinity')",
    "coalesce(%s::timestamptz, 'infinity')",
    datetime | None,
    lambda t: t.due_at,
)
_SORTS = {
    "queue": (_CLOSED, _PLACE),
    "due": (_DUE,),
    "opened": (_Column("t.opened_at", "%s::timestamptz", datetime, lambda t: t.opened_at),),
    "priority": (_PRIORITY,),
    "verdict": (_Column("coalesce(t.verdict, '')", "%s", _Word, lambda t: t.verdict or ""),),
    "terminal": (_Column("coalesce(e.identity, '')", "%s", _Word, lambda t: t.terminal or ""),),
}
TICKET_SORTS = tuple(_SORTS)
NOBODY = "-"  # as an owner: tickets that are open and have none


class Group(msgspec.Struct, kw_only=True):
    """What the terminals of a group share: an operator, a model …"""

    by: str
    value: str


class Incident(msgspec.Struct, kw_only=True):
    """A problem of one terminal and kind, or of a group of terminals.

    `ticket` is the number of the ticket it is worked under. Of a group `terminal` is None and `members_count` how many
    ever joined it; a member names the group's incident as `parent` and has no ticket. `group` is None where nothing but
    the time is shared (a storm). `recovered_at` is None while it is open, and of one that ended without recovery.
    """

    id: int
    kind: str
    state: str
    terminal: str | None
    group: Group | None
    members_count: int
    parent: int | None
    ticket: str | None
    opened_at: datetime
    detected_at: datetime
    last_bad_at: datetime
    last_good_at: datetime | None
    closed_at: datetime | None
    recovered_at: datetime | None
    flaps: int
    zone: str
    zone_confidence: float


class Member(msgspec.Struct, kw_only=True):
    """A terminal of a group; `back_at` is None while it fails, and where it left for a ticket of its own."""

    terminal: str
    kind: str
    incident: int
    state: str
    since: datetime
    back_at: datetime | None


class IncidentDetail(Incident, kw_only=True):
    """An incident with its members, the first `MEMBERS_LIMIT` in order of joining, and its ticket's evidence."""

    members: list[Member]
    evidence: dict[str, Any]


class Explained(msgspec.Struct, kw_only=True):
    """Why an incident was opened: the numbers of the decision, of a member those of its group's."""

    id: int
    kind: str
    terminal: str | None
    group: Group | None
    parent: int | None
    ticket: str | None
    reason: str
    numbers: dict[str, Any]


class Counts(msgspec.Struct):
    """Numbers for the metrics.

    Incidents and tickets, open and ever opened, by kind; tickets by state. `overdue`: open, due in the past and the
    clock not stopped. `unowned`: open and nobody's. `breaches`: ever, by clock. `clock_lateness`: seconds that the
    look at a ticket's clock is late, of the latest one; some are usual.
    """

    incidents_open: dict[str, int]
    tickets_open: dict[str, int]
    tickets_opened: dict[str, int]
    tickets_by_state: dict[str, int]
    overdue: int
    unowned: int
    breaches: dict[str, int]
    clock_lateness: float


class TicketStore:
    """Tickets and incidents of one database. All instants are UTC.

    Lists answer in the queue's order: open before closed, then priority, deadline, arrival.
    """

    def __init__(self, pool: Pool, *, office: Office | None = None, clock: Callable[[], datetime] = utc_now) -> None:
        self._pool = pool
        self._clock = clock
        self.office = office or Office()

    async def list(
        self,
        state: str | None = None,
        kind: str | None = None,
        terminal: str | None = None,
        search: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
        *,
        verdict: str | None = None,
        protocol: str | None = None,
        model: str | None = None,
        firmware: str | None = None,
        sort: str = "queue",
        seen: sql.Composable = ALL,
        owner: str | None = None,
        topic: str | None = None,
        organisation: int | None = None,
    ) -> Page[TicketSummary]:
        """One page of the queue; every filter is optional, `protocol`, `model` and `firmware` are its terminal's.

        `sort` is one of `TICKET_SORTS`, with a minus before it downwards. `search` is found in number, terminal,
        terminal's name and title. `state` may be `waiting` (for whomever), `owner` `NOBODY`. An unreadable cursor
        raises `InvalidTextError`. `seen` is the visitor's sight of tickets (`people.scope`).
        """
        where: list[sql.Composable] = [] if seen is ALL else [seen]
        values: list[Any] = []
        for column, value in (
            (sql.SQL("t.owner"), None if owner == NOBODY else owner),
            (sql.SQL("t.topic"), topic),
            (sql.SQL("t.state"), None if state == "waiting" else state),
            (sql.SQL("t.kind"), kind),
            (sql.SQL("t.verdict"), verdict),
            (_of_its(BY["protocol"]), protocol),
            (_of_its(BY["model"]), model),
            (_of_its(sql.SQL("e.firmware")), firmware),
        ):
            if value is not None:
                where.append(sql.SQL("{} = %s").format(column))
                values.append(storable(value))
        if owner == NOBODY:
            where.append(sql.SQL("t.owner IS NULL AND t.state <> 'closed'"))
        if state == "waiting":
            where.append(sql.SQL("t.state = ANY(%s)"))
            values.append(sorted(WAITING))
        if organisation is not None:
            where.append(sql.SQL("t.organisation = %s"))
            values.append(organisation)
        if terminal is not None:
            where.append(_OF_TERMINAL)
            values += [storable(terminal)] * 2
        if search is not None and search.strip():
            pattern = f"%{escaped(storable(search.strip()))}%"
            where.append(
                sql.SQL(
                    "(t.number = %s OR t.number ILIKE %s OR e.identity ILIKE %s OR e.name ILIKE %s OR t.title ILIKE %s"
                    " OR v.plate ILIKE %s OR (v.plate_key <> '' AND v.plate_key = %s) OR v.name ILIKE %s"
                    " OR o.name ILIKE %s OR t.sender ILIKE %s OR t.reporter IN (SELECT c.id FROM contact c"
                    "   WHERE c.name ILIKE %s OR c.phones @> ARRAY[%s] OR c.emails @> ARRAY[lower(%s)])"
                    " OR t.id IN (SELECT l.ticket FROM letter l WHERE l.message_id = %s))"
                )
            )
            asked = storable(search.strip())
            values += [parse(search), pattern, pattern, pattern, pattern, pattern, plate_key(asked), pattern, pattern]
            values += [pattern, pattern, phone(asked), asked, f"<{asked.strip('<>')}>"]
        limit = max(1, min(limit, PAGE_LIMIT))
        columns = _SORTS[sort.removeprefix("-")]
        direction, than = (sql.SQL("DESC"), sql.SQL("<")) if sort.startswith("-") else (sql.SQL("ASC"), sql.SQL(">"))
        key = [*(sql.SQL(column.key) for column in columns), sql.SQL("t.id")]
        after = sql.SQL("({}) {} ({}, %s)").format(
            sql.SQL(", ").join(key), than, sql.SQL(", ").join(sql.SQL(column.value) for column in columns)
        )
        after_values = [] if cursor is None else _read_cursor(columns, cursor)
        source = SUMMARY_FROM
        async with self._pool.connection() as connection:
            total = await connection.execute(sql.SQL("SELECT count(*) {} {}").format(source, where_all(where)), values)
            count = await total.fetchone()
            rows = await connection.execute(
                sql.SQL("SELECT {}, t.id {} {} ORDER BY {} LIMIT {}").format(
                    SUMMARY,
                    source,
                    where_all([*where, after] if cursor is not None else where),
                    sql.SQL(", ").join(sql.SQL("{} {}").format(part, direction) for part in key),
                    sql.Literal(limit + 1),
                ),
                [*values, *after_values],
            )
            found = await rows.fetchall()
        items = [summary(row) for row in found[:limit]]
        following = _cursor(columns, items[-1], found[limit - 1][-1]) if len(found) > limit else None
        return Page(items, count[0] if count else 0, following)

    async def get(self, number: str, user: User | None = None) -> Ticket | None:
        """The ticket whole as `user` sees it, or None; without a user as the desk itself does."""
        async with self._pool.connection() as connection:
            if user is not None:
                return await ticket_for(connection, number, user, self._clock())
            return await load_ticket(connection, number, self._clock())

    async def act(
        self,
        action: Action,
        number: str,
        actor: Actor,
        body: Body,
        user: User | None = None,
        files: Sequence[Offered] = (),
        channel: str = "api",
    ) -> Ticket:
        """Do one of the actions of the table, in a transaction of its own; the ticket as `user` sees it.

        To a `user` other tickets that the body names, and what they were merged into, are as missing where they are
        not theirs. `files` came with a form.

        Raises
        ------
        NotFoundError, NotAllowedError, ConflictError, WrongInputError, InvalidTextError
        """
        now = self._clock()
        async with self._pool.connection() as connection, connection.transaction():
            if user is not None:
                for named in filter(None, (number, body.into, body.to)):
                    if not await sees_its_end(connection, named, user):
                        raise NotFoundError(f"no ticket {named}")
            row = await act(connection, self.office, action, number, actor, body, now, files=files, channel=channel)
            await done(connection)
            rows = await connection.execute("SELECT number FROM ticket WHERE id = %s", (row,))
            (found,) = await rows.fetchone() or (number,)
            ticket = await load_ticket(connection, found, now)
            if ticket is not None and user is not None:
                ticket = await through(connection, user, ticket)
        if ticket is None:
            raise NotFoundError(f"no ticket {number}")
        return ticket

    async def incidents(
        self,
        state: str | None = None,
        kind: str | None = None,
        terminal: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
        *,
        ticket: str | None = None,
        members: bool = True,
        seen: sql.Composable = ALL,
    ) -> Page[Incident]:
        """One page of incidents, newest first; `state` is ``open`` or ``closed``, `ticket` the number of one.

        Without `members` those that are in a group are left out; `seen` is the visitor's sight of tickets, `t`.
        """
        where: list[sql.Composable] = []
        values: list[Any] = []
        for column, value in (("i.state", state), ("i.kind", kind), ("e.identity", terminal), ("t.number", ticket)):
            if value is not None:
                where.append(sql.SQL(column + " = %s"))
                values.append(storable(value))
        if not members:
            where.append(sql.SQL("i.parent IS NULL"))
        limit = max(1, min(limit, PAGE_LIMIT))
        source = _INCIDENTS.format(seen=seen)
        async with self._pool.connection() as connection:
            total = await connection.execute(sql.SQL("SELECT count(*) {} {}").format(source, where_all(where)), values)
            count = await total.fetchone()
            if cursor is not None:
                where.append(sql.SQL("i.id < %s"))
                values.append(read_cursor(cursor, RowId))
            rows = await connection.execute(
                sql.SQL("SELECT {} {} {} ORDER BY i.id DESC LIMIT {}").format(
                    _INCIDENT, source, where_all(where), sql.Literal(limit + 1)
                ),
                values,
            )
            found = await rows.fetchall()
        items = [Incident(**_incident(row)) for row in found[:limit]]
        following = cursor_of(items[-1].id) if len(found) > limit else None
        return Page(items, count[0] if count else 0, following)

    async def incident(self, identity: int, *, seen: sql.Composable = ALL) -> IncidentDetail | None:
        """One incident whole, or None; `seen` as in `incidents`."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                sql.SQL("SELECT {}, t.evidence {} WHERE i.id = %s").format(_INCIDENT, _INCIDENTS.format(seen=seen)),
                (identity,),
            )
            row = await rows.fetchone()
            if row is None:
                return None
            rows = await connection.execute(
                "SELECT e.identity, m.kind, m.id, m.state, m.detected_at, m.closed_at, m.last_good_at"
                " FROM incident m JOIN terminal e ON e.id = m.terminal WHERE m.parent = %s"
                " ORDER BY m.raised_at, m.id LIMIT %s",
                (identity, MEMBERS_LIMIT),
            )
            members = [
                Member(
                    terminal=terminal,
                    kind=kind,
                    incident=member,
                    state=state,
                    since=utc(since),
                    back_at=None if good is None else utc_or_none(closed),
                )
                for terminal, kind, member, state, since, closed, good in await rows.fetchall()
            ]
        return IncidentDetail(**_incident(row), members=members, evidence=row[-1] or {})

    async def explain(self, identity: int, *, seen: sql.Composable = ALL) -> Explained | None:
        """The numbers that an incident was decided by, or None where there is no such incident; `seen` as there."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                sql.SQL(
                    "SELECT i.id, i.kind, e.identity, coalesce(g.group_by, i.group_by), coalesce(g.group_value,"
                    " i.group_value), i.parent, t.number, j.text, j.data, coalesce(t.evidence -> 'decision',"
                    " t.evidence -> 'verdict', t.evidence -> 'storm', '{{}}') FROM incident i"
                    " LEFT JOIN incident g ON g.id = i.parent LEFT JOIN terminal e ON e.id = i.terminal"
                    " LEFT JOIN ticket t ON t.id = coalesce(i.ticket, g.ticket) AND {}"
                    " LEFT JOIN journal j ON j.ticket = t.id AND j.seq = 1 WHERE i.id = %s"
                ).format(seen),
                (identity,),
            )
            row = await rows.fetchone()
        if row is None:
            return None
        incident, kind, terminal, by, value, parent, ticket, text, data, numbers = row
        group = None if by is None else Group(by=by, value=value)
        return Explained(
            id=incident, kind=kind, terminal=terminal, group=group, parent=parent, ticket=ticket,
            reason=told(Action.OPENED, text or "", data or {}), numbers=numbers,
        )  # fmt: skip

    async def health(self, by: str) -> Health:
        """How well groups of terminals do; `by` is one of `fleet_health.BY`."""
        return await fleet_health(self._pool, by, self._clock())

    async def counts(self) -> Counts:
        """What the metrics tell."""
        now = self._clock()
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "SELECT kind, count(*) FILTER (WHERE state <> 'closed'), count(*) FROM ticket GROUP BY kind"
            )
            tickets = await rows.fetchall()
            rows = await connection.execute("SELECT kind, count(*) FROM incident WHERE state = 'open' GROUP BY kind")
            incidents = await rows.fetchall()
            rows = await connection.execute("SELECT state, count(*) FROM ticket GROUP BY state")
            states: dict[str, int] = dict(await rows.fetchall())
            rows = await connection.execute("SELECT clock, count(*) FROM breach GROUP BY clock")
            breaches: dict[str, int] = dict(await rows.fetchall())
            rows = await connection.execute(
                "SELECT count(*) FILTER (WHERE clock_runs AND due_at < %s), count(*) FILTER (WHERE owner IS NULL)"
                " FROM ticket WHERE state <> 'closed'",
                (now,),
            )
            overdue, unowned = await rows.fetchone() or (0, 0)
            rows = await connection.execute("SELECT min(clock_check_at) FROM ticket WHERE clock_check_at <= %s", (now,))
            (waiting,) = await rows.fetchone() or (None,)
        return Counts(
            incidents_open=dict(incidents),
            tickets_open={kind: n for kind, n, _ in tickets},
            tickets_opened={kind: n for kind, _, n in tickets},
            tickets_by_state={str(state): states.get(state, 0) for state in State},
            overdue=overdue,
            unowned=unowned,
            breaches=breaches,
            clock_lateness=0.0 if waiting is None else (now - waiting).total_seconds(),
        )


def _incident(row: Sequence[Any]) -> dict[str, Any]:
    """The attributes of an `Incident` from a row of `_INCIDENT`."""
    return {
        "id": row[0],
        "kind": row[1],
        "state": row[2],
        "terminal": row[3],
        "group": None if row[4] is None else Group(by=row[4], value=row[5]),
        "members_count": row[6],
        "parent": row[7],
        "ticket": row[8],
        "opened_at": utc(row[9]),
        "detected_at": utc(row[10]),
        "last_bad_at": utc(row[11]),
        "last_good_at": utc_or_none(row[12]),
        "closed_at": utc_or_none(row[13]),
        "recovered_at": None if row[12] is None else utc_or_none(row[13]),
        "flaps": row[14],
        "zone": row[15],
        "zone_confidence": row[16],
    }


def _of_its(column: sql.Composable) -> sql.Composable:
    """What a ticket's terminal shares with others, as lists of terminals call it; of a ticket about many nothing."""
    return sql.SQL("CASE WHEN e.id IS NOT NULL THEN coalesce({}, 'unknown') END").format(column)


def _cursor(columns: Sequence[_Column], last: TicketSummary, row: int) -> str:
    return cursor_of([*(column.of(last) for column in columns), row])


def _read_cursor(columns: Sequence[_Column], cursor: str) -> Sequence[Any]:
    found: Sequence[Any] = read_cursor(cursor, tuple[*(column.kind for column in columns), RowId])  # type: ignore[misc]
    return found
