"""The dictionary of measures: name → unit and meaning, one of each over all protocols.

Names with a part that varies stand as patterns: `N` is a number, `<…>` whatever the terminal called it. Those that
several protocols share come first and win; what only one protocol tells comes from its own `measures` module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from protocols.omnicomm.measures import MEASURES as OMNICOMM
from protocols.teltonika.measures import MEASURES as TELTONIKA
from protocols.teltonika.measures import SHARED as TELTONIKA_SHARED
from protocols.wialon_ips.measures import MEASURES as WIALON_IPS


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
    "fuel.status.N": ("", "the protocol's status number of fuel-level sensor N; of an invalid level its code"),
    "temperature.N": ("°C", "temperature sensor N"),
    "driver.key": ("text", "driver's key as sent; a number or bytes as lower-case hex, most significant first"),
    "vin": ("text", "vehicle identification number as sent"),
    "param.<name>": ("", "a parameter under the terminal's own name: number or text as its type says"),
    "io.<id>": ("raw", "an id without one meaning in all models of the protocol; byte strings as lower-case hex"),
}

# what each protocol tells: names from `SHARED` that its own list need not repeat, and its own list
_PROTOCOLS: dict[str, tuple[tuple[str, ...], dict[str, tuple[str, str]]]] = {
    "teltonika": (TELTONIKA_SHARED, TELTONIKA),
    "omnicomm": ((), OMNICOMM),
    "wialon-ips": ((), WIALON_IPS),
}


def _dictionary() -> dict[str, Measure]:
    told: dict[str, list[str]] = {}
    entries = dict(SHARED)
    for protocol, (shared, own) in _PROTOCOLS.items():
        for name, entry in own.items():
            entries.setdefault(name, entry)
        for name in (*shared, *own):
            told.setdefault(name, []).append(protocol)
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
