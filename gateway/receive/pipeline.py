"""Gather what arrived while the last batch was committing, decode it by columns, make it durable, then acknowledge.

    put → pending → batch (cost ≤ 4 000) → decode on the loop, in turns if it is dear → store or spool → acks, in order

What counts is the *cost* of a frame (`protocols.records.cost_of`), known before it is decoded: an ordinary record costs
one. When more waits than one batch holds, each source gets an equal share of it, so that who sends much, or dear
frames, waits for himself.

No timer: the next batch is what has come meanwhile. One store connection at low load; a second when as much waits as
is being committed, so that the store has work while acks are written and sockets read. Acks leave in the order of the
batches, which cumulative acks need, and some at a time, so that the store's next step is not behind all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.metrics import ReceiveMetrics
from gateway.receive.batch import Batcher, Item, Pending, Source, Work
from gateway.receive.journal import LIVE, SpoolJournal, StoreJournal
from gateway.receive.keeper import Keeper
from gateway.receive.spool import Spool
from gateway.receive.terminals import NO_ROW
from gateway.store.copy import Rows
from gateway.store.writer import Outcome, Writer
from protocols.records import COST_BYTES, Frame, Int64s, Quarantined, Reply
from protocols.registry import WireProtocol

_log = structlog.get_logger()

BATCH_COST = 4000  # records, or what costs as much: beyond it latency grows and throughput does not
QUEUE_FRAMES = 20_000  # then sockets are read no more
QUEUE_BYTES = 64 << 20
QUEUE_COST = 400_000  # some ten seconds of work
OVERLAP_COST = 200  # and as many as the batch in flight holds: then the next one need not wait for its commit
LONG = 0.15  # s for a batch: when one takes longer, the next ones cost less, and each source has its share of less
LEAST_COST, FIRST_COST = 64, 500  # of a batch when such were too long; and after nothing but small ones
ACKS_AT_ONCE = 50  # connections that get their acks before store and sockets have a turn: half a millisecond
_NEVER = 1 << 62


@dataclass(slots=True)
class Accepted:
    """What a batch brought that is acknowledged now, for the watch: per frame and per record.

    It is durable, in the store or in the spool. Terminals are rows of the table, -1 while one has none (it came for the
    first time while the store was away).

    Arrivals are µs of wall time as it read when the batch began; less `offset` they are µs of the loop's clock, which
    nobody sets: what lasts (a silence, a rhythm) is measured on that one.
    """

    frame_terminal: NDArray[np.int32]
    frame_received: NDArray[np.int64]
    rows: Rows
    offset: int = 0
    frame_link: NDArray[np.uint16] | None = None  # which connection brought each; 0: not known; None: of all


@dataclass(slots=True)
class Load:
    """How much some items are: frames, bytes, and what they cost."""

    frames: int = 0
    size: int = 0
    cost: int = 0

    def __iadd__(self, other: Load) -> Load:
        self.frames += other.frames
        self.size += other.size
        self.cost += other.cost
        return self

    def __isub__(self, other: Load) -> Load:
        self.frames -= other.frames
        self.size -= other.size
        self.cost -= other.cost
        return self


@dataclass(slots=True)
class _Taken:
    """Items on their way together; `works` is what they were decoded to, more than one only if that had failed."""

    items: list[Pending]
    load: Load
    arrived: Int64s
    offset: int  # µs by which these stamps are ahead of the loop's clock
    works: list[Work]
    previous: asyncio.Future[None] | None
    done: asyncio.Future[None]


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
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        """`rows` maps identities to their row, `resolve` finds or makes the row of one that is not in it."""
        self._protocols = list(protocols)
        self._metrics = metrics
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._batcher = Batcher(self._protocols, metrics, cpu)
        self._rows = rows
        self.keeper = Keeper(
            StoreJournal(open_store, writer, lambda: int(clock() * 1e6)), SpoolJournal(spool, self._protocols), spool,
            self._batcher, self._protocols, resolve,
        )  # fmt: skip
        self.keeper.on_drained = self._count_stored
        self._pending: list[Pending] = []
        self._waiting = Load()  # what is pending
        self._in_flight = 0
        self._newest = 0  # cost of the batch taken last
        self._enough = 0  # pending cost that makes a batch now
        self._most = FIRST_COST  # cost of the next batch
        self._quickest = 60.0  # s for one of the last batches
        self._flying = Load()  # until their acks have left: a batch may wait for the one before it
        self._offset = 0  # wall clock minus the loop's, µs
        self._scheduled = False
        self._last: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.paused: dict[Any, None] = {}  # first come, first read again
        self._idle = asyncio.Event()
        self._idle.set()
        self.on_accepted: list[Callable[[Accepted], None]] = []
        metrics.queue = lambda: self._waiting.frames + self._flying.frames
        metrics.store_up = lambda: self.keeper.store_up

    # -- coming in ----------------------------------------------------------------------------------------------

    def put(self, source: Source, item: Item, at: float) -> int:
        """Take an item that arrived at loop time `at`; its source hears of it by `committed` or `abandoned`.

        Returns
        -------
        what it costs beyond the number of its frames; 0 for ordinary ones
        """
        self._pending.append((source, item, at))
        waiting, count, size = self._waiting, item.count, len(item.data)
        waiting.frames += count
        waiting.size += size
        cost = 0
        if type(item) is not Reply:  # as `item.cost`, which takes longer
            records = (item.records or 1) * count if type(item) is Frame else 1
            many = size // COST_BYTES
            cost = records if records > many else many
            waiting.cost += cost
        if waiting.cost >= self._enough and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._launch)  # after every socket that is ready now has been read
        return cost - count if cost > count else 0

    @property
    def full(self) -> bool:
        """Whether sockets should be read no more."""
        waiting, flying = self._waiting, self._flying
        return (
            waiting.frames + flying.frames >= QUEUE_FRAMES
            or waiting.size + flying.size >= QUEUE_BYTES
            or waiting.cost + flying.cost >= QUEUE_COST
            or self.keeper.refusing
        )

    def pause(self, connection: Any) -> None:
        """Remember who stopped reading; `resume_reading` is called when there is room."""
        self.paused[connection] = None

    # -- batches ------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        self._scheduled = False
        while self._pending and self._waiting.cost >= self._enough:
            self._idle.clear()
            items, load = self._take()
            offset = self._wall_offset()
            arrived = (np.array([at for _, _, at in items]) * 1e6).astype(np.int64) + offset
            taken = _Taken(items, load, arrived, offset, [], self._last, self._loop.create_future())
            if load.cost <= self._batcher.at_once(items):
                with contextlib.suppress(Exception):  # a bug: `_commit` meets it again, and tells
                    taken.works.append(self._batcher.prepare(items, taken.arrived))
            self._in_flight += 1
            self._newest = load.cost
            self._set_enough()
            self._flying += load
            self._last = taken.done
            task = self._loop.create_task(self._commit(taken))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _adapt(self, cost: int, took: float) -> None:
        """How much the next batches may cost, from what one took: some kinds of records are dearer than they look."""
        self._quickest = min(took, 1.02 * self._quickest)
        long = max(LONG, 3 * self._quickest)  # of a store that is far away smaller batches would come no sooner
        if took > long:
            self._most = min(self._most, max(LEAST_COST, int(min(cost, self._most) * long / took)))
        elif took < long / 2:
            if self._most < FIRST_COST:
                self._most = min(FIRST_COST, 2 * self._most) if 2 * cost >= self._most else self._most
            else:  # four times as much as lately: there is room to grow, and no leap into the unknown
                self._most = min(BATCH_COST, max(FIRST_COST, 4 * cost, self._most // 2))

    def _wall_offset(self) -> int:
        """Wall clock minus the loop's, µs."""
        try:
            self._offset = round((self._clock() - self._loop.time()) * 1e6)
        except Exception:  # whatever ails the clock, what it said last is near
            _log.exception("the clock failed")
        return self._offset

    def _set_enough(self) -> None:
        if not self._in_flight:
            self._enough = 0
        elif self._in_flight < len(LIVE):
            self._enough = min(self._most, max(OVERLAP_COST, self._newest))
        else:
            self._enough = _NEVER

    def _take(self) -> tuple[list[Pending], Load]:
        """The next batch: all that waits, or of too much what is fair."""
        if self._waiting.cost <= self._most:
            items, self._pending = self._pending, []
            load, self._waiting = self._waiting, Load()
            return items, load
        items, self._pending, load = share_out(self._pending, self._most)
        self._waiting -= load
        return items, load

    # -- commit and ack -----------------------------------------------------------------------------------------

    async def _commit(self, taken: _Taken) -> None:
        previous, works = taken.previous, taken.works
        taken_at = begun = self._loop.time()
        took = 0.0
        holds = True  # one of the places before the store

        def leave() -> None:
            nonlocal holds
            if holds:
                holds = False
                self._in_flight -= 1
                self._set_enough()

        def let_go() -> None:
            if work is works[-1]:
                self._adapt(taken.load.cost, self._loop.time() - taken_at)
                leave()
                self._launch()

        try:
            if not works:
                works += await self._prepare(taken.items, taken.arrived)
            for work in works:
                work.offset = taken.offset
                begun = self._loop.time()
                work.outcome = await self.keeper.keep(work, let_go)
                took = self._loop.time() - begun
            if holds:
                self._adapt(taken.load.cost, self._loop.time() - taken_at)
            if self.keeper.store_up and any(work.outcome is None for work in works):
                self._most = 1  # one of them is too dear, and the spool is full: the others come again, and without it
        except Exception:  # a bug: nothing is acknowledged, and the next batch is tried
            _log.exception("batch failed", frames=taken.load.frames)
        finally:
            leave()
        in_turn = previous is None or previous.done()
        acks_first = in_turn and len(taken.items) <= ACKS_AT_ONCE  # they take less time than the next batch
        if self._pending and not acks_first:
            self._launch()  # the store works on the next batch while the acks of this one are written
            await asyncio.sleep(0)
        if previous is not None and not previous.done():
            await asyncio.shield(previous)
        try:
            await self._answer(taken, took)
        finally:
            taken.done.set_result(None)
            if self._pending and acks_first:
                self._launch()
            self._flying -= taken.load
            if self.paused and not self.full:
                self._resume()
            if not self._flying.frames and not self._pending:
                self._idle.set()

    async def _prepare(self, items: list[Pending], arrived: Int64s) -> list[Work]:
        """Decode in turns. What that fails for is halved until the culprit is alone: its source is told to go."""
        try:
            return [await self._batcher.prepare_in_turns(items, arrived)]
        except Exception:
            if len(items) == 1:
                source, item, _ = items[0]
                _log.exception("a frame cannot be prepared", terminal=source.terminal, bytes=len(item.data))
                self._abandon(items)
                return []
        half = len(items) // 2
        return await self._prepare(items[:half], arrived[:half]) + await self._prepare(items[half:], arrived[half:])

    async def _answer(self, taken: _Taken, took: float) -> None:
        """What became of a batch, to those it came from."""
        if not taken.works:
            self._abandon(taken.items)
        for work in taken.works:
            try:
                if work.outcome is None:
                    self._abandon(work.items.whole)
                    continue
                if work.outcome.kept:
                    self._metrics.commit.add(took)
                await self._release(work, work.outcome)
            except Exception:  # a bug: who has no answer yet sends again
                _log.exception("acks failed", frames=work.places)
                self._abandon(work.items.whole)

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
                if work.waits is not None:
                    its = waited[work.waits & (work.protocol == number)]
                metrics.ack[number].observe(its)
            accepted = self._accepted(work)
            for listener in self.on_accepted:
                try:
                    listener(accepted)
                except Exception:  # what is downstream must not stop receiving
                    _log.exception("a listener failed", frames=len(work.protocol))

    def _accepted(self, work: Work) -> Accepted:
        """A batch as the watch sees it: by rows of the table, as far as they are known here."""
        known = self._rows
        found = work.outcome.rows if work.outcome is not None else None
        if found is None:  # it went to the spool, or held no records
            found = np.array([known.get(identity, NO_ROW) for identity, _ in work.job.identities], np.int32)
        row_of = np.append(found, np.int32(NO_ROW))
        rows = replace(work.job.rows, terminal=row_of[work.job.rows.terminal])
        # A stranger's index, -1, is the last one's.
        return Accepted(row_of[work.terminal], work.received, rows, work.offset, work.link)

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
        items, self._pending, self._waiting = self._pending, [], Load()
        self._abandon(items)
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
        """Give up what could not be answered in time, its terminals send it again; close the store connections."""
        items, self._pending, self._waiting = self._pending, [], Load()
        self._abandon(items)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._flying = Load()
        await self.keeper.close()


