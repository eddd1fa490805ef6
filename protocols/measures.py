"""The dictionary of measures: name → unit and meaning, one of each over all protocols.

Names with a part that varies stand as patterns: `N` is a number, `<…>` whatever the terminal called it. Those that
several protocols share come first and win; what only one protocol tells comes from its own `measures` module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from protocols.registry import every, protocol


@dataclass(frozen=True, slots=True)
class Measure:
    """What a name means.

    Attributes
    ----------
    name : as it stands in the dictionary, `N` and `<…>` for the parts that vary.
    unit : the unit of its values; empty for numbers and texts without one.
    meaning : one sentence.
    protocols : who tells it; the gateway's protocol names.
    """

    name: str
    unit: str
    meaning: str
    protocols: tuple[str, ...]


SHARED: dict[str, tuple[str, str]] = {
    "ignition": ("0/1", "ignition is on"),
    "movement": ("0/1", "the terminal's own judgement that it moves"),
    "event": ("", "the protocol's own number of the event that made the record, the first if several; 0 none"),
    "events": ("text", "all event numbers of the record, where there are more than one: 4,9"),
    "priority": ("", "the protocol's own priority of the record"),
    "power.external": ("V", "supply voltage"),
    "power.battery": ("V", "voltage of the terminal's own battery"),
    "battery.level": ("%", "charge of the terminal's own battery"),
    "acceleration.x": ("g", "acceleration along the terminal's x axis"),
    "acceleration.z": ("g", "acceleration along the terminal's z axis"),
    "can.engine.rpm": ("rpm", "engine speed by CAN"),
    "can.fuel.percent": ("%", "fuel level by CAN, tank 1"),
    "can.fuel.used": ("l", "fuel used by CAN, in total"),
    "obd.engine.rpm": ("rpm", "engine speed by OBD"),
    "gsm.signal": ("%", "GSM signal; terminals that count 0 to 5 × 20"),
    "gsm.operator": ("", "MCC and MNC as one decimal number: 25001"),
    "odometer": ("m", "distance in total"),
    "mileage.delta": ("raw", "the terminal's own increment of distance"),
    "inputs": ("bits", "discrete inputs as one bit set, where the wire sends one; bit 0 is input 1"),
    "outputs": ("bits", "discrete outputs as one bit set, where the wire sends one; bit 0 is output 1"),
    "input.N": ("0/1", "discrete input N"),
    "output.N": ("0/1", "discrete output N"),
    "adc.N": ("V", "analogue input N"),
    "hdop": ("", "horizontal dilution of precision"),
    "pdop": ("", "position dilution of precision"),
    "gnss.time": ("unix s", "time of the fix, where it differs from the record's"),
    "fuel.level.N": ("raw", "code of fuel-level sensor N; absent while the sensor reports an error"),
    "fuel.temperature.N": ("°C", "temperature told by fuel-level sensor N"),
    "fuel.status.N": (
        "",
        "the protocol's status number of fuel-level sensor N; of an invalid level its code. On a serial line: 0 good, "
        "1 no answer, 2 checksum, 3 refused, 4 level invalid, whose code is in fuel.code.N",
    ),
    "fuel.frequency.N": ("Hz", "frequency that fuel-level sensor N measured: for diagnosis"),
    "fuel.code.N": ("raw", "what fuel-level sensor N of a serial line sent in place of a level: the code of an error"),
    "fuel.volume.N": ("l", "litres at fuel-level sensor N by its calibration: computed on reading, in no record"),
    "temperature.N": ("°C", "temperature sensor N"),
    "driver.key": ("text", "driver's key as sent; a number or bytes as lower-case hex, most significant first"),
    "vin": ("text", "vehicle identification number as sent"),
    "param.<name>": ("", "a parameter under the terminal's own name: number or text as its type says"),
    "io.<id>": ("raw", "an id without one meaning in all models of the protocol; byte strings as lower-case hex"),
    "io.<id>.N": ("raw", "the Nth element of one id in a record, from 2"),
}

# What a fuel-level sensor's code and temperature are called; the first name that is told counts.
FUEL_LEVELS = ("fuel.level.N", "ble.lls.level.N", "param.llsN", "param.rs485_N")
FUEL_TEMPERATURES = ("fuel.temperature.N", "ble.lls.temperature.N", "param.llsNt")


def _dictionary() -> dict[str, Measure]:
    told: dict[str, list[str]] = {}
    entries = dict(SHARED)
    for spoken in map(protocol, every()):
        for name, entry in spoken.measures.items():
            entries.setdefault(name, entry)
        for name in (*spoken.shared_measures, *spoken.measures):
            told.setdefault(name, []).append(spoken.name)
    return {
        name: Measure(name, unit, meaning, tuple(dict.fromkeys(told.get(name, ()))))
        for name, (unit, meaning) in entries.items()
    }


MEASURES: dict[str, Measure] = _dictionary()

_VARIABLE = re.compile(r"<\w+>|(?<=\.)(?:N|SPN)(?=\.|$)")


def _pattern(name: str) -> re.Pattern[str]:
    parts, at = [], 0
    for found in _VARIABLE.finditer(name):
        parts.append(re.escape(name[at : found.start()]))
        parts.append(r"[0-9]+" if found[0] in ("N", "SPN", "<id>") else r".+")
        at = found.end()
    parts.append(re.escape(name[at:]))
    return re.compile("".join(parts), re.DOTALL)


_PATTERNS = [(_pattern(name), measure) for name, measure in MEASURES.items() if _VARIABLE.search(name)]


def describe(name: str) -> Measure | None:
    """The entry of a measure as records carry it (`fuel.level.2`, `io.69`); None if no decoder makes that name."""
    exact = MEASURES.get(name)
    if exact is not None and not _VARIABLE.search(name):
        return exact
    return next((measure for pattern, measure in _PATTERNS if pattern.fullmatch(name)), None)
