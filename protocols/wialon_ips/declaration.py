"""The readable truth of Wialon IPS: a plain parser and the builders that mirror it.

One message (the body of `SD`, `D`, or a member of `B`) is fields joined by ``;``::

    1 date DDMMYY   2 time HHMMSS[.s…]   3;4 latitude DDMM.M…;N|S   5;6 longitude DDDMM.M…;E|W
    7 speed km/h    8 course degrees     9 altitude m   10 satellites        <- SD ends here
    11 HDOP   12 inputs   13 outputs   14 ADC a,b,…   15 driver's key   16 parameters name:type:value,…

``NA`` or nothing stands for "not told". Fields past the sixteenth are ignored. Time is UTC. Numbers before the inputs
may have a decimal comma. Parameter types:
1 integer (64 bit), 2 double, 3 text; a parameter whose value does not match its type is left out.

Source: Gurtam, "Wialon IPS v.1.1" and "Wialon IPS v.2.0"; answer codes from the same tables.
"""

from __future__ import annotations

import math
import re
from calendar import timegm
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

from protocols.records import SATELLITES_UNKNOWN, TIME_UNKNOWN, Frame
from protocols.wialon_ips.wire import (
    MAX_ADC,
    MAX_MEMBERS,
    MAX_NAME,
    MAX_PARAMS,
    MAX_TEXT,
    STRUCTURE_CODE,
    V1,
    members,
    split_checksum,
    split_line,
    text_of,
)

Value: TypeAlias = float | int | str

# What a wrong field is called, and the code the terminal is told.
STRUCTURE = ("structure", STRUCTURE_CODE)
TIME = ("time", "0")
COORDINATES = ("coordinates", "10")
MOTION = ("motion", "11")
SATELLITES = ("satellites", "12")
INPUTS = ("inputs", "13")
ADC = ("adc", "14")

LATITUDE_SIGN = {"N": 1.0, "S": -1.0}
LONGITUDE_SIGN = {"E": 1.0, "W": -1.0}

# Metres and km/h beyond this are no measurement, and would overflow the float32 columns.
SANE = 1e6

_UNSIGNED = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_DOUBLE = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_COUNT = re.compile(r"[0-9]+")
_MASK = re.compile(r"[0-9]{1,20}")
_DATE = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2})")
_TIME = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2})(?:\.([0-9]{1,9}))?")
_BAD_NAME = re.compile(r"[ #\r\n]")


class FieldError(ValueError):
    """A field that cannot be read; `reason` names it, `code` is the protocol's own answer."""

    def __init__(self, wrong: tuple[str, str]) -> None:
        super().__init__(wrong[0])
        self.reason, self.code = wrong


@dataclass(slots=True)
class Reading:
    """One message: time in µs since the epoch, degrees, m, km/h; NaN, -1 or `TIME_UNKNOWN` where not told."""

    time: int = TIME_UNKNOWN
    time_digits: int = 0
    lat: float = math.nan
    lon: float = math.nan
    speed: float = math.nan
    course: float = math.nan
    altitude: float = math.nan
    satellites: int = SATELLITES_UNKNOWN
    measures: dict[str, Value] = field(default_factory=dict)


def told(text: str) -> bool:
    """Whether a field says anything."""
    return text not in ("", "NA")


def read_member(data: bytes, fields: int = 0) -> Reading:
    """Read one message; `fields` demands the short (10) or the long (16) form.

    Raises
    ------
    FieldError
        With the first wrong field, in the wire's order.
    """
    if b"\0" in data:  # text never holds one, and no store takes it
        raise FieldError(STRUCTURE)
    parts = text_of(data).split(";")
    if not (len(parts) >= 16 or len(parts) == 10) or (fields and (len(parts) >= 16) != (fields >= 16)):
        raise FieldError(STRUCTURE)
    reading = Reading()
    reading.time, reading.time_digits = read_time(parts[0], parts[1])
    reading.lat, reading.lon = read_position(*parts[2:6])
    reading.speed = read_number(decimal(parts[6]), _UNSIGNED, MOTION, SANE)
    reading.course = read_number(decimal(parts[7]), _UNSIGNED, MOTION, 360)
    reading.altitude = read_number(decimal(parts[8]), _DECIMAL, MOTION, SANE)
    if told(parts[9]):
        if not _COUNT.fullmatch(parts[9]) or float(parts[9]) > 32767:
            raise FieldError(SATELLITES)
        reading.satellites = int(float(parts[9]))
    if reading.lat == reading.lon == reading.satellites == 0:  # 0/0 by no satellite is nowhere
        reading.lat = reading.lon = math.nan
    if len(parts) >= 16:
        reading.measures = read_measures(*parts[10:16])
    return reading


