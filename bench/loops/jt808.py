"""JT/T 808's locations, alone or in a batch: an item at a time, what each means looked up in one dictionary."""

from __future__ import annotations

from calendar import timegm
from collections.abc import Sequence
from functools import reduce
from operator import xor
from struct import Struct

from bench.loops import Rows
from protocols.jt808.measures import ITEMS
from protocols.records import ARCHIVE, EVENT, IGNITION_KNOWN, IGNITION_ON, MOVING, VALID, Batch, fingerprint

_HEAD = Struct(">HH").unpack_from
_CORE = Struct(">IIIIhHH6B").unpack_from
_CODES = {"u1": "B", ">u2": ">H", ">i2": ">h", ">u4": ">I"}
_READ = {
    key: [(name, Struct(_CODES[form]).unpack_from, at, by, to) for name, at, form, by, to in parts]
    for key, parts in ITEMS.items()
}
_NAN = float("nan")


def decode(frames: Sequence[bytes]) -> Batch:
    """Whole frames to columns.

    Raises
    ------
    ValueError
        On any damage: the wire never meets this loop.
    """
    rows = Rows()
    for index, wire in enumerate(frames):
        data = wire[1:-1].replace(b"\x7d\x02", b"\x7e").replace(b"\x7d\x01", b"\x7d")
        if reduce(xor, data):
            raise ValueError("checksum")
        message, properties = _HEAD(data)
        at = 17 if properties & 0x4000 else 12
        if at + (properties & 0x3FF) + 1 != len(data):
            raise ValueError("length")
        if message == 0x0200:
            _record(rows, index, 0, data[at:-1], archive=False)
            continue
        end, kind = len(data) - 1, data[at + 2]
        at += 3
        position = 0
        while at < end:
            size = data[at] << 8 | data[at + 1]
            at += 2 + size
            if at > end:
                raise ValueError("structure")
            _record(rows, index, position, data[at - size : at], archive=kind == 1)
            position += 1
    return rows.batch()


def _record(rows: Rows, index: int, position: int, data: bytes, *, archive: bool) -> None:
    alarms, status, lat, lon, altitude, speed, course, *stamp = _CORE(data)
    if any(byte >> 4 > 9 or byte & 15 > 9 for byte in stamp):
        raise ValueError("time")
    year, *rest = (10 * (byte >> 4) + (byte & 15) for byte in stamp)
    time = timegm((2000 + year, *rest)) - 8 * 3600
    names = ["ignition", "alarms", "status"]
    values: list[float] = [status & 1, alarms, status]
    satellites = -1
    at, end = 28, len(data)
    while at < end:
        identifier, size = data[at], data[at + 1]
        at += 2
        if at + size > end:
            raise ValueError("structure")
        if identifier == 2:
            raw = data[at] << 8 | data[at + 1]
            names += ("fuel.gauge", "fuel.gauge.percent")
            values += (_NAN, raw & 0x7FFF) if raw & 0x8000 else (raw / 10, _NAN)
        elif identifier == 0x31:
            satellites = data[at]
        else:
            for name, read, offset, by, to in _READ[identifier, size]:
                names.append(name)
                values.append(read(data, at + offset)[0] * by / to)
        at += size
    valid = status & 0x22 == 2 and lat <= 90_000_000 and lon <= 180_000_000
    latitude = longitude = _NAN
    if valid:
        latitude, longitude = lat / 1e6 * (-1 if status & 4 else 1), lon / 1e6 * (-1 if status & 8 else 1)
    flags = (VALID if valid else 0) | IGNITION_KNOWN | (IGNITION_ON if status & 1 else 0)
    flags |= (MOVING if valid and speed else 0) | (EVENT if alarms else 0) | (ARCHIVE if archive else 0)
    rows.measures(names, values)
    rows.core.append((
        index, position, time * 1_000_000, latitude, longitude, altitude, speed / 10, course, satellites, flags,
        fingerprint(data),
    ))  # fmt: skip
