"""Refuellings and drains in a series of one sensor's levels, and what only looks like them.

Levels are shares of the sensor's range, 0 to 1. A step is where the median of `AROUND` levels after differs from that
before by more than `LEAST`, and by more than the engine may have burnt, or the fuel sloshed, meanwhile. Whichever way
it goes it is a sensor's matter, and no fuel's, when

    errors     the sensor gave errors, or nothing, beside the step
    nothing    it ends at an empty tank, or comes from one that it fell to: a wire that is off reads 0
    driven     the vehicle drove all through it
    too fast   fuel does not leave a tank at that rate
    returns    the level comes back to what it was without a drive between, or at once
    stood      before it the level stood still through a drive
    noise      levels leap about, parked, or step up and down in turn

Everything else that rises is a refuelling, and that falls a drain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from detectors.columns import Int64s
from detectors.gaps import Floats, runs

AROUND = 5  # levels: a median of so many does not see two that slosh
LEAST = 0.05  # share: 20 l of a lorry's 400, beyond slosh and temperature
BURN = 0.15  # share an hour: 60 l/h of 400, the hardest work
REST = 0.01  # share an hour with the engine off: a heater
BESIDE = 900.0  # s before and after a step within which errors belong to it
EMPTY = 0.01
SLOSH = 5.0  # times the median difference of neighbouring levels in motion: three deviations of a median of seven
FAST = 0.6  # share a minute: three times what a pump takes from a van's small tank
SHORT = 90.0  # s between two levels for which a rate can be told
RETURNS = 6 * 3600.0  # s
ALIKE = 0.03  # share by which a return may miss
STOOD = 12  # levels in motion that are exactly the same
NOISE = 0.03  # share, median deviation of parked levels
IN_TURN, TURNS = 2 * 3600.0, 3  # so many steps up and down within so long

Bools = NDArray[np.bool_]


class FuelEventKind(StrEnum):
    """What a step was."""

    REFUELLING = "refuelling"
    DRAIN = "drain"
    SENSOR = "sensor"


@dataclass(frozen=True, slots=True)
class FuelSeries:
    """One sensor's levels, shape (n,) each, sorted by time.

    `time` µs since the Unix epoch; `level` share of the range, NaN where none was told; `error` whether the sensor gave
    an error in its place; `moving` whether the vehicle drove.
    """

    time: Int64s
    level: Floats
    error: Bools
    moving: Bools


@dataclass(frozen=True, slots=True)
class FuelEvent:
    """A step: `at` µs since the Unix epoch when it began, levels before and after, and why it is what it is."""

    at: int
    kind: FuelEventKind
    before: float
    after: float
    reason: str


@dataclass(frozen=True, slots=True)
class _Step:
    start: int  # last valid level before it
    end: int  # first after it
    before: float
    after: float

    @property
    def change(self) -> float:
        return self.after - self.before


def fuel_events(series: FuelSeries) -> list[FuelEvent]:
    """Steps of a series, in order of time; empty for fewer than two times `AROUND` levels.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if not len(series.time) == len(series.level) == len(series.error) == len(series.moving):
        raise ValueError(f"shapes differ: {len(series.time)}, {len(series.level)} …")
    with np.errstate(invalid="ignore"):
        fine = ~series.error & (series.level >= 0) & (series.level <= 1)
    time, level, moving = series.time[fine] / 1e6, series.level[fine], series.moving[fine]
    if len(level) < 2 * AROUND:
        return []
    errors = series.time[series.error] / 1e6
    steps = _steps(time, level, moving)
    found = []
    for number, step in enumerate(steps):
        why = _sick(step, number, steps, time, level, moving, errors)
        kind = FuelEventKind.REFUELLING if step.change > 0 else FuelEventKind.DRAIN
        reason = f"the level {'rose' if step.change > 0 else 'fell'} by {abs(step.change):.0%} while it stood"
        if why is not None:
            kind, reason = FuelEventKind.SENSOR, why
        at = round(float(time[step.start]) * 1e6)
        found.append(FuelEvent(at, kind, step.before, step.after, reason))
    return found


