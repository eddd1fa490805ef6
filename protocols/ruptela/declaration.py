"""Ruptela's frames: the readable truth.

Integers are big-endian. This module builds frames for simulator and tests and reads them as the tests' oracle; bytes
from the wire go through `session` and `decoder` instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from construct import (
    Array,
    BitStruct,
    Bytes,
    Computed,
    Construct,
    Int8ub,
    Int16ub,
    Int32sb,
    Int32ub,
    Nibble,
    Rebuild,
    Struct,
    Terminated,
    len_,
    this,
)

from protocols.ruptela.wire import DTCS, EXTENDED, HEAD, RECORDS, TAIL, uplink

INVALID = -(1 << 31)  # in place of a coordinate


def _group(identifier: Construct, size: int) -> Construct:
    return Struct(
        "count" / Rebuild(Int8ub, len_(this.items)),
        "items" / Array(this.count, Struct("id" / identifier, "value" / Bytes(size))),
    )


def record(command: int) -> Construct:
    """The declaration of one record, or of one part of an extended one."""
    long = command == EXTENDED
    identifier = Int16ub if long else Int8ub
    return Struct(
        "time" / Int32ub,  # s since the Unix epoch
        "extension" / Int8ub,  # tells records of one second apart
        "part" / (BitStruct("last" / Nibble, "number" / Nibble) if long else Computed(None)),
        "priority" / Int8ub,
        "longitude" / Int32sb,  # 1e-7 degree; INVALID: none
        "latitude" / Int32sb,
        "altitude" / Int16ub,  # 0.1 m; from 60000 on below the sea; 0x8000: none
        "angle" / Int16ub,  # 0.01 degree; 0xFFFF: none
        "satellites" / Int8ub,  # 0xFF: none
        "speed" / Int16ub,  # km/h; 0xFFFF: none
        "hdop" / Int8ub,  # 0.1; 0xFF: none
        "event" / identifier,
        "n1" / _group(identifier, 1),
        "n2" / _group(identifier, 2),
        "n4" / _group(identifier, 4),
        "n8" / _group(identifier, 8),
    )


RECORD = {command: record(command) for command in (RECORDS, EXTENDED)}
DTC = Struct(
    "reserved" / Int8ub,
    "time" / Int32ub,
    "longitude" / Int32sb,
    "latitude" / Int32sb,
    "kind" / Int8ub,  # 2: from the archive
    "code" / Bytes(5),
)
PAYLOAD = {
    **{
        command: Struct("left" / Int8ub, "count" / Int8ub, "records" / Array(this.count, one), Terminated)
        for command, one in RECORD.items()
    },
    DTCS: Struct("count" / Int8ub, "records" / Array(this.count, DTC), Terminated),
}


def values(
    *,
    time: int,
    longitude: int = 0,
    latitude: int = 0,
    altitude: int = 0,
    angle: int = 0,
    satellites: int = 0,
    speed: int = 0,
    hdop: int = 0,
    event: int = 0,
    extension: int = 0,
    priority: int = 0,
    last: int = 0,
    number: int = 0,
    items: Iterable[tuple[int, bytes]] = (),
) -> dict[str, Any]:
    """A record as `RECORD` takes it: raw wire units; `items` are (id, value bytes), grouped by their size."""
    groups: dict[int, list[dict[str, Any]]] = {1: [], 2: [], 4: [], 8: []}
    for identifier, value in items:
        groups[len(value)].append({"id": identifier, "value": value})
    return {
        "time": time, "extension": extension, "part": {"last": last, "number": number}, "priority": priority,
        "longitude": longitude, "latitude": latitude, "altitude": altitude, "angle": angle,
        "satellites": satellites, "speed": speed, "hdop": hdop, "event": event,
        **{f"n{size}": {"items": group} for size, group in groups.items()},
    }  # fmt: skip


def build(command: int, its: dict[str, Any]) -> bytes:
    """One record, or one part."""
    made: bytes = RECORD[command].build(its)
    return made


def frame(imei: str, command: int, records: Sequence[bytes], *, left: int = 0) -> bytes:
    """A frame of records; `left`: more wait in the terminal's memory."""
    return uplink(imei, command, bytes((left, len(records))) + b"".join(records))


def parse(data: bytes) -> Any:
    """A frame: the oracle of the tests, not for hostile input.

    Raises
    ------
    ConstructError
        If it is damaged.
    KeyError
        If it is no frame of records.
    """
    command = data[HEAD - 1]
    return {
        "imei": f"{int.from_bytes(data[2:10], 'big'):015d}",
        "command": command,
        **PAYLOAD[command].parse(data[HEAD:-TAIL]),
    }
