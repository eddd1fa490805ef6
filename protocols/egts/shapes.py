"""Whether a packet holds nothing but data of one terminal, by one comparison where another of its size did.

Of packets of one size the lengths, flags and services of the records mostly stand at the same places. As one large
number, a packet is compared with them all at once, and the terminal's number wherever it stands.
"""

from __future__ import annotations

from typing import NamedTuple

from protocols.egts import wire

_MOST = 512  # sizes that are remembered; terminals of one make share a few


class Shape(NamedTuple):
    """`told & mask == shape` of the bytes of all records as a number; `oid & objects == number × places`."""

    mask: int
    shape: int
    objects: int
    places: int
    records: int
    named: bool


_shapes: dict[int, Shape] = {}


def own(data: bytes, oid: int) -> tuple[int, bool]:
    """How many records there are, all of teledata of whom `oid` names, and whether they name him; 0: they are not."""
    known = _shapes.get(len(data))
    if known is not None:
        mask, shape, objects, places, records, named = known
        told = int.from_bytes(data, "little")
        if told & mask == shape and (not named or told & objects == oid * places):
            return records, named
    return _read(data, oid)


def _read(data: bytes, oid: int) -> tuple[int, bool]:
    at, end = 0, len(data)
    fixed: list[tuple[int, int]] = []  # offset, size
    objects: list[int] = []
    count = 0
    while at < end:
        if end - at < 10:
            return 0, False
        flags = data[at + 4]
        place = at + 5
        if flags & wire.HAS_OID:
            if int.from_bytes(data[place : place + 4], "little") != oid or count > len(objects) == 0:
                return 0, False
            objects.append(place)
        place += 4 * (flags & 7).bit_count()
        size = data[at] | data[at + 1] << 8
        if not size or place + 2 >= end or data[place] != wire.TELEDATA or not data[place + 2]:
            return 0, False
        fixed += [(at, 2), (at + 4, 1), (place, 1), (place + 2, 1)]
        at = place + 2 + size
        count += 1
    if at != end:
        return 0, False
    mask = sum((1 << 8 * size) - 1 << 8 * offset for offset, size in fixed)
    places = sum(1 << 8 * offset for offset in objects)
    if len(_shapes) >= _MOST:
        _shapes.pop(next(iter(_shapes)))
    told = int.from_bytes(data, "little")
    _shapes[end] = Shape(mask, told & mask, places * 0xFFFF_FFFF, places, count, bool(objects))
    return count, bool(objects)
