"""A batch: items in arrival order, decoded by columns into what one transaction stores."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.metrics import ReceiveMetrics
from gateway.store.copy import Rows
from gateway.store.writer import Job, Kept, Outcome, no_rows
from protocols.records import (
    TIME_UNKNOWN,
    Batch,
    BatchBuilder,
    Decoded,
    Frame,
    Int64s,
    Message,
    Quarantined,
    Reply,
    cost_of,
)
from protocols.registry import WireProtocol

_log = structlog.get_logger()

TURN = (
    0.005  # s of decoding before others have the loop; a single record is never cut, the dearest takes three of these
)
AT_MOST, AT_FIRST, AT_LEAST = 4000, 100, 8  # cost that is decoded in one turn; how much fits is learned by doing it
STRANGER = -1  # in place of an index into a batch's identities: unregistered
MAX_REFUSED = 32  # members of one frame that are kept one by one; when more are refused, the frame is kept once


class Source(Protocol):
    """Where frames come from: a connection, a datagram, a replay."""

    waits: bool  # somebody waits for the answer, and how long that took counts
    protocol: int  # number in the pipeline's list
    terminal: str
    link: int  # tells connections apart: 16 bits, the upper eight of its address; 0: no connection

    @property
    def registered(self) -> bool:
        """Whether it is in the registry, or will be with its first records; what others send is kept raw."""

    def committed(self, items: Sequence[Any], refused: Sequence[Sequence[Quarantined]] = ()) -> None:
        """`items` (each an `Item`) are durable (or need not be): acknowledge them, in this order.

        `refused` tells for each what of it is in quarantine; empty: nothing. Runs come whole only then.
        """

    def abandoned(self) -> None:
        """Its frames were not stored and will not be: never a positive word, close."""


@dataclass(slots=True)
class Raw:
    """Bytes that are kept in quarantine as they came, because of `reason`."""

    data: bytes
    reason: str
    count: ClassVar[int] = 1  # as a frame's

    @property
    def cost(self) -> int:
        """As a frame's."""
        return cost_of(1, len(self.data))


Item = Frame | Message | Reply | Raw
Pending = tuple[Source, Item, float]


class Items:
    """What a batch holds, in arrival order. A place counts the frames of a run one by one."""

    __slots__ = ("apart", "things", "whole")

    def __init__(self, items: list[Pending]) -> None:
        self.whole = items  # as they came
        self.apart: list[Pending] | None = None  # runs taken apart, when somebody needed that

    def each(self) -> list[Pending]:
        """One by one, by place."""
        if self.apart is None:
            self.apart = [
                (source, single, at)
                for source, item, at in self.whole
                for single in (item.singles() if type(item) is Frame else (item,))
            ]
        return self.apart


@dataclass(slots=True)
class Work:
    """A batch on its way; `places` is how many there are. Arrays are per frame, but `received_all` is per place.

    `terminal` is an index into `job.identities`, -1 for those that are not registered.
    """

    items: Items
    job: Job
    refused: dict[int, list[Quarantined]]
    places: int
    protocol: NDArray[np.int8]
    terminal: NDArray[np.int32]
    received: Int64s
    received_all: Int64s
    waits: NDArray[np.bool_] | None  # per frame, whether somebody waits for its answer; None: for all of them
    link: NDArray[np.uint16] | None = None  # per frame, `Source.link`
    offset: int = 0  # µs by which its stamps are ahead of the loop's clock
    outcome: Outcome | None = None


