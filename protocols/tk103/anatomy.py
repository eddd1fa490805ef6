"""TK103's bytes by name."""

from __future__ import annotations

from collections.abc import Iterator

from protocols.anatomy import Span, Unit
from protocols.fields import blanks, named, sliced, unreadable, whose
from protocols.selfnamed import MAX_MESSAGE
from protocols.tk103.declaration import HEAD, PLACE

_PLACE = (
    "terminal", "command", "imei", "alarm", "year", "month", "day", "validity", "latitude", "north.south", "longitude",
    "east.west", "speed", "hour", "minute", "second", "course", "charge", "ignition", "inputs", "fuel.level.1",
    "odometer", "rest",
)  # fmt: skip


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes, or of one datagram."""
    del udp  # the same over both
    at, first = 0, ""
    while at < len(data):
        unit = blanks(data, at) or _unit(data, at)
        first = whose(unit, first)
        yield unit
        at += unit.size


def _unit(data: bytes, at: int) -> Unit:
    end = data.find(b")", at)
    again = data.find(b"(", at + 1, end if end > 0 else len(data))
    whole = data[at : end + 1]
    if data[at : at + 1] != b"(" or end < 0 or again > 0 or len(whole) > MAX_MESSAGE or not HEAD.match(whole):
        return unreadable(data, at, b"(")
    found = PLACE.fullmatch(whole)
    if found is None:
        spans = sliced(whole[1:-1], (("terminal", 12), ("command", 4)))
        return Unit("request" if whole[13:17] == b"BP00" else "text", [Span(1, "start"), *spans, Span(1, "end")])
    spans = list(named(list(zip(_PLACE, found.groups(), strict=True))))
    if found["odometer"] is not None:
        place = next(n for n, span in enumerate(spans) if span.name == "odometer")
        spans.insert(place, Span(1, "odometer.mark", "L"))
    return Unit("frame", [Span(1, "start"), *spans, Span(1, "end")])
