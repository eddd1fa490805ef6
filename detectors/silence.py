"""Which terminals have been silent for longer than their own rhythm explains.

By one of two rules. By `expected` a terminal is measured by its own silences in the same situation, over weeks: these
are learned under both, so that a change of the setting forgets none. The plain rule learns in minutes, while it is in
force:

A terminal's interval is the median of its last gaps between accepted frames, learned apart for ignition off and
for ignition on or unknown: a parked vehicle reports by the hour, a moving one by the second.

    limit = clamp(after × interval, floor, ceiling)      ceiling until enough gaps are learned
    fail when age > limit, suspect when age > 2/3 limit, unknown when never heard, or once only

Age is time in which the gateway listened: its own outage silences nobody. Who was heard once and never again may have
been a stranger's invention, or a test on the bench: there is no rhythm to miss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from detectors.cohorts import Cohorts
from detectors.columns import NEVER, Columns, Contacts, Int64s
from detectors.detector import Before, Column, Detector, Judged, Past, Registered, Summary, View, Zone
from detectors.expected import Expected
from detectors.gaps import Floats, Rows, runs
from detectors.outlook import Outlook, rhythms
from detectors.rhythm import COLUMNS, learn, note_again, note_contact, rhythm, rhythmic, settle
from detectors.situations import COLUMNS as SITUATIONS
from detectors.situations import STATES, learn_situations, teach, usual
from detectors.verdicts import Explanation, Verdict, Verdicts, spell
from detectors.zones import zone_of_silence

SUSPECT_SHARE = 2 / 3  # of the limit
CRAWL = 3.0  # km/h: a fix wanders about as fast
STAGES = ("in_use", "workshop", "season", "sold")  # of a terminal's life; silence is judged in the first alone


@dataclass(frozen=True, slots=True)
class SilenceRule:
    """How much silence is too much.

    Attributes
    ----------
    after : learned intervals that may pass.
    floor, ceiling : seconds; the limit lies between them.
    learn : gaps before a learned interval counts.
    """

    after: float = 3.0
    floor: float = 300.0
    ceiling: float = 86_400.0
    learn: int = 8

    def limits(self, interval: Floats, gaps: NDArray[np.integer]) -> Floats:
        """Seconds of silence each terminal may keep.

        Parameters
        ----------
        interval : float64 array, shape (n,)
            Learned interval in seconds; NaN where there is none.
        gaps : integer array, shape (n,)
            How many gaps it was learned from, ever.

        Returns
        -------
        float64 array, shape (n,)
        """
        known = (gaps >= self.learn) & ~np.isnan(interval)
        with np.errstate(invalid="ignore"):
            limit = np.minimum(np.maximum(self.after * interval, self.floor), self.ceiling)
        return np.where(known, limit, self.ceiling)


def judge_silence(age: Floats, limit: Floats) -> Verdicts:
    """Judge each terminal's silence.

    Parameters
    ----------
    age : float64 array, shape (n,)
        Seconds since the last accepted frame in which the gateway listened; NaN = never heard.
    limit : float64 array, shape (n,)
        Seconds, from `SilenceRule.limits`.

    Returns
    -------
    int8 array of `Verdict`, shape (n,)

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if age.shape != limit.shape:
        raise ValueError(f"shapes differ: {age.shape} and {limit.shape}")
    # Verdicts are consecutive numbers and a comparison with NaN is false: their sum is the verdict, with no
    # masked assignment (which costs ten times as much over a million rows).
    verdict = (age >= -np.inf).view(np.int8) * np.int8(Verdict.GOOD)
    verdict += age > SUSPECT_SHARE * limit
    verdict += age > limit
    return verdict


