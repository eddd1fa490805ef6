"""Wialon Retranslator's bytes by name: size, identity, time, flags, and blocks with the values they hold."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

from protocols.anatomy import Cursor, ShortError, Unit, instant
from protocols.wialon_retranslator import wire

_KINDS = {wire.TEXT: "text", wire.BINARY: "binary", wire.INT: "integer", wire.DOUBLE: "double", wire.LONG: "long",
          wire.PICTURE: "picture"}  # fmt: skip


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes."""
    at = 0
    while at < len(data):
        cursor = Cursor(data, at)
        kind = "frame"
        try:
            size = cursor.number(4, "size", little=True)
            if not wire.MIN_SIZE <= size <= wire.MAX_PACKET - 4 or size > cursor.left:
                raise ShortError
            inner = Cursor(data, cursor.at, cursor.at + size)
            with contextlib.suppress(ShortError):
                _packet(inner)
            inner.rest()
            cursor.spans += inner.spans
            cursor.at = inner.at
        except ShortError:
            cursor.rest()
            kind = "unreadable"
        unit = Unit(kind, cursor.spans)
        yield unit
        at += unit.size


def _packet(cursor: Cursor) -> None:
    end = cursor.data.find(0, cursor.at, min(cursor.end, cursor.at + wire.MAX_UID + 1))
    name = cursor.data[cursor.at : end].decode("ascii", "replace").strip() if end >= 0 else ""
    if not name or not name.isascii() or not name.isprintable() or cursor.end - end < 9:
        raise ShortError
    uid = cursor.take(end + 1 - cursor.at, "uid")
    cursor.say(uid[:-1].decode("ascii", "backslashreplace"))
    time = cursor.number(4, "time")
    cursor.say(instant(time))
    cursor.number(4, "flags")
    number = 0
    while cursor.left:
        number += 1
        _block(cursor, f"block.{number}")


def _block(cursor: Cursor, path: str) -> None:
    if cursor.data[cursor.at : cursor.at + 2] != wire.BLOCK.to_bytes(2, "big"):
        raise ShortError
    cursor.number(2, f"{path}.mark")
    size = cursor.number(4, f"{path}.size")
    if size > cursor.left:
        raise ShortError
    inner = Cursor(cursor.data, cursor.at, cursor.at + size)
    try:
        inner.number(1, f"{path}.hidden")
        kind = inner.number(1, f"{path}.type")
        inner.say(_KINDS.get(kind, kind))
        end = inner.data.find(0, inner.at, inner.end)
        if end < 0:
            raise ShortError
        name = inner.take(end + 1 - inner.at, f"{path}.name")[:-1].decode("ascii", "backslashreplace")
        inner.say(name)
        _value(inner, kind, name or "value")
    except ShortError:
        pass
    inner.rest(f"{path}.remainder")
    cursor.spans += inner.spans
    cursor.at = inner.at


def _value(cursor: Cursor, kind: int, name: str) -> None:
    if name == "posinfo" and cursor.left == wire.POSINFO.size:
        for part in ("longitude", "latitude", "altitude"):
            (value,) = struct.unpack("<d", cursor.take(8, part))
            cursor.say(value)
        cursor.number(2, "speed", signed=True)
        cursor.number(2, "course", signed=True)
        cursor.number(1, "satellites")
    elif kind in (wire.INT, wire.LONG):
        cursor.number(wire.SIZES[kind], name, signed=True)
    elif kind == wire.DOUBLE:
        (value,) = struct.unpack("<d", cursor.take(8, name))
        cursor.say(value)
    elif cursor.left:
        raw = cursor.take(cursor.left, name)
        cursor.say(raw.split(b"\0")[0].decode("utf-8", "backslashreplace") if kind == wire.TEXT else raw.hex()[:64])
