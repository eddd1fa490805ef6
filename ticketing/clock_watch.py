"""Tells what clocks reached by themselves: warnings and breaches, each once, in the ticket's journal.

Every ticket carries the next instant at which its clock may have something to tell; a round looks only at those whose
instant has come. After a restart it tells what was reached meanwhile.
"""

from __future__ import annotations

from datetime import datetime

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from ticketing.clock_history import Breach
from ticketing.clock_records import load_clock
from ticketing.clock_words import budget_text, moment_text
from ticketing.store import Pool, append_journal
from ticketing.ticket_clocks import Stand
from ticketing.tickets import WATCH, Action
from ticketing.zones import instant

log = structlog.get_logger()

AT_ONCE = 50  # tickets in one transaction: their rows are locked while it lasts


async def watch_clocks(pool: Pool, now: datetime) -> int:
    """Look at every ticket whose moment has come; returns how many entries the journals got."""
    told = 0
    while True:
        async with pool.connection() as connection, connection.transaction():
            # A ticket that somebody works on at this moment is left to the next round.
            rows = await connection.execute(
                "SELECT id, number, state FROM ticket WHERE clock_check_at <= %s ORDER BY clock_check_at LIMIT %s"
                " FOR UPDATE SKIP LOCKED",
                (now, AT_ONCE),
            )
            found = await rows.fetchall()
            for ticket, number, state in found:
                told += await _tell(connection, ticket, number, state, now)
        if len(found) < AT_ONCE:
            return told


async def _tell(connection: AsyncConnection[TupleRow], ticket: int, number: str, state: str, now: datetime) -> int:
    told, following = 0, None
    clock = await load_clock(connection, ticket, now)
    if clock is not None and clock.stands:
        for stand in clock.stands:
            told += await _tell_cycle(connection, ticket, number, state, now, stand)
        following = clock.next_check(now)
    await connection.execute("UPDATE ticket SET clock_check_at = %s WHERE id = %s", (following, ticket))
    return told


async def _tell_cycle(
    connection: AsyncConnection[TupleRow], ticket: int, number: str, state: str, now: datetime, stand: Stand
) -> int:
    rule, told = stand.result.rule, 0
    for percent, reached in stand.warnings() if stand.stopped is None else ():
        if reached > now:
            continue
        rows = await connection.execute(
            "INSERT INTO clock_warning (ticket, clock, cycle, percent, reached_at) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING RETURNING 1",
            (ticket, rule.clock, stand.number, percent, reached),
        )
        if await rows.fetchone() is not None:
            await append_journal(
                connection, ticket, now, WATCH, Action.WARNED, _warning(stand, percent, reached), state
            )
            told += 1
    for breach in stand.breaches:
        rows = await connection.execute(
            "INSERT INTO breach (ticket, clock, cycle, policy, due, explained, recorded_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1",
            (ticket, breach.clock, breach.cycle, breach.policy, breach.due, breach.explained, now),
        )
        if await rows.fetchone() is not None:
            await append_journal(connection, ticket, now, WATCH, Action.BREACHED, _broken(stand, breach), state)
            log.warning("clock breached", number=number, clock=breach.clock, due=breach.due.isoformat())
            told += 1
    return told


def _warning(stand: Stand, percent: int, reached: datetime) -> str:
    rule = stand.result.rule
    due = stand.result.due_at
    promised = budget_text(rule.budget.kind, rule.budget.amount)
    ends = "" if due is None else f"; due {moment_text(rule.zone, due, whole=True)}"
    return (
        f"{rule.clock}: {percent} % of {promised} used on {moment_text(rule.zone, instant(reached), whole=True)}{ends}"
    )


def _broken(stand: Stand, breach: Breach) -> str:
    zone = stand.result.rule.zone
    stopped = "" if stand.stopped is None else f", stopped {moment_text(zone, instant(stand.stopped), whole=True)}"
    return f"{breach.clock}: broken, due was {moment_text(zone, instant(breach.due), whole=True)}{stopped}"
