"""Where records lie in many frames: by the first of those that are alike, else one by one.

Frames of one length, whose records have the lengths and flags of the first one's, have them at the same places: that
is found out by one comparison of the bytes that tell it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from protocols.egts import wire
from protocols.records import Frame

PACKET, RECORDS, REMAINDER = 0, 1, 2  # `Frame.variant`: a whole packet, records alone, what no record could be made of

_ALIKE = 4  # frames of one length from which on they are compared with one another
_SHAPES = 8  # frames of one length that others are compared with; the rest are walked one by one

Ints: TypeAlias = NDArray[np.int64]
Damaged: TypeAlias = tuple[int, int, int, int]  # frame, ordinal, from, to


@dataclass(slots=True)
class Places:
    """Records in the bytes of all frames, shape (n,) each; -1 where a time or an event is not told."""

    frame: Ints
    ordinal: Ints
    start: Ints  # of the record
    at: Ints  # of its subrecords
    size: Ints
    tm: Ints
    own: NDArray[np.bool_]  # the time is its own, not inherited
    evid: Ints

    @classmethod
    def of(cls, pieces: Sequence[Sequence[NDArray[Any]]]) -> Places:
        """Columns in the order of the fields, end to end."""
        columns = [np.concatenate(column) for column in zip(*pieces, strict=True)] or [np.zeros(0, np.int64)] * 8
        return cls(*(column.astype(np.bool_ if n == 6 else np.int64) for n, column in enumerate(columns)))  # type: ignore[arg-type]

    def take(self, rows: NDArray[Any]) -> Places:
        """Some of them."""
        return Places(*(getattr(self, name)[rows] for name in self.__slots__))


def spans(frames: Sequence[Frame], data: bytes, flat: NDArray[np.uint8]) -> tuple[Ints, Ints, list[int]]:
    """Where records begin and end in each single frame of `data`, which holds all of them; those that hold none."""
    counts = [frame.count for frame in frames]
    lengths = [len(frame.data) for frame in frames]
    sizes = np.repeat(np.array(lengths, np.int64) // np.array(counts), counts)
    variants = np.repeat(np.array([frame.variant for frame in frames]), counts)
    base = np.cumsum(sizes) - sizes
    nothing = (variants == REMAINDER) | (sizes == 0)
    packets = variants == PACKET
    usual = packets & (sizes >= wire.HEAD + 2) & (flat[base + 3] == wire.HEAD) & (flat[base + 9] == wire.APPDATA)
    begin = np.where(usual, base + wire.HEAD, base)
    end = np.where(usual, base + sizes - 2, base + sizes)
    for one in np.flatnonzero(packets & ~usual & ~nothing).tolist():
        at, size = int(base[one]), int(sizes[one])
        first, last = span_of(data[at : at + size], PACKET)
        begin[one], end[one] = at + first, at + last
    end[nothing] = begin[nothing]
    return begin, end, np.flatnonzero(nothing).tolist()


def span_of(data: bytes, variant: int) -> tuple[int, int]:
    """Where records begin and end in one frame."""
    if variant != PACKET:
        return 0, len(data)
    if len(data) < wire.HEAD + 2:
        return 0, 0
    begin, end = wire.span(data)
    return begin, max(begin, end)


def walk(data: bytes, flat: NDArray[np.uint8], begin: Ints, end: Ints) -> tuple[Places, list[Damaged]]:
    """All records, and of each frame what is left where one does not fit."""
    damaged: list[Damaged] = []
    pieces: list[Sequence[NDArray[Any]]] = []
    left = np.flatnonzero(end > begin)
    sizes = end - begin
    while len(left):
        size = sizes[left[0]]
        alike = left[sizes[left] == size]
        left = left[sizes[left] != size]
        for _ in range(_SHAPES):
            if len(alike) < _ALIKE:
                break
            records, bad = wire.records(data, int(begin[alike[0]]), int(end[alike[0]]))
            if bad >= 0:
                break
            same = _same(flat, begin[alike], records)
            pieces.append(_placed(flat, begin[alike[same]], alike[same], records))
            alike = alike[~same]
        if len(alike):
            pieces.append(_one_by_one(data, begin[alike], end[alike], alike, damaged))
    return Places.of(pieces), damaged


def _same(flat: NDArray[np.uint8], begin: Ints, records: Sequence[wire.Record]) -> NDArray[np.bool_]:
    """Which frames have records of these lengths and flags at these places."""
    first = int(begin[0])
    told = np.array([one.start - first + byte for one in records for byte in (0, 1, 4)])
    shape: NDArray[np.bool_] = (flat[begin[:, None] + told] == flat[first + told]).all(axis=1)
    return shape


def _placed(flat: NDArray[np.uint8], begin: Ints, frames: Ints, records: Sequence[wire.Record]) -> Sequence[Ints]:
    first, n, count = records[0].start, len(begin), len(records)

    def by_record(values: Sequence[int]) -> Ints:
        placed: Ints = (begin[:, None] + np.array(values)).ravel()
        return placed

    tm = np.full((n, count), -1, np.int64)
    evid = np.full((n, count), -1, np.int64)
    latest = None
    for ordinal, one in enumerate(records):
        place = one.start - first + 5 + 4 * (one.flags & 1)
        if one.flags & wire.HAS_EVID:
            evid[:, ordinal] = _u32(flat, begin + place)
            place += 4
        if one.flags & wire.HAS_TM:
            latest = _u32(flat, begin + place)
        if latest is not None:
            tm[:, ordinal] = latest
    own = [one.flags & wire.HAS_TM != 0 for one in records]
    return (
        np.repeat(frames, count),
        np.tile(np.arange(count), n),
        by_record([one.start - first for one in records]),
        by_record([one.at - first for one in records]),
        np.tile(np.array([one.end - one.at for one in records]), n),
        tm.ravel(),
        np.tile(np.array(own, np.int64), n),
        evid.ravel(),
    )


def _one_by_one(data: bytes, begin: Ints, end: Ints, frames: Ints, damaged: list[Damaged]) -> Sequence[Ints]:
    found: list[tuple[int, int, int, int, int, int, int, int]] = []
    for owner, start, stop in zip(frames.tolist(), begin.tolist(), end.tolist(), strict=True):
        records, bad = wire.records(data, start, stop)
        for ordinal, one in enumerate(records):
            tm = -1 if one.tm is None else one.tm
            evid = -1 if one.evid is None else one.evid
            own = one.flags & wire.HAS_TM
            found.append((owner, ordinal, one.start, one.at, one.end - one.at, tm, own, evid))
        if bad >= 0:
            damaged.append((owner, len(records), bad, stop))
    columns = np.array(found, np.int64).reshape(-1, 8)
    return list(columns.T)


def _u32(flat: NDArray[np.uint8], at: Ints) -> Ints:
    whole = flat[at[:, None] + np.arange(4)].copy().view("<u4")
    value: Ints = whole[:, 0].astype(np.int64)
    return value
