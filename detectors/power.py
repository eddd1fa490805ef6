"""Whose supply is gone or sick.

    cut       external power below `absent` with the ignition on, or moving: the fuse, the wiring, a hand
    switch    the same with the ignition off: the vehicle's battery switch, no fault and no finding
    low       external power below `low_12v` or `low_24v` (by its own usual voltage, if that is a vehicle's) with the
              ignition on or unknown
    battery   the terminal's own battery below `battery` while external power is there: it no longer holds a charge

Each counts once it was told `contacts` times in a row over `lasting`, by records of now; cranking takes a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from detectors.columns import Columns, Contacts
from detectors.detector import Before, Column, Detector, Judged, Past, Summary, View, Zone
from detectors.gaps import Floats, Rows
from detectors.signs import GOOD, NOTHING, STREAK, Streaks, in_a_row, streak_judged, verdict_of, why_of
from detectors.verdicts import Explanation, Verdict

CENTIVOLTS = 100  # a step of 10 mV; 0 stands for "not told"
MOST = 650.0  # V that are kept: what is more is no voltage
NET = 8.0  # V usual, below which there is no vehicle's net: trailers live on a battery of 3.6 or 6 V
SYSTEM_24V = 18.0  # V usual, above which it is a system of 24 V: 12 V nets are charged with 15 V at most
_BITS = 0xFFFF


class Sign(IntEnum):
    """What a contact says of power."""

    CUT = 2
    LOW = 3
    BATTERY = 4


@dataclass(frozen=True, slots=True)
class PowerRule:
    """Thresholds: volts, contacts, seconds."""

    absent: float = 3.0
    low_12v: float = 11.5
    low_24v: float = 23.0
    battery: float = 3.5
    contacts: int = 3
    lasting: float = 300.0


class Power(Detector):
    """The detector."""

    kind = "power"
    words = "Power"
    columns = (
        *STREAK,
        # In steps, of 16 bits each: external power, own battery, usual external power; above them whether the last
        # contact said that a switch took it away.
        Column("volts", np.int64),
    )
    summary: ClassVar[Mapping[str, DTypeLike]] = {"external": np.uint16, "battery": np.uint16, "state": np.uint8}
    sparse = True
    heeds_contacts = False

    def __init__(self, rule: PowerRule | None = None) -> None:
        self.rule = rule or PowerRule()
        self._streaks = Streaks(self.rule.contacts, self.rule.lasting)

    @staticmethod
    def reduce(columns: Columns) -> Summary:
        """Both voltages of each contact's newest record in steps of 10 mV, from 1; 0 not told.

        `state`: bit 0 ignition on, 1 ignition off, 2 moving; the terminal's word that it runs on its battery, bit 3.
        """
        measures = columns.measures
        names = [n for n in ("power.external", "power.battery") if n in measures]
        backup = "power.backup" in measures
        if not names and not backup:
            return {}
        summary = {name.removeprefix("power."): _steps(columns.told(name)) for name in names}
        ignition = columns.told("ignition", -1)
        state = (ignition == 1) * 1 + (ignition == 0) * 2 + (columns.told("moving", False) != 0) * 4
        if backup:
            state += (columns.told("power.backup") > 0) * 8
        return {**summary, "state": state}

    def absorb(self, view: View, contacts: Contacts, before: Before, summary: Summary) -> Rows:
        """Count signs of live contacts; the usual voltage follows slowly, with external power there."""
        external, battery, state = (summary[name] for name in ("external", "battery", "state"))
        live = contacts.live
        told = np.flatnonzero(live & ((external > 0) | (battery > 0) | (state & 8 > 0)))
        if not len(told):
            return told
        terminal, state = contacts.terminal[told], state[told]
        volts, own = _volts(external[told]), _volts(battery[told])
        rule = self.rule
        kept = view["volts"][terminal]
        usual_steps = kept >> 32 & _BITS
        on, off, moving = state & 1 > 0, state & 2 > 0, state & 4 > 0
        with np.errstate(invalid="ignore"):
            gone = (volts < rule.absent) | (state & 8 > 0)
            low = volts < np.where(usual_steps > SYSTEM_24V * CENTIVOLTS, rule.low_24v, rule.low_12v)
            low &= usual_steps > NET * CENTIVOLTS
            empty = ~gone & (own < rule.battery)
        sign = np.full(len(told), GOOD, np.int8)
        sign[empty] = Sign.BATTERY
        sign[low & ~off] = Sign.LOW
        sign[gone] = Sign.CUT
        switched = gone & off & ~moving
        sign[switched | (gone & ~on & ~moving)] = NOTHING  # a switch, or nobody knows
        seen, held = external[told].astype(np.int64), battery[told].astype(np.int64)
        # One step of sixteen toward the last voltage that is one: enough to tell 24 V from 12 V.
        follows = np.where(usual_steps == 0, seen, usual_steps + (seen - usual_steps) // 16)
        usual_steps = np.where(gone | (seen == 0), usual_steps, follows)
        seen, held = np.where(seen == 0, kept & _BITS, seen), np.where(held == 0, kept >> 16 & _BITS, held)
        view["volts"][terminal] = seen | held << 16 | usual_steps << 32 | switched.astype(np.int64) << 48
        return self._streaks.take(view.columns, terminal, contacts.received[told], sign)

    def judge(self, view: View, rows: Rows) -> Judged:
        """As counted."""
        return streak_judged(view, rows)

    def explain(self, view: View, row: int) -> Explanation:
        """With voltages."""
        verdict = verdict_of(view, row)
        kept = int(view["volts"][row])
        volts, own, usual = _volts(np.array([kept & _BITS, kept >> 16 & _BITS, kept >> 32 & _BITS])).tolist()
        why, switched = why_of(int(view["mark"][row])), kept >> 48 & 1 > 0
        shown = _shown(volts)
        if verdict == Verdict.UNKNOWN:
            reason = "no voltage told with the ignition on" if kept else "no voltage told"
        elif verdict == Verdict.GOOD and switched:
            reason = f"external power {shown} with the ignition off: a battery switch, no fault"
        elif verdict == Verdict.GOOD:
            reason = f"external power {shown}, own battery {_shown(own)}"
        elif why == Sign.CUT:
            reason = f"external power is gone ({shown}, usually {_shown(usual)}) with the ignition on or moving"
        elif why == Sign.LOW:
            limit = self.rule.low_24v if usual > SYSTEM_24V else self.rule.low_12v
            reason = f"external power {shown} is below {limit:g} V, usually {_shown(usual)}"
        else:
            reason = f"own battery at {_shown(own)} is below {self.rule.battery:g} V while external power is {shown}"
        if verdict >= Verdict.SUSPECT:
            reason += f", {in_a_row(view, row)}"
        return Explanation(
            verdict,
            reason,
            {
                "external_v": _number(volts),
                "battery_v": _number(own),
                "usual_v": _number(usual),
                "sign": Sign(why).name.lower() if why else None,
                "contacts": int(view["count"][row]),
                "absent_v": self.rule.absent,
                "low_v": self.rule.low_24v if usual > SYSTEM_24V else self.rule.low_12v,
                "contacts_needed": self.rule.contacts,
                "lasting_s": self.rule.lasting,
            },
        )

    def evidence(self, view: View, row: int, terminal: Mapping[str, Any]) -> Mapping[str, Any]:
        """Voltages, whatever the ticket is about."""
        told = self.explain(view, row)
        return {} if told.verdict == Verdict.UNKNOWN else {"power": told.told()}

    def priority(self, explanation: Explanation) -> int:
        """A terminal without power falls silent next."""
        return 2 if explanation.numbers.get("sign") == "cut" else 3

    def zone(self, explanation: Explanation, past: Past) -> Zone:
        """The wiring, or the terminal's own battery."""
        if explanation.numbers.get("sign") == "battery":
            return Zone("terminal", 0.8, explanation.reason)
        return Zone("wiring-power", 0.9, explanation.reason)


def _steps(volts: Floats) -> NDArray[np.uint16]:
    """What is no voltage is not told."""
    with np.errstate(invalid="ignore"):
        fine = (volts >= 0) & (volts <= MOST)
    return np.where(fine, np.rint(np.where(fine, volts, 0.0) * CENTIVOLTS) + 1, 0).astype(np.uint16)


def _volts(steps: NDArray[np.integer]) -> Floats:
    return np.where(steps > 0, (steps.astype(np.float64) - 1) / CENTIVOLTS, np.nan)


def _shown(volts: float) -> str:
    return "not told" if np.isnan(volts) else f"{volts:.4g} V"


def _number(volts: float) -> float | None:
    return None if np.isnan(volts) else round(volts, 2)
