"""Galileosky as construct reads it, for the tests of every protocol; measures are compared in its own."""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.galileosky import declaration as wire
from protocols.records import TIME_UNKNOWN, Frame


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """Time, place and height of each record of a data packet, of a compressed one how many; None: it is damaged."""
    if len(frame.data) < 6 or int.from_bytes(frame.data[1:3], "little") & 0x7FFF != len(frame.data) - 5:
        return None
    try:
        found = wire.parse(frame.data)["records"]
    except (ConstructError, IndexError, KeyError):
        return None
    if frame.data[0] == wire.COMPRESSED:
        return [{"position": position} for position in range(len(found))]
    rows = []
    for position, tags in enumerate(found):
        seen = {tag.tag: tag.value for tag in tags}
        place = seen.get(0x30)
        valid = (
            place is not None
            and place.head.validity in (0, 2)
            and abs(place.latitude) <= 90_000_000
            and abs(place.longitude) <= 180_000_000
        )
        rows.append(
            {
                "position": position,
                "time": seen[0x20] * 1_000_000 if 0x20 in seen else TIME_UNKNOWN,
                "lat": place.latitude / 1e6 if valid else None,
                "lon": place.longitude / 1e6 if valid else None,
                "altitude": seen.get(0x34),
            }
        )
    return rows


def rebuilt(frame: Frame) -> bytes:
    """The packet that the declaration builds out of what it read."""
    found = wire.parse(frame.data)
    body = b"".join(wire.record([(tag.tag, tag.value) for tag in tags]) for tags in found["records"])
    return wire.packet(body, found["header"], more=found["more"])
