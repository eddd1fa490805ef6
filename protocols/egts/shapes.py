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


def own(data: bytes, at: int, end: int, oid: bytes) -> tuple[int, bool]:
    """How many records there are in `data[at:end]`, all of teledata of whom `oid` names, and whether they name him; 0:
    they are not.
    """
    known = _shapes.get(end - at)
    if known is not None:
        told = int.from_bytes(data[at:end], "little")
        if told & known.mask == known.shape and told & known.objects == int.from_bytes(oid, "little") * known.places:
            return known.records, known.named
    return _read(data, at, end, oid)


def _read(data: bytes, at: int, end: int, oid: bytes) -> tuple[int, bool]:
    begin = at
    fixed: list[tuple[int, int]] = []  # offset, size
    objects: list[int] = []
    count = 0
    while at < end:
        if end - at < 10:
            return 0, False
        flags = data[at + 4]
        place = at + 5
        if flags & wire.HAS_OID:
            if data[place : place + 4] != oid or count > len(objects) == 0:
                return 0, False
            objects.append(place - begin)
        place += 4 * (flags & 7).bit_count()
        size = data[at] | data[at + 1] << 8
        if not size or place + 2 >= end or data[place] != wire.TELEDATA or not data[place + 2]:
            return 0, False
        fixed += [(at - begin, 2), (at + 4 - begin, 1), (place - begin, 1), (place + 2 - begin, 1)]
        at = place + 2 + size
        count += 1
    if at != end:
        return 0, False
    mask = sum((1 << 8 * size) - 1 << 8 * offset for offset, size in fixed)
    places = sum(1 << 8 * offset for offset in objects)
    if len(_shapes) >= _MOST:
        _shapes.pop(next(iter(_shapes)))
    told = int.from_bytes(data[begin:end], "little")
    _shapes[end - begin] = Shape(mask, told & mask, places * 0xFFFF_FFFF, places, count, bool(objects))
    return count, bool(objects)