def _steps(time: Floats, level: Floats, moving: Bools) -> list[_Step]:
    middles = np.median(sliding_window_view(level, AROUND), axis=1)  # [i]: of i … i + AROUND - 1
    change = middles[AROUND:] - middles[:-AROUND]  # after i + AROUND - 1 less before it
    place = np.arange(len(change)) + AROUND - 1  # the last level before
    half = AROUND // 2
    hours = (time[place + 1 + half] - time[place - half]) / 3600
    driven = np.convolve(moving, np.ones(2 * AROUND), "valid") / (2 * AROUND)
    burnt = hours * np.where(driven > 0, BURN, REST)
    least = LEAST + _slosh(level, moving) * driven
    steps = (change > least) * 1 - (change < -least - burnt) * 1
    starts, sizes = runs(steps)
    found = []
    for first, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        if not steps[first]:
            continue
        # A median notices a step when most of its levels are beyond it: half of them earlier, half later.
        begin, stop = int(place[first]), int(place[first + size - 1])
        inner = level[begin : stop + 2]
        low, high = (begin + half, stop - half + 1) if size > AROUND else _steepest(inner, begin, steps[first])
        low, high = min(low, high - 1), max(high, low + 1)
        before = float(np.median(level[max(low - AROUND + 1, 0) : low + 1]))
        after = float(np.median(level[high : high + AROUND]))
        needed = LEAST + (
            BURN * (time[high] - time[low]) / 3600 if steps[first] < 0 and moving[low : high + 1].any() else 0
        )
        if (after - before) * steps[first] > needed:
            found.append(_Step(low, high, before, after))
    return found


def _slosh(level: Floats, moving: Bools) -> float:
    """By how much medians of a driven tank may differ and mean nothing; a share."""
    apart = np.abs(np.diff(level))[moving[1:] & moving[:-1]]
    return SLOSH * float(np.median(apart)) if len(apart) >= AROUND else 0.0


def _steepest(inner: Floats, begin: int, direction: int) -> tuple[int, int]:
    """Between which two levels a step lies that takes less than a median's length."""
    at = int(np.argmax(np.diff(inner) * direction))
    low = high = at
    rise = np.diff(inner) * direction
    goes_on = max(LEAST / 5, float(rise[at]) / 3)  # a pump is steady; what sloshes beside a step is less than it
    while low > 0 and rise[low - 1] > goes_on:
        low -= 1
    while high + 1 < len(rise) and rise[high + 1] > goes_on:
        high += 1
    return begin + low, begin + high + 1


def _sick(
    step: _Step, number: int, steps: Sequence[_Step], time: Floats, level: Floats, moving: Bools, errors: Floats
) -> str | None:
    """Why a step is no fuel's; None: it is."""
    start, end = float(time[step.start]), float(time[step.end])
    beside = int(np.searchsorted(errors, end + BESIDE, "right") - np.searchsorted(errors, start - BESIDE))
    if beside:
        return f"the sensor gave {beside} error{'s' * (beside > 1)} beside it"
    fell = step if step.change < 0 else steps[number - 1] if number else step
    if fell.change < 0 and fell.after <= EMPTY:
        return "it reads nothing at all on one side, as a wire does that is off"
    took = end - start
    if moving[step.start : step.end + 1].all() or (took <= SHORT and moving[step.end]):
        return "the vehicle drove all through it"
    if step.change < 0 and took <= SHORT and -step.change / max(took, 1.0) * 60 > FAST:
        return f"it fell by {-step.change:.0%} in {took:.0f} s, faster than fuel leaves a tank"
    if _stood(step.start, level, moving):
        return "the level had stood still through a drive"
    if _noisy(step, level, moving):
        return "levels leap about though the vehicle stands"
    if _returns(number, steps, time, moving, ALIKE + _slosh(level, moving) / 2):
        return "the level came back to what it was without a drive, or at once"
    near = [s for s in steps if abs(float(time[s.start]) - start) <= IN_TURN]
    turns = sum(a.change * b.change < 0 for a, b in pairwise(near))
    if turns >= TURNS:
        return f"the level stepped up and down {turns} times within {IN_TURN / 3600:g} h"
    return None


def _stood(start: int, level: Floats, moving: Bools) -> bool:
    its = slice(max(start - 20 * STOOD, 0), start + 1)
    starts, sizes = runs(level[its])
    recent = starts + sizes > start + 1 - its.start - AROUND
    return any(
        int(moving[its][first : first + size].sum()) >= STOOD
        for first, size in zip(starts[recent].tolist(), sizes[recent].tolist(), strict=True)
    )


def _noisy(step: _Step, level: Floats, moving: Bools) -> bool:
    for its in (slice(max(step.start - 2 * AROUND, 0), step.start + 1), slice(step.end, step.end + 2 * AROUND)):
        parked = level[its][~moving[its]]
        if len(parked) >= AROUND and float(np.median(np.abs(np.diff(parked)))) > NOISE:
            return True
    return False


def _returns(number: int, steps: Sequence[_Step], time: Floats, moving: Bools, alike: float) -> bool:
    """Whether this step is undone by the next, or undoes the one before, as no pump would."""
    for one, other in zip(steps[max(number - 1, 0) : number + 1], steps[max(number, 1) : number + 2], strict=False):
        if one.change * other.change > 0:
            continue
        if time[other.start] - time[one.end] > RETURNS or abs(other.after - one.before) > alike:
            continue
        at_once = float(time[other.end] - time[other.start]) <= SHORT
        if at_once or not moving[one.end : other.start + 1].any():
            return True
    return False
