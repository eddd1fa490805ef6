"""Arnavi as construct reads it, for the tests of every protocol; measures are compared in its own."""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.arnavi import declaration as wire
from protocols.arnavi.wire import DATA, KINDS, MAX_DATA
from protocols.records import Frame


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """Time and place of each record; None: a package that is damaged."""
    try:
        found = wire.parse(frame.data)["records"]
    except ConstructError:
        return None
    if any(one["kind"] not in KINDS or _size(one) > MAX_DATA for one in found):
        return None
    if len(frame.data) != 3 + sum(8 + _size(one) for one in found):
        return None
    rows: list[dict[str, Any]] = []
    for one in found:
        if one["kind"] != DATA:
            continue
        seen: dict[int, Any] = {}
        for tag in one["data"]:
            seen.setdefault(tag.tag, tag.value)
        lat, lon, more = seen.get(3), seen.get(4), seen.get(5)
        valid = lat is not None and lon is not None and abs(lat) <= 90 and abs(lon) <= 180
        valid = valid and (more is None or more.satellites < 0xFE)
        rows.append(
            {
                "position": len(rows),
                "time": one["time"] * 1_000_000,
                "lat": lat if valid else None,
                "lon": lon if valid else None,
                "altitude": more.altitude * 10 if more is not None else None,
            }
        )
    return rows


def _size(one: Any) -> int:
    return len(one["data"]) * 5 + len(one["rest"]) if one["kind"] == DATA else len(one["data"])


def rebuilt(frame: Frame) -> bytes:
    """The package that the declaration builds out of what it read."""
    found = wire.parse(frame.data)
    made = [
        wire.record(one["time"], wire.tags([(tag.tag, tag.value) for tag in one["data"]]) + one["rest"], one["kind"])
        for one in found["records"]
    ]
    return wire.package(found["number"], made)
