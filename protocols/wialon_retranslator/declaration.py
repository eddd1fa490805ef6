"""Wialon Retranslator 1.0: the readable truth, for the simulator and as the tests' oracle."""

from __future__ import annotations

from typing import Any

from construct import (
    Const,
    CString,
    Float64l,
    GreedyBytes,
    GreedyRange,
    Int8ub,
    Int16sb,
    Int32sb,
    Int32ub,
    Int32ul,
    Int64sb,
    NullTerminated,
    Prefixed,
    Struct,
    Switch,
    Terminated,
    this,
)

from protocols.wialon_retranslator import wire

POSINFO = Struct(
    "lon" / Float64l,  # degrees; longitude comes first
    "lat" / Float64l,
    "altitude" / Float64l,  # m
    "speed" / Int16sb,  # km/h
    "course" / Int16sb,  # degrees
    "satellites" / Int8ub,
)
VALUE = Switch(
    this.type,
    {
        wire.TEXT: NullTerminated(GreedyBytes, require=False),
        wire.INT: Int32sb,
        wire.DOUBLE: Float64l,
        wire.LONG: Int64sb,
        wire.BINARY: Switch(this.name, {"posinfo": POSINFO}, default=GreedyBytes),
    },
    default=GreedyBytes,
)
BLOCK = Struct(
    "mark" / Const(b"\x0b\xbb"),
    "content"
    / Prefixed(
        Int32ub,
        Struct("hidden" / Int8ub, "type" / Int8ub, "name" / CString("utf8"), "value" / VALUE, "rest" / GreedyBytes),
    ),
)
PACKET = Prefixed(
    Int32ul,
    Struct(
        "uid" / CString("ascii"),
        "time" / Int32ub,  # Unix s
        "flags" / Int32ub,  # 01 position, 02 inputs, 04 outputs, 10 alarm, 20 driver
        "blocks" / GreedyRange(BLOCK),
        Terminated,
    ),
)


def parse(packet: bytes) -> Any:
    """A whole packet: the oracle of the tests, not for hostile input."""
    return PACKET.parse(packet)


def build(told: Any) -> bytes:
    """The bytes of what `parse` told."""
    built: bytes = PACKET.build(told)
    return built
