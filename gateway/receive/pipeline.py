"""Gather what arrived while the last batch was committing, decode it by columns, commit, then acknowledge.

    put → pending → batch (≤ 4 000 records) → decode on the loop → COPY → commit → acks, in batch order

No timer: the next batch is what has come meanwhile. One store connection at low load, a second under backlog; acks
leave in the order of the batches, which cumulative acks need. No store, no ack: a batch is repeated for a while
(repeating is safe), then its connections are closed unacknowledged and nothing is read until the store is back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import psycopg
import structlog
from numpy.typing import NDArray

from gateway.metrics import ReceiveMetrics
from gateway.receive.terminals import NO_ROW
from gateway.store.copy import Rows
from gateway.store.writer import Job, Kept, Outcome, Writer, is_away, no_rows
from protocols.records import TIME_UNKNOWN, Batch, BatchBuilder, Decoded, Frame, Message, Quarantined, Reply
from protocols.registry import WireProtocol

_log = structlog.get_logger()

BATCH_RECORDS = 4000  # beyond it latency grows and throughput does not
QUEUE_FRAMES = 20_000  # then sockets are read no more
QUEUE_BYTES = 64 << 20
ATTEMPT_TIMEOUT = 10.0  # s for one transaction before its answer counts as lost
PROBE_PERIOD = 2.0  # s without a commit before the store is asked whether it is there
PROBE_TIMEOUT = 5.0
PATIENCE = 15.0  # s a batch is repeated before its connections are closed unacknowledged


class Source(Protocol):
    """Where frames come from: a connection, a datagram, a replay."""

    protocol: int  # number in the pipeline's list
    terminal: str
    row: int  # of the terminal table; NO_ROW: unregistered, to be kept raw

    def committed(self, items: Sequence[Frame | Message | Reply], refused: Sequence[Sequence[Quarantined]]) -> None:
        """`items` are durable (or need not be): acknowledge them, in this order."""

    def abandoned(self) -> None:
        """Its frames were not stored and will not be: never a positive word, close."""


Item = Frame | Message | Reply
Pending = tuple[Source, Item, float]


@dataclass(slots=True)
class Committed:
    """What a batch brought, for the watch: per frame and per record."""

    frame_terminal: NDArray[np.int32]
    frame_received: NDArray[np.int64]
    rows: Rows


@dataclass(slots=True)
class _Work:
    items: list[Pending]
    job: Job
    refused: dict[int, list[Quarantined]]
    frames: NDArray[np.intp]  # items that are frames
    protocol: NDArray[np.int8]
    terminal: NDArray[np.int32]
    received: NDArray[np.int64]
    records: int = 0
    outcome: Outcome | None = None
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Pipeline:
    """Frames in, acks out; one per process."""

    def __init__(
        self,
        open_store: Callable[[], Any],
        writer: Writer,
        protocols: Sequence[WireProtocol],
        metrics: ReceiveMetrics,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._open_store = open_store
        self._writer = writer
        self._protocols = list(protocols)
        self._metrics = metrics
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._pending: list[Pending] = []
        self._pending_records = 0
        self._bytes = 0
        self._in_flight = 0
        self._frames_in_flight = 0
        self._scheduled = False
        self._last: asyncio.Future[None] | None = None
        self._links: list[psycopg.AsyncConnection | None] = [None, None]
        self._free = [0, 1]
        self._tasks: set[asyncio.Task[None]] = set()
        self.paused: set[Any] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.store_up = True
        self.refusing = False
        self.on_commit: list[Callable[[Committed], None]] = []
        metrics.queue = lambda: len(self._pending) + self._frames_in_flight
        metrics.store_up = lambda: self.store_up

    # -- coming in ----------------------------------------------------------------------------------------------

    def put(self, source: Source, item: Item, at: float) -> None:
        """Take an item that arrived at loop time `at`; its source hears of it by `committed` or `abandoned`."""
        self._pending.append((source, item, at))
        if type(item) is Frame:
            self._pending_records += item.records or 1
            self._bytes += len(item.data)
        if not self._scheduled and (
            not self._in_flight or (self._in_flight == 1 and self._pending_records >= BATCH_RECORDS)
        ):
            self._scheduled = True
            self._loop.call_soon(self._launch)  # after every socket that is ready now has been read

    @property
    def full(self) -> bool:
        """Whether sockets should be read no more."""
        return len(self._pending) >= QUEUE_FRAMES or self._bytes >= QUEUE_BYTES or self.refusing

    def pause(self, connection: Any) -> None:
        """Remember who stopped reading; `resume_reading` is called when there is room."""
        self.paused.add(connection)

    # -- batches ------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        self._scheduled = False
        while self._pending and self._free and (not self._in_flight or self._pending_records >= BATCH_RECORDS):
            self._idle.clear()
            items = self._take()
            work = self._prepare(items)
            self._in_flight += 1
            self._frames_in_flight += len(items)
            previous, self._last = self._last, work.done
            task = self._loop.create_task(self._commit(work, self._free.pop(0), previous))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _take(self) -> list[Pending]:
        if self._pending_records <= BATCH_RECORDS:
            items, self._pending = self._pending, []
            self._pending_records = self._bytes = 0
            return items
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
        return items

    def _prepare(self, items: list[Pending]) -> _Work:
        """Decode: frames of each protocol together; raw for those that are unregistered."""
        sources, things, arrived = zip(*items, strict=True)
        offset = self._clock() - self._loop.time()
        received_all = ((np.array(arrived) + offset) * 1e6).astype(np.int64)
        protocol_all = np.array([source.protocol for source in sources], np.int8)
        terminal_all = np.array([source.row for source in sources], np.int32)
        is_frame = np.array([type(thing) is Frame for thing in things])
        frames = np.flatnonzero(is_frame)
        job = Job(no_rows())
        refused: dict[int, list[Quarantined]] = {}
        decodable = is_frame & (terminal_all != NO_ROW)
        batches: list[Batch] = []
        owners: list[NDArray[np.intp]] = []
        for number in np.unique(protocol_all[decodable]).tolist():
            index = np.flatnonzero(decodable & (protocol_all == number))
            decoded = self._decode(number, [things[i] for i in index.tolist()])
            if len(decoded.batch):
                batches.append(decoded.batch)
                owners.append(index[decoded.batch.frame])
            for bad in decoded.quarantined:
                place = int(index[bad.frame])
                refused.setdefault(place, []).append(bad)
                job.quarantined.append(self._kept(items[place], int(received_all[place]), bad.reason, bad.data))
                self._metrics.count_quarantined(number, bad.reason)
        for place in np.flatnonzero(is_frame & (terminal_all == NO_ROW)).tolist():
            job.quarantined.append(self._kept(items[place], int(received_all[place]), "unregistered", None))
            self._metrics.count_quarantined(int(protocol_all[place]), "unregistered")
        for place in np.flatnonzero(~is_frame).tolist():
            thing = things[place]
            if type(thing) is Message:
                job.messages.append(self._kept(items[place], int(received_all[place]), thing.kind, None))
        if batches:
            batch = Batch.concatenate(batches)
            batch.frame = np.concatenate(owners).astype(np.int32)
            received = received_all[batch.frame]
            told = np.where(batch.time == TIME_UNKNOWN, received, batch.time)
            job.rows = Rows(batch, terminal_all[batch.frame], received, told, protocol_all[batch.frame], [])
            job.sources = _Sources(self, items, received_all)
        return _Work(
            items, job, refused, frames, protocol_all[frames], terminal_all[frames], received_all[frames],
            len(job.rows),
        )  # fmt: skip

    def _decode(self, number: int, frames: list[Frame]) -> Decoded:
        """Decoders do not raise; should one do so after all, its frame is kept raw and its neighbours are decoded."""
        decode = self._protocols[number].decode
        try:
            return decode(frames)
        except Exception:
            _log.exception("decoder failed", protocol=self._protocols[number].name, frames=len(frames))
            if len(frames) == 1:
                return Decoded(BatchBuilder().build(), [Quarantined(0, "decoder")])
        parts, quarantined = [], []
        for place, frame in enumerate(frames):
            decoded = self._decode(number, [frame])
            decoded.batch.frame[:] = place
            parts.append(decoded.batch)
            quarantined += [replace(bad, frame=place) for bad in decoded.quarantined]
        return Decoded(Batch.concatenate(parts), quarantined)

    def _kept(self, pending: Pending, received: int, reason: str, data: bytes | None) -> Kept:
        source, item, _ = pending
        name = self._protocols[source.protocol].name
        if isinstance(item, Message):
            return Kept(source.terminal, name, received, item.data, item.kind, text=item.text)
        assert isinstance(item, Frame)  # noqa: S101  # a Reply is never kept
        return Kept(source.terminal, name, received, data or item.data, reason, item.variant)

    # -- commit and ack -----------------------------------------------------------------------------------------

    async def _commit(self, work: _Work, slot: int, previous: asyncio.Future[None] | None) -> None:
        try:
            begun = self._loop.time()
            work.outcome = await self._store(work.job, slot)
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
                self._abandon(work)
            else:
                self._metrics.commit.observe(np.array([committed - begun]))
                self._release(work, work.outcome)
        finally:
            work.done.set_result(None)
            self._frames_in_flight -= len(work.items)
            if self.paused and not self.full:
                paused, self.paused = self.paused, set()
                for connection in paused:
                    connection.resume_reading()
            if not self._in_flight and not self._pending:
                self._idle.set()

    async def _store(self, job: Job, slot: int) -> Outcome | None:
        """Store `job`, repeating it over a new connection while the store is away; None: given up, nothing is owed."""
        deadline = self._loop.time() + PATIENCE
        first = True
        while True:
            link = self._links[slot]
            try:
                if not len(job.rows) and not (job.quarantined or job.messages):
                    return Outcome(np.zeros(len(self._protocols), np.int64), np.zeros(len(self._protocols), np.int64))
                async with asyncio.timeout(ATTEMPT_TIMEOUT):
                    if link is None:
                        link = self._links[slot] = await self._open_store()
                    now = int(self._clock() * 1e6)
                    write = self._writer.write if first else self._writer.rewrite
                    outcome = await write(link, job, now)
                if not self.store_up:
                    _log.info("store is back")
                self.store_up = True
                return outcome
            except (psycopg.Error, OSError, TimeoutError) as error:
                first = False
                self._links[slot] = None
                if link is not None:
                    await link.close()
                if isinstance(error, psycopg.Error) and not is_away(error):
                    raise
                self._store_away(error)
                if self.refusing or self._loop.time() > deadline:
                    self.refusing = True
                    return None
                await asyncio.sleep(0.1)

    def _store_away(self, error: Exception) -> None:
        if self.store_up:
            _log.warning("store does not answer", error=str(error).strip() or type(error).__name__)
        self.store_up = False

    def _abandon(self, work: _Work) -> None:
        for source in {id(source): source for source, _, _ in work.items}.values():
            source.abandoned()

    def _release(self, work: _Work, outcome: Outcome) -> None:
        for frame in outcome.refused:
            number = work.items[frame][0].protocol
            work.refused.setdefault(frame, []).append(Quarantined(frame, "store"))
            self._metrics.count_quarantined(number, "store")
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
        metrics = self._metrics
        metrics.records += outcome.stored
        metrics.duplicates += outcome.duplicate
        metrics.batch.observe(np.array([float(work.records)]))
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

    # -- the store coming back, and the end ---------------------------------------------------------------------

    async def watch_store(self) -> None:
        """Look for the store: while refusing, to read again; while nothing comes in, to know. Ends by cancellation."""
        looked = self._loop.time()
        while True:
            await asyncio.sleep(0.5)
            if self._in_flight or (not self.refusing and self.store_up and self._loop.time() - looked < PROBE_PERIOD):
                continue
            if self.refusing:
                self._abandon_pending()
            looked = self._loop.time()
            if not await self._probe():
                continue
            if not self.store_up:
                _log.info("store is back")
            self.store_up, self.refusing = True, False
            if self.paused and not self.full:
                paused, self.paused = self.paused, set()
                for connection in paused:
                    connection.resume_reading()

    def _abandon_pending(self) -> None:
        pending, self._pending = self._pending, []
        self._pending_records = self._bytes = 0
        for source in {id(source): source for source, _, _ in pending}.values():
            source.abandoned()

    async def _probe(self) -> bool:
        """Whether the store takes writes, asked over a connection that no batch uses meanwhile."""
        slot = self._free.pop(0)
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                link = self._links[slot]
                if link is None:
                    link = self._links[slot] = await self._open_store()
                await link.execute("SELECT 1")
            return True
        except (psycopg.Error, OSError, TimeoutError) as error:
            link, self._links[slot] = self._links[slot], None
            if link is not None:
                await link.close()
            self._store_away(error)
            return False
        finally:
            self._free.insert(0, slot)
            if self._pending and not self.refusing:
                self._launch()

    async def drain(self) -> None:
        """Wait until everything taken has been answered."""
        await self._idle.wait()

    async def close(self) -> None:
        """Close the store connections."""
        for link in self._links:
            if link is not None:
                await link.close()


class _Sources(Sequence[Kept]):
    """What each frame becomes if the store refuses its records; made only then."""

    def __init__(self, pipeline: Pipeline, items: list[Pending], received: NDArray[np.int64]) -> None:
        self._pipeline, self._items, self._received = pipeline, items, received

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: Any) -> Any:
        return self._pipeline._kept(self._items[place], int(self._received[place]), "store", None)
