"""Jobs of the queue: asked for, shown with an estimate, called off. The engine does them (`queue`).

What is locked, is locked in one order: the queue, then a ticket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, LiteralString

import msgspec
from msgspec import Meta
from psycopg import sql

from ticketing.commands import Commands
from ticketing.core.db import Connection, storable, utc, utc_or_none, where_all
from ticketing.core.errors import ConflictError, NotFoundError, Problem, WrongInputError
from ticketing.core.journal import append_journal
from ticketing.core.paging import Page, RowId, cursor_of, read_cursor
from ticketing.kit.words import N_
from ticketing.model.states import Action, State
from ticketing.reloads.forecast import Rate, Waiting, forecast
from ticketing.reloads.nights import Nights
from ticketing.tickets.dues import move
from ticketing.tickets.facts import lock
from ticketing.tickets.office import Archives, Office

MODULE, QUEUE = "reloads", 1
LOCK: LiteralString = "SELECT FROM reload_queue WHERE id = %s FOR UPDATE SKIP LOCKED"
OPEN = ("queued", "running")
STATES = (*OPEN, "done", "failed", "cancelled")

SLICES = 96  # of a span; a quarter of an hour of a day
LONGEST = timedelta(days=31)
EARLIEST = timedelta(days=366)  # before now: black boxes hold no more
MOST = 500  # that wait
LEARNED_FROM = 20  # re-loaded archives

_COLUMNS = sql.SQL(
    "r.id, t.number, e.identity, r.since, r.until, r.state, r.text, r.asked_at, r.asked_by, r.share, r.records,"
    " r.nights, r.begun_at, r.finished_at, r.reason"
)
_FROM = sql.SQL("FROM reload r JOIN ticket t ON t.id = r.ticket JOIN terminal e ON e.id = r.terminal {}")


class Estimate(msgspec.Struct, kw_only=True):
    """When it will begin, or go on, and end as the queue stands now; `basis`: history of others, or plan."""

    begins_at: datetime
    ends_at: datetime
    basis: str


class Reload(msgspec.Struct, kw_only=True):
    """An archive to be asked of its terminal again; `ticket` is a number, `terminal` an identity.

    `place` counts from 1, the one that runs; None: it is over. `share` of the span holds records, `records` came since
    it was begun. `nights` were tried and did not do. `estimate` is null too where it lies more than a year ahead,
    `command` where the protocol's own is sent.
    """

    id: int
    ticket: str
    terminal: str
    since: datetime = msgspec.field(name="from")
    until: datetime = msgspec.field(name="to")
    state: str
    command: str | None
    asked_at: datetime
    asked_by: str
    share: float
    records: int
    nights: int
    begun_at: datetime | None
    finished_at: datetime | None
    reason: str | None
    place: int | None = None
    estimate: Estimate | None = None


class NewReload(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The ticket, a span of records' times, and what its defaults do not say.

    `terminal`: of a ticket about many. `command`: the maker's own words, where the protocol has none or others.
    """

    ticket: Annotated[str, Meta(min_length=1, max_length=40)]
    since: datetime = msgspec.field(name="from")
    until: datetime = msgspec.field(name="to")
    terminal: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    command: Annotated[str, Meta(min_length=1, max_length=512)] | None = None


async def ask(connection: Connection, office: Office, ticket: int, new: NewReload, by: str, now: datetime) -> int:
    """Put one at the queue's end, for a ticket that the caller sees; returns its id.

    Raises
    ------
    WrongInputError, InvalidTextError
    ConflictError
        If it could never be done, or waits already.
    """
    archives, remote = tools(office)
    await connection.execute("SELECT FROM reload_queue WHERE id = %s FOR UPDATE", (QUEUE,))
    facts = await lock(connection, ticket, follow=False)
    if wrong := _wrong(new, now):
        raise WrongInputError(*wrong)
    if facts.state == State.CLOSED:
        raise ConflictError("the ticket is closed: its archive is asked again from an open one")
    row, identity, told = await _terminal(connection, ticket, new.terminal)
    text = new.command or ""
    if not text and not archives.command(told, new.since, new.until):
        raise ConflictError(
            f"{told or 'its protocol'} has no command for the archive, as far as it is public: give the maker's own"
            " as `command`, or read the black box on the spot"
        )
    await remote.check(connection, identity, text or archives.command(told, new.since, new.until), now, ticket)
    rows = await connection.execute(
        "SELECT (SELECT min(id) FROM reload WHERE terminal = %s AND finished_at IS NULL AND since < %s AND until > %s),"
        " (SELECT count(*) FROM reload WHERE finished_at IS NULL)",
        (row, new.until, new.since),
    )
    same, count = await rows.fetchone() or (None, 0)
    if same is not None:
        raise ConflictError(f"a part of this span waits already: {same}")
    if count >= MOST:
        raise ConflictError(f"{MOST} wait already: let them be done")
    held = await archives.held(connection, row, new.since, new.until, SLICES, now)
    rows = await connection.execute(
        "INSERT INTO reload (ticket, terminal, since, until, text, asked_at, asked_by, not_before, share)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        (ticket, row, new.since, new.until, text, now, by, now, held.share),
    )
    (number,) = await rows.fetchone() or (0,)
    data = {"reload": number, "terminal": identity, "since": new.since, "until": new.until}
    await append_journal(connection, ticket, now, by, Action.RELOAD_ASKED, "", facts.state, data)
    await move(connection, MODULE, QUEUE, now)
    return int(number)


