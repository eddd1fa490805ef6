"""Plain records (`reading`) → columns. What is not plain, out of somebody else's spool say, goes to quarantine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from protocols.records import (
    EXACT_INTEGER,
    IGNITION_KNOWN,
    IGNITION_ON,
    MAX_NAMES,
    MOVING,
    SATELLITES_UNKNOWN,
    VALID,
    BatchBuilder,
    Decoded,
    Frame,
    Quarantined,
    fingerprint,
)

_MAX_SATELLITES = 32_767  # of the column
_NAN = math.nan


class _Record(msgspec.Struct, gc=False):
    us: int
    m: dict[str, float | int | str]
    lat: float = _NAN
    lon: float = _NAN
    altitude: float = _NAN
    speed: float = _NAN
    course: float = _NAN
    satellites: int = SATELLITES_UNKNOWN
    valid: bool | None = None


_raw = msgspec.json.Decoder(list[msgspec.Raw])
_record = msgspec.json.Decoder(_Record)


def decode(frames: Sequence[Frame]) -> Decoded:
    """Frames of plain records to columns."""
    builder, refused = BatchBuilder(), []
    for number, frame in enumerate(frames):
        try:
            members = _raw.decode(frame.data)
        except msgspec.DecodeError:
            refused.append(Quarantined(number, "structure"))
            continue
        for position, raw in enumerate(members):
            data = bytes(raw)
            try:
                _add(builder, number, position, data)
            except (msgspec.DecodeError, OverflowError):  # of another version, or no record at all
                refused.append(Quarantined(number, "structure", data))
    return Decoded(builder.build(), refused)


def _add(builder: BatchBuilder, frame: int, position: int, data: bytes) -> None:
    told = _record.decode(data)
    numbers: dict[str, float] = {}
    extra: dict[str, Any] = {}
    for name, value in told.m.items():
        if isinstance(value, str) or len(numbers) >= MAX_NAMES:
            extra[name] = value
        elif isinstance(value, int) and abs(value) >= EXACT_INTEGER:
            numbers[name], extra[name] = _NAN, value
        else:
            numbers[name] = value
    fix = told.lat == told.lat and told.lon == told.lon
    if told.satellites == 0 and told.lat == 0 and told.lon == 0:  # whatever else is said of it
        fix = False
    valid = fix and (told.valid if told.valid is not None else told.satellites != 0)
    ignition, movement = numbers.get("ignition"), numbers.get("movement")
    flags = VALID if valid else 0
    if ignition is not None:
        flags |= IGNITION_KNOWN | (IGNITION_ON if ignition else 0)
    if movement if movement is not None else valid and told.speed > 0:
        flags |= MOVING
    builder.add(
        frame=frame,
        position=position,
        time=told.us,
        fingerprint=fingerprint(data),
        lat=told.lat if valid else _NAN,
        lon=told.lon if valid else _NAN,
        altitude=told.altitude,
        speed=told.speed,
        course=told.course,
        satellites=min(max(told.satellites, SATELLITES_UNKNOWN), _MAX_SATELLITES),
        flags=flags,
        names=tuple(numbers),
        values=tuple(numbers.values()),
        extra=extra or None,
        time_digits=3,
    )
