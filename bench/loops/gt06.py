"""GT06's alarms of protocol 26, a frame a record."""

from __future__ import annotations

from calendar import timegm
from collections.abc import Sequence
from struct import Struct

import fastcrc

from bench.loops import Rows
from protocols.records import EVENT, IGNITION_KNOWN, IGNITION_ON, MOVING, VALID, Batch, fingerprint

_PLACE = Struct(">6BBIIBHBHBHBH5BI").unpack_from
_NAMES = (
    "event", "ignition", "terminal.info", "battery.grade", "battery.level", "gsm.signal", "odometer", "gsm.area",
    "gsm.cell", "gsm.operator",
)  # fmt: skip
_NAN = float("nan")
_crc = fastcrc.crc16.ibm_sdlc


def decode(frames: Sequence[bytes]) -> Batch:
    """Whole frames, several in a piece, to columns.

    Raises
    ------
    ValueError
        On any damage: the wire never meets this loop.
    """
    rows = Rows()
    index = 0
    for piece in frames:
        at = 0
        while at < len(piece):
            size = piece[at + 2] + 5
            data = piece[at : at + size]
            at += size
            if data[:2] != b"xx" or data[-2:] != b"\r\n" or len(data) != size:
                raise ValueError("structure")
            if _crc(data[2:-4]) != data[-4] << 8 | data[-3]:
                raise ValueError("checksum")
            if data[3] != 0x26 or data[22] != 9:
                raise ValueError("protocol")
            (
                *stamp, satellites, lat, lon, speed, bits, _, mcc, mnc, area, high, low, info, volts, gsm, alarm, _,
                odometer,
            ) = _PLACE(data, 4)  # fmt: skip
            time = timegm((2000 + stamp[0], *stamp[1:]))
            latitude, longitude = lat / 1_800_000, lon / 1_800_000
            valid = bool(bits & 1 << 12) and satellites >> 4 != 0 and latitude <= 90 and longitude <= 180
            if not valid:
                latitude = longitude = _NAN
            else:
                latitude *= 1 if bits & 1 << 10 else -1
                longitude *= -1 if bits & 1 << 11 else 1
            flags = (VALID if valid else 0) | (MOVING if valid and speed else 0) | (EVENT if alarm else 0)
            flags |= IGNITION_KNOWN | (IGNITION_ON if info & 2 else 0)
            operator = (mcc & 0x7FFF) * (100 if mnc < 100 else 1000) + mnc
            level = (volts, _NAN) if volts <= 6 else (_NAN, volts if volts <= 100 else _NAN)
            signal = gsm * 25 if gsm <= 4 else _NAN
            rows.measures(
                _NAMES,
                [alarm, info >> 1 & 1, info, *level, signal, odometer, area, high << 16 | low, operator],
            )
            rows.core.append((
                index, 0, time * 1_000_000, latitude, longitude, _NAN, speed, bits & 0x3FF, satellites & 15, flags,
                fingerprint(data[4:-6]),
            ))  # fmt: skip
            index += 1
    return rows.batch()