def explain_silence(
    age: float, limit: float, interval: float, gaps: int, *, ignition_off: bool, rule: SilenceRule, once: bool = False
) -> Explanation:
    """Put one terminal's verdict into words and numbers; arguments as in `judge_silence` and `SilenceRule.limits`.

    `once`: it was heard a single time, ever.
    """
    verdict = Verdict.UNKNOWN if once else Verdict(int(judge_silence(np.array([age]), np.array([limit]))[0]))
    learned = gaps >= rule.learn and not np.isnan(interval)
    if np.isnan(age):
        reason = "never heard"
    elif once:
        reason = f"heard once, {spell(age)} ago: silence is judged from the second time on"
    elif verdict == Verdict.GOOD:
        reason = f"heard {spell(age)} ago, may be silent for {spell(limit)}"
    else:
        reason = f"silent for {spell(age)}, limit {spell(limit)}"
        reason += f", usually heard every {spell(interval)}" if learned else f" ({gaps} of {rule.learn} gaps learned)"
    return Explanation(
        verdict,
        reason,
        {
            "age_s": None if np.isnan(age) else round(age, 3),
            "limit_s": round(limit, 3),
            "interval_s": round(interval, 3) if learned else None,
            "gaps": gaps,
            "ignition": "off" if ignition_off else "on or unknown",
            "after": rule.after,
            "floor_s": rule.floor,
            "ceiling_s": rule.ceiling,
        },
    )


