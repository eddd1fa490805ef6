"""Wialon Combine's packets of data: a subrecord and a value at a time."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from bench.loops import Rows
from protocols.records import MOVING, VALID, Batch, fingerprint
from protocols.wialon_combine import wire
from protocols.wialon_combine.measures import NAMES

_TIME = Struct(">IB").unpack_from
_PLACE = Struct(">iiHHhBH").unpack_from
_STATES = Struct(">II").unpack_from
_READ = {kind: Struct(">" + letter).unpack_from for kind, letter in enumerate("BHIQbihqfd")}
_NAN = float("nan")


def decode(frames: Sequence[bytes]) -> Batch:
    """Whole packets to columns.

    Raises
    ------
    ValueError
        On any damage: the wire never meets this loop.
    """
    rows = Rows()
    for index, data in enumerate(frames):
        if data[:3] != b"$$\1" or wire.crc16(data[:-2]) != int.from_bytes(data[-2:], "big"):
            raise ValueError("packet")
        at, end = wire.span(data)
        position = 0
        while at < end:
            begin = at
            time, count = _TIME(data, at)
            at += 5
            names: list[str] = []
            values: list[float] = []
            lat = lon = altitude = speed = course = _NAN
            satellites, mask = -1, 0
            for _ in range(count):
                kind = data[at]
                at += 1
                if kind == wire.POSITION:
                    north, east, speed, course, altitude, satellites, hdop = _PLACE(data, at)
                    at += 17
                    if abs(north) <= 90_000_000 and abs(east) <= 180_000_000 and (north or east or satellites):
                        lat, lon = north / 1e6, east / 1e6
                        mask = VALID | (MOVING if speed > 0 else 0)
                    names.append("hdop")
                    values.append(hdop / 100)
                elif kind == wire.IO:
                    names += ("inputs", "outputs")
                    values += _STATES(data, at)
                    at += 8
                elif kind in NAMES:
                    items = data[at]
                    at += 1
                    if items & 0x80:
                        raise ValueError("items")
                    for _ in range(items):
                        number, told = data[at], data[at + 1]
                        at += 2
                        if number & 0x80 or told & 31 not in _READ:
                            raise ValueError("item")
                        (value,) = _READ[told & 31](data, at)
                        at += wire.SIZES[told & 31]
                        names.append(f"{NAMES[kind]}.{number}")
                        values.append(value / 10 ** (told >> 5))
                else:
                    raise ValueError("kind")
                if at > end:
                    raise ValueError("structure")
            rows.measures(names, values)
            rows.core.append((
                index, position, time * 1_000_000, lat, lon, altitude, speed, course, satellites, mask,
                fingerprint(data[begin:at]),
            ))  # fmt: skip
            position += 1
    return rows.batch()
