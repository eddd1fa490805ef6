"""Packages to columns. A record's structure is its length and the tags in it, every fifth byte; of an input its mode
and number too."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from protocols.arnavi.measures import (
    DISCRETE,
    FREQUENCY,
    INPUT,
    LLS,
    NO_FIX,
    PULSES,
    SIZE,
    VOLTAGE,
    input_parts,
    numbered_fuel,
    parts_of,
)
from protocols.arnavi.wire import DATA, PACKAGE, PACKAGE_END, RECORD_HEAD, records
from protocols.learned import Body, Cut, DamagedError, Decoder, Explained, Grammar
from protocols.meanings import Meaning, Names
from protocols.records import Decoded, Frame
from protocols.told import Told

_NUMBERED = (PULSES, FREQUENCY, VOLTAGE)
_TIME = (Meaning("@time"), 0, 4, "<u4")
_BEFORE = 3  # kind and length


class _Grammar(Grammar):
    def body(self, frame: Frame) -> Body | str:
        data = frame.data
        if len(data) < 3 or data[0] != PACKAGE or data[-1] != PACKAGE_END:
            return "structure"
        return Body(None, data[2:-1])

    def cut(self, body: Body) -> Iterator[Cut]:
        data, at = body.data, 0
        try:
            for kind, start, end in records(data, 0, len(data)):
                at = end
                if kind == DATA:
                    yield Cut(start, end, _signature(data, start, end))
        except ValueError:
            raise DamagedError("structure", at) from None
        if at != len(data):
            raise DamagedError("structure", at)

    def explain(self, kind: Hashable, record: bytes, walked: Any) -> Explained:
        del kind, walked
        return explain(record)

    @staticmethod
    def hook(told: Told, kind: Hashable) -> None:
        """Satellites of two systems in one byte, which may say that there is no fix."""
        del kind
        satellites, fix = told.get("@satellites"), told.get("@fix")
        if satellites is None or fix is None:
            return
        known = ~np.isnan(satellites)
        lost = np.isin(satellites, NO_FIX)
        byte = np.where(known, satellites, 0).astype(np.int64)
        fix[:] = ~(known & lost)  # a place that nobody says is lost is one
        satellites[:] = np.where(known & ~lost, (byte & 15) + (byte >> 4), np.nan)


def _signature(data: bytes, start: int, end: int) -> Hashable:
    tags = data[start + RECORD_HEAD : end - 1 : SIZE]
    size = end - start
    if INPUT not in tags and LLS not in tags:
        return size, tags
    inner = []
    for place, tag in enumerate(tags):
        at = start + RECORD_HEAD + SIZE * place + 1
        if tag == INPUT:
            inner.append(data[at : at + (2 if data[at] in _NUMBERED else 1)])
        elif tag == LLS:
            inner.append(data[at + 3 : at + 4])
    return size, tags, tuple(inner)


def explain(record: bytes) -> Explained:
    """The values of a record, from its kind to its checksum."""
    names = Names()
    names.add(-1, (_TIME,), _BEFORE, 4)
    fixed: list[tuple[int, int]] = []
    free: list[tuple[int, int]] = [(len(record) - 1, 1)]
    at, end = RECORD_HEAD, len(record) - 1
    while at + SIZE <= end:
        tag, begin = record[at], at + 1
        free.append((begin, SIZE - 1))  # what no measure is made of is spare
        if tag == INPUT:
            mode, number = record[begin], record[begin + 1]
            numbered = mode in _NUMBERED
            fixed.append((begin, 2 if numbered else 1))
            found = input_parts(mode, number if numbered else 0)
            identifier = tag if mode == DISCRETE else 0x1_0000 + mode * 256 + number * numbered
            names.add(identifier, found or (_whole(tag),), begin, SIZE - 1)
        elif tag == LLS:
            fixed.append((begin + 3, 1))
            number = record[begin + 3]
            names.add(0x2_0000 + number, numbered_fuel(number + 1), begin, SIZE - 1)
        else:
            names.add(tag, parts_of(tag), begin, SIZE - 1)
        at += SIZE
    if at < end:  # not a multiple of five: nobody says what that is, and it is kept
        names.add(0x3_0000, ((Meaning("io.0", kind="hex"), 0, end - at, ""),), at, end - at)
    return Explained(names.elements, free, fixed)


def _whole(tag: int) -> tuple[Meaning, int, int, str]:
    return Meaning(f"io.{tag}", kind="hex"), 0, SIZE - 1, ""


_shared = Decoder(_Grammar())


def new_decoder() -> Decoder:
    """One that has learned nothing yet."""
    return Decoder(_Grammar())


def decode(frames: Sequence[Frame]) -> Decoded:
    """Decode with the process's own table of structures."""
    return _shared.decode(frames)
