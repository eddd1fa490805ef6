"""A batch: items in arrival order, decoded by columns into what one transaction stores."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.metrics import ReceiveMetrics
from gateway.receive.terminals import NO_ROW, PENDING
from gateway.store.copy import Rows
from gateway.store.writer import Job, Kept, Outcome, no_rows
from protocols.records import TIME_UNKNOWN, Batch, BatchBuilder, Decoded, Frame, Int64s, Message, Quarantined, Reply
from protocols.registry import WireProtocol

_log = structlog.get_logger()


class Source(Protocol):
    """Where frames come from: a connection, a datagram, a replay."""

    protocol: int  # number in the pipeline's list
    terminal: str
    row: int  # of the terminal table; NO_ROW: unregistered, kept raw; PENDING: not known while the store is away

    def committed(self, items: Sequence[Item], refused: Sequence[Sequence[Quarantined]] = ()) -> None:
        """`items` are durable (or need not be): acknowledge them, in this order.

        `refused` tells for each what of it is in quarantine; empty: nothing. Runs come whole only then.
        """

    def abandoned(self) -> None:
        """Its frames were not stored and will not be: never a positive word, close."""


Item = Frame | Message | Reply
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
    """A batch on its way; `places` is how many there are. Arrays are per frame, but `received_all` is per place."""

    items: Items
    job: Job
    refused: dict[int, list[Quarantined]]
    places: int
    protocol: NDArray[np.int8]
    terminal: NDArray[np.int32]
    received: Int64s
    received_all: Int64s
    pending: bool  # some terminal has no row yet: only the spool can take this
    size: int = 0  # bytes of the items
    outcome: Outcome | None = None
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher:
    """Turns items into work."""

    def __init__(self, protocols: Sequence[WireProtocol], metrics: ReceiveMetrics, rows: dict[str, int]) -> None:
        self._protocols = protocols
        self._metrics = metrics
        self._rows = rows

    def prepare(self, whole: list[Pending], arrived: Int64s) -> Work:
        """Decode: frames of each protocol together; raw those that are unregistered.

        `arrived` tells of each item when, in µs since the Unix epoch.
        """
        items = Items(whole)
        sources, things, _ = zip(*whole, strict=True) if whole else ((), (), ())
        numbers = [source.protocol for source in sources]
        row_of = [source.row for source in sources]
        rows = np.array(row_of, np.int32)
        pending = False
        if row_of and min(row_of) < 0:
            pending = self._find_rows(sources, rows)
            row_of = rows.tolist()
        counts = [thing.count for thing in things]
        places = sum(counts)
        owner = None if places == len(whole) else np.repeat(np.arange(len(whole)), counts)

        def by_place(each: NDArray[Any]) -> NDArray[Any]:
            return each if owner is None else each[owner]

        protocols = np.array(numbers, np.int8)
        protocol, terminal, received = by_place(protocols), by_place(rows), by_place(arrived)
        quarantined: list[Kept] = []
        messages: list[Kept] = []
        refused: dict[int, list[Quarantined]] = {}
        framed: NDArray[np.bool_] | None = None
        # Of each protocol its frames, and the place of each; None: all of them, in order.
        parts: list[tuple[int, Any, NDArray[np.intp] | None]] = []
        if set(map(type, things)) == {Frame} and NO_ROW not in row_of and len(set(numbers)) == 1:
            parts.append((numbers[0], things, None))
        else:
            framed = np.array([type(thing) is Frame for thing in things], np.bool_)
            decodable = framed & (rows != NO_ROW)
            for number in set(itertools.compress(numbers, decodable.tolist())):
                chosen = decodable & (protocols == number)
                frames = list(itertools.compress(things, chosen.tolist()))
                parts.append((number, frames, np.flatnonzero(by_place(chosen))))
            quarantined += [
                self.kept(items.each()[place], int(received[place]), "unregistered", None)
                for place in np.flatnonzero(by_place(framed & (rows == NO_ROW))).tolist()
            ]
            for at in np.flatnonzero(~framed).tolist():
                thing = things[at]
                if type(thing) is Message:
                    messages.append(self.kept(whole[at], int(arrived[at]), thing.kind, None))
        batches: list[Batch] = []
        for number, frames, index in parts:
            decoded = self._decode(number, frames)
            if len(decoded.batch):
                if index is not None:
                    decoded.batch.frame = index[decoded.batch.frame].astype(np.int32)
                batches.append(decoded.batch)
            for bad in decoded.quarantined:
                place = bad.frame if index is None else int(index[bad.frame])
                refused.setdefault(place, []).append(bad)
                quarantined.append(self.kept(items.each()[place], int(received[place]), bad.reason, bad.data))
        if batches:
            batch = Batch.concatenate(batches)
            its = received[batch.frame]
            unknown = batch.time == TIME_UNKNOWN
            told = np.where(unknown, its, batch.time) if np.count_nonzero(unknown) else batch.time
            stored = Rows(batch, terminal[batch.frame], its, told, protocol[batch.frame], [])
        else:
            stored = no_rows()
        job = Job(stored, _Sources(self, items, received), quarantined, messages)
        received_all = received
        if framed is not None and not framed.all():
            kept = np.flatnonzero(by_place(framed))
            protocol, terminal, received = protocol[kept], terminal[kept], received[kept]
        return Work(items, job, refused, places, protocol, terminal, received, received_all, pending)

    def _find_rows(self, sources: Sequence[Source], rows: NDArray[np.int32]) -> bool:
        """Terminals that came while the store was away may have their row by now; whether some have not."""
        for at in np.flatnonzero(rows == PENDING).tolist():
            row = self._rows.get(sources[at].terminal)
            if row is not None:
                sources[at].row = rows[at] = row
        return bool((rows == PENDING).any())

    def count_quarantined(self, work: Work) -> None:
        """Once it is kept."""
        metrics = self._metrics
        for place, bad in work.refused.items():
            for one in bad:
                metrics.count_quarantined(work.items.each()[place][0].protocol, one.reason)
        for protocol in work.protocol[work.terminal == NO_ROW].tolist():
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
        assert isinstance(item, Frame)  # noqa: S101  # a Reply is never kept
        return Kept(source.terminal, name, received, data or item.data, reason, item.variant)


class _Sources(Sequence[Kept]):
    """What each frame becomes if the store refuses its records; made only then."""

    def __init__(self, batcher: Batcher, items: Items, received: Int64s) -> None:
        self._batcher, self._items, self._received = batcher, items, received

    def __len__(self) -> int:
        return len(self._received)

    def __getitem__(self, place: Any) -> Any:
        return self._batcher.kept(self._items.each()[place], int(self._received[place]), "store", None)