async def cancel(connection: Connection, number: int, by: str, now: datetime) -> None:
    """Call one off that the caller sees; what the terminal was told already, it does all the same.

    Raises
    ------
    ConflictError
        If it is over.
    """
    await connection.execute("SELECT FROM reload_queue WHERE id = %s FOR UPDATE", (QUEUE,))
    rows = await connection.execute("SELECT ticket, finished_at IS NULL FROM reload WHERE id = %s", (number,))
    found = await rows.fetchone()
    if found is None or not found[1]:
        raise ConflictError("it is over")
    await end(connection, number, found[0], "cancelled", N_("called off"), by, now)
    await move(connection, MODULE, QUEUE, now)


async def end(
    connection: Connection, number: int, ticket: int, state: str, reason: str, by: str, now: datetime
) -> None:
    """It is over, for whatever reason; the queue is locked."""
    facts = await lock(connection, ticket, follow=False)
    rows = await connection.execute(
        "UPDATE reload SET state = %s, reason = %s, finished_at = %s, tried_at = NULL,"
        " ran = ran + coalesce(%s - tried_at, '0') WHERE id = %s RETURNING records, share",
        (state, reason, now, now, number),
    )
    records, share = await rows.fetchone() or (0, 0.0)
    data = {"reload": number, "state": state, "records": records, "share": round(share, 3), "reason": reason}
    await append_journal(connection, facts.row, now, by, Action.RELOAD_ENDED, "", facts.state, data)


async def listed(
    connection: Connection,
    office: Office,
    seen: sql.Composable,
    now: datetime,
    *,
    ticket: str | None = None,
    state: str | None = None,
    cursor: str | None = None,
    limit: int,
) -> Page[Reload]:
    """Those of tickets that are `seen` (`t`), newest first."""
    where: list[sql.Composable] = [seen]
    values: dict[str, Any] = {"ticket": ticket, "state": state, "limit": limit + 1}
    if ticket is not None:
        where.append(sql.SQL("t.number = %(ticket)s"))
    if state is not None:
        where.append(sql.SQL("r.state = %(state)s"))
    rows = await connection.execute(sql.SQL("SELECT count(*) {}").format(_FROM.format(where_all(where))), values)
    (total,) = await rows.fetchone() or (0,)
    if cursor is not None:
        where.append(sql.SQL("r.id < %(before)s"))
        values["before"] = read_cursor(cursor, RowId)
    rows = await connection.execute(
        sql.SQL("SELECT {} {} ORDER BY r.id DESC LIMIT %(limit)s").format(_COLUMNS, _FROM.format(where_all(where))),
        values,
    )
    items = [_read(row) for row in (await rows.fetchall())]
    following = cursor_of(items[limit - 1].id) if len(items) > limit else None
    return Page(await estimated(connection, office, items[:limit], now), total, following)


async def get(connection: Connection, office: Office, seen: sql.Composable, number: int, now: datetime) -> Reload:
    """One of a ticket that is `seen`.

    Raises
    ------
    NotFoundError
    """
    rows = await connection.execute(
        sql.SQL("SELECT {} {}").format(_COLUMNS, _FROM.format(where_all([seen, sql.SQL("r.id = %s")]))), (number,)
    )
    row = await rows.fetchone()
    if row is None:
        raise NotFoundError("no such re-loading")
    return (await estimated(connection, office, [_read(row)], now))[0]


async def queued(connection: Connection, office: Office, seen: sql.Composable, now: datetime) -> list[Reload]:
    """Those that are not over, in the order in which they will be done."""
    where = where_all([seen, sql.SQL("r.finished_at IS NULL")])
    rows = await connection.execute(sql.SQL("SELECT {} {} ORDER BY r.id").format(_COLUMNS, _FROM.format(where)))
    found = await estimated(connection, office, [_read(row) for row in await rows.fetchall()], now)
    return sorted(found, key=lambda one: one.place or 0)


