"""EGTS's bytes by name: header, records, subrecords and their fields, checksums."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from protocols.anatomy import Cursor, ShortError, Span, Unit, checked, instant
from protocols.egts import auth, commands, wire
from protocols.egts.layouts import DamagedError, Field, read_layout

_KINDS = {wire.RESPONSE: "response", wire.APPDATA: "data", wire.SIGNED: "signed data"}
_SERVICES = {wire.AUTH: "auth", wire.TELEDATA: "teledata", wire.COMMANDS: "commands", wire.FIRMWARE: "firmware",
             wire.ECALL: "ecall"}  # fmt: skip
_POSITION = (("ntm", 4), ("latitude", 4), ("longitude", 4), ("flags", 1), ("speed", 2), ("course", 1), ("odometer", 3),
             ("inputs", 1), ("event", 1))  # fmt: skip


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes."""
    at = 0
    while at < len(data):
        size = _header(data, at)
        if not size:
            stop = next((place for place in range(at + 1, len(data)) if _header(data, place)), len(data))
            yield Unit("unreadable", [Span(stop - at, "remainder")])
            at = stop
            continue
        unit = _packet(Cursor(data, at), size)
        yield unit
        at += unit.size


def _header(data: bytes, at: int) -> int:
    size = data[at + 3] if at + 3 < len(data) else 0
    if size not in (wire.HEAD, wire.ROUTED_HEAD) or at + size > len(data) or data[at] != 1:
        return 0
    return size if wire.crc8(data[at : at + size - 1]) == data[at + size - 1] else 0


def _packet(cursor: Cursor, size: int) -> Unit:
    start = cursor.at
    for name in ("version", "key", "flags", "header.length", "header.encoding"):
        cursor.number(1, name)
    length = cursor.number(2, "data.length", little=True)
    cursor.number(2, "packet.id", little=True)
    kind = cursor.number(1, "packet.type")
    cursor.say(_KINDS.get(kind, kind))
    if size == wire.ROUTED_HEAD:
        for name, width in (("sender", 2), ("receiver", 2), ("hops", 1)):
            cursor.number(width, name, little=True)
    hcs = cursor.number(1, "header.checksum")
    cursor.say(checked(hcs, wire.crc8(cursor.data[start : start + size - 1]), 2))
    told = "idle"
    try:
        if length:
            if cursor.left < length + 2:
                raise ShortError
            begin = cursor.at
            inner = Cursor(cursor.data, begin, begin + length)
            told = _body(inner, kind)
            inner.rest()
            cursor.spans += inner.spans
            cursor.at = inner.at
            crc = cursor.number(2, "checksum", little=True)
            cursor.say(checked(crc, wire.crc16(cursor.data[begin : begin + length])))
    except ShortError:
        cursor.rest()
        told = "unreadable"
    return Unit(told, cursor.spans)


def _body(cursor: Cursor, kind: int) -> str:
    told = "request"
    try:
        if kind == wire.RESPONSE:
            cursor.number(2, "answers.packet", little=True)
            cursor.number(1, "result")
        elif kind == wire.SIGNED:
            size = cursor.number(2, "signature.length", little=True, signed=True)
            cursor.take(max(size, 0), "signature")
        elif kind != wire.APPDATA:
            return told
        number = 0
        kinds = set()
        while cursor.left:
            number += 1
            kinds.add(_record(cursor, f"record.{number}"))
        told = next((one for one in ("login", "frame", "text") if one in kinds), told)
    except ShortError:
        pass
    return "request" if kind == wire.RESPONSE else told


def _record(cursor: Cursor, path: str) -> str:
    size = cursor.number(2, f"{path}.length", little=True)
    cursor.number(2, f"{path}.number", little=True)
    flags = cursor.number(1, f"{path}.flags")
    for bit, name in ((wire.HAS_OID, "object"), (wire.HAS_EVID, "event.id"), (wire.HAS_TM, "time")):
        if flags & bit:
            value = cursor.number(4, f"{path}.{name}", little=True)
            if bit == wire.HAS_TM:
                cursor.say(instant(value + wire.EPOCH))
    service = cursor.number(1, f"{path}.sender.service")
    cursor.say(_SERVICES.get(service, service))
    receiver = cursor.number(1, f"{path}.receiver.service")
    cursor.say(_SERVICES.get(receiver, receiver))
    if size > cursor.left:
        raise ShortError
    data = cursor.data[cursor.at : cursor.at + size]
    inner = Cursor(cursor.data, cursor.at, cursor.at + size)
    if service in wire.DATA and data[:1] != b"\0":
        _data(inner, data, path)
    else:
        _other(inner, service, path)
    inner.rest(f"{path}.remainder")
    cursor.spans += inner.spans
    cursor.at = inner.at
    if service == wire.AUTH:
        return "login" if data[:1] in (bytes((wire.TERM_IDENTITY,)), bytes((wire.DISPATCHER_IDENTITY,))) else "request"
    if data[:1] == b"\0":
        return "request"
    return "frame" if service in wire.DATA else "text"


def _subrecord(cursor: Cursor, path: str) -> tuple[int, int]:
    kind = cursor.number(1, f"{path}.type")
    size = cursor.number(2, f"{path}.length", little=True)
    if size > cursor.left:
        raise ShortError
    return kind, size


