"""The template's packets: the readable truth, an exact parser and builder.

Source: name the manual, its version and its tables. Integers are little-endian.

    login   54 50 · 01 · size 1 · IMEI · crc 2
    data    54 50 · 02 · count 1 · records of 21 bytes · crc 2
    ack     54 50 · 06 · crc 2 of the packet that is acknowledged

The checksum is CRC-16/MODBUS over everything before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fastcrc
from construct import (
    Array,
    Byte,
    Bytes,
    Const,
    Int8ul,
    Int16sl,
    Int16ul,
    Int32sl,
    Int32ul,
    Rebuild,
    Struct,
    Switch,
    len_,
    this,
)

MARKER = b"TP"
LOGIN, DATA, ACK = 0x01, 0x02, 0x06

RECORD = Struct(
    "time" / Int32ul,  # s since the Unix epoch
    "latitude" / Int32sl,  # 1e-6 degree
    "longitude" / Int32sl,
    "altitude" / Int16sl,  # m
    "speed" / Int8ul,  # km/h
    "course" / Int16ul,  # degrees
    "satellites" / Int8ul,  # 0: no fix, and the place is the last one
    "external" / Int16ul,  # mV
    "status" / Int8ul,  # bit 0 ignition, bit 1 out of the black box
)
PACKET = Struct(
    "marker" / Const(MARKER),
    "kind" / Byte,
    "body"
    / Switch(
        this.kind,
        {
            LOGIN: Struct("size" / Rebuild(Int8ul, len_(this.imei)), "imei" / Bytes(this.size)),
            DATA: Struct("count" / Rebuild(Int8ul, len_(this.records)), "records" / Array(this.count, RECORD)),
        },
    ),
    "crc" / Int16ul,
)


def crc(data: bytes) -> bytes:
    """The checksum of what stands before it."""
    return int(fastcrc.crc16.modbus(data)).to_bytes(2, "little")


def packet(kind: int, body: dict[str, Any]) -> bytes:
    """A whole packet of the terminal."""
    data: bytes = PACKET.build({"kind": kind, "body": body, "crc": 0})
    return data[:-2] + crc(data[:-2])


def login(imei: str) -> bytes:
    """The first packet of a connection."""
    return packet(LOGIN, {"imei": imei.encode("ascii")})


def data_packet(records: Sequence[dict[str, Any]]) -> bytes:
    """A packet of records."""
    return packet(DATA, {"records": records})


def ack(frame: bytes) -> bytes:
    """What lets the terminal erase that packet."""
    return MARKER + bytes((ACK,)) + frame[-2:]
