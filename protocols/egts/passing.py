"""A record as a platform of EGTS is told it: the `record` object that consumers get, as one service data record.

Time in whole seconds since 2010; place, speed, course, altitude, movement, odometer and inputs in POS_DATA, which has
no way to leave one out: what is not known is 0. A record without any of place, speed, course and altitude has none.
Whatever has no subrecord is left out; what cannot be told at all is `UnspeakableError`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from protocols.egts import wire
from protocols.egts.declaration import degrees
from protocols.errors import UnspeakableError

_POSITION = struct.Struct("<IIIBHBHBBB")
_FEW = 256
_MANY = 1 << 24
_WORD = 1 << 32
_LEVEL = {"level": (0, 1), "litres": (0x20, 10), "percent": (0x10, 1), "status": (0x40, 1)}  # flags, units
_DOPS = ((1, "vdop"), (2, "hdop"), (4, "pdop"))
_ABSOLUTE = {"analog": (wire.ABS_ANALOG, 1), "adc": (wire.ABS_ANALOG, 1000), "counter": (wire.ABS_COUNTER, 1)}
_WITH_NUMBER = re.compile(r"(analog|adc|counter)\.([1-9][0-9]{0,2})")


def object_id(terminal: str) -> int | None:
    """A terminal as records name it; None: its identity is no number that they hold."""
    number = int(terminal) if terminal.isascii() and terminal.isdigit() and len(terminal) <= 10 else 0
    return number if 0 < number < _WORD and str(number) == terminal else None


def dispatcher_login(dispatcher: int, number: int) -> bytes:
    """Our own number, as packet and record `number`."""
    identity = wire.subrecord(wire.DISPATCHER_IDENTITY, bytes((0,)) + dispatcher.to_bytes(4, "little"))
    record = wire.record(number, wire.AUTH, identity, flags=wire.FROM_TERMINAL)
    return wire.packet(number, wire.APPDATA, record)


def packet(oid: int, record: Mapping[str, Any], number: int) -> bytes:
    """A packet of one record of object `oid`, both of them `number`.

    Raises
    ------
    UnspeakableError
        If its time is none that the protocol can tell.
    """
    try:
        time = int(datetime.fromisoformat(record["time"]).timestamp() // 1) - wire.EPOCH
    except (ValueError, OverflowError):
        time = -1
    if not 0 <= time < _WORD:
        raise UnspeakableError(f"a record of {record['time']}")
    measures: Mapping[str, Any] = record["measures"]
    more = list(_more(record, measures))
    if not more or any(record[name] is not None for name in ("lat", "speed", "course", "altitude")):
        more.insert(0, _position(record, measures, time))
    data = b"".join([wire.subrecord(kind, content) for kind, content in more])
    told = wire.record(number, wire.TELEDATA, data, flags=wire.FROM_TERMINAL, oid=oid, tm=time)
    return wire.packet(number, wire.APPDATA, told)


def _whole(value: Any, most: int, units: int = 1) -> int | None:
    """A measure in `units`, where it fits below `most`."""
    if not isinstance(value, int | float):
        return None
    found = round(value * units)
    return found if 0 <= found < most else None


def _position(record: Mapping[str, Any], measures: Mapping[str, Any], time: int) -> tuple[int, bytes]:
    lat, lon = record["lat"] or 0.0, record["lon"] or 0.0
    speed = min(max(round(10 * (record["speed"] or 0)), 0), 0x3FFF)
    course = min(max(round(record["course"] or 0), 0), 511)
    altitude = min(max(round(record["altitude"] or 0), 1 - _MANY), _MANY - 1)
    moving = bool(measures.get("movement", speed > 0))
    flags = 0x80 | 0x40 * (lon < 0) | 0x20 * (lat < 0) | 0x10 * moving | 8 * bool(record["archive"]) | 2
    flags |= bool(record["valid"])
    metres = _whole(measures.get("odometer"), _WORD * 100) or 0
    odometer = metres // 100 % _MANY
    inputs = (_whole(measures.get("inputs"), _WORD) or 0) % _FEW
    data = _POSITION.pack(
        time, degrees(lat, 90), degrees(lon, 180), flags, speed | 0x4000 * (altitude < 0) | 0x8000 * (course > 255),
        course & 0xFF, odometer & 0xFFFF, odometer >> 16, inputs, 0,
    )  # fmt: skip
    return wire.POS_DATA, data + abs(altitude).to_bytes(3, "little")


def _more(record: Mapping[str, Any], measures: Mapping[str, Any]) -> Iterator[tuple[int, bytes]]:
    """Subrecords besides the position."""
    dops = [(bit, found) for bit, name in _DOPS if (found := _whole(measures.get(name), 1 << 16, 100)) is not None]
    satellites = _whole(record["satellites"], _FEW)
    if dops or satellites is not None:
        flags = sum(bit for bit, _ in dops) | 8 * (satellites is not None)
        content = b"".join([value.to_bytes(2, "little") for _, value in dops])
        yield wire.EXT_POS_DATA, bytes((flags,)) + content + (b"" if satellites is None else bytes((satellites,)))
    outputs, inputs = _whole(measures.get("outputs"), _FEW), _whole(measures.get("inputs"), _WORD) or 0
    if outputs is not None:
        high = inputs >> 8 & 0xFF
        yield wire.AD_SENSORS, bytes((1 if high else 0, outputs, 0)) + (bytes((high,)) if high else b"")
    volts = [_whole(measures.get(f"power.{name}"), _FEW, 10) for name in ("external", "reserve", "battery")]
    external = volts[0] if "power.external" in measures else 0
    if external is not None and (volts[0] is not None or volts[2] is not None):
        state = _whole(measures.get("state"), 8)
        on = 4 * bool(measures.get("gnss.on", record["valid"]))
        yield wire.STATE, bytes((2 if state is None else state, *(value or 0 for value in volts), on))
    seen = set()
    for name, value in measures.items():
        numbered = _WITH_NUMBER.fullmatch(name)
        if numbered is None or int(numbered[2]) >= _FEW:
            continue
        kind, units = _ABSOLUTE[numbered[1]]
        found = _whole(value, _MANY, units)
        if found is not None and (kind, numbered[2]) not in seen:
            seen.add((kind, numbered[2]))
            yield kind, bytes((int(numbered[2]),)) + found.to_bytes(3, "little")
    yield from _levels(measures)


def _levels(measures: Mapping[str, Any]) -> Iterator[tuple[int, bytes]]:
    """One of each sensor: its level, else litres, percent or the code of its error."""
    for number in range(8):
        address = _whole(measures.get(f"fuel.address.{number}"), 1 << 16) or 0
        for name, (flags, units) in _LEVEL.items():
            value = _whole(measures.get(f"fuel.{name}.{number}"), _WORD, units)
            if value is not None:
                yield wire.LIQUID_LEVEL, struct.pack("<BHI", number | flags, address, value)
                break