class Batcher:
    """Turns items into work."""

    def __init__(
        self,
        protocols: Sequence[WireProtocol],
        metrics: ReceiveMetrics,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._protocols = protocols
        self._names = [protocol.name for protocol in protocols]
        self.metrics = metrics
        self._cpu = cpu
        self._slice = [AT_FIRST for _ in protocols]  # cost that is decoded in one turn

    def at_once(self, items: Sequence[Pending]) -> int:
        """The cost at which `prepare` may have these at once; dearer ones go by `prepare_in_turns`."""
        return min(map(self._slice.__getitem__, {source.protocol for source, _, _ in items}))

    def prepare(self, whole: list[Pending], arrived: Int64s) -> Work:
        """Decode: frames of each protocol together; raw those that are unregistered.

        `arrived` tells of each item when, in µs since the Unix epoch.
        """
        steps = self._steps(whole, arrived, in_turns=False)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                work: Work = end.value
                return work

    async def prepare_in_turns(self, whole: list[Pending], arrived: Int64s) -> Work:
        """The same, a slice at a time: others have the loop in between."""
        steps = self._steps(whole, arrived, in_turns=True)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                work: Work = end.value
                return work
            await asyncio.sleep(0)

    def _steps(self, whole: list[Pending], arrived: Int64s, *, in_turns: bool) -> Generator[None, None, Work]:
        items = Items(whole)
        sources, things, _ = zip(*whole, strict=True) if whole else ((), (), ())
        numbers = [source.protocol for source in sources]
        terminals = [source.terminal for source in sources]
        known = dict.fromkeys(terminals)
        if len(known) == len(terminals):  # the usual batch: one item each
            rows = np.arange(len(terminals), dtype=np.int32)
            protocol_of = map(self._names.__getitem__, numbers)
            identities = list(zip(terminals, protocol_of, strict=True))
        else:
            place_of = {terminal: place for place, terminal in enumerate(known)}
            rows = np.array([place_of[terminal] for terminal in terminals], np.int32)
            spoken = dict(zip(terminals, numbers, strict=True))
            identities = [(terminal, self._names[spoken[terminal]]) for terminal in known]
        registered = [source.registered for source in sources]
        if False in registered:
            rows[~np.array(registered)] = STRANGER
        counts = [thing.count for thing in things]
        places = sum(counts)
        owner = None if places == len(whole) else np.repeat(np.arange(len(whole)), counts)

        def by_place(each: NDArray[Any]) -> NDArray[Any]:
            return each if owner is None else each[owner]

        protocols = np.array(numbers, np.int8)
        protocol, terminal, received = by_place(protocols), by_place(rows), by_place(arrived)
        link = by_place(np.array([source.link for source in sources], np.uint16))
        quarantined: list[Kept] = []
        messages: list[Kept] = []
        refused: dict[int, list[Quarantined]] = {}
        framed: NDArray[np.bool_] | None = None
        # Of each protocol its frames, and the place of each; None: all of them, in order.
        parts: list[tuple[int, Any, NDArray[np.intp] | None]] = []
        if set(map(type, things)) == {Frame} and False not in registered and len(set(numbers)) == 1:
            parts.append((numbers[0], things, None))
        else:
            framed = np.array([type(thing) is Frame for thing in things], np.bool_)
            decodable = framed & (rows != STRANGER)
            for number in set(itertools.compress(numbers, decodable.tolist())):
                chosen = decodable & (protocols == number)
                frames = list(itertools.compress(things, chosen.tolist()))
                parts.append((number, frames, np.flatnonzero(by_place(chosen))))
            quarantined += [
                self.kept(items.each()[place], int(received[place]), "unregistered", None)
                for place in np.flatnonzero(by_place(framed & (rows == STRANGER))).tolist()
            ]
            for at in np.flatnonzero(~framed).tolist():
                thing = things[at]
                if type(thing) is Message:
                    messages.append(self.kept(whole[at], int(arrived[at]), thing.kind, None))
                elif type(thing) is Raw:
                    place = at if owner is None else int(np.searchsorted(owner, at))
                    refused[place] = [Quarantined(place, thing.reason)]
        batches: list[Batch] = []
        for number, frames, index in parts:
            for decoded, owners in self._decoded(number, frames, in_turns=in_turns):
                its = owners if index is None else index if owners is None else index[owners]
                if len(decoded.batch):
                    if its is not None:
                        decoded.batch.frame = its[decoded.batch.frame].astype(np.int32)
                    batches.append(decoded.batch)
                for bad in decoded.quarantined:
                    place = bad.frame if its is None else int(its[bad.frame])
                    refused.setdefault(place, []).append(bad)
                if in_turns:
                    yield
        for place, every in refused.items():
            quarantined += [
                self.kept(items.each()[place], int(received[place]), bad.reason, bad.data) for bad in rows_of(every)
            ]
        if batches:
            batch = Batch.concatenate(batches)
            came = received[batch.frame]
            unknown = batch.time == TIME_UNKNOWN
            told = np.where(unknown, came, batch.time) if np.count_nonzero(unknown) else batch.time
            stored = Rows(batch, terminal[batch.frame], came, told, protocol[batch.frame], [])
        else:
            stored = no_rows()
        job = Job(stored, identities, _Sources(self, items, received), quarantined, messages)
        received_all = received
        if framed is not None and not framed.all():
            kept = np.flatnonzero(by_place(framed))
            protocol, terminal, received, link = protocol[kept], terminal[kept], received[kept], link[kept]
        waiting = [source.waits for source in sources]
        waits = None
        if False in waiting:
            waits = by_place(np.array(waiting, np.bool_))
            if len(waits) != len(protocol):
                waits = waits[kept]
        return Work(items, job, refused, places, protocol, terminal, received, received_all, waits, link)

    def _decoded(
        self, number: int, frames: Sequence[Frame], *, in_turns: bool
    ) -> Iterator[tuple[Decoded, NDArray[np.intp] | None]]:
        """What comes of frames: all at once, or a slice at a time with the frame of each of its pieces."""
        if not in_turns or sum([frame.cost for frame in frames]) <= self._slice[number]:
            begun = self._cpu()
            decoded = self._decode(number, frames)
            took = self._cpu() - begun
            if took > TURN or self._slice[number] < min(AT_MOST, 2 * len(frames)):  # else there is nothing to learn
                self._learn(number, took, sum([frame.cost for frame in frames]))
            yield decoded, None
            return
        singles = [single for frame in frames for single in frame.singles()]
        pieces = self._pieces(number, singles)
        piece = next(pieces, None)
        while piece is not None:
            chosen: list[Frame] = []
            owners: list[int] = []
            offsets: list[int] = []
            cost = 0
            while piece is not None and (not chosen or cost + piece[0].cost <= self._slice[number]):
                cost += piece[0].cost
                chosen.append(piece[0])
                owners.append(piece[1])
                offsets.append(piece[2])
                piece = next(pieces, None)
            begun = self._cpu()
            decoded = self._decode(number, chosen)
            self._learn(number, self._cpu() - begun, cost)
            decoded.batch.position = decoded.batch.position + np.array(offsets, np.int32)[decoded.batch.frame]
            yield decoded, np.array(owners, np.intp)

    def _pieces(self, number: int, frames: Sequence[Frame]) -> Iterator[tuple[Frame, int, int]]:
        """Frames, those of many members in several pieces; of each its frame, and how many members were before it."""
        parts = self._protocols[number].parts
        for owner, frame in enumerate(frames):
            offset = 0
            most = self._slice[number]
            for piece in parts(frame, most) if parts is not None and frame.records > most else (frame,):
                yield piece, owner, offset
                offset += most

    def _learn(self, number: int, took: float, cost: int) -> None:
        """How much may be decoded in one turn, from what the last one took."""
        if took > TURN:
            self._slice[number] = max(AT_LEAST, min(self._slice[number], int(cost * TURN / took)))
        elif took < TURN / 3 and 2 * cost >= self._slice[number]:
            self._slice[number] = min(AT_MOST, self._slice[number] * 2)

    def count_quarantined(self, work: Work) -> None:
        """Once it is kept."""
        metrics = self.metrics
        for place, bad in work.refused.items():
            for one in rows_of(bad):
                metrics.count_quarantined(work.items.each()[place][0].protocol, one.reason)
        for protocol in work.protocol[work.terminal == STRANGER].tolist():
            metrics.count_quarantined(protocol, "unregistered")

    def _decode(self, number: int, frames: Sequence[Frame]) -> Decoded:
        """Decoders do not raise; should one do so after all, its frame is kept raw and its neighbours are decoded."""
        decode = self._protocols[number].decode
        try:
            return decode(frames)
        except Exception:
            frames = [single for frame in frames for single in frame.singles()]
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

    def kept(self, pending: Pending, received: int, reason: str, data: bytes | None) -> Kept:
        """An item as raw bytes."""
        source, item, _ = pending
        name = self._protocols[source.protocol].name
        if isinstance(item, Message):
            return Kept(source.terminal, name, received, item.data, item.kind, text=item.text)
        assert not isinstance(item, Reply)  # noqa: S101  # a Reply is never kept
        variant = item.variant if isinstance(item, Frame) else 0
        return Kept(source.terminal, name, received, data or item.data, reason, variant)


def rows_of(refused: list[Quarantined]) -> list[Quarantined]:
    """What of one frame is kept in quarantine: its refused members, or if they are many the frame, once."""
    if len(refused) <= MAX_REFUSED:
        return refused
    return [replace(refused[0], data=None)]


class _Sources(Sequence[Kept]):
    """What each frame becomes if the store refuses its records; made only then."""

    def __init__(self, batcher: Batcher, items: Items, received: Int64s) -> None:
        self._batcher, self._items, self._received = batcher, items, received

    def __len__(self) -> int:
        return len(self._received)

    def __getitem__(self, place: Any) -> Any:
        return self._batcher.kept(self._items.each()[place], int(self._received[place]), "store", None)
