"""Teltonika Codecs 8, 8E and 16 (AVL) and 12 to 15 (text): the readable truth.

Source: Teltonika wiki, "Teltonika Data Sending Protocols". All integers are big-endian. This module
builds frames for the simulator and the tests and reads them as the tests' oracle; bytes from the wire
go through `session` and `decoder` instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import fastcrc
from construct import (
    Array,
    Bytes,
    Computed,
    Const,
    Construct,
    ConstructError,
    GreedyBytes,
    Int8ub,
    Int16sb,
    Int16ub,
    Int32sb,
    Int32ub,
    Int64ub,
    Prefixed,
    Rebuild,
    Struct,
    Switch,
    Terminated,
    len_,
    this,
)

CODEC_8 = 0x08
CODEC_8E = 0x8E
CODEC_16 = 0x10
AVL_CODECS = (CODEC_8, CODEC_8E, CODEC_16)
CODEC_12, CODEC_13, CODEC_14, CODEC_15 = 0x0C, 0x0D, 0x0E, 0x0F
COMMAND, RESPONSE = 5, 6


def _group(identifier: Construct, count: Construct, size: int) -> Construct:
    """One group of an IO element: how many, then as many (id, value of `size` bytes)."""
    return Struct(
        "count" / Rebuild(count, len_(this.items)),
        "items" / Array(this.count, Struct("id" / identifier, "value" / Bytes(size))),
    )


def _io(identifier: Construct, count: Construct, *, generation: bool, variable: bool) -> Construct:
    groups = ["n1", "n2", "n4", "n8"]

    def total(context: Any) -> int:
        return sum(len(context[g]["items"]) for g in [*groups, *(["nx"] if variable else [])])

    return Struct(
        "event" / identifier,
        "generation" / (Int8ub if generation else Computed(None)),
        "total" / Rebuild(count, total),
        "n1" / _group(identifier, count, 1),
        "n2" / _group(identifier, count, 2),
        "n4" / _group(identifier, count, 4),
        "n8" / _group(identifier, count, 8),
        "nx"
        / (
            Struct(
                "count" / Rebuild(count, len_(this.items)),
                "items"
                / Array(
                    this.count,
                    Struct("id" / identifier, "value" / Prefixed(Int16ub, GreedyBytes)),
                ),
            )
            if variable
            else Computed(None)
        ),
    )


def record(codec: int) -> Construct:
    """The declaration of one AVL record of `codec`."""
    io = {
        CODEC_8: _io(Int8ub, Int8ub, generation=False, variable=False),
        CODEC_8E: _io(Int16ub, Int16ub, generation=False, variable=True),
        CODEC_16: _io(Int16ub, Int8ub, generation=True, variable=False),
    }[codec]
    return Struct(
        "timestamp" / Int64ub,  # ms since the Unix epoch
        "priority" / Int8ub,  # 0 low, 1 high, 2 panic
        "longitude" / Int32sb,  # 1e-7 degree; longitude comes first
        "latitude" / Int32sb,
        "altitude" / Int16sb,  # m
        "angle" / Int16ub,  # degrees from north
        "satellites" / Int8ub,
        "speed" / Int16ub,  # km/h
        "io" / io,
    )


_RECORDS = {codec: record(codec) for codec in AVL_CODECS}

AVL = Struct(
    "codec" / Int8ub,
    "count" / Rebuild(Int8ub, len_(this.records)),
    "records" / Switch(this.codec, {c: Array(this.count, _RECORDS[c]) for c in AVL_CODECS}),
    "count2" / Rebuild(Int8ub, len_(this.records)),
)

TEXT = Struct(
    "codec" / Int8ub,
    "count" / Const(1, Int8ub),
    "type" / Int8ub,
    "body" / Prefixed(Int32ub, GreedyBytes),
    "count2" / Const(1, Int8ub),
)


def tcp_frame(payload: bytes) -> bytes:
    """Preamble, length, `payload` (codec to the second count) and its CRC-16/ARC."""
    return bytes(4) + len(payload).to_bytes(4, "big") + payload + int(fastcrc.crc16.arc(payload)).to_bytes(4, "big")


def udp_datagram(payload: bytes, imei: str, *, packet_id: int = 0xCAFE, avl_id: int = 1) -> bytes:
    """The UDP channel's datagram: no login, no CRC; the IMEI stands in each."""
    body = packet_id.to_bytes(2, "big") + b"\x01" + bytes([avl_id]) + len(imei).to_bytes(2, "big")
    body += imei.encode("ascii") + payload
    return len(body).to_bytes(2, "big") + body


def login(imei: str) -> bytes:
    """The first bytes of a TCP connection."""
    return len(imei).to_bytes(2, "big") + imei.encode("ascii")


def command(text: str, *, codec: int = CODEC_12, kind: int = COMMAND) -> bytes:
    """A Codec 12 frame, from the server (`COMMAND`) or from the terminal (`RESPONSE`)."""
    return tcp_frame(TEXT.build({"codec": codec, "type": kind, "body": text.encode("ascii")}))


def io_item(identifier: int, value: bytes) -> dict[str, Any]:
    """One IO element as the declaration takes it."""
    return {"id": identifier, "value": value}


def avl_record(
    *,
    timestamp: int,
    latitude: int = 0,
    longitude: int = 0,
    altitude: int = 0,
    angle: int = 0,
    satellites: int = 0,
    speed: int = 0,
    priority: int = 0,
    event: int = 0,
    generation: int | None = None,
    items: Iterable[tuple[int, bytes]] = (),
) -> dict[str, Any]:
    """A record for `avl_payload`: raw wire units; `items` are (id, value bytes), grouped by their size."""
    by_size: dict[str, list[dict[str, Any]]] = {"n1": [], "n2": [], "n4": [], "n8": [], "nx": []}
    for identifier, value in items:
        group = {1: "n1", 2: "n2", 4: "n4", 8: "n8"}.get(len(value), "nx")
        by_size[group].append(io_item(identifier, value))
    return {
        "timestamp": timestamp,
        "priority": priority,
        "longitude": longitude,
        "latitude": latitude,
        "altitude": altitude,
        "angle": angle,
        "satellites": satellites,
        "speed": speed,
        "io": {
            "event": event,
            "generation": generation,
            **{name: {"items": group} for name, group in by_size.items()},
        },
    }


def avl_payload(codec: int, records: Sequence[dict[str, Any]]) -> bytes:
    """Codec byte to second count, as covered by the CRC."""
    payload: bytes = AVL.build({"codec": codec, "records": records})
    return payload


def avl_frame(codec: int, records: Sequence[dict[str, Any]]) -> bytes:
    """A whole TCP data frame."""
    return tcp_frame(avl_payload(codec, records))


def parse_avl(payload: bytes) -> Any:
    """Read a payload through the declaration: the oracle of the tests, not for hostile input."""
    return AVL.parse(payload)


def parse_record(codec: int, data: bytes) -> Any:
    """One record alone; None unless `codec` reads these bytes to their end."""
    try:
        return Struct("record" / _RECORDS[codec], Terminated).parse(data).record
    except ConstructError:
        return None
