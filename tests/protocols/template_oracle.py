"""The template as construct reads it, for the tests of every protocol."""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.records import Frame
from protocols.template.declaration import DATA, PACKET, packet


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """The records of a packet; None: it is damaged."""
    try:
        found = PACKET.parse(b"TP\x02" + frame.data[3:])
    except ConstructError:
        return None
    if len(PACKET.build(found)) != len(frame.data) or not found.body.count:
        return None
    rows = []
    for position, record in enumerate(found.body.records):
        lat, lon = record.latitude / 1e6, record.longitude / 1e6
        valid = record.satellites > 0 and abs(lat) <= 90 and abs(lon) <= 180
        rows.append(
            {
                "position": position,
                "time": record.time * 1_000_000,
                "lat": lat if valid else None,
                "lon": lon if valid else None,
                "altitude": record.altitude,
                "speed": record.speed,
                "course": record.course,
                "satellites": record.satellites,
                "measures": {"ignition": record.status & 1, "power.external": record.external / 1000},
            }
        )
    return rows


def rebuilt(frame: Frame) -> bytes:
    """The packet that the declaration builds out of what it read."""
    return packet(DATA, {"records": PACKET.parse(frame.data).body.records})
