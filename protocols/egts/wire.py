"""Packets, records and subrecords of EGTS as bytes: checksums, heads, and what stands where.

    packet  PRV SKID flags HL HE FDL2 PID2 PT [PRA2 RCA2 TTL] HCS | SFRD | SFRCS2 (only if FDL > 0)
    SFRD    APPDATA: records · RESPONSE: RPID2 PR records · SIGNED: SIGL2 SIGD records
    record  RL2 RN2 RFL [OID4] [EVID4] [TM4] SST RST | RL bytes of subrecords: SRT SRL2 SRD

Source: GOST 33472-2015, annexes A to V. Integers are little-endian. OID and TM hold for the records behind them in
the packet until another is told.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import fastcrc

EPOCH = 1_262_304_000  # 2010-01-01 00:00:00 UTC, Unix s
RESPONSE, APPDATA, SIGNED = 0, 1, 2
AUTH, TELEDATA, COMMANDS, FIRMWARE, ECALL = 1, 2, 4, 9, 10
COMMANDS_BY_TEXT = 3  # as one print of the standard numbers that service; no terminal is known to
DATA = (TELEDATA, ECALL)

# Subrecords.
RECORD_RESPONSE = 0
TERM_IDENTITY, MODULE_DATA, VEHICLE_DATA, DISPATCHER_IDENTITY, SERVICE_INFO, RESULT_CODE = 1, 2, 3, 5, 8, 9
POS_DATA, EXT_POS_DATA, AD_SENSORS, COUNTERS, STATE_OR_ACCEL, STATE, LOOPIN = 16, 17, 18, 19, 20, 21, 22
ABS_DIGITAL, ABS_ANALOG, ABS_COUNTER, ABS_LOOPIN, LIQUID_LEVEL, PASSENGERS = 23, 24, 25, 26, 27, 28
COMMAND_DATA = 51

# Result codes.
OK, IN_PROGRESS = 0, 1
UNS_PROTOCOL, DECRYPT_ERROR, INC_HEADER, INC_DATA, UNS_TYPE = 128, 129, 131, 132, 133
HEADER_CRC, DATA_CRC, INV_LENGTH, OBJECT_UNKNOWN, SERVICE_UNKNOWN = 137, 138, 139, 146, 150
AUTH_DENIED, ID_UNKNOWN, NO_RESOURCES = 151, 153, 156

HEAD, ROUTED_HEAD = 11, 16  # bytes of a header
MAX_DATA = 65_517
MAX_PACKET = ROUTED_HEAD + MAX_DATA + 2
HAS_OID, HAS_EVID, HAS_TM = 1, 2, 4
TO_TERMINAL = 0x58  # sender on the platform, receiver on the device, low priority
FROM_TERMINAL = 0x98

crc8 = fastcrc.crc8.nrsc_5
crc16 = fastcrc.crc16.ibm_3740
_HEAD = struct.Struct("<BBBBBHHB").pack
_RECORD = struct.Struct("<HHB").unpack_from
_CONFIRMED = struct.Struct("<HBHHBBBBHHB")
_SEALED = struct.Struct(f"<{HEAD - 1}sB{_CONFIRMED.size}sH").pack


def packet(pid: int, kind: int, body: bytes, *, flags: int = 3, route: bytes = b"") -> bytes:
    """A whole packet; `route` is sender, receiver and hops left, where it is to be routed."""
    size = ROUTED_HEAD if route else HEAD
    head = _HEAD(1, 0, flags | (0x20 if route else 0), size, 0, len(body), pid, kind) + route
    head += bytes((crc8(head),))
    return head + body + crc16(body).to_bytes(2, "little") if body else head


def subrecord(kind: int, data: bytes) -> bytes:
    """Type, length, data."""
    return bytes((kind,)) + len(data).to_bytes(2, "little") + data


def record(
    number: int,
    service: int,
    data: bytes,
    *,
    flags: int = TO_TERMINAL,
    oid: int | None = None,
    evid: int | None = None,
    tm: int | None = None,
) -> bytes:
    """A service data record; `data` are its subrecords."""
    told = [(HAS_OID, oid), (HAS_EVID, evid), (HAS_TM, tm)]
    flags |= sum(bit for bit, value in told if value is not None)
    optional = b"".join(value.to_bytes(4, "little") for _, value in told if value is not None)
    return struct.pack("<HHB", len(data), number, flags) + optional + bytes((service, service)) + data


def response(pid: int, number: int, rpid: int, result: int, confirmed: Iterable[tuple[int, int, int]]) -> bytes:
    """The answer to packet `rpid`: (record number, service, result) of each record, as records from `number` on."""
    told: list[int] = [rpid, result]
    for confirmed_number, service, code in confirmed:
        told += (6, number, TO_TERMINAL, service, service, 0, 3, confirmed_number, code)
        number = number + 1 & 0xFFFF
    return packet(pid, RESPONSE, _response(len(told) // 9).pack(*told))


def confirmation(pid: int, number: int, rpid: int, confirmed: int, service: int) -> bytes:
    """The answer to packet `rpid` of one good record: as `response` has it, and sooner."""
    head = _HEAD(1, 0, 3, HEAD, 0, _CONFIRMED.size, pid, RESPONSE)
    body = _CONFIRMED.pack(rpid, OK, 6, number, TO_TERMINAL, service, service, RECORD_RESPONSE, 3, confirmed, OK)
    return _SEALED(head, crc8(head), body, crc16(body))


@lru_cache(256)
def _response(records: int) -> struct.Struct:
    return struct.Struct("<HB" + "HHBBBBHHB" * records)


class Record(NamedTuple):
    """Where one record lies in `data[start:end]`, and what is told before its subrecords.

    `oid`, `tm`: its own or inherited from the record before; `own_tm`: it has one itself.
    """

    start: int
    number: int
    flags: int
    oid: int | None
    evid: int | None
    tm: int | None
    service: int
    at: int  # of its subrecords
    end: int


def records(data: bytes, at: int, end: int) -> tuple[list[Record], int]:
    """The records in `data[at:end]`, and where the first one begins that does not end in there; -1: all do."""
    found: list[Record] = []
    oid: int | None = None
    tm: int | None = None
    while at < end:
        if end - at < 7:
            return found, at
        size, number, flags = _RECORD(data, at)
        place = at + 5
        body = place + 4 * (flags & 7).bit_count() + 2
        if body + size > end:
            return found, at
        evid = None
        if flags & HAS_OID:
            oid = int.from_bytes(data[place : place + 4], "little")
            place += 4
        if flags & HAS_EVID:
            evid = int.from_bytes(data[place : place + 4], "little")
            place += 4
        if flags & HAS_TM:
            tm = int.from_bytes(data[place : place + 4], "little")
        found.append(Record(at, number, flags, oid, evid, tm, data[body - 2], body, body + size))
        at = body + size
    return found, -1


def alone(data: bytes, one: Record) -> bytes:
    """A record's bytes; a time that it inherits is written into them, so that they say the same without the others."""
    if one.tm is None or one.flags & HAS_TM:
        return data[one.start : one.end]
    head = data[one.start : one.at - 2]
    return (
        head[:4] + bytes((one.flags | HAS_TM,)) + head[5:] + one.tm.to_bytes(4, "little") + data[one.at - 2 : one.end]
    )


def subrecords(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and data of each; ends at the first that does not fit."""
    at = 0
    while at + 3 <= len(data):
        size = data[at + 1] | data[at + 2] << 8
        if at + 3 + size > len(data):
            return
        yield data[at], data[at + 3 : at + 3 + size]
        at += 3 + size


def span(data: bytes) -> tuple[int, int]:
    """Where the records of a packet whose checksums were right begin and end."""
    start, end = data[3], len(data) - 2
    if data[9] == SIGNED and end - start >= 2:
        start += 2 + int.from_bytes(data[start : start + 2], "little", signed=True)
    return min(max(start, HEAD), end), end


def text(data: bytes, charset: int = 0) -> str | None:
    """A text as commands and descriptions carry it; None: it is none."""
    try:
        told = data.decode({1: "ascii", 3: "latin-1", 8: "utf-16-be"}.get(charset, "cp1251"))
    except UnicodeDecodeError:
        return None
    told = told.rstrip("\0")
    return told if all(c.isprintable() or c in "\r\n\t" for c in told) else None


def delimited(data: bytes, count: int) -> Sequence[bytes]:
    """Strings that end in a zero each; fewer if they do not."""
    return data.split(b"\0")[:count]
