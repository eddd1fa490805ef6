"""What AVL ids mean, for ids that mean the same in every device family.

Source: Teltonika wiki, "<model> Teltonika Data Sending Parameters ID". An id whose meaning depends on the
model stays `io.<id>`: a name must not change once the model becomes known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "level", "dallas", "hex", "text"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """How to read one AVL id.

    Attributes
    ----------
    name : the measure.
    divisor : raw value / divisor = the measure's unit.
    signed : the raw value is two's complement.
    kind : "level" and "dallas" have codes beside values, kept in `status`; "hex" and "text" are exact texts.
    multiplier : raw value x multiplier, for steps (GSM 0-5 to percent).
    """

    name: str
    divisor: float = 1.0
    signed: bool = False
    kind: Kind = "number"
    status: str = ""
    multiplier: float = 1.0


MEANINGS: dict[int, Meaning] = {
    **{n: Meaning(f"input.{n}") for n in (1, 2, 3)},
    9: Meaning("adc.1", 1000),
    16: Meaning("odometer"),
    21: Meaning("gsm.signal", multiplier=20),
    24: Meaning("gnss.speed"),
    66: Meaning("power.external", 1000),
    67: Meaning("power.battery", 1000),
    68: Meaning("power.battery.current", 1000),
    **{
        71 + n: Meaning(f"temperature.{n}", 10, signed=True, kind="dallas", status=f"temperature.status.{n}")
        for n in (1, 2, 3, 4)
    },
    78: Meaning("driver.key", kind="hex"),
    179: Meaning("output.1"),
    180: Meaning("output.2"),
    181: Meaning("pdop", 10),
    182: Meaning("hdop", 10),
    199: Meaning("trip.odometer"),
    200: Meaning("sleep.mode"),
    **{
        code: Meaning(f"fuel.level.{n}", signed=True, kind="level", status=f"fuel.status.{n}")
        for n, code in enumerate((201, 203, 210, 212, 214), 1)
    },
    **{code: Meaning(f"fuel.temperature.{n}", signed=True) for n, code in enumerate((202, 204, 211, 213, 215), 1)},
    205: Meaning("gsm.cell"),
    206: Meaning("gsm.area"),
    207: Meaning("rfid", kind="hex"),
    239: Meaning("ignition"),
    240: Meaning("movement"),
    241: Meaning("gsm.operator"),
    246: Meaning("alarm.towing"),
    247: Meaning("alarm.crash"),
    249: Meaning("alarm.jamming"),
    250: Meaning("trip"),
    253: Meaning("driving.event"),
    254: Meaning("driving.value"),
    255: Meaning("driving.overspeed"),
    256: Meaning("vin", kind="text"),
    325: Meaning("vin", kind="text"),  # as a text; where it is a number it means something else and is io.325
}

# Raw Dallas values that are no temperature: not ready, read error, not connected, id failed, not ready.
DALLAS_CODES = (850, 2000, 3000, 4000, 5000)

# names of the shared dictionary that this protocol tells
SHARED = (
    "ignition", "movement", "event", "priority", "power.external", "power.battery", "gsm.signal", "gsm.operator",
    "odometer", "input.N", "output.N", "adc.N", "hdop", "pdop", "fuel.level.N", "fuel.temperature.N", "fuel.status.N",
    "temperature.N", "driver.key", "vin", "io.<id>",
)  # fmt: skip

MEASURES: dict[str, tuple[str, str]] = {
    "gnss.speed": ("km/h", "speed by the receiver, beside the record's own"),
    "power.battery.current": ("A", "current of the terminal's own battery"),
    "temperature.status.N": ("code", "the sensor's code where it gave no temperature"),
    "trip.odometer": ("m", "distance of the current trip"),
    "sleep.mode": ("code", "0 none, 1 GPS, 2 deep, 3 online, 4 ultra"),
    "gsm.cell": ("number", "cell id"),
    "gsm.area": ("number", "location area code"),
    "rfid": ("text", "card as lower-case hex, most significant byte first"),
    "alarm.towing": ("code", "towing"),
    "alarm.crash": ("code", "crash"),
    "alarm.jamming": ("code", "GSM jamming"),
    "trip": ("code", "trip: 0 ended, 1 begun, others the terminal's mode"),
    "driving.event": ("code", "1 acceleration, 2 braking, 3 cornering"),
    "driving.value": ("code", "value of the driving event, raw"),
    "driving.overspeed": ("km/h", "speed at the start of overspeeding"),
    "event.generation": ("code", "Codec 16: what made the event"),
}
