"""What each byte on the wire is: a stream cut into units, each unit into named spans that leave nothing out.

A protocol reads its own units (`WireProtocol.anatomy`) by what stands in the bytes, not by what a session would take:
damage ends in a span called `remainder`, and every byte of the stream is in exactly one span. For people who look at
bytes; the receiver never asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

REMAINDER = "remainder"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(NamedTuple):
    """`size` bytes on the wire, what they are called, and what they say; None: nothing, or nothing that can be said."""

    size: int
    name: str
    value: Any = None


@dataclass(slots=True)
class Unit:
    """What stands together on the wire.

    `kind`: login, frame, text (a command's answer, a driver's message), request (answered at once, nothing stored),
    idle, or unreadable.
    """

    kind: str
    spans: list[Span] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return sum(span.size for span in self.spans)


class ShortError(Exception):
    """Fewer bytes are left than the field has."""


class Cursor:
    """Reads fields one behind the other out of `data[at:end]`, and notes each in `spans`."""

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else min(end, len(data))
        self.spans: list[Span] = []

    @property
    def left(self) -> int:
        """Bytes that are not read yet."""
        return self.end - self.at

    def take(self, size: int, name: str, value: Any = None) -> bytes:
        """The next bytes, as a field.

        Raises
        ------
        ShortError
            If there are fewer; none is taken then.
        """
        if size > self.left:
            raise ShortError
        found = self.data[self.at : self.at + size]
        self.at += size
        if size:
            self.spans.append(Span(size, name, value))
        return found

    def number(self, size: int, name: str, *, little: bool = False, signed: bool = False) -> int:
        """The next bytes as an integer."""
        value = int.from_bytes(self.take(size, name), "little" if little else "big", signed=signed)
        self.say(value)
        return value

    def say(self, value: Any) -> None:
        """What the field taken last says."""
        self.spans[-1] = self.spans[-1]._replace(value=value)

    def rest(self, name: str = REMAINDER) -> None:
        """All that is left, if anything is."""
        if self.left:
            self.take(self.left, name)


def checked(found: int, computed: int, digits: int = 4) -> str:
    """What a checksum says."""
    return "right" if found == computed else f"wrong, {computed:0{digits}x} is right"


def instant(seconds: float, *, milliseconds: bool = False) -> str | None:
    """UTC of seconds since the Unix epoch; None beyond the calendar."""
    try:
        told = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return None
    return told.isoformat(timespec="milliseconds" if milliseconds else "seconds").replace("+00:00", "Z")


def placed(units: Iterable[Unit]) -> Iterator[tuple[int, Unit]]:
    """Each unit with where it begins in the stream."""
    at = 0
    for unit in units:
        yield at, unit
        at += unit.size
