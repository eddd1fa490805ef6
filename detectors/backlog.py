"""Whose black box grows: it records more than it can send.

A contact is late when its newest record is older than `LIVE_WITHIN`. A terminal that was late without a break, and
nothing of now between, for `lasting`, by `behind` or more, fails when it

    grows     is later than it was at the start
    crawls    gets nearer to now so slowly that it would take longer than `finish`

An upload that ends in time is a suspect at most; who sends what is new first and old records beside it is good. One and
the same lateness all the time is a clock's matter, and no black box's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from detectors.columns import LIVE_WITHIN, NEVER, Columns, Contacts
from detectors.detector import Before, Column, Detector, Judged, Past, Summary, View, Zone
from detectors.gaps import Rows, runs
from detectors.signs import presumed
from detectors.verdicts import Explanation, Verdict, spell

CONSTANT = 2  # minutes by which a constant may seem to move: it is kept in whole ones
OLDEST = 400 * 1440  # minutes: what is dated before has a wrong clock
WEAK = 20.0  # percent: one bar
_MOST = 65_534
_MINUTE = 60_000_000  # µs


@dataclass(frozen=True, slots=True)
class BacklogRule:
    """Thresholds in seconds."""

    behind: float = 6 * 3600.0
    lasting: float = 2 * 3600.0
    finish: float = 3 * 86_400.0


class Backlog(Detector):
    """The detector."""

    kind = "backlog"
    words = "Black box"
    columns = (
        Column("since", np.int64, wall=True),  # µs of the first late contact
        Column("known", np.int64),  # µs, the newest live time at the last one
        Column("first", np.uint16),  # minutes late at the first
        Column("late", np.uint16),  # and at the last
        Column("state", np.uint8),
    )
    summary: ClassVar[Mapping[str, DTypeLike]] = {"late": np.uint16}
    sparse = True
    heeds_contacts = False

    def __init__(self, rule: BacklogRule | None = None) -> None:
        self.rule = rule or BacklogRule()

    @staticmethod
    def reduce(columns: Columns) -> Summary:
        """Minutes that each contact's newest record is late; 0: it is of now, or there is none."""
        if not len(columns):
            return {}
        late = columns["received"] - columns["time"]
        if late.max() <= LIVE_WITHIN:
            return {}
        minutes = late[columns.latest] // _MINUTE
        box = (columns.latest >= 0) & (minutes > LIVE_WITHIN // _MINUTE) & (minutes < OLDEST)
        return {"late": np.where(box, np.minimum(minutes, _MOST), 0)}

    def absorb(self, view: View, contacts: Contacts, before: Before, summary: Summary) -> Rows:
        """Follow who is late without a break."""
        told = np.flatnonzero(summary["late"])
        if not len(told):
            return told
        received, minutes = contacts.received[told], summary["late"][told]
        starts, sizes = runs(contacts.terminal[told])
        rows, last = contacts.terminal[told][starts], starts + sizes - 1
        live = view.live[rows]
        on = (live <= view["known"][rows]) & (view["since"][rows] != NEVER)
        since = np.where(on, view["since"][rows], received[starts])
        first = np.where(on, view["first"][rows], minutes[starts]).astype(np.int64)
        late = minutes[last].astype(np.int64)
        view["since"][rows], view["first"][rows], view["late"][rows], view["known"][rows] = since, first, late, live
        passed = (received[last] - since) / 1e6
        # How long until it is read, at the pace so far; a pace that leads away from now never ends it.
        gained = (first - late) * 60.0
        left = np.where(gained > 0, late * 60.0 * passed / np.maximum(gained, 1.0), np.inf)
        box = (late * 60.0 >= self.rule.behind) & ((np.abs(first - late) > CONSTANT) | (late == _MOST))
        fails = box & (passed >= self.rule.lasting) & (left > self.rule.finish)
        suspect = box & (passed >= self.rule.lasting / 2)
        calm = np.where(live != NEVER, np.uint8(Verdict.GOOD), np.uint8(Verdict.UNKNOWN))
        state = np.where(suspect, np.uint8(Verdict.SUSPECT), calm)
        view["state"][rows] = np.where(fails, np.uint8(Verdict.FAIL), state)
        return rows

    def judge(self, view: View, rows: Rows) -> Judged:
        """As followed; a live record since then is a good one."""
        return presumed(view, rows)

    def explain(self, view: View, row: int) -> Explanation:
        """With how late it is, and was."""
        verdict = Verdict(int(presumed(view, np.array([row])).verdicts[0]))
        first, late = (int(view[name][row]) * 60.0 for name in ("first", "late"))
        lasted = max(view.now - int(view["since"][row]) / 1e6, 0.0)
        if verdict == Verdict.UNKNOWN:
            reason = "no record of now yet"
        elif verdict == Verdict.GOOD:
            reason = "the newest records come as they are made"
        else:
            how = "grows" if late >= first else "shrinks"
            reason = (
                f"the newest record that comes is {spell(late, fine=False)} old, "
                f"{spell(first, fine=False)} when that began {spell(lasted, fine=False)} ago: the black box {how}"
            )
        told = verdict >= Verdict.SUSPECT
        return Explanation(
            verdict,
            reason,
            {
                "late_s": late if told else 0,
                "late_at_first_s": first if told else 0,
                "behind_s": self.rule.behind,
                "lasting_s": self.rule.lasting,
                "finish_s": self.rule.finish,
            },
        )

    def zone(self, explanation: Explanation, past: Past) -> Zone:
        """Weak links send slowly; else it records more than it was meant to."""
        signal = past.measure("gsm.signal")
        if np.nanmax(signal, initial=-1.0) >= 0 and float(np.nanmedian(signal)) <= WEAK:
            return Zone("sim-operator", 0.6, f"GSM signal {np.nanmedian(signal):g} %")
        return Zone("terminal", 0.5, explanation.reason)
