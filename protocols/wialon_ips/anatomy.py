"""Wialon IPS by name: a unit is a line with its end, a compressed container, or a file's block with its head.

A field's separator belongs to the field it ends, the `#TYPE#` of a line is its type. A password has no value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from protocols.anatomy import Cursor, ShortError, Unit, checked
from protocols.wialon_ips.blocks import MAX_BLOCK
from protocols.wialon_ips.containers import MARK, inflate
from protocols.wialon_ips.wire import MAX_LINE, V1, V2, checksum_value, crc16, text_of

_MESSAGE = (
    *("date", "time", "latitude", "latitude.side", "longitude", "longitude.side", "speed", "course", "altitude"),
    *("satellites", "hdop", "inputs", "outputs", "adc", "driver.key", "parameters"),
)
_PARAMETERS = 15  # their place
_HEADS = {
    b"I": ("size", "index", "last", "date", "time", "name"),
    b"T": ("code", "size", "index"),
    b"M": ("text",),
    b"IT": ("field",),
}
_KINDS = {b"L": "login", b"SD": "frame", b"D": "frame", b"B": "frame", b"M": "text", b"P": "request"}
_VERSION = re.compile(rb"2\.[0-9]{1,2}")
_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?")
_UNSEALED = (b"P",)  # without a checksum in any version
_SENDER = re.compile(rb"(?:(2\.[0-9]{1,2});)?([^#;\r\n]{1,64})(?=#)")


class _Lines:
    """What a connection has told of its lines: their version."""

    def __init__(self) -> None:
        self.variant = V1


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes, or of one datagram."""
    lines = _Lines()
    at = 0
    while at < len(data):
        unit = _unit(data, at, lines, udp=udp)
        yield unit
        at += unit.size


def _unit(data: bytes, at: int, lines: _Lines, *, udp: bool) -> Unit:
    if data[at] == MARK:
        return _container(Cursor(data, at))
    end = data.find(b"\n", at)
    cursor = Cursor(data, at, len(data) if end < 0 else end + 1)
    sender = _SENDER.match(data, at) if udp else None
    if sender:
        if sender[1]:
            cursor.take(len(sender[1]) + 1, "version", sender[1].decode())
            lines.variant = V2
        cursor.take(len(sender[2]), "terminal", text_of(sender[2]))
    kind = b""
    if data[cursor.at : cursor.at + 1] == b"#":
        second = data.find(b"#", cursor.at + 1, cursor.end)
        kind = data[cursor.at + 1 : second] if second > 0 else b""
    ended = end >= 0 or udp
    if not kind.isalnum() or not ended:
        if data[cursor.at : cursor.end] in (b"\n", b"\r\n"):
            cursor.rest("line.end")
            return Unit("idle", cursor.spans)
        cursor.rest()
        return Unit("unreadable", cursor.spans)
    cursor.take(len(kind) + 2, "type", kind.decode())
    stop = cursor.end - (end >= 0)
    stop -= stop > cursor.at and data[stop - 1 : stop] == b"\r"
    line = Cursor(data, cursor.at, max(stop, cursor.at))
    with suppress(ShortError):
        _line(line, kind, lines)
    line.rest()
    cursor.spans += line.spans
    cursor.at = line.at
    cursor.rest("line.end")
    told = _KINDS.get(kind, "unreadable")
    if kind in (b"I", b"T"):
        _block(cursor, len(data))
    return Unit(told, cursor.spans)


def _container(cursor: Cursor) -> Unit:
    try:
        cursor.take(1, "mark")
        size = cursor.number(2, "length", little=True)
        block = cursor.take(size, "compressed")
        line, wrong = inflate(block, MAX_LINE)
        if size:
            cursor.say(text_of(line) if not wrong else None)
        kind = _KINDS.get(line[1 : line.find(b"#", 1)], "unreadable") if line else "unreadable"
        return Unit(kind, cursor.spans)
    except ShortError:
        cursor.rest()
        return Unit("unreadable", cursor.spans)