@dataclass(frozen=True, slots=True)
class Silence(Detector):
    """The detector; without `expected` by the plain rule."""

    rule: SilenceRule = SilenceRule()
    expected: Expected | None = None
    cohorts: Cohorts = field(default_factory=Cohorts, compare=False, repr=False)

    kind = "silence"
    words = "Silence"
    columns = (*COLUMNS, *SITUATIONS, Column("away", np.uint8, kept=False))  # away: place in `STAGES`
    summary: ClassVar[Mapping[str, DTypeLike]] = {"ignition": np.int8, "motion": np.int8}  # as in `postures`

    @staticmethod
    def reduce(columns: Columns) -> Summary:
        """The ignition of each contact's newest record, and whether it moves."""
        told, newest = columns["ignition"], columns["newest"]
        # 1 on, 0 off: states count the other way, and "off" wins among equally new ones
        off = np.where((told >= 0) & newest, 1 - told, -1).astype(np.int8)
        moves = columns["moving"] | (columns["speed"] > CRAWL)
        motion = np.where(newest, moves.astype(np.int8), np.int8(-1))
        return {"ignition": columns.fold(np.maximum, off, -1), "motion": columns.fold(np.maximum, motion, -1)}

    def absorb(self, view: View, contacts: Contacts, before: Before, summary: Summary) -> None:
        """Learn rhythm and situations, from contacts that tell of them.

        An old record that comes late is a sign of life, and says nothing of what the terminal does now.
        """
        note_again(view, contacts, before)
        late = contacts.late(before.live)
        ignition, motion = (np.where(late, np.int8(-1), summary[name]) for name in ("ignition", "motion"))
        terminal, received = contacts.terminal, contacts.received
        chosen = rhythmic(view, contacts)
        if not chosen.all():
            terminal, received, ignition, motion = terminal[chosen], received[chosen], ignition[chosen], motion[chosen]
            if not len(terminal):
                return
        contact = view["contact"][terminal[runs(terminal)[0]]]
        rested = partial(self.cohorts.rested, view)
        learn_situations(view, terminal, received, contact, ignition, motion, rested)
        if self.expected is None:
            learn(view, terminal, received, ignition)
        note_contact(view, terminal, received)

    def identify(self, view: View, rows: Rows, registered: Registered) -> None:
        """Who is not in use, and whose customer's days of rest are its own."""
        customers = registered.get("customer")
        if customers is not None:
            view["cohort"][rows] = [self.cohorts.number(customer) for customer in customers]
        told = registered.get("stage")
        if told is not None:
            view["away"][rows] = [STAGES.index(stage) if stage in STAGES else 0 for stage in told]

    def judge(self, view: View, rows: Rows) -> Judged:
        """By age and limit."""
        if self.expected is not None:
            verdicts, look = self.expected.judge(view, rows, self.cohorts)
        else:
            limit = self.rule.limits(*settle(view, rows))
            heard = view.heard[rows]
            verdicts = judge_silence(view.clock - heard, limit)
            look = np.where(_CHANGES[verdicts], heard + _SHARE[verdicts] * limit, np.inf)
        unknown = ~view["twice"][rows] | (view["away"][rows] > 0)
        verdicts[unknown], look[unknown] = Verdict.UNKNOWN, np.inf
        return Judged(verdicts, look)

    def meaning(self, view: View, rows: Rows) -> Int64s:
        """Which silence it is, and by `expected` whether it has become twice too long."""
        return view.live[rows] if self.expected is None else self.expected.meaning(view, rows, self.cohorts)

    def teach(self, view: View, row: int, *, normal: bool) -> bool:
        """An engineer's word on its last silence that had a ticket; False: there is none to speak of."""
        return teach(view, row, normal=normal)

    def outlook(self, view: View, row: int) -> Outlook:
        """When the next contact is expected, and what becomes of it if none comes."""
        rows, age = np.array([row]), view.clock - float(view.heard[row])
        if np.isnan(age):
            return Outlook()
        state = int(view["state"][row])
        middle, limit = float(usual(view, rows, np.array([state]))[0][0]), np.nan
        if not view["away"][row] and view["twice"][row]:
            by = self.expected
            limit = float(
                (self.rule.limits(*settle(view, rows)) if by is None else by.allowed(view, rows, self.cohorts).limit)[0]
            )
        return Outlook(
            expected_in=None if np.isnan(middle) else middle - age,
            overdue=bool(self.judge(view, rows).verdicts[0] >= Verdict.SUSPECT),
            ticket_in=None if np.isnan(limit) else limit - age,
            regime=STAGES[int(view["away"][row])] if view["away"][row] else STATES[state],
            rhythm=rhythms(view, row),
        )

    def expected_next(self, view: View, rows: Rows) -> Floats:
        """One usual interval after its last word."""
        if self.expected is not None:
            interval, _, gaps = usual(view, rows, view["state"][rows])
        else:
            interval, gaps = settle(view, rows)
        known = (gaps >= self.rule.learn) & (view["away"][rows] == 0)
        return np.where(known, view.heard[rows] + interval, np.nan)

    def explain(self, view: View, row: int) -> Explanation:
        """With age, limit and rhythm."""
        once = not view["twice"][row]
        if view["away"][row]:
            stage = STAGES[int(view["away"][row])]
            return Explanation(Verdict.UNKNOWN, f"stage: {stage}, its silence means nothing", {"stage": stage})
        if self.expected is not None and not once:
            return self.expected.explain(view, row, self.cohorts)
        interval, gaps = settle(view, np.array([row]))
        return explain_silence(
            view.clock - float(view.heard[row]),
            float(self.rule.limits(interval, gaps)[0]),
            float(interval[0]),
            int(gaps[0]),
            ignition_off=bool(view["off"][row]),
            rule=self.rule,
            once=once,
        )

    def evidence(self, view: View, row: int, terminal: Mapping[str, Any]) -> Mapping[str, Any]:
        """Interval statistics in each state; seconds."""
        limit = self.explain(view, row).numbers.get("limit_s")
        shown: dict[str, Any] = {
            "limit_s": None if limit is None else round(float(limit), 1),
            "last_frame": _iso(int(view.received[row])),
            "last_live_record": _iso(int(view.live[row])),
            "situations": rhythms(view, row),
        }
        if self.expected is not None:
            return {"rhythm": shown}
        shown["ignition"] = "off" if view["off"][row] else "on or unknown"
        for state, name in enumerate(("ignition_on_or_unknown", "ignition_off")):
            learned = rhythm(view, row, state)
            shown[name] = {
                "interval_s": None if np.isnan(learned.interval) else float(f"{learned.interval:.3g}"),
                "gaps": learned.gaps,
                "recent_gaps_s": learned.recent,
            }
        return {"rhythm": shown}

    def priority(self, explanation: Explanation) -> int:
        """Before firmware that is merely old."""
        return 2

    def zone(self, explanation: Explanation, past: Past) -> Zone:
        """From what was measured before it."""
        return zone_of_silence(past)


# By verdict: whether time alone may change it, and at which share of the limit. One that fails does until it is heard.
_CHANGES = np.array([False, True, True, False])
_SHARE = np.array([0.0, SUSPECT_SHARE, 1.0, 0.0])


def _iso(micros: int) -> str | None:
    return None if micros == NEVER else str(np.datetime64(micros, "us")) + "Z"
