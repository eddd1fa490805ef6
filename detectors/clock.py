"""Whose clock is wrong.

An offset is what the newest record of a contact tells as its time, less when it arrived. It is of now within a minute
(`NEAR`), and then says nothing here. Else:

    constant   `contacts` offsets within a minute of one another: a clock that runs, and is wrong. Ahead by more than
               `ahead`, or behind by years (`DECADES`: a rollover of 1024 weeks, a clock that began in 1970 or 2000),
               it fails at once; behind by more than `behind` it may be a black box that is read as fast as it is
               filled, and must last `lasting`
    jumping    `contacts` offsets that differ and lie in times that no black box holds: ahead, or years back

A black box is no wrong clock: its offset shrinks as it is read. Good again with live records of now alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from detectors.columns import NEVER, Columns, Contacts, Int64s
from detectors.detector import Before, Column, Detector, Judged, Past, Summary, View, Zone
from detectors.gaps import Rows, runs
from detectors.signs import presumed
from detectors.verdicts import Explanation, Number, Verdict, spell

NEAR = 60  # s: what a record waits for a session, and a clock drifts until it is set
SAME = 60  # s between offsets of one constant
STEADY = 3  # contacts of one constant, which prove that a terminal is back
DECADES = 3 * 365 * 86_400  # s: no black box holds so much
ROLLOVER = 1024 * 7 * 86_400  # s: the satellites' week number begins anew
_FAR = 2**31 - 1
_MANY = 255


@dataclass(frozen=True, slots=True)
class ClockRule:
    """Thresholds: seconds, contacts."""

    ahead: float = 120.0
    behind: float = 900.0
    contacts: int = 5
    lasting: float = 1800.0


class Clock(Detector):
    """The detector."""

    kind = "clock"
    words = "Clock"
    columns = (
        Column("offset", np.int32),  # s, of the first of those alike
        Column("since", np.int64, wall=True),  # µs of the first, `NEVER`: the last contact was of now
        Column("known", np.int64),  # µs, the newest live time then
        Column("count", np.uint8),
        Column("jumps", np.uint8),  # offsets that differed, in times that no black box holds
        Column("state", np.uint8),
    )
    summary: ClassVar[Mapping[str, DTypeLike]] = {"offset": np.int32}
    sparse = True
    heeds_contacts = False

    def __init__(self, rule: ClockRule | None = None) -> None:
        self.rule = rule or ClockRule()

    @staticmethod
    def reduce(columns: Columns) -> Summary:
        """Seconds by which each contact's newest record is ahead of its arrival; 0: of now, or nothing told."""
        if not len(columns):
            return {}
        late = columns["time"] - columns["received"]
        if np.abs(late).max() <= NEAR * 1_000_000:
            return {}
        offset = np.clip(late[columns.latest] // 1_000_000, -_FAR, _FAR)
        offset[(columns.latest < 0) | (np.abs(offset) <= NEAR)] = 0
        if columns["archive"].any():
            offset[columns.told("archive", False) != 0] = 0
        return {"offset": offset}

    def absorb(self, view: View, contacts: Contacts, before: Before, summary: Summary) -> Rows:
        """Follow constants."""
        told = np.flatnonzero(summary["offset"])
        if not len(told):
            return told
        offset, received = summary["offset"][told].astype(np.int64), contacts.received[told]
        starts, sizes = runs(contacts.terminal[told])
        rows, last = contacts.terminal[told][starts], starts + sizes - 1
        now = offset[last]
        one = np.maximum.reduceat(offset, starts) - np.minimum.reduceat(offset, starts) <= SAME
        # A record of now among them ends what was: the newest live time is then none of theirs.
        live, own = view.live[rows], np.maximum.reduceat(contacts.own[told], starts)
        broken = live > np.maximum(view["known"][rows], own)
        since = np.where(broken, NEVER, view["since"][rows])
        alike = one & (since != NEVER) & (np.abs(now - view["offset"][rows]) <= SAME)
        impossible = (now > self.rule.ahead) | (now < -DECADES)
        jumps = np.where(broken, 0, view["jumps"][rows].astype(np.int64) + (~alike & impossible & (since != NEVER)))
        count = np.minimum(np.where(alike, view["count"][rows], 0) + np.where(one, sizes, 1), _MANY)
        since = np.where(alike, since, np.where(one, received[starts], received[last]))
        view["offset"][rows] = np.where(alike, view["offset"][rows], now)
        view["since"][rows], view["known"][rows] = since, live
        view["count"][rows], view["jumps"][rows] = count, np.minimum(jumps, _MANY)
        wrong = impossible | (now < -self.rule.behind)
        lasted = received[last] - since >= self.rule.lasting * 1e6
        fails = (count >= self.rule.contacts) & wrong & (impossible | lasted) | (jumps >= self.rule.contacts)
        fails |= (view["state"][rows] == Verdict.FAIL) & ~broken
        calm = np.where(live != NEVER, np.uint8(Verdict.GOOD), np.uint8(Verdict.UNKNOWN))
        state = np.where(wrong & (count >= STEADY), np.uint8(Verdict.SUSPECT), calm)
        view["state"][rows] = np.where(fails, np.uint8(Verdict.FAIL), state)
        return rows

    def judge(self, view: View, rows: Rows) -> Judged:
        """As followed; a live record since then is a good one."""
        return presumed(view, rows)

    def steady(self, view: View, rows: Rows) -> Int64s:
        """Since when (µs) all that each of these terminals tells is off by one constant; `NEVER`: it is not."""
        constant = (view["count"][rows] >= STEADY) & (view.live[rows] <= view["known"][rows])
        steady: Int64s = np.where(constant, view["since"][rows], NEVER)
        return steady

    def explain(self, view: View, row: int) -> Explanation:
        """With the offset."""
        verdict = Verdict(int(presumed(view, np.array([row])).verdicts[0]))
        offset, count, jumps = (int(view[name][row]) for name in ("offset", "count", "jumps"))
        if verdict == Verdict.UNKNOWN:
            reason = "no record of now yet"
        elif verdict == Verdict.GOOD:
            reason = f"records are dated within {spell(self.rule.ahead)} of their arrival, or come from a black box"
        else:
            side = "ahead" if offset > 0 else "behind"
            reason = f"clock is {spell(abs(offset), fine=False)} {side}, {count} contacts alike"
            if abs(abs(offset) - ROLLOVER) < 2 * 86_400:
                reason += ": 1024 weeks, a rollover of the satellites' week number"
            elif jumps >= self.rule.contacts:
                reason = f"clock jumps: {jumps} offsets that differ, the last {spell(abs(offset), fine=False)} {side}"
        numbers: dict[str, Number] = {
            "offset_s": offset if verdict >= Verdict.SUSPECT else 0,
            "contacts": count,
            "jumps": jumps,
            "ahead_s": self.rule.ahead,
            "behind_s": self.rule.behind,
            "contacts_needed": self.rule.contacts,
            "lasting_s": self.rule.lasting,
        }
        return Explanation(verdict, reason, numbers)

    def zone(self, explanation: Explanation, past: Past) -> Zone:
        """The terminal's own."""
        return Zone("terminal", 0.9, explanation.reason)
