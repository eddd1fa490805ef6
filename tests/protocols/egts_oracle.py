"""What a packet of EGTS says, read field by field through the declaration: slow, and independent of the decoder."""

from __future__ import annotations

from typing import Any

from protocols.egts import declaration as d
from protocols.egts import wire
from protocols.egts.walk import PACKET, REMAINDER, span_of
from protocols.records import (
    ARCHIVE,
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    TIME_UNKNOWN,
    VALID,
    Frame,
)

_NOTHING = {"altitude": None, "speed": None, "course": None, "lat": None, "lon": None, "satellites": -1, "flags": 0}


class _Record:
    """One record while its subrecords come."""

    def __init__(self, tm: int | None, evid: int | None) -> None:
        self.row: dict[str, Any] = dict(_NOTHING)
        self.measures: dict[str, Any] = {}
        self.told: dict[str, int] = {}
        self.inputs, self.eights = 1, {"analog": 0, "counter": 0, "loop": 0}
        self.tm, self.placed = tm, False
        self.row["time"] = None if tm is None else (tm + wire.EPOCH) * 1_000_000
        self.evid = evid

    def put(self, name: str, value: Any) -> None:
        count = self.told[name] = self.told.get(name, 0) + 1
        if value is not None:
            self.measures[name if count == 1 else f"again.{name}.{count}"] = value


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """The records of a frame, with the columns of a batch."""
    if frame.variant == REMAINDER:
        return None
    found = rows(frame.data, frame.variant)
    return [{**row, "time": TIME_UNKNOWN if row["time"] is None else row["time"]} for row in found]


def rebuilt(frame: Frame) -> bytes:
    """Built out of what was parsed."""
    return d.build(d.parse(frame.data))


def rows(frame_data: bytes, variant: int = PACKET) -> list[dict[str, Any]]:
    """The records of a whole packet in order; those that are damaged are left out."""
    begin, end = span_of(frame_data, variant)
    found: list[dict[str, Any]] = []
    tm: int | None = None
    records, _ = wire.records(frame_data, begin, end)
    for place in records:
        one = d.RECORD.parse(frame_data[place.start : place.end])
        tm = one.tm if one.tm is not None else tm
        try:
            parts = d.SUBRECORDS.parse(one.data).subrecords
        except d.ConstructError:
            continue
        if not parts or any(_no_position(part) for part in parts):
            continue
        found += _of(one, parts, tm)
    return found


def _no_position(part: Any) -> bool:
    if part.type != wire.POS_DATA:
        return False
    try:
        d.POS_DATA.parse(part.data)
    except d.ConstructError:
        return True
    return False


def _of(one: Any, parts: Any, tm: int | None) -> list[dict[str, Any]]:
    records = [_Record(tm, one.evid)]
    for part in parts:
        content = d.content(wire.TELEDATA, part.type, part.data)
        if part.type == wire.POS_DATA and records[-1].placed:
            records.append(_Record(tm, None))
        current = records[-1]
        if isinstance(content, bytes):
            opaque = {40: "ecall.msd.raw", 50: "ecall.msd", 62: "ecall.track"}.get(part.type)
            if opaque or (part.type and content):
                current.put(opaque or f"io.{part.type}", content.hex())
        else:
            _READ[part.type](current, content, part.data)
            if part.type == wire.POS_DATA and one.tm is not None and content.ntm and one.tm != content.ntm:
                current.measures["record.time"] = one.tm + wire.EPOCH
    for current in records[:1]:
        if current.evid is not None:
            current.measures["event.id"] = current.evid
    return [
        current.row | {"measures": current.measures}
        for current in records
        if current.placed or current.told or current.row["satellites"] >= 0
    ]


def _position(record: _Record, told: Any, data: bytes) -> None:
    record.placed = True
    row = record.row
    if told.ntm or record.tm is None:
        row["time"] = (told.ntm + wire.EPOCH) * 1_000_000
    if told.flags & 1:
        row["lat"] = told.lat * 90.0 / 0xFFFFFFFF * (-1 if told.flags & 0x20 else 1)
        row["lon"] = told.long * 180.0 / 0xFFFFFFFF * (-1 if told.flags & 0x40 else 1)
    row["speed"] = (told.spd & 0x3FFF) / 10
    row["course"] = told.dir + (256 if told.spd & 0x8000 else 0)
    if told.alt is not None:
        row["altitude"] = -told.alt if told.spd & 0x4000 else told.alt
    row["flags"] = (
        VALID * (told.flags & 1)
        | MOVING * bool(told.flags & 0x10)
        | ARCHIVE * bool(told.flags & 8)
        | IGNITION_KNOWN * (told.src in (0, 5))
        | IGNITION_ON * (told.src == 0)
        | EVENT * (told.src not in (0, 1, 2, 5))
    )
    record.put("event", told.src)
    record.put("movement", told.flags >> 4 & 1)
    record.put("gnss.fix", 2 + (told.flags >> 1 & 1))
    if told.flags & 4:
        record.put("gnss.pz90", 1)
    record.put("odometer", told.odm * 100)
    record.put("inputs", told.din)
    if told.srcd is not None:
        record.put("event.data", told.srcd)