def read_time(day: str, clock: str) -> tuple[int, int]:
    """DDMMYY and HHMMSS[.s…] → (µs since the epoch, fractional digits); either untold → `TIME_UNKNOWN`."""
    d = _DATE.fullmatch(day)
    t = _TIME.fullmatch(clock)
    if (told(day) and not d) or (told(clock) and not t):
        raise FieldError(TIME)
    try:
        when = date(2000 + int(d[3]), int(d[2]), int(d[1])) if d else None
    except ValueError:
        raise FieldError(TIME) from None
    if t and not (int(t[1]) < 24 and int(t[2]) < 60 and int(t[3]) < 60):
        raise FieldError(TIME)
    if when is None or t is None:
        return TIME_UNKNOWN, 0
    seconds = timegm((when.year, when.month, when.day, int(t[1]), int(t[2]), int(t[3])))
    fraction = (t[4] or "")[:6]
    return seconds * 1_000_000 + int(fraction.ljust(6, "0")), len(fraction)


def read_position(lat: str, north: str, lon: str, east: str) -> tuple[float, float]:
    """Two coordinates in degrees; both NaN when neither is told."""
    if not told(lat) and not told(lon):
        return math.nan, math.nan
    if not (told(lat) and told(lon) and north in LATITUDE_SIGN and east in LONGITUDE_SIGN):
        raise FieldError(COORDINATES)
    north_south = read_degrees(lat, 90) * LATITUDE_SIGN[north]
    return north_south + 0.0, read_degrees(lon, 180) * LONGITUDE_SIGN[east] + 0.0  # no negative zero


def read_degrees(text: str, most: float) -> float:
    """[D[D]]DMM.M… → degrees: the last two digits before the dot are minutes, leading zeros may be missing.

    Minutes of exactly 60 are the next degree: formatters round 59.999996 up to that.
    Rounded to 1e-12 degrees (0.1 µm), which takes the binary noise away.
    """
    text = decimal(text)
    if not _UNSIGNED.fullmatch(text):
        raise FieldError(COORDINATES)
    value = float(text)
    if value > 18000:
        raise FieldError(COORDINATES)
    whole = math.floor(value / 100)
    minutes = value - whole * 100
    degrees = round((whole + minutes / 60) * 1e12) / 1e12
    if minutes > 60 or degrees > most:
        raise FieldError(COORDINATES)
    return degrees


def decimal(text: str) -> str:
    """A number as the manual writes it: some terminals send a decimal comma."""
    return text.replace(",", ".", 1)


def read_number(text: str, grammar: re.Pattern[str], wrong: tuple[str, str], most: float = math.inf) -> float:
    """A decimal within ±`most`; NaN when not told."""
    if not told(text):
        return math.nan
    if not grammar.fullmatch(text):
        raise FieldError(wrong)
    value = float(text)
    if abs(value) > most or math.isinf(value):
        raise FieldError(wrong)
    return value + 0.0  # no negative zero


def read_measures(hdop: str, inputs: str, outputs: str, adc: str, key: str, params: str) -> dict[str, Value]:
    """Fields 11 to 16 as measures, in the wire's order."""
    measures: dict[str, Value] = {}
    if told(hdop):
        measures["hdop"] = read_number(decimal(hdop), _UNSIGNED, SATELLITES)
    for name, text in (("inputs", inputs), ("outputs", outputs)):
        if told(text):
            if not _MASK.fullmatch(text) or int(text) >= 1 << 64:
                raise FieldError(INPUTS)
            measures[name] = int(text)
    voltages = adc.split(",")
    if len(voltages) > MAX_ADC:
        raise FieldError(ADC)
    for number, text in enumerate(voltages, 1):
        if told(text):
            measures[f"adc.{number}"] = read_number(text, _DECIMAL, ADC)
    if told(key):
        measures["driver.key"] = key
    if told(params):
        measures.update(read_params(params))
    return measures


def read_params(text: str) -> dict[str, Value]:
    """``name:type:value`` joined by commas; what does not fit its type is left out; the last of a name counts."""
    found: dict[str, Value] = {}
    for param in text.split(","):
        parts = param.split(":", 2)  # the value may hold colons
        if len(parts) < 3 or not parts[0] or len(parts[0]) > MAX_NAME or _BAD_NAME.search(parts[0]):
            continue
        value = read_value(parts[1], parts[2])
        name = f"param.{parts[0]}"
        if value is not None and (name in found or len(found) < MAX_PARAMS):
            found[name] = value
    return found


