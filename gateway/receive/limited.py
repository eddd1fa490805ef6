"""Terminals that could not be refused and were not registered: their frames wait in quarantine until they are.

A broker's payload was acknowledged to its terminal already, and a relay has no word for one terminal among many: what
the limit of new terminals holds back is kept raw. When such a terminal is registered after all, the process that
releases quarantine has to hear of it.
"""

from __future__ import annotations

import asyncio

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from gateway.receive.terminals import CHANNEL

_log = structlog.get_logger()

_MOST = 20_000  # terminals that are remembered; frames of more wait for the next start
_NOTIFY = "SELECT pg_notify(%s, %s)"


class Limited:
    """Those of a process."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self._waiting: dict[str, None] = {}
        self._telling: set[asyncio.Task[None]] = set()

    def put(self, terminal: str) -> None:
        """It may not be registered now, and what it sends is kept raw."""
        if len(self._waiting) < _MOST:
            self._waiting[terminal] = None

    def registered(self, terminal: str) -> None:
        """It is, by now."""
        if terminal in self._waiting:
            del self._waiting[terminal]
            task = asyncio.get_running_loop().create_task(self._release(terminal))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _release(self, terminal: str) -> None:
        """Say that it is registered: the process that releases quarantine hears it."""
        try:
            async with self._pool.connection(2.0) as link:
                await link.execute(_NOTIFY, (CHANNEL, terminal))
        except (psycopg.Error, PoolTimeout, OSError) as error:
            _log.warning("frames in quarantine wait for the next start", terminal=terminal, error=str(error).strip())
