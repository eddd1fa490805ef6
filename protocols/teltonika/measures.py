"""What AVL ids mean, for ids that mean the same in every device family, keyed by id and size.

Source: Teltonika wiki, "<model> Teltonika Data Sending Parameters ID"; across 75 models an id of one size has one
meaning in 2 253 of 2 360 cases. A pair whose meaning depends on the model stays `io.<id>`, raw: a name must not change
once the model becomes known. `models` tells people what such an id means on a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Kind = Literal["number", "coded", "bytes", "hex", "text", "decimal", "key"]

VARIABLE = 0  # the size of an element of a variable-length group, whatever its length


@dataclass(frozen=True, slots=True)
class Meaning:
    """How to read one AVL id of one size.

    Attributes
    ----------
    name : the measure.
    divisor : raw value / divisor = the measure's unit.
    signed : the raw value is two's complement.
    kind : "coded" has codes beside values, kept in `status`. "bytes" are hex as sent. "hex", "text", "decimal" (a
        number whose decimal digits are the text) and "key" (of a driver) are texts, absent where all bytes are zero.
    status : the measure of the codes.
    codes : raw values that are codes; empty: all below zero.
    multiplier : raw value x multiplier, for steps (GSM 0-5 to percent).
    """

    name: str
    divisor: float = 1.0
    signed: bool = False
    kind: Kind = "number"
    status: str = ""
    codes: tuple[int, ...] = ()
    multiplier: float = 1.0


# Raw values that are no measurement. Dallas: not ready, read error, not connected, id failed, not ready.
DALLAS_CODES = (850, 2000, 3000, 4000, 5000)
HUMIDITY_CODES = (32733, 32734, 32735)  # abnormal, unreadable, no such sensor


def _numbered(ids: tuple[int, ...], size: int, name: str, **rest: object) -> dict[tuple[int, int], Meaning]:
    """`name`.1, `name`.2 … for ids in order."""
    return {(i, size): Meaning(f"{name}.{n}", **rest) for n, i in enumerate(ids, 1)}  # type: ignore[arg-type]


def _coded(ids: tuple[int, ...], size: int, name: str, status: str, **rest: object) -> dict[tuple[int, int], Meaning]:
    return {
        (i, size): Meaning(f"{name}.{n}", kind="coded", status=f"{status}.{n}", **rest)  # type: ignore[arg-type]
        for n, i in enumerate(ids, 1)
    }


MEANINGS: dict[tuple[int, int], Meaning] = {
    **_numbered((1, 2, 3), 1, "input"),
    (4, 4): Meaning("pulses.1"),
    (5, 4): Meaning("pulses.2"),
    (9, 2): Meaning("adc.1", 1000),
    (10, 1): Meaning("sd.status"),
    (10, 2): Meaning("adc.2", 1000),
    (11, 2): Meaning("adc.3", 1000),
    (11, 8): Meaning("sim.iccid.1", kind="decimal"),
    (12, 4): Meaning("fuel.used.gps", 1000),
    (13, 2): Meaning("fuel.rate.gps", 100),
    (13, 8): Meaning("io.13", kind="bytes"),  # a module's number
    (14, 4): Meaning("engine.time.total"),
    (14, 8): Meaning("sim.iccid.2", kind="decimal"),
    (15, 2): Meaning("eco.score", 100),
    (15, 4): Meaning("engine.time"),
    (16, 4): Meaning("odometer"),
    (17, 2): Meaning("acceleration.x", 1000, signed=True),
    (17, 4): Meaning("can.fuel.counted", 10),
    (19, 1): Meaning("adblue.percent"),
    (19, 2): Meaning("acceleration.z", 1000, signed=True),
    (20, 1): Meaning("ble.battery.2"),
    (20, 2): Meaning("adblue", 10),
    (21, 1): Meaning("gsm.signal", multiplier=20),
    (24, 2): Meaning("gnss.speed"),
    (29, 1): Meaning("ble.battery.1"),
    (32, 1): Meaning("obd.coolant", signed=True),
    (36, 2): Meaning("obd.engine.rpm"),
    (43, 2): Meaning("obd.distance.mil"),
    (49, 2): Meaning("obd.distance.cleared"),
    (53, 1): Meaning("obd.ambient", signed=True),
    (66, 2): Meaning("power.external", 1000),
    (67, 2): Meaning("power.battery", 1000),
    (68, 2): Meaning("power.battery.current", 1000),
    (69, 1): Meaning("gnss.status"),
    (70, 2): Meaning("board.temperature", 10, signed=True),
    **_coded((72, 73, 74, 75), 4, "temperature", "temperature.status", divisor=10, signed=True, codes=DALLAS_CODES),
    (75, 8): Meaning("io.75", kind="bytes"),  # a sensor's ROM number: the first of FM36, which counts them otherwise
    **_numbered((76, 77, 79, 71), 8, "sensor.rom", kind="hex"),
    **_numbered((62, 63, 64, 65, 5, 7), 8, "sensor.rom", kind="hex"),
    (78, 8): Meaning("driver.key", kind="key"),
    (80, 1): Meaning("data.mode"),
    (83, 4): Meaning("can.fuel.used", 10),
    (84, 2): Meaning("can.fuel.level", 10),
    (85, 2): Meaning("can.engine.rpm"),
    **_coded((86, 104, 106, 108), 2, "ble.humidity", "ble.humidity.status", divisor=10, codes=HUMIDITY_CODES),
    (89, 1): Meaning("can.fuel.percent"),
    (100, 4): Meaning("can.program"),
    (102, 4): Meaning("can.engine.time"),
    (103, 4): Meaning("can.engine.time.counted"),
    (105, 4): Meaning("can.mileage.counted"),
    (107, 4): Meaning("can.fuel.counted", 10),
    (110, 2): Meaning("can.fuel.rate", 10),
    (112, 2): Meaning("can.adblue", 10),
    (113, 1): Meaning("battery.level"),
    (114, 1): Meaning("can.engine.load"),
    (115, 2): Meaning("can.engine.temperature", 10, signed=True),
    **_numbered((118, 119, 120, 121), 2, "can.axle"),
    (175, 1): Meaning("geofence.auto"),
    **_numbered((179, 180), 1, "output"),
    (181, 2): Meaning("pdop", 10),
    (182, 2): Meaning("hdop", 10),
    **_numbered((195, 196), 8, "tacho.driver", kind="text"),
    (199, 4): Meaning("trip.odometer"),
    (200, 1): Meaning("sleep.mode"),
    **_coded((201, 203, 210, 212, 214), 2, "fuel.level", "fuel.status", signed=True),
    **_numbered((202, 204, 211, 213, 215), 1, "fuel.temperature", signed=True),
    (205, 2): Meaning("gsm.cell"),
    (205, 4): Meaning("gsm.cell"),
    (206, 2): Meaning("gsm.area"),
    (207, 8): Meaning("rfid", kind="hex"),
    (216, 4): Meaning("can.odometer"),
    (218, 8): Meaning("sim.imsi"),
    (236, 1): Meaning("alarm.button"),
    (237, 1): Meaning("network.type"),
    (238, 8): Meaning("user.id", kind="hex"),
    (239, 1): Meaning("ignition"),
    (240, 1): Meaning("movement"),
    (241, 4): Meaning("gsm.operator"),
    (243, 2): Meaning("driving.duration"),
    (245, 2): Meaning("adc.4", 1000),
    (246, 1): Meaning("alarm.towing"),
    (247, 1): Meaning("alarm.crash"),
    (249, 1): Meaning("alarm.jamming"),
    (250, 1): Meaning("trip"),
    (253, 1): Meaning("driving.event"),
    (254, 1): Meaning("driving.value"),
    (255, 1): Meaning("driving.overspeed"),
    (256, VARIABLE): Meaning("vin", kind="text"),
    (263, 1): Meaning("bt.status"),
    **_numbered((269, 272, 275, 278), 1, "ble.lls.temperature", signed=True),
    **_numbered((270, 273, 276, 279), 2, "ble.lls.level"),
    (281, VARIABLE): Meaning("dtc", kind="text"),
    (303, 1): Meaning("movement.instant"),
    (325, VARIABLE): Meaning("vin", kind="text"),
    (327, 2): Meaning("ultrasonic.level", 10, signed=True),
    (389, 4): Meaning("obd.odometer"),
    (390, 4): Meaning("obd.fuel", 10),
    (449, 4): Meaning("ignition.counter"),
    (622, 2): Meaning("frequency.1", 10),
    (636, 4): Meaning("lte.cell"),
    (637, 1): Meaning("wake.reason"),
    (800, 4): Meaning("power.external", 1000),
    **_numbered((10800, 10801, 10802, 10803), 2, "eye.temperature", divisor=100, signed=True),
    **_numbered((10804, 10805, 10806, 10807), 1, "eye.humidity"),
    **_numbered((10808, 10809, 10810, 10811), 1, "eye.magnet"),
    **_numbered((10820, 10821, 10822, 10823), 1, "eye.battery.low"),
}

# Where another model means something else by an id of another size: geofences of FMB, CAN and tachograph of FMx6;
# 11 with four bytes may be half of a card's number.
_ELSEWHERE = frozenset(
    (identifier, size)
    for size, ids in {
        1: (4, 62, 63, 64, 65, 70, 71, 79, 83, 85, 110, 195, 196, 216, 218, 243, 327, 389, 390),
        2: (12, 29, 32, 69, 77, 89, 100, 102, 103, 236, 237, 238),
        4: (11, 36, 43, 76, 80, 84, 86, 104, 108, 113),
    }.items()
    for identifier in ids
)
# A number of 1, 2 or 4 bytes is the same number, for bridges send the narrowest; unless its id has two meanings.
_OF_ANY_WIDTH = {
    identifier: meanings.pop()
    for identifier in {identifier for identifier, _ in MEANINGS}
    if len(meanings := {m for (i, size), m in MEANINGS.items() if i == identifier and size in (1, 2, 4)}) == 1
}
WITH_MEANING = frozenset(identifier for identifier, _ in MEANINGS)


@lru_cache(16_384)
def meaning_of(identifier: int, size: int) -> Meaning:
    """The meaning of an element of 1, 2, 4 or 8 bytes, or of the variable-length group (`VARIABLE`)."""
    found = MEANINGS.get((identifier, size))
    if found is None and size not in (VARIABLE, 8) and (identifier, size) not in _ELSEWHERE:
        found = _OF_ANY_WIDTH.get(identifier)
    return found or without_meaning(f"io.{identifier}", size)


@lru_cache(4096)
def meaning_by_id(identifier: int) -> Meaning | None:
    """The meaning of a number whose size is not told, where the id has one meaning in all sizes; else None."""
    found = [meaning for (known, _), meaning in MEANINGS.items() if known == identifier]
    alike = bool(found) and all(meaning == found[0] for meaning in found)
    return found[0] if alike and found[0].kind in ("number", "coded") else None


def without_meaning(name: str, size: int) -> Meaning:
    """As sent: a number unsigned, bytes as hex."""
    return Meaning(name, kind="bytes" if size == VARIABLE else "number")


# names of the shared dictionary that this protocol tells
SHARED = (
    "ignition", "movement", "event", "priority", "power.external", "power.battery", "battery.level", "gsm.signal",
    "gsm.operator", "odometer", "input.N", "output.N", "adc.N", "hdop", "pdop", "fuel.level.N", "fuel.temperature.N",
    "fuel.status.N", "temperature.N", "acceleration.x", "acceleration.z", "can.engine.rpm", "can.fuel.percent",
    "can.fuel.used", "obd.engine.rpm", "driver.key", "vin", "io.<id>", "io.<id>.N",
)  # fmt: skip

MEASURES: dict[str, tuple[str, str]] = {
    "gnss.speed": ("km/h", "speed by the receiver, beside the record's own"),
    "gnss.status": ("code", "0 off, 1 fix, 2 no fix, 3 asleep; some legacy models: 3 fix"),
    "data.mode": ("code", "0 home, 2 roaming, 4 unknown network, standing; each + 1 moving"),
    "power.battery.current": ("A", "current of the terminal's own battery"),
    "temperature.status.N": ("code", "the sensor's code where it gave no temperature"),
    "board.temperature": ("°C", "temperature of the terminal's board"),
    "pulses.N": ("number", "pulses at discrete input N"),
    "frequency.N": ("Hz", "frequency at discrete input N"),
    "sd.status": ("code", "memory card"),
    "sim.iccid.N": ("text", "half N of the card's number, decimal; joined, the second counts ten digits"),
    "sim.imsi": ("number", "subscriber's number"),
    "fuel.used.gps": ("l", "fuel used by the terminal's own model of consumption"),
    "fuel.rate.gps": ("l/100km", "consumption by the terminal's own model"),
    "engine.time.total": ("min", "engine time in total"),
    "engine.time": ("min", "engine time"),
    "eco.score": ("", "driving score"),
    "adblue.percent": ("%", "AdBlue level"),
    "adblue": ("l", "AdBlue level"),
    "ble.battery.N": ("%", "battery of Bluetooth sensor N"),
    "ble.humidity.N": ("%", "relative humidity told by Bluetooth sensor N"),
    "ble.humidity.status.N": ("code", "the sensor's code where it gave no humidity"),
    "ble.lls.level.N": ("raw", "level of Bluetooth fuel sensor N"),
    "ble.lls.temperature.N": ("°C", "temperature told by Bluetooth fuel sensor N"),
    "obd.coolant": ("°C", "coolant by OBD"),
    "obd.ambient": ("°C", "ambient air by OBD"),
    "obd.distance.mil": ("km", "driven with the malfunction lamp on"),
    "obd.distance.cleared": ("km", "driven since the faults were cleared"),
    "obd.odometer": ("km", "the maker's own odometer"),
    "obd.fuel": ("l", "the maker's own fuel level"),
    "can.fuel.level": ("l", "fuel level by CAN"),
    "can.fuel.counted": ("l", "fuel used by CAN since counting began"),
    "can.fuel.rate": ("l/h", "fuel rate by CAN"),
    "can.engine.load": ("%", "engine load by CAN"),
    "can.engine.temperature": ("°C", "engine temperature by CAN"),
    "can.engine.time": ("min", "engine time by CAN, in total"),
    "can.engine.time.counted": ("min", "engine time by CAN since counting began"),
    "can.mileage.counted": ("m", "mileage by CAN since counting began"),
    "can.odometer": ("m", "distance by CAN, in total"),
    "can.adblue": ("l", "AdBlue level by CAN"),
    "can.axle.N": ("kg", "load of axle N by CAN"),
    "can.program": ("number", "the CAN adapter's program"),
    "sensor.rom.N": ("hex", "number of 1-Wire sensor N, as sent"),
    "geofence.auto": ("code", "automatic geofence: 0 left, 1 entered"),
    "alarm.button": ("code", "alarm button"),
    "network.type": ("code", "0 3G, 1 GSM, 2 4G, 3 CAT-M1, 4 NB1, 99 unknown"),
    "user.id": ("hex", "user's card as sent"),
    "tacho.driver.N": ("text", "half N of the first driver's tachograph number"),
    "driving.duration": ("ms", "how long the driving event lasted"),
    "bt.status": ("code", "Bluetooth"),
    "dtc": ("text", "trouble codes, separated by commas"),
    "movement.instant": ("code", "movement by the accelerometer, at once"),
    "ultrasonic.level": ("mm", "ultrasonic fuel level; below zero the sensor's code"),
    "ignition.counter": ("s", "time with the ignition on"),
    "lte.cell": ("number", "cell id of 3G and LTE"),
    "wake.reason": ("code", "why the terminal woke"),
    "eye.temperature.N": ("°C", "temperature of EYE sensor N"),
    "eye.humidity.N": ("%", "relative humidity told by EYE sensor N"),
    "eye.magnet.N": ("code", "magnet at EYE sensor N"),
    "eye.battery.low.N": ("code", "battery of EYE sensor N is low"),
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
