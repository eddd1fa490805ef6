"""Telemetry to columns. What a record's bytes are was agreed upon when the connection began; it stands in front of each
frame. Additional records (~E, ~X) have parts of their own."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from protocols.flex.fields import FIELDS, PARTS, STATIC, STATIC_FIELDS, TACHOGRAPH_FLAGS, selected, sizes
from protocols.flex.wire import Selection, unprefixed
from protocols.learned import Body, Cut, DamagedError, Decoder, Explained, Grammar
from protocols.meanings import Element, Meaning, Names
from protocols.records import Decoded, Frame
from protocols.told import Told

ARCHIVE, URGENT, CURRENT, MORE, MORE_URGENT = b"~A", b"~T", b"~C", b"~E", b"~X"
_EXTRA = "additional"
_HEADS = {ARCHIVE: 3, URGENT: 6, CURRENT: 2, MORE: 3, MORE_URGENT: 6}


@lru_cache(1024)
def record_size(selection: Selection) -> int:
    """Bytes of one record."""
    return sum(sizes(selected(selection.bits, selection.mask), short=selection.short))


@lru_cache(1024)
def _archive(head: bytes, size: int) -> tuple[Selection, int] | None:
    """What records a whole ~A of so many bytes holds that begins so, and how many; None: it is not whole."""
    found = unprefixed(head)
    if found is None or len(head) != found[1] + 3:
        return None
    record, units = record_size(found[0]), head[-1]
    return (found[0], units) if record and units and size == len(head) + units * record + 1 else None


class _Grammar(Grammar):
    hooked = ("gnss.time",)

    def body(self, frame: Frame) -> Body | str:
        data = frame.data
        at = 2 + (data[1] + 7 >> 3) if len(data) > 2 else 0
        if data[at : at + 2] == ARCHIVE:
            told = _archive(data[: at + 3], len(data))
            if told is not None:
                selection, units = told
                return Body(selection, data[at + 3 : -1], units)
        found = unprefixed(data)
        if found is None:
            return "structure"
        selection, at = found
        word = data[at : at + 2]
        head = _HEADS.get(word)
        if head is None or len(data) < at + head + 2:
            return "structure"
        body = data[at + head : -1]
        if word in (MORE, MORE_URGENT):
            return Body(_EXTRA, body, data[at + 2] if word == MORE else 1)
        units = data[at + 2] if word == ARCHIVE else 1
        size = record_size(selection)
        if not size or len(body) != units * size:
            return "length"
        return Body(selection, body, units)

    def cut(self, body: Body) -> Iterator[Cut]:
        data, end = body.data, len(body.data)
        if isinstance(body.kind, Selection):
            size = record_size(body.kind)
            for at in range(0, end, size):
                yield Cut(at, at + size, None)
            return
        at, units = 0, 0
        while at < end:
            try:
                walked, stop = walk_extra(data, at, end)
            except DamagedError as error:
                raise DamagedError(error.args[0], at) from None
            signature = (data[at : at + 4], tuple((kind, size) for kind, _, size in walked))
            yield Cut(at, stop, signature, 1, [(kind, begin - at, size) for kind, begin, size in walked])
            at = stop
            units += 1
        if units != body.units:
            raise DamagedError("count")

    def explain(self, kind: Hashable, record: bytes, walked: Any) -> Explained:
        if isinstance(kind, Selection):
            return _selected(kind)
        return _extra(record, walked)

    @staticmethod
    def hook(told: Told, kind: Hashable) -> None:
        """The fix's time where it differs from the record's."""
        del kind
        fixed, time = told.get("gnss.time"), told.get("@time")
        if fixed is not None and time is not None:
            np.copyto(fixed, np.nan, where=fixed == time)


def _selected(selection: Selection) -> Explained:
    names = Names()
    at = 0
    for n in selected(selection.bits, selection.mask):
        field = FIELDS[n]
        parts, size = field.parts, field.size
        if n == TACHOGRAPH_FLAGS and selection.short:
            size = 1
            parts = ((parts[0][0], 0, 1, "<u1"),)
        names.add(n, parts, at, size)
        at += size
    return Explained(names.elements)


def walk_extra(data: bytes, at: int, end: int) -> tuple[list[tuple[int, int, int]], int]:
    """The parts of an additional record (kind, offset of its data, size), and where it ends.

    Raises
    ------
    DamagedError
        If a length runs past the record, or the record past `end`.
    """
    stop = at + 2 + int.from_bytes(data[at : at + 2], "little")
    if at + 4 > end or stop > end or stop - at < 4 + STATIC:
        raise DamagedError("structure")
    part = at + 4 + data[at + 3]
    if data[at + 3] < STATIC or part > stop:
        raise DamagedError("structure")
    found: list[tuple[int, int, int]] = []
    while part < stop:
        if part + 2 > stop or part + 2 + data[part + 1] > stop:
            raise DamagedError("structure")
        found.append((data[part], part + 2, data[part + 1]))
        part += 2 + data[part + 1]
    return found, stop


def _extra(record: bytes, walked: list[tuple[int, int, int]]) -> Explained:
    names = Names()
    at = 4
    for n in STATIC_FIELDS:
        names.add(n, FIELDS[n].parts, at, FIELDS[n].size)
        at += FIELDS[n].size
    for kind, begin, size in walked:
        meaning, wanted = PARTS.get(kind, (Meaning(f"part.{kind}", kind="hex"), size))
        if size != wanted:
            meaning = Meaning(f"part.{kind}", kind="hex")
        names.add(0x100 + kind, ((meaning, 0, size, ""),) if size else (), begin, size)
    return Explained([Element(*element) for element in names.elements], [(at, 4 + record[3] - at)])


_shared = Decoder(_Grammar())


def new_decoder() -> Decoder:
    """One that has learned nothing yet."""
    return Decoder(_Grammar())


def decode(frames: Sequence[Frame]) -> Decoded:
    """Decode with the process's own table of structures."""
    return _shared.decode(frames)
