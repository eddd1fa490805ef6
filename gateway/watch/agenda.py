"""What the ticks decided, until the store has taken it: carried out some at a time, each by itself.

A store that is away leaves everything for the next time. Whatever else goes wrong with one item is that item's alone:
it is told, counted, and not tried again for a while.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from ticketing.incidents.rules import inhibit

log = structlog.get_logger()

AT_ONCE = 4  # transactions: a mass outage must not take the pool from the desk
REFUSED = 60.0  # s before what failed is tried again

Key: TypeAlias = tuple[str, int]  # a kind of incident and a terminal's row
Act: TypeAlias = Callable[[float], Awaitable[object]]


class Agenda:
    """Attributes
    ----------
    refused : attempts that failed while the store was there, by kind, since the start.
    """

    def __init__(self) -> None:
        self._due: dict[Key, Act] = {}
        self._refused_until: dict[Key, float] = {}
        self.refused: Counter[str] = Counter()

    def put(self, key: Key, act: Act, now: float) -> None:
        """Have it done; not twice, and not while it is held."""
        if key not in self._due and not self._held(key, now):
            self._due[key] = act

    def shift(self, seconds: float) -> None:
        """The wall clock was set."""
        self._refused_until = {key: until + seconds for key, until in self._refused_until.items()}

    async def settle(self, now: float) -> int:
        """Carry out all that is due; returns how much that was.

        Raises
        ------
        OperationalError, PoolTimeout
            If the store is away.
        """
        done = 0
        while self._due:
            batch = [(key, self._due[key]) for key in list(self._due)[:AT_ONCE]]
            results = await asyncio.gather(*(self.attempt(key, act, now) for key, act in batch), return_exceptions=True)
            away = None
            for (key, _), result in zip(batch, results, strict=True):
                if isinstance(result, BaseException):
                    away = result
                else:
                    self._due.pop(key, None)
                    done += 1
            if away is not None:
                raise away
        return done

    async def attempt(self, key: Key, act: Act, now: float) -> None:
        """Do one thing now, unless it is held; see `settle`."""
        if self._held(key, now):
            return
        try:
            await act(now)
        except Exception as error:
            if is_away(error):
                raise
            self._refused_until[key] = now + REFUSED
            self.refused[key[0]] += 1
            kind, row = key
            log.error("incident refused", kind=kind, terminal=row, error=f"{type(error).__name__}: {error}".strip())

    def _held(self, key: Key, now: float) -> bool:
        if inhibit(now, listening=True, refused_until=self._refused_until.get(key, float("-inf"))) is not None:
            return True
        self._refused_until.pop(key, None)
        return False


def is_away(error: BaseException) -> bool:
    """Whether an error says that the store is not there for anybody, rather than something about one transaction.

    Connections lost or refused, a server that shuts down or has no room: not a lock, a deadlock or a time limit.
    """
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, OperationalError):
        return False
    state = error.sqlstate
    return state is None or state.startswith(("08", "53", "57P"))
