"""One location: how its items are built, and what lies where in it.

alarms 4 · status 4 · latitude 4 · longitude 4 · altitude 2 · speed 2 · direction 2 · time 6 BCD
    (id 1 · n 1 · n bytes) …
"""

from __future__ import annotations

from typing import Any

from protocols.headed import DamagedRecordError, Lesson, Number, Text
from protocols.jt808.measures import FUEL, HEAD, HEADS, ITEMS, SATELLITES

Signature = tuple[tuple[int, int, int], ...]  # id, offset and length of each item

_TYRES = 0x05, 30
_SHARE = 0x8000  # of item 02: its low bits are percent


def walk(_kind: object, record: bytes) -> Signature:
    """The items of a location, none of which runs past its end.

    Raises
    ------
    DamagedRecordError
        If it is cut, or an item is.
    """
    at, end = HEAD, len(record)
    if end < HEAD:
        raise DamagedRecordError("length")
    items: list[tuple[int, int, int]] = []
    while at < end:
        size = record[at + 1] if at + 1 < end else 256
        if at + 2 + size > end:
            raise DamagedRecordError("structure")
        items.append((record[at], at + 2, size))
        at += 2 + size
    return tuple(items)


def lesson(_kind: object, _record: bytes, signature: Any) -> Lesson:
    """What lies where in a location of that signature; the number of satellites comes last."""
    numbers, texts, last = list(HEADS), [], []
    times: dict[int, int] = {}
    for identifier, offset, size in signature:
        nth = times[identifier] = times.get(identifier, 0) + 1
        parts = ITEMS.get((identifier, size))
        if nth > 1:
            texts.append(Text(f"io.{identifier}.{nth}", offset, size))
        elif (identifier, size) == FUEL:
            numbers.append(Number("fuel.gauge", offset, ">u2", divisor=10, most=_SHARE - 1))
            numbers.append(Number("fuel.gauge.percent", offset, ">u2", bits=15, least=_SHARE))
        elif (identifier, size) == (SATELLITES, 1):
            last.append(Number("satellites", offset, "u1"))
        elif parts is not None:
            numbers += [
                Number(name, offset + at, form, multiplier, divisor) for name, at, form, multiplier, divisor in parts
            ]
        elif (identifier, size) == _TYRES:
            texts.append(Text("tyre.pressures", offset, size))
        else:
            texts.append(Text(f"io.{identifier}", offset, size))
    return Lesson(numbers + last, texts, [(offset - 2, 2) for _, offset, _ in signature])
