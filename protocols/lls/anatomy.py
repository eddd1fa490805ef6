"""LLS' bytes by name: packets of both directions, lines of text, and what stands between them."""

from __future__ import annotations

from collections.abc import Iterator

from protocols.anatomy import REMAINDER, Cursor, Span, Unit
from protocols.lines import MAX_NOISE
from protocols.lls.declaration import (
    ANSWER,
    HISTORY,
    MAX_TEXT,
    PERIODIC,
    READ,
    RECORD,
    SETTINGS,
    WORDS,
    read_text,
    whole,
)

_STATUS = {0: "done", 1: "refused"}


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a recorded line."""
    del udp
    at = begun = 0
    while at < len(data):
        size = _line(data, at) or max(0, whole(data[at : at + MAX_NOISE]))
        if not size:
            at += 1
            continue
        if begun < at:
            yield Unit("unreadable", [Span(at - begun, REMAINDER)])
        yield _text(data[at : at + size]) if data[at] == ord("F") else _packet(data[at : at + size])
        at = begun = at + size
    if begun < at:
        yield Unit("unreadable", [Span(at - begun, REMAINDER)])


def _line(data: bytes, at: int) -> int:
    end = data.find(b"\n", at, at + MAX_TEXT) if data[at] == ord("F") else -1
    return end + 1 - at if end >= 0 and read_text(data[at:end]) is not None else 0


def _text(line: bytes) -> Unit:
    reading = read_text(line[:-1])
    return Unit("frame", [Span(len(line), "line", None if reading is None else dict(reading.values))])


def _packet(data: bytes) -> Unit:
    cursor = Cursor(data, 0, len(data) - 1)
    answer = data[0] == ANSWER
    cursor.take(1, "prefix", "answer" if answer else "request")
    cursor.number(1, "address")
    opcode = cursor.number(1, "opcode")
    cursor.say(f"{opcode:02x} {WORDS.get(opcode, 'unknown')}")
    reading = answer and opcode in (READ, PERIODIC) and cursor.left == 5
    if reading:
        cursor.number(1, "temperature", signed=True)
        cursor.number(2, "level", little=True)
        cursor.number(2, "frequency", little=True)
    elif answer and opcode == SETTINGS:
        for size, name in ((16, "name"), (11, "software")):
            raw = cursor.take(size, name)
            cursor.say(raw.partition(b"\0")[0].decode("ascii", "replace"))
        for size, name in ((1, "mode"), (1, "interval"), (1, "filter"), (2, "lowest"), (2, "highest")):
            cursor.number(size, name, little=True)
        cursor.number(3, "empty", little=True)
        cursor.number(3, "full", little=True)
    elif answer and opcode == HISTORY and cursor.left > 1:
        cursor.number(2, "length", little=True)
        while cursor.left >= RECORD:
            for size, name in ((4, "sequence"), (2, "type"), (4, "time"), (4, "value"), (1, "crc of the record")):
                cursor.number(size, name, little=True)
    elif answer and cursor.left == 1:
        status = cursor.number(1, "status")
        cursor.say(_STATUS.get(status, str(status)))
    elif cursor.left == 1:
        cursor.number(1, "value")
    cursor.rest()
    cursor.end += 1
    cursor.take(1, "crc", "right")
    return Unit("frame" if reading else "text" if answer else "request", cursor.spans)
