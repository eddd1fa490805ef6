"""Egress as the service sees it: cursors made in time, a process that passes records on, its figures."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import psycopg
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from psycopg_pool import AsyncConnectionPool

from gateway.configuration.carriers import Egress
from gateway.egress.child import Report, setup_line
from gateway.egress.sending import Stats
from gateway.store.cursors import consumers, ensure

_log = structlog.get_logger()

STOPPING = 3.0  # s for the process to end
FORSAKEN = 86_400.0  # s after which a cursor that nobody has configured is told of
TRIES = 3  # to begin telling what is stored, while somebody holds the records
_LINE = 1 << 20  # bytes of a report: some 200 a consumer


class EgressRole:
    """Keeps the process while there is somebody to send to."""

    def __init__(self, dsn: str, pool: AsyncConnectionPool[Any], wanted: Sequence[Egress]) -> None:
        self._dsn = dsn
        self._pool = pool
        self._wanted = list(wanted)
        self._changed = asyncio.Event()
        self._last: dict[str, Stats] = {}  # as the present process told
        self._ended: dict[str, Stats] = {}  # counters of those that are no more
        self._process: dict[str, float] = {}

    def processes(self) -> list[dict[str, float]]:
        """Processor time, memory and descriptors of the process, if it runs."""
        return [self._process] if self._process else []

    async def prepare(self, wanted: Sequence[Egress]) -> None:
        """Make the cursors: what is committed after this reaches those consumers. To be called before it counts.

        Raises
        ------
        psycopg.errors.LockNotAvailable
            If somebody holds the records for long.
        """
        if not wanted:
            return
        for left in reversed(range(TRIES)):
            try:
                async with self._pool.connection() as link:
                    await ensure(link, [(consumer.name, consumer.start) for consumer in wanted])
                return
            except psycopg.errors.LockNotAvailable:
                if not left:
                    raise

    async def begin(self) -> None:
        """`prepare` for those that are configured; a failure is told, and terminals are served all the same."""
        try:
            await self.prepare(self._wanted)
        except psycopg.Error as error:
            _log.error("egress does not begin yet", error=str(error).strip())

    def reconfigure(self, wanted: Sequence[Egress]) -> None:
        """Send to these from now on."""
        if list(wanted) != self._wanted:
            self._wanted = list(wanted)
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled; raises where the process ends by itself."""
        while True:
            self._changed.clear()
            if self._wanted:
                await self.prepare(self._wanted)
                await self._tell_of_forsaken()
                await self._keep()
            else:
                await self._changed.wait()

    async def _keep(self) -> None:
        """From the process's start to its end, or until others are wanted."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.egress.child", str(os.getpid()),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE,
        )  # fmt: skip
        hearing = asyncio.create_task(self._hear(process))
        changed = asyncio.create_task(self._changed.wait())
        try:
            assert process.stdin is not None  # noqa: S101  # it was asked for
            process.stdin.write(setup_line(self._dsn, self._wanted))
            await asyncio.wait({hearing, changed}, return_when=asyncio.FIRST_COMPLETED)
            if hearing.done() and not changed.done():
                await process.wait()
                raise RuntimeError(f"the process that passes records on ended with {process.returncode}")
        finally:
            changed.cancel()
            await self._end(process, hearing)

    async def _end(self, process: asyncio.subprocess.Process, hearing: asyncio.Task[None]) -> None:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(STOPPING):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await asyncio.wait({hearing}, timeout=1.0)
        hearing.cancel()
        self._process = {}
        for name, stats in self._last.items():
            total = self._ended.setdefault(name, Stats(name))
            total.sent += stats.sent
            total.lost += stats.lost
            stats.sent = stats.lost = 0
            stats.holding = stats.connected = False
        kept = {consumer.name for consumer in self._wanted}
        self._last = {name: stats for name, stats in self._last.items() if name in kept}

    async def _hear(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101  # it was asked for
        while line := await process.stdout.readline():
            report = msgspec.json.decode(line, type=Report)
            self._last = {stats.name: stats for stats in report.consumers}
            self._process = report.process

    async def _tell_of_forsaken(self) -> None:
        """A cursor that no service has configured any more holds back what is kept for it."""
        async with self._pool.connection() as link:
            for consumer in await consumers(link):
                if time.time() - consumer.seen_at.timestamp() > FORSAKEN:
                    _log.warning(
                        "a cursor that no configuration names keeps records' keys in the store",
                        egress=consumer.name,
                        waiting=consumer.waiting,
                        remedy=f"configure it again, or: dozor egress reset {consumer.name}",
                    )

    def metrics(self) -> Iterator[Metric]:
        """Of each consumer that is configured."""
        if not self._wanted:
            return
        labels = ["name"]
        lag = GaugeMetricFamily(
            "dozor_egress_lag_seconds",
            "Age of the oldest stored record that a consumer has not acknowledged",
            labels=labels,
        )
        holding = GaugeMetricFamily("dozor_egress_holding", "1 where this service sends to the consumer", labels=labels)
        connected = GaugeMetricFamily("dozor_egress_connected", "1 while the consumer is connected", labels=labels)
        aside = GaugeMetricFamily(
            "dozor_egress_aside", "Records that the consumer refused and is offered again", labels=labels
        )
        sent = CounterMetricFamily("dozor_egress_records", "Records that the consumer acknowledged", labels=labels)
        lost = CounterMetricFamily(
            "dozor_egress_lost", "Records that retention dropped before the consumer had them", labels=labels
        )
        now = time.time()
        for consumer in self._wanted:
            name = consumer.name
            stats, before = self._last.get(name, Stats(name)), self._ended.get(name, Stats(name))
            lag.add_metric([name], max(0.0, now - stats.oldest) if stats.oldest is not None else 0.0)
            holding.add_metric([name], float(stats.holding))
            connected.add_metric([name], float(stats.connected))
            aside.add_metric([name], stats.aside)
            sent.add_metric([name], before.sent + stats.sent)
            lost.add_metric([name], before.lost + stats.lost)
        yield from (lag, holding, connected, aside, sent, lost)
