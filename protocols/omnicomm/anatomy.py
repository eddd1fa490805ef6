"""Omnicomm's bytes by name: a unit is what stands from one marker to the next.

    C0 · command 1 · length 2 · payload · checksum 2        an escaped byte counts as the two it is on the wire

Messages are protobuf: each field's tag, its length where it has one, and its value, by the names of `omnicomm.proto`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from protocols.anatomy import Cursor, ShortError, Span, Unit, checked, instant
from protocols.omnicomm.declaration import CONTAINER, PAYLOADS
from protocols.omnicomm.fields import EPOCH
from protocols.omnicomm.framing import CHECKSUM_SIZE, MARKER, checksum
from protocols.omnicomm.omnicomm_pb2 import RecReg
from protocols.omnicomm.parser import MAX_DEPTH

_COMMANDS = {
    0x80: "identification",
    0x81: "server identification",
    0x85: "send the archive",
    0x86: "archive",
    0x87: "may be overwritten",
    0x88: "overwritten",
    0x93: "time?",
    0x94: "time",
    0x95: "live",
    0x9F: "live over WiFi",
    0xA0: "received over WiFi",
}
_UNITS = {0x80: "login", 0x86: "frame", 0x95: "frame", 0x9F: "frame", 0x93: "request"}
_VARINT, _FIXED_64, _BYTES, _START, _END, _FIXED_32 = range(6)
_SIGNED = (FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_SINT64)
_MASK_64 = 0xFFFFFFFFFFFFFFFF


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes."""
    del udp
    at = 0
    while at < len(data):
        marked = data[at] == MARKER[0]
        end = data.find(MARKER, at + marked)
        end = len(data) if end < 0 else end
        if marked:
            yield _unit(data[at:end])
        else:
            yield Unit("unreadable", [Span(end - at, "remainder")])
        at = end


def _unit(raw: bytes) -> Unit:
    body, widths = _unstuffed(raw)
    cursor = Cursor(body)
    kind = "unreadable"
    try:
        command = cursor.number(1, "command")
        cursor.say(f"{command:02x} {_COMMANDS.get(command, 'unknown')}")
        length = cursor.number(2, "length", little=True)
        stop = cursor.at + length
        _payload(cursor, command, stop)
        cursor.take(CHECKSUM_SIZE, "checksum")
        found, computed = int.from_bytes(body[stop : stop + 2], "big"), checksum(body[:stop])
        cursor.say(checked(found, computed))
        kind = _UNITS.get(command, "request")
    except ShortError:
        pass
    cursor.rest()
    # Back to the wire: where a field ends there, the marker before, and behind it what is no body.
    ends = [0, *accumulate(widths)]
    spans, at = [Span(1, "marker")], 0
    for span in cursor.spans:
        spans.append(span._replace(size=ends[at + span.size] - ends[at]))
        at += span.size
    behind = len(raw) - 1 - ends[at]
    return Unit(kind, [*spans, *([Span(behind, "remainder")] if behind else [])])


def _unstuffed(raw: bytes) -> tuple[bytes, list[int]]:
    """The body behind a marker, up to a wrong escape, and how many bytes each of its bytes has on the wire."""
    body, widths = bytearray(), []
    at = 1
    while at < len(raw):
        byte, width = raw[at], 1
        if byte == 0xDB:
            byte, width = {0xDC: 0xC0, 0xDD: 0xDB}.get(raw[at + 1] if at + 1 < len(raw) else 0, -1), 2
            if byte < 0:
                break
        body.append(byte)
        widths.append(width)
        at += width
    return bytes(body), widths


def _payload(cursor: Cursor, command: int, stop: int) -> None:
    inner = Cursor(cursor.data, cursor.at, stop)
    try:
        if PAYLOADS.get(command) is CONTAINER:
            if stop > inner.at:
                _container(inner)
        else:
            for name in {0x80: ("reg_id", "firmware"), 0x94: ("time",)}.get(command, ("rec_id",)):
                if inner.left:
                    inner.number(4, name, little=True)
    except ShortError:
        pass
    inner.rest()
    cursor.spans += inner.spans
    cursor.at = inner.at
    if stop > cursor.end:
        raise ShortError


