"""Records of one layout to columns: each field of all of them at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.egts import wire
from protocols.egts.layouts import Field, Section
from protocols.egts.walk import Places
from protocols.records import (
    ARCHIVE,
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    MAX_NAMES,
    MOVING,
    SATELLITES_UNKNOWN,
    TIME_UNKNOWN,
    VALID,
    Batch,
    Floats,
    MeasureGroup,
)
from protocols.structures import Rows, record_dtype

_LATITUDE, _LONGITUDE = 90.0, 180.0
_FULL = float(0xFFFF_FFFF)
_SIGN_EXTENDED = float(0xFFFF_0000)  # above it stands a 16-bit code with its sign extended
_HIGHEST = 4095.0  # code of a fuel-level sensor
_SIGN = np.array([1.0, -1.0])
# `flags` by POS_DATA's own, and by the reason: timers tell of the ignition, distance and turn are no event.
_BY_FLAGS = np.array([VALID * (n & 1) | MOVING * (n >> 4 & 1) | ARCHIVE * (n >> 3 & 1) for n in range(256)], np.int16)
_BY_REASON = np.array([0 if n in (1, 2) else EVENT for n in range(256)], np.int16)
_BY_REASON[0], _BY_REASON[5] = IGNITION_KNOWN | IGNITION_ON, IGNITION_KNOWN

_Named = list[tuple[str, Floats]]


class Part:
    """One section of a layout, compiled to numpy fields."""

    __slots__ = ("_fields", "_texts", "_wire", "names", "section")

    def __init__(self, section: Section, length: int) -> None:
        self.section = section
        self.names = tuple(one.name for one in section.fields)
        self._fields = [(f"m{n}", one) for n, one in enumerate(section.fields)]
        self._texts = section.texts
        read = [(name, one.offset, one.form) for name, one in self._fields]
        at = section.position
        if at >= 0:
            read += [
                ("time", at, "<u4"), ("lat", at + 4, "<u4"), ("lon", at + 8, "<u4"), ("flags", at + 12, "u1"),
                ("speed", at + 13, "<u2"), ("course", at + 15, "u1"), ("reason", at + 20, "u1"),
            ]  # fmt: skip
            if section.altitude:
                read.append(("altitude", at + 20, "<u4"))  # with the byte before it
        if section.satellites >= 0:
            read.append(("satellites", section.satellites, "u1"))
        self._wire = record_dtype(read, length)

    def empty(self) -> bool:
        """Whether it tells nothing: no record is made of it."""
        return not (self.section.position >= 0 or self.names or self._texts or self.section.satellites >= 0)

    def columns(self, rows: Rows, places: Places, number: int) -> Batch:
        """Its records; `number` counts the sections of a layout."""
        n = len(rows)
        told = rows.view(self._wire) if self._wire.names else None
        extra: dict[int, dict[str, Any]] = {}
        named = [] if told is None else self._measures(told, extra)
        for text in self._texts:
            whole = rows.bytes[:, text.offset : text.offset + text.size]
            for row in range(n):
                extra.setdefault(row, {})[text.name] = text.read(whole[row].tobytes())
        nothing = np.full(n, np.nan)
        lat = lon = nothing
        altitude = speed = course = nothing.astype(np.float32)
        flags = np.zeros(n, np.int16)
        time = np.where(places.tm >= 0, (places.tm + wire.EPOCH) * 1_000_000, TIME_UNKNOWN)
        satellites = np.full(n, SATELLITES_UNKNOWN, np.int16)
        if told is not None and self.section.satellites >= 0:
            satellites = told["satellites"].astype(np.int16)
        if told is not None and self.section.position >= 0:
            ntm = told["time"].astype(np.int64)
            time, made = _time(ntm, time, places)
            if made is not None:
                named.append(("record.time", made))
            bits = told["flags"].astype(np.intp)
            word = told["speed"].astype(np.intp)
            lat = told["lat"] * _LATITUDE / _FULL * _SIGN[bits >> 5 & 1]
            lon = told["lon"] * _LONGITUDE / _FULL * _SIGN[bits >> 6 & 1]
            invalid = bits & 1 == 0
            if np.count_nonzero(invalid):
                lat[invalid] = lon[invalid] = np.nan
            speed = ((word & 0x3FFF) / 10.0).astype(np.float32)
            course = (told["course"] + (word >> 15) * 256).astype(np.float32)
            if self.section.altitude:
                altitude = ((told["altitude"] >> 8) * _SIGN[word >> 14 & 1]).astype(np.float32)
            flags = _BY_FLAGS[bits] | _BY_REASON[told["reason"]]
        if not number and (places.evid >= 0).any():
            named.append(("event.id", np.where(places.evid >= 0, places.evid.astype(np.float64), np.nan)))
        for name, column in named[MAX_NAMES:]:
            for row in np.flatnonzero(~np.isnan(column)).tolist():
                extra.setdefault(row, {})[name] = float(column[row])
        del named[MAX_NAMES:]
        names = tuple(name for name, _ in named)
        values = np.ascontiguousarray(np.array([column for _, column in named]).T) if named else np.empty((n, 0))
        return Batch(
            frame=places.frame.astype(np.int32),
            position=places.ordinal.astype(np.int32),
            time=time,
            lat=lat,
            lon=lon,
            altitude=altitude,
            speed=speed,
            course=course,
            satellites=satellites,
            flags=flags,
            fingerprint=rows.fingerprints() + number,
            groups=[MeasureGroup(names, np.arange(n), values)],  # also without names: each record has a layout
            extra=extra,
        )

    def _measures(self, told: NDArray[Any], extra: dict[int, dict[str, Any]]) -> _Named:
        named: _Named = []
        for field, one in self._fields:
            value = _value(told[field], one)
            if one.kind == "flag":
                for row in np.flatnonzero(value).tolist():
                    extra.setdefault(row, {})[one.name] = 1
                continue
            if one.kind == "level":
                wrong = value > _HIGHEST
                if np.count_nonzero(wrong):
                    code = np.where(value >= _SIGN_EXTENDED, value - _SIGN_EXTENDED, value)
                    named.append((one.name, np.where(wrong, np.nan, value)))
                    named.append((one.status, np.where(wrong, code, np.nan)))
                    continue
            named.append((one.name, value))
        return named


def _value(raw: NDArray[Any], field: Field) -> Floats:
    if field.shift:
        raw = raw >> field.shift
    if field.mask:
        raw = raw & field.mask
    if field.kind == "fix":
        raw = raw + 2
    elif field.kind == "flagged":
        raw = raw != 0
    value: Floats = raw.astype(np.float64)
    if field.kind == "code":
        value = np.where(value >= _SIGN_EXTENDED, value - _SIGN_EXTENDED, value)
    if field.multiply != 1:
        value *= field.multiply
    if field.divide != 1:
        value /= field.divide
    return value


def _time(ntm: NDArray[np.int64], made: NDArray[np.int64], places: Places) -> tuple[NDArray[np.int64], Floats | None]:
    """A record's time is its position's, unless that is 0 and the record's own is not; the latter where it differs."""
    time = (ntm + wire.EPOCH) * 1_000_000
    fallen = (ntm == 0) & (places.tm >= 0)
    if np.count_nonzero(fallen):
        time = np.where(fallen, made, time)
    differs = places.own & (places.tm != ntm) & ~fallen
    if not np.count_nonzero(differs):
        return time, None
    return time, np.where(differs, places.tm + float(wire.EPOCH), np.nan)
