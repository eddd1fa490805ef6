"""What the subrecords of one record mean, and where: read once per layout, then whole columns at a time.

A layout is told by types, lengths and the bytes that say what follows (masks, sensor numbers, units); every other byte
is a value. Subrecords that are not what they should be stay as bytes; only a position that is none damages its record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from protocols.egts import wire


@dataclass(slots=True)
class Field:
    """A number in a record: at `offset`, read as `form`; value = (raw >> shift & mask) × multiply / divide.

    `kind`: "" a value; "level" above 4 095 a code, which is `status`; "code" a code; "fix" 2 or 3; "flag" told only
    where it is set; "flagged" 0 or 1.
    """

    name: str
    offset: int
    form: str
    shift: int = 0  # bits
    mask: int = 0  # 0: all
    divide: float = 1.0
    multiply: float = 1.0
    kind: str = ""
    status: str = ""


@dataclass(slots=True)
class Text:
    """Bytes that a float cannot hold."""

    name: str
    offset: int
    size: int
    read: Callable[[bytes], str]


@dataclass(slots=True)
class Section:
    """What one position, or the record where there is none, tells."""

    start: int
    position: int = -1  # where POS_DATA's content begins
    altitude: bool = False
    satellites: int = -1
    fields: list[Field] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)


@dataclass(slots=True)
class Layout:
    """`sections` in order; `fixed` are (offset, size) of bytes that tell the layout, `bits` (offset, mask) of bits."""

    sections: list[Section]
    fixed: list[tuple[int, int]]
    bits: list[tuple[int, int]]


class DamagedError(Exception):
    """No record can be made of it."""


class _Reader:
    """Builds a layout."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.section = Section(0)
        self.sections = [self.section]
        self.fixed: list[tuple[int, int]] = []
        self.bits: list[tuple[int, int]] = []
        self.names: dict[str, int] = {}
        self.more_inputs = 1  # octets of inputs, and of eights of analogues, counters and loops, so far
        self.analogs = self.counters = self.loops = 0

    def name(self, wanted: str) -> str:
        """`wanted`, unless the record has it already."""
        count = self.names[wanted] = self.names.get(wanted, 0) + 1
        return wanted if count == 1 else f"again.{wanted}.{count}"

    def add(self, name: str, offset: int, form: str, **how: object) -> None:
        self.section.fields.append(Field(self.name(name), offset, form, **how))  # type: ignore[arg-type]

    def u24(self, name: str, offset: int, **how: object) -> None:
        """Read with the byte before it, which is always there, and without it then."""
        self.add(name, offset - 1, "<u4", shift=8, **how)

    def text(self, name: str, offset: int, size: int, read: Callable[[bytes], str] = bytes.hex) -> None:
        self.section.texts.append(Text(self.name(name), offset, size, read))

    def begin(self, start: int) -> None:
        """A section of its own, unless the record has no position yet."""
        if self.section.position >= 0:
            self.section = Section(start)
            self.sections.append(self.section)
            self.names = {}
            self.more_inputs, self.analogs, self.counters, self.loops = 1, 0, 0, 0


def read_layout(data: bytes) -> Layout:
    """The layout of a record's subrecords.

    Raises
    ------
    DamagedError
        If they do not end where the record does, or a position is too short for what it says it holds.
    """
    reader = _Reader(data)
    at, end = 0, len(data)
    if not end:
        raise DamagedError
    while at < end:
        if end - at < 3:
            raise DamagedError
        size = data[at + 1] | data[at + 2] << 8
        if at + 3 + size > end:
            raise DamagedError
        reader.fixed.append((at, 3))
        known = _KNOWN.get(data[at])
        if known is None or not known(reader, at + 3, size):
            if known is not None:  # what made it none is part of the layout
                reader.fixed.append((at + 3, min(size, 3)))
            if data[at] != wire.RECORD_RESPONSE and size:
                reader.text(f"io.{data[at]}", at + 3, size)
        at += 3 + size
    return Layout(reader.sections, reader.fixed, reader.bits)


