"""NTCB and FLEX: the readable truth.

Source: Navtelecom, "Protocol of information exchange" v6.1 (2021). Integers are little-endian, floats IEEE 754. A
record is the fields that were agreed upon, one behind the other, in order of their numbers. This module builds messages
for simulator and tests and reads them as the tests' oracle; bytes from the wire go through `session` and `decoder`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from construct import (
    Array,
    BitsInteger,
    BitStruct,
    Bytes,
    Construct,
    ConstructError,
    Flag,
    Float32l,
    GreedyBytes,
    GreedyRange,
    Int8sl,
    Int8ul,
    Int16sl,
    Int16ul,
    Int32sl,
    Int32ul,
    Int64sl,
    Int64ul,
    Prefixed,
    Struct,
)

from protocols.flex.wire import PROTOCOL, Selection, ntcb, sealed, unprefixed

NAVIGATION = BitStruct("satellites" / BitsInteger(6), "valid" / Flag, "on" / Flag)
FUEL = Struct("level" / Int16ul, "temperature" / Int8sl)
TYRE = Struct("wheel" / Int8ul, "pressure" / Int8ul, "temperature" / Int8sl)
CELL = Struct("cell" / Int32ul, "area" / Int16ul, "mcc" / Int16ul, "mnc" / Int16ul, "level" / Int8sl)


def _each(numbers: Iterable[int], kind: Construct) -> dict[int, Construct]:
    return dict.fromkeys(numbers, kind)


FIELDS: dict[int, Construct] = {
    1: Int32ul,  # number in the archive
    2: Int16ul,  # event
    3: Int32ul,  # s since the Unix epoch
    **_each((4, 5, 6, 7), Int8ul),  # device, modules, modules, GSM level
    8: NAVIGATION,
    9: Int32ul,  # time of the last valid place
    **_each((10, 11), Int32sl),  # latitude, longitude, 1e-4 minute
    12: Int32sl,  # altitude, dm
    13: Float32l,  # speed, km/h
    14: Int16ul,  # course
    **_each((15, 16), Float32l),  # mileage, segment, km
    **_each(range(17, 29), Int16ul),  # segment times; supply, backup, analogue inputs, mV
    **_each(range(29, 33), Int8ul),  # inputs, outputs
    **_each((33, 34), Int32ul),  # pulses
    **_each((35, 36), Int16ul),  # frequencies
    37: Int32ul,  # engine, s
    **_each(range(38, 45), Int16ul),  # fuel levels RS485 1-6, RS232
    **_each(range(45, 53), Int8sl),  # thermometers
    53: Int16ul,  # fuel by CAN: bit 15 percent, else 0.1 l
    54: Float32l,  # fuel used, l
    55: Int16ul,  # rpm
    56: Int8sl,  # coolant
    57: Float32l,  # mileage by CAN, km
    **_each(range(58, 63), Int16ul),  # axles
    **_each((63, 64, 65), Int8ul),  # accelerator, brake, load
    66: Int16ul,  # AdBlue, as 53
    67: Int32ul,  # engine by CAN, s
    68: Int16sl,  # service in 5 km
    69: Int8ul,  # speed by CAN
    70: Array(8, Int8ul),  # visible satellites
    71: Struct("hdop" / Int8ul, "pdop" / Int8ul),
    72: Int8ul,
    73: Struct("latitude" / Int64sl, "longitude" / Int64sl),  # 1e-7 minute
    74: Int32sl,  # mm
    75: Int16ul,  # 0.01 degree
    76: Float32l,
    77: Struct("cells" / Array(3, CELL), "time" / Int32ul),
    **_each(range(78, 84), Int8sl),  # temperatures of fuel sensors 1-6
    **_each(range(84, 94), FUEL),  # fuel sensors 7-16
    94: Array(2, TYRE),
    95: Array(4, TYRE),
    96: Array(8, TYRE),
    97: Array(16, TYRE),
    **_each((98, 99), Int8ul),  # tachograph
    100: Int16ul,  # one byte before version 6.0
    101: Int8ul,
    **_each((102, 103), Int32ul),
    104: Int8ul,
    105: Int32ul,
    106: Int16ul,
    107: Array(3, Int16sl),  # acceleration, mg
    108: Int16ul,
    109: Array(3, Int16sl),  # hardest acceleration, braking, cornering, mg
    **_each(range(110, 118), Array(2, Int8ul)),  # passengers
    118: Int8ul,
    **_each((119, 120, 121), Int16ul),
    **_each(range(122, 127), Int8ul),
    **_each(range(127, 133), Int32ul),  # pulses 3-8
    **_each(range(133, 139), Int16ul),  # frequencies 3-8
    **_each((139, 140), Int8ul),
    141: Struct("pitch" / Int8sl, "roll" / Int8sl),
    142: Array(3, Int8ul),
    143: Int16sl,
    **_each((144, 145), Int8ul),
    146: Bytes(3),
    **_each(range(147, 163), Int16ul),  # frequencies of fuel sensors
    **_each(range(163, 167), Int16sl),  # 0.05 degrees C
    **_each(range(167, 171), Int8ul),  # 0.5 %
    171: Int16ul,
    **_each((172, 173, 174), Int32ul),
    175: Int16sl,
    176: Int32ul,
    **_each((177, 178), Int16sl),
    179: Int32ul,
    **_each((180, 181), Int16sl),
    182: Int16ul,
    **_each(range(183, 191), Int16sl),  # 0.01 degrees C
    **_each((191, 192), Int16ul),
    **_each((193, 194), Int32ul),
    195: Bytes(4),
    196: Bytes(4),
    197: Bytes(6),
    198: Struct("mode" / Int8ul, "rpm" / Int16ul),
    199: Int8ul,
    **_each((200, 201), Int16ul),
    202: Int8ul,
    203: Int32ul,
    204: Struct("lamps" / Int8ul, "code" / Int32ul),
    **_each((205, 206), Int32ul),
    **_each(range(207, 223), Int8ul),
    **_each(range(223, 238), Int16ul),
    **_each(range(238, 253), Int32ul),
    **_each(range(253, 256), Int64ul),
}

STATIC = Struct(*(f"field_{n}" / FIELDS[n] for n in (1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15)))
PART = Struct("kind" / Int8ul, "data" / Prefixed(Int8ul, GreedyBytes))
ADDITIONAL = Prefixed(
    Int16ul,
    Struct("version" / Int8ul, "static" / Prefixed(Int8ul, Struct("known" / STATIC, "more" / GreedyBytes)),
           "parts" / GreedyRange(PART)),
)  # fmt: skip


def handshake(imei: str, receiver: int = 1, sender: int = 0) -> bytes:
    """The message with which a device names itself."""
    return ntcb(b"*>S:" + imei.encode("ascii"), receiver, sender)


def agreement(selection: Selection, version: int, receiver: int = 1, sender: int = 0) -> bytes:
    """The message that tells which fields its records have."""
    head = bytes((*b"*>FLEX", PROTOCOL, version, version, selection.bits))
    return ntcb(head + selection.mask, receiver, sender)


def selection(numbers: Iterable[int], bits: int, *, short: bool = False) -> Selection:
    """The choice of these fields, in a bit field of `bits`."""
    size = 8 * ((bits + 7) // 8)
    return Selection(bits, sum(1 << size - n for n in set(numbers)).to_bytes(size // 8, "big"), short)


def numbers(chosen: Selection) -> list[int]:
    """The fields of a choice, in order."""
    text = "".join(f"{byte:08b}" for byte in chosen.mask)
    return [n for n in range(1, chosen.bits + 1) if text[n - 1] == "1"]


def field(number: int, *, short: bool = False) -> Construct:
    """A field's construct."""
    return Int8ul if number == 100 and short else FIELDS[number]


