"""Past tickets under other rules: which breaches a policy would have added, and which it would have spared.

What was done and when stays as the journals tell it; only what was promised is another. A breach is the same under both
where clock and cycle are; what the new policy calls otherwise is one less and one more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from ticketing.clocks.history import Breach
from ticketing.clocks.records import Stored, stored_of
from ticketing.clocks.several import TicketClocks, read_all, rules_of
from ticketing.core.db import Connection
from ticketing.policies import Policy

_AT_ONCE = 500  # tickets read together


class Changed(NamedTuple):
    """One breach of one ticket that is there under one of the two rules alone."""

    ticket: str
    clock: str
    cycle: int
    due: datetime

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "due": self.due.isoformat()}


@dataclass
class Replay:
    """What another policy makes of past tickets.

    Attributes
    ----------
    tickets : that were read; `left_out`: numbers of those that could not be, or are older than records of clocks.
    before, after : breaches under the rules that each was opened under, and under the other policy.
    unknown : numbers of tickets of which the other policy's clocks cannot be told, such as of a year it does not know.
    """

    policy: str
    tickets: int = 0
    before: int = 0
    after: int = 0
    added: list[Changed] = field(default_factory=list)
    removed: list[Changed] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "tickets": self.tickets,
            "before": self.before,
            "after": self.after,
            "added": [change.as_json() for change in self.added],
            "removed": [change.as_json() for change in self.removed],
            "left_out": self.left_out,
            "unknown": self.unknown,
        }


async def replay(
    connection: Connection, policy: Policy, begin: datetime, end: datetime, now: datetime, *, plan: str | None = None
) -> Replay:
    """Read the tickets opened in [begin, end) under `policy`, as they stand at `now`.

    Parameters
    ----------
    plan : that all of them are given; None: each its own, as far as the policy has it, else the lowest.
    """
    found = Replay(policy.reference)
    rules = rules_of(policy)
    async for number, stored in _tickets(connection, begin, end):
        if stored is None or not stored.steps:
            found.left_out.append(number)
            continue
        promise, own, steps, recorded = stored
        old = read_all(promise.policy, own, steps, now, recorded=recorded, rules=promise.rules)
        new = read_all(policy, plan or own, steps, now, rules=rules)
        _compare(found, number, old, new)
    return found


async def _tickets(connection: Connection, begin: datetime, end: datetime) -> AsyncIterator[tuple[str, Stored | None]]:
    last = 0
    while True:
        rows = await connection.execute(
            "SELECT id, number FROM ticket WHERE opened_at >= %s AND opened_at < %s AND id > %s ORDER BY id LIMIT %s",
            (begin, end, last, _AT_ONCE),
        )
        numbers: dict[int, str] = dict(await rows.fetchall())
        stored = await stored_of(connection, list(numbers))
        for ticket, number in numbers.items():
            yield number, stored.get(ticket)
        if len(numbers) < _AT_ONCE:
            return
        last = max(numbers)


def _compare(found: Replay, number: str, old: TicketClocks, new: TicketClocks) -> None:
    before, after = _by_place(old), _by_place(new)
    found.tickets += 1
    found.before += len(before)
    found.after += len(after)
    if any(clock.problem for clock in new.clocks):
        found.unknown.append(number)
    for place, breach in after.items():
        if place not in before:
            found.added.append(Changed(number, *place, breach.due))
    for place, breach in before.items():
        if place not in after:
            found.removed.append(Changed(number, *place, breach.due))


def _by_place(clocks: TicketClocks) -> dict[tuple[str, int], Breach]:
    return {(breach.clock, breach.cycle): breach for breach in clocks.breaches}
