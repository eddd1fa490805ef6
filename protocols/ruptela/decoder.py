"""Records to columns. A record's structure is the ids of its groups; a long extended record comes in parts, each with a
head of its own, which are one record where they follow one another and tell the same moment."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from protocols.learned import Body, Cut, DamagedError, Decoder, Explained, Grammar
from protocols.meanings import Meaning, Names
from protocols.records import Decoded, Frame
from protocols.ruptela.measures import Part, parts_of
from protocols.ruptela.wire import DTCS, EXTENDED, HEAD, RECORDS, TAIL
from protocols.told import Told

_STAMP = 5  # time and its extension: what tells records of a second apart
_MARK = 5  # where an extended record says which part it is
DTC_SIZE = 19


def _core(at: int) -> tuple[Part, ...]:
    """What every record has, from its priority on; without a fix recorded ones have the number of none in each."""
    return (
        (Meaning("priority"), at, 1, ">u1"),
        (Meaning("@lon", divisor=1e7), at + 1, 4, ">i4"),
        (Meaning("@lat", divisor=1e7), at + 5, 4, ">i4"),
        (Meaning("@altitude", divisor=10, none=(0x8000,)), at + 9, 2, ">u2"),
        (Meaning("@course", divisor=100, high=36_000), at + 11, 2, ">u2"),
        (Meaning("@satellites", none=(0xFF,)), at + 13, 1, ">u1"),
        (Meaning("@speed", none=(0xFFFF,)), at + 14, 2, ">u2"),
        (Meaning("hdop", divisor=10, none=(0xFF,)), at + 16, 1, ">u1"),
    )


_TIME: Part = (Meaning("@time"), 0, 4, ">u4")
_PLAIN: tuple[Part, ...] = (_TIME, *_core(5), (Meaning("event"), 22, 1, ">u1"), (Meaning("@event"), 22, 1, ">u1"))
_LONG: tuple[Part, ...] = (_TIME, *_core(6), (Meaning("event"), 23, 2, ">u2"), (Meaning("@event"), 23, 2, ">u2"))
PREFIX = {RECORDS: 23, EXTENDED: 25}
_PARTS = {RECORDS: _PLAIN, EXTENDED: _LONG}
_DTC: tuple[Part, ...] = (
    (Meaning("@time"), 1, 4, ">u4"),
    (Meaning("@lon", divisor=1e7), 5, 4, ">i4"),
    (Meaning("@lat", divisor=1e7), 9, 4, ">i4"),
    (Meaning("@archive"), 13, 1, ">u1"),
    (Meaning("dtc", kind="text"), 14, 5, ""),
)


class Values(NamedTuple):
    """Where the values of one part lie: (id, offset, size), and where it ends."""

    values: list[tuple[int, int, int]]
    end: int


class _Grammar(Grammar):
    def body(self, frame: Frame) -> Body | str:
        data = frame.data
        if len(data) < HEAD + 1 + TAIL:
            return "length"
        command = data[HEAD - 1]
        if command == DTCS:
            return Body(DTCS, data[HEAD + 1 : -TAIL], data[HEAD]) if data[HEAD] else "count"
        if command not in PREFIX:
            return "command"
        if len(data) < HEAD + 2 + TAIL:
            return "length"
        return Body(command, data[HEAD + 2 : -TAIL], data[HEAD + 1]) if data[HEAD + 1] else "count"

    def cut(self, body: Body) -> Iterator[Cut]:
        data, end, at, units = body.data, len(body.data), 0, 0
        if body.kind == DTCS:
            if end != body.units * DTC_SIZE:
                raise DamagedError("structure")
            for at in range(0, end, DTC_SIZE):
                yield Cut(at, at + DTC_SIZE, None)
            return
        command = RECORDS if body.kind == RECORDS else EXTENDED
        while at < end and units < body.units:
            start, parts = at, [walk(data, command, at, end)]
            at = parts[0].end
            while command == EXTENDED and units + len(parts) < body.units and _continues(data, start, at, len(parts)):
                parts.append(walk(data, command, at, end))
                at = parts[-1].end
            units += len(parts)
            moved = [Values([(i, o - start, s) for i, o, s in p.values], p.end - start) for p in parts]
            signature = (
                tuple((identifier, size) for part in moved for identifier, _, size in part.values),
                tuple(part.end for part in moved),
                data[start + _MARK] if command == EXTENDED else 0,
            )
            yield Cut(start, at, signature, len(parts), moved)
        if at != end or units != body.units:
            raise DamagedError("structure")

    def explain(self, kind: Hashable, record: bytes, walked: Any) -> Explained:
        names = Names()
        if kind == DTCS:
            names.add(-1, _DTC, 0, DTC_SIZE)
            return Explained(names.elements, [(0, 1)])
        command = RECORDS if kind == RECORDS else EXTENDED
        prefix = PREFIX[command]
        names.add(-1, _PARTS[command], 0, prefix)
        free: list[tuple[int, int]] = []
        fixed: list[tuple[int, int]] = []
        alike: list[tuple[int, int, int]] = []
        start = 0
        for part in walked:
            free.append((start, prefix))
            if command == EXTENDED:
                fixed.append((start + _MARK, 1))
            if start:
                alike.append((0, start, _STAMP))
            for identifier, at, size in part.values:
                names.add(identifier, parts_of(identifier, size), at, size)
            start = part.end
        return Explained(names.elements, free, fixed, alike)

    @staticmethod
    def hook(told: Told, kind: Hashable) -> None:
        """Heights below the sea, events, and what came late."""
        altitude = told.get("@altitude")
        if altitude is not None:  # two readers disagree on the sign: no road is as high as what lies below the sea
            altitude -= np.where(altitude > 6000, 6553.6, 0)
        for name in ("@event", "@archive"):
            column = told.get(name)
            if column is not None:
                column[:] = column == 2 if kind == DTCS else column > 0


def _continues(data: bytes, start: int, at: int, part: int) -> bool:
    """Whether what begins at `at` is part number `part` of the record at `start`."""
    head = data[at : at + _MARK + 1]
    if len(head) <= _MARK or head[:_STAMP] != data[start : start + _STAMP]:
        return False
    first = data[start + _MARK]
    number = (first & 15) + part
    return head[_MARK] == (first & 0xF0) | number and number <= first >> 4


def walk(data: bytes, command: int, at: int, end: int) -> Values:
    """The values of a record, or of a part of one.

    Raises
    ------
    DamagedError
        If a count runs past `end`.
    """
    width = 1 if command == RECORDS else 2
    at += PREFIX[command]
    found: list[tuple[int, int, int]] = []
    for size in (1, 2, 4, 8):
        if at >= end:
            raise DamagedError("structure")
        count = data[at]
        at += 1
        stop = at + count * (width + size)
        if stop > end:
            raise DamagedError("structure")
        while at < stop:
            found.append((int.from_bytes(data[at : at + width], "big"), at + width, size))
            at += width + size
    return Values(found, at)


_shared = Decoder(_Grammar())


def new_decoder() -> Decoder:
    """One that has learned nothing yet."""
    return Decoder(_Grammar())


def decode(frames: Sequence[Frame]) -> Decoded:
    """Decode with the process's own table of structures."""
    return _shared.decode(frames)