def record(chosen: Selection, values: Mapping[int, Any]) -> bytes:
    """One record."""
    return b"".join(field(n, short=chosen.short).build(values[n]) for n in numbers(chosen))


def archive(records: Sequence[bytes]) -> bytes:
    """~A."""
    return sealed(b"~A" + bytes((len(records),)) + b"".join(records))


def urgent(index: int, its: bytes) -> bytes:
    """~T."""
    return sealed(b"~T" + index.to_bytes(4, "little") + its)


def current(its: bytes) -> bytes:
    """~C."""
    return sealed(b"~C" + its)


def additional(records: Sequence[bytes]) -> bytes:
    """~E."""
    return sealed(b"~E" + bytes((len(records),)) + b"".join(records))


def parse(data: bytes) -> Any:
    """A frame with the choice in front of it: the oracle of the tests, not for hostile input.

    Raises
    ------
    ConstructError
        If it is damaged.
    """
    found = unprefixed(data)
    if found is None:
        raise ConstructError("no agreement stands in front of it")
    chosen, at = found
    letter = data[at : at + 2].decode("ascii", "replace")
    if letter in ("~E", "~X"):
        head = 3 if letter == "~E" else 6
        records = GreedyRange(ADDITIONAL).parse(data[at + head : -1])
    else:
        head = {"~A": 3, "~T": 6, "~C": 2}.get(letter, 2)
        one = Struct(*(f"field_{n}" / field(n, short=chosen.short) for n in numbers(chosen)))
        records = GreedyRange(one).parse(data[at + head : -1])
    told: dict[str, Any] = {"word": letter, "fields": numbers(chosen), "records": list(records)}
    if letter in ("~A", "~E"):
        told["count"] = data[at + 2]
    elif letter in ("~T", "~X"):
        told["index"] = int.from_bytes(data[at + 2 : at + 6], "little")
    return told
