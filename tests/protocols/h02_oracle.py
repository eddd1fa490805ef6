"""H02 read field by field, apart from the parser's pattern, for the tests of every protocol."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from protocols.h02 import declaration
from protocols.records import Frame
from protocols.selfnamed import FieldError


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """Time, speed and course of a message; None: it is no text, or the parser refuses it."""
    try:
        declaration.read(frame.data)
    except FieldError:
        return None
    if frame.data[:1] != b"*":
        return [{"position": 0}]
    fields = frame.data[1:-1].decode("ascii", "replace").split(",")
    at = datetime.strptime(fields[11] + fields[3], "%d%m%y%H%M%S").replace(tzinfo=UTC, year=2000 + int(fields[11][4:]))
    return [
        {
            "position": 0,
            "time": round(at.timestamp()) * 1_000_000,
            "speed": float(fields[9]) * 1.852,
            "course": float(fields[10] or 0),
        }
    ]


def rebuilt(frame: Frame) -> bytes:
    """The message that the builder makes of what was read."""
    found = declaration.read(frame.data)
    head = declaration.HEAD.match(frame.data)
    fields = frame.data[1:-1].decode("ascii").split(",")
    lat, lon = (_degrees(fields[at], fields[at + 1]) for at in (5, 7))
    return declaration.place(
        head[2].decode() if head else "",
        time=found.time // 1_000_000,
        lat=lat,
        lon=lon,
        knots=found.speed / declaration.KNOT,
        course=int(found.course),
        status=int(found.measures["status.word"]),
        fixed=found.lat == found.lat,
    )


def _degrees(text: str, half: str) -> float:
    whole, minutes = divmod(float(text), 100)
    return (whole + minutes / 60) * (-1 if half in "SW" else 1)
