"""Ruptela as construct reads it, for the tests of every protocol; measures are compared in its own."""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.records import Frame
from protocols.ruptela import declaration as wire
from protocols.ruptela.wire import DTCS, EXTENDED, HEAD, TAIL, uplink


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """Time, place and speed of each record, whose parts are one; None: it is damaged."""
    if len(frame.data) < HEAD + 2 + TAIL:
        return None
    try:
        found = wire.parse(frame.data)
    except (ConstructError, KeyError):
        return None
    if not found["count"]:
        return None
    rows: list[dict[str, Any]] = []
    before: Any = None
    for one in found["records"]:
        if found["command"] == EXTENDED and before is not None:
            goes_on = (one.time, one.extension, one.part.last) == (
                before.time,
                before.extension,
                before.part.last,
            ) and one.part.number == before.part.number + 1 <= one.part.last
            if goes_on:
                before = one
                continue
        before = one
        rows.append(_row(len(rows), one, dtc=found["command"] == DTCS))
    return rows


def _row(position: int, one: Any, *, dtc: bool) -> dict[str, Any]:
    valid = abs(one.latitude) <= 900_000_000 and abs(one.longitude) <= 1_800_000_000
    told = {
        "position": position,
        "time": one.time * 1_000_000,
        "lat": one.latitude / 1e7 if valid else None,
        "lon": one.longitude / 1e7 if valid else None,
    }
    if dtc:
        return told
    speed = one.speed if one.speed != 0xFFFF else None
    return {**told, "speed": speed, "satellites": one.satellites if one.satellites != 0xFF else -1}


def rebuilt(frame: Frame) -> bytes:
    """The frame that the declaration builds out of what it read."""
    found = wire.parse(frame.data)
    if found["command"] == DTCS:
        codes = b"".join(wire.DTC.build(one) for one in found["records"])
        return uplink(found["imei"], DTCS, bytes((found["count"],)) + codes)
    made = [wire.build(found["command"], one) for one in found["records"]]
    return wire.frame(found["imei"], found["command"], made, left=found["left"])
