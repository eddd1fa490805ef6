"""Arnavi's packages: the readable truth.

Integers are little-endian, floats IEEE 754. A tag is its number and four bytes. This module builds packages for
simulator and tests and reads them as the tests' oracle; bytes from the wire go through `session` and `decoder` instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from construct import (
    Bytes,
    Const,
    Construct,
    Float32l,
    GreedyRange,
    Int8sl,
    Int8ul,
    Int16sl,
    Int16ul,
    Int32sl,
    Int32ul,
    RepeatUntil,
    Struct,
    Switch,
    this,
)

from protocols.arnavi.wire import DATA, total

VALUES: dict[int, Construct] = {
    1: Struct("battery" / Int16ul, "external" / Int16ul),  # mV; 0 and FFFF none
    2: Int32ul,  # key
    3: Float32l,  # latitude
    4: Float32l,  # longitude
    5: Struct("course" / Int8ul, "altitude" / Int8ul, "satellites" / Int8ul, "speed" / Int8ul),  # /2, /10 m, knots
    6: Struct("mode" / Int8ul, "number" / Int8ul, "value" / Int16ul),
    7: Struct("cell" / Int16ul, "area" / Int16ul),
    8: Struct("rssi" / Int8ul, "mcc" / Int16ul, "mnc" / Int8ul),
    9: Int32ul,
    **dict.fromkeys(range(20, 28), Int32ul),  # frequencies
    **dict.fromkeys(range(30, 38), Struct("value" / Int16ul, "spare" / Bytes(2))),  # mV
    **dict.fromkeys(range(40, 50), Struct("value" / Int16sl, "spare" / Bytes(2))),  # 0.01 degrees C
    **dict.fromkeys(range(51, 55), Int32ul),
    55: Struct("value" / Int16ul, "spare" / Bytes(2)),  # 0.1 %
    56: Int32ul,
    57: Struct("value" / Int16ul, "spare" / Bytes(2)),  # rpm
    58: Int32sl,
    **dict.fromkeys(range(59, 65), Int32ul),
    67: Struct("value" / Int16ul, "spare" / Bytes(2)),
    69: Struct("load" / Int8ul, "throttle" / Int8ul, "motion" / Int16ul),
    **dict.fromkeys(range(70, 81), Struct("level" / Int16ul, "temperature" / Int8sl, "fourth" / Int8ul)),
    100: Int32ul,  # 10 m
    102: Int32ul,  # mV
    150: Int32ul,  # 10 m
    151: Struct("value" / Int16ul, "spare" / Bytes(2)),  # HDOP x 100
    250: Int32ul,
    251: Struct("hardware" / Int16ul, "software" / Int16ul),
}

TAG = Struct("tag" / Int8ul, "value" / Switch(this.tag, VALUES, default=Int32ul))
TAGS = GreedyRange(TAG)

RECORD = Struct(
    "kind" / Int8ul,
    "length" / Int16ul,
    "time" / Int32ul,  # s since the Unix epoch
    "data" / Bytes(this.length),
    "sum" / Int8ul,  # of time and data
)


def _ends(stream: Any) -> bool:
    """Whether what comes next ends the package."""
    at = stream.tell()
    sign = stream.read(1)
    stream.seek(at)
    return bool(sign == b"\x5d")


PACKAGE = Struct(
    "start" / Const(0x5B, Int8ul),
    "number" / Int8ul,
    "records" / RepeatUntil(lambda *told: _ends(told[2]["_io"]), RECORD),
    "end" / Const(0x5D, Int8ul),
)


def header(imei: str, version: int = 0x23) -> bytes:
    """What a terminal sends first."""
    return bytes((0xFF, version)) + int(imei).to_bytes(8, "little") + (bytes(8) if version == 0x24 else b"")


def record(time: int, data: bytes, kind: int = DATA) -> bytes:
    """One record with its checksum."""
    body = time.to_bytes(4, "little") + data
    return bytes((kind,)) + len(data).to_bytes(2, "little") + body + bytes((total(body),))


def tags(values: Iterable[tuple[int, Any]]) -> bytes:
    """Tags as they come, each value as `VALUES` has it."""
    return b"".join(TAG.build({"tag": tag, "value": value}) for tag, value in values)


def package(number: int, records: Sequence[bytes]) -> bytes:
    """A whole package."""
    return bytes((0x5B, number)) + b"".join(records) + b"\x5d"


def parse(data: bytes) -> Any:
    """A package: the oracle of the tests, not for hostile input.

    Raises
    ------
    ConstructError
        If it is damaged.
    """
    found = PACKAGE.parse(data)
    return {
        "number": found.number,
        "records": [
            {
                "kind": one.kind,
                "time": one.time,
                "sum": one.sum,
                "data": TAGS.parse(one.data) if one.kind == DATA else one.data,
                "rest": one.data[len(one.data) // 5 * 5 :] if one.kind == DATA else b"",
            }
            for one in found.records
        ],
    }
