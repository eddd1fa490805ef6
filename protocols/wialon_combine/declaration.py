"""Wialon Combine 1.0.3: the readable truth, for the simulator and as the tests' oracle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from construct import (
    Array,
    Computed,
    Construct,
    CString,
    ExprAdapter,
    Float32b,
    Float64b,
    GreedyRange,
    Int8sb,
    Int8ub,
    Int16sb,
    Int16ub,
    Int32sb,
    Int32ub,
    Int64sb,
    Int64ub,
    Peek,
    Rebuild,
    Struct,
    Switch,
    Terminated,
    len_,
    this,
)

from protocols.wialon_combine import wire


def _extensible(short: Construct, long: Construct, bits: int) -> Construct:
    """An integer that is twice as long where its top bit is set."""
    wide = Struct("first" / Peek(Int8ub), "value" / Switch(lambda c: c.first >> 7, {1: long}, default=short))
    return ExprAdapter(wide, lambda told, _: told.value & (1 << bits) - 1 if told.first >> 7 else told.value, None)


EXT1 = _extensible(Int8ub, Int16ub, 15)
_VALUES = {0: Int8ub, 1: Int16ub, 2: Int32ub, 3: Int64ub, 4: Int8sb, 5: Int32sb, 6: Int16sb, 7: Int64sb, 8: Float32b,
           9: Float64b, wire.TEXT: CString("utf8")}  # fmt: skip
POSITION = Struct(
    "lat" / Int32sb,  # 1e-6 degree
    "lon" / Int32sb,
    "speed" / Int16ub,  # km/h
    "course" / Int16ub,  # degrees
    "height" / Int16sb,  # m
    "satellites" / Int8ub,
    "hdop" / Int16ub,  # 0.01
)
ITEM = Struct("number" / EXT1, "type" / Int8ub, "value" / Switch(this.type & 31, _VALUES))
LIST = Struct("count" / EXT1, "items" / Array(this.count, ITEM))
CELLS = Struct(
    "count" / Rebuild(Int8ub, len_(this.cells)),
    "cells" / Array(this.count, Array(6, Int16ub)),  # mcc, mnc, lac, cell, level, timing advance
)
_BODIES = {**dict.fromkeys(wire.LISTS, LIST), wire.POSITION: POSITION, wire.IO: Array(2, Int32ub), wire.CELLS: CELLS,
           wire.MESSAGE: CString("utf8")}  # fmt: skip
SUBRECORD = Struct("kind" / EXT1, "body" / Switch(this.kind, _BODIES))
MESSAGE = Struct("time" / Int32ub, "count" / Int8ub, "subrecords" / Array(this.count, SUBRECORD))
MESSAGES = Struct("messages" / GreedyRange(MESSAGE), Terminated)
HEADER = Struct("head" / Int16ub, "type" / EXT1, "number" / Int16ub, "none" / Computed(None))


def parse(packet: bytes) -> dict[str, Any]:
    """A packet of data: the oracle of the tests, not for hostile input."""
    begin, end = wire.span(packet)
    head = HEADER.parse(packet)
    return {"type": head.type, "number": head.number, "messages": MESSAGES.parse(packet[begin:end]).messages,
            "crc": packet[end:].hex()}  # fmt: skip


def login(name: str, number: int = 1, password: str = "") -> bytes:
    """The first packet of a connection."""
    data = b"\x01" + bytes((0x40 | (4 if password else 0),)) + name.encode() + b"\0"
    return wire.packet(wire.LOGIN, number, data + (password.encode() + b"\0" if password else b""))


def message(time: int, subrecords: Sequence[bytes]) -> bytes:
    """One message."""
    return time.to_bytes(4, "big") + bytes((len(subrecords),)) + b"".join(subrecords)


def position(**told: int) -> bytes:
    """Kind 1."""
    built: bytes = POSITION.build(told)
    return wire.put(wire.POSITION, 1) + built


def listed(kind: int, items: Sequence[tuple[int, int, Any]]) -> bytes:
    """A list of (number, type, value)."""
    told = [wire.put(number, 1) + bytes((type_,)) + _VALUES[type_ & 31].build(value) for number, type_, value in items]
    return wire.put(kind, 1) + wire.put(len(items), 1) + b"".join(told)
