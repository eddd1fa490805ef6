"""The engine: everything that time causes, as an ordered list of modules, asked with an instant.

    cycle(now) → what happened, by module          next_due() → when something may happen next

The service calls it every second or when it is woken; a rehearsal jumps from due to due: the same code. Nothing here
reads a clock. What cannot be judged is put off, counted and told once, and stops none of its neighbours; two engines on
one store share the work, row by row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import LiteralString, Protocol

import structlog
from psycopg import InterfaceError, OperationalError

from ticketing.core.db import Connection, Pool, utc_or_none
from ticketing.quality import reviews
from ticketing.recordings import store as recordings
from ticketing.reloads import jobs, queue
from ticketing.tickets import outages, sampling
from ticketing.tickets.clock_watch import Failing, watch_clocks
from ticketing.tickets.dues import move
from ticketing.tickets.office import Office
from ticketing.tickets.timed import LOOKS, Look

log = structlog.get_logger()

AT_ONCE = 50
ROUNDS = 1000  # of one cycle: a module that always has more to do is broken
OF_TICKET: LiteralString = "SELECT FROM ticket WHERE id = %s FOR UPDATE SKIP LOCKED"
AGAIN = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=1))


class Module(Protocol):
    """One thing that time causes."""

    @property
    def name(self) -> str: ...

    async def cycle(self, now: datetime) -> int:
        """Do what is due by `now`; returns how much that was."""

    async def next_due(self) -> datetime | None:
        """When there may be something to do; None: nothing will come by itself."""


class Clocks:
    """Warnings and breaches of tickets' clocks, once each."""

    name = "clocks"

    def __init__(self, pool: Pool, office: Office | None = None) -> None:
        """`office`: whose targets are told; None: nobody is."""
        self._pool = pool
        self._office = office
        self.failing = Failing()

    async def cycle(self, now: datetime) -> int:
        return await watch_clocks(self._pool, now, self.failing, self._office)

    async def next_due(self) -> datetime | None:
        async with self._pool.connection() as connection:
            rows = await connection.execute("SELECT min(clock_check_at) FROM ticket")
            (found,) = await rows.fetchone() or (None,)
        return utc_or_none(found)


class Dues:
    """Tickets, or other subjects, that a part of the desk looks at when their instant comes.

    Attributes
    ----------
    failed : looks that ended in an error since the start, by part.
    """

    name = "dues"

    def __init__(
        self,
        pool: Pool,
        office: Office,
        looks: Mapping[str, Look],
        locks: Mapping[str, LiteralString] | None = None,
    ) -> None:
        """`looks` in the order in which parts are asked at one instant; `locks`: of subjects that are no tickets."""
        self._pool = pool
        self._office = office
        self._looks = dict(looks)
        self._locks = dict(locks or {})
        self._told: set[tuple[str, int]] = set()
        self.failed: Counter[str] = Counter(dict.fromkeys(looks, 0))

    async def cycle(self, now: datetime) -> int:
        total = 0
        while True:
            async with self._pool.connection() as connection:
                rows = await connection.execute(
                    "SELECT module, subject FROM due WHERE at <= %(now)s AND module = ANY(%(modules)s)"
                    " ORDER BY at, array_position(%(modules)s, module), subject LIMIT %(limit)s",
                    {"now": now, "modules": list(self._looks), "limit": AT_ONCE},
                )
                found = await rows.fetchall()
                done = 0
                for module, subject in found:
                    done += await self._one(connection, module, subject, now)
            total += done
            if not done or len(found) < AT_ONCE:
                return total

    async def _one(self, connection: Connection, module: str, subject: int, now: datetime) -> bool:
        """Look at one, unless somebody works on it: then the next cycle does. Actions lock in the same order."""
        try:
            async with connection.transaction():
                lock = self._locks.get(module, OF_TICKET)
                rows = await connection.execute(lock, (subject,))
                if await rows.fetchone() is None and await self._there(connection, lock, subject):
                    return False
                rows = await connection.execute(
                    "SELECT FROM due WHERE module = %s AND subject = %s AND at <= %s FOR UPDATE",
                    (module, subject, now),
                )
                if await rows.fetchone() is None:  # somebody was quicker
                    return False
                following = await self._looks[module](connection, self._office, subject, now)
                await move(connection, module, subject, following)
        except (OperationalError, InterfaceError):
            raise  # the store, not the subject
        except Exception:
            self.failed[module] += 1
            if (module, subject) not in self._told:
                self._told.add((module, subject))
                log.exception("cannot be judged", module=module, subject=subject)
            await connection.execute(
                "UPDATE due SET at = %s::timestamptz + (%s::interval[])[1 + least(attempts, %s)],"
                " attempts = attempts + 1 WHERE module = %s AND subject = %s",
                (now, list(AGAIN), len(AGAIN) - 1, module, subject),
            )
            return True
        self._told.discard((module, subject))
        return True

    async def _there(self, connection: Connection, lock: LiteralString, subject: int) -> bool:
        rows = await connection.execute(lock.replace(" FOR UPDATE SKIP LOCKED", ""), (subject,))
        return await rows.fetchone() is not None

    async def next_due(self) -> datetime | None:
        async with self._pool.connection() as connection:
            rows = await connection.execute("SELECT min(at) FROM due WHERE module = ANY(%s)", (list(self._looks),))
            (found,) = await rows.fetchone() or (None,)
        return utc_or_none(found)


def modules_of(pool: Pool, office: Office) -> tuple[Clocks, Dues]:
    """What every desk has, in its order: clocks first, then what looks at single tickets and outages."""
    return Clocks(pool, office), Dues(
        pool,
        office,
        {
            **LOOKS,
            recordings.MODULE: recordings.look,
            outages.MODULE: outages.look,
            jobs.MODULE: queue.look,
            sampling.MODULE: reviews.look,
        },
        {outages.MODULE: outages.LOCK, jobs.MODULE: jobs.LOCK, sampling.MODULE: sampling.LOCK},
    )


class Engine:
    """The modules in their order."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.modules = tuple(modules)

    async def cycle(self, now: datetime) -> dict[str, int]:
        """Do all that is due by `now`, and what follows from it at once; returns how much, by module."""
        found: dict[str, int] = {}
        for _ in range(ROUNDS):
            done = 0
            for module in self.modules:
                due = await module.next_due()
                if due is not None and due <= now:
                    count = await module.cycle(now)
                    found[module.name] = found.get(module.name, 0) + count
                    done += count
            if not done:
                return found
        log.error("the engine has more to do than it ever may", modules=found)
        return found

    async def next_due(self) -> datetime | None:
        """When something may happen next."""
        dues = [due for module in self.modules if (due := await module.next_due()) is not None]
        return min(dues, default=None)