def _container(cursor: Cursor) -> None:
    cursor.number(4, "rec_id", little=True)
    time = cursor.number(4, "time", little=True)
    cursor.say(instant(time + EPOCH))
    cursor.number(1, "priority")
    number = 0
    while cursor.left:
        number += 1
        size = cursor.number(2, f"message.{number}.length", little=True)
        stop = cursor.at + size
        inner = Cursor(cursor.data, cursor.at, min(stop, cursor.end))
        with suppress(ShortError):
            _fields(inner, f"message.{number}", RecReg.DESCRIPTOR, 0)
        inner.rest(f"message.{number}.remainder")
        cursor.spans += inner.spans
        cursor.at = inner.at


def _fields(cursor: Cursor, path: str, known: Any, depth: int, group: int = 0) -> None:
    """The fields of a message, or of group `group` up to its end."""
    while cursor.left:
        begin = cursor.at
        tag = _varint(cursor, f"{path}.tag")
        number, kind = tag >> 3, tag & 7
        field = known.fields_by_number.get(number) if known is not None else None
        name = f"{path}.{field.name if field is not None else f'field_{number}'}"
        if field is not None and field.type == FieldDescriptor.TYPE_GROUP:
            name = f"{path}.{field.message_type.name}"
        _rename(cursor, f"{name}.tag")
        if kind == _VARINT:
            value = _varint(cursor, name)
            cursor.say(_zigzag(value) if field is not None and field.type in _SIGNED else value)
        elif kind in (_FIXED_32, _FIXED_64):
            raw = cursor.take(4 if kind == _FIXED_32 else 8, name)
            cursor.say(_float(raw) if kind == _FIXED_32 and _is_float(field) else int.from_bytes(raw, "little"))
        elif kind == _BYTES:
            size = _varint(cursor, f"{name}.length")
            raw = cursor.take(size, name)
            if raw:
                cursor.say(_content(raw, field))
        elif kind == _START and depth < MAX_DEPTH:
            _rename(cursor, f"{name}.begin")
            nested = field.message_type if field is not None and field.type == FieldDescriptor.TYPE_GROUP else None
            _fields(cursor, name, nested, depth + 1, number)
        elif kind == _END and number == group:
            _rename(cursor, f"{path}.end")
            return
        else:
            cursor.spans.pop()
            cursor.at = begin
            raise ShortError
    if group:
        raise ShortError


def _rename(cursor: Cursor, name: str) -> None:
    cursor.spans[-1] = cursor.spans[-1]._replace(name=name)


def _varint(cursor: Cursor, name: str) -> int:
    value = 0
    for place, byte in enumerate(cursor.data[cursor.at : min(cursor.at + 10, cursor.end)]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            cursor.take(place + 1, name, value & _MASK_64)
            return value & _MASK_64
    raise ShortError


def _zigzag(value: int) -> int:
    return value >> 1 ^ -(value & 1)


def _is_float(field: FieldDescriptor | None) -> bool:
    return field is not None and field.type == FieldDescriptor.TYPE_FLOAT


def _float(raw: bytes) -> float:
    value: float = struct.unpack("<f", raw)[0]
    return value


def _content(raw: bytes, field: FieldDescriptor | None) -> Any:
    """Packed numbers as a list, bytes as hex."""
    if field is None or field.type in (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_GROUP):
        return raw.hex()
    if _is_float(field):
        return [_float(raw[at : at + 4]) for at in range(0, len(raw), 4)] if len(raw) % 4 == 0 else raw.hex()
    packed, values = Cursor(raw), []
    try:
        while packed.left:
            value = _varint(packed, "")
            values.append(_zigzag(value) if field.type in _SIGNED else value)
    except ShortError:
        return raw.hex()
    return values
