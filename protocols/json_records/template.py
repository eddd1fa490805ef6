"""A template: how payloads of somebody's own become records. Read from a table that a TOML file holds.

::

    topic = "fleet/{terminal}/up"    # topics read by it, and the level that names the terminal; without it: …/json
    terminal = "device.imei"         # where the payload names the terminal; without it the topic does
    records = "data.items"           # where the list of records stands; without it the payload is it
    unknown = "keep"                 # keep: what no field takes is kept as param.<name>; drop

    [fields]                         # of the record or a measure = where it stands
    ts = "t"
    lat = "pos.lat"
    "fuel.level.1" = {path = "lls.0.level", scale = 0.1, offset = 0.0}

Where something stands is a path: keys and, in lists, places from 0, joined by dots.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocols.json_records import shapes
from protocols.json_records.shapes import Plain, RefusedError

_KEYS = ("topic", "terminal", "records", "unknown", "fields")
_FIELD_KEYS = {"path", "scale", "offset"}
_CORE = ("altitude", "speed", "course", "satellites")
_ALIASES = {"alt": "altitude", "sat": "satellites", "sats": "satellites"}
MAX_FIELDS = 512
_TERMINAL = "{terminal}"
_LARGEST = 1e15  # of a factor; an integer of TOML may be larger than any float


class TemplateError(Exception):
    """What is wrong with a template, and the remedy; `where` are the keys down to it."""

    def __init__(self, where: tuple[str, ...], what: str, remedy: str) -> None:
        super().__init__(f"{'.'.join(where)}: {what}: {remedy}")
        self.where = where


Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Field:
    path: Path
    scale: float = 1.0
    offset: float = 0.0

    def of(self, member: Any) -> Any:
        found = _at(member, self.path)
        if found is None or (self.scale == 1.0 and self.offset == 0.0):
            return found
        told = shapes.number(found)
        return None if told is None else told * self.scale + self.offset


@dataclass(frozen=True, slots=True)
class Template:
    """See the module; `levels` are the topic's, `_TERMINAL` the one that names the terminal, "+" any."""

    fields: Mapping[str, _Field]
    levels: tuple[str, ...] = ()
    terminal: Path = ()
    records: Path = ()
    keep_unknown: bool = True

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Template:
        """Read it.

        Raises
        ------
        TemplateError
            At the first thing that is wrong.
        """
        for key in table:
            if key not in _KEYS:
                raise TemplateError((str(key),), "unknown key", f"known are {', '.join(_KEYS)}")
        fields = table.get("fields")
        if not isinstance(fields, Mapping) or not fields or len(fields) > MAX_FIELDS:
            raise TemplateError(
                ("fields",), "is no table of fields", 'write [fields], then ts = "…" and others below it'
            )
        read = {name: _field(str(name), told) for name, told in fields.items()}
        if "ts" not in read:
            raise TemplateError(("fields",), "has no ts", "name where the time stands: a record without one is none")
        unknown = table.get("unknown", "keep")
        if unknown not in ("keep", "drop"):
            raise TemplateError(("unknown",), "is not known", 'take "keep" or "drop"')
        return cls(
            read,
            _levels(table.get("topic", "")),
            _path(("terminal",), table["terminal"]) if "terminal" in table else (),
            _path(("records",), table["records"]) if "records" in table else (),
            unknown == "keep",
        )

    def terminal_of(self, levels: list[str]) -> str | None:
        """The terminal a topic names, "" where its payload does; None: the topic is not this template's."""
        mine = self.levels
        if not mine or len(levels) != len(mine):
            return None
        found = ""
        for wanted, level in zip(mine, levels, strict=True):
            if wanted == _TERMINAL:
                found = level
            elif wanted not in ("+", level):
                return None
        return found

    def members(self, told: Any) -> Any:
        """The list of records, or the one."""
        if not self.records:
            return told
        found = _at(told, self.records)
        if found is None:
            raise RefusedError("structure")
        return found

    def plain(self, member: dict[str, Any]) -> tuple[str, Plain]:
        """Whose record it is ("": the topic's), and the record."""
        fields = self.fields
        plain: Plain = {"us": shapes.microseconds(fields["ts"].of(member)), "m": {}}
        lat, lon = fields.get("lat"), fields.get("lon")
        if lat is not None and lon is not None:
            shapes.position(plain, lat.of(member), lon.of(member))
        for name, told in fields.items():
            if name in ("ts", "lat", "lon"):
                continue
            value, called = told.of(member), _ALIASES.get(name, name)
            if value is None:
                continue
            if called in _CORE:
                shapes.core(plain, called, value)
            elif called == "valid":
                plain["valid"] = shapes.truth(value)
            else:
                shapes.measure(plain, called, value)
        if self.keep_unknown:
            for key, value in _left(member, [told.path for told in fields.values()] + [self.terminal]):
                shapes.put(plain, f"param.{key}", value)
        named = _at(member, self.terminal) if self.terminal else ""
        if self.terminal and (named is None or isinstance(named, dict | list | bool)):
            raise RefusedError("identity")
        return str(named), plain


