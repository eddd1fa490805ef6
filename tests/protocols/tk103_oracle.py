"""TK103 read from its fixed places, apart from the parser's pattern, for the tests of every protocol."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from protocols.records import Frame
from protocols.selfnamed import FieldError
from protocols.tk103 import declaration


def _begin(data: bytes) -> int:
    """Where the date stands: six digits before the A or V that a latitude follows."""
    return next(at for at in range(17, 40) if data[at + 6 : at + 7] in (b"A", b"V") and data[at : at + 6].isdigit())


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """Time of a message; None: the parser refuses it."""
    try:
        declaration.read(frame.data)
    except FieldError:
        return None
    found = declaration.PLACE.fullmatch(frame.data)
    assert found is not None
    date, clock = found.string[_begin(frame.data) :][:6], b"".join(found.group(14, 15, 16))
    at = datetime.strptime((date + clock).decode(), "%y%m%d%H%M%S").replace(tzinfo=UTC, year=2000 + int(date[:2]))
    return [{"position": 0, "time": round(at.timestamp()) * 1_000_000}]


def rebuilt(frame: Frame) -> bytes:
    """The message that the builder makes of what was read."""
    found, data = declaration.read(frame.data), frame.data.decode("ascii")
    at = _begin(frame.data)
    lat, lon = _degrees(data[at + 7 : at + 16], data[at + 16]), _degrees(data[at + 17 : at + 27], data[at + 27])
    return declaration.place(
        data[1:13],
        time=found.time // 1_000_000,
        lat=lat,
        lon=lon,
        speed=found.speed,
        course=int(found.course),
        fixed=found.lat == found.lat,
        ignition=found.measures["ignition"] == 1,
        fuel=int(found.measures["fuel.level.1"]),
        odometer=int(found.measures["odometer"]),
        command=data[13:17],
        imei=data[17:at],
    )


def _degrees(text: str, half: str) -> float:
    whole, minutes = divmod(float(text), 100)
    return (whole + minutes / 60) * (-1 if half in "SW" else 1)
