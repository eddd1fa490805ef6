"""Galileosky's bytes by name.

    header 1 · length 2 · tags · crc 2

A tag is its code and its value; a compressed packet has its tags' codes in a list behind the first minimal data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fastcrc

from protocols.anatomy import Cursor, ShortError, Unit, checked, instant
from protocols.galileosky.decoder import COMPRESSED
from protocols.galileosky.measures import EXTENDED, EXTENDED_TAGS, IMEI, MINIMAL, TAGS, TEXT
from protocols.galileosky.session import GARMIN, HEAD, HEADERS, MAX_TAGS, PHOTO
from protocols.galileosky.walk import extended, listed, value, walk
from protocols.learned import DamagedError
from protocols.meanings import Element, number_of, raw_of, text_of

_WHO = {1, 2, 3, 4}
_SAID = {0xE0, 0xE1, 0xEB}


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes."""
    del udp
    at = 0
    while at < len(data):
        unit = _unit(data, at)
        yield unit
        at += unit.size


def _unit(data: bytes, at: int) -> Unit:
    cursor = Cursor(data, at)
    kind = "unreadable"
    try:
        if data[at] not in HEADERS:
            raise ShortError
        header = cursor.number(1, "header")
        length = cursor.number(2, "length", little=True)
        size = length & 0x7FFF
        cursor.say(f"{size}, more in the archive" if length >> 15 else size)
        if not 0 < size <= MAX_TAGS:
            raise ShortError
        start, stop = cursor.at, cursor.at + size
        kind = _body(cursor, header, stop)
        crc = cursor.number(2, "crc", little=True)
        cursor.say(checked(crc, fastcrc.crc16.modbus(data[start - HEAD : stop])))
    except ShortError:
        cursor.rest()
        kind = "unreadable"
    return Unit(kind, cursor.spans)


def _body(cursor: Cursor, header: int, stop: int) -> str:
    """The tags of a packet; behind an unknown one they are a remainder."""
    inner = Cursor(cursor.data, cursor.at, stop)
    kind = "frame"
    try:
        if header in (GARMIN, PHOTO):
            kind = "text"
            inner.take(inner.left, "photo.part" if header == PHOTO else "garmin")
        elif header == COMPRESSED:
            _compressed(inner)
        else:
            kind = _records(inner)
    except (DamagedError, ShortError):
        pass
    inner.rest()
    cursor.spans += inner.spans
    cursor.at = inner.at
    if stop > len(cursor.data):
        raise ShortError
    return kind


def _records(cursor: Cursor) -> str:
    number, seen = 0, set[int]()
    while cursor.left:
        number += 1
        walked, _ = walk(cursor.data, cursor.at, cursor.end)
        for tag, at, size in walked:
            seen.add(tag)
            path = f"record.{number}.{TAGS[tag].name.lstrip('@')}"
            cursor.number(1, f"{path}.tag")
            if at > cursor.at:
                cursor.number(at - cursor.at, f"{path}.size", little=True)
            _value(cursor, path, tag, size)
    if seen <= _WHO:
        return "login"
    return "text" if seen <= _WHO | _SAID else "frame"


def _compressed(cursor: Cursor) -> None:
    kind, begin, end = listed(cursor.data, cursor.at, cursor.end)
    number = 0
    while cursor.left:
        number += 1
        path = f"record.{number}"
        if kind.minimal:
            cursor.take(MINIMAL, f"{path}.minimal", cursor.data[cursor.at : cursor.at + MINIMAL].hex())
        if number == 1:
            cursor.take(end - begin, "tags", [f"{tag:02x}" for tag in kind.tags])
        for tag in kind.tags:
            at, size = value(cursor.data, tag, cursor.at, cursor.end)
            name = f"{path}.{TAGS[tag].name.lstrip('@')}"
            if at > cursor.at:
                cursor.number(at - cursor.at, f"{name}.size", little=True)
            _value(cursor, name, tag, size)


def _value(cursor: Cursor, path: str, tag: int, size: int) -> None:
    if tag == EXTENDED:
        for code, at, its in extended(cursor.data, cursor.at, cursor.at + size):
            if code == EXTENDED:
                cursor.take(its, f"{path}.unknown", cursor.data[at : at + its].hex())
            else:
                known = EXTENDED_TAGS[code]
                cursor.number(2, f"{path}.{known.name}.code", little=True)
                cursor.number(its, f"{path}.{known.name}", little=True)
        return
    data = cursor.take(size, path)
    if not size:
        return
    if tag == IMEI:
        cursor.say(data.decode("ascii", "backslashreplace"))
    elif tag == TEXT:
        cursor.say(data.decode("cp1251", "backslashreplace"))
    elif tag == 0x20:
        cursor.say(instant(int.from_bytes(data, "little")))
    else:
        cursor.say(_said(data, tag))


def _said(data: bytes, tag: int) -> Any:
    """The measures of a value; of one alone the number."""
    found: dict[str, Any] = {}
    for meaning, offset, size, form in TAGS[tag].parts:
        if meaning.kind:
            found[meaning.name] = text_of(data, meaning.kind)
            continue
        number, code = number_of(raw_of(data, Element(meaning, offset, size, form)), meaning)
        found[meaning.name.lstrip("@")] = number if number == number else None
        if code == code:
            found[meaning.status] = code
    return next(iter(found.values())) if len(found) == 1 else ", ".join(f"{n} {v}" for n, v in found.items())