def _extended(record: _Record, told: Any, data: bytes) -> None:
    for name in ("vdop", "hdop", "pdop"):
        if told[name] is not None:
            record.put(name, told[name] / 100)
    if told.sat is not None:
        record.row["satellites"] = told.sat
    if told.ns is not None:
        record.put("gnss.systems", told.ns)


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(8) if mask >> bit & 1]


def _sensors(record: _Record, told: Any, data: bytes) -> None:
    record.put("outputs" if record.inputs == 1 else f"again.outputs.{record.inputs // 8 + 1}", told.dout)
    for bit, value in zip(_bits(told.dioe), told.inputs, strict=True):
        record.put(f"inputs.{record.inputs + bit + 1}", value)
    _eights(record, "analog", told.asfe, told.analogs)
    record.inputs += 8


def _eights(record: _Record, name: str, mask: int, values: Any) -> None:
    for bit, value in zip(_bits(mask), values, strict=False):
        record.put(f"{name}.{record.eights[name] + bit + 1}", value)
    record.eights[name] += 8


def _loops(record: _Record, told: Any, data: bytes) -> None:
    _eights(record, "loop", told.life, [half for byte in told.loops for half in (byte & 15, byte >> 4)])


def _state(record: _Record, told: Any, data: bytes) -> None:
    if "samples" in told:
        samples = [
            f"{s.rtm}:" + ",".join(str(-(v & 0x7FFF) if v & 0x8000 else v) for v in (s.x, s.y, s.z))
            for s in told.samples
        ]
        record.put("acceleration.samples", " ".join([str(told.atm + wire.EPOCH), *samples]))
        return
    record.put("state", told.st)
    for name, value in (("external", told.mpsv), ("reserve", told.bbv), ("battery", told.ibv)):
        record.put(f"power.{name}", value / 10)
    for name, bit in (("gnss.on", 4), ("state.ibu", 2), ("state.bbu", 1)):
        record.put(name, int(bool(told.flags & bit)))


def _level(record: _Record, told: Any, data: bytes) -> None:
    number = told.flags & 7
    while f"fuel.address.{number}" in record.told:
        number += 8
    record.put(f"fuel.address.{number}", told.maddr)
    if told.flags & 8:
        record.put(f"fuel.raw.{number}", data[3:].hex())
        return
    value = told.llsd
    code = value & 0xFFFF if value >= 0xFFFF0000 else value
    unit = told.flags >> 4 & 3
    if told.flags & 0x40:
        record.put(f"fuel.status.{number}", code)
    elif unit == 1:
        record.put(f"fuel.percent.{number}", value)
    elif unit == 2:
        record.put(f"fuel.litres.{number}", value / 10)
    else:
        record.put(f"fuel.level.{number}", value if value <= 4095 else None)
        if value > 4095:
            record.measures[f"fuel.status.{number}"] = code


def _passengers(record: _Record, told: Any, data: bytes) -> None:
    record.put("passengers.doors", told.dpr)
    record.put("passengers.moved", told.drl)
    record.put("passengers.address", told.maddr)
    if told.rdf & 1:
        record.put("passengers.raw", data[5:].hex())
        return
    for bit, (entered, left) in zip(_bits(told.dpr), told.doors, strict=True):
        record.put(f"passengers.in.{bit + 1}", entered)
        record.put(f"passengers.out.{bit + 1}", left)


_READ: dict[int, Any] = {
    16: _position,
    17: _extended,
    18: _sensors,
    19: lambda record, told, data: _eights(record, "counter", told.cfe, told.counters),
    20: _state,
    21: _state,
    22: _loops,
    23: lambda record, told, data: record.put(f"input.{told.value >> 4}", int(told.value & 15 != 0)),
    24: lambda record, told, data: record.put(f"analog.{told.number}", told.value),
    25: lambda record, told, data: record.put(f"counter.{told.number}", told.value),
    26: lambda record, told, data: record.put(f"loop.{told.value >> 4}", told.value & 15),
    27: _level,
    28: _passengers,
}
