"""The shapes that are known: our own, flespi's, OwnTracks' and Teltonika's; each to a plain record.

Rules for all: numbers may be texts, null is absent, a time above 1e11 is in milliseconds, unknown keys are kept as
`param.<name>`, what is nested under dotted names.

Sources: flespi's parameters as traccar/traccar reads them (FlespiProtocolDecoder); owntracks/booklet, the JSON page;
Teltonika's wiki, MQTT, "state.reported".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

Plain = dict[str, Any]

MAX_NAME = 128  # characters of a measure's name
_MILLISECONDS = 1e11  # a time above it is in milliseconds: in seconds it would be in the year 5138
_LAST_US = 253_402_300_799_999_999  # the end of year 9999
_FAR = 1e6  # m, km/h, degrees: farther is no terminal
_DIGITS = re.compile(r"([0-9]+)$")
_WHOLE = re.compile(r"[+-]?[0-9]{16,19}")
_FUEL_GOOD = (0, None)


class RefusedError(Exception):
    """It is no record; `reason` is a word of quarantine."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Told:
    """A record, whose it says it is ("" where it does not), and the firmware it tells."""

    plain: Plain
    terminal: str = ""
    firmware: str | None = None


# -- values -------------------------------------------------------------------------------------------------------


def cleaned(text: str) -> str:
    """A text that the store can hold: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def number(value: Any) -> float | int | None:
    """A finite number; None: there is none. A text that is none is refused."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        told = _read(value)
        if told is None:
            raise RefusedError("value")
        value = told
    if not isinstance(value, int | float):
        raise RefusedError("value")
    if isinstance(value, int):
        if abs(value) >= 1 << 63:
            raise RefusedError("value")
    elif not math.isfinite(value):
        raise RefusedError("value")
    return value


def microseconds(value: Any) -> int:
    """A time in s or ms since the Unix epoch, as µs; refused where there is none."""
    told = number(value)
    if told is None or told <= 0:
        raise RefusedError("time")
    if isinstance(told, int):
        found = told * 1000 if told > _MILLISECONDS else told * 1_000_000
    else:
        found = round(told * 1000) if told > _MILLISECONDS else round(told * 1e6)
    if found > _LAST_US:
        raise RefusedError("time")
    return found


def truth(value: Any) -> bool | None:
    """A yes or no, as a bool, 0 or 1, or as text."""
    if value is None:
        return None
    if isinstance(value, str):
        value = {"true": True, "false": False, "1": True, "0": False}.get(value.lower())
    if isinstance(value, bool | int | float):
        return bool(value)
    raise RefusedError("value")


def position(plain: Plain, lat: Any, lon: Any) -> None:
    """Put a position in, where there is one."""
    if isinstance(lat, bool) or isinstance(lon, bool):
        raise RefusedError("value")
    north, east = number(lat), number(lon)
    if north is None or east is None:
        return
    if not (-90 <= north <= 90 and -180 <= east <= 180):
        raise RefusedError("position")
    plain["lat"], plain["lon"] = float(north), float(east)


def put(plain: Plain, name: str, value: Any) -> None:
    """A measure under its own name; null is absent, what is nested is flattened. The first of a name stays."""
    for key, told in _flat(name, value):
        if isinstance(told, bool):
            told = int(told)
        elif isinstance(told, str):
            told = cleaned(told)
        elif isinstance(told, int) and abs(told) >= 1 << 63:
            told = str(told)
        elif isinstance(told, float) and not math.isfinite(told):  # after a change of unit
            raise RefusedError("value")
        plain["m"].setdefault(cleaned(key)[:MAX_NAME], told)


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif isinstance(value, list):
        for place, inner in enumerate(value, 1):
            yield from _flat(f"{name}.{place}", inner)
    elif value is not None:
        yield name, value


def known(name: str) -> str:
    """`name` where the dictionary of measures has it, else `param.<name>`."""
    return name if len(name) <= MAX_NAME and _described(name) else f"param.{name}"


@lru_cache(4096)
def _described(name: str) -> bool:
    from protocols.measures import describe  # which reads the registry, and the registry us

    return describe(name) is not None


def measure(plain: Plain, name: str, value: Any) -> None:
    """A measure as whoever sent it calls it; a known one that is a number may come as a text."""
    for key, told in _flat(name, value):
        put(plain, *(_typed(key, told) if known(key) == key else (known(key), told)))


def _typed(name: str, told: Any) -> tuple[str, Any]:
    """A known measure in its own type; what is no number of one that is a number stays beside it."""
    kind = _kind(name)
    if kind == "key" and isinstance(told, int) and not isinstance(told, bool) and 0 <= told < 1 << 64:
        return name, f"{told:x}"
    if kind in ("key", "text"):
        return name, told if isinstance(told, str) else str(told)
    if kind == "any" or not isinstance(told, str):
        return name, told
    truth = _TRUTH.get(told.lower()) if kind == "truth" else None
    read = _read(told) if truth is None else truth
    return (f"param.{name}", told) if read is None else (name, read)


