"""The queue's turn: one step at a time, each in a transaction of its own, so that a kill in between repeats nothing.

    queued ──night, its turn──→ running ──nothing more comes──→ done
      ↑                            ├── the terminal refuses, or is gone ──→ failed
      └── night over, no answer ───┘    (after some nights: failed; the others do not wait for it meanwhile)

The command of a night expires with it, by the store's clock: nothing is asked by day, whatever happens to us.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, LiteralString, NamedTuple

from ticketing.commands import Wanted
from ticketing.core.db import Connection, utc, utc_or_none
from ticketing.core.errors import ConflictError, InvalidTextError, NotFoundError
from ticketing.core.journal import append_journal
from ticketing.kit.words import N_
from ticketing.model.states import WATCH, Action, State
from ticketing.reloads.jobs import SLICES, end, tools
from ticketing.reloads.nights import Nights
from ticketing.tickets.facts import lock
from ticketing.tickets.office import Held, Office

PATIENCE = timedelta(minutes=10)  # for the terminal to be there and answer; the others wait as long
QUIET = timedelta(minutes=2)  # without a new record: the archive is through
AGAIN = timedelta(seconds=30)  # between looks at one that runs
TOO_LATE = timedelta(minutes=1)  # before a night's end nothing is begun
NIGHTS = 5  # that may not do

_JOB: LiteralString = (
    "SELECT r.id, r.ticket, r.terminal, e.identity, e.protocol, r.since, r.until, r.text, r.asked_by, r.nights,"
    " r.tried_at, r.begun_at, r.moved_at, r.records, c.state, c.result, c.reason, c.finished_at"
    " FROM reload r JOIN terminal e ON e.id = r.terminal LEFT JOIN command c ON c.id = r.command"
)


class Job(NamedTuple):
    """One that is not over, and what became of this night's command."""

    id: int
    ticket: int
    terminal: int
    identity: str
    protocol: str | None
    since: datetime
    until: datetime
    text: str
    asked_by: str
    nights: int
    tried_at: datetime | None
    begun_at: datetime | None
    moved_at: datetime | None
    records: int
    command: str | None
    result: str | None
    refusal: str | None
    answered_at: datetime | None


async def look(connection: Connection, office: Office, _queue: int, now: datetime) -> datetime | None:
    """One step, if one is due; returns when to look again: at once after a step."""
    if office.archives is None or office.remote is None:  # the desk is not put together yet
        return now + AGAIN
    nights = Nights.of(office.terms.policy)
    begin, over = nights.around(now)
    if await _end_lost(connection, now):
        return now
    running = await _jobs(connection, " WHERE r.state = 'running' ORDER BY r.id")
    for job in running:
        if await _follow(connection, office, job, nights, now):
            return now
    if begin <= now < over - TOO_LATE and len(running) < office.terms.policy.file.reloads.at_once:
        first = await _jobs(
            connection,
            " WHERE r.state = 'queued' AND r.not_before <= %s AND NOT EXISTS (SELECT FROM reload o"
            " WHERE o.terminal = r.terminal AND o.state = 'running') ORDER BY r.id LIMIT 1",
            now,
        )
        if first:
            await _begin(connection, office, first[0], nights, now)
            return now
    if running:
        return min(now + AGAIN, over) if begin <= now else now + AGAIN
    rows = await connection.execute("SELECT min(not_before) FROM reload WHERE state = 'queued'")
    (soonest,) = await rows.fetchone() or (None,)
    if soonest is None:
        return None
    at = max(utc(soonest), over if begin <= now else begin)
    return nights.around(at)[0] if not nights.open(at) else at


async def _end_lost(connection: Connection, now: datetime) -> bool:
    """Those that nobody waits for any more, and those whose terminal is gone."""
    rows = await connection.execute(
        "SELECT r.id, r.ticket, t.merged_into, t.state = 'closed' FROM reload r JOIN ticket t ON t.id = r.ticket"
        " JOIN terminal e ON e.id = r.terminal WHERE r.finished_at IS NULL"
        " AND (t.state = %s OR e.stage = 'sold') ORDER BY r.id LIMIT 1",
        (State.CLOSED,),
    )
    found = await rows.fetchone()
    if found is None:
        return False
    number, ticket, survivor, closed = found
    if survivor is not None:
        await connection.execute("UPDATE reload SET ticket = %s WHERE id = %s", (survivor, number))
    elif closed:
        await end(connection, number, ticket, "cancelled", N_("the ticket is closed"), WATCH, now)
    else:
        await end(connection, number, ticket, "failed", N_("the terminal is out of service"), WATCH, now)
    return True


