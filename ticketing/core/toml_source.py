"""A TOML file whose every key has a line, so that whatever is wrong with it can be named by FILE:LINE.

Configuration, policies, scenarios and catalogues are all read through here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

Where = tuple[str | int, ...]  # ("listen", 1, "address"): keys, and places in arrays of tables

# What a statement's end has to be told apart from: texts, comments, brackets.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:\\.|[^"\\\n])*"|' r"'[^'\n]*'|#[^\n]*|[\[\]{}\n]", re.DOTALL
)
_DEEPEST = 20  # levels: no file of ours has more than four
_DEEP = f"tables and lists within one another, more than {_DEEPEST} deep"
_POSITION = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")
_PATH = re.compile(r" - at `\$(.*)`$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")


class NotTomlError(ValueError):
    """`line` (from 1) is where; `detail` says why, without the place."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(f"line {line}: {detail}")
        self.line = line
        self.detail = detail


class NotUtf8Error(NotTomlError):
    """`byte` is the first that is not UTF-8."""

    def __init__(self, line: int, byte: int) -> None:
        super().__init__(line, f"byte {byte} is not UTF-8")
        self.byte = byte


class TomlSource:
    """The content of a TOML file, and where in it everything stands.

    A byte order mark and line ends of Windows do not matter.

    Raises
    ------
    NotTomlError
        If it is not TOML; `NotUtf8Error` if it is not even text.
    """

    def __init__(self, raw: bytes) -> None:
        try:
            self.text = raw.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise NotUtf8Error(raw.count(b"\n", 0, error.start) + 1, error.start) from error
        try:
            self.content: dict[str, Any] = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            at = _POSITION.search(str(error))
            line = int(at[1]) if at and at[1] else max(1, len(self.text.splitlines()))
            raise NotTomlError(line, _POSITION.sub("", str(error))) from error
        except RecursionError:
            raise NotTomlError(1, _DEEP) from None
        except ValueError:  # Python reads no integer of so many digits
            raise NotTomlError(_line_of_digits(self.text), "a number without end") from None
        if _deeper(self.content, _DEEPEST):
            raise NotTomlError(1, _DEEP)

    @cached_property
    def lines(self) -> dict[Where, int]:
        """Each key and table → its line; looked for only when something is wrong."""
        return key_lines(self.text)

    def line(self, where: Where) -> int:
        """The line of a key, else of the nearest table it would stand in."""
        for length in range(len(where), 0, -1):
            if where[:length] in self.lines:
                return self.lines[where[:length]]
        return 1


def _line_of_digits(text: str) -> int:
    """Where so many digits stand."""
    found = re.search(r"[0-9_]{4300}", text)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def _deeper(value: Any, levels: int) -> bool:
    """Whether there are more levels of tables and lists in it than that."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(not levels or _deeper(one, levels - 1) for one in inner)


def where_and_what(message: str) -> tuple[Where, str]:
    """What msgspec says of a value that has another shape: where it stands, and what is wrong there."""
    path = _PATH.search(message)
    where: list[str | int] = []
    for name, place in _STEP.findall(path[1]) if path else []:
        if place == "...":  # some key of a table, it does not say which
            break
        where.append(name or int(place))
    if unknown := _UNKNOWN.search(message):
        where.append(unknown[1])
    return tuple(where), _PATH.sub("", message)


def key_lines(source: str) -> dict[Where, int]:
    """Map each key and table of valid TOML to its line, counted from 1.

    A key inside an inline table is mapped to the first line of the statement it stands in.
    """
    found: dict[Where, int] = {}
    counts: dict[Where, int] = {}
    table: Where = ()
    for line, text in _statements(source):
        said = tomllib.loads(text)
        if text.startswith("["):
            names = _header(said)
            table = (*_placed(names[:-1], counts), names[-1])
            if text.startswith("[["):
                place = counts.get(table, 0)
                counts[table] = place + 1
                found.setdefault(table, line)
                table = (*table, place)
            found.setdefault(table, line)
        else:
            for where in _paths(said):
                found.setdefault((*table, *where), line)
    return found


def _statements(source: str) -> Iterator[tuple[int, str]]:
    """Headers and keys with their values, each with the line it begins on; arrays and texts may span lines."""
    begin, first, line, depth = 0, 1, 1, 0
    for token in _TOKEN.finditer(source + "\n"):
        text = token[0]
        if text in ("[", "{"):
            depth += 1
        elif text in ("]", "}"):
            depth -= 1
        elif text != "\n":
            line += text.count("\n")
            continue
        else:
            line += 1
        if text == "\n" and depth == 0:
            statement = source[begin : token.start()].strip()
            if statement and not statement.startswith("#"):
                yield first, statement
            begin, first = token.end(), line


def _header(statement: dict[str, Any]) -> list[str]:
    names: list[str] = []
    inner: Any = statement
    while inner and isinstance(inner, dict):  # of an array of tables it is a list
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
