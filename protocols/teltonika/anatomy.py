"""Teltonika's bytes by name.

    TCP  login:  imei.length 2 · imei
         frame:  preamble 4 · length 4 · codec 1 · count 1 · records or text · count.again 1 · crc 4
         idle:   FF
    UDP  length 2 · packet.id 2 · 01 · avl.packet.id 1 · imei.length 2 · imei · codec … count.again

Counts are taken at their word until the payload ends.
"""

from __future__ import annotations

from collections.abc import Iterator

import fastcrc

from protocols.anatomy import Cursor, ShortError, Span, Unit, checked, instant
from protocols.teltonika.declaration import (
    AVL_CODECS,
    CODEC_8,
    CODEC_8E,
    CODEC_12,
    CODEC_13,
    CODEC_14,
    CODEC_15,
    COMMAND,
    RESPONSE,
)
from protocols.teltonika.measures import VARIABLE, Meaning
from protocols.teltonika.plain import meanings, text_of
from protocols.teltonika.session import MAX_FRAME

_TEXT_CODECS = (CODEC_12, CODEC_13, CODEC_14, CODEC_15)
CODECS = (*AVL_CODECS, *_TEXT_CODECS)
_KINDS = {COMMAND: "command", RESPONSE: "response"}
_STAMPED, _ADDRESSED = (CODEC_13, CODEC_15), (CODEC_14, CODEC_15)
_PRIORITIES = {0: "low", 1: "high", 2: "panic"}


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes, or of one datagram."""
    if udp:
        yield _datagram(data)
        return
    at = 0
    while at < len(data):
        unit = _unit(data, at)
        yield unit
        at += unit.size


def _unit(data: bytes, at: int) -> Unit:
    cursor = Cursor(data, at)
    if data[at] == 0xFF:
        idle = len(data) - at - len(data[at:].lstrip(b"\xff"))
        cursor.take(idle, "idle")
        return Unit("idle", cursor.spans)
    try:
        if cursor.left > 1 and data[at] == 0 and 14 <= data[at + 1] <= 17:
            _imei(cursor)
            return Unit("login", cursor.spans)
        kind = _frame(cursor)
    except ShortError:
        cursor.rest()
        kind = "unreadable"
    return Unit(kind, cursor.spans)


def _imei(cursor: Cursor) -> None:
    size = cursor.number(2, "imei.length")
    imei = cursor.take(size, "imei")
    if size:
        cursor.say(imei.decode("ascii", "backslashreplace"))


def _frame(cursor: Cursor) -> str:
    if cursor.data[cursor.at : cursor.at + 4].strip(b"\0"):
        raise ShortError  # no preamble: nothing tells where the next frame begins
    cursor.take(4, "preamble")
    length = cursor.number(4, "length")
    if not 3 <= length <= MAX_FRAME:
        raise ShortError
    start, stop = cursor.at, cursor.at + length
    kind = _payload(cursor, stop)
    crc = cursor.number(4, "crc")
    computed = fastcrc.crc16.arc(cursor.data[start:stop])
    cursor.say(checked(crc, computed, 8))
    return kind


def _datagram(data: bytes) -> Unit:
    cursor = Cursor(data)
    kind = "frame"
    try:
        cursor.number(2, "length")
        cursor.number(2, "packet.id")
        cursor.number(1, "unused")
        cursor.number(1, "avl.packet.id")
        _imei(cursor)
        kind = _payload(cursor, len(data))
    except ShortError:
        kind = "unreadable"
    cursor.rest()
    return Unit(kind, cursor.spans)


def _payload(cursor: Cursor, stop: int) -> str:
    """Codec to second count; what the counts do not account for is a remainder before the latter."""
    inner = Cursor(cursor.data, cursor.at, stop - 1 if stop <= len(cursor.data) else None)
    codec, kind = -1, "frame"
    try:
        codec = inner.number(1, "codec")
        count = inner.number(1, "count")
        if codec in AVL_CODECS:
            for number in range(1, count + 1):
                _record(inner, codec, f"record.{number}")
        elif codec in _TEXT_CODECS:
            kind = "text"
            _text(inner, codec)
    except ShortError:
        pass
    inner.rest()
    cursor.spans += inner.spans
    cursor.at = inner.at
    if stop > len(cursor.data):
        raise ShortError
    cursor.number(1, "count.again")
    return kind


def _text(cursor: Cursor, codec: int) -> None:
    kind = cursor.number(1, "type")
    cursor.say(_KINDS.get(kind, kind))
    size = cursor.number(4, "size")
    if codec in _STAMPED:
        stamp = cursor.number(4, "timestamp")
        cursor.say(instant(stamp))
        size -= 4
    if codec in _ADDRESSED:
        imei = cursor.take(8, "imei")
        cursor.say(imei.hex())
        size -= 8
    text = cursor.take(max(size, 0), "text")
    if text:
        cursor.say(text.decode("utf-8", "backslashreplace"))


def _record(cursor: Cursor, codec: int, path: str) -> None:
    stamp = cursor.number(8, f"{path}.timestamp")
    cursor.say(instant(stamp / 1000, milliseconds=True))
    priority = cursor.number(1, f"{path}.priority")
    cursor.say(_PRIORITIES.get(priority, priority))
    for name in ("longitude", "latitude"):
        cursor.say(cursor.number(4, f"{path}.{name}", signed=True) / 1e7)
    cursor.number(2, f"{path}.altitude", signed=True)
    cursor.number(2, f"{path}.angle")
    cursor.number(1, f"{path}.satellites")
    cursor.number(2, f"{path}.speed")
    wide = 1 if codec == CODEC_8 else 2
    counts = 2 if codec == CODEC_8E else 1
    cursor.number(wide, f"{path}.event")
    if codec not in (CODEC_8, CODEC_8E):
        cursor.number(1, f"{path}.generation")
    cursor.number(counts, f"{path}.total")
    elements: list[tuple[int, int, slice]] = []  # id, the size that its meaning goes by, which spans are its
    try:
        for size in (1, 2, 4, 8):
            for _ in range(cursor.number(counts, f"{path}.count.{size}")):
                _element(cursor, path, wide, size, elements)
        if codec == CODEC_8E:
            for _ in range(cursor.number(2, f"{path}.count.x")):
                _element(cursor, path, wide, VARIABLE, elements)
    finally:  # by what all of a record mean: a second one of an id is called otherwise
        called = meanings([(identifier, size) for identifier, size, _ in elements])
        for (_, _, its), meaning in zip(elements, called, strict=True):
            cursor.spans[its] = [
                Span(span.size, f"{path}.{meaning.name}", _value(meaning, span.value))
                if isinstance(span.value, bytes)
                else span._replace(name=f"{path}.{meaning.name}.{span.name}")
                for span in cursor.spans[its]
            ]


def _element(cursor: Cursor, path: str, wide: int, size: int, elements: list[tuple[int, int, slice]]) -> None:
    begin = len(cursor.spans)
    identifier = cursor.number(wide, "id")
    try:
        value = cursor.take(size or cursor.number(2, "size"), path)
        if value:
            cursor.say(value)  # until it has its name
    finally:
        elements.append((identifier, size, slice(begin, len(cursor.spans))))


def _value(meaning: Meaning, data: bytes) -> object:
    if meaning.kind not in ("number", "coded"):
        return text_of(data, meaning.kind)
    raw = int.from_bytes(data, "big", signed=meaning.signed)
    plain = meaning.divisor == 1 and meaning.multiplier == 1
    return raw if plain else raw * meaning.multiplier / meaning.divisor
