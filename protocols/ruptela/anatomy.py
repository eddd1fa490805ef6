"""Ruptela's bytes by name.

length 2 · imei 8 · command 1 · payload · crc 2
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from protocols.anatomy import Cursor, ShortError, Unit, checked, instant
from protocols.meanings import Element, number_of, raw_of, text_of
from protocols.ruptela.measures import Part, parts_of
from protocols.ruptela.session import MAX_FRAME
from protocols.ruptela.wire import (
    DTCS,
    DYNAMIC,
    EXTENDED,
    HEARTBEAT,
    IDENTIFICATION,
    RECORDS,
    crc,
)

_REQUESTS = (IDENTIFICATION, HEARTBEAT, DYNAMIC)


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes."""
    del udp
    at = 0
    while at < len(data):
        cursor = Cursor(data, at)
        try:
            kind = _frame(cursor)
        except ShortError:
            cursor.rest()
            kind = "unreadable"
        unit = Unit(kind, cursor.spans)
        yield unit
        at += unit.size


def _frame(cursor: Cursor) -> str:
    length = cursor.number(2, "length")
    if not 9 <= length <= MAX_FRAME - 4:
        raise ShortError
    start, stop = cursor.at, cursor.at + length
    imei = cursor.number(8, "imei")
    cursor.say(f"{imei:015d}")
    command = cursor.number(1, "command")
    inner = Cursor(cursor.data, cursor.at, stop)
    with contextlib.suppress(ShortError):
        _payload(inner, command)
    inner.rest()
    cursor.spans += inner.spans
    cursor.at = inner.at
    if stop > len(cursor.data):
        raise ShortError
    found = cursor.number(2, "crc")
    cursor.say(checked(found, crc(cursor.data[start:stop])))
    if command in (RECORDS, EXTENDED, DTCS):
        return "frame"
    return "request" if command in _REQUESTS else "text"


def _payload(cursor: Cursor, command: int) -> None:
    if command in (RECORDS, EXTENDED):
        cursor.number(1, "left")
        for number in range(1, cursor.number(1, "count") + 1):
            _record(cursor, command, f"record.{number}")
    elif command == DTCS:
        for number in range(1, cursor.number(1, "count") + 1):
            path = f"record.{number}"
            cursor.number(1, f"{path}.reserved")
            cursor.say(instant(cursor.number(4, f"{path}.time")))
            for name in ("longitude", "latitude"):
                cursor.say(cursor.number(4, f"{path}.{name}", signed=True) / 1e7)
            cursor.number(1, f"{path}.kind")
            code = cursor.take(5, f"{path}.dtc")
            cursor.say(text_of(code, "text"))
    elif cursor.left:
        data = cursor.take(cursor.left, "payload")
        cursor.say(data.decode("utf-8", "backslashreplace"))


def _record(cursor: Cursor, command: int, path: str) -> None:
    cursor.say(instant(cursor.number(4, f"{path}.time")))
    cursor.number(1, f"{path}.extension")
    wide = 2 if command == EXTENDED else 1
    if command == EXTENDED:
        part = cursor.number(1, f"{path}.part")
        cursor.say(f"{part & 15} of 0 to {part >> 4}")
    cursor.number(1, f"{path}.priority")
    for name in ("longitude", "latitude"):
        place = cursor.number(4, f"{path}.{name}", signed=True)
        cursor.say(None if place == -(1 << 31) else place / 1e7)
    cursor.say(cursor.number(2, f"{path}.altitude") / 10)
    cursor.say(cursor.number(2, f"{path}.angle") / 100)
    cursor.number(1, f"{path}.satellites")
    cursor.number(2, f"{path}.speed")
    cursor.say(cursor.number(1, f"{path}.hdop") / 10)
    cursor.number(wide, f"{path}.event")
    for size in (1, 2, 4, 8):
        for _ in range(cursor.number(1, f"{path}.count.{size}")):
            identifier = cursor.number(wide, f"{path}.id")
            parts = parts_of(identifier, size)
            value = cursor.take(size, f"{path}.{parts[0][0].name}")
            cursor.say(_said(value, parts))


def _said(value: bytes, parts: tuple[Part, ...]) -> Any:
    ((meaning, offset, size, form),) = parts
    if meaning.kind:
        return text_of(value, meaning.kind)
    number, _ = number_of(raw_of(value, Element(meaning, offset, size, form)), meaning)
    return number if number == number else None