async def _begin(connection: Connection, office: Office, job: Job, nights: Nights, now: datetime) -> None:
    """Send this night's command, for what is missing; or say why that cannot be."""
    archives, remote = tools(office)
    facts = await lock(connection, job.ticket, follow=False)
    since, until = _missing(job, await archives.held(connection, job.terminal, job.since, job.until, SLICES, now))
    text = job.text or archives.command(job.protocol, since, until)
    if not text:
        reason = N_("its protocol has no command for the archive")
        await end(connection, job.id, job.ticket, "failed", reason, WATCH, now)
        return
    patience = min(PATIENCE, nights.around(now)[1] - now)
    try:
        async with connection.transaction():
            wanted = Wanted(text, expires_in=patience.total_seconds())
            command, _ = await remote.queue(connection, job.identity, job.asked_by, wanted, now, facts.row)
    except (InvalidTextError, NotFoundError) as error:
        await end(connection, job.id, job.ticket, "failed", str(error), WATCH, now)
        return
    except ConflictError as error:
        await _put_off(connection, job, nights, str(error), now)
        return
    await connection.execute(
        "UPDATE reload SET state = 'running', tried_at = %(now)s, begun_at = coalesce(begun_at, %(now)s),"
        " moved_at = NULL, command = %(command)s WHERE id = %(id)s",
        {"now": now, "command": command.id, "id": job.id},
    )
    data = {"reload": job.id, "terminal": job.identity, "command": text, "night": job.nights + 1}
    await append_journal(connection, facts.row, now, WATCH, Action.RELOAD_BEGUN, "", facts.state, data)


async def _follow(connection: Connection, office: Office, job: Job, nights: Nights, now: datetime) -> bool:
    """Look what came; whether it runs no more."""
    archives, _ = tools(office)
    begun, tried = job.begun_at or now, job.tried_at or now
    held = await archives.held(connection, job.terminal, job.since, job.until, SLICES, begun)
    moved = now if held.late > job.records else job.moved_at
    await connection.execute(
        "UPDATE reload SET share = %s, records = %s, moved_at = %s WHERE id = %s",
        (held.share, held.late, moved, job.id),
    )
    if job.command == "failed" and job.result is not None:
        reason = f"the terminal refused it: {job.result[:200]}"
        await end(connection, job.id, job.ticket, "failed", reason, WATCH, now)
    elif now >= nights.around(tried)[1]:
        await _put_off(connection, job, nights, N_("the night was over"), now)
    elif job.command in ("queued", "sent"):
        return False
    elif moved is None and job.command != "done":
        await _put_off(connection, job, nights, job.refusal or "its command is gone", now)
    elif now - max(moved or tried, job.answered_at or tried) < QUIET:
        return False
    else:
        reason = N_("all that the terminal had is here") if moved else N_("the terminal had nothing that was not here")
        await end(connection, job.id, job.ticket, "done", reason, WATCH, now)
    return True


async def _put_off(connection: Connection, job: Job, nights: Nights, reason: str, now: datetime) -> None:
    """To the next night, at its place; or not at all, if there were enough."""
    tonight, over = nights.around(job.tried_at or now)
    if job.nights + 1 >= NIGHTS:
        await end(connection, job.id, job.ticket, "failed", f"{NIGHTS} nights did not do: {reason}", WATCH, now)
        return
    following = nights.around(max(over, now))[0]
    facts = await lock(connection, job.ticket, follow=False)
    await connection.execute(
        "UPDATE reload SET state = 'queued', nights = nights + 1, not_before = %(next)s, tried_at = NULL,"
        " command = NULL, ran = ran + coalesce(least(%(now)s, %(over)s) - tried_at, '0') WHERE id = %(id)s",
        {"next": following, "now": now, "over": over, "id": job.id},
    )
    data = {"reload": job.id, "until": following, "reason": reason, "night": job.nights + 1, "since": tonight}
    await append_journal(connection, facts.row, now, WATCH, Action.RELOAD_PUT_OFF, "", facts.state, data)


def _missing(job: Job, held: Held) -> tuple[datetime, datetime]:
    """The span from its first empty slice to its last; the whole, if none is."""
    empty = [place for place, there in enumerate(held.slices) if not there]
    if not empty:
        return job.since, job.until
    step = (job.until - job.since) / len(held.slices)
    return job.since + empty[0] * step, job.since + (empty[-1] + 1) * step


async def _jobs(connection: Connection, which: LiteralString, *values: Any) -> list[Job]:
    rows = await connection.execute(_JOB + which, values)
    return [
        Job(*row)._replace(
            since=utc(row[5]),
            until=utc(row[6]),
            tried_at=utc_or_none(row[10]),
            begun_at=utc_or_none(row[11]),
            moved_at=utc_or_none(row[12]),
            answered_at=utc_or_none(row[17]),
        )
        for row in await rows.fetchall()
    ]
