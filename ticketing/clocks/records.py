"""A ticket's clock in SQL: the rules it was opened under, and the columns that follow from its journal.

A version of a policy or calendar is stored whole, once, under a digest of its content. So a ticket keeps the promise
that it was opened with, whatever is edited or installed afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from ticketing.clocks import walk as clocks
from ticketing.clocks.history import Breach
from ticketing.clocks.several import TicketClocks, read_all, rules_of
from ticketing.clocks.steps import Entry, Step, steps_of
from ticketing.policies import Policy, of_stored
from ticketing.working_time.budgets import Kind
from ticketing.working_time.calendars import Calendar
from ticketing.working_time.errors import ClockError
from ticketing.working_time.time_zones import instant

log = structlog.get_logger()

UNKNOWN_ZONE = "unknown"


class Promise(NamedTuple):
    """A stored policy, and its clocks ready to run in the stored calendar."""

    policy: Policy
    rules: Mapping[str, clocks.Rule]


_RULES_KEPT = 64  # versions held ready; in force is one
_ready: dict[tuple[str, str | None], Promise] = {}  # versions are digests: the same in every database


@dataclass(frozen=True, eq=False)
class Terms:
    """What tickets are promised under one policy."""

    policy: Policy

    @classmethod
    def of(cls, policy: Policy) -> Terms:
        """The terms of a policy in its newest calendar.

        Raises
        ------
        ClockInputError
            If one of the policy's clocks cannot run.
        """
        rules_of(policy)
        return cls(policy)

    @cached_property
    def policy_version(self) -> str:
        content = msgspec.json.encode(self.policy.file, order="sorted")
        return f"{self.policy.reference}-{hashlib.sha256(content).hexdigest()[:12]}"

    @cached_property
    def calendar(self) -> Calendar | None:
        """The calendar that the policy's clocks run in; None: all of them count every hour."""
        kinds = {terms.budget.kind for terms in self.policy.clocks.values()}
        return None if kinds <= {Kind.REAL} else self.policy.working_time.calendar

    @property
    def calendar_version(self) -> str | None:
        return None if self.calendar is None else self.calendar.version

    async def keep(self, connection: AsyncConnection[TupleRow]) -> None:
        """Store both versions, inside the caller's transaction; those that are there stay."""
        rows = await connection.execute(
            "SELECT EXISTS (SELECT FROM policy_version WHERE version = %s)"
            " AND (%s::text IS NULL OR EXISTS (SELECT FROM calendar_version WHERE version = %s))",
            (self.policy_version, self.calendar_version, self.calendar_version),
        )
        if await rows.fetchone() == (True,):
            return
        await connection.execute(
            "INSERT INTO policy_version (version, content) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (self.policy_version, Jsonb(msgspec.to_builtins(self.policy.file))),
        )
        if self.calendar is not None:
            await connection.execute(
                "INSERT INTO calendar_version (version, content) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (self.calendar_version, Jsonb(self.calendar.as_json())),
            )


class Stored(NamedTuple):
    """What a ticket's clocks are read from."""

    promise: Promise
    plan: str | None
    steps: list[Step]
    recorded: list[Breach]


async def load_clocks(connection: AsyncConnection[TupleRow], ticket: int, now: datetime) -> TicketClocks | None:
    """All clocks of a ticket as they stand at `now`.

    None: it is older than the records of clocks, or what was stored cannot be read. That is logged: a ticket can be
    worked on without its clocks.
    """
    stored = await _stored(connection, ticket)
    if stored is None:
        return None
    promise, plan, steps, recorded = stored
    return read_all(promise.policy, plan, steps, now, recorded=recorded, rules=promise.rules)


async def load_steps(
    connection: AsyncConnection[TupleRow], ticket: int, now: datetime
) -> tuple[Policy, TicketClocks, list[Step]] | None:
    """The stored policy of a ticket, its clocks, and the steps both are read from; None as `load_clocks`."""
    stored = await _stored(connection, ticket)
    if stored is None:
        return None
    promise, plan, steps, recorded = stored
    found = read_all(promise.policy, plan, steps, now, recorded=recorded, rules=promise.rules)
    return promise.policy, found, steps


