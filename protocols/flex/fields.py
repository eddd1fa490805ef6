"""The fields of FLEX 1.0 (1 to 69), 2.0 (to 122) and 3.0 (to 255): sizes, and which measures their bytes make.

Source: Navtelecom, "Protocol of information exchange" v6.1 (2021), FLEX table. Fuel sensors on RS485 are 1 to 16; the
one on RS232 is 17. Levels from 65500 on are codes of errors.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from protocols.meanings import Meaning

Part: TypeAlias = tuple[Meaning, int, int, str]  # offset in the field, size, format

LEVEL_MAX = 65_499
TACHOGRAPH_FLAGS = 100  # of two bytes since version 6.0 of the document, of one before
_ORDERS = {"u": "<u", "i": "<i", "f": "<f"}
_NONE_2, _NONE_4, _NONE_I2 = 0xFFFF, 0xFFFF_FFFF, -0x8000
_FLOAT = {"low": 0.0, "high": 1e12}  # negative: not read; more is no mileage, and no number of litres


class Field(NamedTuple):
    """`name` for people; bytes; its measures."""

    name: str
    size: int
    parts: tuple[Part, ...]


def _part(form: str, meaning: Meaning, at: int = 0) -> Part:
    return meaning, at, int(form[1]), _ORDERS[form[0]] + form[1]


def _one(form: str, name: str, **rest: object) -> Field:
    return Field(name.lstrip("@"), int(form[1]), (_part(form, Meaning(name, **rest)),))  # type: ignore[arg-type]


def _row(form: str, *names: str, **rest: object) -> Field:
    """Several numbers of one kind; called by what their names begin with."""
    size = int(form[1])
    parts = tuple(_part(form, Meaning(name, **rest), k * size) for k, name in enumerate(names))  # type: ignore[arg-type]
    return Field(names[0].rpartition(".")[0] or names[0], size * len(names), parts)


def _numbered(first: int, count: int, form: str, name: str, start: int = 1, **rest: object) -> dict[int, Field]:
    return {first + k: _one(form, f"{name}.{start + k}", **rest) for k in range(count)}


def _raw(name: str, size: int) -> Field:
    return Field(name, size, ((Meaning(name, kind="hex"), 0, size, ""),))


def _bits(name: str, *bits: tuple[str, int, int]) -> Field:
    """A byte of flags, and some of them by name: (measure, first bit, number of bits)."""
    named = tuple(_part("u1", Meaning(its, shift=bit, bits=n)) for its, bit, n in bits)
    return Field(name, 1, (_part("u1", Meaning(name)), *named))


def _level(n: int) -> Meaning:
    return Meaning(f"fuel.level.{n}", low=0, high=LEVEL_MAX, status=f"fuel.status.{n}")


def _warmth(n: int) -> Meaning:
    return Meaning(f"fuel.temperature.{n}", none=(-128,))


def _percent_or_litres(percent: str, litres: str) -> Field:
    """Bit 15: percent, else tenths of a litre."""
    return Field(litres, 2, (
        _part("u2", Meaning(percent, bits=15, high=100, when=(0x8000, 0x8000))),
        _part("u2", Meaning(litres, divisor=10, none=(0x7FFF,), when=(0x8000, 0))),
    ))  # fmt: skip


def _tyres(first: int, count: int) -> Field:
    parts: list[Part] = []
    for k in range(count):
        n, at = first + k, 3 * k
        parts.append(_part("u1", Meaning(f"tyre.wheel.{n}", none=(0,)), at))
        parts.append(_part("u1", Meaning(f"tyre.pressure.{n}", divisor=10), at + 1))
        parts.append(_part("i1", Meaning(f"tyre.temperature.{n}", none=(-128,)), at + 2))
    return Field(f"tyres.{first}", 3 * count, tuple(parts))


def _cells() -> Field:
    parts: list[Part] = []
    for k in range(3):
        at = 11 * k
        for form, name, offset in (("u4", "cell", 0), ("u2", "area", 4), ("u2", "mcc", 6), ("u2", "mnc", 8),
                                   ("i1", "level", 10)):  # fmt: skip
            parts.append(_part(form, Meaning(f"gsm.{name}.{k + 1}"), at + offset))
    return Field("gsm.cells", 37, (*parts, _part("u4", Meaning("gsm.cells.time"), 33)))


FIELDS: dict[int, Field] = {
    1: _one("u4", "record.number"),
    2: _one("u2", "event"),
    3: _one("u4", "@time"),
    4: _bits("device.status", ("alarm", 2, 1), ("device.mode", 3, 2)),
    5: _bits("modules.1", ("gsm.registered", 5, 1), ("gsm.roaming", 6, 1), ("ignition", 7, 1)),
    6: _bits("modules.2", ("gsm.jamming.kind", 0, 2), ("gnss.jamming", 2, 1)),
    7: _one("u1", "gsm.signal", multiplier=100, divisor=31, high=31),
    8: Field("gnss", 1, (
        _part("u1", Meaning("gnss.on", bits=1)),
        _part("u1", Meaning("@fix", shift=1, bits=1)),
        _part("u1", Meaning("@satellites", shift=2, bits=6)),
    )),
    9: _one("u4", "gnss.time"),
    10: _one("i4", "@lat", divisor=600_000),
    11: _one("i4", "@lon", divisor=600_000),
    12: _one("i4", "@altitude", divisor=10),
    13: _one("f4", "@speed", **_FLOAT),
    14: _one("u2", "@course", high=360),
    15: _one("f4", "odometer", multiplier=1000, **_FLOAT),
    16: _one("f4", "segment.distance", multiplier=1000, **_FLOAT),
    17: _one("u2", "segment.time"),
    18: _one("u2", "segment.time.valid"),
    19: _one("u2", "power.external", divisor=1000),
    20: _one("u2", "power.battery", divisor=1000),
    **_numbered(21, 8, "u2", "adc", divisor=1000),
    29: _one("u1", "inputs"),
    30: _one("u1", "inputs.high"),
    31: _one("u1", "outputs"),
    32: _one("u1", "outputs.high"),
    **_numbered(33, 2, "u4", "pulses"),
    **_numbered(35, 2, "u2", "frequency"),
    37: _one("u4", "engine.seconds"),
    **{38 + k: Field(f"fuel.level.{k + 1}", 2, (_part("u2", _level(k + 1)),)) for k in range(6)},
    44: Field("fuel.level.17", 2, (_part("u2", _level(17)),)),
    **_numbered(45, 8, "i1", "temperature", none=(-128,)),
    53: _percent_or_litres("can.fuel.percent", "can.fuel.level"),
    54: _one("f4", "can.fuel.used", **_FLOAT),
    55: _one("u2", "can.engine.rpm", none=(_NONE_2,)),
    56: _one("i1", "can.coolant.temperature", none=(-128,)),
    57: _one("f4", "can.odometer", multiplier=1000, **_FLOAT),
    **_numbered(58, 5, "u2", "can.axle", none=(_NONE_2,)),
    63: _one("u1", "can.accelerator", none=(0xFF,)),
    64: _one("u1", "can.brake", none=(0xFF,)),
    65: _one("u1", "can.engine.load", none=(0xFF,)),
    66: _percent_or_litres("adblue.percent", "can.adblue"),
    67: _one("u4", "can.engine.hours", divisor=3600, none=(_NONE_4,)),
    68: _one("i2", "can.service.distance", multiplier=5, none=(-1,)),
    69: _one("u1", "can.speed", none=(0xFF,)),
    70: _row("u1", *(
        f"gnss.visible.{system}"
        for system in ("glonass", "gps", "galileo", "compass", "beidou", "doris", "irnss", "qzss")
    )),
    71: Field("dop", 2, (_part("u1", Meaning("hdop", divisor=10)), _part("u1", Meaning("pdop", divisor=10), 1))),
    72: _bits("precise.status"),
    73: _row("i8", "precise.latitude", "precise.longitude", divisor=600_000_000),
    74: _one("i4", "precise.altitude", divisor=1000),
    75: _one("u2", "precise.course", divisor=100),
    76: _one("f4", "precise.speed", **_FLOAT),
    77: _cells(),
    **{78 + k: Field(f"fuel.temperature.{k + 1}", 1, (_part("i1", _warmth(k + 1)),)) for k in range(6)},
    **{
        84 + k: Field(f"fuel.{k + 7}", 3, (_part("u2", _level(k + 7)), _part("i1", _warmth(k + 7), 2)))
        for k in range(10)
    },
    94: _tyres(1, 2),
    95: _tyres(3, 4),
    96: _tyres(7, 8),
    97: _tyres(15, 16),
    98: _one("u1", "tachograph.status"),
    99: _one("u1", "tachograph.mode"),
    TACHOGRAPH_FLAGS: _one("u2", "tachograph.flags"),
    101: _one("u1", "tachograph.speed", none=(0xFF,)),
    102: _one("u4", "tachograph.odometer", multiplier=100, none=(_NONE_4,)),
    103: _one("u4", "tachograph.time"),
    104: _one("u1", "driver.status"),
    105: _one("u4", "display.message"),
    106: _one("u2", "time.increment", divisor=100, none=(_NONE_2,)),
    107: _row("i2", "acceleration.x", "acceleration.y", "acceleration.z", divisor=1000, none=(_NONE_I2,)),
    108: _one("u2", "driving.duration", multiplier=10, none=(_NONE_2,)),
    109: _row(
        "i2", "driving.acceleration", "driving.braking", "driving.cornering", divisor=1000, none=(_NONE_I2,)
    ),
    **{
        110 + k: _row("u1", f"passengers.count.{2 * k + 1}", f"passengers.count.{2 * k + 2}", none=(0xFF,))
        for k in range(8)
    },
    118: _one("u1", "autoinformer.status"),
    119: _one("u2", "geofence.last"),
    120: _one("u2", "stop.last"),
    121: _one("u2", "route.last"),
    122: _one("u1", "camera.status"),
    123: _bits("case.status", ("case.open", 0, 1), ("antenna.status", 1, 2)),
    124: _bits("modules.3"),
    125: _bits("link.status", ("link.kind", 0, 3)),
    126: _one("u1", "inputs.top"),
    **_numbered(127, 6, "u4", "pulses", 3),
    **_numbered(133, 6, "u2", "frequency", 3),
    139: _bits("virtual.sensors"),
    140: _one("u1", "tilt.vertical"),
    141: Field("tilt", 2, (
        _part("i1", Meaning("tilt.pitch")), _part("i1", Meaning("tilt.roll", multiplier=3, divisor=2), 1),
    )),
    142: _row("u1", "tilt.external.x", "tilt.external.y", "tilt.external.z"),
    143: _one("i2", "driving.vertical", divisor=1000, none=(_NONE_I2,)),
    144: _one("u1", "driving.maximum.speed"),
    145: _one("u1", "driving.thresholds.speed"),
    146: _raw("driving.threshold.acceleration", 3),
    **_numbered(147, 16, "u2", "fuel.frequency", none=(_NONE_2,)),
    **_numbered(163, 4, "i2", "temperature.precise", divisor=20, none=(_NONE_I2,)),
    **_numbered(167, 4, "u1", "humidity", divisor=2, none=(0xFF,)),
    171: _one("u2", "flow.status"),
    172: _one("u4", "flow.faults"),
    173: _one("u4", "flow.total", divisor=100, none=(_NONE_4,)),
    174: _one("u4", "flow.trip", divisor=100, none=(_NONE_4,)),
    175: _one("i2", "flow.rate", divisor=10, none=(_NONE_I2,)),
    176: _one("u4", "flow.supply.total", divisor=100, none=(_NONE_4,)),
    177: _one("i2", "flow.supply.rate", divisor=10, none=(_NONE_I2,)),
    178: _one("i2", "flow.supply.temperature", divisor=10, none=(_NONE_I2,)),
    179: _one("u4", "flow.return.total", divisor=100, none=(_NONE_4,)),
    180: _one("i2", "flow.return.rate", divisor=10, none=(_NONE_I2,)),
    181: _one("i2", "flow.return.temperature", divisor=10, none=(_NONE_I2,)),
    182: _one("u2", "refrigerator.status"),
    **_numbered(183, 3, "i2", "refrigerator.temperature", divisor=100, none=(_NONE_I2,)),
    **_numbered(186, 3, "i2", "refrigerator.setpoint", divisor=100, none=(_NONE_I2,)),
    189: _one("i2", "refrigerator.ambient", divisor=100, none=(_NONE_I2,)),
    190: _one("i2", "refrigerator.coolant", divisor=100, none=(_NONE_I2,)),
    191: _one("u2", "refrigerator.voltage", divisor=1000, none=(_NONE_2,)),
    192: _one("u2", "refrigerator.current", divisor=1000, none=(_NONE_2,)),
    193: _one("u4", "refrigerator.hours.engine", divisor=100, none=(_NONE_4,)),
    194: _one("u4", "refrigerator.hours.mains", divisor=100, none=(_NONE_4,)),
    195: _raw("refrigerator.errors.1", 4),
    196: _raw("refrigerator.errors.2", 4),
    197: _raw("refrigerator.errors.3", 6),
    198: Field("refrigerator.engine", 3, (
        _part("u1", Meaning("refrigerator.engine.mode")), _part("u2", Meaning("refrigerator.engine.rpm"), 1),
    )),
    199: _one("u1", "refrigerator.compressor"),
    200: _one("u2", "geofences"),
    201: _one("u2", "can.security"),
    202: _one("u1", "can.event"),
    203: _one("u4", "can.lamps"),
    204: Field("can.fault", 5, (
        _part("u1", Meaning("can.fault.lamps")), _part("u4", Meaning("can.fault.code"), 1),
    )),
    205: _one("u4", "engine.seconds.user"),
    206: _one("u4", "diagnosis"),
    **_numbered(207, 16, "u1", "user.byte"),
    **_numbered(223, 15, "u2", "user.word"),
    **_numbered(238, 15, "u4", "user.dword"),
    **_numbered(253, 3, "u8", "user.qword"),
}  # fmt: skip

# An additional record (~E, ~X): 37 bytes, then parts with their types and lengths.
STATIC = 37
STATIC_FIELDS = (1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15)
PARTS: dict[int, tuple[Meaning, int]] = {
    1: (Meaning("driver.key", kind="little key"), 8),
    2: (Meaning("tachograph.card.number", kind="text"), 16),
    3: (Meaning("rfid", kind="little key"), 8),
}


def selected(bits: int, mask: bytes) -> tuple[int, ...]:
    """The fields that are set; field 1 is the most significant bit of the first byte."""
    number = int.from_bytes(mask, "big")
    size = 8 * len(mask)
    return tuple(n for n in range(1, bits + 1) if number >> (size - n) & 1)


def sizes(fields: tuple[int, ...], *, short: bool = False) -> list[int]:
    """Bytes of each; `short`: field 100 is of one."""
    return [1 if short and n == TACHOGRAPH_FLAGS else FIELDS[n].size for n in fields]
