"""Levels of fuel sensors with known causes: a few days of a vehicle, every parameter with its reason.

tank         80 l (van) or 400 l (lorry): what is common
burn         9 and 30 l/100 km at 40 and 65 km/h, 1 and 2.5 l/h idling: their data sheets
records      every 60 s driving, 300 s parked: where fuel is watched, terminals do not sleep through the night
slosh        1 to 3 % of the range driving, 0.2 % parked, and it lasts: a wave has an inertia (lag of 0.5)
temperature  1.5 % of the range over a day: fuel expands by 0.1 % a degree, sensors drift by as much
refuelling   30 to 95 % of what is missing, at least 12 %, at 40 l/min (a pump), 60 % of them up to full; one a tank
drain        6 to 40 % of the tank at 10 to 30 l/min (a hose or a hand pump), parked, never below 5 %: it does not
             take what a hose does not reach
sick sensor  one fault a vehicle of: error (code in place of levels for 20 min, then lower by 10 to 40 %, and
             back), zero (a wire off for 10 min to 3 h), step (lower by 10 to 40 % at once while driving, for good),
             loose (lower and back at once, parked, 10 min to 2 h apart), frozen (the same level through 3 h of
             driving, then the true one), noise (leaps of 10 to 30 % for two hours)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.fuel_events import FuelSeries

FAULTS = ("error", "zero", "step", "loose", "frozen", "noise")
HOUR = 3600.0
DAYS = 4
CODES = 4095  # levels come in whole codes
_START = 1_800_000_000.0


@dataclass(frozen=True)
class Truth:
    """What happened: `at` and `until` seconds since the epoch, `share` of the tank."""

    kind: str
    at: float
    until: float
    share: float


def vehicle(seed: int, *, fault: str | None = None) -> tuple[FuelSeries, list[Truth]]:
    """A vehicle's days; one drain at most, so that each can be told."""
    random = np.random.default_rng(seed)
    lorry = random.random() < 0.5
    tank, per_km, speed, idle = (400.0, 0.30, 65.0, 2.5) if lorry else (80.0, 0.09, 40.0, 1.0)
    time, moving = _days(random)
    step = np.diff(time, prepend=time[0]) / HOUR
    burn = np.where(moving, per_km * speed, np.where(random.random(len(time)) < 0.05, idle, 0.0)) * step / tank
    truth: list[Truth] = []
    share = _fuel(random, time, moving, burn, tank, truth, drains=fault is None)
    slosh = random.uniform(0.01, 0.03)
    wave = np.zeros(len(time))
    for i in range(1, len(time)):
        wave[i] = 0.5 * wave[i - 1] + random.normal(0, slosh if moving[i] else 0.002)
    seen = share + wave + 0.0075 * np.sin(time / (24 * HOUR) * 2 * np.pi + random.uniform(0, 6))
    error = np.zeros(len(time), np.bool_)
    if fault is not None:
        seen = _sick(random, fault, time, moving, seen, error, truth)
    level = np.round(np.clip(seen, 0, 1) * CODES) / CODES
    level[error] = np.nan
    return FuelSeries(np.round(time * 1e6).astype(np.int64), level, error, moving), truth


def _days(random):
    """Records' times, and whether it drove: one or two drives a day with stops of a quarter of an hour."""
    at, time, moving = _START, [], []

    def run(seconds, drives):
        nonlocal at
        end = at + seconds
        while at < end:
            at += (60.0 if drives else 300.0) * random.uniform(0.9, 1.1)
            time.append(at)
            moving.append(drives)

    for _ in range(DAYS):
        run(random.uniform(1, 3) * HOUR, False)
        for _ in range(random.integers(2, 5)):
            run(random.uniform(0.7, 2.5) * HOUR, True)
            run(random.uniform(0.4, 1.2) * HOUR, False)
        run(random.uniform(8, 12) * HOUR, False)
    return np.array(time), np.array(moving)


def _fuel(random, time, moving, burn, tank, truth, *, drains):
    level, share = random.uniform(0.6, 0.95), np.zeros(len(time))
    drain_at = random.choice(np.flatnonzero(~moving[60:-60]) + 60) if drains and random.random() < 0.7 else -1
    flow, left = 0.0, 0.0
    for i in range(len(time)):
        seconds = time[i] - time[i - 1] if i else 0.0
        level -= burn[i]
        if left:
            taken = min(abs(flow) * seconds, left)
            level += taken if flow > 0 else -taken
            left -= taken
            if left <= 1e-9:
                left = 0.0
                truth[-1] = Truth(truth[-1].kind, truth[-1].at, time[i], truth[-1].share)
        elif not moving[i] and i > 60 and level < 0.35 and moving[i - 1]:
            amount = (0.95 - level) * (1.0 if random.random() < 0.6 else random.uniform(0.3, 0.95))
            left, flow = max(amount, 0.12), 40 / 60 / tank
            truth.append(Truth("refuelling", time[i], time[i], left))
        elif i >= drain_at > 0 and not moving[max(i - 3, 0) : i + 9].any():
            amount = min(random.uniform(0.06, 0.40), level - 0.05)
            drain_at = -1
            if amount >= 0.06:
                left, flow = amount, -random.uniform(10, 30) / 60 / tank
                truth.append(Truth("drain", time[i], time[i], amount))
        share[i] = level = max(level, 0.02)
    return share


def _sick(random, fault, time, moving, seen, error, truth):
    """One fault, well inside; what it does to the levels is told as `sensor`."""
    driving, parked = np.flatnonzero(moving[200:-200]) + 200, np.flatnonzero(~moving[200:-200]) + 200
    at = int(random.choice(parked if fault == "loose" else driving))
    drop = random.uniform(0.10, 0.40)

    def until(seconds):
        return int(np.searchsorted(time, time[at] + seconds))

    seen = seen.copy()
    end = until(random.uniform(600, 7200 if fault == "loose" else 3 * HOUR))
    if fault == "error":
        bad = until(1200)
        end = max(end, bad + 20)
        error[at:bad] = True
        seen[bad:end] -= drop
    elif fault == "zero":
        seen[at:end] = 0.0
    elif fault == "step":
        seen[at:] -= drop
        end = at
    elif fault == "loose":
        still = np.flatnonzero(moving[at:])
        end = min(end, at + int(still[0]) - 1 if len(still) else end)
        seen[at:end] -= drop
    elif fault == "frozen":
        end = until(3 * HOUR)
        seen[at:end] = seen[at]
    else:
        end = until(2 * HOUR)
        seen[at:end] += random.choice([-1.0, 0.0, 1.0], end - at) * random.uniform(0.1, 0.3, end - at)
    truth.append(Truth("sensor", time[at], time[min(end, len(time) - 1)], drop))
    return seen
