"""EGTS (GOST R 54619-2011, GOST 33472-2015): the readable truth, for the simulator and as the tests' oracle.

Bytes from the wire go through `session` and `decoder` instead. Integers are little-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from construct import (
    Array,
    Bytes,
    BytesInteger,
    Const,
    Construct,
    ConstructError,
    GreedyBytes,
    GreedyRange,
    If,
    Int8ub,
    Int16sl,
    Int16ul,
    Int32ul,
    Optional,
    Prefixed,
    Rebuild,
    Struct,
    Terminated,
    len_,
    this,
)

from protocols.egts import wire

Int24ul = BytesInteger(3, swapped=True)


def _of(name: str) -> Any:
    """As many as bits are set in a mask."""
    return lambda context: context[name].bit_count()


POS_DATA = Struct(
    "ntm" / Int32ul,  # s since 2010
    "lat" / Int32ul,  # 90 / 0xFFFFFFFF degree
    "long" / Int32ul,  # 180 / 0xFFFFFFFF degree
    "flags" / Int8ub,  # 80 ALTE, 40 LOHS west, 20 LAHS south, 10 MV, 08 BB, 04 CS, 02 FIX, 01 VLD
    "spd" / Int16ul,  # 0.1 km/h in 14 bits, 4000 ALTS, 8000 DIRH
    "dir" / Int8ub,
    "odm" / Int24ul,  # 0.1 km
    "din" / Int8ub,
    "src" / Int8ub,
    "alt" / If(this.flags & 0x80, Int24ul),  # m
    "srcd" / Optional(Int16sl),
    "rest" / GreedyBytes,
)
EXT_POS_DATA = Struct(
    "flags" / Int8ub,  # 10 NSFE, 08 SFE, 04 PFE, 02 HFE, 01 VFE
    "vdop" / If(this.flags & 1, Int16ul),  # 0.01
    "hdop" / If(this.flags & 2, Int16ul),
    "pdop" / If(this.flags & 4, Int16ul),
    "sat" / If(this.flags & 8, Int8ub),
    "ns" / If(this.flags & 0x18, Optional(Int16ul)),
    "rest" / GreedyBytes,
)
AD_SENSORS = Struct(
    "dioe" / Int8ub,
    "dout" / Int8ub,
    "asfe" / Int8ub,
    "inputs" / Array(_of("dioe"), Int8ub),
    "analogs" / Array(_of("asfe"), Int24ul),
    "rest" / GreedyBytes,
)
COUNTERS = Struct("cfe" / Int8ub, "counters" / Array(_of("cfe"), Int24ul), "rest" / GreedyBytes)
STATE = Struct(
    "st" / Int8ub,
    "mpsv" / Int8ub,  # 0.1 V
    "bbv" / Int8ub,
    "ibv" / Int8ub,
    "flags" / Int8ub,  # 04 NMS, 02 IBU, 01 BBU
    "rest" / GreedyBytes,
)
ACCEL = Struct(
    "sa" / Rebuild(Int8ub, len_(this.samples)),
    "atm" / Int32ul,
    "samples" / Array(this.sa, Struct("rtm" / Int16ul, "x" / Int16ul, "y" / Int16ul, "z" / Int16ul)),
    Terminated,
)
LOOPIN = Struct(
    "life" / Int8ub,
    "loops" / Array(lambda context: (context.life.bit_count() + 1) // 2, Int8ub),  # two in each, the low half first
    "rest" / GreedyBytes,
)
ABS_STATE = Struct("value" / Int16ul, "rest" / GreedyBytes)  # low four bits the state, above them the number
ABS_VALUE = Struct("number" / Int8ub, "value" / Int24ul, "rest" / GreedyBytes)
LIQUID_LEVEL = Struct(
    "flags" / Int8ub,  # 40 LLSEF, 30 LLSVU, 08 RDF, 07 LLSN
    "maddr" / Int16ul,
    "llsd" / If(lambda context: not context.flags & 8, Int32ul),
    "rest" / GreedyBytes,
)
PASSENGERS = Struct(
    "rdf" / Int8ub,
    "dpr" / Int8ub,
    "drl" / Int8ub,
    "maddr" / Int16ul,
    "doors" / If(lambda context: not context.rdf & 1, Array(_of("dpr"), Array(2, Int8ub))),  # in, out
    "rest" / GreedyBytes,
)
TERM_IDENTITY = Struct(
    "tid" / Int32ul,
    "flags" / Int8ub,
    "hdid" / If(this.flags & 1, Int16ul),
    "imei" / If(this.flags & 2, Bytes(15)),
    "imsi" / If(this.flags & 4, Bytes(16)),
    "language" / If(this.flags & 8, Bytes(3)),
    "nid" / If(this.flags & 0x20, Bytes(3)),
    "buffer" / If(this.flags & 0x40, Int16ul),
    "msisdn" / If(this.flags & 0x80, Bytes(15)),
    "rest" / GreedyBytes,
)
MODULE_DATA = Struct(
    "mt" / Int8ub,
    "vid" / Int32ul,
    "fwv" / Int16ul,
    "swv" / Int16ul,
    "md" / Int8ub,
    "st" / Int8ub,
    "texts" / GreedyBytes,  # serial number, description: each ends in a zero
)
COMMAND_DATA = Struct(
    "kind" / Int8ub,  # CT in the upper four bits, CCT below
    "cid" / Int32ul,
    "sid" / Int32ul,
    "flags" / Int8ub,  # 02 ACFE, 01 CHSFE
    "chs" / If(this.flags & 1, Int8ub),
    "ac" / If(this.flags & 2, Prefixed(Int8ub, GreedyBytes)),
    "cd" / GreedyBytes,
)
CONTENTS: dict[int, Construct] = {
    16: POS_DATA, 17: EXT_POS_DATA, 18: AD_SENSORS, 19: COUNTERS, 21: STATE, 22: LOOPIN, 23: ABS_STATE, 24: ABS_VALUE,
    25: ABS_VALUE, 26: ABS_STATE, 27: LIQUID_LEVEL, 28: PASSENGERS,
}  # fmt: skip
AUTH_CONTENTS: dict[int, Construct] = {1: TERM_IDENTITY, 2: MODULE_DATA}

SUBRECORD = Struct("type" / Int8ub, "data" / Prefixed(Int16ul, GreedyBytes))
SUBRECORDS = Struct("subrecords" / GreedyRange(SUBRECORD), Terminated)
RECORD = Struct(
    "size" / Rebuild(Int16ul, len_(this.data)),
    "number" / Int16ul,
    "flags" / Int8ub,  # 80 SSOD, 40 RSOD, 20 GRP, 18 RPP, 04 TMFE, 02 EVFE, 01 OBFE
    "oid" / If(this.flags & 1, Int32ul),
    "evid" / If(this.flags & 2, Int32ul),
    "tm" / If(this.flags & 4, Int32ul),
    "sst" / Int8ub,
    "rst" / Int8ub,
    "data" / Bytes(this.size),
)
RECORDS = Struct("records" / GreedyRange(RECORD), Terminated)
PACKET = Struct(
    "prv" / Const(1, Int8ub),
    "skid" / Int8ub,
    "flags" / Int8ub,  # C0 PRF, 20 RTE, 18 ENA, 04 CMP, 03 PR
    "hl" / Int8ub,
    "he" / Int8ub,
    "fdl" / Int16ul,
    "pid" / Int16ul,
    "pt" / Int8ub,  # 0 RESPONSE, 1 APPDATA, 2 SIGNED_APPDATA
    "route" / If(this.hl == wire.ROUTED_HEAD, Struct("pra" / Int16ul, "rca" / Int16ul, "ttl" / Int8ub)),
    "hcs" / Int8ub,
    "sfrd" / Bytes(this.fdl),
    "sfrcs" / If(this.fdl > 0, Int16ul),
)


def content(service: int, kind: int, data: bytes) -> Any:
    """What a subrecord says; its bytes where it is of a kind that is not declared, or not what it should be."""
    known = AUTH_CONTENTS if service == wire.AUTH else CONTENTS
    if service in (wire.COMMANDS, wire.COMMANDS_BY_TEXT):
        known = {wire.COMMAND_DATA: COMMAND_DATA}
    found = known.get(kind)
    if kind == wire.STATE_OR_ACCEL and service in wire.DATA:
        found = STATE if len(data) == 5 else ACCEL
    if found is None:
        return data
    try:
        return found.parse(data)
    except ConstructError:
        return data


def parse_records(data: bytes) -> list[Any]:
    """Service data records, each with its subrecords read."""
    told = []
    for one in RECORDS.parse(data).records:
        parts = SUBRECORDS.parse(one.data).subrecords
        told.append({**one, "subrecords": [{"type": p.type, "data": content(one.sst, p.type, p.data)} for p in parts]})
        del told[-1]["data"], told[-1]["_io"]
    return told


def parse(packet: bytes) -> dict[str, Any]:
    """A whole packet of data: the oracle of the tests, not for hostile input."""
    found = dict(PACKET.parse(packet))
    found.pop("_io")
    return {**found, "sfrd": parse_records(found["sfrd"])}


def build(packet: dict[str, Any]) -> bytes:
    """The bytes of what `parse` told, checksums made anew."""
    body = b"".join([build_record(one) for one in packet["sfrd"]])
    route = packet.get("route")
    hops = b"" if route is None else Struct("pra" / Int16ul, "rca" / Int16ul, "ttl" / Int8ub).build(route)
    return wire.packet(packet["pid"], packet["pt"], body, flags=packet["flags"] & ~0x20, route=hops)


def build_record(one: dict[str, Any]) -> bytes:
    """One service data record."""
    data = b""
    for part in one["subrecords"]:
        raw = part["data"]
        if not isinstance(raw, bytes):
            known = AUTH_CONTENTS if one["sst"] == wire.AUTH else {**CONTENTS, wire.COMMAND_DATA: COMMAND_DATA}
            found = known.get(part["type"]) or (STATE if "st" in raw else ACCEL)
            raw = found.build(raw)
        data += wire.subrecord(part["type"], raw)
    built: bytes = RECORD.build({**one, "data": data})
    return built


def subrecords(*parts: tuple[int, Construct, dict[str, Any]]) -> bytes:
    """Subrecords from (type, declaration, values); what stands behind the declared fields, and what is optional, is
    left out unless it is told.
    """
    return b"".join(
        [
            wire.subrecord(kind, found.build({**dict.fromkeys(one.name for one in found.subcons), "rest": b"", **told}))
            for kind, found, told in parts
        ]
    )


def degrees(value: float, whole: int) -> int:
    """A coordinate as the wire has it: its amount as a part of `whole`, 90 or 180."""
    return min(int(abs(value) / whole * 0xFFFF_FFFF), 0xFFFF_FFFF)


def term_identity(
    tid: int,
    *,
    imei: str = "",
    imsi: str = "",
    nid: tuple[int, int] | None = None,
    buffer: int = 0,
    simple: bool = True,
) -> bytes:
    """TERM_IDENTITY as a subrecord; `nid` is (MCC, MNC)."""
    told: dict[str, Any] = {
        "tid": tid,
        "flags": 2 * bool(imei) | 4 * bool(imsi) | 0x10 * simple | 0x20 * (nid is not None) | 0x40 * bool(buffer),
        "imei": imei.encode("ascii"),
        "imsi": imsi.encode("ascii"),
        "nid": b"" if nid is None else (nid[0] << 10 | nid[1]).to_bytes(3, "little"),
        "buffer": buffer,
    }
    return subrecords((wire.TERM_IDENTITY, TERM_IDENTITY, told))


def module_data(
    software: tuple[int, int], *, hardware: tuple[int, int] = (1, 0), texts: Sequence[str] = ("", "")
) -> bytes:
    """MODULE_DATA of the main module; versions are (major, minor)."""
    told = {
        "mt": 1, "vid": 0, "fwv": hardware[0] << 8 | hardware[1], "swv": software[0] << 8 | software[1], "md": 1,
        "st": 1, "texts": b"".join([text.encode("cp1251") + b"\0" for text in texts]),
    }  # fmt: skip
    return wire.subrecord(wire.MODULE_DATA, MODULE_DATA.build(told))


def login(tid: int, number: int = 1, record: int = 1, data: bytes = b"", **told: Any) -> bytes:
    """The first packet of a connection; `data` are subrecords behind TERM_IDENTITY."""
    body = wire.record(record, wire.AUTH, term_identity(tid, **told) + data, flags=wire.FROM_TERMINAL)
    return wire.packet(number, wire.APPDATA, body)