async def _stored(connection: AsyncConnection[TupleRow], ticket: int) -> Stored | None:
    return (await stored_of(connection, [ticket])).get(ticket)


async def stored_of(connection: AsyncConnection[TupleRow], tickets: Sequence[int]) -> dict[int, Stored]:
    """What the clocks of tickets are read from, by their rows.

    One without such records, or whose records cannot be read, is left out; the latter is logged.
    """
    wanted = list(tickets)
    rows = await connection.execute(
        "SELECT id, policy_version, calendar_version, zone, plan FROM ticket"
        " WHERE id = ANY(%s) AND policy_version IS NOT NULL ORDER BY id",
        (wanted,),
    )
    found = await rows.fetchall()
    rows = await connection.execute(
        "SELECT ticket, at, action, state, version, data FROM journal WHERE ticket = ANY(%s) ORDER BY ticket, seq",
        (wanted,),
    )
    entries: dict[int, list[Entry]] = {}
    for ticket, at, *rest in await rows.fetchall():
        entries.setdefault(ticket, []).append(Entry(at.astimezone(UTC), *rest))
    rows = await connection.execute(
        "SELECT ticket, clock, policy, cycle, due, explained FROM breach WHERE ticket = ANY(%s) ORDER BY cycle, due",
        (wanted,),
    )
    breaches: dict[int, list[Breach]] = {}
    for ticket, clock, policy, cycle, due, explained in await rows.fetchall():
        breaches.setdefault(ticket, []).append(Breach(clock, policy, cycle, due.astimezone(UTC), explained))
    stored: dict[int, Stored] = {}
    for ticket, policy_version, calendar_version, zone, plan in found:
        try:
            promise = await _promise(connection, policy_version, calendar_version)
        except ClockError as error:
            log.error("a ticket's clock cannot be read", ticket=ticket, error=str(error))
            continue
        steps = steps_of(entries.get(ticket, ()), localised=zone != UNKNOWN_ZONE)
        stored[ticket] = Stored(promise, plan, steps, breaches.get(ticket, []))
    return stored


async def refresh(
    connection: AsyncConnection[TupleRow], ticket: int, at: datetime, *, opened: bool = False
) -> TicketClocks | None:
    """Bring due time, verdict and next look up to date after a journal entry, inside its transaction.

    The engine looks at once: what was reached or broken until now is its to tell. Of one just `opened` nothing was,
    unless its clocks began earlier: a paper letter counts from the day it came.
    """
    clocks = await load_clocks(connection, ticket, at)
    if clocks is None:
        return None
    begun = [stand.result.start_at for clock in clocks.clocks for stand in clock.stands]
    fresh = opened and all(begin >= instant(at) for begin in begun)
    check = clocks.next_check(at) if fresh else at if begun else None
    await connection.execute(
        "UPDATE ticket SET due_at = %s, due_clock = %s, clock_check_at = %s, clock_runs = %s, verdict = %s"
        " WHERE id = %s",
        (clocks.due, clocks.due_clock, check, clocks.runs, clocks.verdict, ticket),
    )
    return clocks


async def _promise(connection: AsyncConnection[TupleRow], policy_version: str, calendar_version: str | None) -> Promise:
    """What stored versions promise to a new ticket."""
    key = (policy_version, calendar_version)
    if key not in _ready:
        rows = await connection.execute(
            "SELECT p.content, c.content FROM policy_version p LEFT JOIN calendar_version c ON c.version = %s"
            " WHERE p.version = %s",
            (calendar_version, policy_version),
        )
        row = await rows.fetchone()
        if row is None:
            raise ClockError(f"the stored policy {policy_version} is gone")
        promise = _promised(policy_version, *row)
        if len(_ready) >= _RULES_KEPT:
            _ready.clear()
        _ready[key] = promise
    return _ready[key]


def _promised(version: str, policy: dict[str, Any], calendar: dict[str, Any] | None) -> Promise:
    try:
        stored = of_stored(policy)
    except msgspec.ValidationError as error:
        raise ClockError(f"the stored policy {version} cannot be read: {error}") from error
    return Promise(stored, rules_of(stored, None if calendar is None else Calendar.from_json(calendar)))
