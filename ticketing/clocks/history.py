"""One clock over a ticket's life: started, paused, given another budget in flight, stopped, reopened.

Rules:
- intervals are kept, not counters: a change of priority, plan or calendar version keeps everything counted before it,
  and only what is left runs under the new rule. If the new budget is used up already, due is the change itself: a rule
  breaks nothing before it was in force;
- a reopened ticket starts a new cycle with a whole budget; the old cycle keeps its verdict;
- a breach is a permanent fact: one that was recorded stays, whatever pause is entered afterwards;
- each clock of a ticket is followed by itself; none overrides another;
- events at one instant have one meaning in whatever order they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple

from ticketing.clocks.walk import PAUSED, ClockResult, Pause, Rule, Span, run
from ticketing.clocks.words import explain
from ticketing.working_time.budgets import Budget, Kind
from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.time_zones import instant

_ENDLESS = 1 << 62  # a budget that no leg uses up


class What(StrEnum):
    START = "start"
    SWITCH = "switch"  # another priority, plan, policy version or calendar version
    PAUSE = "pause"
    RESUME = "resume"
    RESTART = "restart"  # the promise is given anew, as by each public message: this cycle ends, the next begins
    STOP = "stop"
    REOPEN = "reopen"


class Verdict(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    MET = "met"
    BREACHED = "breached"


@dataclass(frozen=True)
class Event:
    """What happened to the clock. `rule` goes with start and switch (and, if it changed, reopen).

    `cause` tells pauses apart that overlap: waiting for the client and a deferral are resumed each by itself.
    `silent`: the rule counts from here and is not in force yet; until the switch that puts it in force it breaks
    nothing, and a cycle that ended before is none.
    """

    at: datetime
    what: What
    rule: Rule | None = None
    cause: str = ""
    silent: bool = False


class Breach(NamedTuple):
    """A broken promise: stored once, never cleared. `due` is the instant after which (or at which) it was broken."""

    clock: str
    policy: str
    cycle: int
    due: datetime
    explained: str

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "due": self.due.isoformat()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Breach:
        return cls(**{**stored, "due": datetime.fromisoformat(stored["due"])})


@dataclass(frozen=True, eq=False)
class Cycle:
    """From a start (or reopening) to its stop. `result` explains the due time over all legs."""

    number: int
    result: ClockResult
    verdict: Verdict
    stopped: datetime | None
    breaches: tuple[Breach, ...]

    @property
    def due(self) -> datetime | None:
        return self.result.due

    def warnings(self) -> list[tuple[int, datetime]]:
        """Shares of the budget and the instants at which they are reached, none after the stop."""
        found = self.result.warnings()
        return [(share, at) for share, at in found if self.stopped is None or at <= self.stopped]


class _Leg(NamedTuple):
    rule: Rule
    begin: int
    silent: bool = False


@dataclass
class _Run:
    """A cycle while its events are read."""

    legs: list[_Leg]
    stopped: int | None = None


def follow(events: Iterable[Event], now: datetime, recorded: Iterable[Breach] = ()) -> tuple[Cycle, ...]:
    """The clock's cycles as known at `now`; later events are left out.

    Parameters
    ----------
    events : in any order
    recorded : breaches stored earlier for this clock; they stay in their cycle, and its verdict with them

    Raises
    ------
    ClockInputError
        For a clock that never started, a start without a rule, or a switch between days and hours.
    """
    until = instant(now)
    known = [event for event in events if instant(event.at) <= until]
    runs, pauses = _read(known)
    stored = list(recorded)
    return tuple(
        _judge(number, cycle, pauses, until, stored)
        for number, cycle in enumerate(runs, 1)
        if not all(leg.silent for leg in cycle.legs)
    )


_ORDER = {What.START: 0, What.SWITCH: 1, What.PAUSE: 2, What.RESUME: 2, What.RESTART: 3, What.STOP: 4, What.REOPEN: 5}


def _key(event: Event) -> tuple[int, int, int, str, str]:
    """Equal times have one order; of several switches at once the strictest comes last and holds."""
    rule = event.rule
    budget = 0 if rule is None else -rule.budget.amount
    names = ("", "") if rule is None else (rule.policy, rule.clock)
    return (instant(event.at), _ORDER[event.what], budget, *names)


def _read(events: Sequence[Event]) -> tuple[list[_Run], list[Pause]]:
    runs: list[_Run] = []
    for event in sorted(events, key=_key):
        at = instant(event.at)
        last = runs[-1] if runs else None
        running = last if last is not None and last.stopped is None else None
        match event.what:
            case What.START | What.REOPEN | What.RESTART:
                if running is not None and event.what is not What.RESTART:
                    continue  # it runs already: a second start changes nothing
                rule = event.rule or (last.legs[-1].rule if last else None)
                if rule is None:
                    raise ClockInputError("rule", "the clock starts without one", "Give the rule with the start")
                if running is not None:
                    running.stopped = at
                runs.append(_Run([_Leg(rule, at, event.silent)]))
            case What.SWITCH:
                if event.rule is None:
                    raise ClockInputError("rule", "a switch without a new rule", "Give the rule with the switch")
                if running is not None:
                    if running.legs[-1].begin == at:
                        running.legs.pop()
                    running.legs.append(_Leg(event.rule, at, event.silent))
            case What.STOP if running is not None:
                running.stopped = at
    stops = {instant(event.at) for event in events if event.what is What.STOP}
    reopened = {instant(event.at) for event in events if event.what is What.REOPEN}
    return runs, _pauses(events, stops, reopened)


def _pauses(events: Sequence[Event], stops: set[int], reopened: set[int]) -> list[Pause]:
    """Pair pauses with their resumption by cause.

    A stop ends all that are open; what is paused at its instant holds the cycle that a reopening begins there.
    """
    moments: dict[int, dict[str, set[What]]] = {at: {} for at in stops}
    for event in events:
        if event.what in (What.PAUSE, What.RESUME):
            moments.setdefault(instant(event.at), {}).setdefault(event.cause, set()).add(event.what)
    closed: list[Pause] = []
    running: dict[str, int] = {}
    for at in sorted(moments):
        for cause, seen in moments[at].items():
            # Both at once: one that ran is resumed and paused again, one that did not was empty. No change either way.
            if seen == {What.RESUME} and cause in running:
                closed.append((running.pop(cause), at))
            elif seen == {What.PAUSE}:
                running.setdefault(cause, at)
        if at in stops:
            goes_on = [cause for cause in running if What.PAUSE in moments[at].get(cause, ())]
            closed += [(begin, at) for begin in running.values()]
            running = dict.fromkeys(goes_on, at) if at in reopened else {}
    return closed + [(begin, None) for begin in running.values()]


def _judge(number: int, cycle: _Run, pauses: list[Pause], now: int, recorded: list[Breach]) -> Cycle:
    end = now if cycle.stopped is None else cycle.stopped
    # What is waited for after the stop moves nothing.
    pauses = pauses if cycle.stopped is None else [pause for pause in pauses if pause[0] < cycle.stopped]
    result = _run_legs(cycle.legs, pauses)
    breaches = [breach for breach in recorded if breach.cycle == number]
    known = {breach.policy for breach in breaches}
    for count in range(1, len(cycle.legs) + 1):
        if cycle.legs[count - 1].silent:
            continue
        partial = result if count == len(cycle.legs) else _run_legs(cycle.legs[:count], pauses)
        over = end if count == len(cycle.legs) else min(end, cycle.legs[count].begin)
        rule = partial.rule
        name = f"{rule.policy}@{rule.policy_version}/{rule.clock}"
        if partial.fired_at(over) and partial.due is not None and name not in known:
            breaches.append(Breach(rule.clock, name, number, partial.due, explain(partial, over)))
            known.add(name)
    zone = result.rule.zone
    if breaches:
        verdict = Verdict.BREACHED
    elif cycle.stopped is not None:
        verdict = Verdict.MET
    elif any(begin <= now and (stop is None or now < stop) for begin, stop in pauses):
        verdict = Verdict.PAUSED
    else:
        verdict = Verdict.RUNNING
    stopped = None if cycle.stopped is None else zone.moment(cycle.stopped)
    return Cycle(number, result, verdict, stopped, tuple(breaches))


def _run_legs(legs: Sequence[_Leg], pauses: list[Pause]) -> ClockResult:
    """Walk each leg under its own rule; what is left of the last budget runs from the last change."""
    first, last = legs[0], legs[-1]
    if len({leg.rule.budget.kind is Kind.WORKING_DAYS for leg in legs}) > 1:
        raise ClockInputError(
            "rule", "a clock in days cannot become one in hours", "Stop the one and start the other beside it"
        )
    by_days = last.rule.budget.kind is Kind.WORKING_DAYS
    spans: list[Span] = []
    begin, provisional = first.begin, False
    for leg, following in pairwise(legs):
        endless = replace(leg.rule, budget=Budget(leg.rule.budget.kind, _ENDLESS))
        counted = run(endless, begin, [*pauses, (following.begin, None)])
        provisional |= counted.provisional
        if by_days:
            # A day under way at the change is not lost: the next leg counts it, whole, under its own rule.
            spans = _after(spans, counted.spans)
            while spans and not spans[-1].counted:
                spans.pop()
            begin = spans[-1].begin if spans else first.begin
        else:
            spans += counted.spans
            begin = following.begin
            if counted.paused_from is not None and counted.paused_from < begin:
                spans.append(Span(counted.paused_from, begin, 0, PAUSED))
    left = last.rule.budget.amount - sum(span.counted for span in spans)
    if left <= 0:
        return ClockResult(last.rule, first.begin, last.begin, spans, provisional)
    rest = run(replace(last.rule, budget=Budget(last.rule.budget.kind, left)), begin, pauses)
    provisional |= rest.provisional
    spans = _after(spans, rest.spans)
    return ClockResult(last.rule, first.begin, rest.due_at, spans, provisional, rest.paused_from)


def _after(spans: list[Span], more: Iterable[Span]) -> list[Span]:
    """`spans`, then what of `more` lies after their end."""
    end = spans[-1].end if spans else None
    late = [span for span in more if end is None or span.end > end]
    return spans + [span if end is None or span.begin >= end else span._replace(begin=end) for span in late]
