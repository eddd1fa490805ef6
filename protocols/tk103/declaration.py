"""TK103 messages: the exact parser, and the builder of what terminals send.

    (id 12 · command 4 · body)
    place: [imei 15] YYMMDD A DDMM.MMMM N DDDMM.MMMM E speed hhmmss course [charge ignition io 3 fuel 3] [L odometer]

The id is twelve digits; speed in km/h, times UTC, io, fuel and odometer in hexadecimal digits.
Source: TK103 GPS tracker communication protocol; traccar/traccar for its variants.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

from protocols.h02.declaration import minutes
from protocols.instants import instant
from protocols.records import EVENT, IGNITION_KNOWN, IGNITION_ON, MOVING, VALID
from protocols.selfnamed import FieldError, Reading, degrees

HEAD = re.compile(rb"\(([0-9]{12})([A-Z][A-Z0-9]{3})")
PLACE = re.compile(
    rb"\(([0-9]{12})([A-Z][A-Z0-9]{3})(?:([0-9]{15})|([0-9]))??"
    rb"(\d\d)(\d\d)(\d\d)([AV])(\d{4}\.\d{1,4})([NS])(\d{5}\.\d{1,4})([EW])"
    rb"(\d{1,3}\.\d)(\d\d)(\d\d)(\d\d)(\d{1,3}(?:\.\d{1,2})?)"
    rb"(?:([01])([01])([0-9A-Fa-f]{3})([0-9A-Fa-f]{3}))?(?:L(?P<odometer>[0-9A-Fa-f]{1,8}))?([^()]*)\)"
)


def read(data: bytes, variant: int = 0) -> Reading:
    """A message's record.

    Raises
    ------
    FieldError
        If it holds none, or one that cannot be.
    """
    del variant
    found = PLACE.fullmatch(data)
    if found is None:
        raise FieldError("structure")
    (
        _, _, _, alarm, year, month, day, state, lat, ns, lon, ew, speed, hour, minute, second, course, charge,
        ignition, io, fuel, odometer, rest,
    ) = found.groups()  # fmt: skip
    time = instant(int(year), int(month), int(day), int(hour), int(minute), int(second))
    if time is None:
        raise FieldError("time")
    place = degrees(lat, ns, 90), degrees(lon, ew, 180)
    valid = state == b"A"
    if float(course) > 360:
        raise FieldError("course")
    measures: dict[str, float] = {}
    flags = (VALID if valid else 0) | (MOVING if valid and float(speed) > 0 else 0)
    if alarm is not None:
        measures["event"] = int(alarm)
        flags |= EVENT
    if charge is not None:
        measures |= {
            "charge": int(charge), "ignition": int(ignition), "inputs": int(io, 16), "fuel.level.1": int(fuel, 16),
        }  # fmt: skip
        flags |= IGNITION_KNOWN | (IGNITION_ON if ignition == b"1" else 0)
    if odometer is not None:
        measures["odometer"] = int(odometer, 16)
    texts = {"rest": rest.decode("ascii", "backslashreplace")} if rest else {}
    lat_, lon_ = place if valid else (math.nan, math.nan)
    return Reading(
        time, lat_, lon_, speed=float(speed), course=float(course), flags=flags, measures=measures, texts=texts
    )


def tree(data: bytes) -> Any:
    """A message as nested containers; never raises."""
    try:
        found = read(data)
    except FieldError as error:
        return {"bytes": data.hex(), "text": data.decode("ascii", "backslashreplace"), "error": error.args[0]}
    return {"terminal": data[1:13].decode(), "command": data[13:17].decode(), **found._asdict()}


# -- builders ----------------------------------------------------------------------------------------------------------


def place(
    terminal: str,
    *,
    time: float,
    lat: float,
    lon: float,
    speed: float = 0.0,
    course: int = 0,
    fixed: bool = True,
    ignition: bool = False,
    fuel: int = 0,
    odometer: int = 0,
    command: str = "BR00",
    imei: str = "",
) -> bytes:
    """A place."""
    at = datetime.fromtimestamp(time, UTC)
    return (
        f"({terminal}{command}{imei}{at:%y%m%d}{'A' if fixed else 'V'}{minutes(lat, 2)}{'S' if lat < 0 else 'N'}"
        f"{minutes(lon, 3)}{'W' if lon < 0 else 'E'}{speed:05.1f}{at:%H%M%S}{course:06.2f}0{int(ignition)}000{fuel:03X}"
        f"L{odometer:08X})"
    ).encode()


def word(terminal: str, command: str, body: str = "") -> bytes:
    """Any other message, of either side."""
    return f"({terminal}{command}{body})".encode()
