"""OsmAnd's places over HTTP: the exact parser of a query or a JSON body, and the builder of requests.

    GET  /?id=…&timestamp=…&lat=…&lon=…&speed=knots&bearing=…&altitude=m&batt=%&NAME=VALUE…
    POST the same in the body, or JSON of Traccar Client: {"device_id", "location": {"timestamp", "coords": {…}, …}}

Source: OsmAnd, Trip recording plugin (online tracking); Traccar, OsmAnd protocol and Traccar Client.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

from protocols.records import (
    EXACT_INTEGER,
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    SATELLITES_UNKNOWN,
    TIME_UNKNOWN,
    VALID,
    identity_of,
)
from protocols.selfnamed import FieldError, Reading

QUERY, JSON = 0, 1  # `Frame.variant`: what its data is
KNOT, METRES_PER_SECOND = 1.852, 3.6  # km/h
MAX_FIELDS = 100
_MAX_NAME = 38
LAST = 253_402_300_800  # s, the end of year 9999
MILLISECONDS = 1 << 31  # seconds of 2038: what is more are milliseconds

_FRACTION = re.compile(r"[0-9]{1,11}\.[0-9]{1,6}", re.ASCII)
_IDS = ("id", "deviceid", "device_id")
_NOTHING = (b"", b"&")
_DOUBTS = (b"%", b"+", b"&id", b"&device")  # what is quoted may be anything, and each of `_IDS` begins so
CORE = frozenset((
    *_IDS, "timestamp", "lat", "lon", "location", "speed", "bearing", "heading", "altitude", "valid",
))  # fmt: skip
_NAMES = {  # measure and factor
    "hdop": ("hdop", 1.0), "batt": ("battery.level", 1.0), "accuracy": ("accuracy", 1.0),
}  # fmt: skip
SWITCHES = frozenset(("charge", "ignition"))
YES, NO = ("true", "1"), ("false", "0")
TEXTS = {"driverUniqueId": "driver.key", "cell": "cell", "wifi": "wifi"}


@lru_cache(16)  # who sends, whether it is a record, what it tells: one request is asked several times in a row
def query_fields(data: bytes) -> Mapping[str, str]:
    """The fields of a query, the last of a name counts.

    Raises
    ------
    FieldError
        If they are too many.
    """
    text = data.decode("utf-8", "replace")
    if "%" not in text and "+" not in text:  # nothing is quoted: as below, and sooner
        parts = text.split("&")
        if len(parts) > MAX_FIELDS:
            raise FieldError("structure")
        return {name: value for name, _, value in [part.partition("=") for part in parts if part]}
    try:
        found = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise FieldError("structure") from None
    return dict(found)


def content(query: bytes, body: bytes, kind: str) -> tuple[bytes, int]:
    """What a request says, and how: JSON by its kind or its look, else its query, else its body."""
    if kind == "application/json" or (not query and body.lstrip()[:1] == b"{"):
        return body, JSON
    return query or body, QUERY


def terminal_of(data: bytes, variant: int) -> str:
    """Who sends this; empty: nobody says."""
    try:
        found: Mapping[str, Any] = _json(data) if variant == JSON else query_fields(data)
    except FieldError:
        return ""
    for name in _IDS:
        told = found.get(name)
        if isinstance(told, str | int) and not isinstance(told, bool):
            return identity_of(str(told))
    return ""


def is_greeting(data: bytes, variant: int) -> bool:
    """Whether it names its terminal and nothing else: no record, but a question whether anybody is there."""
    return variant == QUERY and set(query_fields(data)) <= set(_IDS)


def tells(query: bytes, terminal: str) -> bool:
    """Whether for certain it names this terminal, first and alone, and tells more than that; False: perhaps."""
    who, _, rest = query.partition(b"&")
    return (
        bool(terminal)
        and who == b"id=" + terminal.encode()
        and rest[:1] not in _NOTHING
        and not any(one in query for one in _DOUBTS)
        and query.count(b"&") < MAX_FIELDS
    )


def read(data: bytes, variant: int = QUERY) -> Reading:
    """A request's record.

    Raises
    ------
    FieldError
        If it holds none, or one that cannot be.
    """
    return _read_json(_json(data)) if variant == JSON else _read_query(query_fields(data))


def _read_query(fields: Mapping[str, str]) -> Reading:
    time, digits = _time(fields.get("timestamp", ""))
    if "location" in fields:
        lat, comma, lon = fields["location"].partition(",")
        if not comma:
            raise FieldError("place")
    else:
        lat, lon = fields.get("lat", ""), fields.get("lon", "")
    measures: dict[str, float] = {}
    texts: dict[str, Any] = {}
    for name, value in fields.items():
        if name in CORE:
            continue
        if name in TEXTS:
            texts[TEXTS[name]] = value
        elif name in SWITCHES:
            measures[name] = float(value in YES)
        else:
            _free(name, value, measures, texts)
    return _reading(
        time, digits, _number(lat), _number(lon), measures, texts,
        speed=_number(fields.get("speed", "")) * KNOT,
        course=_number(fields.get("bearing") or fields.get("heading") or ""),
        altitude=_number(fields.get("altitude", "")),
        valid=fields.get("valid", "true") not in NO,
    )  # fmt: skip


def _read_json(found: dict[str, Any]) -> Reading:
    location = found.get("location")
    coords = location.get("coords") if isinstance(location, dict) else None
    if not isinstance(location, dict) or not isinstance(coords, dict):
        raise FieldError("structure")
    time, digits = _time(location.get("timestamp", ""))

    def told(where: dict[str, Any], name: str) -> float:
        value = where.get(name)
        if value is None:
            return math.nan
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FieldError("number")
        return _number(str(value))

    def positive(name: str) -> float:
        value = told(coords, name)
        return value if value >= 0 else math.nan  # negative: unknown

    measures: dict[str, float] = {}
    texts: dict[str, Any] = {}
    moving = location.get("is_moving")
    if isinstance(moving, bool):
        measures["movement"] = float(moving)
    battery = location.get("battery")
    measures |= {
        name: value
        for name, value in (
            ("odometer", told(location, "odometer")),
            ("accuracy", positive("accuracy")),
            ("battery.level", told(battery, "level") * 100 if isinstance(battery, dict) else math.nan),
        )
        if value == value and value >= 0
    }
    activity = location.get("activity")
    if isinstance(activity, dict) and isinstance(activity.get("type"), str):
        texts["activity"] = activity["type"]
    if isinstance(location.get("event"), str):
        texts["param.event"] = location["event"]
    extras = location.get("extras")
    if isinstance(extras, dict) and len(extras) <= MAX_FIELDS:
        for name, value in extras.items():
            if isinstance(value, str | int | float):
                _free(name, str(value).lower() if isinstance(value, bool) else str(value), measures, texts)
    return _reading(
        time, digits, told(coords, "latitude"), told(coords, "longitude"), measures, texts,
        speed=positive("speed") * METRES_PER_SECOND, course=positive("heading"), altitude=told(coords, "altitude"),
        valid=True,
    )  # fmt: skip


def _reading(
    time: int,
    digits: int,
    lat: float,
    lon: float,
    measures: dict[str, float],
    texts: dict[str, Any],
    *,
    speed: float,
    course: float,
    altitude: float,
    valid: bool,
) -> Reading:
    if abs(lat) > 90 or abs(lon) > 180 or (lat == lat) != (lon == lon):
        raise FieldError("place")
    if course > 360 or course < 0:
        raise FieldError("course")
    valid = valid and lat == lat
    flags = (VALID if valid else 0) | (MOVING if measures.get("movement", valid and speed > 0) else 0)
    if "ignition" in measures:
        flags |= IGNITION_KNOWN | (IGNITION_ON if measures["ignition"] else 0)
    return Reading(
        time, lat if valid else math.nan, lon if valid else math.nan, altitude, speed, course, SATELLITES_UNKNOWN,
        flags, measures, texts, digits,
    )  # fmt: skip


def measure_of(name: str) -> tuple[str, float]:
    """What a field that is no text is called here, and its factor."""
    return (name, 1.0) if name in SWITCHES else _NAMES.get(name, (f"param.{name[:_MAX_NAME]}", 1.0))


def _free(name: str, value: str, measures: dict[str, float], texts: dict[str, Any]) -> None:
    """A field under the terminal's own name, or a known one: a number where it reads as one."""
    if not name:
        return
    known, factor = measure_of(name)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isfinite(number) and abs(number) < EXACT_INTEGER and "_" not in value:
        measures[known] = number * factor
        texts.pop(known, None)
    elif value:
        texts[f"param.{name[:_MAX_NAME]}"] = value[:1344]


