"""Facts beside the records, written in batches once a second: connections, firmware and model told, protocol spoken.

They are evidence, not data a terminal was told to forget: losing the last second of them in a crash is allowed. What
could not be written waits for the store, newest first to stay, oldest first to go; of what a terminal tells of itself
the newest wins, also over what another process writes later.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from gateway.receive.terminals import Terminals
from protocols.records import imei_of

_log = structlog.get_logger()
_PERIOD = 1.0  # s
_TIMEOUT = 5.0  # s for one flush: a connection whose answer was lost must not end the writing of history
_FAREWELL = 1.0  # s for the last flush
_SLICE = 2000  # facts in one transaction
_BOUND = 100_000  # facts of a kind kept while the store is away; older ones go
_STRANGERS = 20_000  # terminals without a row of which what they told is kept, some 10 MB: anybody may invent them
_LATEST = 15.0  # s, at most, between attempts while the store is away
_PROCESSES = 1024  # a connection's id modulo this is the number of its process
# Errors that one fact's own text can cause.
_CONTENTS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.RaiseException, UnicodeError)

_OPENED = (
    "INSERT INTO connection (id, terminal, protocol, address, listener, opened_at, instance, worker) "
    "SELECT i, t, p, a, nullif(l, ''), to_timestamp(o), n, w FROM unnest(%s::bigint[], %s::text[], %s::text[], "
    "%s::text[], %s::text[], %s::float8[], %s::text[], %s::int2[]) AS u(i, t, p, a, l, o, n, w) "
    "ON CONFLICT (id) DO NOTHING"
)
_CLOSED = (
    "UPDATE connection SET closed_at = to_timestamp(c), frames = f, malformed = m, reason = r "
    "FROM unnest(%s::bigint[], %s::float8[], %s::bigint[], %s::bigint[], %s::text[]) AS u(i, c, f, m, r) WHERE id = i"
)
# A time in the future is one that a wrong clock left: it keeps nothing out. What is told again is seldom written.
_TOLD = (
    "UPDATE terminal SET {0} = v, {0}_at = to_timestamp(a) FROM unnest(%s::int4[], %s::text[], %s::float8[]) "
    "AS u(i, v, a) WHERE id = i AND ({0}_at IS NULL OR {0}_at <= to_timestamp(a) OR {0}_at > now()) "
    "AND ({0} IS DISTINCT FROM v OR {0}_at IS NULL OR {0}_at < to_timestamp(a) - interval '1 minute')"
)
_COLUMNS = {
    "firmware": "firmware", "model": "model_told", "protocol": "protocol",
    "imei": "imei", "iccid": "iccid", "imsi": "imsi", "operator": "operator_told",
}  # fmt: skip


class _Facts:
    """Facts of one kind by key, in order; `statement` writes their columns."""

    def __init__(self, statement: str) -> None:
        self.statement = statement
        self.waiting: dict[int, tuple[Any, ...]] = {}
        self.dropped = 0

    def put(self, key: int, fact: tuple[Any, ...]) -> None:
        """One more; what was said before under this key is out of date."""
        self.waiting.pop(key, None)
        self.waiting[key] = fact
        self._bound()

    def take(self) -> dict[int, tuple[Any, ...]]:
        """The oldest ones, out."""
        return {key: self.waiting.pop(key) for key in list(itertools.islice(self.waiting, _SLICE))}

    def give_back(self, facts: Mapping[int, tuple[Any, ...]]) -> None:
        """They were not written. Where a key comes again (what is told), the last column says which is newer."""
        waiting = self.waiting
        back = {key: fact for key, fact in facts.items() if key not in waiting or fact[-1] > waiting[key][-1]}
        self.waiting = {**back, **{key: fact for key, fact in waiting.items() if key not in back}}
        self._bound()

    def _bound(self) -> None:
        while len(self.waiting) > _BOUND:
            del self.waiting[next(iter(self.waiting))]
            self.dropped += 1


class History:
    """Collects facts and flushes them."""

    def __init__(
        self,
        pool: AsyncConnectionPool,
        terminals: Terminals,
        instance: str,
        worker: int = 0,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`instance` is whose connections these are; `worker` numbers its processes, below `_PROCESSES`."""
        self._pool = pool
        self._terminals = terminals
        self._instance = instance
        self._worker = worker
        self._clock = clock
        self._ids = itertools.count(time.time_ns() // _PROCESSES * _PROCESSES + worker, _PROCESSES)
        self._opened = _Facts(_OPENED)
        self._closed = _Facts(_CLOSED)
        self._told = {name: _Facts(_TOLD.format(column)) for name, column in _COLUMNS.items()}
        self._called = bytearray()  # by row: whether its identity was told as an IMEI, or is none
        self._strangers: dict[str, dict[str, tuple[str, float]]] = {}  # by identity: what it told, and at what time
        self._trouble = False  # told

    def opened(self, terminal: str, protocol: str, address: str, at: float, listener: str = "") -> int:
        """A terminal logged in; returns the connection's id."""
        identifier = next(self._ids)
        fact = (identifier, terminal, protocol, address, listener, at, self._instance, self._worker)
        self._opened.put(identifier, fact)
        return identifier

    def closed(self, identifier: int, at: float, frames: int, malformed: int, reason: str) -> None:
        """That connection ended."""
        self._closed.put(identifier, (identifier, at, frames, malformed, reason))

    def told(self, row: int, at: float | None = None, **facts: str | None) -> None:
        """What a terminal told of itself: names of `_COLUMNS`; `at` what time (Unix s), None: now.

        What was true at an earlier time than what is known, out of the black box say, is left out.
        """
        if row < 0:
            return
        now = self._clock()
        at = now if at is None else min(at, now)
        for name, value in facts.items():
            if value is None:
                continue
            if name == "protocol":  # a datagram tells it each time
                if self._terminals.protocol.get(row) == value:
                    continue
                self._terminals.protocol[row] = value
            # Whatever else is told, another process may have heard otherwise.
            waiting = self._told[name].waiting.get(row)
            if waiting is None or not at < waiting[2] <= now:
                self._told[name].put(row, (row, value, at))

    def told_by(self, terminal: str, row: int, at: float | None = None, **facts: str | None) -> None:
        """As `told`; of a terminal that has no row yet it is kept until it has one."""
        if row >= 0:
            self.told(row, at, **facts)
            return
        now = self._clock()
        at = now if at is None else min(at, now)
        known = self._strangers.pop(terminal, {})
        for name, value in facts.items():
            if value is not None and (name not in known or not at < known[name][1] <= now):
                known[name] = value, at
        if known:
            self._strangers[terminal] = known
        while len(self._strangers) > _STRANGERS:
            del self._strangers[next(iter(self._strangers))]

    def called(self, terminal: str, row: int, *, certain: bool) -> None:
        """A terminal logged in by this identity, which may be its IMEI: told once while this process lives."""
        if row >= len(self._called):
            self._called.extend(bytes(row + 1 - len(self._called)))
        if row >= 0:
            if self._called[row]:
                return
            self._called[row] = 1
        imei = imei_of(terminal, certain=certain)
        if imei is not None:
            self.told_by(terminal, row, imei=imei)

    def _enter(self) -> None:
        """What was told by those that are in the registry by now."""
        rows = self._terminals.rows
        for terminal in [terminal for terminal in self._strangers if terminal in rows]:
            for name, (value, at) in self._strangers.pop(terminal).items():
                self.told(rows[terminal], at, **{name: value})

    async def flush(self) -> bool:
        """Write what has come together, a slice at a time: a whole fleet may have connected at once.

        Returns whether the store took all there was.
        """
        self._enter()
        while True:
            taken = [(self._opened, self._opened.take())]
            if not self._opened.waiting:  # an end without its beginning would be lost
                taken.append((self._closed, self._closed.take()))
            taken += [(facts, facts.take()) for facts in self._told.values()]
            taken = [(facts, some) for facts, some in taken if some]
            if not taken:
                self._tell("")
                return True
            try:
                await self._write(taken)
            except BaseException as error:  # a cancellation too: the last flush comes after it
                for facts, some in taken:
                    facts.give_back(some)
                if not isinstance(error, (psycopg.Error, OSError, TimeoutError)):
                    raise
                self._tell(str(error).strip() or type(error).__name__)
                return False

    async def _write(self, taken: list[tuple[_Facts, dict[int, tuple[Any, ...]]]]) -> None:
        """In one transaction; a fact that the database refuses is found by halves, and left out."""
        try:
            async with (
                asyncio.timeout(_TIMEOUT),
                self._pool.connection() as link,
                link.transaction(),
                link.cursor() as cursor,
            ):
                for facts, some in taken:
                    await cursor.execute(
                        facts.statement.encode(), [list(column) for column in zip(*some.values(), strict=True)]
                    )
        except _CONTENTS as error:
            if len(taken) > 1:
                for one in taken:
                    await self._write([one])
                return
            ((facts, some),) = taken
            if len(some) > 1:
                items = list(some.items())
                for half in (items[: len(items) // 2], items[len(items) // 2 :]):
                    await self._write([(facts, dict(half))])
            else:
                _log.error("the store refuses a fact of the history", fact=next(iter(some)), error=str(error).strip())

    def _tell(self, trouble: str) -> None:
        """Once, not at each attempt."""
        if trouble and not self._trouble:
            _log.warning("history not written: it waits", error=trouble)
        elif self._trouble and not trouble:
            kinds = (self._opened, self._closed, *self._told.values())
            _log.info("history written again", dropped=sum(facts.dropped for facts in kinds))
            for facts in kinds:
                facts.dropped = 0
        self._trouble = bool(trouble)

    async def end_open(self) -> None:
        """Connections that an earlier life of this process left open, if it died, get an end.

        Those of process 0, the whole service, are all of the instance, and those from before instances had names.
        """
        async with self._pool.connection() as link:
            await link.execute(
                "UPDATE connection SET closed_at = now(), reason = 'gateway stopped' WHERE closed_at IS NULL "
                "AND ((instance = %s AND (%s = 0 OR worker = %s)) OR (instance IS NULL AND %s = 0))",
                (self._instance, self._worker, self._worker, self._worker),
            )

    async def run(self) -> None:
        """Flush until cancelled, and once more then."""
        pause = _PERIOD
        try:
            while True:
                await asyncio.sleep(pause)
                pause = _PERIOD if await self.flush() else min(2 * pause, _LATEST)
        finally:
            with contextlib.suppress(TimeoutError):  # no store: evidence may be lost, the end may not be late
                async with asyncio.timeout(_FAREWELL):
                    await self.flush()
