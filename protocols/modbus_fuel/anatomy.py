"""Modbus' bytes by name: requests, answers and refusals, and what stands between them."""

from __future__ import annotations

from collections.abc import Iterator

from protocols.anatomy import REMAINDER, Cursor, Span, Unit
from protocols.modbus_fuel.declaration import FAILED, READS, REFUSALS, REQUEST_SIZE, answer_size, good


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a recorded line."""
    del udp
    at = begun = 0
    while at < len(data):
        unit = _unit(data[at : at + 260])
        if unit is None:
            at += 1
            continue
        if begun < at:
            yield Unit("unreadable", [Span(at - begun, REMAINDER)])
        yield unit
        at = begun = at + unit.size
    if begun < at:
        yield Unit("unreadable", [Span(at - begun, REMAINDER)])


def _unit(data: bytes) -> Unit | None:
    asked = len(data) >= REQUEST_SIZE and data[1] in READS and good(data[:REQUEST_SIZE])
    size = REQUEST_SIZE if asked else answer_size(data)
    if not 0 < size <= len(data) or not good(data[:size]):
        return None
    cursor = Cursor(data, 0, size - 2)
    cursor.number(1, "address")
    function = cursor.number(1, "function")
    kind = "frame"
    if asked:
        cursor.number(2, "start")
        cursor.number(2, "count")
        kind = "request"
    elif function & FAILED:
        code = cursor.number(1, "refusal")
        cursor.say(REFUSALS.get(code, str(code)))
        kind = "text"
    else:
        cursor.number(1, "bytes")
        place = 0
        while cursor.left:
            cursor.number(2, f"register {place}")
            place += 1
    cursor.end = size
    cursor.take(2, "crc", "right")
    return Unit(kind, cursor.spans)
