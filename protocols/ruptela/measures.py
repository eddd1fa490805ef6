"""What Ruptela's IO ids mean, for ids that public implementations agree on.

No document of the maker was to be had as text. The numbering depends on the generation of device, so whatever is not
here stays `io.<id>`, raw and unsigned; the ids of fuel sensors on RS232 and RS485 are not public at all.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, TypeAlias

from protocols.meanings import Meaning

Part: TypeAlias = tuple[Meaning, int, int, str]  # offset in the value, size, format


class Io(NamedTuple):
    """`signed`: the number is two's complement."""

    meaning: Meaning
    signed: bool = False


def _io(name: str, *, signed: bool = False, **rest: object) -> Io:
    return Io(Meaning(name, **rest), signed)  # type: ignore[arg-type]


IDS: dict[int, Io] = {
    **{2 + k: _io(f"input.{k + 1}") for k in range(4)},
    13: _io("movement"),
    20: _io("adc.3", divisor=1000),
    21: _io("adc.4", divisor=1000),
    22: _io("adc.1", divisor=1000),
    23: _io("adc.2", divisor=1000),
    27: _io("gsm.rssi"),
    29: _io("power.external", divisor=1000),
    30: _io("power.battery", divisor=1000),
    32: _io("board.temperature", signed=True),
    34: _io("driver.key", kind="key"),
    39: _io("can.engine.load"),
    65: _io("odometer"),
    74: _io("temperature.4", divisor=10, signed=True),
    **{78 + k: _io(f"temperature.{k + 1}", divisor=10, signed=True) for k in range(3)},
    88: _io("alarm.jamming"),
    94: _io("obd.engine.rpm", divisor=4),
    95: _io("obd.speed"),
    98: _io("obd.fuel.level", multiplier=100, divisor=255),
    100: _io("obd.fuel.rate", divisor=20),
    126: _io("can.driver.1", kind="text"),
    127: _io("can.driver.2", kind="text"),
    134: _io("alarm.braking"),
    136: _io("alarm.acceleration"),
    150: _io("gsm.operator"),
    155: _io("tacho.driver.1", kind="text"),
    156: _io("tacho.driver.2", kind="text"),
    163: _io("can.odometer", multiplier=5),
    164: _io("can.trip.distance", divisor=200),
    165: _io("can.speed", divisor=256),
    166: _io("tachograph.engine.rpm", divisor=8),
    170: _io("battery.charging"),
    173: _io("movement.sensor"),
    197: _io("can.engine.rpm", divisor=8),
    205: _io("can.fuel.raw"),
    207: _io("can.fuel.percent", multiplier=2, divisor=5),
    208: _io("can.fuel.used", divisor=2),
    251: _io("ignition"),
    409: _io("ignition"),
    410: _io("alarm.towing"),
    411: _io("alarm.crash"),
    415: _io("gnss.antenna"),
    645: _io("obd.odometer"),
    758: _io("alarm.tamper"),
    760: _io("rfid.1", kind="hex"),
    761: _io("rfid.2", kind="hex"),
}


@lru_cache(4096)
def parts_of(identifier: int, size: int) -> tuple[Part, ...]:
    """The measure of an id in the group of that size; texts and keys have eight bytes, or stay raw."""
    known = IDS.get(identifier)
    if known is None or (known.meaning.kind and size != 8):
        return ((Meaning(f"io.{identifier}"), 0, size, f">u{size}"),)
    meaning, signed = known
    if meaning.kind:
        return ((meaning, 0, size, ""),)
    return ((meaning, 0, size, f">{'i' if signed else 'u'}{size}"),)


SHARED = (
    "ignition", "movement", "event", "priority", "power.external", "power.battery", "can.engine.rpm",
    "can.fuel.percent", "can.fuel.used", "obd.engine.rpm", "gsm.operator", "odometer", "input.N", "adc.N", "hdop",
    "temperature.N", "driver.key", "io.<id>", "io.<id>.N",
)  # fmt: skip

MEASURES: dict[str, tuple[str, str]] = {
    "gsm.rssi": ("raw", "signal strength as sent"),
    "board.temperature": ("°C", "temperature of the terminal's board"),
    "can.engine.load": ("%", "engine load by CAN"),
    "alarm.jamming": ("code", "GSM jamming"),
    "alarm.braking": ("code", "harsh braking"),
    "alarm.acceleration": ("code", "harsh acceleration"),
    "alarm.towing": ("code", "towing"),
    "alarm.crash": ("code", "crash"),
    "alarm.tamper": ("code", "somebody tampers with the terminal"),
    "obd.speed": ("km/h", "speed by OBD"),
    "obd.fuel.level": ("%", "fuel level by OBD"),
    "obd.fuel.rate": ("l/h", "fuel rate by OBD"),
    "obd.odometer": ("km", "the maker's own odometer"),
    "can.driver.N": ("text", "half N of the driver's number by CAN"),
    "tacho.driver.N": ("text", "half N of the first driver's tachograph number"),
    "can.odometer": ("m", "distance by CAN, in total"),
    "can.trip.distance": ("km", "distance of the trip by CAN"),
    "can.speed": ("km/h", "speed by CAN"),
    "tachograph.engine.rpm": ("rpm", "engine speed by the tachograph"),
    "battery.charging": ("0/1", "the terminal's own battery is being charged"),
    "movement.sensor": ("0/1", "movement by the second sensor"),
    "can.fuel.raw": ("raw", "fuel level by CAN; its scale is not public"),
    "gnss.antenna": ("code", "antenna of satellite navigation: 0 cut"),
    "rfid.N": ("text", "half N of the card, as lower-case hex"),
    "dtc": ("text", "trouble codes, separated by commas"),
}
