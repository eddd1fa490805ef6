"""Wialon Combine's bytes by name: packets, messages, subrecords, values."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

from protocols.anatomy import Cursor, ShortError, Unit, checked, instant
from protocols.wialon_combine import wire
from protocols.wialon_combine.measures import NAMES

_TYPES = {wire.LOGIN: "login", wire.DATA: "data", wire.ALIVE: "alive"}
_PLACE = (("latitude", 4, True), ("longitude", 4, True), ("speed", 2, False), ("course", 2, False),
          ("altitude", 2, True), ("satellites", 1, False), ("hdop", 2, False))  # fmt: skip
_CELL = ("mcc", "mnc", "lac", "id", "level", "advance")


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes."""
    at = 0
    while at < len(data):
        cursor = Cursor(data, at)
        try:
            kind = _packet(cursor)
        except ShortError:
            cursor.rest()
            kind = "unreadable"
        unit = Unit(kind, cursor.spans)
        yield unit
        at += unit.size


def _ext(cursor: Cursor, size: int, name: str) -> int:
    if not cursor.left:
        raise ShortError
    wide = cursor.data[cursor.at] & 0x80
    value = cursor.number(2 * size if wide else size, name)
    if wide:
        value &= (1 << 16 * size - 1) - 1
        cursor.say(value)
    return value


def _packet(cursor: Cursor) -> str:
    start = cursor.at
    if cursor.data[start : start + 2] != wire.HEAD:
        raise ShortError
    cursor.take(2, "head")
    kind = _ext(cursor, 1, "type")
    cursor.say(_TYPES.get(kind, kind))
    if kind > wire.ALIVE:
        raise ShortError
    cursor.number(2, "number")
    if kind == wire.ALIVE:
        return "request"
    size = _ext(cursor, 2, "length")
    if size + 2 > cursor.left:
        raise ShortError
    inner = Cursor(cursor.data, cursor.at, cursor.at + size)
    with contextlib.suppress(ShortError):
        if kind == wire.LOGIN:
            _login(inner)
        else:
            _messages(inner)
    inner.rest()
    cursor.spans += inner.spans
    cursor.at = inner.at
    computed = wire.crc16(cursor.data[start : cursor.at])
    crc = cursor.number(2, "crc")
    cursor.say(checked(crc, computed))
    return "login" if kind == wire.LOGIN else "frame"


def _login(cursor: Cursor) -> None:
    _ext(cursor, 1, "version")
    flags = cursor.number(1, "flags")
    for name, kind in (("terminal", flags >> 4), ("password", flags & 15)):
        if kind in (1, 2, 3):
            cursor.number(1 << kind, name)
        elif kind == 4:
            raw = _text(cursor, name)
            cursor.say(raw)
        elif name == "terminal" or kind:
            raise ShortError
        if name == "password" and kind:
            cursor.say(None)


def _text(cursor: Cursor, name: str) -> str:
    stop = cursor.data.find(0, cursor.at, cursor.end)
    if stop < 0:
        raise ShortError
    return cursor.take(stop + 1 - cursor.at, name)[:-1].decode("utf-8", "backslashreplace")


def _messages(cursor: Cursor) -> None:
    number = 0
    while cursor.left:
        number += 1
        path = f"message.{number}"
        time = cursor.number(4, f"{path}.time")
        cursor.say(instant(time))
        for _ in range(cursor.number(1, f"{path}.count")):
            _subrecord(cursor, path)


def _subrecord(cursor: Cursor, path: str) -> None:
    kind = _ext(cursor, 1, f"{path}.kind")
    if kind in wire.LISTS:
        for _ in range(_ext(cursor, 1, f"{path}.items")):
            _item(cursor, kind, path)
    elif kind == wire.POSITION:
        for name, size, signed in _PLACE:
            value = cursor.number(size, f"{path}.{name}", signed=signed)
            if name in ("latitude", "longitude", "hdop"):
                cursor.say(value / (100 if name == "hdop" else 1_000_000))
    elif kind == wire.IO:
        for name in ("inputs", "outputs"):
            cursor.number(4, f"{path}.{name}")
    elif kind == wire.CELLS:
        for cell in range(1, cursor.number(1, f"{path}.cells") + 1):
            for name in _CELL:
                cursor.number(2, f"{path}.cell.{name}.{cell}")
    elif kind == wire.MESSAGE:
        text = _text(cursor, f"{path}.message")
        cursor.say(text)
    else:
        raise ShortError


def _item(cursor: Cursor, kind: int, path: str) -> None:
    number = _ext(cursor, 1, f"{path}.sensor")
    told = cursor.number(1, f"{path}.value.type")
    name = f"{path}.{NAMES[kind]}.{number}"
    its, power = told & 31, told >> 5
    if its == wire.TEXT:
        text = _text(cursor, name)
        cursor.say(text)
    elif its in (8, 9):
        (value,) = struct.unpack(">f" if its == 8 else ">d", cursor.take(wire.SIZES[its], name))
        cursor.say(value)
    elif its in wire.SIZES:
        value = cursor.number(wire.SIZES[its], name, signed="i" in wire.FORMATS[its])
        if power:
            cursor.say(value / 10**power)
    else:
        raise ShortError
