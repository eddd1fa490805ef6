"""H02 messages: the exact parser, and the builder of what terminals send.

    *XX,id,V1,hhmmss,A,DDMM.MMMM,N,DDDMM.MMMM,E,knots,course,DDMMYY,status[,mcc,mnc,area,cell
        [,…]]#
    $ id 5 · hhmmss 3 · DDMMYY 3 · latitude 4 · battery 1 · longitude 5 · speed and course 3 · status 4 · …
        32 or 45 bytes

In the binary form all but battery and status is BCD; the last half-byte of the longitude are flags: 8 east, 4 north,
2 valid. Times are UTC, speeds knots.
Source: H02 protocol description (in gotrackery/protocol); traccar/traccar for the binary forms.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from protocols.instants import instant
from protocols.records import IGNITION_KNOWN, IGNITION_ON, MOVING, SATELLITES_UNKNOWN, VALID
from protocols.selfnamed import FieldError, Reading, degrees

SHORT, LARGE = 32, 45  # bytes of a binary message
KNOT = 1.852  # km/h
IGNITION = 1 << 10
_LEVELS = {6: 100, 5: 80, 4: 60, 3: 20, 2: 10}  # percent of the battery's grades
_EAST, _NORTH, _FIX = 8, 4, 2

HEAD = re.compile(rb"\*([A-Za-z]{2}),([0-9A-Za-z]{1,20}),([0-9A-Za-z]{1,10})(?=[,#])")
PLACE = re.compile(
    rb"\*[A-Za-z]{2},[0-9A-Za-z]{1,20},([0-9A-Za-z]{1,10}),"
    rb"(\d\d)(\d\d)(\d\d),([AVB]),(\d{4}(?:\.\d{1,6})?),([NS]),(\d{5}(?:\.\d{1,6})?),([EW]),"
    rb"(\d{1,4}(?:\.\d{1,6})?),(\d{0,3}(?:\.\d{1,6})?),(\d\d)(\d\d)(\d\d),([0-9A-Fa-f]{8})((?:,[^,#]*)*)#"
)
_LONG = re.compile(
    rb",(\d{1,10}),(-?\d{1,4}),(\d{1,6}\.\d{1,6}),(-?\d{1,5}),([0-9A-Fa-f]{1,8}),([0-9A-Fa-f]{1,8})"
)  # odometer, temperature, fuel, altitude, area, cell
_NUMBER = re.compile(rb"\d{1,10}")
_ICCID = re.compile(rb"[0-9A-Fa-f]{18,20}")


def read(data: bytes, variant: int = 0) -> Reading:
    """A message's record.

    Raises
    ------
    FieldError
        If it holds none, or one that cannot be.
    """
    del variant
    return _binary(data) if data[:1] == b"$" else _text(data)


def _text(data: bytes) -> Reading:
    found = PLACE.fullmatch(data)
    if found is None:
        raise FieldError("structure")
    _, hour, minute, second, state, lat, ns, lon, ew, speed, course, day, month, year, status, tail = found.groups()
    time = instant(int(year), int(month), int(day), int(hour), int(minute), int(second))
    if time is None:
        raise FieldError("time")
    told = tail_of(tail)
    measures = _states(int(status, 16)) | told.measures
    place = degrees(lat, ns, 90), degrees(lon, ew, 180)
    return _reading(
        time, place, float(speed) * KNOT, float(course or 0), measures, told.texts, valid=state == b"A",
        altitude=told.altitude,
    )  # fmt: skip


class Tail(NamedTuple):
    """What stands behind the status word; `names` and `values` begin with what that word tells, and without it."""

    measures: dict[str, float]
    texts: dict[str, Any]
    altitude: float
    names: tuple[str, ...]
    values: tuple[float, ...]


@lru_cache(4096)  # a terminal tells the same cell for long
def tail_of(tail: bytes) -> Tail:
    """Its fields, each with the comma before it."""
    measures: dict[str, float] = {}
    texts: dict[str, Any] = {}
    altitude = math.nan
    if more := _LONG.fullmatch(tail):
        measures = {
            "odometer": int(more[1]), "temperature.1": int(more[2]), "fuel.level.1": float(more[3]),
            "gsm.area": int(more[5], 16), "gsm.cell": int(more[6], 16),
        }  # fmt: skip
        altitude, tail = float(more[4]), b""
    fields = tail.split(b",")[1:]
    if len(fields) >= 4 and all(_NUMBER.fullmatch(one) for one in fields[:4]):
        mcc, mnc, area, cell = map(int, fields[:4])
        measures |= {"gsm.operator": mcc * (100 if mnc < 100 else 1000) + mnc, "gsm.area": area, "gsm.cell": cell}
        fields = fields[4:]
        if fields and _ICCID.fullmatch(fields[0]):
            texts["sim.iccid"] = fields.pop(0).decode("ascii")
    if any(fields):
        texts["rest"] = b",".join(fields).decode("ascii", "backslashreplace")
    return Tail(measures, texts, altitude, ("ignition", "status.word", *measures), tuple(measures.values()))


def _states(status: int) -> dict[str, float]:
    """Bits of the status word: all but the ignition are 0 where something is the matter."""
    return {"ignition": int(bool(status & IGNITION)), "status.word": status}


def _reading(
    time: int,
    place: tuple[float, float],
    speed: float,
    course: float,
    measures: dict[str, float],
    texts: dict[str, Any],
    *,
    valid: bool,
    altitude: float = math.nan,
) -> Reading:
    lat, lon = place if valid else (math.nan, math.nan)
    if not 0 <= course <= 360:
        raise FieldError("course")
    flags = IGNITION_KNOWN | (IGNITION_ON if measures["ignition"] else 0)
    flags |= (VALID if valid else 0) | (MOVING if valid and speed > 0 else 0)
    return Reading(time, lat, lon, altitude, speed, course, SATELLITES_UNKNOWN, flags, measures, texts)


def _binary(data: bytes) -> Reading:
    if len(data) not in (SHORT, LARGE):
        raise FieldError("length")
    digits = data[1:16].hex() + data[17:25].hex()
    digits, flags = digits[:39] + digits[40:], int(digits[39], 16)
    if not digits.isdecimal():
        raise FieldError("structure")
    parts = [int(digits[at : at + 2]) for at in range(10, 22, 2)]
    time = instant(parts[5], parts[4], parts[3], *parts[:3])
    if time is None:
        raise FieldError("time")
    lat = f"{digits[22:26]}.{digits[26:30]}".encode()
    lon = f"{digits[30:35]}.{digits[35:39]}".encode()
    place = degrees(lat, b"N" if flags & _NORTH else b"S", 90), degrees(lon, b"E" if flags & _EAST else b"W", 180)
    measures = _states(int.from_bytes(data[25:29], "big"))
    level = _LEVELS.get(data[16])
    if level is not None:
        measures["battery.level"] = level
    if len(data) == LARGE:
        mcc, mnc = int.from_bytes(data[37:39], "big"), data[39]
        measures |= {
            "odometer": int.from_bytes(data[33:37], "big") * 1000.0,
            "gsm.operator": mcc * 100 + mnc,
            "gsm.area": int.from_bytes(data[40:42], "big"),
            "gsm.cell": int.from_bytes(data[42:44], "big"),
        }
    return _reading(time, place, int(digits[39:42]) * KNOT, int(digits[42:45]), measures, {}, valid=bool(flags & _FIX))


def tree(data: bytes) -> Any:
    """A message as nested containers; never raises."""
    head = HEAD.match(data)
    try:
        found = read(data)
    except FieldError as error:
        return {"bytes": data.hex(), "text": data.decode("ascii", "backslashreplace"), "error": error.args[0]}
    return {
        "terminal": head[2].decode() if head else data[1:6].hex(),
        "type": head[3].decode() if head else "binary",
        **found._asdict(),
    }


# -- builders ----------------------------------------------------------------------------------------------------------


def minutes(value: float, width: int) -> str:
    """Degrees without their sign as DDMM.MMMM, `width` digits of degrees."""
    total = round(abs(value) * 600_000)
    whole, part = divmod(total, 600_000)
    return f"{whole:0{width}d}{part // 10_000:02d}.{part % 10_000:04d}"


def place(
    terminal: str,
    *,
    time: float,
    lat: float,
    lon: float,
    knots: float = 0.0,
    course: int = 0,
    status: int = 0xFFFFFFFF,
    fixed: bool = True,
    cell: tuple[int, int, int, int] | None = (250, 1, 8092, 42194),
    kind: str = "V1",
) -> bytes:
    """A place in text."""
    at = datetime.fromtimestamp(time, UTC)
    tail = "".join(f",{number}" for number in cell) if cell else ""
    return (
        f"*HQ,{terminal},{kind},{at:%H%M%S},{'A' if fixed else 'V'},{minutes(lat, 2)},{'S' if lat < 0 else 'N'},"
        f"{minutes(lon, 3)},{'W' if lon < 0 else 'E'},{knots:06.2f},{course:03d},{at:%d%m%y},{status:08X}{tail}#"
    ).encode()


def word(terminal: str, kind: str, *fields: str) -> bytes:
    """Any other message, of either side."""
    return f"*HQ,{','.join((terminal, kind, *fields))}#".encode()
