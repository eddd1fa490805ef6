"""What each field of a message means: its place in the protobuf tree, its measure and its scale.

A `Scaled` field is one 32-bit number and becomes ``(raw * mul + add) / div``: integers throughout, then one division,
so that 0.4 % steps and tenths come out as the nearest float and print without noise. Values outside
(`bottom`, `top`) are the error and "not available" codes: an absent measure. An `Odd` field is all else: texts,
byte strings, repeated numbers, floats, 64-bit numbers.

Sources: the published descriptions of the message (two public implementations agree on all fields up to 16),
SAE J1939-71 for the CAN scales, SAE J1979 for OBD.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

NEVER = 1 << 62

# J1939: where "error" and "not available" begin, by the width of the value.
TOP_BITS, TOP_1, TOP_2, TOP_4 = 2, 254, 0xFE00, 0xFE000000


@dataclass(frozen=True, eq=False, slots=True)
class Scaled:
    """One 32-bit number. `pick` names the bytes that count: all, the lowest, or the lowest two, first one high."""

    measure: str = ""  # empty: a core column, or one that `columns` treats by itself
    signed: bool = False
    mul: int = 1
    add: int = 0
    div: int = 1
    top: int = NEVER
    bottom: int = -NEVER
    pick: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Odd:
    """Anything else. `kind`: number, float (both take the last value sent), numbers, floats (measure.1, .2 …),
    text, texts, hex, hexes, key (of a driver), group (its bytes as hex), special."""

    measure: str
    kind: str
    signed: bool = False
    wide: bool = False  # 64 bits
    div: int = 1
    top: int = NEVER


@dataclass(frozen=True, eq=False, slots=True)
class Group:
    """A sub-message; on the wire between a start and an end tag."""

    fields: dict[int, Entry] = field(default_factory=dict)


Entry: TypeAlias = Scaled | Odd | Group

EVENTS = Odd("event", "special")

DRIVER_KEY = Odd("driver.key", "key")
TIME, FLAGS, GSM, WIFI = Scaled(), Scaled(), Scaled(), Scaled()
LAT, LON, ALT = Scaled(signed=True), Scaled(signed=True), Scaled(signed=True)
SPEED, COURSE, SATELLITES, FIX_TIME = Scaled(), Scaled(), Scaled(), Scaled()
SENSORS = range(1, 9)
LEVELS = {n: Scaled() for n in SENSORS}
STATUSES = {n: Scaled(f"fuel.status.{n}", signed=True) for n in SENSORS}
TEMPERATURES = {n: Scaled(signed=True) for n in SENSORS}
SPN_IDS, SPN_VALUES = Odd("can.spn.ids", "special"), Odd("can.spn.values", "special")

EPOCH = 1_230_768_000  # 2009-01-01 00:00:00 UTC, where the terminal's seconds begin


def _numbered(measure: str, numbers: range, make: Callable[[str], Entry], first: int = 1) -> dict[int, Entry]:
    return {first + i: make(f"{measure}.{n}") for i, n in enumerate(numbers)}


def _signed(measure: str) -> Scaled:
    return Scaled(measure, signed=True)


GENERAL = Group(
    {
        1: TIME,
        2: Scaled("unit.id"),
        3: DRIVER_KEY,
        4: FLAGS,
        5: Scaled("mileage.delta"),
        6: Scaled("speed.sensor"),
        7: Scaled("engine.rpm"),
        8: Scaled("power.external", div=10),
        9: Scaled("battery.level"),
        10: Scaled("acceleration", signed=True, div=100),
        11: Odd("phone", "hex"),
        12: Scaled("acceleration.x", signed=True, div=100),
        13: Scaled("acceleration.y", signed=True, div=100),
        14: Scaled("acceleration.z", signed=True, div=100),
        15: Odd("driver.card", "hex"),
        16: Scaled("acceleration.status"),
        17: Scaled("engine.seconds"),
        18: GSM,
        19: WIFI,
    }
)

PHOTO = Group(
    {
        1: Scaled("photo.position"),
        2: Scaled("photo.size"),
        3: Scaled("photo.block.size"),
        4: Odd("photo.data", "hex"),
        5: Scaled("photo.id"),
        6: Scaled("photo.status"),
    }
)

NAV = Group({1: LAT, 2: LON, 3: SPEED, 4: COURSE, 5: SATELLITES, 6: ALT, 7: FIX_TIME})

CAN = Group(
    {
        70: Scaled("can.parking_brake", top=TOP_BITS),
        91: Scaled("can.accelerator", mul=2, div=5, top=TOP_1),
        96: Scaled("can.fuel.percent", mul=2, div=5, top=251),  # the vendor's codes begin at 251, above 100 % anyway
        100: Scaled("can.oil.pressure", mul=4, top=TOP_1),
        110: Scaled("can.coolant.temperature", add=-40, top=TOP_1),
        174: Scaled("can.fuel.temperature", add=-40, top=TOP_1),
        175: Scaled("can.oil.temperature", add=-273 * 32, div=32, top=TOP_2),
        182: Scaled("can.trip.fuel", div=2, top=TOP_4),
        184: Scaled("can.fuel.economy", div=512, top=TOP_2),
        190: Scaled("can.engine.rpm", div=8, top=TOP_2),
        244: Scaled("can.trip.distance", div=8, top=TOP_4),
        245: Scaled("can.distance", div=8, top=TOP_4),
        247: Scaled("can.engine.hours", div=20, top=TOP_4),
        250: Scaled("can.fuel.used", div=2, top=TOP_4),
        521: Scaled("can.brake", mul=2, div=5, top=TOP_1),
        522: Scaled("can.clutch", mul=2, div=5, top=TOP_1),
        527: Scaled("can.cruise.state", top=7),
        582: Odd("can.axle.weight", "numbers", div=2, top=TOP_2),
        597: Scaled("can.brake.switch", top=TOP_BITS),
        598: Scaled("can.clutch.switch", top=TOP_BITS),
        914: Scaled("can.service.distance", mul=5, add=-160635, top=TOP_2),
        916: Scaled("can.service.hours", add=-32127, top=TOP_2),
        928: Odd("can.axle.location", "numbers", top=TOP_1),
        1624: Scaled("can.speed", div=256, top=TOP_2),
        1821: Scaled("can.doors", top=14),
        1856: Scaled("can.seat_belt", top=TOP_BITS),
    }
)

FUEL: dict[int, Entry] = {25: Odd("fuel.coefficient", "numbers")}
for _n in SENSORS:
    FUEL |= {3 * _n - 2: TEMPERATURES[_n], 3 * _n - 1: LEVELS[_n], 3 * _n: STATUSES[_n]}

PERIPHERALS = Group(
    {
        1: Scaled("passengers.in"),
        2: Scaled("passengers.out"),
        3: Scaled("passengers.doors"),
        4: Scaled("driver.status"),
        5: Odd("tpms", "hex"),
        6: Odd("refrigerator", "hex"),
    }
)

EXTENDED_CAN = Group(
    {
        1: SPN_IDS,
        2: SPN_VALUES,
        **{n: Odd(f"can.terex.{54 + n}", "number", wide=True) for n in (10, 11, 12, 13)},
        14: Odd("can.terex.11", "numbers", wide=True),
        15: Odd("can.terex.69", "number", wide=True),
    }
)

OTHER = Group(
    {
        1: Group(_numbered("temperature", range(1, 9), lambda m: Scaled(m, signed=True, bottom=-128))),
        2: PERIPHERALS,
        3: EXTENDED_CAN,
        4: Group(
            {
                1: Scaled("tachograph.position"),
                2: Odd("tachograph.data", "hex"),
                3: Odd("tachograph.card", "hex"),
                4: Scaled("tachograph.status"),
            }
        ),
        5: Group(
            {
                **_numbered("passengers.status", range(1, 5), Scaled),
                **{3 + 2 * n: Scaled(f"passengers.in.{n}") for n in range(1, 5)},
                **{4 + 2 * n: Scaled(f"passengers.out.{n}") for n in range(1, 5)},
            }
        ),
        6: Group(
            {
                1: Scaled("mobileye.status"),
                2: Odd("mobileye.700", "hexes"),
                3: Odd("mobileye.727", "hexes"),
                4: Odd("mobileye.760", "hexes"),
            }
        ),
        7: Group(
            {
                1: Scaled("driving.events"),
                2: Scaled("driving.threshold.speed"),
                3: Scaled("driving.threshold.rpm"),
                4: Odd("driving.threshold.acceleration", "floats"),
            }
        ),
        8: Odd("generator.data", "group"),
        9: Group(
            {
                1: Odd("gauge.level", "float"),
                2: Odd("gauge.level.median", "float"),
                3: Scaled("gauge.percent"),
                4: Odd("gauge.volume", "float"),
                5: _signed("gauge.temperature"),
                6: Odd("gauge.weight", "float"),
                7: Odd("gauge.density", "float"),
                8: _signed("gauge.vapour.temperature"),
                9: Odd("gauge.vapour.weight", "float"),
                10: Odd("gauge.liquid.weight", "float"),
                11: Odd("gauge.point.temperature", "numbers", signed=True),
            }
        ),
        10: Group(
            {
                1: Odd("axle.weight", "floats"),
                2: Odd("axle.limit", "floats"),
                3: Odd("weight.total", "float"),
                4: Odd("weight.limit", "float"),
            }
        ),
    }
)

DISPLAY = Group(
    {
        1: Odd("display.status", "text"),
        2: Scaled("display.status.id"),
        3: Scaled("display.group"),
        4: Odd("display.message", "number", wide=True),
        5: Scaled("display.message.status"),
        6: Scaled("display.message.time", add=EPOCH),
        7: Odd("display.status.previous", "text"),
        8: Scaled("display.active"),
    }
)

OBD = Group(
    {
        1: Scaled("obd.speed", pick="low"),
        2: Scaled("obd.distance", pick="swap"),
        3: Scaled("obd.engine.minutes", pick="swap"),
        4: Scaled("obd.voltage", div=1000, pick="swap"),
        5: Scaled("obd.engine.rpm", div=4, pick="swap"),
        6: Scaled("obd.fuel.level", mul=100, div=255, pick="low"),
        7: Scaled("obd.fuel.rate", div=20, pick="swap"),
        8: Scaled("obd.oil.temperature", add=-40, pick="low"),
        9: Scaled("obd.coolant.temperature", add=-40, pick="low"),
        10: Scaled("obd.monitor"),
        11: Odd("vin", "text"),
        12: Scaled("obd.samples"),
    }
)

LOG = Group(
    {
        1: Odd("log", "texts"),
        2: Scaled("fuel.reference.sensors"),
        3: Odd("fuel.reference.before", "numbers"),
        4: Odd("fuel.reference.after", "numbers"),
        5: Odd("fuel.reference.coefficient", "numbers"),
        6: Odd("fuel.reference.sensitivity", "numbers"),
        7: Odd("fuel.reference.temperature", "numbers"),
    }
)

MESSAGE = Group(
    {
        1: EVENTS,
        2: GENERAL,
        4: PHOTO,
        5: NAV,
        6: Group(_numbered("universal", range(1, 7), _signed)),
        7: CAN,
        8: Group(FUEL),
        9: OTHER,
        10: DISPLAY,
        11: OBD,
        16: LOG,
    }
)
