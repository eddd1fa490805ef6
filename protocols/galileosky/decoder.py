"""Data packets to columns. A record's structure is its tags and the lengths that stand in it.

A compressed packet lists its tags once, behind its first record's minimal data set; without the list its records lie
end to end like any others. Its times count from the beginning of the year in which it was received.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from protocols.galileosky.measures import (
    EXTENDED,
    EXTENDED_TAGS,
    IMEI,
    MINIMAL,
    MINIMAL_PARTS,
    REFRIGERATOR,
    TAGS,
    TYRES,
    VARIABLE,
)
from protocols.galileosky.walk import Listed, Walked, extended, listed, walk, walk_listed
from protocols.learned import Body, Cut, DamagedError, Decoder, Explained, Grammar
from protocols.meanings import Element, Meaning, Names
from protocols.records import Decoded, Frame
from protocols.told import Told

DATA, COMPRESSED = 0x01, 0x08
HEAD, TAIL = 3, 2
_DAY = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Packed(NamedTuple):
    """The kind of a compressed packet's records; `day` since 1970 on which it was received."""

    listed: Listed
    day: int


class _Grammar(Grammar):
    hooked = ("hdop", "gnss.error", "gnss.source")

    def body(self, frame: Frame) -> Body | str:
        data = frame.data
        if len(data) < HEAD + TAIL + 1:
            return "length"
        if data[0] == DATA:
            return Body(None, data[HEAD:-TAIL])
        if data[0] != COMPRESSED:
            return "header"
        try:
            kind, begin, end = listed(data, HEAD, len(data) - TAIL)
        except DamagedError as error:
            return str(error.args[0])
        return Body(_Packed(kind, frame.variant), data[HEAD:begin] + data[end:-TAIL])

    def cut(self, body: Body) -> Iterator[Cut]:
        data, at, end = body.data, 0, len(body.data)
        while at < end:
            start = at
            try:
                if isinstance(body.kind, _Packed):
                    walked, at = walk_listed(data, body.kind.listed, at, end)
                    signature: Hashable = tuple(size for _, _, size in walked)
                else:
                    walked, at = walk(data, at, end)
                    signature = tuple((tag, size) for tag, _, size in walked)
            except DamagedError as error:
                raise DamagedError(error.args[0], start) from None
            inner = tuple(_steering(data, *one) for one in walked if one[0] in (EXTENDED, REFRIGERATOR))
            moved = [(tag, begin - start, size) for tag, begin, size in walked]
            yield Cut(start, at, (signature, inner), 1, moved)

    def explain(self, kind: Hashable, record: bytes, walked: Any) -> Explained:
        return explain(record, walked, packed=isinstance(kind, _Packed) and kind.listed.minimal)

    @staticmethod
    def hook(told: Told, kind: Hashable) -> None:
        """Both ways a place may be a fix; an error in place of HDOP; the year of a compressed packet."""
        fix, source = told.get("@fix"), told.get("gnss.source")
        if fix is not None:
            fix[:] = (fix == 0) | (fix == 2)
        hdop, error = told.get("hdop"), told.get("gnss.error")
        if hdop is not None and error is not None:
            cells = np.zeros(len(hdop), np.bool_) if source is None else source == 2
            hdop[cells] = np.nan
            error[~cells] = np.nan
        time = told.get("@time")
        if time is not None and isinstance(kind, _Packed) and kind.listed.minimal:
            today = _EPOCH + timedelta(days=kind.day)
            first = _seconds(today.year)
            time += first
            late = time > (kind.day + 2) * _DAY
            time[late] -= first - _seconds(today.year - 1)


def _seconds(year: int) -> float:
    return (datetime(year, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()


def _steering(data: bytes, tag: int, at: int, size: int) -> Hashable:
    """What of a value tells where the rest lies: codes of extended tags, flags of a refrigerating unit."""
    if tag == REFRIGERATOR:
        return data[at + 1 : at + 3]
    return tuple(
        (code, data[begin : begin + 2] if code == EXTENDED else b"") for code, begin, _ in extended(data, at, at + size)
    )


def explain(record: bytes, walked: Walked, *, packed: bool = False) -> Explained:
    """The values of a record; `walked` from its beginning."""
    names = Names()
    free: list[tuple[int, int]] = []
    fixed: list[tuple[int, int]] = []
    if packed:
        names.add(0, MINIMAL_PARTS, 0, MINIMAL)
    for tag, at, size in walked:
        if tag == EXTENDED:
            for code, begin, its in extended(record, at, at + size):
                if code == EXTENDED:
                    names.add(EXTENDED, ((Meaning("io.254", kind="hex"), 0, its, ""),), begin, its)
                    fixed.append((begin, min(its, 2)))
                else:
                    names.add(0x1_0000 + code, EXTENDED_TAGS[code].parts, begin, its)
            continue
        known = TAGS[tag]
        if known.size == VARIABLE or (tag == TYRES and size != known.size):
            if size:
                ((meaning, _, _, _),) = known.parts
                names.add(tag, ((meaning, 0, size, ""),), at, size)
            if tag == REFRIGERATOR:
                fixed.append((at + 1, 2))
            elif tag == TYRES:
                fixed.append((at, 2))
        else:
            names.add(tag, known.parts, at, size)
            if tag == IMEI:
                free.append((at, size))
            elif tag == TYRES and packed:
                fixed.append((at, 2))
    return Explained([Element(*element) for element in names.elements], free, fixed)


_shared = Decoder(_Grammar())


def new_decoder() -> Decoder:
    """One that has learned nothing yet."""
    return Decoder(_Grammar())


def decode(frames: Sequence[Frame]) -> Decoded:
    """Decode with the process's own table of structures."""
    return _shared.decode(frames)
