"""Ruptela's records: a group at a time, what each id means looked up in one dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

import fastcrc

from bench.loops import Reader, Rows, read, readers
from protocols.records import EVENT, Batch
from protocols.ruptela.measures import parts_of
from protocols.ruptela.wire import RECORDS

_HEAD = Struct(">HQB").unpack_from
_RECORD = Struct(">IBBiiHHBHBB")
_SIZES = (1, 2, 4, 8)
_known: dict[tuple[int, int], list[Reader]] = {}


def decode(frames: Sequence[bytes]) -> Batch:
    """Whole frames of ordinary records to columns.

    Raises
    ------
    ValueError
        On any damage: the wire never meets this loop.
    """
    rows = Rows()
    for index, data in enumerate(frames):
        length, _, command = _HEAD(data)
        end = len(data) - 2
        if command != RECORDS or length + 4 != len(data):
            raise ValueError("header")
        if fastcrc.crc16.kermit(data[2:-2]) != data[-2] << 8 | data[-1]:
            raise ValueError("checksum")
        at = 13
        for position in range(data[12]):
            begin = at
            time, _, priority, lon, lat, altitude, course, satellites, speed, hdop, event = _RECORD.unpack_from(
                data, at
            )
            at += _RECORD.size
            names = ["priority", "hdop", "event"]
            values: list[float] = [priority, hdop / 10, event]
            told: dict[str, float] = {
                "@time": time, "@lat": lat / 1e7, "@lon": lon / 1e7, "@speed": speed, "@satellites": satellites,
                "@altitude": altitude / 10 if altitude <= 60_000 else (altitude - 65_536) / 10,
                "@course": course / 100,
            }  # fmt: skip
            for size in _SIZES:
                count = data[at]
                at += 1
                if at + count * (1 + size) > end:
                    raise ValueError("structure")
                for _ in range(count):
                    key = (data[at], size)
                    its = _known.get(key)
                    if its is None:
                        its = _known[key] = readers(parts_of(*key))
                    read(its, data, at + 1, names, values, told)
                    at += 1 + size
            rows.measures(names, values)
            rows.add(index, position, told, True, data[begin:at], EVENT if event else 0)
        if at != end:
            raise ValueError("structure")
    return rows.batch()
