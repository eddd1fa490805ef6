"""JT/T 808's bytes by name.

    flag 1 · id 2 · properties 2 · [version 1] · phone 6 or 10 · serial 2 · [total 2 · index 2] · body
    checksum 1 · flag 1

An escaped byte takes two on the wire, and so does its span. What a package of several holds is a part of a body: it is
named whole.
"""

from __future__ import annotations

from collections.abc import Iterator

from protocols.anatomy import Cursor, ShortError, Span, Unit, checked
from protocols.jt808.measures import FUEL, ITEMS, SATELLITES
from protocols.jt808.wire import (
    ATTRIBUTES,
    AUTHENTICATE,
    BATCH,
    HEARTBEAT,
    LOCATION,
    LOCATION_ANSWER,
    LOGOUT,
    MEDIA,
    REGISTER,
    REPLY,
    TIME,
    Head,
    gbk,
    head_of,
    unescape,
    xor,
)

_KINDS = {
    **dict.fromkeys((REGISTER, AUTHENTICATE), "login"),
    **dict.fromkeys((LOCATION, LOCATION_ANSWER, BATCH), "frame"),
    **dict.fromkeys((HEARTBEAT, LOGOUT, TIME), "request"),
}


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes."""
    del udp  # not spoken over it
    at = 0
    while at < len(data):
        flag = data.find(b"~", at)
        if flag != at:  # nothing begins here
            end = len(data) if flag < 0 else flag
            yield Unit("unreadable", [Span(end - at, "remainder")])
            at = end
            continue
        close = data.find(b"~", at + 1)
        if close == at + 1 or at + 1 == len(data):
            yield Unit("idle", [Span(1, "flag")])
            at += 1
            continue
        segment = data[at + 1 : close if close > 0 else len(data)]
        unit = _unit(segment)
        if close > 0:
            unit.spans.append(Span(1, "flag"))
            if data[close + 1 : close + 2] not in (b"", b"~"):  # one flag for two frames: it is the next one's
                unit.spans.pop()
                close -= 1
        yield unit
        at = close + 1 if close > 0 else len(data)


def _unit(segment: bytes) -> Unit:
    package = unescape(segment)
    head = head_of(package) if package is not None else None
    flag = Span(1, "flag")
    if package is None or head is None or head.size != len(package):
        return Unit("unreadable", [flag, Span(len(segment), "remainder")])
    cursor = Cursor(package)
    _head(cursor, head)
    body = Cursor(package, cursor.at, len(package) - 1)
    try:
        if head.several or head.encrypted:
            body.rest("part" if head.several else "encrypted")
        else:
            _body(body, head)
    except ShortError:
        pass
    body.rest()
    cursor.spans += body.spans
    cursor.at = body.at
    found = cursor.number(1, "checksum")
    cursor.say(checked(found, xor(package[:-1]), 2))
    return Unit(_KINDS.get(head.id, "text"), [flag, *_on_wire(cursor.spans, segment)])


def _on_wire(spans: list[Span], segment: bytes) -> list[Span]:
    """Spans of unescaped bytes as what they take on the wire."""
    if b"\x7d" not in segment:
        return spans
    told, at = [], 0
    for span in spans:
        begin = at
        for _ in range(span.size):
            at += 2 if segment[at] == 0x7D else 1
        told.append(span._replace(size=at - begin))
    return told


def _head(cursor: Cursor, head: Head) -> None:
    cursor.number(2, "id")
    cursor.say(f"0x{head.id:04x}")
    cursor.number(2, "properties")
    if head.new:
        cursor.number(1, "version")
    cursor.take(len(head.phone), "phone", head.phone.hex())
    cursor.number(2, "serial")
    if head.several:
        cursor.number(2, "total")
        cursor.number(2, "index")


def _body(cursor: Cursor, head: Head) -> None:
    match head.id:
        case _ if head.id == LOCATION:
            _location(cursor, "location")
        case _ if head.id == LOCATION_ANSWER:
            cursor.number(2, "answered.serial")
            _location(cursor, "location")
        case _ if head.id == BATCH:
            count = cursor.number(2, "count")
            cursor.number(1, "kind")
            for number in range(1, count + 1):
                size = cursor.number(2, f"location.{number}.length")
                inner = Cursor(cursor.data, cursor.at, min(cursor.at + size, cursor.end))
                try:
                    _location(inner, f"location.{number}")
                except ShortError:
                    inner.rest(f"location.{number}.remainder")
                cursor.spans += inner.spans
                cursor.at = inner.at
        case _ if head.id == REPLY:
            cursor.number(2, "answered.serial")
            cursor.number(2, "answered.id")
            cursor.number(1, "result")
        case _ if head.id == AUTHENTICATE:
            _authentication(cursor, head)
        case _ if head.id == REGISTER:
            _registration(cursor, head)
        case _ if head.id == ATTRIBUTES:
            _attributes(cursor, head)
        case _ if head.id == MEDIA:
            for size, name in ((4, "media.id"), (1, "type"), (1, "format"), (1, "event"), (1, "channel")):
                cursor.number(size, name)
            cursor.rest("media")
        case _:
            cursor.rest("body")


def _text(cursor: Cursor, size: int, name: str) -> None:
    found = cursor.take(size, name)
    if found:
        cursor.say(gbk(found))


def _authentication(cursor: Cursor, head: Head) -> None:
    if not head.new:
        cursor.rest("code")
        return
    size = cursor.number(1, "code.length")
    _secret(cursor, size)
    _text(cursor, 15, "imei")
    _text(cursor, cursor.left, "firmware")


def _secret(cursor: Cursor, size: int) -> None:
    cursor.take(size, "code")  # its value is nobody's business


def _registration(cursor: Cursor, head: Head) -> None:
    cursor.number(2, "province")
    cursor.number(2, "city")
    maker, model, terminal = (11, 30, 30) if head.new else (5, 8 if cursor.left + 4 < 37 else 20, 7)
    _text(cursor, maker, "maker")
    _text(cursor, model, "model")
    _text(cursor, terminal, "terminal")
    cursor.number(1, "plate.colour")
    _text(cursor, cursor.left, "plate")


def _attributes(cursor: Cursor, head: Head) -> None:
    body, at = cursor.data, cursor.at
    maker, model, terminal = (5, 30, 30) if head.new else (5, 20, 7)
    if head.new and not _ends(body, at + 2 + 5 + 60 + 10, cursor.end):
        maker = 11
    cursor.number(2, "type")
    _text(cursor, maker, "maker")
    _text(cursor, model, "model")
    _text(cursor, terminal, "terminal")
    iccid = cursor.take(10, "iccid")
    cursor.say(iccid.hex())
    for name in ("hardware", "firmware"):
        size = cursor.number(1, f"{name}.length")
        _text(cursor, size, name)
    cursor.number(1, "gnss")
    cursor.number(1, "network")


def _ends(data: bytes, at: int, end: int) -> bool:
    """Whether two texts with their lengths from `at` on leave two bytes."""
    for _ in range(2):
        if at >= end:
            return False
        at += 1 + data[at]
    return at + 2 == end


def _location(cursor: Cursor, path: str) -> None:
    for name in ("alarms", "status"):
        value = cursor.number(4, f"{path}.{name}")
        cursor.say(f"0x{value:08x}")
    for name in ("latitude", "longitude"):
        cursor.say(cursor.number(4, f"{path}.{name}") / 1e6)
    cursor.number(2, f"{path}.altitude", signed=True)
    cursor.say(cursor.number(2, f"{path}.speed") / 10)
    cursor.number(2, f"{path}.direction")
    time = cursor.take(6, f"{path}.time").hex()
    cursor.say(f"20{time[:2]}-{time[2:4]}-{time[4:6]} {time[6:8]}:{time[8:10]}:{time[10:]} GMT+8")
    while cursor.left:
        if cursor.left < 2 or cursor.data[cursor.at + 1] + 2 > cursor.left:
            cursor.rest(f"{path}.remainder")
            return
        identifier = cursor.number(1, f"{path}.item.id")
        cursor.say(f"0x{identifier:02x}")
        size = cursor.number(1, f"{path}.item.length")
        _item(cursor, path, identifier, size)


def _item(cursor: Cursor, path: str, identifier: int, size: int) -> None:
    parts = ITEMS.get((identifier, size))
    if (identifier, size) == FUEL:
        raw = cursor.number(2, f"{path}.fuel.gauge")
        cursor.say(f"{raw & 0x7FFF} %" if raw & 0x8000 else raw / 10)
    elif (identifier, size) == (SATELLITES, 1):
        cursor.number(1, f"{path}.satellites")
    elif parts is None:
        value = cursor.take(size, f"{path}.io.{identifier}")
        if value:
            cursor.say(value.hex())
    else:
        for name, _, form, multiplier, divisor in sorted(parts, key=lambda part: part[1]):
            raw = cursor.number(int(form[-1]), f"{path}.{name}", signed="i" in form)
            cursor.say(raw * multiplier if divisor == 1 else raw / divisor)
