"""Arnavi's packages: a tag at a time, what each means looked up in one dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from bench.loops import Rows, read, readers
from protocols.arnavi.measures import INPUT, SIZE, TAGS, input_parts
from protocols.records import Batch

_HEAD = Struct("<BHI").unpack_from
_READ = {tag: readers(parts) for tag, parts in TAGS.items() if not parts[0][0].kind}
_DISCRETE = readers(input_parts(1, 0) or ())


def decode(frames: Sequence[bytes]) -> Batch:
    """Whole packages to columns.

    Raises
    ------
    ValueError
        On any damage: the wire never meets this loop.
    """
    rows = Rows()
    for index, data in enumerate(frames):
        if data[0] != 0x5B or data[-1] != 0x5D:
            raise ValueError("package")
        at, position = 2, 0
        while data[at] != 0x5D:
            begin = at
            kind, size, time = _HEAD(data, at)
            at += 7
            end = at + size
            if kind != 1 or end >= len(data):
                raise ValueError("record")
            if sum(data[begin + 3 : end]) & 0xFF != data[end]:
                raise ValueError("checksum")
            told: dict[str, float] = {"@time": time}
            names: list[str] = []
            values: list[float] = []
            while at < end:
                tag = data[at]
                if tag == INPUT and data[at + 1] == 1:
                    read(_DISCRETE, data, at + 1, names, values, told)
                else:
                    read(_READ[tag], data, at + 1, names, values, told)
                at += SIZE
            seen = int(told["@satellites"])
            fixed = seen < 0xFE
            told["@satellites"] = (seen & 15) + (seen >> 4) if fixed else -1
            at += 1
            rows.measures(names, values)
            rows.add(index, position, told, fixed, data[begin:at])
            position += 1
    return rows.batch()
