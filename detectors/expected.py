"""For how long a terminal may be silent, by what it did in the same situation before: expected, overdue, ticket.

    expected = last contact + median of its last gaps in this state
    overdue when age > OVERDUE × that median: a mark, early and cheap
    ticket when age > limit, changed once more when age > 2 × limit

    limit in motion          = max(1.3 × room × longest, 55 min)
    limit with ignition on   = max(2.5 × room × longest, 90 min)
    limit of who stands      = max(2 × room × max(longest, third longest of the last gaps), 4 h)
    limit of who is asleep   = max(1.5 × room × longest, 2.2 × third longest of the last gaps, 4 h)
    limit of a regular one   = max(1.1 × longest, 2.2 × third longest of the last gaps, 4 h)
    room = (10 / false_alarms)^½ × (28 days / days known, within 1 and 4)^½

and never more than `longest` + 42 h × room. A sleeper is regular that was not active for a week and wakes on schedule.
`longest` is that of the situation, see `situations`. Who is not asleep and may be silent for twelve hours and more may
be so for the days on which those like it rest besides, see `cohorts`: these are in no `longest`. What was the longest
silence of so many days is passed again once in as many more, so who has been known for a week needs more room than who
has been known for four; the root is that of a tail that falls with the square. In its first week a terminal may be
silent for four days, unless it is a sleeper whose wake-ups are regular. Who was in motion when an outage of 20 minutes
began, its operator's or ours, or was heard so long after its last record of now, without another, has the limit of who
stands: it may have stopped since.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.cohorts import RECOUNT, Cohorts
from detectors.columns import NEVER, Int64s
from detectors.detector import View
from detectors.gaps import Floats, Rows
from detectors.situations import ASLEEP, IDLING, JUST_STOPPED, STATES, STOPPED, WEEK, longest, usual
from detectors.verdicts import Explanation, Number, Verdict, Verdicts, spell

DAY = 86_400.0
OVERDUE = 1.75  # median gaps: a report that is late by a session's delay is none; less than the two that are promised
BUDGET = 10.0  # false tickets per 1 000 terminal-days, for which the factors are:
MOVING_ROOM, IDLING_ROOM, STANDING, SLEEPING = 1.3, 2.5, 2.0, 1.5  # × the longest silence of four weeks
MOVING_FLOOR = 55 * 60.0  # s: most holes in coverage are shorter
IDLING_FLOOR = 90 * 60.0  # s: nearly all are
STOPPED_FLOOR = 4 * 3600.0  # s: a parked vehicle's first report that is late is a workshop more often than a fault
MOST = 42 * 3600.0  # s × room, by which a limit may be above what is normal
WAKES = 2.2  # of a sleeper's usual gaps: one wake-up in 33 finds no network, two in a row are a fault
REGULAR = 1.25  # of the median: a third longest gap below it is that of a schedule
ONCE = 1.1  # × the longest silence of one with a schedule: what happened to it once is luck
YOUNG = 7 * DAY  # days of the week it has not lived through
YOUNG_LIMIT = 4 * DAY  # a long weekend
KNOWN = 28 * DAY
_FACTORS = np.array([MOVING_ROOM, IDLING_ROOM, STANDING, STANDING, SLEEPING])  # by state
RESTS = 12 * 3600.0  # s: a limit from there on is that of a night, and may hold a day of rest
_FLOORS = np.array([MOVING_FLOOR, IDLING_FLOOR, STOPPED_FLOOR, STOPPED_FLOOR, STOPPED_FLOOR])
UNSEEN = 20 * 60.0  # s in which nothing of now was told, and in which a vehicle in motion may have ended its day
AGAIN = 2.0  # × the limit: what the ticket means has changed


@dataclass(frozen=True, slots=True)
class Allowed:
    """How long each may be silent, in seconds; arrays, shape (n,).

    Attributes
    ----------
    usual : the median of the last gaps in its state; NaN where there are none.
    longest : the longest normal silence of its situation; 0 where nothing is known.
    limit : when silence becomes a ticket.
    state : index into `STATES`.
    gaps : that the median was taken from, ever.
    room : for what has not been seen yet: 1 at the default budget after four weeks.
    unseen : that it may have stopped meanwhile: nobody could have heard it.
    rested : of the limit, days on which those like it rest; counted once they matter.
    """

    usual: Floats
    longest: Floats
    limit: Floats
    state: NDArray[np.intp]
    gaps: NDArray[np.uint16]
    room: Floats
    unseen: NDArray[np.bool_]
    rested: Floats

    @property
    def again(self) -> Floats:
        """When it has become twice too long."""
        return AGAIN * (self.limit - self.rested) + self.rested


@dataclass(frozen=True, slots=True)
class Expected:
    """The rule.

    Attributes
    ----------
    false_alarms : wanted false tickets per 1 000 terminal-days.
    floor : seconds; no limit is below it.
    """

    false_alarms: float = BUDGET
    floor: float = 300.0

    @property
    def soonest(self) -> float:
        """No limit is below that many seconds."""
        return max(MOVING_FLOOR * min(self._scale, 1.0), self.floor)

    @property
    def _scale(self) -> float:
        return float(np.sqrt(BUDGET / self.false_alarms))

    def allowed(self, view: View, rows: Rows, cohorts: Cohorts | None = None) -> Allowed:
        """How long these terminals may be silent since their last contact; without `cohorts` no day is one of rest."""
        told = view["state"][rows].astype(np.intp)
        since = view["contact"][rows]
        middle, third, gaps = usual(view, rows, told)
        # Time that is not counted: an outage, its operator's or ours. Who was in motion before it may have stood since.
        received, age = view.received[rows], view.clock - view.heard[rows]
        lost = view.now - received / 1e6 - age
        # And what it did since its last record of now is as little known where old ones, or a ping, came after it.
        unseen = (told <= IDLING) & ((lost >= UNSEEN) | (received - since >= UNSEEN * 1e6))
        state = np.where(unseen, STOPPED, told)
        if unseen.any():
            third = np.where(unseen, usual(view, rows, state)[1], third)
        known = longest(view, rows, state, since)
        lived = _lived(view, rows, since)
        room = self._scale * np.sqrt(np.clip(KNOWN / np.maximum(lived, 1.0), 1.0, KNOWN / YOUNG))
        often = np.nan_to_num(third)
        normal = np.where((state == JUST_STOPPED) | (state == STOPPED), np.maximum(known, often), known)
        limit = np.minimum(np.maximum(room * _FACTORS[state], 1.0) * normal, normal + room * MOST)
        at_rest = since - view["active"][rows] > WEEK
        regular = (state == ASLEEP) & at_rest & (often <= REGULAR * middle)
        limit = np.where(regular, ONCE * known, limit)
        limit = np.where(state == ASLEEP, np.maximum(WAKES * often, limit), limit)
        limit = np.maximum(limit, _FLOORS[state] * min(self._scale, 1.0))
        young = (lived < YOUNG) & ((state != ASLEEP) | np.isnan(third))
        limit = np.where(young, np.maximum(limit, YOUNG_LIMIT), limit)
        limit = np.maximum(limit, self.floor)
        rested = np.zeros(len(rows))
        rests = np.flatnonzero((limit >= RESTS) & (age > limit) & (told != ASLEEP))
        if cohorts is not None and len(rests):
            until = np.full(len(rests), view.now * 1e6, np.int64)
            began = np.maximum(received[rests], until - (age[rests] * 1e6).astype(np.int64))  # as the age counts it
            rested[rests] = cohorts.rested(view, rows[rests], began, until)
        return Allowed(middle, known, limit + rested, told, gaps, room, unseen, rested)

    def judge(self, view: View, rows: Rows, cohorts: Cohorts | None = None) -> tuple[Verdicts, Floats]:
        """Verdicts, and listened seconds at which each may change by itself."""
        heard = view.heard[rows]
        age = view.clock - heard
        state = view["state"][rows].astype(np.intp)
        overdue = OVERDUE * usual(view, rows, state)[0]
        verdicts = (age >= -np.inf).view(np.int8) * np.int8(Verdict.GOOD)
        late = age > overdue
        verdicts += late
        look = np.where(late | np.isnan(overdue), self.soonest, np.minimum(overdue, self.soonest))
        # Limits cost more than medians, and nobody's is below the soonest: few are silent for that long.
        long = np.flatnonzero(age > self.soonest)
        if len(long):
            allowed = self.allowed(view, rows[long], cohorts)
            limit, again = allowed.limit, allowed.again
            failed = age[long] > limit
            verdicts[long] = np.where(failed, np.int8(Verdict.FAIL), verdicts[long])
            again = np.where(age[long] > again, np.inf, again)
            following = np.where(late[long] | np.isnan(overdue[long]), limit, np.minimum(overdue[long], limit))
            # Those like it may come to work at any moment.
            following = np.where(allowed.rested > 0, age[long] + RECOUNT, following)
            look[long] = np.where(failed, again, following)
            view["failed"][rows[long[failed]]] = True
        return verdicts, heard + look

    def meaning(self, view: View, rows: Rows, cohorts: Cohorts | None = None) -> Int64s:
        """What a ticket about each one's silence means: since which live record (µs), odd once twice the limit passed.

        A change of it while the ticket stands open is news.
        """
        since = view.live[rows] // 2 * 2
        passed = view.clock - view.heard[rows] > self.allowed(view, rows, cohorts).again
        means: Int64s = since + passed
        return means

    def explain(self, view: View, row: int, cohorts: Cohorts | None = None) -> Explanation:
        """One terminal's verdict, in words and numbers."""
        rows = np.array([row])
        allowed = self.allowed(view, rows, cohorts)
        verdict = Verdict(int(self.judge(view, rows, cohorts)[0][0]))
        age, limit = view.clock - float(view.heard[row]), float(allowed.limit[0])
        middle, known, room = float(allowed.usual[0]), float(allowed.longest[0]), float(allowed.room[0])
        state, lived = STATES[int(allowed.state[0])], float(_lived(view, rows, view["contact"][rows])[0])
        words = f"{state} when last heard" + (", out of reach for a while since" if allowed.unseen[0] else "")
        usually = "" if np.isnan(middle) else f", then usually heard every {spell(middle)}"
        before = f"silent for up to {spell(known)} before" if known > 0 else "no silence known of it yet"
        rested = float(allowed.rested[0])
        until = spell(limit) + (f" with {spell(rested)} of days on which those like it rest" if rested else "")
        young = f"known for {spell(max(lived, 0.0))} only, so for up to {spell(limit)} nothing is said"
        if np.isnan(age):
            reason = "never heard"
        elif verdict == Verdict.GOOD:
            reason = f"heard {spell(age)} ago ({state}{usually}), may be silent for {spell(limit)}"
        elif verdict == Verdict.SUSPECT:
            reason = f"overdue: silent for {spell(age)}, {words}{usually}; "
            reason += young if lived < YOUNG else f"{before}, a ticket after {until}"
        else:
            reason = f"silent for {spell(age)}, {words}{usually}; {before}, limit {until}"
            reason += ", passed twice over" if age > allowed.again[0] else ""
        numbers: dict[str, Number] = {
            "age_s": _rounded(age),
            "limit_s": _rounded(limit),
            "interval_s": _rounded(middle),
            "overdue_after_s": _rounded(OVERDUE * middle),
            "longest_s": _rounded(known) if known > 0 else None,
            "rested_s": _rounded(rested),
            "room": round(room, 2),
            "gaps": int(allowed.gaps[0]),
            "situation": state,
            "known_days": round(max(lived, 0.0) / DAY, 2),
            "false_alarms": self.false_alarms,
            "floor_s": self.floor,
        }
        return Explanation(verdict, reason, numbers)


def _lived(view: View, rows: Rows, since: Int64s) -> Floats:
    """Seconds from the first contact to the last; 0 where there was none."""
    first = view["first"][rows]
    return np.where(first == NEVER, 0.0, (since - first) / 1e6)


def _rounded(seconds: float) -> float | None:
    return None if np.isnan(seconds) else round(seconds, 3)
