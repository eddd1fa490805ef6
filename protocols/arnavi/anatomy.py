"""Arnavi's bytes by name.

FF  header 1 · version 1 · imei 8
5B  start 1 · number 1 · records · end 1
    record: kind 1 · length 2 · time 4 · data · sum 1; data: tag 1 · value 4
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from protocols.anatomy import Cursor, ShortError, Unit, checked, instant
from protocols.arnavi.measures import DISCRETE, INPUT, LLS, SIZE, Part, input_parts, numbered_fuel, parts_of
from protocols.arnavi.wire import (
    BINARY,
    DATA,
    FILE,
    HEADER,
    HEADER_SIZES,
    KINDS,
    MAX_DATA,
    PACKAGE,
    PACKAGE_END,
    PING,
    RESULT,
    TEXT,
    total,
)
from protocols.meanings import Element, number_of, raw_of, text_of

_KINDS = {PING: "ping", DATA: "data", TEXT: "text", FILE: "file", BINARY: "binary"}


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes."""
    del udp
    at = 0
    while at < len(data):
        cursor = Cursor(data, at)
        try:
            if data[at] == HEADER:
                kind = _header(cursor)
            elif data[at] == PACKAGE:
                kind = _package(cursor)
            else:
                raise ShortError
        except ShortError:
            cursor.rest()
            kind = "unreadable"
        unit = Unit(kind, cursor.spans)
        yield unit
        at += unit.size


def _header(cursor: Cursor) -> str:
    size = HEADER_SIZES.get(cursor.data[cursor.at + 1]) if cursor.left > 1 else None
    if size is None:
        raise ShortError
    cursor.number(1, "header")
    cursor.number(1, "version")
    imei = cursor.number(8, "imei", little=True)
    cursor.say(f"{imei:015d}")
    if size > 10:
        cursor.take(size - 10, "unexplained", cursor.data[cursor.at : cursor.at + size - 10].hex())
    return "login"


def _package(cursor: Cursor) -> str:
    cursor.take(1, "start")
    number = cursor.number(1, "number")
    if number == RESULT and cursor.data[cursor.at : cursor.at + 2] == bytes((PING, PACKAGE_END)):
        cursor.number(1, "result")
        cursor.take(1, "end")
        return "text"
    seen: set[int] = set()
    place = 0
    while cursor.left and cursor.data[cursor.at] != PACKAGE_END:
        place += 1
        seen.add(_record(cursor, f"record.{place}"))
    cursor.take(1, "end")
    return "frame" if DATA in seen else "text" if seen - {PING} else "request"


def _record(cursor: Cursor, path: str) -> int:
    kind = cursor.number(1, f"{path}.kind")
    if kind not in KINDS:
        raise ShortError
    cursor.say(_KINDS[kind])
    length = cursor.number(2, f"{path}.length", little=True)
    if length > MAX_DATA:
        raise ShortError
    begin = cursor.at
    time = cursor.number(4, f"{path}.time", little=True)
    cursor.say(instant(time))
    if kind == DATA and length <= cursor.left:
        _tags(cursor, path, cursor.at + length)
    elif length:
        body = cursor.take(length, f"{path}.{_KINDS[kind]}")
        cursor.say(body.decode("utf-8", "backslashreplace") if kind == TEXT else body.hex())
    wrong = cursor.number(1, f"{path}.checksum")
    cursor.say(checked(wrong, total(cursor.data[begin : cursor.at - 1]), 2))
    return kind


def _tags(cursor: Cursor, path: str, stop: int) -> None:
    while cursor.at + SIZE <= stop:
        tag = cursor.data[cursor.at]
        value = cursor.data[cursor.at + 1 : cursor.at + SIZE]
        parts, name = _parts(tag, value)
        cursor.number(1, f"{path}.{name}.tag")
        cursor.take(SIZE - 1, f"{path}.{name}", _said(value, parts))
    if cursor.at < stop:
        cursor.take(stop - cursor.at, f"{path}.rest", cursor.data[cursor.at : stop].hex())


def _parts(tag: int, value: bytes) -> tuple[tuple[Part, ...], str]:
    if tag == LLS:
        parts: tuple[Part, ...] | None = numbered_fuel(value[3] + 1)
    elif tag == INPUT:
        parts = input_parts(value[0], 0 if value[0] == DISCRETE else value[1])
    else:
        parts = parts_of(tag)
    if parts is None:
        return (), f"tag.{tag}"
    return parts, parts[0][0].name.lstrip("@") if len(parts) == 1 else f"tag.{tag}"


def _said(value: bytes, parts: tuple[Part, ...]) -> Any:
    found: dict[str, Any] = {}
    for meaning, offset, size, form in parts:
        if meaning.kind:
            found[meaning.name] = text_of(value[offset : offset + size], meaning.kind)
            continue
        number, code = number_of(raw_of(value, Element(meaning, offset, size, form)), meaning)
        if number == number:
            found[meaning.name.lstrip("@")] = number
        if code == code:
            found[meaning.status] = code
    if not parts:
        return value.hex()
    if len(parts) == 1:
        return next(iter(found.values()), None)
    return ", ".join(f"{name} {told}" for name, told in found.items())
