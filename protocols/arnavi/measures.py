"""What Arnavi's tags hold: each has four bytes, and here which measures they make.

The vendor's own table was not to be had as text: these are the tags on which public implementations agree, or which one
of them tells with the vendor's words. Fuel sensors are numbered from 1, which is LLS 0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from protocols.meanings import Meaning

Part: TypeAlias = tuple[Meaning, int, int, str]  # offset in the value, size, format

INPUT, LLS, VERSIONS = 6, 80, 251
DISCRETE, PULSES, FREQUENCY, VOLTAGE = 1, 6, 7, 8  # modes of an input
NO_FIX = (0xFE, 0xFF)  # in place of the satellites
SIZE = 5  # of a tag and its value
_LEVEL_MAX = 4095
_KNOTS = {"multiplier": 1852, "divisor": 1000}


def _part(form: str, name: str, at: int = 0, **rest: object) -> Part:
    return Meaning(name, **rest), at, int(form[1]), "<" + form  # type: ignore[arg-type]


def _one(form: str, name: str, **rest: object) -> tuple[Part, ...]:
    return (_part(form, name, **rest),)  # type: ignore[arg-type]


@lru_cache(256)
def fuel(n: int) -> tuple[Part, ...]:
    """LLS sensor `n`: its temperature is one byte, with a fourth that is zero; a sensor without a level has none."""
    nothing = (0xFFFF, 0xFFFF)
    return (
        _part("u2", f"fuel.level.{n}", low=0, high=_LEVEL_MAX, status=f"fuel.status.{n}"),
        _part(
            "u4", f"fuel.temperature.{n}", shift=16, bits=8, signed=True, when=(0xFF00_0000, 0), unless=nothing
        ),
        _part("u2", f"fuel.temperature.raw.{n}", 2, unless=(0xFF00, 0)),
    )  # fmt: skip


@lru_cache(256)
def numbered_fuel(n: int) -> tuple[Part, ...]:
    """The same where the fourth byte is the sensor's number."""
    return (
        _part("u2", f"fuel.level.{n}", low=0, high=_LEVEL_MAX, status=f"fuel.status.{n}"),
        _part("u4", f"fuel.temperature.{n}", shift=16, bits=8, signed=True, unless=(0xFFFF, 0xFFFF)),
    )


@lru_cache(1024)
def input_parts(mode: int, number: int) -> tuple[Part, ...] | None:
    """Tag 6 by its mode and number; None: nobody says."""
    match mode:
        case 1:
            return (
                _part("u1", "ignition", 1, bits=1), _part("u1", "call.button", 1, shift=1, bits=1),
                _part("u2", "inputs", 2),
            )  # fmt: skip
        case 6:
            return (_part("u2", f"pulses.{number + 1}", 2),)
        case 7:
            return (_part("u2", f"frequency.{number + 1}", 2),)
        case 8:
            return (_part("u2", f"adc.{number + 1}", 2, divisor=1000),)
        case _:
            return None