def _position(reader: _Reader, at: int, size: int) -> bool:
    if size < 21:
        raise DamagedError
    altitude = bool(reader.data[at + 12] & 0x80)
    told = 24 if altitude else 21
    if size < told:
        raise DamagedError
    reader.begin(at - 3)
    reader.section.position, reader.section.altitude = at, altitude
    reader.bits.append((at + 12, 0x80))
    reader.add("event", at + 20, "u1")
    reader.add("movement", at + 12, "u1", shift=4, mask=1)
    reader.add("gnss.fix", at + 12, "u1", shift=1, mask=1, kind="fix")
    reader.add("gnss.pz90", at + 12, "u1", shift=2, mask=1, kind="flag")
    reader.u24("odometer", at + 16, multiply=100.0)
    reader.add("inputs", at + 19, "u1")
    if size >= told + 2:
        reader.add("event.data", at + told, "<i2")
    return True


def _extended(reader: _Reader, at: int, size: int) -> bool:
    if not size:
        return False
    flags, place, end = reader.data[at], at + 1, at + size
    dops = [name for bit, name in ((1, "vdop"), (2, "hdop"), (4, "pdop")) if flags & bit]
    if place + 2 * len(dops) + (1 if flags & 8 else 0) > end:
        return False
    for name in dops:
        reader.add(name, place, "<u2", divide=100.0)
        place += 2
    if flags & 8:
        reader.section.satellites = place
        place += 1
    if flags & 0x18 and end - place >= 2:  # by what is left: prints and terminals differ about the flags
        reader.add("gnss.systems", place, "<u2")
    reader.fixed.append((at, 1))
    return True


def _ad_sensors(reader: _Reader, at: int, size: int) -> bool:
    data = reader.data
    if size < 3 or 3 + data[at].bit_count() + 3 * data[at + 2].bit_count() > size:
        return False
    inputs, analogs, place = data[at], data[at + 2], at + 3
    reader.fixed += [(at, 1), (at + 2, 1)]
    if reader.more_inputs == 1:  # a second one goes on with what there was no room for
        reader.add("outputs", at + 1, "u1")
    else:
        reader.add(f"again.outputs.{reader.more_inputs // 8 + 1}", at + 1, "u1")
    for bit in range(8):
        if inputs >> bit & 1:
            reader.add(f"inputs.{reader.more_inputs + bit + 1}", place, "u1")
            place += 1
    for bit in range(8):
        if analogs >> bit & 1:
            reader.u24(f"analog.{reader.analogs + bit + 1}", place)
            place += 3
    reader.more_inputs += 8
    reader.analogs += 8
    return True


def _counters(reader: _Reader, at: int, size: int) -> bool:
    if not size or 1 + 3 * reader.data[at].bit_count() > size:
        return False
    reader.fixed.append((at, 1))
    place = at + 1
    for bit in range(8):
        if reader.data[at] >> bit & 1:
            reader.u24(f"counter.{reader.counters + bit + 1}", place)
            place += 3
    reader.counters += 8
    return True


def _state(reader: _Reader, at: int, size: int) -> bool:
    if size < 5:
        return False
    reader.add("state", at, "u1")
    for place, name in ((1, "power.external"), (2, "power.reserve"), (3, "power.battery")):
        reader.add(name, at + place, "u1", divide=10.0)
    for shift, name in ((2, "gnss.on"), (1, "state.ibu"), (0, "state.bbu")):
        reader.add(name, at + 4, "u1", shift=shift, mask=1)
    return True


def _state_or_acceleration(reader: _Reader, at: int, size: int) -> bool:
    """20 was the state, and became the accelerometer: told by the length."""
    if size == 5:
        return _state(reader, at, size)
    if not size or size != 5 + 8 * reader.data[at]:
        return False
    reader.fixed.append((at, 1))
    reader.text("acceleration.samples", at, size, _samples)
    return True


def _samples(data: bytes) -> str:
    def axis(at: int) -> int:
        value = data[at] | data[at + 1] << 8
        return -(value & 0x7FFF) if value & 0x8000 else value

    begun = int.from_bytes(data[1:5], "little") + wire.EPOCH
    told = [
        f"{data[at] | data[at + 1] << 8}:{axis(at + 2)},{axis(at + 4)},{axis(at + 6)}"
        for at in range(5, len(data) - 7, 8)
    ]
    return " ".join([str(begun), *told])


