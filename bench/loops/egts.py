"""EGTS's packets of data: a record and a subrecord at a time."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from bench.loops import Rows
from protocols.egts import wire
from protocols.records import (
    ARCHIVE,
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    SATELLITES_UNKNOWN,
    VALID,
    Batch,
    fingerprint,
)

_HEAD = Struct("<BBBBBHHB").unpack_from
_RECORD = Struct("<HHB").unpack_from
_SUBRECORD = Struct("<BH").unpack_from
_U32 = Struct("<I").unpack_from
_POSITION = Struct("<IIIBHBHBBB").unpack_from
_STATE = Struct("<BBBBB").unpack_from
_LEVEL = Struct("<BHI").unpack_from
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
        version, _, flags, head, _, size, _, kind = _HEAD(data)
        end = len(data) - 2
        if version != 1 or flags & 0xFC or head != wire.HEAD or kind != wire.APPDATA or size + head != end:
            raise ValueError("header")
        if wire.crc8(data[:10]) != data[10] or wire.crc16(data[head:end]) != data[-2] | data[-1] << 8:
            raise ValueError("checksum")
        at, position, tm = head, 0, -1
        while at < end:
            size, _, flags = _RECORD(data, at)
            place = at + 5
            if flags & wire.HAS_OID:
                place += 4
            if flags & wire.HAS_EVID:
                raise ValueError("event")
            own = bool(flags & wire.HAS_TM)
            if own:
                tm = _U32(data, place)[0]
                place += 4
            if data[place] != wire.TELEDATA:
                raise ValueError("service")
            begin = at = place + 2
            stop = at + size
            if stop > end:
                raise ValueError("structure")
            names: list[str] = []
            values: list[float] = []
            satellites = SATELLITES_UNKNOWN
            lat = lon = altitude = speed = course = _NAN
            mask = 0
            time = tm
            while at < stop:
                kind, size = _SUBRECORD(data, at)
                at += 3
                if at + size > stop:
                    raise ValueError("structure")
                if kind == wire.POS_DATA:
                    time, north, east, bits, word, low, mileage, more, inputs, reason = _POSITION(data, at)
                    if own and tm != time:
                        raise ValueError("time")
                    if bits & 1:
                        lat = north * 90.0 / 0xFFFFFFFF * (-1 if bits & 0x20 else 1)
                        lon = east * 180.0 / 0xFFFFFFFF * (-1 if bits & 0x40 else 1)
                        mask = VALID
                    speed = (word & 0x3FFF) / 10
                    course = low + (256 if word & 0x8000 else 0)
                    if bits & 0x80:
                        altitude = data[at + 21] | data[at + 22] << 8 | data[at + 23] << 16
                        if word & 0x4000:
                            altitude = -altitude
                    mask |= MOVING * (bits >> 4 & 1) | ARCHIVE * (bits >> 3 & 1)
                    if reason in (0, 5):
                        mask |= IGNITION_KNOWN | (IGNITION_ON if reason == 0 else 0)
                    elif reason not in (1, 2):
                        mask |= EVENT
                    names += ("event", "movement", "gnss.fix", "odometer", "inputs")
                    values += (reason, bits >> 4 & 1, 2 + (bits >> 1 & 1), (mileage | more << 16) * 100, inputs)
                elif kind == wire.EXT_POS_DATA:
                    bits, place = data[at], at + 1
                    for bit, name in ((1, "vdop"), (2, "hdop"), (4, "pdop")):
                        if bits & bit:
                            names.append(name)
                            values.append((data[place] | data[place + 1] << 8) / 100)
                            place += 2
                    if bits & 8:
                        satellites = data[place]
                        place += 1
                    if bits & 0x18 and at + size - place >= 2:
                        names.append("gnss.systems")
                        values.append(data[place] | data[place + 1] << 8)
                elif kind == wire.STATE:
                    mode, external, reserve, battery, bits = _STATE(data, at)
                    names += ("state", "power.external", "power.reserve", "power.battery")
                    values += (mode, external / 10, reserve / 10, battery / 10)
                    names += ("gnss.on", "state.ibu", "state.bbu")
                    values += (bits >> 2 & 1, bits >> 1 & 1, bits & 1)
                elif kind == wire.LIQUID_LEVEL:
                    bits, address, level = _LEVEL(data, at)
                    if bits & 0x78:
                        raise ValueError("level")
                    names += (f"fuel.address.{bits & 7}", f"fuel.level.{bits & 7}")
                    values += (address, level if level <= 4095 else _NAN)
                    if level > 4095:
                        names.append(f"fuel.status.{bits & 7}")
                        values.append(level & 0xFFFF if level >= 0xFFFF0000 else level)
                else:
                    raise ValueError("subrecord")
                at += size
            rows.measures(names, values)
            rows.core.append((
                index, position, (time + wire.EPOCH) * 1_000_000, lat, lon, altitude, speed, course, satellites, mask,
                fingerprint(data[begin:stop]),
            ))  # fmt: skip
            position += 1
    return rows.batch()
