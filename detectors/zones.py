"""In which zone a silence probably has its cause: last words, weighed.

What a terminal told before it fell silent, and how its connections went, are *signs*. Each adds to a zone's weight the
logarithm of how many times more often it is seen with a cause there than with others (`WEIGHTS`); a zone begins with
the logarithm of its share of all faults (`SHARES`). A zone's confidence is its share among all, `unknown` included. So
where nothing speaks, what is named is what breaks most often, and the confidence says how little that is.

    wiring-power   external power gone, sagging, or restarts with a sag; a case opened
    sim-operator   all is well to the last and the link is gone without a word, or reset by the network
    network-path   connects and brings nothing
    terminal       damaged frames, a signal that fell (its antenna's), restarts without a sag, its own battery empty, a
                   wrong clock, a connection ended in order while it was in use: it was sent elsewhere
    gnss-antenna   never: without positions terminals still report
    expected       a battery switch: external power gone with the ignition off; or sleep: told, and the connection ended

A card that was blocked, a terminal that died at once, and one whose supply was cut in its sleep end alike: without a
word. Nothing that arrives tells them apart (docs/detectors.md, "Zones").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from detectors.detector import Past, Zone
from detectors.gaps import Floats

GONE = 3.0  # V: no supply
SAG_SHARE = 0.7  # of the usual voltage: more than cranking, which lasts a second
EMPTY = 3.5  # V of the own battery
WEAK_SIGNAL = 20.0  # percent: one bar, where GPRS sessions break
POOR_SIGNAL = 40.0
FINE_SIGNAL = 60.0
SEVERAL = 2  # connections: one is chance
FLAPS = 4  # of the last five connections before the silence
POWER_UP, POWER_LOST = 3, 12  # Omnicomm's events
IN_ORDER = "closed by the terminal"
_BROKEN = ("lost", "replaced")

# Shares of faults by zone, and by sign what it adds to each zone: fitted together by logistic regression to the causes
# of simulated months (docs/detectors.md names the seeds), so that signs that come together are not counted twice.
SHARES: Mapping[str, float] = {
    "wiring-power": 0.34,
    "terminal": 0.36,
    "sim-operator": 0.18,
    "network-path": 0.07,
    "expected": 0.05,  # assumed
}
WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "cut": {"wiring-power": 3.6, "sim-operator": -0.4, "network-path": -0.8, "terminal": -2.5},
    # Of tickets after such a last word seven in ten were a switch, three a fault.
    "cut at rest": {"expected": 5.2, "wiring-power": 2.6, "terminal": -0.6, "network-path": -1.0, "sim-operator": -1.0},
    "sagged": {"wiring-power": 2.1, "network-path": -0.4, "sim-operator": -0.8, "terminal": -1.0},
    "opened": {"wiring-power": 1.3, "sim-operator": -0.5, "terminal": -0.6},
    "own battery": {"terminal": 1.7, "network-path": -0.3, "sim-operator": -0.7, "wiring-power": -0.8},
    "restarts": {"terminal": 1.9, "wiring-power": -0.3, "network-path": -0.6, "sim-operator": -0.9},
    "damaged": {"terminal": 1.7, "sim-operator": -0.7, "wiring-power": -0.9},
    "damaged once": {"terminal": 0.6, "network-path": -0.3, "wiring-power": -0.3},
    "damaged since": {"terminal": 1.7, "network-path": -0.3, "sim-operator": -0.6, "wiring-power": -0.8},
    "faded": {"terminal": 0.9, "network-path": -0.4, "wiring-power": -0.5},
    "dipped": {"terminal": 0.4, "wiring-power": -0.5},
    "weak": {"terminal": 2.9, "wiring-power": -0.5, "network-path": -0.8, "sim-operator": -1.5},
    "halved": {"sim-operator": 0.4, "terminal": 0.3, "network-path": -0.2, "wiring-power": -0.4},
    "farewell": {"terminal": 1.9, "wiring-power": -0.5, "sim-operator": -0.6, "network-path": -0.8},
    "empty": {"network-path": 2.9, "sim-operator": -0.8, "wiring-power": -2.0},
    "empty once": {"network-path": 1.6, "wiring-power": -0.7, "sim-operator": -1.1},
    "reset": {"sim-operator": 1.0, "terminal": -0.2, "network-path": -0.4, "wiring-power": -0.4},
    "flapping": {"terminal": 0.6, "sim-operator": -0.2, "network-path": -0.5},
    "gone in use": {"sim-operator": 0.7, "network-path": -0.2, "wiring-power": -0.6},
    "gone at rest": {"sim-operator": 0.5, "network-path": -0.3, "wiring-power": -0.4},
    "asleep": {"expected": 3.5},  # assumed; months do not tell it
    # Verdicts of other detectors: assumed, for months have too few of them to fit.
    "power finding": {"wiring-power": 1.0},
    "clock finding": {"terminal": 2.5},
    "restarts finding": {"terminal": 0.7},
    "modem finding": {"sim-operator": 0.5},
}
# What is common without a fault too: beside it the link is still gone without a word, and alone it names nothing.
_FAINT = frozenset({"damaged once", "empty once", "reset", "dipped", "weak", "halved", "flapping", "modem finding"})
_TELLING = frozenset(WEIGHTS) - _FAINT
UNKNOWN = -3.0  # one in twenty: what is not among these causes


class Sign(NamedTuple):
    """What was seen, a key of `WEIGHTS`, and in words."""

    what: str
    text: str


def zone_of_silence(past: Past) -> Zone:
    """Name the probable zone of a silence from what the terminal told, and how its connections went, before it."""
    signs = list(signs_of(past))
    if not any(sign.what in _TELLING for sign in signs):
        return Zone("unknown", 0.0, "no sign in the last records and connections")
    weights = {**{zone: float(np.log(share)) for zone, share in SHARES.items()}, "unknown": UNKNOWN}
    for sign in signs:
        for zone, weight in WEIGHTS[sign.what].items():
            weights[zone] = weights.get(zone, 0.0) + weight
    zone = max(weights, key=weights.__getitem__)
    confidence = round(float(np.exp(weights[zone]) / sum(np.exp(weight) for weight in weights.values())), 2)
    spoke_for = tuple(sign.text for sign in signs if WEIGHTS[sign.what].get(zone, 0.0) > 0)
    against = tuple(sign.text for sign in signs if WEIGHTS[sign.what].get(zone, 0.0) < 0)
    others = tuple(
        f"{other}: {sign.text}"
        for sign in signs
        for other, weight in WEIGHTS[sign.what].items()
        if other != zone and weight > max(WEIGHTS[sign.what].get(zone, 0.0), 0.0)
    )
    if zone == "unknown":
        return Zone(zone, 0.0, "what was seen speaks for no zone", (), others)
    reason = "; ".join(spoke_for) or "nothing told of the cause: it is what breaks most often"
    return Zone(zone, confidence, reason, spoke_for, tuple(dict.fromkeys(against + others)))


def signs_of(past: Past) -> Iterator[Sign]:
    """What was seen; that the link is gone without a word only where it is known how it was before."""
    told = [*_of_power(past), *_of_terminal(past), *_of_link(past)]
    yield from told
    if any(sign.what in _TELLING for sign in told):
        return
    if _in_use(past):
        yield Sign("gone in use", "all was well to its last record, then the link was gone without a word")
    elif not np.isnan([_last(past.measure("ignition")), _last(past.measure("moving"))]).all():
        yield Sign("gone at rest", "it was at rest and all was well to its last record")


def _of_power(past: Past) -> Iterator[Sign]:
    volts, own = _told(past.measure("power.external")), _told(past.measure("power.battery"))
    best, usual = (float(volts.max()), float(np.median(volts))) if volts.size else (np.nan, np.nan)
    last = float(volts[-1]) if volts.size else np.nan
    backup = _last(past.measure("power.backup")) == 1
    restarts = _restarts(past)
    if backup or last < GONE:
        if _off(past):
            yield Sign("cut at rest", f"external power was gone ({_volts(last, backup)}) with the ignition off")
        else:
            yield Sign("cut", f"external power was gone ({_volts(last, backup)}) before the silence")
    there = volts[volts >= GONE]
    if there.size and there.min() < SAG_SHARE * best:
        more = f", with {restarts} restarts" if restarts else ""
        yield Sign("sagged", f"external power fell to {there.min():g} V before the silence (usually {usual:g} V){more}")
    elif restarts:
        yield Sign("restarts", f"{restarts} restarts among its last records, and no sag of its supply")
    if own.size and own[-1] < EMPTY and last >= GONE:
        yield Sign("own battery", f"the terminal's own battery was at {own[-1]:g} V")
    if _last(past.measure("case.open")) == 1:
        yield Sign("opened", "its case was opened")
    if past.verdicts.get("power") == "fail" and not _off(past):
        yield Sign("power finding", "a power finding stood")


def _of_terminal(past: Past) -> Iterator[Sign]:
    before = [one for one in past.connections if not one.later]
    since = sum(one.malformed > 0 and one.frames == 0 for one in past.connections if one.later)
    damaged = sum(one.malformed > 0 for one in before)
    if since:
        yield Sign("damaged since", f"connected since, and brought damaged frames alone ({since} times)")
    if damaged >= SEVERAL:
        yield Sign("damaged", f"{damaged} of its last connections brought damaged frames")
    elif damaged:
        yield Sign("damaged once", "one of its last connections brought damaged frames")
    if past.verdicts.get("clock") in ("suspect", "fail"):
        yield Sign("clock finding", "its clock is wrong")
    if past.verdicts.get("restarts") in ("suspect", "fail"):
        yield Sign("restarts finding", "it restarted again and again")


def _of_link(past: Past) -> Iterator[Sign]:
    signal = _told(past.measure("gsm.signal"))
    if signal.size:
        last, best = float(signal[-1]), float(signal.max())
        if last <= WEAK_SIGNAL and best >= FINE_SIGNAL and np.median(signal[-3:]) > POOR_SIGNAL:
            yield Sign("dipped", f"GSM signal had just fallen from {best:g} to {last:g} %, as at the edge of a network")
        elif last <= WEAK_SIGNAL and best >= FINE_SIGNAL:
            yield Sign("faded", f"GSM signal had fallen from {best:g} to {last:g} %")
        elif last <= WEAK_SIGNAL:
            yield Sign("weak", f"GSM signal was {last:g} %")
        elif last <= best / 2:
            yield Sign("halved", f"GSM signal had fallen from {best:g} to {last:g} %")
    if past.verdicts.get("modem") == "fail":
        yield Sign("modem finding", "a modem finding stood")
    before = [one for one in past.connections if not one.later]
    empty = sum(one.frames == 0 and one.malformed == 0 for one in past.connections if one.later)
    if empty >= SEVERAL:
        yield Sign("empty", f"connected {empty} times since, and brought nothing")
    elif empty:
        yield Sign("empty once", "connected once since, and brought nothing")
    if not before:
        return
    if before[0].ended.startswith(IN_ORDER) and _in_use(past):
        yield Sign("farewell", "it ended its connection in order while it was in use")
    elif before[0].ended.startswith("lost"):
        yield Sign("reset", "its last connection was reset")
    elif before[0].ended.startswith(IN_ORDER) and _off(past) and _last(past.measure("sleep.mode")) > 0:
        yield Sign("asleep", "it had gone to sleep, the ignition off, and ended its connection in order")
    if sum(one.ended.startswith(_BROKEN) for one in before[1:6]) >= FLAPS:
        yield Sign("flapping", "its last connections broke one after another")


def _restarts(past: Past) -> int:
    """Omnicomm's alone: `event` is a number of each protocol's own."""
    if not (_told(past.measure("unit.id")).size or _told(past.measure("mileage.delta")).size):
        return 0
    events = past.measure("event")
    return int((events == POWER_UP).sum() + (events == POWER_LOST).sum())


def _in_use(past: Past) -> bool:
    return _last(past.measure("ignition")) == 1 or _last(past.measure("moving")) == 1


def _off(past: Past) -> bool:
    return _last(past.measure("ignition")) == 0 and _last(past.measure("moving")) != 1


def _told(values: Floats) -> Floats:
    told: Floats = values[~np.isnan(values)]
    return told


def _last(values: Floats) -> float:
    told = _told(values)
    return float(told[-1]) if told.size else float("nan")


def _volts(volts: float, backup: bool) -> str:
    return "on its own battery" if backup or np.isnan(volts) else f"{volts:g} V"
