"""Galileosky's packets: the readable truth.

Source: Galileosky, "Server exchange protocol" (2019). Integers are little-endian, but in the minimal data set of
compressed packets, which is a row of bits. Tags ascend within a record; one that does not begins the next. This module
builds packets for simulator and tests and reads them as the tests' oracle; bytes from the wire go through `session`
and `decoder` instead.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import fastcrc
from construct import (
    Array,
    BitsInteger,
    BitStruct,
    Byte,
    Bytes,
    Construct,
    ConstructError,
    Flag,
    GreedyBytes,
    Int8sl,
    Int8ul,
    Int16sl,
    Int16ul,
    Int32sl,
    Int32ul,
    Nibble,
    Prefixed,
    StopIf,
    Struct,
    Switch,
    this,
)

DATA, COMPRESSED = 0x01, 0x08

LEVEL = Struct("level" / Int16ul, "temperature" / Int8sl)
THERMOMETER = Struct("id" / Int8ul, "temperature" / Int8sl)
CLIMATE = Struct("id" / Int8ul, "temperature" / Int8sl, "humidity" / Int8ul)  # x 100 / 255 %


def _refrigerator_rest(this_: Any) -> int:
    flags = this_.flags
    sizes = [10] * 3 + [2] * 6 + [32, 20, 12, 2, 2]  # zones 1-3, sensors 1-6, alarms, service, motor hours, errors, rpm
    return sum(size for bit, size in enumerate(sizes, 1) if flags >> bit & 1)


REFRIGERATOR = Struct(
    "type" / Int8ul, "flags" / Int16ul, "inputs" / Array(4, Int8ul), "rest" / Bytes(_refrigerator_rest)
)

EXTENDED_SIZES: dict[int, Construct] = {
    **dict.fromkeys(range(0x0001, 0x0081), Int32ul),  # Modbus 0-31, Bluetooth 0-63, Modbus 32-63
    **dict.fromkeys(range(0x0081, 0x0085), Int16ul),  # cell, area, MCC, MNC
    0x0085: Int8ul,  # signal
}
EXTENDED = Prefixed(Int16ul, GreedyBytes)  # codes and values: `extended_tags`

VALUES: dict[int, Construct] = {
    0x01: Int8ul,  # hardware
    0x02: Int8ul,  # firmware
    0x03: Bytes(15),  # IMEI
    0x04: Int16ul,  # the device's number
    0x10: Int16ul,  # the record's number
    0x20: Int32ul,  # s since the Unix epoch
    0x30: Struct(
        "head" / BitStruct("validity" / Nibble, "satellites" / Nibble),  # 0 satellites, 2 cells, others: no fix
        "latitude" / Int32sl,  # 1e-6 degree
        "longitude" / Int32sl,
    ),
    0x33: Struct("speed" / Int16ul, "course" / Int16ul),  # 0.1 km/h, 0.1 degree
    0x34: Int16sl,  # m
    0x35: Int8ul,  # HDOP x 10; of a place by cells its error in 10 m
    0x40: Int16ul,  # status bits
    0x41: Int16ul,  # mV
    0x42: Int16ul,  # mV
    0x43: Int8sl,  # degrees C
    0x44: Int32ul,  # three axes of ten bits, 512 = 0 g, 186 a g
    0x45: Int16ul,  # outputs
    0x46: Int16ul,  # inputs
    0x47: Array(4, Int8ul),  # acceleration, braking, cornering, bump, 0.01 g
    0x48: Int16ul,
    **dict.fromkeys(range(0x50, 0x5A), Int16ul),  # inputs 0-7; RS232
    0x5A: Int32ul,
    0x5B: REFRIGERATOR,
    0x5C: Bytes(68),
    0x5D: Bytes(3),
    **dict.fromkeys(range(0x60, 0x63), Int16ul),  # fuel sensors at addresses 0-2
    **dict.fromkeys(range(0x63, 0x70), LEVEL),  # 3-15
    **dict.fromkeys(range(0x70, 0x78), THERMOMETER),
    **dict.fromkeys(range(0x80, 0x88), CLIMATE),
    **dict.fromkeys(range(0x88, 0x8D), Int8sl),  # temperatures of fuel sensors: RS232, then addresses 0-2
    0x90: Int32ul,
    **dict.fromkeys(range(0xA0, 0xB0), Int8ul),
    **dict.fromkeys(range(0xB0, 0xBA), Int16ul),
    0xC0: Int32ul,  # 0.5 l
    0xC1: Struct("level" / Int8ul, "coolant" / Int8ul, "rpm" / Int16ul),  # 0.4 %, -40 degrees C, 0.125
    0xC2: Int32ul,  # 5 m
    0xC3: Int32ul,
    **dict.fromkeys(range(0xC4, 0xD3), Int8ul),
    0xD3: Int32ul,
    0xD4: Int32ul,  # m
    0xD5: Int8ul,
    **dict.fromkeys(range(0xD6, 0xDB), Int16ul),
    **dict.fromkeys(range(0xDB, 0xE1), Int32ul),  # CAN32BITR0-4; E0 the number of a command
    0xE1: Prefixed(Int8ul, GreedyBytes),  # text
    **dict.fromkeys(range(0xE2, 0xEA), Int32ul),
    0xEA: Prefixed(Int8ul, GreedyBytes),
    0xEB: Prefixed(Int8ul, GreedyBytes),
    **dict.fromkeys(range(0xF0, 0xFA), Int32ul),
    0xFA: Bytes(3),
    0xFD: Bytes(8),
    0xFE: EXTENDED,
}

TAG = Struct("tag" / Int8ul, StopIf(lambda c: c.tag not in VALUES), "value" / Switch(this.tag, VALUES))

MINIMAL = BitStruct(
    "listed" / Flag,  # 0
    "seconds" / BitsInteger(25),  # since the server's year began, UTC
    "invalid" / Flag,
    "longitude" / BitsInteger(22),  # x 360 / 2^22 - 180
    "latitude" / BitsInteger(21),  # x 180 / 2^21 - 90
    "alarm" / Flag,
    "user" / BitsInteger(9),
)
LIST = Struct("count" / Byte, "tags" / Array(this.count & 0x7F, Int8ul))


def packet(tags: bytes, header: int = DATA, *, more: bool = False) -> bytes:
    """Header, length, `tags` and CRC-16/MODBUS; `more`: the archive holds more."""
    body = bytes((header,)) + (len(tags) | more << 15).to_bytes(2, "little") + tags
    return body + int(fastcrc.crc16.modbus(body)).to_bytes(2, "little")


def record(values: Iterable[tuple[int, Any]]) -> bytes:
    """Tags in order of their codes; each value as `VALUES` has it."""
    return b"".join(bytes((tag,)) + VALUES[tag].build(value) for tag, value in sorted(values, key=lambda v: v[0]))


def head(imei: str, *, hardware: int = 17, firmware: int = 223, number: int = 0, more: bool = False) -> bytes:
    """The packet with which a terminal names itself."""
    return packet(record([(1, hardware), (2, firmware), (3, imei.encode()), (4, number)]), more=more)


def compressed(tags: Sequence[int], records: Sequence[tuple[dict[str, Any] | None, Sequence[Any]]]) -> bytes:
    """A compressed packet; each record its minimal data set, if they have one, and the values of `tags`."""
    out = b""
    for place, (minimal, values) in enumerate(records):
        out += MINIMAL.build({"listed": False, **minimal}) if minimal is not None else b""
        if place == 0 and tags:
            out += bytes((0x80 | len(tags), *tags))
        out += b"".join(VALUES[tag].build(value) for tag, value in zip(tags, values, strict=True))
    return packet(out, COMPRESSED)


def parse(data: bytes) -> Any:
    """A whole packet: the oracle of the tests, not for hostile input.

    Raises
    ------
    ConstructError
        If it is damaged.
    """
    length = int.from_bytes(data[1:3], "little")
    found: dict[str, Any] = {"header": data[0], "more": bool(length >> 15)}
    body = data[3:-2]
    found["records"] = _compressed(body) if data[0] == COMPRESSED else _records(body)
    found["crc"] = int.from_bytes(data[-2:], "little")
    return found


def extended_tags(block: bytes) -> tuple[list[tuple[int, int]], bytes]:
    """Codes and values of the block in tag FE, and what stands behind the last that is known."""
    found: list[tuple[int, int]] = []
    stream = io.BytesIO(block)
    while True:
        at = stream.tell()
        code = int.from_bytes(stream.read(2), "little")
        try:
            found.append((code, EXTENDED_SIZES[code].parse_stream(stream)))
        except (KeyError, ConstructError):
            return found, block[at:]


def _records(body: bytes) -> list[list[Any]]:
    records: list[list[Any]] = []
    stream, last = io.BytesIO(body), 256
    while stream.tell() < len(body):
        found = TAG.parse_stream(stream)
        if found.tag not in VALUES:
            raise ConstructError(f"tag {found.tag:02x} is unknown")
        if found.tag <= last:
            records.append([])
        records[-1].append(found)
        last = found.tag
    return records


def _compressed(body: bytes) -> list[dict[str, Any]]:
    stream = io.BytesIO(body)
    records: list[dict[str, Any]] = []
    tags: list[int] = []
    minimal = body[0] < 0x80
    while stream.tell() < len(body):
        entry: dict[str, Any] = {"minimal": MINIMAL.parse_stream(stream) if minimal else None}
        at = stream.tell()
        if not records and at < len(body) and body[at] == 0xFF:
            mask = body[at + 1 : at + 33]
            tags = [8 * place + bit for place, byte in enumerate(mask) for bit in range(8) if byte >> bit & 1]
            stream.seek(at + 33)
        elif not records and at < len(body) and body[at] >= 0x80:
            tags = list(LIST.parse_stream(stream).tags)
        entry["values"] = [{"tag": tag, "value": VALUES[tag].parse_stream(stream)} for tag in tags]
        records.append(entry)
    return records