def _loops(reader: _Reader, at: int, size: int) -> bool:
    if not size or 1 + (reader.data[at].bit_count() + 1) // 2 > size:
        return False
    reader.fixed.append((at, 1))
    place = 0
    for bit in range(8):
        if reader.data[at] >> bit & 1:
            reader.add(f"loop.{reader.loops + bit + 1}", at + 1 + place // 2, "u1", shift=4 * (place % 2), mask=15)
            place += 1
    reader.loops += 8
    return True


def _numbered(name: str, kind: str) -> Callable[[_Reader, int, int], bool]:
    def read(reader: _Reader, at: int, size: int) -> bool:
        if size < 2:
            return False
        reader.fixed.append((at + 1, 1))
        reader.bits.append((at, 0xF0))
        number = reader.data[at] >> 4 | reader.data[at + 1] << 4
        reader.add(f"{name}.{number}", at, "u1", mask=15, kind=kind)
        return True

    return read


def _absolute(name: str) -> Callable[[_Reader, int, int], bool]:
    def read(reader: _Reader, at: int, size: int) -> bool:
        if size < 4:
            return False
        reader.fixed.append((at, 1))
        reader.u24(f"{name}.{reader.data[at]}", at + 1)
        return True

    return read


def _liquid(reader: _Reader, at: int, size: int) -> bool:
    if size < 3 or (size < 7 and not reader.data[at] & 8):
        return False
    flags = reader.data[at]
    reader.fixed.append((at, 1))
    number = flags & 7
    while f"fuel.address.{number}" in reader.names:  # one number at several ports
        number += 8
    reader.add(f"fuel.address.{number}", at + 1, "<u2")
    if flags & 8:
        reader.text(f"fuel.raw.{number}", at + 3, size - 3)
    elif flags & 0x40:
        reader.add(f"fuel.status.{number}", at + 3, "<u4", kind="code")
    elif flags & 0x30 == 0x10:
        reader.add(f"fuel.percent.{number}", at + 3, "<u4")
    elif flags & 0x30 == 0x20:
        reader.add(f"fuel.litres.{number}", at + 3, "<u4", divide=10.0)
    else:
        reader.add(f"fuel.level.{number}", at + 3, "<u4", kind="level", status=f"fuel.status.{number}")
    return True


def _passengers(reader: _Reader, at: int, size: int) -> bool:
    data = reader.data
    if size < 5 or (not data[at] & 1 and 5 + 2 * data[at + 1].bit_count() > size):
        return False
    reader.fixed.append((at, 2))
    reader.add("passengers.doors", at + 1, "u1")
    reader.add("passengers.moved", at + 2, "u1")
    reader.add("passengers.address", at + 3, "<u2")
    if data[at] & 1:
        reader.text("passengers.raw", at + 5, size - 5)
        return True
    place = at + 5
    for bit in range(8):
        if data[at + 1] >> bit & 1:
            reader.add(f"passengers.in.{bit + 1}", place, "u1")
            reader.add(f"passengers.out.{bit + 1}", place + 1, "u1")
            place += 2
    return True


def _opaque(name: str) -> Callable[[_Reader, int, int], bool]:
    def read(reader: _Reader, at: int, size: int) -> bool:
        reader.text(name, at, size)
        return True

    return read


_KNOWN: dict[int, Callable[[_Reader, int, int], bool]] = {
    wire.POS_DATA: _position,
    wire.EXT_POS_DATA: _extended,
    wire.AD_SENSORS: _ad_sensors,
    wire.COUNTERS: _counters,
    wire.STATE_OR_ACCEL: _state_or_acceleration,
    wire.STATE: _state,
    wire.LOOPIN: _loops,
    wire.ABS_DIGITAL: _numbered("input", "flagged"),
    wire.ABS_ANALOG: _absolute("analog"),
    wire.ABS_COUNTER: _absolute("counter"),
    wire.ABS_LOOPIN: _numbered("loop", ""),
    wire.LIQUID_LEVEL: _liquid,
    wire.PASSENGERS: _passengers,
    40: _opaque("ecall.msd.raw"),
    50: _opaque("ecall.msd"),
    62: _opaque("ecall.track"),
}
