"""Raw numbers of messages with the same fields, side by side → core columns and measures.

Everything here works on whole columns; both the exact parser and the learned structures end here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from protocols.omnicomm import fields as f
from protocols.omnicomm.fields import Scaled
from protocols.records import (
    ARCHIVE,
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    SATELLITES_UNKNOWN,
    VALID,
    Batch,
    Floats,
    Int64s,
    MeasureGroup,
)

# Fuel-sensor status: which codes say that the level is good, and which that it is not. Any other code leaves it to the
# level itself (0 < N <= 4095), and `fuel.assumed.N` says so.
LEVEL_GOOD = (2,)
LEVEL_BAD = (1, 3)
LEVEL_MAX = 4095

MICROSECONDS = 1_000_000
LATITUDE_MAX, LONGITUDE_MAX = 900_000_000, 1_800_000_000  # 1e-7 degree

# FLG bits that every terminal sends, and those of newer firmware only: named where one of them is set.
FLAG_BITS = {
    "ignition": 0,
    "gsm.registered": 1,
    "gsm.roaming": 3,
    "power.backup": 4,
    "alarm.panic": 5,
    "case.open": 6,
    "output.1": 7,
}
_SHIFTS = np.array(list(FLAG_BITS.values()))
NEW_FLAG_BITS = {"alarm.call": 8, "gnss.jamming": 9, "gsm.jamming": 10, "battery.fault": 11}
NEW_FLAGS = sum(1 << bit for bit in NEW_FLAG_BITS.values())

_CORE = {f.TIME, f.FLAGS, f.GSM, f.WIFI, f.LAT, f.LON, f.ALT, f.SPEED, f.COURSE, f.SATELLITES, f.FIX_TIME}
_CORE |= {*f.LEVELS.values(), *f.TEMPERATURES.values()}
_Judged: TypeAlias = dict[int, tuple[NDArray[np.bool_], NDArray[np.bool_]]]  # as `_judge` has it, by sensor
_POSITION = (f.LAT, f.LON, f.SPEED, f.COURSE, f.SATELLITES, f.ALT)  # all or no position


class Layout:
    """What can be said beforehand of all messages with these fields."""

    __slots__ = ("add", "at", "bottom", "div", "mul", "names", "picked", "plain", "position", "signed", "top")

    def __init__(self, keys: tuple[Scaled, ...]) -> None:
        self.at = {key: i for i, key in enumerate(keys)}
        self.position = all(key in self.at for key in _POSITION)
        self.signed = np.array([i for i, key in enumerate(keys) if key.signed], np.intp)
        self.picked = [(i, key.pick) for i, key in enumerate(keys) if key.pick]
        plain = [key for key in keys if key not in _CORE]
        self.plain = np.array([self.at[key] for key in plain], np.intp)
        self.names = [key.measure for key in plain]
        self.mul = np.array([key.mul for key in plain], np.int64)
        self.add = np.array([key.add for key in plain], np.int64)
        self.div = np.array([key.div for key in plain], np.int64)
        self.top = np.array([key.top for key in plain], np.int64)
        self.bottom = np.array([key.bottom for key in plain], np.int64)


@dataclass(slots=True)
class Rows:
    """Messages with the same fields, in any order; all arrays have one entry a message.

    `raw` has shape (n, fields); `events` is the first event number, -1 for none; `eventful` tells whether any is not
    the timer. `names` and `values` (n, names) are measures found already; `extra` by row.
    """

    frame: NDArray[np.int32]
    position: NDArray[np.int32]
    fingerprint: Int64s
    header_time: Int64s
    archive: NDArray[np.bool_]
    raw: Int64s
    events: Int64s
    eventful: NDArray[np.bool_]
    names: tuple[str, ...]
    values: Floats
    extra: dict[int, dict[str, Any]]


def columns(layout: Layout, rows: Rows) -> Batch:
    """Decode the raw numbers of `rows`; `rows.raw` is used up."""
    raw, at, n = rows.raw, layout.at, len(rows.raw)
    if len(layout.signed):
        zigzag = raw[:, layout.signed]
        raw[:, layout.signed] = (zigzag >> 1) ^ -(zigzag & 1)
    for i, pick in layout.picked:
        raw[:, i] = raw[:, i] & 0xFF if pick == "low" else (raw[:, i] & 0xFF) << 8 | (raw[:, i] >> 8) & 0xFF

    judged = {n: _judge(layout, raw, n, raw[:, at[key]]) for n, key in f.LEVELS.items() if key in at}
    names, parts = _measures(layout, rows, judged)
    flags: Int64s = rows.archive.astype(np.int64) * ARCHIVE + rows.eventful * EVENT
    time = raw[:, at[f.TIME]] if f.TIME in at else rows.header_time
    lat = lon = np.full(n, np.nan)
    if f.FLAGS in at:
        bits = raw[:, at[f.FLAGS]]
        flags |= IGNITION_KNOWN | np.where(bits & 1, IGNITION_ON, 0)
        if layout.position:
            lat_raw, lon_raw = raw[:, at[f.LAT]], raw[:, at[f.LON]]
            valid = (bits & 4 != 0) & (abs(lat_raw) <= LATITUDE_MAX) & (abs(lon_raw) <= LONGITUDE_MAX)
            valid &= (lat_raw != 0) | (lon_raw != 0) | (raw[:, at[f.SATELLITES]] != 0)  # 0/0 by nobody is nowhere
            flags |= np.where(valid, VALID, 0)
            lat = np.where(valid, lat_raw / 1e7, np.nan)
            lon = np.where(valid, lon_raw / 1e7, np.nan)
    satellites = np.full(n, SATELLITES_UNKNOWN)
    if f.SATELLITES in at:
        told = raw[:, at[f.SATELLITES]]
        satellites = np.where(told <= 255, told, SATELLITES_UNKNOWN)  # one byte in the terminal
    batch = Batch(
        frame=rows.frame,
        position=rows.position,
        time=(time + f.EPOCH) * MICROSECONDS,
        lat=lat,
        lon=lon,
        altitude=_core(layout, raw, f.ALT, 10),
        speed=_core(layout, raw, f.SPEED, 10),
        course=_core(layout, raw, f.COURSE, 1),
        satellites=satellites.astype(np.int16),
        flags=flags.astype(np.int16),
        fingerprint=rows.fingerprint,
        extra=rows.extra,
    )
    batch.groups = _groups(layout, rows, judged, names, np.column_stack(parts) if parts else np.empty((n, 0)))
    return batch


def _core(layout: Layout, raw: Int64s, key: Scaled, div: int) -> NDArray[np.float32]:
    if key not in layout.at:
        return np.full(len(raw), np.nan, np.float32)
    return (raw[:, layout.at[key]] / div).astype(np.float32)


def _measures(layout: Layout, rows: Rows, judged: _Judged) -> tuple[list[str], list[NDArray[Any]]]:
    """Names and columns of all measures; NaN where a message does not tell."""
    raw, at = rows.raw, layout.at
    names: list[str] = []
    parts: list[NDArray[Any]] = []

    def put(name: str, column: NDArray[Any]) -> None:
        names.append(name)
        parts.append(column)

    if len(rows.events) and rows.events[0] >= 0:
        put("event", rows.events)
    if f.FLAGS in at:
        bits = raw[:, at[f.FLAGS]]
        put("flags", bits)
        names += FLAG_BITS
        parts.append(bits[:, None] >> _SHIFTS & 1)
    if len(layout.plain):
        plain = raw[:, layout.plain]
        scaled = (plain * layout.mul + layout.add) / layout.div
        scaled[(plain >= layout.top) | (plain <= layout.bottom)] = np.nan
        names += layout.names
        parts.append(scaled)
    for n, key in f.LEVELS.items():
        if key in at:
            level = raw[:, at[key]]
            good, _ = judged[n]
            put(f"fuel.level.{n}", np.where(good, level, np.nan))
            warmth = f.TEMPERATURES[n]
            if warmth in at:  # a sensor without a level tells no temperature either, whatever stands there
                put(f"fuel.temperature.{n}", np.where(good, raw[:, at[warmth]], np.nan))
    for key, name in ((f.GSM, "gsm.signal"), (f.WIFI, "wifi.signal")):
        if key in at:  # five steps, or percent already
            told = raw[:, at[key]]
            put(name, np.where(told <= 5, told * 20.0, np.where(told <= 100, told, np.nan)))
    if f.FIX_TIME in at:
        fix = raw[:, at[f.FIX_TIME]]
        record = raw[:, at[f.TIME]] if f.TIME in at else rows.header_time
        put("gnss.time", np.where(fix == record, np.nan, fix + f.EPOCH))
    if rows.names:
        names += rows.names
        parts.append(rows.values)
    return names, parts


def _judge(layout: Layout, raw: Int64s, n: int, level: Int64s) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether sensor `n` may be believed, and whether that is only assumed."""
    plausible = (level > 0) & (level <= LEVEL_MAX)
    if f.STATUSES[n] not in layout.at:
        return plausible, plausible
    status = raw[:, layout.at[f.STATUSES[n]]]
    good, bad = (np.logical_or.reduce([status == code for code in codes]) for codes in (LEVEL_GOOD, LEVEL_BAD))
    assumed = plausible & ~good & ~bad
    return good | assumed, assumed