def _number(text: str) -> float:
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        raise FieldError("number") from None
    if not math.isfinite(value) or "_" in text:
        raise FieldError("number")
    return value


def _time(told: Any) -> tuple[int, int]:
    """µs since the Unix epoch and fractional digits: seconds, milliseconds, or ISO 8601; UTC where no zone stands."""
    if told in ("", None):
        return TIME_UNKNOWN, 0
    if isinstance(told, bool) or not isinstance(told, str | int | float):
        raise FieldError("time")
    text = str(told)
    if text.isascii() and text.isdigit():
        number = int(text)
        if number >= MILLISECONDS:
            if number >= LAST * 1000:
                raise FieldError("time")
            return number * 1000, 3
        return number * 1_000_000, 0
    if _FRACTION.fullmatch(text):
        return round(float(text) * 1e6), 3
    try:
        at = datetime.fromisoformat(text.replace(" ", "T", 1))
    except ValueError:
        raise FieldError("time") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    try:
        since = at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    except OverflowError:
        raise FieldError("time") from None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds, 3 if "." in text else 0


def _json(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise FieldError("structure") from None
    if not isinstance(found, dict):
        raise FieldError("structure")
    return found


def tree(data: bytes, variant: int) -> Any:
    """A request's fields; never raises."""
    try:
        return _json(data) if variant == JSON else dict(query_fields(data))
    except FieldError as error:
        return {"bytes": data.hex(), "error": error.args[0]}


def get(path: str = "/", *, host: str = "dozor", **fields: Any) -> bytes:
    """A request with its fields in the query."""
    return f"GET {path}?{urlencode(fields)} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def post(body: bytes, kind: str, *, host: str = "dozor") -> bytes:
    """A request with a body."""
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
