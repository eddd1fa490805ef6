"""Which fuel-level sensor is sick.

Of the first four sensors of a terminal, each for itself, by records of now:

    error     it does not answer, or gives a code in place of a level
    range     a level above `range`, which no sensor of its setting can tell
    frozen    exactly the same level all through `frozen` of driving, twice as long where the tank is full or empty:
              fuel that is driven about moves, and is burnt
    noise     leaps of `leap` of its highest level, up and down in turn: slosh is less, and a refuelling leaps once

`contacts` in a row over `lasting` make a finding. Where all of several sensors give errors at once, the bus or its
supply is to blame, and none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from detectors.columns import Columns, Contacts, Int64s
from detectors.detector import Before, Column, Detector, Judged, Past, Summary, View, Zone
from detectors.gaps import Floats, Rows
from detectors.signs import BAD, STATE, STREAK, Streaks, several, why_of
from detectors.verdicts import Explanation, Number, Verdict, spell

SENSORS = 4
NAMES = tuple(
    (f"fuel.level.{n}", f"ble.lls.level.{n}", f"param.lls{n}", f"param.rs485_{n}") for n in range(1, SENSORS + 1)
)
ERROR = 61_441  # and above: no level but an error; below: level + 1; 0: not told
CODES = 65_500  # levels from here on are what terminals tell in place of one: 65530 no answer, 65533 wrong address …
_STATUSES = 1000  # errors below it are a sensor's status, the others a level's code
LONGEST_GAP = 600.0  # s between two contacts that may still count as driven through
LEAST_SCALE = 200  # codes: what a leap is measured by is at least this
_LEAP_TURNED, _LEAP, _NOISY = 3, 1, 15  # what leaps add to the noise, and how much is too much; a calm level takes one
_MANY, _LONG = 255, 65_535


class Sign(IntEnum):
    """What a contact says of a sensor."""

    WORKS = 1
    ERROR = 2
    RANGE = 3
    FROZEN = 4
    NOISE = 5


@dataclass(frozen=True, slots=True)
class FuelRule:
    """Thresholds: contacts, seconds, raw codes, a share."""

    contacts: int = 5
    lasting: float = 600.0
    range: float = 4095.0
    frozen: float = 7200.0
    leap: float = 0.2


class FuelSensor(Detector):
    """The detector."""

    kind = "fuel-sensor"
    words = "Fuel sensors"
    columns = (
        *several(STREAK, SENSORS),
        # From the lowest bit: 16 of the code as last told, 16 of the highest ever, 16 of seconds of driving with this
        # very level, 8 of noise, and one whether the last leap was down.
        Column("kept", np.int64, (SENSORS,)),
    )
    summary: ClassVar[Mapping[str, DTypeLike]] = {
        **{f"code{n}": np.uint16 for n in range(1, SENSORS + 1)},
        "moving": np.uint8,
    }
    sparse = True
    heeds_contacts = False

    def __init__(self, rule: FuelRule | None = None) -> None:
        self.rule = rule or FuelRule()
        self._streaks = Streaks(self.rule.contacts, self.rule.lasting)

    @staticmethod
    def reduce(columns: Columns) -> Summary:
        """Of each contact's newest record the level of each sensor + 1, `ERROR` and more for errors; 0: not told."""
        measures = columns.measures
        summary: dict[str, NDArray[Any]] = {}
        for n, names in enumerate(NAMES, 1):
            level = next((columns.told(name) for name in names if name in measures), None)
            status = columns.told(f"fuel.status.{n}") if f"fuel.status.{n}" in measures else None
            if level is not None or status is not None:
                summary[f"code{n}"] = _codes(level, status, len(columns.contacts))
        if summary:
            summary["moving"] = columns.told("moving", False) != 0
        return summary

    def absorb(self, view: View, contacts: Contacts, before: Before, summary: Summary) -> Rows:
        """Of each terminal its last live contact that tells of a sensor counts."""
        codes = [summary[f"code{n}"] for n in range(1, SENSORS + 1)]
        told: Rows = np.flatnonzero(contacts.live & (np.maximum.reduce(codes) > 0))
        if not len(told):
            return told
        terminal = contacts.terminal[told]
        told = told[np.append(terminal[1:] != terminal[:-1], True)]
        rows, received = contacts.terminal[told], contacts.received[told]
        gap = (received - before.received[np.searchsorted(contacts.rows, rows)]) / 1e6  # since it was heard of
        driven = np.where((gap <= LONGEST_GAP) & (gap > 0) & (summary["moving"][told] > 0), gap, 0.0)
        changed = []
        for sensor, code in enumerate(codes):
            its = np.flatnonzero(code[told])
            if len(its):
                one = _of(view.columns, sensor)
                changed.append(self._take(one, rows[its], received[its], code[told][its].astype(np.int64), driven[its]))
        return np.concatenate(changed)

    def _take(
        self, its: Mapping[str, NDArray[Any]], rows: Rows, received: Int64s, code: Int64s, driven: Floats
    ) -> Rows:
        """One sensor of each of these terminals."""
        rule = self.rule
        kept, mark = its["kept"][rows], its["mark"][rows]
        last, most_before, same_before, noise_before, fell = _parts(kept)
        fine, was_fine = code < ERROR, (last > 0) & (last < ERROR)
        level = code.astype(np.float64) - 1
        in_range = fine & (level <= rule.range)
        most = np.where(in_range, np.maximum(most_before, code), most_before)
        same = np.where(fine & (code == last), np.minimum(same_before + driven, _LONG), 0.0)
        leap = np.where(in_range & was_fine, level - (last.astype(np.float64) - 1), 0.0)
        leaps = np.abs(leap) > rule.leap * np.maximum(most, LEAST_SCALE)
        turned = leaps & ((leap < 0) != (fell > 0))
        added = np.where(turned, _LEAP_TURNED, np.where(leaps, _LEAP, -1))
        noise = np.clip(noise_before + np.where(fine, added, 0), 0, _MANY)
        was_noise = ((mark & STATE) == Verdict.FAIL) & (why_of(mark) == Sign.NOISE)
        noisy = (noise >= _NOISY) | (was_noise & (noise > 0))
        full_or_empty = (level >= rule.range) | (level <= 0) | (code == most)
        frozen = same >= np.where(full_or_empty, 2, 1) * rule.frozen
        sign = np.full(len(rows), Sign.WORKS, np.int8)
        sign[noisy] = Sign.NOISE
        sign[frozen] = Sign.FROZEN
        sign[fine & ~in_range] = Sign.RANGE
        sign[~fine] = Sign.ERROR
        fell = np.where(leaps, leap < 0, fell > 0).astype(np.int64)
        its["kept"][rows] = code | most << 16 | same.astype(np.int64) << 32 | noise << 48 | fell << 56
        return self._streaks.take(its, rows, received, sign)

    def judge(self, view: View, rows: Rows) -> Judged:
        """The worst of its sensors."""
        return Judged((view["mark"][rows] & STATE).max(axis=1).astype(np.int8), np.full(len(rows), np.inf))

    def explain(self, view: View, row: int) -> Explanation:
        """Each sick sensor by its number."""
        states = view["mark"][row] & STATE
        verdict = Verdict(int(states.max()))
        known = [n for n in range(SENSORS) if states[n] != Verdict.UNKNOWN]
        sick = [n for n in known if states[n] >= Verdict.SUSPECT]
        bus = _whole_bus(view, row, known)
        numbers: dict[str, Number] = {
            "sensors": len(known),
            "sick": ", ".join(str(n + 1) for n in sick) or None,
            "bus": int(bus),
            "contacts_needed": self.rule.contacts,
            "lasting_s": self.rule.lasting,
            "range": self.rule.range,
            "frozen_s": self.rule.frozen,
            "leap_share": self.rule.leap,
        }
        for n in known:
            numbers |= {f"sensor_{n + 1}_{name}": value for name, value in self._sensor(view, row, n).items()}
        if not known:
            reason = "no fuel-level sensor told by a record of now"
        elif not sick:
            reason = f"{len(known)} sensor{'s' * (len(known) > 1)} give{'s' * (len(known) == 1)} plausible levels"
        elif bus:
            reason = f"all {len(known)} sensors give errors at once: their bus or its supply, "
            reason += self._why(view, row, sick[0])
        else:
            reason = "; ".join(f"sensor {n + 1}: {self._why(view, row, n)}" for n in sick)
        return Explanation(verdict, reason, numbers)

    def evidence(self, view: View, row: int, terminal: Mapping[str, Any]) -> Mapping[str, Any]:
        """The sensors, whatever the ticket is about."""
        told = self.explain(view, row)
        return {} if told.verdict == Verdict.UNKNOWN else {"fuel": told.told()}

    def zone(self, explanation: Explanation, past: Past) -> Zone:
        """The sensor, or what all of them share."""
        if explanation.numbers.get("bus"):
            return Zone("wiring-power", 0.8, explanation.reason)
        return Zone("sensor", 0.9, explanation.reason)

    def _sensor(self, view: View, row: int, n: int) -> dict[str, Number]:
        code, _, same, noise, _ = (int(part) for part in _parts(view["kept"][row, n]))
        mark = int(view["mark"][row, n])
        return {
            "verdict": Verdict(mark & STATE).label,
            "level": code - 1 if code < ERROR else None,
            "error": None if code < ERROR else _error(code),
            "sign": Sign(why_of(mark)).name.lower() if why_of(mark) else None,
            "contacts": int(view["count"][row, n]),
            "same_s": same,
            "noise": noise,
        }

    def _why(self, view: View, row: int, n: int) -> str:
        code, _, same, _, _ = (int(part) for part in _parts(view["kept"][row, n]))
        mark = int(view["mark"][row, n])
        told = _error(code) if code >= ERROR else f"level {code - 1}"
        lasted = max(view.now - int(view["since"][row, n]) / 1e6, 0.0)
        if not mark & BAD:
            return f"{told} since {int(view['count'][row, n])} contacts, before that not plausible"
        what = {
            Sign.ERROR: told,
            Sign.RANGE: f"{told} is above its range of {self.rule.range:g}",
            Sign.FROZEN: f"{told} did not change in {spell(same, fine=False)} of driving",
        }.get(Sign(why_of(mark)), f"its level leaps up and down by more than {self.rule.leap:.0%}")
        return f"{what}, {int(view['count'][row, n])} contacts in a row, for {spell(lasted)}"


