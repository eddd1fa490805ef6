"""Tells what clocks reached by themselves: warnings and breaches, each once, in the ticket's journal.

Every ticket carries the next instant at which its clock may have something to tell; a round looks only at those whose
instant has come. After a restart it tells what was reached meanwhile. A ticket whose clock cannot be judged is looked
at again later, and later still; the others' clocks do not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from psycopg import AsyncConnection, InterfaceError, OperationalError
from psycopg.rows import TupleRow

from ticketing.clocks.history import Breach
from ticketing.clocks.records import load_clocks
from ticketing.clocks.ticket import Stand
from ticketing.clocks.words import budget_text
from ticketing.core.db import Pool
from ticketing.core.journal import append_journal
from ticketing.model.states import WATCH, Action
from ticketing.tickets.announcing import announce_entries
from ticketing.tickets.office import Office
from ticketing.working_time.time_zones import instant

log = structlog.get_logger()

AT_ONCE = 50  # tickets in one transaction: their rows are locked while it lasts
_AGAIN = (60.0, 3600.0)  # s before a ticket that could not be judged is looked at again: at first, at most
_REMEMBERED = 10_000  # tickets whose failures are counted; beyond it they begin anew


@dataclass(slots=True)
class Failing:
    """Tickets whose clock could not be judged: `attempts` in a row by ticket; `failed` ever."""

    attempts: dict[int, int] = field(default_factory=dict)
    failed: int = 0

    def again(self, ticket: int) -> timedelta:
        """Count a failure; in how long to look again."""
        self.failed += 1
        if len(self.attempts) >= _REMEMBERED:
            self.attempts.clear()
        attempt = self.attempts[ticket] = self.attempts.get(ticket, 0) + 1
        return timedelta(seconds=min(_AGAIN[0] * 2 ** min(attempt - 1, 16), _AGAIN[1]))


async def watch_clocks(pool: Pool, now: datetime, failing: Failing | None = None, office: Office | None = None) -> int:
    """Look at every ticket whose moment has come; returns how many entries the journals got.

    Parameters
    ----------
    failing : what earlier rounds could not judge.
    office : whose targets are told of warnings and breaches; None: nobody is.
    """
    told, failing = 0, failing or Failing()
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
                try:
                    async with connection.transaction():
                        entries = await _tell(connection, ticket, number, state, now)
                        if entries and office is not None:
                            await announce_entries(connection, office, ticket, number, entries, now)
                        told += entries
                except (OperationalError, InterfaceError):
                    raise  # the store, not the ticket
                except Exception:
                    later = failing.again(ticket)
                    if failing.attempts[ticket] == 1:
                        log.exception("a ticket's clock cannot be judged", number=number)
                    await connection.execute(
                        "UPDATE ticket SET clock_check_at = %s WHERE id = %s", (now + later, ticket)
                    )
                else:
                    failing.attempts.pop(ticket, None)
        if len(found) < AT_ONCE:
            return told


async def _tell(connection: AsyncConnection[TupleRow], ticket: int, number: str, state: str, now: datetime) -> int:
    told, following, runs, verdict = 0, None, False, None
    clocks = await load_clocks(connection, ticket, now)
    if clocks is not None:
        runs, verdict = clocks.runs, clocks.verdict
        for clock in clocks.clocks:
            for stand in clock.stands:
                told += await _tell_cycle(connection, ticket, number, state, now, stand)
        following = clocks.next_check(now)
    await connection.execute(
        "UPDATE ticket SET clock_check_at = %s, clock_runs = %s, verdict = coalesce(%s, verdict) WHERE id = %s",
        (following, runs, verdict, ticket),
    )
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
                connection, ticket, now, WATCH, Action.WARNED, "", state, _warning(stand, percent, reached)
            )
            told += 1
    for breach in stand.breaches:
        rows = await connection.execute(
            "INSERT INTO breach (ticket, clock, cycle, policy, due, explained, recorded_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1",
            (ticket, breach.clock, breach.cycle, breach.policy, breach.due, breach.explained, now),
        )
        if await rows.fetchone() is not None:
            await append_journal(connection, ticket, now, WATCH, Action.BREACHED, "", state, _broken(stand, breach))
            log.warning("clock breached", number=number, clock=breach.clock, due=breach.due.isoformat())
            told += 1
    return told


def _warning(stand: Stand, percent: int, reached: datetime) -> dict[str, Any]:
    rule, due = stand.result.rule, stand.result.due_at
    return {
        "clock": rule.clock,
        "cycle": stand.number,
        "percent": percent,
        "budget": budget_text(rule.budget.kind, rule.budget.amount),
        "reached": rule.zone.iso(instant(reached)),
        "due": None if due is None else rule.zone.iso(due),
    }


def _broken(stand: Stand, breach: Breach) -> dict[str, Any]:
    zone = stand.result.rule.zone
    return {
        "clock": breach.clock,
        "cycle": breach.cycle,
        "due": zone.iso(instant(breach.due)),
        "stopped": None if stand.stopped is None else zone.iso(instant(stand.stopped)),
    }
