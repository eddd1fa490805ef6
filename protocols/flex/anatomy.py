"""NTCB's and FLEX's bytes by name.

    @NTC  preamble 4 · receiver 4 · sender 4 · length 2 · crc.body 1 · crc 1 · body
    ~     word 2 · count 1 or index 4 · records · crc 1
    7F    idle

Which fields records have is told by the agreement that went before in the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fastcrc

from protocols.anatomy import Cursor, ShortError, Unit, checked, instant
from protocols.flex.decoder import walk_extra
from protocols.flex.fields import FIELDS, PARTS, STATIC_FIELDS, Field, selected, sizes
from protocols.flex.session import LETTERS, MAX_BODY, PING
from protocols.flex.wire import HEADER, PREAMBLE, Selection, xor
from protocols.learned import DamagedError
from protocols.meanings import Element, number_of, raw_of, text_of


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes."""
    del udp
    at = 0
    agreed: Selection | None = None
    while at < len(data):
        cursor = Cursor(data, at)
        try:
            if data[at] == PING:
                idle = len(data) - at - len(data[at:].lstrip(b"\x7f"))
                cursor.take(idle, "idle")
                kind = "idle"
            elif data[at] == PREAMBLE[0]:
                kind, agreed = _message(cursor, agreed)
            else:
                kind, agreed = _word(cursor, agreed)
        except (ShortError, DamagedError):
            cursor.rest()
            kind = "unreadable"
        unit = Unit(kind, cursor.spans)
        yield unit
        at += unit.size


def _message(cursor: Cursor, agreed: Selection | None) -> tuple[str, Selection | None]:
    data, start = cursor.data, cursor.at
    if data[start : start + 4] != PREAMBLE:
        raise ShortError
    cursor.take(4, "preamble", "@NTC")
    cursor.number(4, "receiver", little=True)
    cursor.number(4, "sender", little=True)
    size = cursor.number(2, "length", little=True)
    body = data[start + HEADER : start + HEADER + size]
    crc = cursor.number(1, "crc.body")
    cursor.say(checked(crc, xor(body), 2))
    crc = cursor.number(1, "crc")
    cursor.say(checked(crc, xor(data[start : start + HEADER - 1]), 2))
    if size > MAX_BODY or crc != xor(data[start : start + HEADER - 1]):
        raise ShortError
    if size > cursor.left:
        raise ShortError
    if body.startswith(b"*>S:"):
        cursor.take(4, "request", "*>S:")
        if size > 4:
            cursor.take(size - 4, "imei", body[4:].decode("ascii", "backslashreplace"))
        return "login", agreed
    if body.startswith(b"*>FLEX") and len(body) >= 10 and len(body) == 10 + (body[9] + 7) // 8:
        cursor.take(6, "request", "*>FLEX")
        cursor.number(1, "protocol")
        for name in ("version", "structure"):
            version = cursor.number(1, name)
            cursor.say(f"{version / 10:.1f}")
        cursor.number(1, "bits")
        fields = list(selected(body[9], body[10:]))
        cursor.take(len(body) - 10, "fields", fields)
        return "request", Selection(body[9], body[10:])
    if size:
        cursor.take(size, "text", body.decode("cp1251", "backslashreplace"))
    return "text" if size else "idle", agreed


def _word(cursor: Cursor, agreed: Selection | None) -> tuple[str, Selection | None]:
    data, start = cursor.data, cursor.at
    letter = data[start + 1 : start + 2]
    if data[start : start + 1] != b"~" or not letter or letter not in LETTERS:
        raise ShortError
    cursor.take(2, "word", f"~{letter.decode('ascii')}")
    records = 1
    if letter in b"AE":
        records = cursor.number(1, "count")
    elif letter in b"TX":
        cursor.number(4, "index", little=True)
    if letter in b"EX":
        for n in range(1, records + 1):
            _additional(cursor, f"record.{n}")
    elif agreed is None:
        raise ShortError
    else:
        agreed = _fitting(cursor, agreed, records)
        for n in range(1, records + 1):
            _record(cursor, agreed, f"record.{n}")
    crc = cursor.number(1, "crc")
    cursor.say(checked(crc, fastcrc.crc8.nrsc_5(data[start : cursor.at - 1]), 2))
    return "frame", agreed


def _fitting(cursor: Cursor, agreed: Selection, records: int) -> Selection:
    """The agreement with field 100 of two bytes, or of one where only that makes the checksum right."""
    less = agreed._replace(short=True)
    for each in (agreed, less):
        stop = cursor.at + records * sum(sizes(selected(each.bits, each.mask), short=each.short))
        start = cursor.at - sum(span.size for span in cursor.spans)
        if stop < cursor.end and fastcrc.crc8.nrsc_5(cursor.data[start:stop]) == cursor.data[stop]:
            return each
    return agreed


def _record(cursor: Cursor, agreed: Selection, path: str) -> None:
    chosen = selected(agreed.bits, agreed.mask)
    for n, size in zip(chosen, sizes(chosen, short=agreed.short), strict=True):
        _field(cursor, n, size, path)


def _field(cursor: Cursor, n: int, size: int, path: str) -> None:
    field = FIELDS[n]
    data = cursor.take(size, f"{path}.{field.name}")
    if n == 3:
        cursor.say(instant(int.from_bytes(data, "little")))
    elif size != field.size:
        cursor.say(int.from_bytes(data, "little"))
    else:
        cursor.say(_said(data, field))


def _said(data: bytes, field: Field) -> Any:
    """The measures of a field; of one alone the number."""
    found: dict[str, Any] = {}
    for meaning, offset, size, form in field.parts:
        if meaning.kind:
            found[meaning.name] = text_of(data, meaning.kind)
            continue
        number, code = number_of(raw_of(data, Element(meaning, offset, size, form)), meaning)
        if number == number:
            found[meaning.name.lstrip("@")] = number
        if code == code:
            found[meaning.status] = code
    if len(field.parts) == 1:
        return next(iter(found.values()), None)
    return ", ".join(f"{name} {value}" for name, value in found.items())


def _additional(cursor: Cursor, path: str) -> None:
    walked, _ = walk_extra(cursor.data, cursor.at, cursor.end)
    cursor.number(2, f"{path}.length", little=True)
    cursor.number(1, f"{path}.version")
    static = cursor.number(1, f"{path}.static.length")
    stop = cursor.at + static
    for n in STATIC_FIELDS:
        _field(cursor, n, FIELDS[n].size, path)
    if stop > cursor.at:
        cursor.take(stop - cursor.at, f"{path}.static.more")
    for kind, _, size in walked:
        cursor.number(1, f"{path}.part.kind")
        cursor.number(1, f"{path}.part.size")
        meaning, wanted = PARTS.get(kind, (None, size))
        data = cursor.take(size, f"{path}.{meaning.name if meaning and size == wanted else f'part.{kind}'}")
        if size:
            cursor.say(text_of(data, meaning.kind) if meaning and size == wanted else data.hex())
