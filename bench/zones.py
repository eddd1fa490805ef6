"""How often the zone of a silence is named right, and what a rule could know at all; or the weights, fitted anew.

    python -m bench.zones [--seeds 5,6] [--month] [--fit]

Without options: ten days of 600 terminals a seed, each with a fault; its zone is asked for when a ticket would come, 1
to 2 h after the fault began where it was in use, else 4.5 to 48 h. ``--month``: thirty days with the usual share of
faults, and the zones of the tickets that a whole back-test opens after its first week. *Told* are faults of which
something had arrived by then that tells their cause; the others differ in nothing that is received. ``--fit`` prints
shares and weights for the detector.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from detectors.detector import Past, Zone
from detectors.zones import WEIGHTS, signs_of, zone_of_silence
from gateway.backtest.replay import LastRecords
from gateway.backtest.scores import BANDS, NO_FAULT
from gateway.backtest.study import Period, study
from gateway.backtest.tables import Fault, beside, read_terminals, read_truth
from gateway.backtest.trace import Trace
from gateway.configuration.reading import load
from gateway.simulator.month.build import write_month
from gateway.simulator.month.facts import DAY, HOUR, START

TERMINALS = 600
DAYS, EACH = 10, 3.0  # days of a sample, and faults in thirty days so that each terminal has one
SOON, LATER = (1 * HOUR, 2 * HOUR), (4.5 * HOUR, 48 * HOUR)  # when tickets come: of who was in use, and of others
STEPS, RATE, RIDGE = 4000, 2.0, 1.0  # of the regression; a sign seen once or twice is hardly believed
_ASSUMED = ("asleep", "power finding", "clock finding", "restarts finding", "modem finding")


@dataclass(frozen=True, slots=True)
class Case:
    """One fault: its true zone, whether it told, what was named, and by which signs."""

    zone: str
    told: bool
    named: Zone
    signs: tuple[str, ...] = ()


def sample(seed: int, terminals: int = TERMINALS) -> list[Case]:
    """A fault of each terminal, asked for once."""
    with TemporaryDirectory() as folder:
        trace, truth = Path(folder) / "m.npz", Path(folder) / "t.csv"
        month = write_month(DAYS, terminals, seed, trace=trace, truth=truth, table=beside(trace), faulty=EACH)
        source, random = Trace(trace), np.random.default_rng(seed)
        last = LastRecords(len(source.names), list(source.columns))
        place = {name: row for row, name in enumerate(source.names)}
        # First a look at its state when the fault begins, from which follows when a ticket would come.
        asked = [
            (fault.begins, str(fault.terminal), fault) for fault in read_truth(truth) if fault.terminal is not None
        ]
        heapify(asked)
        cases: list[Case] = []
        for rows in [*source.slices(), None]:
            until = np.inf if rows is None else float(rows["received"][-1]) / 1e6
            if rows is not None:
                last.begin(rows)
            while asked and asked[0][0] <= until:
                at, name, fault = heappop(asked)
                past = last.past(place[name], at)
                if at == fault.begins:
                    ticket = min(at + _wait(past, random), fault.ends - 60, START + DAYS * DAY - 1)
                    heappush(asked, (max(ticket, at + 1), name, fault))
                else:
                    cases.append(_case(fault, past, month.told[name] <= at))
    return cases


def _wait(past: Past, random: np.random.Generator) -> float:
    in_use = 1.0 in (past.measure("ignition")[-1], past.measure("moving")[-1])
    return float(np.exp(random.uniform(*np.log(SOON if in_use else LATER))))


def _case(fault: Fault, past: Past, told: bool) -> Case:
    return Case(fault.zone, told, zone_of_silence(past), tuple(sign.what for sign in signs_of(past)))


def tickets(seed: int) -> list[Case]:
    """The faults that a back-test of a whole month tickets."""
    with TemporaryDirectory() as folder:
        trace, truth = Path(folder) / "m.npz", Path(folder) / "t.csv"
        month = write_month(30, TERMINALS, seed, trace=trace, truth=truth, table=beside(trace))
        result = study(
            Trace(trace), load(None, {}, implicit=False), read_terminals(beside(trace)), read_truth(truth),
            Period(START + 7 * DAY),
        )  # fmt: skip
        figures = result.summary
        print(
            f"seed {seed}: false {figures['false_per_1000_terminal_days']}, missed {figures['missed']}, "
            f"delay {figures['detect_s']['p50'] / HOUR:.1f} h"
        )
        found = result.truth.found(result.events) if result.truth is not None else []
    return [
        Case(
            each.fault.zone, month.told[str(each.fault.terminal)] <= each.at, Zone(str(each.zone), each.confidence, "")
        )
        for each in found
        if each.at is not None
    ]


def report(cases: Sequence[Case]) -> None:
    """What was named."""
    for words, its in (("all", cases), ("told", [case for case in cases if case.told])):
        right = sum(case.zone == case.named.zone for case in its)
        unknown = sum(case.named.zone == "unknown" for case in its)
        print(
            f"{words:5} {len(its):5}  right {right / max(len(its), 1):6.1%}  unknown {unknown / max(len(its), 1):6.1%}"
        )
    for told in (True, False):
        for zone in sorted({case.zone for case in cases}):
            named = Counter(case.named.zone for case in cases if case.zone == zone and case.told == told)
            if named:
                words = ", ".join(f"{name} {count}" for name, count in named.most_common())
                print(f"{'told' if told else 'untold':6} {zone:13} named {words}")
    for low, high in pairwise(BANDS):
        its = [case for case in cases if low <= case.named.confidence < high or case.named.confidence == high == 1]
        its = [case for case in its if case.named.zone not in NO_FAULT]
        if its:
            mean = np.mean([case.named.confidence for case in its])
            right = np.mean([case.zone == case.named.zone for case in its])
            print(f"confidence {low:g} to {high:g}: {len(its):5}, mean {mean:.2f}, right {right:.2f}")


def fit(cases: Sequence[Case]) -> None:
    """Logistic regression of zones on signs, with the shares of zones as they are."""
    zones = sorted({case.zone for case in cases})
    keys = [key for key in WEIGHTS if key not in _ASSUMED]
    signs = np.array([[key in case.signs for key in keys] for case in cases], np.float64)
    truth = np.array([[case.zone == zone for zone in zones] for case in cases], np.float64)
    shares = truth.mean(axis=0)
    weights: NDArray[np.float64] = np.zeros((len(keys), len(zones)))
    for _ in range(STEPS):
        odds = np.exp(signs @ weights + np.log(shares))
        odds /= odds.sum(axis=1, keepdims=True)
        weights -= RATE * (signs.T @ (odds - truth) + RIDGE * weights) / len(cases)
    print({zone: round(float(share), 2) for zone, share in zip(zones, shares, strict=True)})
    for key, row, count in zip(keys, weights, signs.sum(axis=0), strict=True):
        told = {zone: round(float(weight), 1) for zone, weight in zip(zones, row, strict=True) if abs(weight) >= 0.2}
        print(f"{key}: {told}  # {count:.0f}")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m bench.zones", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", default="5,6", metavar="N,N", help="default 5,6; the weights are fitted on 1,2,3,4")
    parser.add_argument("--month", action="store_true", help="tickets of whole back-tests")
    parser.add_argument("--fit", action="store_true", help="print weights fitted to these seeds")
    args = parser.parse_args()
    make = tickets if args.month else sample
    cases = [case for seed in args.seeds.split(",") for case in make(int(seed))]
    if args.fit and not args.month:
        fit(cases)
    report(cases)


if __name__ == "__main__":
    main()