def _line(cursor: Cursor, kind: bytes, lines: _Lines) -> None:
    body = cursor.data[cursor.at : cursor.end]
    if kind == b"L":
        _login(cursor, body, lines)
        return
    sealed = lines.variant != V1 and kind not in _UNSEALED
    head = _HEADS.get(kind)
    separator = b"|" if kind == b"B" else b";"
    # A file's checksum covers its block, not its line.
    tail = len(body) - (body.rfind(separator) + 1) if sealed else 0
    inner = Cursor(cursor.data, cursor.at, cursor.end - tail)
    if kind == b"B":
        number = 0
        while inner.left:
            number += 1
            bar = cursor.data.find(b"|", inner.at, inner.end)
            _message(inner, f"message.{number}", inner.end if bar < 0 else bar)
            if inner.left:
                inner.take(1, f"message.{number}.end")
    elif kind in (b"SD", b"D"):
        _message(inner, "message", inner.end)
    else:
        for name in head or ():
            if inner.left:
                _field(inner, name, inner.end if name == "text" else None)
    inner.rest()
    cursor.spans += inner.spans
    cursor.at = inner.at
    if tail:
        covered = None if kind in (b"I", b"T") else body[: len(body) - tail]
        _checksum(cursor, tail, covered)


def _checksum(cursor: Cursor, size: int, covered: bytes | None) -> None:
    text = cursor.take(size, "checksum")
    value = checksum_value(text)
    if value is None:
        cursor.say("no checksum")
    elif covered is None:
        cursor.say(f"{value:04x} of the block")
    else:
        cursor.say(checked(value, crc16(covered)))


def _login(cursor: Cursor, body: bytes, lines: _Lines) -> None:
    fields = body.split(b";")
    lines.variant = V2 if _VERSION.fullmatch(fields[0]) else V1
    names = ("terminal", "password") if lines.variant == V1 else ("version", "terminal", "password")
    for name in names:
        if cursor.left:
            _field(cursor, name)
            if name == "password":
                cursor.say(None)
    if lines.variant != V1 and cursor.left:
        _checksum(cursor, cursor.left, body[: body.rfind(b";") + 1])


def _field(cursor: Cursor, name: str, stop: int | None = None) -> None:
    """A field and its separator."""
    end = cursor.data.find(b";", cursor.at, cursor.end) if stop is None else -1
    text = cursor.data[cursor.at : end if end >= 0 else cursor.end if stop is None else stop]
    cursor.take(len(text) + (end >= 0), name, _told(text_of(text)))


def _message(cursor: Cursor, path: str, stop: int) -> None:
    inner = Cursor(cursor.data, cursor.at, stop)
    place = 0
    while inner.left:
        name = _MESSAGE[place] if place < len(_MESSAGE) else "more"
        if place == _PARAMETERS:
            _parameters(inner, path)
        else:
            _field(inner, f"{path}.{name}")
        place += 1
    cursor.spans += inner.spans
    cursor.at = inner.at


def _parameters(cursor: Cursor, path: str) -> None:
    """Name and type, and the value with what follows it."""
    end = cursor.data.find(b";", cursor.at, cursor.end)
    end = cursor.end if end < 0 else end
    while cursor.at < end:
        comma = cursor.data.find(b",", cursor.at, end)
        stop = end if comma < 0 else comma
        parts = cursor.data[cursor.at : stop].split(b":", 2)
        if len(parts) < 3 or not parts[0]:
            cursor.take(stop - cursor.at + (comma >= 0), f"{path}.parameter", text_of(b":".join(parts)))
            continue
        name = text_of(parts[0])
        cursor.take(len(parts[0]) + 1, f"{path}.param.{name}.name", name)
        cursor.take(len(parts[1]) + 1, f"{path}.param.{name}.type", text_of(parts[1]))
        value = text_of(parts[2])
        cursor.take(len(parts[2]) + (comma >= 0), f"{path}.param.{name}", value if parts[1] == b"3" else _told(value))
    if cursor.left:
        cursor.take(1, f"{path}.parameters.end")


def _block(cursor: Cursor, end: int) -> None:
    """The bytes that a head announces."""
    told = next((span.value for span in cursor.spans if span.name == "size"), None)
    if isinstance(told, int) and 0 < told <= MAX_BLOCK:
        cursor.end = min(end, cursor.at + told)
        cursor.rest("block")


def _told(text: str) -> Any:
    """A number as one unless zeros lead it, as in dates; a field that tells nothing as None."""
    if text in ("", "NA"):
        return None
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text
