"""Teltonika's Codec 8: formats are compiled once, and meanings looked up in one dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

import fastcrc

from bench.loops import Rows
from protocols.records import (
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    VALID,
    Batch,
    fingerprint,
)
from protocols.teltonika.declaration import CODEC_8
from protocols.teltonika.measures import MEANINGS

_HEAD = Struct(">IIBB")
_RECORD = Struct(">QBiihHBHBB")
_GROUPS = [(size, Struct(">" + code), Struct(">" + code.lower())) for size, code in ((1, "B"), (2, "H"), (4, "I"))]
_GROUPS.append((8, Struct(">Q"), Struct(">q")))
_NUMBERS = {  # plain numbers only: the bench sends no others
    (identifier, size): (meaning.name, (signed if meaning.signed else unsigned).unpack_from, meaning.multiplier,
                         meaning.divisor)
    for size, unsigned, signed in _GROUPS
    for (identifier, its_size), meaning in MEANINGS.items() if meaning.kind == "number" and its_size == size
}  # fmt: skip
_LEVELS = {
    (identifier, size): (meaning.name, meaning.status, signed.unpack_from)
    for size, _, signed in _GROUPS
    for (identifier, its_size), meaning in MEANINGS.items()
    if meaning.kind == "coded" and not meaning.codes and its_size == size
}  # fmt: skip
_IGNITION, _MOVEMENT = 239, 240
_NAN = float("nan")


def decode(frames: Sequence[bytes]) -> Batch:
    """Whole frames to columns.

    Raises
    ------
    ValueError
        On any damage: the wire never meets this loop.
    """
    rows = Rows()
    for index, data in enumerate(frames):
        zeros, size, codec, count = _HEAD.unpack_from(data)
        end = 8 + size - 1
        if zeros or len(data) != size + 12 or codec != CODEC_8 or data[end] != count:
            raise ValueError("header")
        if fastcrc.crc16.arc(data[8:-4]) != int.from_bytes(data[-4:], "big"):
            raise ValueError("checksum")
        at = 10
        for position in range(count):
            begin = at
            time, priority, lon, lat, altitude, course, satellites, speed, event, total = _RECORD.unpack_from(data, at)
            at += _RECORD.size
            names = ["event", "priority"]
            values: list[float] = [event, priority]
            ignition = movement = -1.0
            seen = 0
            for width, _, _ in _GROUPS:
                listed = data[at]
                at += 1
                seen += listed
                if at + listed * (width + 1) > end:
                    raise ValueError("structure")
                for _ in range(listed):
                    identifier = data[at]
                    number = _NUMBERS.get((identifier, width))
                    if number is not None:
                        name, read, multiplier, divisor = number
                        value = read(data, at + 1)[0] * multiplier / divisor
                        names.append(name)
                        values.append(value)
                        if identifier == _IGNITION:
                            ignition = value
                        elif identifier == _MOVEMENT:
                            movement = value
                    else:
                        name, status, read = _LEVELS[identifier, width]
                        code = read(data, at + 1)[0]
                        names += (name, status)
                        values += (_NAN, code) if code < 0 else (code, _NAN)
                    at += width + 1
            if seen != total:
                raise ValueError("structure")
            latitude, longitude = lat / 1e7, lon / 1e7
            valid = satellites != 0 and -90 <= latitude <= 90 and -180 <= longitude <= 180
            if not valid:
                latitude = longitude = _NAN
            flags = VALID if valid else 0
            if event:
                flags |= EVENT
            if ignition >= 0:
                flags |= IGNITION_KNOWN | IGNITION_ON if ignition else IGNITION_KNOWN
            if movement > 0 if movement >= 0 else valid and speed > 0:
                flags |= MOVING
            rows.measures(names, values)
            rows.core.append((
                index, position, time * 1000, latitude, longitude, altitude, speed, course, satellites, flags,
                fingerprint(data[begin:at]),
            ))  # fmt: skip
        if at != end:
            raise ValueError("structure")
    return rows.batch(time_digits=3)