def read_value(kind: str, text: str) -> Value | None:
    """A parameter's value, None if it is not of its type."""
    if kind == "1" and _INTEGER.fullmatch(text):
        number = int(text)
        return number if -(1 << 63) <= number < 1 << 64 else None
    if kind == "2" and _DOUBLE.fullmatch(text):
        value = float(text)
        return None if math.isinf(value) else value + 0.0
    if kind == "3" and len(text) <= MAX_TEXT:
        return text
    return None


def split_frame(data: bytes, variant: int) -> tuple[str, list[bytes]]:
    """A data line as (type, messages without the checksum)."""
    kind, body = split_line(data) or (b"", data)
    if kind == b"B":
        return "B", members(body, variant)
    if variant != V1:
        body = split_checksum(body)[0][:-1]
    return kind.decode("ascii", "replace"), [body]


def tree(frame: Frame) -> dict[str, Any]:
    """One data line as nested containers, for people."""
    kind, bodies = split_frame(frame.data, frame.variant)
    shown: dict[str, Any] = {"type": kind, "version": "1.1" if frame.variant == V1 else "2.x"}
    if frame.variant != V1:
        shown["checksum"] = text_of(split_checksum(frame.data, b"|" if kind == "B" else b";")[1])
    shown["messages"] = [_message_tree(body, {"SD": 10, "D": 16}.get(kind, 0)) for body in bodies[: MAX_MEMBERS + 1]]
    return shown


def member_tree(data: bytes, variant: int) -> dict[str, Any] | None:
    """One message out of a black box; None if this is a whole line."""
    del variant
    return None if data.startswith(b"#") else _message_tree(data, 0)


def _message_tree(body: bytes, fields: int) -> dict[str, Any]:
    try:
        reading = read_member(body, fields)
    except FieldError as error:
        return {"error": error.reason, "code": error.code, "text": text_of(body)}
    shown: dict[str, Any] = {"time": None}
    if reading.time != TIME_UNKNOWN:
        shown["time"] = datetime.fromtimestamp(reading.time / 1e6, UTC).isoformat()
    for name in ("lat", "lon", "speed", "course", "altitude"):
        value = getattr(reading, name)
        shown[name] = None if math.isnan(value) else value
    shown["satellites"] = None if reading.satellites == SATELLITES_UNKNOWN else reading.satellites
    return shown | {"measures": reading.measures}


def build_message(
    *,
    time: int | None = None,
    lat: float | None = None,
    lon: float | None = None,
    speed: float | None = None,
    course: float | None = None,
    altitude: float | None = None,
    satellites: int | None = None,
    time_digits: int = 0,
) -> str:
    """The ten fields of a short message; `time` in µs since the epoch, units as in `Reading`."""
    day = clock = "NA"
    if time is not None:
        seconds, micro = divmod(time, 1_000_000)
        when = datetime.fromtimestamp(seconds, UTC)
        day, clock = when.strftime("%d%m%y"), when.strftime("%H%M%S")
        if time_digits:
            clock += "." + f"{micro:06d}"[:time_digits]
    where = ["NA"] * 4
    if lat is not None and lon is not None:
        where = [build_degrees(lat, 2), "S" if lat < 0 else "N", build_degrees(lon, 3), "W" if lon < 0 else "E"]
    rest = ["NA" if x is None else build_number(x) for x in (speed, course, altitude, satellites)]
    return ";".join([day, clock, *where, *rest])


def build_long_message(
    short: str,
    *,
    hdop: float | None = None,
    inputs: int | None = None,
    outputs: int | None = None,
    adc: Sequence[float] = (),
    key: str | None = None,
    params: Mapping[str, Value] | None = None,
) -> str:
    """A short message lengthened to sixteen fields; a parameter's type follows its value's."""
    told_params = ",".join(f"{name}:{_type_of(value)}:{_text_of(value)}" for name, value in (params or {}).items())
    numbers = ["NA" if x is None else build_number(x) for x in (hdop, inputs, outputs)]
    return ";".join([short, *numbers, ",".join(map(build_number, adc)), key or "NA", told_params or "NA"])


def build_degrees(value: float, width: int) -> str:
    """Degrees without their sign as DDMM.MMMMM, `width` digits of degrees; carries when minutes round up to 60."""
    hundred_thousandths = round(abs(value) * 60 * 100_000)
    degrees, rest = divmod(hundred_thousandths, 60 * 100_000)
    minutes, fraction = divmod(rest, 100_000)
    return f"{degrees:0{width}d}{minutes:02d}.{fraction:05d}"


def build_number(value: float) -> str:
    """The shortest decimal; whole numbers without a dot."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _type_of(value: Value) -> int:
    return 3 if isinstance(value, str) else 2 if isinstance(value, float) else 1


def _text_of(value: Value) -> str:
    return repr(value) if isinstance(value, float) else str(value)
