"""Gather what arrived while the last batch was committing, decode it by columns, make it durable, then acknowledge.

    put → pending → batch (≤ 4 000 records) → decode on the loop → store or spool → acks, in batch order

No timer: the next batch is what has come meanwhile. One store connection at low load, a second under backlog; acks
leave in the order of the batches, which cumulative acks need.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.metrics import ReceiveMetrics
from gateway.receive.batch import Batcher, Item, Pending, Source, Work
from gateway.receive.keeper import Keeper
from gateway.receive.spool import Spool
from gateway.store.copy import Rows
from gateway.store.writer import Outcome, Writer
from protocols.records import Frame, Quarantined
from protocols.registry import WireProtocol

_log = structlog.get_logger()

BATCH_RECORDS = 4000  # beyond it latency grows and throughput does not
QUEUE_FRAMES = 20_000  # then sockets are read no more
QUEUE_BYTES = 64 << 20


@dataclass(slots=True)
class Committed:
    """What a batch brought, for the watch: per frame and per record."""

    frame_terminal: NDArray[np.int32]
    frame_received: NDArray[np.int64]
    rows: Rows


class Pipeline:
    """Frames in, acks out; one per process."""

    def __init__(
        self,
        open_store: Callable[[], Awaitable[Any]],
        writer: Writer,
        spool: Spool,
        protocols: Sequence[WireProtocol],
        metrics: ReceiveMetrics,
        rows: dict[str, int],
        resolve: Callable[[str, str], Awaitable[int]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`rows` maps identities to their row, `resolve` finds or makes the row of one that is not in it."""
        self._protocols = list(protocols)
        self._metrics = metrics
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._batcher = Batcher(self._protocols, metrics, rows)
        self.keeper = Keeper(open_store, writer, spool, self._batcher, self._protocols, resolve, clock)
        self.keeper.on_drained = self._count_stored
        self._pending: list[Pending] = []
        self._pending_records = 0
        self._bytes = 0
        self._in_flight = 0
        self._frames_in_flight = 0  # until their acks have left: a batch may wait for the one before it
        self._bytes_in_flight = 0
        self._scheduled = False
        self._last: asyncio.Future[None] | None = None
        self._free = [0, 1]  # store connections
        self._tasks: set[asyncio.Task[None]] = set()
        self.paused: dict[Any, None] = {}  # first come, first read again
        self._idle = asyncio.Event()
        self._idle.set()
        self.on_commit: list[Callable[[Committed], None]] = []
        metrics.queue = lambda: len(self._pending) + self._frames_in_flight
        metrics.store_up = lambda: self.keeper.store_up

    # -- coming in ----------------------------------------------------------------------------------------------

    def put(self, source: Source, item: Item, at: float) -> None:
        """Take an item that arrived at loop time `at`; its source hears of it by `committed` or `abandoned`."""
        self._pending.append((source, item, at))
        self._bytes += len(item.data)
        if type(item) is Frame:
            self._pending_records += item.records or 1
        if not self._scheduled and (
            not self._in_flight or (self._in_flight == 1 and self._pending_records >= BATCH_RECORDS)
        ):
            self._scheduled = True
            self._loop.call_soon(self._launch)  # after every socket that is ready now has been read

    @property
    def full(self) -> bool:
        """Whether sockets should be read no more."""
        return (
            len(self._pending) + self._frames_in_flight >= QUEUE_FRAMES
            or self._bytes + self._bytes_in_flight >= QUEUE_BYTES
            or self.keeper.refusing
        )

    def pause(self, connection: Any) -> None:
        """Remember who stopped reading; `resume_reading` is called when there is room."""
        self.paused[connection] = None

    # -- batches ------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        self._scheduled = False
        while self._pending and self._free and (not self._in_flight or self._pending_records >= BATCH_RECORDS):
            self._idle.clear()
            items, size = self._take()
            offset = self._clock() - self._loop.time()
            arrived = np.array([at for _, _, at in items])
            work = self._batcher.prepare(items, ((arrived + offset) * 1e6).astype(np.int64))
            self._in_flight += 1
            self._frames_in_flight += len(items)
            self._bytes_in_flight += size
            work.size = size
            previous, self._last = self._last, work.done
            task = self._loop.create_task(self._commit(work, self._free.pop(0), previous))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _take(self) -> tuple[list[Pending], int]:
        if self._pending_records <= BATCH_RECORDS:
            items, size = self._pending, self._bytes
            self._pending, self._pending_records, self._bytes = [], 0, 0
            return items, size
        records = count = size = 0
        for _, item, _ in self._pending:
            if type(item) is Frame:
                if records and records + item.records > BATCH_RECORDS:
                    break
                records += item.records or 1
            size += len(item.data)
            count += 1
        items = self._pending[:count]
        del self._pending[:count]
        self._pending_records -= records
        self._bytes -= size
        return items, size

    # -- commit and ack -----------------------------------------------------------------------------------------

    async def _commit(self, work: Work, slot: int, previous: asyncio.Future[None] | None) -> None:
        try:
            begun = self._loop.time()
            work.outcome = await self.keeper.keep(work, slot)
            committed = self._loop.time()
        except Exception:  # a bug: nothing is acknowledged, and the next batch is tried
            _log.exception("batch failed", frames=len(work.items))
        finally:
            self._free.append(slot)
            self._in_flight -= 1
        if self._pending:
            self._launch()  # the store works on the next batch while the acks of this one are written
            await asyncio.sleep(0)
        if previous is not None and not previous.done():
            await asyncio.shield(previous)
        try:
            if work.outcome is None:
                self._abandon(work.items)
            else:
                self._metrics.commit.observe(np.array([committed - begun]))
                self._release(work, work.outcome)
        finally:
            work.done.set_result(None)
            self._frames_in_flight -= len(work.items)
            self._bytes_in_flight -= work.size
            if self.paused and not self.full:
                self._resume()
            if not self._in_flight and not self._pending:
                self._idle.set()

    @staticmethod
    def _abandon(items: Sequence[Pending]) -> None:
        for source in {id(source): source for source, _, _ in items}.values():
            source.abandoned()

    def _release(self, work: Work, outcome: Outcome) -> None:
        for frame in outcome.refused:
            work.refused.setdefault(frame, []).append(Quarantined(frame, "store"))
        refused = work.refused
        previous: Source | None = None
        run: list[Item] = []
        bad: list[Sequence[Quarantined]] = []
        for place, (source, item, _) in enumerate(work.items):
            if source is not previous:
                if previous is not None:
                    previous.committed(run, bad)
                previous, run, bad = source, [], []
            run.append(item)
            bad.append(refused.get(place, ()) if refused else ())
        if previous is not None:
            previous.committed(run, bad)
        self._count_stored(work, outcome)
        metrics = self._metrics
        if len(work.frames):
            metrics.frames += np.bincount(work.protocol, minlength=len(self._protocols))
            waited = self._clock() - work.received / 1e6
            for number in np.unique(work.protocol).tolist():
                metrics.ack[number].observe(waited[work.protocol == number])
            committed = Committed(work.terminal, work.received, work.job.rows)
            for listener in self.on_commit:
                try:
                    listener(committed)
                except Exception:  # what is downstream must not stop receiving
                    _log.exception("a listener failed", frames=len(work.frames))

    def _count_stored(self, work: Work, outcome: Outcome) -> None:
        """Records, live or drained; what is only spooled so far counts when it is drained."""
        metrics = self._metrics
        metrics.records += outcome.stored
        metrics.duplicates += outcome.duplicate
        if outcome.kept:
            metrics.batch.observe(np.array([float(len(work.job.rows))]))
            self._batcher.count_quarantined(work)

    # -- the store coming back, and the end ---------------------------------------------------------------------

    async def watch_store(self) -> None:
        """Drain the spool, look for a store that is away; ends by cancellation."""
        await self.keeper.watch(self._resume_all, lambda: bool(self._pending))

    def _resume_all(self) -> None:
        """What still waits from before is not answered: its connections close and send again."""
        pending, self._pending = self._pending, []
        self._pending_records = self._bytes = 0
        self._abandon(pending)
        self._resume()

    def _resume(self) -> None:
        paused, self.paused = self.paused, {}
        for connection in paused:
            connection.resume_reading()

    async def drain(self) -> None:
        """Wait until everything taken has been answered."""
        await self._idle.wait()

    async def close(self) -> None:
        """Close the store connections."""
        await self.keeper.close()