async def estimated(connection: Connection, office: Office, items: Sequence[Reload], now: datetime) -> list[Reload]:
    """The same with their places in the whole queue, and when they will be done as it stands at `now`."""
    if not any(one.finished_at is None for one in items):
        return list(items)
    policy = office.terms.policy
    pace = await _pace(connection)
    rows = await connection.execute(
        "SELECT id, until - since, share, not_before, state = 'running' FROM reload WHERE finished_at IS NULL"
        " ORDER BY state = 'queued', id"
    )
    queue = [
        Waiting(number, pace.left(asked, share), utc(not_before), running)
        for number, asked, share, not_before, running in await rows.fetchall()
    ]
    times = forecast(now, Nights.of(policy), queue, policy.file.reloads.at_once)
    places: Mapping[int, int] = {one.id: place for place, one in enumerate(queue, start=1)}
    basis = "history" if pace.measured else "plan"
    return [
        msgspec.structs.replace(
            one,
            place=places.get(one.id),
            estimate=Estimate(begins_at=times[one.id][0], ends_at=times[one.id][1], basis=basis)
            if one.id in times
            else None,
        )
        for one in items
    ]


def tools(office: Office) -> tuple[Archives, Commands]:
    """What archives are asked again with.

    Raises
    ------
    ConflictError
        If this desk has neither.
    """
    if office.archives is None or office.remote is None:
        raise ConflictError("this desk sends terminals no commands")
    return office.archives, office.remote


async def _pace(connection: Connection) -> Rate:
    rows = await connection.execute(
        "SELECT coalesce(extract(epoch FROM sum(ran)), 0)::float8,"
        " coalesce(extract(epoch FROM sum(until - since)), 0)::float8, count(*)"
        " FROM (SELECT ran, since, until FROM reload WHERE state = 'done' AND records > 0"
        " ORDER BY finished_at DESC LIMIT %s) r",
        (LEARNED_FROM,),
    )
    ran, asked, count = await rows.fetchone() or (0.0, 0.0, 0)
    return Rate.of(ran, asked, count)


async def _terminal(connection: Connection, ticket: int, wanted: str | None) -> tuple[int, str, str | None]:
    """Row, identity and protocol of the ticket's terminal, or of the one of its many that is wanted."""
    rows = await connection.execute(
        "WITH its AS (SELECT coalesce(t.terminal, v.terminal) AS terminal, true AS own FROM ticket t"
        "  LEFT JOIN vehicle v ON v.id = t.vehicle WHERE t.id = %(ticket)s"
        " UNION SELECT m.terminal, false FROM incident i JOIN incident m ON m.parent = i.id"
        "  WHERE i.ticket = %(ticket)s)"
        " SELECT e.id, e.identity, e.protocol, e.stage = 'sold' FROM its JOIN terminal e ON e.id = its.terminal"
        " WHERE CASE WHEN %(wanted)s::text IS NULL THEN its.own ELSE e.identity = %(wanted)s END LIMIT 1",
        {"ticket": ticket, "wanted": None if wanted is None else storable(wanted)},
    )
    found = await rows.fetchone()
    if found is None and wanted is not None:
        raise WrongInputError(
            Problem("terminal", N_("is none of this ticket's"), N_("name a terminal that the ticket is about"))
        )
    if found is None:
        raise ConflictError("the ticket is about no single terminal: name one of its own as `terminal`")
    row, identity, protocol, gone = found
    if gone:
        raise ConflictError("the terminal is out of service")
    return row, identity, protocol


def _wrong(new: NewReload, now: datetime) -> list[Problem]:
    wrong = [
        Problem(name, N_("has no offset"), N_("write 2026-03-02T08:00:00+03:00"))
        for name, value in (("from", new.since), ("to", new.until))
        if value.tzinfo is None
    ]
    if wrong:
        return wrong
    if not new.since < new.until:
        wrong.append(Problem("to", N_("is not after the beginning"), N_("give a span that lasts")))
    elif new.until - new.since > LONGEST:
        wrong.append(Problem("to", N_("is too late: a span has 31 days at most"), N_("ask for it in parts")))
    if new.until > now:
        wrong.append(Problem("to", N_("lies ahead"), N_("ask for what is over: an archive is of the past")))
    if new.since < now - EARLIEST:
        wrong.append(Problem("from", N_("is more than a year ago"), N_("give a later instant")))
    return wrong


def _read(row: Sequence[Any]) -> Reload:
    number, ticket, terminal, since, until, state, text, asked, by, share, records, nights, begun, finished, why = row
    return Reload(
        id=number,
        ticket=ticket,
        terminal=terminal,
        since=utc(since),
        until=utc(until),
        state=state,
        command=text or None,
        asked_at=utc(asked),
        asked_by=by,
        share=round(share, 3),
        records=records,
        nights=nights,
        begun_at=utc_or_none(begun),
        finished_at=utc_or_none(finished),
        reason=why,
    )
