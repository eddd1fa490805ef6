"""What a message of Wialon Retranslator says, each value by the declaration."""

from __future__ import annotations

import math
from typing import Any

from construct import ConstructError, Float64l, Int32sb, Int32ub, Int64sb

from protocols.records import EVENT, IGNITION_KNOWN, IGNITION_ON, MOVING, VALID, Frame
from protocols.wialon_retranslator import declaration as d
from protocols.wialon_retranslator import wire
from protocols.wialon_retranslator.measures import measure

_NUMBERS = {wire.INT: Int32sb, wire.DOUBLE: Float64l, wire.LONG: Int64sb}


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """One record; None where the message is none."""
    data = frame.data
    if int.from_bytes(data[:4], "little") != len(data) - 4:  # no session gives such
        return None
    try:
        told = d.parse(data)
        blocks = list(wire.blocks(data, data.index(0, 4) + 9))
    except (ConstructError, wire.DamagedError, ValueError):
        return None
    row: dict[str, Any] = {"time": told.time * 1_000_000, "lat": None, "lon": None, "flags": 0}
    measures: dict[str, Any] = {}
    if told.flags & wire.ALARM:
        row["flags"] |= EVENT
        measures["alarm"] = 1
    placed = False
    for one in blocks:
        name, raw = one.name.decode("latin-1"), data[one.value : one.end]
        if not name.isascii() or not name.isprintable() or (name == "posinfo" and len(raw) != d.POSINFO.sizeof()):
            return None
        if name == "posinfo" and not placed:
            placed = True
            _place(row, d.POSINFO.parse(raw))
            continue
        called = measure(name)
        if called == "ignition" and one.kind != wire.INT:
            called = f"param.{name}"
        if any(key == called or key.startswith(f"again.{called}.") for key in measures):
            return None  # of two values of one name the decoder's own test tells
        measures |= _value(called, name, one.kind, raw)
        if called == "ignition":
            row["flags"] |= IGNITION_KNOWN | (IGNITION_ON if measures[called] else 0)
    return [{**row, "measures": measures}]


def _place(row: dict[str, Any], told: Any) -> None:
    fixed = abs(told.lat) <= 90 and abs(told.lon) <= 180 and (told.lat != 0 or told.lon != 0)
    if fixed:
        row["lat"], row["lon"] = told.lat, told.lon
        row["flags"] |= VALID | (MOVING if told.speed > 0 else 0)
    row["speed"], row["course"], row["satellites"] = told.speed, told.course, told.satellites


def _value(called: str, name: str, kind: int, raw: bytes) -> dict[str, Any]:
    if kind not in _NUMBERS:
        text = raw.split(b"\0")[0]
        try:
            return {called: text.decode("utf-8") if kind == wire.TEXT else raw.hex()}
        except UnicodeDecodeError:
            return {called: text.hex()}
    number = _NUMBERS[kind].parse(raw)
    if name in ("avl_inputs", "avl_outputs") and kind == wire.INT:
        number = Int32ub.parse(raw)
    if called.startswith("fuel.level.") and not 0 <= number <= 4095:
        called = called.replace("level", "status", 1)
    return {called: number} if math.isfinite(number) else {}


def rebuilt(frame: Frame) -> bytes:
    """Built out of what was parsed."""
    return d.build(d.parse(frame.data))
