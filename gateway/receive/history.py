"""Facts beside the records, written in batches once a second: connections, firmware and model told, protocol spoken.

They are evidence, not data a terminal was told to forget: losing the last second of them in a crash is allowed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import Any, TypeVar

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from gateway.receive.terminals import Terminals, Told

_log = structlog.get_logger()
Fact = TypeVar("Fact")
_PERIOD = 1.0  # s
_TIMEOUT = 5.0  # s for one flush: a connection whose answer was lost must not end the writing of history
_FAREWELL = 1.0  # s for the last flush
_SLICE = 2000  # facts in one transaction
_BOUND = 100_000  # facts kept while the store is away; older ones go
_PROCESSES = 1024  # a connection's id modulo this is the number of its process


def _first(facts: dict[int, Fact]) -> dict[int, Fact]:
    """Take the oldest ones out."""
    return {key: facts.pop(key) for key in list(itertools.islice(facts, _SLICE))}


class History:
    """Collects facts and flushes them."""

    def __init__(self, pool: AsyncConnectionPool, terminals: Terminals, worker: int = 0) -> None:
        """`worker` numbers the processes that write at the same time, below `_PROCESSES`."""
        self._pool = pool
        self._terminals = terminals
        self._worker = worker
        self._ids = itertools.count(time.time_ns() // _PROCESSES * _PROCESSES + worker, _PROCESSES)
        self._opened: dict[int, tuple[Any, ...]] = {}
        self._closed: dict[int, tuple[Any, ...]] = {}
        self._told: dict[int, dict[str, str]] = {}

    def opened(self, terminal: str, protocol: str, address: str, at: float) -> int:
        """A terminal logged in; returns the connection's id."""
        identifier = next(self._ids)
        if len(self._opened) < _BOUND:
            self._opened[identifier] = (identifier, terminal, protocol, address, at)
        return identifier

    def closed(self, identifier: int, at: float, frames: int, malformed: int, reason: str) -> None:
        """That connection ended."""
        if len(self._closed) < _BOUND:
            self._closed[identifier] = (identifier, at, frames, malformed, reason)

    def told(self, row: int, **facts: str | None) -> None:
        """What a terminal told of itself: `firmware`, `model`, `protocol`."""
        if row < 0:
            return
        terminals = self._terminals
        for name, value in facts.items():
            if value is None:
                continue
            known: Told = getattr(terminals, name)
            if known.get(row) != value:
                known[row] = value
                self._told.setdefault(row, {})[name] = value

    async def flush(self) -> None:
        """Write what has come together, a slice at a time: a whole fleet may have connected at once."""
        while await self._flush_slice():
            pass

    async def _flush_slice(self) -> bool:
        """Whether something was written."""
        opened, closed, told = _first(self._opened), _first(self._closed), _first(self._told)
        if not (opened or closed or told):
            return False
        try:
            async with (
                asyncio.timeout(_TIMEOUT),
                self._pool.connection() as link,
                link.transaction(),
                link.cursor() as cursor,
            ):
                if opened:
                    await cursor.execute(
                        "INSERT INTO connection (id, terminal, protocol, address, opened_at) "
                        "SELECT i, t, p, a, to_timestamp(o) FROM "
                        "unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::float8[]) AS u(i, t, p, a, o)",
                        [list(column) for column in zip(*opened.values(), strict=True)],
                    )
                if closed:
                    await cursor.execute(
                        "UPDATE connection SET closed_at = to_timestamp(c), frames = f, malformed = m, reason = r "
                        "FROM unnest(%s::bigint[], %s::float8[], %s::bigint[], %s::bigint[], %s::text[]) "
                        "AS u(i, c, f, m, r) WHERE id = i",
                        [list(column) for column in zip(*closed.values(), strict=True)],
                    )
                if told:
                    await cursor.executemany(
                        "UPDATE terminal SET firmware = coalesce(%s, firmware), "
                        "model_told = coalesce(%s, model_told), protocol = coalesce(%s, protocol) WHERE id = %s",
                        [
                            (facts.get("firmware"), facts.get("model"), facts.get("protocol"), row)
                            for row, facts in told.items()
                        ],
                    )
        except (psycopg.Error, OSError, TimeoutError) as error:
            _log.warning("history not written", error=str(error).strip())
            for row, facts in told.items():  # connections may be lost, identities are told again
                self._told.setdefault(row, {}).update(facts)
            self._closed = {**closed, **self._closed}
            self._opened = {**opened, **self._opened}
            return False
        return True

    async def end_open(self) -> None:
        """Connections of this process's last life, if it died, have no end: give them one."""
        async with self._pool.connection() as link:
            await link.execute(
                "UPDATE connection SET closed_at = now(), reason = 'gateway stopped' "
                "WHERE closed_at IS NULL AND (%s = 0 OR id %% %s = %s)",
                (self._worker, _PROCESSES, self._worker),
            )

    async def run(self) -> None:
        """Flush until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(_PERIOD)
                await self.flush()
        finally:
            with contextlib.suppress(TimeoutError):  # no store: evidence may be lost, the end may not be late
                async with asyncio.timeout(_FAREWELL):
                    await self.flush()
