"""Whose satellite receiver does not see.

    blind     no valid position while it moves: the antenna, its cable, the receiver
    jammed    the terminal itself tells of satellite jamming
    lost      no valid position with the ignition on and no word of moving; counted apart, for longer (`standing`):
              a garage has a roof

It fails after `contacts` of a kind in a row over `moving` (blind, jammed) or `standing` (lost), by records of now. What
comes with the ignition off says nothing: a parked terminal may sleep under a roof, its receiver off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from detectors.columns import Columns, Contacts
from detectors.detector import Before, Column, Detector, Judged, Past, Summary, View, Zone
from detectors.gaps import Rows
from detectors.signs import STREAK, Streaks, in_a_row, streak_judged, verdict_of, why_of
from detectors.verdicts import Explanation, Verdict

MOVES = 5.0  # km/h told by the vehicle itself, and rpm below: a receiver without a fix tells no speed
RUNS = 300.0  # rpm: below it an engine does not run
_UNKNOWN_SATELLITES = 255


class Sign(IntEnum):
    """What a contact says of its receiver."""

    SEES = 1
    BLIND = 2
    JAMMED = 3
    LOST = 4


@dataclass(frozen=True, slots=True)
class GnssRule:
    """Thresholds: contacts, seconds."""

    contacts: int = 5
    moving: float = 900.0
    standing: float = 4 * 3600.0


class Gnss(Detector):
    """The detector."""

    kind = "gnss"
    words = "GNSS"
    columns = (*STREAK, Column("satellites", np.uint8, fill=_UNKNOWN_SATELLITES))
    summary: ClassVar[Mapping[str, DTypeLike]] = {"sign": np.uint8, "satellites": np.uint8}
    sparse = True
    heeds_contacts = False

    def __init__(self, rule: GnssRule | None = None) -> None:
        self.rule = rule or GnssRule()
        by_sign = [self.rule.standing if sign == Sign.LOST else self.rule.moving for sign in range(len(Sign) + 1)]
        self._streaks = Streaks(self.rule.contacts, by_sign)

    @staticmethod
    def reduce(columns: Columns) -> Summary:
        """A `Sign` for each contact's newest record, 0 for none; satellites + 1, 0 not told."""
        if not len(columns):
            return {}
        valid = columns.told("valid", False) != 0
        brought = columns.latest >= 0
        sign = np.where(valid & brought, np.uint8(Sign.SEES), np.uint8(0))
        measures = columns.measures
        jams = [name for name in ("gnss.jamming",) if name in measures]
        if not valid.all() or jams:
            moving = columns.told("moving", False) != 0
            for name, least in (("movement", 0.5), ("speed.sensor", MOVES), ("obd.speed", MOVES), ("can.speed", MOVES)):
                if name in measures:
                    moving |= columns.told(name) > least
            running = columns.told("ignition", -1) == 1
            for name in ("can.engine.rpm", "obd.engine.rpm", "engine.rpm"):
                if name in measures:
                    running |= columns.told(name) > RUNS
            parked = columns.told("ignition", -1) == 0
            blind = brought & ~valid & ~parked
            sign[blind & running] = Sign.LOST
            sign[blind & moving] = Sign.BLIND
            for name in jams:
                sign[columns.told(name) > 0] = Sign.JAMMED
        satellites = columns.told("satellites", -1)
        with np.errstate(invalid="ignore"):
            counted = (satellites >= 0) & (satellites < _UNKNOWN_SATELLITES - 1)
        return {"sign": sign, "satellites": np.where(counted, satellites + 1, 0)}

    def absorb(self, view: View, contacts: Contacts, before: Before, summary: Summary) -> Rows:
        """Count signs of live contacts."""
        live = np.flatnonzero(contacts.live & (summary["sign"] > 0))
        if not len(live):
            return live
        terminal, sign = contacts.terminal[live], summary["sign"][live].astype(np.int8)
        satellites = summary["satellites"][live]
        # A place among a million costs: of who sees, the last record tells how many satellites.
        seen = np.flatnonzero((satellites > 0) & (sign > Sign.SEES))
        view["satellites"][terminal[seen]] = satellites[seen] - 1
        return self._streaks.take(view.columns, terminal, contacts.received[live], sign)

    def judge(self, view: View, rows: Rows) -> Judged:
        """As counted."""
        return streak_judged(view, rows)

    def explain(self, view: View, row: int) -> Explanation:
        """With satellites."""
        verdict = verdict_of(view, row)
        satellites = int(view["satellites"][row])
        seen = "satellites not told" if satellites == _UNKNOWN_SATELLITES else f"{satellites} satellites"
        why = why_of(int(view["mark"][row]))
        if verdict == Verdict.UNKNOWN:
            reason = "no position told by a record of now"
        elif verdict == Verdict.GOOD:
            reason = "valid positions"
        else:
            what = {Sign.BLIND: "moves without a valid position", Sign.JAMMED: "tells of satellite jamming"}.get(
                Sign(why), "no valid position with the ignition on"
            )
            reason = f"{what} ({seen}), {in_a_row(view, row)}"
        return Explanation(
            verdict,
            reason,
            {
                "sign": Sign(why).name.lower() if why else None,
                "satellites": None if satellites == _UNKNOWN_SATELLITES or verdict < Verdict.SUSPECT else satellites,
                "contacts": int(view["count"][row]),
                "contacts_needed": self.rule.contacts,
                "moving_s": self.rule.moving,
                "standing_s": self.rule.standing,
            },
        )

    def zone(self, explanation: Explanation, past: Past) -> Zone:
        """The antenna, unless somebody jams."""
        if explanation.numbers.get("sign") == "jammed":
            return Zone("client-side", 0.6, explanation.reason)
        return Zone("gnss-antenna", 0.9 if explanation.numbers.get("sign") == "blind" else 0.6, explanation.reason)
