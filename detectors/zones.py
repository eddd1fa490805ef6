"""In which zone a silence probably has its cause: last words, weighed.

Each clue speaks for one zone, or against it, by a weight; a weight is the logarithm of how many times more often it is
seen with that cause than without. Weights of a zone add up, and its confidence is its share among all zones and
`unknown`, which always weighs `UNKNOWN`: so where nothing speaks, nothing is claimed. Zones and what speaks for them
are the support model's (S3-15).

    wiring-power   voltage falling, external power gone with the ignition on, restarts, a battery that empties, a case
                   opened, a power finding
    sim-operator   signal weak or falling; or all is well to the last and the link is gone without a word
    network-path   connects and brings nothing; the same record again and again
    terminal       damaged frames, a wrong clock, restarts without a sag, pings without records
    gnss-antenna   never: without positions terminals still report
    expected       a battery switch or sleep: ignition off, power gone or asleep, the connection ended in order
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from detectors.detector import Connected, Past, Zone
from detectors.gaps import Floats

LOW_VOLTAGE = 9.0  # V: a 12 V board net below it starts no engine and soon resets a terminal
GONE = 3.0  # V: no supply
SAG_SHARE = 0.7  # of the usual voltage: more than cranking, which lasts a second
STEADY_SHARE = 0.9  # of it: nothing wrong with the supply
EMPTY = 3.5  # V of the own battery
WEAK_SIGNAL = 20.0  # percent: one bar, where GPRS sessions break
FINE_SIGNAL = 50.0
DAMAGED_CONNECTIONS = 2  # of the last ones: one is chance
EMPTY_CONNECTIONS = 2  # since the last record
POWER_UP, POWER_LOST = 3, 12  # Omnicomm's events
IN_ORDER = "closed by the terminal"
UNKNOWN = 0.7


class Clue(NamedTuple):
    """What speaks for a zone, or against it where `weight` is below zero."""

    zone: str
    weight: float
    text: str


def zone_of_silence(past: Past) -> Zone:
    """Name the probable zone of a silence from what the terminal told, and how its connections went, before it."""
    clues = [*_of_power(past), *_of_link(past), *_of_terminal(past)]
    weights: dict[str, float] = {"unknown": UNKNOWN}
    for clue in clues:
        weights[clue.zone] = weights.get(clue.zone, 0.0) + clue.weight
    zone = max(weights, key=weights.__getitem__)
    if zone == "unknown":
        against = tuple(f"{clue.zone}: {clue.text}" for clue in clues)
        return Zone(zone, 0.0, "no sign in the last records and connections", (), against)
    total = sum(np.exp(weight) for weight in weights.values())
    its = [clue for clue in clues if clue.zone == zone]
    spoke_for = tuple(clue.text for clue in its if clue.weight > 0)
    spoke_against = tuple(clue.text for clue in its if clue.weight <= 0)
    others = tuple(f"{clue.zone}: {clue.text}" for clue in clues if clue.zone != zone and clue.weight > 0)
    confidence = round(float(np.exp(weights[zone]) / total), 2)
    return Zone(zone, confidence, "; ".join(spoke_for), spoke_for, spoke_against + others)


def _of_power(past: Past) -> Iterator[Clue]:
    volts, own = _told(past.measure("power.external")), _told(past.measure("power.battery"))
    off = _last(past.measure("ignition")) == 0 and _last(past.measure("moving")) != 1
    backup = _last(past.measure("power.backup")) == 1
    if volts.size or backup:
        usual, last = (float(np.median(volts)), float(volts[-1])) if volts.size else (np.nan, np.nan)
        best = float(volts.max()) if volts.size else np.nan
        if off and (last < GONE or backup):
            yield Clue("expected", 3.0, f"external power {_volts(last)} with the ignition off: a battery switch")
        elif last < GONE or backup:
            yield Clue("wiring-power", 4.0, f"external power was gone ({_volts(last)}) before the silence")
        elif last < LOW_VOLTAGE or last < SAG_SHARE * max(usual, SAG_SHARE * best):
            yield Clue(
                "wiring-power", 3.0, f"external power fell to {last:g} V before the silence (usually {usual:g} V)"
            )
        elif last >= STEADY_SHARE * best:
            yield Clue("wiring-power", -1.5, f"external power was steady at {last:g} V")
        elif len(volts) > 2 and bool((np.diff(volts[-3:]) < 0).all()):
            yield Clue("wiring-power", 1.5, f"external power was falling, {last:g} V at last")
    if own.size and own[-1] < EMPTY:
        yield Clue("wiring-power", 1.5, f"the terminal's own battery was at {own[-1]:g} V")
    if _last(past.measure("case.open")) == 1:
        yield Clue("wiring-power", 2.0, "its case was opened")
    if past.verdicts.get("power") == "fail" and not off:
        yield Clue("wiring-power", 2.0, "a power finding stood")


def _of_link(past: Past) -> Iterator[Clue]:
    signal = _told(past.measure("gsm.signal"))
    connections = past.connections
    later = [one for one in connections if one.later]
    if signal.size:
        if signal[-1] <= WEAK_SIGNAL:
            yield Clue("sim-operator", 2.0, f"GSM signal was {signal[-1]:g} % before the silence")
        elif signal[-1] <= signal.max() / 2:
            yield Clue("sim-operator", 1.0, f"GSM signal had fallen from {signal.max():g} to {signal[-1]:g} %")
    if past.verdicts.get("modem") == "fail":
        yield Clue("sim-operator", 0.5, "a modem finding stood")
    damaged = sum(one.malformed > 0 for one in connections) >= DAMAGED_CONNECTIONS
    empty = [one for one in later if one.frames == 0 and one.malformed == 0]
    if len(empty) >= EMPTY_CONNECTIONS:
        yield Clue("network-path", 3.0, f"connected {len(empty)} times since, and brought nothing")
    last = connections[0] if connections else None
    if last is not None and not later and not damaged:
        yield from _of_ending(past, last, signal)


def _of_ending(past: Past, last: Connected, signal: Floats) -> Iterator[Clue]:
    """How the last connection ended says little, and something where all was well."""
    asleep = _last(past.measure("sleep.mode"))
    resting = _last(past.measure("ignition")) == 0 and _last(past.measure("moving")) != 1
    if resting and last.ended.startswith(IN_ORDER):
        yield Clue("expected", 1.2, "the ignition was off, and the terminal ended its connection in order")
        if asleep > 0:
            yield Clue("expected", 1.5, "it had gone to sleep")
    elif not resting and not last.ended.startswith(IN_ORDER) and (not signal.size or signal[-1] >= FINE_SIGNAL):
        yield Clue("sim-operator", 1.5, "all was well to its last record, then the link was gone without a word")


def _of_terminal(past: Past) -> Iterator[Clue]:
    damaged = int((past.malformed > 0).sum())
    if damaged >= DAMAGED_CONNECTIONS:
        yield Clue("terminal", 3.0, "the last connections brought damaged frames")
    if past.verdicts.get("clock") in ("suspect", "fail"):
        yield Clue("terminal", 2.5, "its clock is wrong")
    if past.verdicts.get("restarts") in ("suspect", "fail"):
        yield Clue("terminal", 1.5, "it restarted again and again")
    events = past.measure("event")
    restarts = int((events == POWER_UP).sum() + (events == POWER_LOST).sum())
    omnicomm = _told(past.measure("unit.id")).size or _told(past.measure("mileage.delta")).size
    if restarts and omnicomm:
        volts = _told(past.measure("power.external"))
        steady = volts.size and float(volts.min()) >= STEADY_SHARE * float(volts.max())
        yield Clue("terminal" if steady else "wiring-power", 2.0, f"{restarts} restarts among its last records")


def _told(values: Floats) -> Floats:
    told: Floats = values[~np.isnan(values)]
    return told


def _last(values: Floats) -> float:
    told = _told(values)
    return float(told[-1]) if told.size else float("nan")


def _volts(value: float) -> str:
    return "on its own battery" if np.isnan(value) else f"{value:g} V"
