"""Who restarts again and again.

A restart is what the terminal tells of it: Omnicomm's event 3, "power-up after supply loss". (Others tell of none;
there `modem` sees the connections that each restart costs.) It fails while `most` of them are within `window`, each
leaking away as in `signs.Buckets`, and is good again when none is left. A battery switch makes a few a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from detectors.columns import LIVE_WITHIN, Columns, Contacts
from detectors.detector import Before, Detector, Judged, Past, Summary, View, Zone
from detectors.gaps import Rows
from detectors.signs import BUCKET, Buckets, leaky
from detectors.verdicts import Explanation, Verdict, spell

POWER_UP = 3  # Omnicomm's event
OMNICOMM = frozenset({"unit.id", "mileage.delta"})  # measures that no other protocol tells: event numbers are their own
SAGS = 0.7  # of the usual voltage


@dataclass(frozen=True, slots=True)
class RestartsRule:
    """How many within how many seconds."""

    most: int = 10
    window: float = 3600.0


class Restarts(Detector):
    """The detector."""

    kind = "restarts"
    words = "Restarts"
    columns = BUCKET
    summary: ClassVar[Mapping[str, DTypeLike]] = {"restarts": np.uint8}
    sparse = True
    heeds_contacts = False

    def __init__(self, rule: RestartsRule | None = None) -> None:
        self.rule = rule or RestartsRule()
        self._buckets = Buckets(self.rule.most, self.rule.window)

    @staticmethod
    def reduce(columns: Columns) -> Summary:
        """How many restarts each contact tells of, those out of the black box left aside."""
        measures = columns.measures
        if "event" not in measures or OMNICOMM.isdisjoint(measures):
            return {}
        # `event` is Omnicomm's where one of its own measures stands beside it.
        own = np.logical_or.reduce([~np.isnan(columns[name]) for name in OMNICOMM if name in measures])
        told = (
            (columns["event.number"] == POWER_UP) & own & (np.abs(columns["received"] - columns["time"]) <= LIVE_WITHIN)
        )
        return {"restarts": np.minimum(columns.fold(np.add, told.astype(np.int64), 0), 255)}

    def absorb(self, view: View, contacts: Contacts, before: Before, summary: Summary) -> Rows:
        """Each is an event."""
        count = summary["restarts"]
        return self._buckets.take(
            view.columns, np.repeat(contacts.terminal, count), np.repeat(contacts.received, count)
        )

    def judge(self, view: View, rows: Rows) -> Judged:
        """By how many are left in the bucket."""
        return leaky(self._buckets, view, rows)

    def explain(self, view: View, row: int) -> Explanation:
        """With how many there were."""
        verdict = Verdict(int(self.judge(view, np.array([row])).verdicts[0]))
        level = float(self._buckets.level(view.columns, np.array([row]), view.now)[0])
        if verdict == Verdict.UNKNOWN:
            reason = "no record of now yet"
        elif verdict == Verdict.GOOD:
            reason = "no restarts lately" if level <= 0 else f"{level:.0f} restarts lately, normal"
        else:
            reason = f"restarts again and again: {level:.0f} counted, {self.rule.most} within {spell(self.rule.window)}"
            reason += " are too many"
        return Explanation(
            verdict, reason, {"restarts": round(level, 1), "most": self.rule.most, "window_s": self.rule.window}
        )

    def zone(self, explanation: Explanation, past: Past) -> Zone:
        """A sagging supply, else the terminal."""
        volts = past.measure("power.external")
        volts = volts[~np.isnan(volts)]
        if len(volts) and float(volts.min()) < SAGS * float(np.median(volts)):
            return Zone("wiring-power", 0.7, f"external power sags to {volts.min():g} V")
        return Zone("terminal", 0.5, explanation.reason)
