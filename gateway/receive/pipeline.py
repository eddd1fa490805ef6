"""Gather what arrived while the last batch was committing, decode it by columns, make it durable, then acknowledge.

    put → pending → batch (≤ 4 000 records) → decode on the loop → store or spool → acks, in batch order

No timer: the next batch is what has come meanwhile. One store connection at low load; a second when as much waits as
is being committed, so that the store has work while acks are written and sockets read. Acks leave in the order of the
batches, which cumulative acks need, and some at a time, so that the store's next step is not behind all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
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
OVERLAP_RECORDS = 200  # and as many as the batch in flight holds: then the next one need not wait for its commit
ACKS_AT_ONCE = 50  # connections that get their acks before store and sockets have a turn: half a millisecond
_NEVER = 1 << 62


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
        self._pending_frames = 0
        self._pending_records = 0
        self._bytes = 0
        self._in_flight = 0
        self._newest = 0  # records of the batch taken last
        self._enough = 0  # pending records that make a batch now
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
        metrics.queue = lambda: self._pending_frames + self._frames_in_flight
        metrics.store_up = lambda: self.keeper.store_up

    # -- coming in ----------------------------------------------------------------------------------------------

    def put(self, source: Source, item: Item, at: float) -> None:
        """Take an item that arrived at loop time `at`; its source hears of it by `committed` or `abandoned`."""
        self._pending.append((source, item, at))
        count = item.count
        self._pending_frames += count
        self._bytes += len(item.data)
        if type(item) is Frame:
            self._pending_records += (item.records or 1) * count
        if self._pending_records >= self._enough and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._launch)  # after every socket that is ready now has been read

    @property
    def full(self) -> bool:
        """Whether sockets should be read no more."""
        return (
            self._pending_frames + self._frames_in_flight >= QUEUE_FRAMES
            or self._bytes + self._bytes_in_flight >= QUEUE_BYTES
            or self.keeper.refusing
        )

    def pause(self, connection: Any) -> None:
        """Remember who stopped reading; `resume_reading` is called when there is room."""
        self.paused[connection] = None

    # -- batches ------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        self._scheduled = False
        while self._pending and self._pending_records >= self._enough:
            self._idle.clear()
            frames, size, records = self._pending_frames, self._bytes, self._pending_records
            items = self._take()
            frames, size, records = frames - self._pending_frames, size - self._bytes, records - self._pending_records
            offset = self._clock() - self._loop.time()
            arrived = np.array([at for _, _, at in items])
            work = self._batcher.prepare(items, ((arrived + offset) * 1e6).astype(np.int64))
            slot = self._free.pop(0)
            self._in_flight += 1
            self._newest = records
            self._set_enough()
            self._frames_in_flight += frames
            self._bytes_in_flight += size
            work.size = size
            previous, self._last = self._last, work.done
            task = self._loop.create_task(self._commit(work, slot, previous))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _set_enough(self) -> None:
        if not self._in_flight:
            self._enough = 0
        elif self._free:
            self._enough = min(BATCH_RECORDS, max(OVERLAP_RECORDS, self._newest))
        else:
            self._enough = _NEVER

    def _take(self) -> list[Pending]:
        if self._pending_records <= BATCH_RECORDS:
            return self._take_all()
        frames = records = count = size = 0
        for _, item, _ in self._pending:
            if type(item) is Frame:
                more = (item.records or 1) * item.count
                if records and records + more > BATCH_RECORDS:
                    break
                records += more
            frames += item.count
            size += len(item.data)
            count += 1
        items = self._pending[:count]
        del self._pending[:count]
        self._pending_frames -= frames
        self._pending_records -= records
        self._bytes -= size
        return items

    def _take_all(self) -> list[Pending]:
        items, self._pending = self._pending, []
        self._pending_frames = self._pending_records = self._bytes = 0
        return items

    # -- commit and ack -----------------------------------------------------------------------------------------

    async def _commit(self, work: Work, slot: int, previous: asyncio.Future[None] | None) -> None:
        try:
            begun = self._loop.time()
            work.outcome = await self.keeper.keep(work, slot)
            committed = self._loop.time()
        except Exception:  # a bug: nothing is acknowledged, and the next batch is tried
            _log.exception("batch failed", frames=work.places)
        finally:
            self._free.append(slot)
            self._in_flight -= 1
            self._set_enough()
        in_turn = previous is None or previous.done()
        acks_first = in_turn and len(work.items.whole) <= ACKS_AT_ONCE  # they take less time than the next batch
        if self._pending and not acks_first:
            self._launch()  # the store works on the next batch while the acks of this one are written
            await asyncio.sleep(0)
        if previous is not None and not previous.done():
            await asyncio.shield(previous)
        try:
            if work.outcome is None:
                self._abandon(work.items.whole)
            else:
                if work.outcome.kept:
                    self._metrics.commit.add(committed - begun)
                await self._release(work, work.outcome)
        finally:
            work.done.set_result(None)
            if self._pending and acks_first:
                self._launch()
            self._frames_in_flight -= work.places
            self._bytes_in_flight -= work.size
            if self.paused and not self.full:
                self._resume()
            if not self._frames_in_flight and not self._pending:
                self._idle.set()

    @staticmethod
    def _abandon(items: Sequence[Pending]) -> None:
        for source in {id(source): source for source, _, _ in items}.values():
            source.abandoned()

    async def _release(self, work: Work, outcome: Outcome) -> None:
        """Acknowledge, in order and a few at a time: meanwhile the store has its next batch to work on."""
        for frame in outcome.refused:
            work.refused.setdefault(frame, []).append(Quarantined(frame, "store"))
        self._count_stored(work, outcome)
        metrics = self._metrics
        frames = np.bincount(work.protocol, minlength=len(self._protocols))
        metrics.frames += frames
        refused = work.refused
        place = turn = 0
        for source, items in _by_source(work.items.each() if refused else work.items.whole):
            if turn == ACKS_AT_ONCE:
                turn = 0
                await asyncio.sleep(0)
            turn += 1
            told = [refused.get(at, ()) for at in range(place, place + len(items))] if refused else ()
            place += len(items)
            try:
                source.committed(items, told)
            except Exception:  # a bug: this one sends again, the others have their acks
                _log.exception("an ack failed", terminal=source.terminal)
                source.abandoned()
        if len(work.protocol):
            waited = self._clock() - work.received / 1e6
            for number in np.flatnonzero(frames).tolist():
                its = waited if frames[number] == len(waited) else waited[work.protocol == number]
                metrics.ack[number].observe(its)
            committed = Committed(work.terminal, work.received, work.job.rows)
            for listener in self.on_commit:
                try:
                    listener(committed)
                except Exception:  # what is downstream must not stop receiving
                    _log.exception("a listener failed", frames=len(work.protocol))

    def _count_stored(self, work: Work, outcome: Outcome) -> None:
        """Records, live or drained; what is only spooled so far counts when it is drained."""
        metrics = self._metrics
        metrics.records += outcome.stored
        metrics.duplicates += outcome.duplicate
        if outcome.kept:
            metrics.batch.add(float(len(work.job.rows)))
            self._batcher.count_quarantined(work)

    # -- the store coming back, and the end ---------------------------------------------------------------------

    async def watch_store(self) -> None:
        """Drain the spool, look for a store that is away; ends by cancellation."""
        await self.keeper.watch(self._resume_all, lambda: bool(self._pending))

    def _resume_all(self) -> None:
        """What still waits from before is not answered: its connections close and send again."""
        self._abandon(self._take_all())
        self._resume()

    def _resume(self) -> None:
        paused, self.paused = self.paused, {}
        for connection in paused:
            connection.resume_reading()

    async def drain(self) -> None:
        """Wait until everything taken has been answered."""
        if self._scheduled:  # a batch begins before this comes back
            await asyncio.sleep(0)
        await self._idle.wait()

    async def close(self) -> None:
        """Close the store connections."""
        await self.keeper.close()


def _by_source(items: Sequence[Pending]) -> Iterator[tuple[Source, list[Item]]]:
    """Each source with what came of it in a row."""
    previous: Source | None = None
    run: list[Item] = []
    for source, item, _ in items:
        if source is previous:
            run.append(item)
        else:
            if previous is not None:
                yield previous, run
            previous, run = source, [item]
    if previous is not None:
        yield previous, run