def share_out(pending: list[Pending], most: int) -> tuple[list[Pending], list[Pending], Load]:
    """A batch of about `most` cost, what stays, and the batch's load. Each terminal gets a share, in its own order.

    What lies within the shares goes; then, the oldest first, what fits in the room that is left. The first always goes,
    however dear it is; anything else that does not fit waits, and all of its terminal behind it.
    """
    share = max(1, most // len({source.terminal for source, _, _ in pending}))
    goes = bytearray(len(pending))
    load, room = Load(), most
    spent: dict[str, int] = {}
    waits: set[str] = set()  # what comes later of them must not overtake
    beyond: list[int] = []  # of each terminal the first that its share has no room for
    for at, (source, item, _) in enumerate(pending):
        key = source.terminal
        if key in waits:
            continue
        cost = item.cost
        before = spent.get(key, 0)
        if before + cost <= share and cost <= room:  # a share is one at least, of a batch for fewer than there are
            spent[key] = before + cost
            room -= cost
            goes[at] = 1
            continue
        waits.add(key)
        if before < share:
            beyond.append(at)
    for at in beyond:
        cost = pending[at][1].cost
        if cost <= room:
            room -= cost
            goes[at] = 1
    goes[0] = 1
    taken: list[Pending] = []
    left: list[Pending] = []
    for entry, its in zip(pending, goes, strict=True):
        if its:
            taken.append(entry)
            load += Load(entry[1].count, len(entry[1].data), entry[1].cost)
        else:
            left.append(entry)
    return taken, left, load


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
