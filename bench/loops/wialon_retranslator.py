"""Wialon Retranslator's messages: a block at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from struct import Struct

from bench.loops import Rows
from protocols.records import (
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    SATELLITES_UNKNOWN,
    VALID,
    Batch,
    fingerprint,
)
from protocols.wialon_retranslator import wire
from protocols.wialon_retranslator.measures import measure

_SIZE = Struct("<I").unpack_from
_HEAD = Struct(">II").unpack_from
_BLOCK = Struct(">HIBB").unpack_from
_PLACE = Struct("<ddd").unpack_from
_MOVE = Struct(">hhB").unpack_from
_READ = {wire.INT: Struct(">i").unpack_from, wire.DOUBLE: Struct("<d").unpack_from, wire.LONG: Struct(">q").unpack_from}
_NAN = float("nan")


def decode(frames: Sequence[bytes]) -> Batch:
    """Whole messages to columns, several of them in each of `frames`.

    Raises
    ------
    ValueError
        On any damage: the wire never meets this loop.
    """
    rows = Rows()
    called: dict[bytes, str] = {}
    index = 0
    for data in frames:
        at = 0
        while at < len(data):
            (size,) = _SIZE(data, at)
            end = at + 4 + size
            stop = data.find(0, at + 4, end)
            if end > len(data) or stop < 0:
                raise ValueError("structure")
            begin = stop + 1
            time, flags = _HEAD(data, begin)
            at = begin + 8
            names: list[str] = []
            values: list[float] = []
            lat = lon = altitude = speed = course = _NAN
            satellites, mask = SATELLITES_UNKNOWN, 0
            while at < end:
                mark, size, _, kind = _BLOCK(data, at)
                value = data.find(0, at + 8, at + 6 + size) + 1
                if mark != wire.BLOCK or not value or at + 6 + size > end:
                    raise ValueError("block")
                name = data[at + 8 : value - 1]
                if name == b"posinfo":
                    lon, lat, altitude = _PLACE(data, value)
                    speed, course, satellites = _MOVE(data, value + 24)
                    if abs(lat) <= 90 and abs(lon) <= 180 and (lat or lon):
                        mask |= VALID | (MOVING if speed > 0 else 0)
                    else:
                        lat = lon = _NAN
                elif kind in _READ:
                    (number,) = _READ[kind](data, value)
                    told = called.get(name)
                    if told is None:
                        told = called[name] = measure(name.decode("ascii"))
                    if told.startswith("fuel.level."):
                        if not 0 <= number <= 4095:
                            names.append(told.replace("level", "status", 1))
                            values.append(number)
                            number = _NAN
                    elif told == "ignition":
                        mask |= IGNITION_KNOWN | (IGNITION_ON if number else 0)
                    names.append(told)
                    values.append(number if math.isfinite(number) else _NAN)
                else:
                    raise ValueError("type")
                at += 6 + size
            if flags & wire.ALARM:
                mask |= EVENT
            rows.measures(names, values)
            rows.core.append((
                index, 0, time * 1_000_000, lat, lon, altitude, speed, course, satellites, mask,
                fingerprint(data[begin:end]),
            ))  # fmt: skip
            index += 1
    return rows.batch()
