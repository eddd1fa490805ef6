"""A key of the configuration, declared beside the field it fills.

    timeout: Annotated[float, Key(values.duration(), "30s", "from connecting to a complete login")]

From the one line come how the key is read, its default, what `dozor check-config` says of it, and its row in
docs/configuration.md. A field whose type is a struct is a table, a list of structs a table that repeats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from gateway.configuration.values import Reader

REQUIRED = object()  # in place of a default: an entry without this key is refused


@dataclass(frozen=True, slots=True)
class Key:
    """How a key is read, and what it means.

    Attributes
    ----------
    read : of `gateway.configuration.values`.
    default : as the file would spell it; None: has none, or it depends on others.
    meaning : for docs/configuration.md.
    named : the key, where it is not the field's name.
    spread : the value is a struct, and its fields fill those of the same names.
    """

    read: Reader
    default: object
    meaning: str
    named: str = ""
    spread: bool = False


class Declared(NamedTuple):
    """A field of a settings struct: a key, a table, or a table that repeats."""

    field: str
    name: str
    key: Key | None
    table: type[msgspec.Struct] | None
    repeats: bool


def declared(table: type[msgspec.Struct]) -> Iterator[Declared]:
    """The fields of a struct that the file fills, in their order."""
    for field, hint in get_type_hints(table, include_extras=True).items():
        key = next((mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Key)), None)
        inner = get_args(hint)[0] if get_origin(hint) is list else hint
        if key is not None:
            yield Declared(field, key.named or field, key, None, False)
        elif isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield Declared(field, field, None, inner, inner is not hint)


def keys(table: type[msgspec.Struct], prefix: str = "") -> dict[str, Key]:
    """Dotted key → its declaration, over all tables; a table that repeats counts once."""
    found: dict[str, Key] = {}
    for entry in declared(table):
        if entry.key is not None:
            found[prefix + entry.name] = entry.key
        elif entry.table is not None:
            found |= keys(entry.table, f"{prefix}{entry.name}.")
    return found


def fill(table: type[msgspec.Struct], values: dict[str, Any], prefix: str = "", **more: Any) -> Any:
    """The struct, out of values by dotted key; entries of a table that repeats stand under ``name#0``, ``name#1`` …"""
    given: dict[str, Any] = {}
    for entry in declared(table):
        where = prefix + entry.name
        if entry.table is None:
            if where not in values:
                continue
            if entry.key is not None and entry.key.spread:
                given |= msgspec.structs.asdict(values[where])
            else:
                given[entry.field] = values[where]
        elif entry.repeats:
            places = {int(key[len(where) + 1 :].split(".")[0]) for key in values if key.startswith(f"{where}#")}
            given[entry.field] = [fill(entry.table, values, f"{where}#{place}.") for place in sorted(places)]
        else:
            given[entry.field] = fill(entry.table, values, f"{where}.")
    return table(**given, **more)
