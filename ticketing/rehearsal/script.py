"""A script: JSON lines, each an instant and what is done then. Checked whole before anything is played.

{"at":"2026-03-02T08:00:00+03:00","do":"ticket","ref":"t1","channel":"phone","reporter":"ann","subject":"…"}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

RESOURCES = (
    "organisation", "contact", "user", "vehicle", "asset", "stock", "loan", "advisory", "inspection", "known-error",
)  # fmt: skip
STEPS = ("confirm", "depart", "arrive", "photo", "done", "cancel")
WORLD = (
    "ticket", "finding", "recovered", "mail", "press", "accept", "queue", "service", "intake", "channel", "crash",
    "review",
)  # fmt: skip
MAKES = (*RESOURCES, "ticket", "finding", "mail", "reply", "visit")
LIMIT = 4 << 20  # bytes of one line
# Which keys of a line name something made before.
REFERS = ("as", "ticket", "organisation", "reporter", "vehicle", "visit", "into", "to_ticket", "message", "known_error")


class ScriptError(Exception):
    """A line that cannot be played; `str` is ``FILE:LINE: what: remedy``."""

    def __init__(self, file: str, line: int, what: str, remedy: str) -> None:
        super().__init__(f"{file}:{line}: {what}: {remedy}")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to do; `said` are its other keys."""

    number: int
    at: datetime
    do: str
    ref: str | None
    said: dict[str, Any]


def read(file: str, lines: Iterable[bytes], actions: frozenset[str]) -> list[Line]:
    """All lines, in order; empty ones count for nothing.

    Parameters
    ----------
    actions : of tickets, besides what the world knows.

    Raises
    ------
    ScriptError
        Of the first line that is no JSON object, lacks `at` or `do`, goes back in time or names an unknown ref.
    """
    found: list[Line] = []
    made: set[str] = set()
    for line in _parsed(file, lines):
        if found and line.at < found[-1].at:
            before = found[-1].at.isoformat()
            raise ScriptError(file, line.number, "goes back in time", f"write an `at` not before {before}")
        if line.do not in actions and line.do not in (*RESOURCES, *STEPS, *WORLD):
            raise ScriptError(file, line.number, f"nothing can do {line.do!r}", "see `dozor rehearse --help`")
        for key, name in _named(line):
            if name.partition(".")[0] not in made:
                raise ScriptError(file, line.number, f"{key} names {name!r}", "make it on a line before")
        if line.ref is not None:
            made.add(line.ref)
        found.append(line)
    return found


def _parsed(file: str, lines: Iterable[bytes]) -> Iterator[Line]:
    for number, raw in enumerate(lines, start=1):
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw.strip():
            continue
        if len(raw) > LIMIT:
            raise ScriptError(file, number, f"the line is longer than {LIMIT >> 20} MiB", "write less")
        try:
            said = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ScriptError(file, number, f"no JSON ({error})", "write one JSON object a line") from error
        if not isinstance(said, dict):
            raise ScriptError(file, number, "no JSON object", "write one JSON object a line")
        yield Line(number, _instant(file, number, said), _word(file, number, said), _ref(file, number, said), said)


def _instant(file: str, number: int, said: dict[str, Any]) -> datetime:
    at = said.pop("at", None)
    try:
        found = datetime.fromisoformat(at)
        if found.tzinfo is None:
            raise ValueError
        return found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise ScriptError(
            file, number, "lacks `at`" if at is None else f"`at` is {at!r}", "write 2026-03-02T08:00:00+03:00"
        ) from error


def _word(file: str, number: int, said: dict[str, Any]) -> str:
    do = said.pop("do", None)
    if not isinstance(do, str) or not do:
        raise ScriptError(file, number, "lacks `do`", "say what is done")
    return do


def _ref(file: str, number: int, said: dict[str, Any]) -> str | None:
    ref = said.pop("ref", None)
    if ref is not None and (not isinstance(ref, str) or not ref):
        raise ScriptError(file, number, f"`ref` is {ref!r}", "give a name")
    return ref


def _named(line: Line) -> Iterator[tuple[str, str]]:
    """What a line refers to: (key, ref)."""
    for key in REFERS:
        value = line.said.get(key)
        if isinstance(value, str) and not (key == "message" and line.do != "accept"):
            yield key, value
    if line.do in ("press",):
        letter = str(line.said.get("letter", "")).rpartition("/")[0].rpartition("/")[0]
        if letter and letter != "-":
            yield "letter", letter
    if isinstance(answers := line.said.get("answers"), str):
        letter = answers.rpartition("/")[0].rpartition("/")[0]
        if letter and letter != "-":
            yield "answers", letter