def _field(name: str, told: Any) -> _Field:
    key = ("fields", name)
    if not name or len(name) > shapes.MAX_NAME:
        raise TemplateError(key, "is no name", f"take 1 to {shapes.MAX_NAME} characters")
    if isinstance(told, str):
        return _Field(_path(key, told))
    if not isinstance(told, Mapping) or "path" not in told or not set(told) <= _FIELD_KEYS:
        raise TemplateError(key, "is no path", 'write "a.b", or {path = "a.b", scale = 0.1, offset = 0}')
    for part in ("scale", "offset"):
        if isinstance(told.get(part, 0.0), bool) or not isinstance(told.get(part, 0.0), int | float):
            raise TemplateError(key, f"{part} is not a number", "write a number, without quotes")
        if not -_LARGEST <= told.get(part, 0.0) <= _LARGEST:
            raise TemplateError(key, f"{part} is out of range", f"take a number within {_LARGEST:g}")
    return _Field(_path(key, told["path"]), float(told.get("scale", 1.0)), float(told.get("offset", 0.0)))


def _path(key: tuple[str, ...], told: Any) -> Path:
    if not isinstance(told, str) or not told or not all(told.split(".")):
        raise TemplateError(key, "is no path", 'write keys joined by dots, such as "pos.lat"')
    return tuple(told.split("."))


def _levels(told: Any) -> tuple[str, ...]:
    if told == "":
        return ()
    levels = told.split("/") if isinstance(told, str) else []
    wild = any("#" in level or ("+" in level and level != "+") for level in levels)
    odd = any(mark in level and level != _TERMINAL for level in levels for mark in "{}")
    if not levels or levels.count(_TERMINAL) > 1 or wild or odd:
        raise TemplateError(
            ("topic",), "is no topic", 'write it whole, "+" for any level and "{terminal}" for the one that names it'
        )
    return tuple(levels)


def _left(told: Any, taken: Sequence[Path]) -> Iterator[tuple[str, Any]]:
    """What stands at none of these paths, by name; what nothing is taken out of is left whole."""
    for key, named, value in _inner(told):
        deeper = [path[1:] for path in taken if path and path[0] == key]
        if not deeper:
            yield named, value
        elif () not in deeper:
            for name, inner in _left(value, deeper):
                yield f"{named}.{name}", inner


def _inner(told: Any) -> Iterator[tuple[str, str, Any]]:
    """Key as in a path, as in a name (where places count from 1), and what stands there."""
    if isinstance(told, dict):
        yield from ((key, key, value) for key, value in told.items())
    elif isinstance(told, list):
        yield from ((str(place), str(place + 1), value) for place, value in enumerate(told))


def _at(told: Any, path: Path) -> Any:
    """What stands there; None: nothing does."""
    for key in path:
        if isinstance(told, dict):
            told = told.get(key)
        elif isinstance(told, list) and key.isascii() and key.isdecimal() and len(key) < 5 and int(key) < len(told):
            told = told[int(key)]
        else:
            return None
    return told