def _data(cursor: Cursor, data: bytes, path: str) -> None:
    """By the names of the measures that the bytes become."""
    begin = cursor.at
    try:
        layout = read_layout(data)
    except DamagedError:
        return
    names: dict[int, tuple[str, Any]] = {}
    for section in layout.sections:
        for one in section.fields:
            offset = one.offset + (1 if one.form == "<u4" and one.shift == 8 else 0)
            names.setdefault(offset, (one.name, one))
        for text in section.texts:
            names.setdefault(text.offset, (text.name, text))
        if section.satellites >= 0:
            names[section.satellites] = ("satellites", None)
    places = {section.position: section for section in layout.sections}
    ends = sorted({*names, *(at for at, _ in layout.fixed)})
    number = 0
    while cursor.left:
        number += 1
        kind, size = _subrecord(cursor, f"{path}.subrecord.{number}")
        stop = cursor.at + size
        if cursor.at - begin in places and kind == wire.POS_DATA:
            _place(cursor, path, places[cursor.at - begin].altitude)
        while cursor.at < stop:
            at = cursor.at - begin
            name, found = names.get(at, ("mask" if at in dict(layout.fixed) else "", None))
            width = _width(found) or next((end for end in ends if end > at), stop - begin) - at
            width = max(1, min(width, stop - cursor.at))
            raw = cursor.take(width, f"{path}.{name or 'unused'}", None)
            cursor.say(_value(found, raw) if name not in ("mask", "satellites") else int.from_bytes(raw, "little"))


def _place(cursor: Cursor, path: str, altitude: bool) -> None:
    for name, size in _POSITION:
        value = cursor.number(size, f"{path}.{name}", little=True)
        if name == "ntm":
            cursor.say(instant(value + wire.EPOCH))
        elif name in ("latitude", "longitude"):
            cursor.say(value * (90 if name == "latitude" else 180) / 0xFFFF_FFFF)
        elif name == "speed":
            cursor.say((value & 0x3FFF) / 10)
        elif name == "odometer":
            cursor.say(value * 100)
    if altitude:
        cursor.number(3, f"{path}.altitude", little=True)


def _width(found: Any) -> int:
    if not isinstance(found, Field):
        return 0 if found is None else int(found.size)
    return 3 if found.form == "<u4" and found.shift == 8 else int(found.form[-1])


def _value(found: Any, raw: bytes) -> Any:
    if found is None:
        return None
    if not isinstance(found, Field):
        return found.read(raw)
    value = int.from_bytes(raw, "little", signed="i" in found.form)
    if found.shift != 8:  # the byte before such a one was left out
        value >>= found.shift
    if found.mask:
        value &= found.mask
    return value * found.multiply / found.divide


def _other(cursor: Cursor, service: int, path: str) -> None:
    number = 0
    while cursor.left:
        number += 1
        kind, size = _subrecord(cursor, f"{path}.subrecord.{number}")
        inner = Cursor(cursor.data, cursor.at, cursor.at + size)
        try:
            if kind == wire.RECORD_RESPONSE:
                inner.number(2, f"{path}.answers.record", little=True)
                inner.number(1, f"{path}.result")
            elif service == wire.AUTH:
                _auth(inner, kind, path)
            elif kind == wire.COMMAND_DATA:
                _command(inner, path)
        except ShortError:
            pass
        inner.rest(f"{path}.content")
        cursor.spans += inner.spans
        cursor.at = inner.at


def _auth(cursor: Cursor, kind: int, path: str) -> None:
    if kind == wire.TERM_IDENTITY:
        cursor.number(4, f"{path}.terminal", little=True)
        flags = cursor.number(1, f"{path}.identity.flags")
        for bit, name, size in auth.OPTIONAL:
            if flags & bit:
                raw = cursor.take(size, f"{path}.{name}")
                number = name in ("hdid", "nid", "buffer")
                cursor.say(int.from_bytes(raw, "little") if number else raw.decode("cp1251", "backslashreplace"))
    elif kind == wire.MODULE_DATA:
        for name, size in (("module.type", 1), ("vendor", 4), ("hardware", 2), ("software", 2), ("modification", 1),
                           ("module.state", 1)):  # fmt: skip
            value = cursor.number(size, f"{path}.{name}", little=True)
            if size == 2:
                cursor.say(f"{value >> 8}.{value & 0xFF}")
        for name in ("serial", "description"):
            end = cursor.data.find(0, cursor.at, cursor.end)
            raw = cursor.take((end if end >= 0 else cursor.end - 1) + 1 - cursor.at, f"{path}.{name}")
            cursor.say(wire.text(raw))
    elif kind == wire.RESULT_CODE:
        cursor.number(1, f"{path}.result")
    elif kind == wire.SERVICE_INFO:
        for name in ("service", "service.state", "service.flags"):
            cursor.number(1, f"{path}.{name}")


def _command(cursor: Cursor, path: str) -> None:
    told = commands.heard(cursor.data[cursor.at : cursor.end])
    if told is None:
        return
    kind = cursor.number(1, f"{path}.command.type")
    cursor.number(4, f"{path}.command.id", little=True)
    cursor.number(4, f"{path}.command.source", little=True)
    flags = cursor.number(1, f"{path}.command.flags")
    if flags & 1:
        cursor.number(1, f"{path}.charset")
    if flags & 2:
        size = cursor.number(1, f"{path}.code.length")
        cursor.take(size, f"{path}.authorisation")  # a secret has no value
    if kind >> 4 in (commands.COMMAND, commands.MESSAGE_CONFIRMS) and cursor.left >= 4:
        cursor.number(2, f"{path}.address", little=True)
        if kind >> 4 == commands.COMMAND:
            cursor.number(1, f"{path}.action")
        cursor.number(2, f"{path}.code", little=True)
    if cursor.left:
        raw = cursor.take(cursor.left, f"{path}.value")
        cursor.say(wire.text(raw))