def _codes(level: Floats | None, status: Floats | None, count: int) -> NDArray[np.uint16]:
    codes: NDArray[np.float64] = np.zeros(count)
    if status is not None:
        # A level beside it stands; without one the sensor's status says why.
        codes = np.where(np.isfinite(status), ERROR + np.clip(np.nan_to_num(status), 0, _STATUSES - 1), 0)
    if level is not None:
        told = np.isfinite(level)
        whole = np.rint(np.where(told, np.clip(np.where(told, level, 0), -_STATUSES, 65_535), 0))
        given = np.minimum(whole, ERROR - 2) + 1
        given = np.where(whole >= CODES, ERROR + _STATUSES + whole - CODES, given)
        given = np.where(whole < 0, ERROR - np.maximum(whole, 1 - _STATUSES), given)
        codes = np.where(told, given, codes)
    return codes.astype(np.uint16)


def _error(code: int) -> str:
    number = code - ERROR
    return f"error status {number}" if number < _STATUSES else f"error code {CODES + number - _STATUSES}"


def _of(columns: Mapping[str, NDArray[Any]], sensor: int) -> Mapping[str, NDArray[Any]]:
    return {name: array[:, sensor] for name, array in columns.items() if array.ndim == 2}


def _parts(kept: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Code, highest, seconds of the same, noise, whether the last leap was down."""
    return kept & _LONG, kept >> 16 & _LONG, kept >> 32 & _LONG, kept >> 48 & _MANY, kept >> 56 & 1


def _whole_bus(view: View, row: int, known: list[int]) -> bool:
    marks = [int(view["mark"][row, n]) for n in known]
    return len(known) > 1 and all(
        mark & BAD and why_of(mark) == Sign.ERROR and mark & STATE >= Verdict.SUSPECT for mark in marks
    )
