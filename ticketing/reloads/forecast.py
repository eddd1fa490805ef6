"""When archives that wait will be re-loaded: the queue played forward over the nights. Pure.

The first that may begin does so as soon as one before it has ended; what a night does not finish goes on in the next.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ticketing.reloads.nights import HORIZON, Nights

SETTLE = 180.0  # s of each: the command's answer, and the quiet that ends it
USUAL = 1 / 120  # s of night for a second of archive where nothing was re-loaded yet: a day in 12 min
SLOWEST = 1.0  # a terminal that sends its archive no faster than it filled it
ENOUGH = 3  # re-loaded archives that say more than that


class Rate(NamedTuple):
    """Seconds of night for a second of archive, and whether it was measured."""

    pace: float = USUAL
    measured: bool = False

    @classmethod
    def of(cls, ran: float, asked: float, count: int) -> Rate:
        """Of the last ones: seconds that they took and asked for, and how many they were."""
        if count < ENOUGH or asked <= 0:
            return cls()
        return cls(min(max(ran - count * SETTLE, 0.0) / asked, SLOWEST), True)

    def left(self, asked: timedelta, share: float) -> timedelta:
        """What is to do for a span of which a share is there."""
        return timedelta(seconds=SETTLE + self.pace * asked.total_seconds() * (1 - share))


class Waiting(NamedTuple):
    """One that is not done; in the queue's order."""

    id: int
    left: timedelta
    not_before: datetime
    running: bool = False


def forecast(
    now: datetime, nights: Nights, queue: Sequence[Waiting], at_once: int
) -> dict[int, tuple[datetime, datetime]]:
    """When each begins (goes on, if it runs) and ends; those that begin after `HORIZON` are left out."""
    found: dict[int, tuple[datetime, datetime]] = {}
    waiting = sorted(queue, key=lambda one: not one.running)  # those that run, then the others in their order
    free = [now] * at_once
    while waiting:
        at, _ = nights.walk(heapq.heappop(free), timedelta())
        if at - now > HORIZON:
            break
        place = next((n for n, one in enumerate(waiting) if one.running or one.not_before <= at), None)
        if place is None:
            place = min(range(len(waiting)), key=lambda n: waiting[n].not_before)
            at = waiting[place].not_before
        one = waiting.pop(place)
        found[one.id] = nights.walk(at, one.left)
        heapq.heappush(free, found[one.id][1])
    return found