TAGS: dict[int, tuple[Part, ...]] = {
    1: (
        _part("u2", "power.battery", divisor=1000, none=(0, 0xFFFF)),
        _part("u2", "power.external", 2, divisor=1000, none=(0, 0xFFFF)),
    ),
    2: ((Meaning("driver.key", kind="little key"), 0, 4, ""),),
    3: _one("f4", "@lat"),
    4: _one("f4", "@lon"),
    5: (
        _part("u1", "@course", multiplier=2, high=180),
        _part("u1", "@altitude", 1, multiplier=10),
        _part("u1", "@satellites", 2),
        _part("u1", "@fix", 2),
        _part("u1", "@speed", 3, **_KNOTS),
    ),
    7: (_part("u2", "gsm.cell"), _part("u2", "gsm.area", 2)),
    8: (_part("u1", "gsm.rssi"), _part("u2", "gsm.mcc", 1), _part("u1", "gsm.mnc", 3)),
    9: (
        _part("u4", "status"),
        _part("u4", "status.inputs", bits=8),
        _part("u4", "outputs", shift=8, bits=4),
        _part("u4", "alarm", shift=20, bits=1),
        _part("u4", "battery.state", shift=22, bits=2),
        _part("u4", "power.approximate", shift=24, bits=8, multiplier=15, divisor=100),
    ),
    **{20 + k: _one("u4", f"frequency.{k + 1}") for k in range(8)},
    **{30 + k: _one("u2", f"adc.{k + 1}", divisor=1000) for k in range(8)},
    **{40 + k: _one("i2", f"temperature.{k + 1}", divisor=100) for k in range(10)},
    51: _one("u4", "can.status"),
    52: _one("u4", "can.engine.hours", divisor=100),
    53: _one("u4", "can.odometer", multiplier=10),
    54: _one("u4", "can.fuel.used", divisor=10),
    55: _one("u2", "can.fuel.percent", divisor=10),
    56: _one("u4", "can.fuel.raw"),
    57: _one("u2", "can.engine.rpm"),
    58: _one("i4", "can.coolant.temperature"),
    59: _one("u4", "can.speed"),
    **{60 + k: _one("u4", f"axle.weight.{k + 1}") for k in range(5)},
    67: _one("u2", "adblue.raw"),
    69: (
        _part("u1", "can.engine.load"), _part("u1", "can.accelerator", 1), _part("u2", "motion.status", 2),
    ),
    **{70 + k: fuel(k + 1) for k in range(10)},
    100: _one("u4", "tachograph.odometer", multiplier=10),
    102: _one("u4", "tachograph.voltage", divisor=1000),
    150: _one("u4", "odometer", multiplier=10),
    151: _one("u2", "hdop", divisor=100),
    250: _one("u4", "information"),
    VERSIONS: (_part("u2", "device.hardware"), _part("u2", "device.firmware", 2)),
}  # fmt: skip


@lru_cache(256)
def parts_of(tag: int) -> tuple[Part, ...]:
    """The measures of a tag whose meaning does not depend on its value."""
    return TAGS.get(tag) or _one("u4", f"io.{tag}")


SHARED = (
    "ignition", "power.external", "power.battery", "can.engine.rpm", "can.fuel.percent", "can.fuel.used", "odometer",
    "inputs", "outputs", "adc.N", "hdop", "fuel.level.N", "fuel.temperature.N", "fuel.status.N", "temperature.N",
    "driver.key", "io.<id>", "io.<id>.N",
)  # fmt: skip

MEASURES: dict[str, tuple[str, str]] = {
    "call.button": ("0/1", "the call button is pressed"),
    "pulses.N": ("number", "pulses at input N"),
    "frequency.N": ("Hz", "frequency at input N"),
    "gsm.cell": ("number", "cell id"),
    "gsm.area": ("number", "location area code"),
    "gsm.rssi": ("raw", "signal strength as sent"),
    "gsm.mcc": ("number", "country code of the mobile network"),
    "gsm.mnc": ("number", "network code of the mobile network"),
    "status": ("bits", "the terminal's status word"),
    "status.inputs": ("bits", "inputs by the status word"),
    "alarm": ("0/1", "the alarm was triggered"),
    "battery.state": ("code", "own battery: 0 below 3 V or none, 1 to 3.8 V, 2 to 4.1 V, 3 above"),
    "power.approximate": ("V", "supply voltage by the status word, in steps of 0.15 V"),
    "can.status": ("bits", "status flags by CAN"),
    "can.engine.hours": ("h", "engine hours by CAN"),
    "can.odometer": ("m", "distance by CAN, in total"),
    "can.fuel.raw": ("raw", "fuel level by CAN in litres; its scale is not public"),
    "can.coolant.temperature": ("°C", "coolant temperature by CAN"),
    "can.speed": ("km/h", "speed by CAN"),
    "can.engine.load": ("%", "engine load by CAN"),
    "can.accelerator": ("%", "accelerator pedal by CAN"),
    "axle.weight.N": ("raw", "load of axle N"),
    "adblue.raw": ("raw", "AdBlue level, as sent"),
    "motion.status": ("raw", "state of motion, as sent"),
    "fuel.temperature.raw.N": ("raw", "fuel-level sensor N: two bytes that are no temperature of one byte"),
    "tachograph.odometer": ("m", "distance by the tachograph, in total"),
    "tachograph.voltage": ("V", "supply of the tachograph"),
    "information": ("raw", "message for information, as sent"),
    "device.hardware": ("number", "hardware version, as the terminal numbers it"),
    "device.firmware": ("number", "firmware version, as the terminal numbers it"),
}
