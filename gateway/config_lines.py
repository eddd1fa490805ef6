"""On which line of a TOML file a key stands, so that a wrong one can be named by FILE:LINE."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

Where = tuple[str | int, ...]  # ("listen", 1, "address"): keys, and places in arrays of tables


def key_lines(source: str) -> dict[Where, int]:
    """Map each key and table of valid TOML to its line, counted from 1.

    A key inside an inline table is mapped to the first line of the statement it stands in.
    """
    lines = source.split("\n")
    found: dict[Where, int] = {}
    counts: dict[Where, int] = {}
    table: Where = ()
    at = 0
    while at < len(lines):
        stripped = lines[at].strip()
        if not stripped or stripped.startswith("#"):
            at += 1
            continue
        end, statement = _statement(lines, at)
        if stripped.startswith("["):
            names = _header(statement)
            prefix = _placed(names[:-1], counts)
            table = (*prefix, names[-1])
            if stripped.startswith("[["):
                place = counts.get(table, 0)
                counts[table] = place + 1
                found.setdefault(table, at + 1)
                table = (*table, place)
            found.setdefault(table, at + 1)
        else:
            for where in _paths(statement):
                found.setdefault((*table, *where), at + 1)
        at = end
    return found


def _statement(lines: list[str], at: int) -> tuple[int, dict[str, Any]]:
    """The statement that begins on line `at`: its end, and what it says by itself (arrays and texts may span lines)."""
    for end in range(at + 1, len(lines) + 1):
        try:
            return end, tomllib.loads("\n".join(lines[at:end]))
        except tomllib.TOMLDecodeError:
            continue
    return len(lines), {}


def _header(statement: dict[str, Any]) -> list[str]:
    names: list[str] = []
    inner: Any = statement
    while inner and isinstance(inner, dict):
        ((name, inner),) = inner.items()
        names.append(name)
    return names


def _placed(names: list[str], counts: dict[Where, int]) -> Where:
    """Where a header's parents are: a table below an array of tables belongs to its last entry."""
    where: Where = ()
    for name in names:
        where = (*where, name)
        if where in counts:
            where = (*where, counts[where] - 1)
    return where


def _paths(statement: Any, above: Where = ()) -> Iterator[Where]:
    if isinstance(statement, dict):
        for name, inner in statement.items():
            yield (*above, name)
            yield from _paths(inner, (*above, name))
    elif isinstance(statement, list):
        for place, inner in enumerate(statement):
            yield (*above, place)
            yield from _paths(inner, (*above, place))