def _groups(layout: Layout, rows: Rows, judged: _Judged, names: list[str], values: Floats) -> list[MeasureGroup]:
    """One group, and one more for each combination of rare measures that some rows carry besides."""
    raw, at = rows.raw, layout.at
    rare: list[tuple[str, NDArray[Any]]] = []
    where = np.zeros(len(raw), np.int64)  # which of them a row carries
    if f.FLAGS in at:
        bits = raw[:, at[f.FLAGS]]
        new = bits & NEW_FLAGS != 0
        if new.any():
            for name, bit in NEW_FLAG_BITS.items():
                where |= new.astype(np.int64) << len(rare)
                rare.append((name, bits >> bit & 1))
    for n, (_, assumed) in judged.items():
        if assumed.any():
            where |= assumed.astype(np.int64) << len(rare)
            rare.append((f"fuel.assumed.{n}", np.ones(len(raw))))
    everything = np.arange(len(raw), dtype=np.intp)
    if not rare:
        return [MeasureGroup(tuple(names), everything, values)]
    groups = []
    for mask in np.unique(where):
        here = everything[where == mask]
        more = [(name, column) for i, (name, column) in enumerate(rare) if mask >> i & 1]
        groups.append(
            MeasureGroup(
                (*names, *(name for name, _ in more)),
                here,
                np.column_stack([values[here], *(column[here] for _, column in more)]),
            )
        )
    return groups