_TRUTH = {"true": 1, "false": 0}
_OPEN = re.compile(r"param\.|io\.\d")  # an element without a name has a number; `io.status` has both


@lru_cache(4096)
def _kind(name: str) -> Literal["key", "text", "truth", "any", "number"]:
    """What a measure of the dictionary holds: a driver's key, a text, yes or no, either numbers or texts, numbers."""
    from protocols.measures import describe

    found = describe(name)
    if name == "driver.key":
        return "key"
    if name == "vin" or (found is not None and found.unit == "text"):
        return "text"
    if _OPEN.match(name):
        return "any"
    return "truth" if found is not None and found.unit == "0/1" else "number"


def _read(text: str) -> float | int | None:
    """A finite number as its sender would write it: ASCII, and nothing of Python's own ways."""
    if _WHOLE.fullmatch(text) and abs(exact := int(text)) >= 1 << 53:  # what a float would not hold
        return exact
    try:
        told = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return None
    return told if math.isfinite(told) else None


def _numeric(text: str) -> bool:
    return _read(text) is not None


# -- the shapes ---------------------------------------------------------------------------------------------------


def note_of(member: dict[str, Any]) -> str | None:
    """What kind of evidence it is, where it is no record by its own word."""
    if "RSP" in member and "state" not in member:
        return "teltonika answer"
    kind = member.get("_type")
    if isinstance(kind, str) and kind not in ("location", "encrypted"):
        return f"owntracks {cleaned(kind)[:32]}"
    return None


def plain_of(member: dict[str, Any]) -> Told:
    """The record; refused where it has no time, or is of no shape that is known."""
    if "_type" in member:
        return _owntracks(member)
    state = member.get("state")
    if isinstance(state, dict) and isinstance(state.get("reported"), dict):
        return _teltonika(state["reported"])
    if "timestamp" in member and ("ident" in member or any(key.startswith("position.") for key in member)):
        return _flespi(member)
    return _own(member)


_CORE = {
    "altitude": "altitude", "alt": "altitude", "speed": "speed", "course": "course", "satellites": "satellites",
    "sat": "satellites", "sats": "satellites",
}  # fmt: skip


def _own(member: dict[str, Any]) -> Told:
    """`{"ts", "lat", "lon", "alt", "speed", "course", "sat", "valid", "<measure>": value …}`."""
    plain: Plain = {"us": microseconds(member.get("ts")), "m": {}}
    position(plain, member.get("lat"), member.get("lon"))
    firmware = member.get("fw")
    for key, value in member.items():
        if key in ("ts", "lat", "lon"):
            continue
        if key in _CORE:
            core(plain, _CORE[key], value)
        elif key == "valid":
            valid = truth(value)
            if valid is not None:
                plain["valid"] = valid
        elif key == "sensors" and isinstance(value, list):
            for place, sensor in enumerate(value, 1):
                if not (isinstance(sensor, dict) and _fuel(plain, sensor, place)):
                    put(plain, f"param.sensors.{place}", sensor)
        elif key == "sensor" and "level" in member:
            _fuel(plain, member, 1)
        elif key in ("level", "temp", "status", "unit") and "sensor" in member:
            continue
        else:
            measure(plain, key, value)
    return Told(plain, firmware=cleaned(firmware)[:64] if isinstance(firmware, str) and firmware else None)


def core(plain: Plain, name: str, value: Any) -> None:
    """Altitude, speed, course or satellites; beyond what any of them can be it is refused."""
    told = number(value)
    if told is not None:
        if abs(told) > _FAR:
            raise RefusedError("value")
        plain.setdefault(name, int(told) if name == "satellites" else float(told))


def _fuel(plain: Plain, sensor: dict[str, Any], place: int) -> bool:
    """A fuel-level sensor: its number is what its name ends with, else its place. An error is never a level of 0.

    One whose number another has already is none: two tanks must not become one.
    """
    if "level" not in sensor:
        return False
    digits = _DIGITS.search(str(sensor.get("id", sensor.get("sensor", ""))))
    n = int(digits[1][-4:]) if digits else place
    if any(f"fuel.{what}.{n}" in plain["m"] for what in ("level", "status", "temperature")):
        return False
    status, level = number(sensor.get("status")), number(sensor.get("level"))
    if status in _FUEL_GOOD:
        put(plain, f"fuel.level.{n}", level)
    put(plain, f"fuel.status.{n}", status)
    put(plain, f"fuel.temperature.{n}", number(sensor.get("temp")))
    return True


def _word(value: Any) -> str:
    """A text, where it is one word."""
    if isinstance(value, dict | list):
        raise RefusedError("value")
    return str(value)


def _odometer(kilometres: Any) -> float | None:
    told = number(kilometres)
    return None if told is None else round(told * 1000, 3)


