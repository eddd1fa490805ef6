"""GT06 as construct reads it, for the tests of every protocol."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from protocols.gt06 import declaration, wire
from protocols.records import Frame

_PER_DEGREE = 1_800_000


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """Time, speed, course and satellites of a place; of other records only that there is one; None: none is there."""
    told = wire.parts_of(frame.data)
    if told is None or not wire.is_record(*told):
        return None
    protocol, content = told
    if protocol == wire.INFO:
        return _information(content)
    tree = declaration.content_of(protocol, content)
    if protocol not in wire.PLACES or isinstance(tree, str):
        return None
    zone = timedelta(minutes=frame.variant if protocol in wire.LOCAL else 0)
    year, *rest = tree.time
    try:
        month, day, hour, minute, second = rest
        at = datetime(2000 + year, month, day, hour, minute, second, tzinfo=UTC) - zone
    except ValueError:
        return []
    if year > 99:
        return []
    return [
        {
            "position": 0,
            "time": round(at.timestamp()) * 1_000_000,
            "speed": tree.gps.speed,
            "course": tree.gps.course & 0x3FF,
            "satellites": tree.gps.satellites & 15,
        }
    ]


def _information(content: bytes) -> list[dict[str, Any]] | None:
    """A voltage is two bytes; of the others nothing is declared but that they are good where they are worked."""
    if content[0] == wire.INFO_VOLTAGE:
        return [{"position": 0}] if len(content) == 3 else []
    worked = content[:7] == bytes.fromhex("0d1a030e062000") and content[7:14] == b"!AIOIL,"
    fields = content[7:].split(b",")
    return (
        [{"position": 0}]
        if worked and fields[1:7:2] == [b"01", b"021.500", b"0200"] and fields[6] == b"045.180"
        else None
    )


def rebuilt(frame: Frame) -> bytes:
    """The frame that the declaration builds out of what it read."""
    protocol, content = wire.parts_of(frame.data) or (0, b"")
    form = declaration.CONTENTS[protocol]
    return wire.frame(protocol, form.build(form.parse(content)), int.from_bytes(frame.data[-6:-4], "big"))
