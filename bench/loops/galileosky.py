"""Galileosky's data packets: a tag at a time, what each means looked up in one dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

import fastcrc

from bench.loops import Rows, read, readers
from protocols.galileosky.measures import TAGS, VARIABLE
from protocols.records import Batch

_HEAD = Struct("<BH").unpack_from
_READ = {
    tag: readers(known.parts)
    for tag, known in TAGS.items()
    if known.size != VARIABLE and all(not meaning.kind for meaning, *_ in known.parts)
}
_SIZES = {tag: TAGS[tag].size for tag in _READ}


def decode(frames: Sequence[bytes]) -> Batch:
    """Whole packets to columns.

    Raises
    ------
    ValueError
        On any damage: the wire never meets this loop.
    """
    rows = Rows()
    for index, data in enumerate(frames):
        header, length = _HEAD(data)
        end = len(data) - 2
        if header != 1 or (length & 0x7FFF) + 5 != len(data):
            raise ValueError("header")
        if fastcrc.crc16.modbus(data[:-2]) != data[-2] | data[-1] << 8:
            raise ValueError("checksum")
        at, position = 3, 0
        while at < end:
            begin, last = at, -1
            told: dict[str, float] = {}
            names: list[str] = []
            values: list[float] = []
            while at < end and data[at] > last:
                last = data[at]
                at += 1
                size = _SIZES[last]
                if at + size > end:
                    raise ValueError("structure")
                read(_READ[last], data, at, names, values, told)
                at += size
            if "hdop" in names:
                values[names.index("gnss.error" if told["gnss.source"] != 2 else "hdop")] = float("nan")
            rows.measures(names, values)
            rows.add(index, position, told, told["@fix"] in (0, 2), data[begin:at])
            position += 1
    return rows.batch()