_FLESPI_CORE = {
    "position.altitude": "altitude", "position.speed": "speed", "position.direction": "course",
    "position.satellites": "satellites",
}  # fmt: skip
_FLESPI: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "position.hdop": ("hdop", number), "position.pdop": ("pdop", number), "din": ("inputs", number),
    "dout": ("outputs", number), "external.powersource.voltage": ("power.external", number),
    "battery.voltage": ("power.battery", number), "battery.level": ("battery.level", number),
    "engine.ignition.status": ("ignition", truth), "movement.status": ("movement", truth),
    "engine.rpm": ("can.engine.rpm", number), "can.engine.rpm": ("can.engine.rpm", number),
    "gsm.signal.level": ("gsm.signal", number), "gps.vehicle.mileage": ("odometer", _odometer),
    "vehicle.vin": ("vin", _word),
}  # fmt: skip


def _flespi(member: dict[str, Any]) -> Told:
    plain: Plain = {"us": microseconds(member.get("timestamp")), "m": {}}
    position(plain, member.get("position.latitude"), member.get("position.longitude"))
    ident = member.get("ident")
    for key, value in member.items():
        if key in ("timestamp", "ident", "position.latitude", "position.longitude"):
            continue
        if key in _FLESPI_CORE:
            core(plain, _FLESPI_CORE[key], value)
        elif key == "position.valid":
            valid = truth(value)
            if valid is not None:
                plain["valid"] = valid
        elif key in _FLESPI:
            name, convert = _FLESPI[key]
            put(plain, name, None if value is None else convert(value))
        else:
            put(plain, f"param.{key}", value)
    firmware = member.get("device.firmware.version")
    return Told(
        plain,
        terminal="" if ident is None else str(ident),
        firmware=cleaned(firmware)[:64] if isinstance(firmware, str) and firmware else None,
    )


_OWNTRACKS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "batt": ("battery.level", number), "odometer": ("odometer", _odometer), "ubatt": ("power.battery", number),
    "uext": ("power.external", number), "rpm": ("can.engine.rpm", number), "flvl": ("can.fuel.percent", number),
    "vin": ("vin", _word),
}  # fmt: skip
_NUMBERED = {"temp_c-": "temperature.", "din": "input."}


def _owntracks(member: dict[str, Any]) -> Told:
    """A location; zero-valued `vel`, `cog`, `alt` are left out by the app, which is no difference to absent."""
    if member.get("_type") != "location":
        raise RefusedError("unsupported")
    plain: Plain = {"us": microseconds(member.get("tst")), "m": {}}
    position(plain, member.get("lat"), member.get("lon"))
    columns = {"alt": "altitude", "vel": "speed", "cog": "course"}
    for key, value in member.items():
        if key in ("_type", "tst", "lat", "lon"):
            continue
        prefix = key.rstrip("0123456789")
        if key in columns:
            core(plain, columns[key], value)
        elif key in _OWNTRACKS:
            name, convert = _OWNTRACKS[key]
            put(plain, name, None if value is None else convert(value))
        elif prefix in _NUMBERED and prefix != key:
            put(plain, _NUMBERED[prefix] + key[len(prefix) :].lstrip("0").zfill(1), number(value))
        else:
            put(plain, f"param.{key}", value)
    return Told(plain)


def _avl(plain: Plain, identifier: int, told: Any) -> None:
    """One AVL element as a number: negative, or one of its codes, where the sensor has an error."""
    from protocols.teltonika.measures import meaning_by_id  # only payloads of that shape need it

    meaning = meaning_by_id(identifier)
    if meaning is None or isinstance(told, str) or told is None:
        put(plain, f"io.{identifier}", told)
    elif meaning.kind == "coded" and (told in meaning.codes if meaning.codes else told < 0):
        put(plain, meaning.status, told)
    elif meaning.divisor == 1 and meaning.multiplier == 1:
        put(plain, meaning.name, told)
    else:
        put(plain, meaning.name, told * meaning.multiplier / meaning.divisor)


def _teltonika(reported: dict[str, Any]) -> Told:
    """AVL ids raw, as in the binary codecs, where an id has one meaning; their sizes are not told."""
    plain: Plain = {"us": microseconds(reported.get("ts")), "m": {}}
    latlng = reported.get("latlng")
    if isinstance(latlng, str) and latlng.count(",") == 1:
        position(plain, *(part.strip() for part in latlng.split(",")))
    columns = {"alt": "altitude", "ang": "course", "sat": "satellites", "sp": "speed"}
    for key, value in reported.items():
        if key in ("ts", "latlng"):
            continue
        if key in columns:
            core(plain, columns[key], value)
        elif key in ("evt", "pr"):
            put(plain, "event" if key == "evt" else "priority", number(value))
        elif key.isascii() and key.isdecimal() and len(key) <= 5:
            told = value if isinstance(value, str) and not _numeric(value) else number(value)
            _avl(plain, int(key), told)
        else:
            put(plain, f"param.{key}", value)
    if plain.get("satellites") == 0 and plain.get("lat") == 0 and plain.get("lon") == 0:
        del plain["lat"], plain["lon"]
    return Told(plain)
