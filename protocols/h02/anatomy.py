"""H02's bytes by name: text between commas, binary by its places."""

from __future__ import annotations

from collections.abc import Iterator

from protocols.anatomy import Cursor, Span, Unit
from protocols.fields import blanks, parted, unreadable, whose
from protocols.h02.declaration import HEAD, LARGE, PLACE, SHORT
from protocols.selfnamed import MAX_MESSAGE

_PLACE = (
    "maker", "terminal", "type", "time", "validity", "latitude", "north.south", "longitude", "east.west", "speed",
    "course", "date", "status.word", "mcc", "mnc", "gsm.area", "gsm.cell",
)  # fmt: skip
_BINARY = (
    (1, "start"), (5, "terminal"), (3, "time"), (3, "date"), (4, "latitude"), (1, "battery"), (5, "longitude.flags"),
    (3, "speed.course"), (4, "status.word"), (2, "alarm"), (1, "gsm"), (1, "gps"), (4, "odometer"), (2, "mcc"),
    (1, "mnc"), (2, "gsm.area"), (2, "gsm.cell"), (1, "number"),
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
    if data[at : at + 1] == b"*":
        end = data.find(b"#", at)
        again = data.find(b"*", at + 1, end if end > 0 else len(data))
        whole = data[at : end + 1]
        if end > 0 and again < 0 and len(whole) <= MAX_MESSAGE and HEAD.match(whole):
            known = PLACE.fullmatch(whole)
            names = _PLACE if known else _PLACE[:3]
            spans = [Span(1, "start"), *parted(whole[1:-1], names), Span(1, "end")]
            return Unit("frame" if known else "text", spans)
    elif data[at : at + 1] == b"$":
        left = len(data) - at
        size = SHORT if left == SHORT or (left > SHORT and data[at + SHORT] in b"*$X\r\n") else LARGE
        if size <= left:
            cursor = Cursor(data, at, at + size)
            for width, name in _BINARY:
                if cursor.left >= width:
                    value = cursor.take(width, name)
                    cursor.say(value.hex())
            return Unit("frame", cursor.spans)
    return unreadable(data, at, b"*$")
