"""The clock of a ticket, read from its journal: due time, verdict and explanation. Pure.

What the journal says decides: states of which the policy says that they pause the clock do; the first action of a
person that the client can see stops it; a relapse after closing begins a new cycle and leaves the old verdict.

- Take, ask, consent and close are such actions; a note is none, since only the desk reads it. A reopened ticket may be
  in somebody's hands already, who takes nothing: there the first note counts as well.
- Closing stops every clock.
- The due time moves with each wait for the client that begins before it, after the first reaction too. The verdict is
  fixed when the clock stops.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ticketing.clocks.history import Breach, Event, Verdict, What, follow
from ticketing.clocks.walk import PAUSED, ClockResult, Pause, Rule, run
from ticketing.clocks.words import due_texts, moment_text, rule_text, span_texts, stand_text
from ticketing.model.states import Action, State
from ticketing.policies.format import ClockTable
from ticketing.working_time.budgets import Fires
from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.time_zones import instant

UNKNOWN = "unknown"  # the verdict of a clock without a due time
WAITING = "waiting"  # the cause of pauses that a ticket's state makes
_TICK = timedelta(microseconds=1)
_REACTION = frozenset({Action.TAKE, Action.ASK, Action.CONSENT, Action.CLOSE})
# What stops a clock, as policies name it, and the actions that this desk knows it by. What no action tells yet (a
# visit agreed, a unit replaced) is told by the closing, which stops every clock.
_STOPPED_BY: dict[str, frozenset[Action]] = {
    "human-action": _REACTION,
    "zone-localised": _REACTION,  # or the opening, if the zone was known then
    "public-message": frozenset({Action.ASK}),
    "fault-fixed": frozenset({Action.RECOVERED}),
    "service-restored": frozenset({Action.RECOVERED}),
}


class Step(NamedTuple):
    """One journal entry as a clock sees it; `state` is the ticket's after it."""

    at: datetime
    action: str
    state: str


@dataclass(frozen=True, eq=False)
class Stand:
    """One cycle: `result` explains the due time, pauses included; `stopped` None while it runs."""

    number: int
    result: ClockResult
    verdict: Verdict
    stopped: datetime | None
    breaches: tuple[Breach, ...]

    def warnings(self) -> list[tuple[int, datetime]]:
        """Shares of the budget and when each is reached, none after the stop."""
        found = self.result.warnings()
        return [(percent, at) for percent, at in found if self.stopped is None or at <= self.stopped]

    def as_json(self, now: datetime) -> dict[str, Any]:
        """The object of `dozor clock --json --at`, with the ticket's side of it and the same in words."""
        result, zone = self.result, self.result.rule.zone
        at = instant(now if self.stopped is None else min(now, self.stopped))
        found = result.as_json(at)
        for interval, (span, said) in zip(found["intervals"], span_texts(result, whole=True), strict=True):
            waited = ", waiting for the client" if interval.get("why") == PAUSED else ""
            interval["span"], interval["text"] = span, said + waited
        return found | {
            "cycle": self.number,
            "verdict": str(self.verdict),
            "stopped": None if self.stopped is None else zone.iso(instant(self.stopped)),
            # One that was stored comes back in UTC: it reads as on the day when it was told.
            "breaches": [{**breach.as_json(), "due": zone.iso(instant(breach.due))} for breach in self.breaches],
            "texts": {
                "rule": rule_text(result.rule),
                "start": moment_text(zone, result.start_at, whole=True),
                "due": due_texts(result, whole=True),
                "stand": stand_text(result, at, whole=True),
                "stopped": None if self.stopped is None else moment_text(zone, instant(self.stopped), whole=True),
            },
        }


@dataclass(frozen=True, eq=False)
class TicketClock:
    """A ticket's clock over its whole life, as known at one instant; `problem` says why there is no due time."""

    rule: Rule
    started: datetime
    stands: tuple[Stand, ...]
    problem: str = ""

    @property
    def due(self) -> datetime | None:
        """When the cycle that counts now is due, in UTC; None while a pause holds it, or nobody knows."""
        due = self.stands[-1].result.due if self.stands else None
        return None if due is None else due.astimezone(UTC)

    @property
    def verdict(self) -> str:
        """The current cycle's verdict, or `unknown` where there is no due time."""
        return str(self.stands[-1].verdict) if self.stands else UNKNOWN

    @property
    def runs(self) -> bool:
        """Whether the current cycle has not stopped, be it held by a pause or broken already."""
        return bool(self.stands) and self.stands[-1].stopped is None

    def next_check(self, now: datetime) -> datetime | None:
        """The next instant at which there may be something to tell, if nobody does anything until then."""
        if not self.stands or self.stands[-1].stopped is not None:
            return None
        stand = self.stands[-1]
        moments = [at for _, at in stand.warnings()]
        if (due := stand.result.due) is not None:
            moments.append(due if stand.result.rule.fires is Fires.AT else due + _TICK)
        return min((at for at in moments if at > now), default=None)

    def as_json(self, now: datetime) -> dict[str, Any]:
        """The current cycle, with those before it under `earlier`."""
        if not self.stands:
            zone = self.rule.zone
            return {
                "policy": self.rule.policy,
                "clock": self.rule.clock,
                "start": zone.iso(instant(self.started)),
                "due": None,
                **self.rule.header,
                "intervals": [],
                "cycle": 1,
                "verdict": UNKNOWN,
                "stopped": None,
                "breaches": [],
                "problem": self.problem,
                "texts": {
                    "rule": rule_text(self.rule),
                    "start": moment_text(zone, instant(self.started), whole=True),
                    "due": [f"not known. {self.problem}"],
                    "stand": "",
                    "stopped": None,
                },
                "earlier": [],
            }
        *earlier, current = (stand.as_json(now) for stand in self.stands)
        return {**current, "earlier": earlier}


def read(
    rule: Rule,
    table: ClockTable,
    steps: Sequence[Step],
    now: datetime,
    *,
    localised: bool = False,
    recorded: Iterable[Breach] = (),
) -> TicketClock:
    """The clock of a ticket, from its steps in order, the opening first.

    Parameters
    ----------
    rule, table : the promise as it was when the ticket was opened, ready to run and as the policy writes it
    now : an instant before the last step is taken for that step's
    localised : the zone was known when the ticket was opened
    recorded : breaches stored earlier
    """
    now = max(now, *(step.at for step in steps))
    events, waits = _events(rule, table, steps, localised=localised)
    try:
        cycles = follow(events, now, recorded)
        stands = []
        for number, cycle in enumerate(cycles):
            begin = cycle.result.start_at
            end = cycles[number + 1].result.start_at if number + 1 < len(cycles) else None
            held = [wait for wait in waits if end is None or wait[0] < end]
            result = run(rule, begin, held)
            stands.append(Stand(cycle.number, result, cycle.verdict, cycle.stopped, cycle.breaches))
    except ClockInputError as error:
        return TicketClock(rule, steps[0].at, (), str(error))
    return TicketClock(rule, steps[0].at, tuple(stands))


def _events(
    rule: Rule, table: ClockTable, steps: Sequence[Step], *, localised: bool
) -> tuple[list[Event], list[Pause]]:
    """What happened to the clock, and the spans in which the ticket was in a pausing state."""
    stoppers = frozenset[Action]().union(*(_STOPPED_BY.get(stop, ()) for stop in table.stops))
    events = [Event(steps[0].at, What.START, rule)]
    if localised and "zone-localised" in table.stops:
        events.append(Event(steps[0].at, What.STOP))
    waits: list[Pause] = []
    since: datetime | None = None
    before, reopened = steps[0].state, False
    for at, action, state in steps[1:]:
        waiting = state in table.pauses_in
        if waiting and since is None:
            since = at
            events.append(Event(at, What.PAUSE, cause=WAITING))
        elif not waiting and since is not None:
            waits.append((instant(since), instant(at)))
            since = None
            events.append(Event(at, What.RESUME, cause=WAITING))
        if before == State.CLOSED and state != State.CLOSED:
            reopened = True
            events.append(Event(at, What.REOPEN))
        elif action in stoppers or (reopened and action == Action.NOTE and "human-action" in table.stops):
            events.append(Event(at, What.STOP))
        if state == State.CLOSED and before != State.CLOSED:
            events.append(Event(at, What.STOP))
        before = state
    if since is not None:
        waits.append((instant(since), None))
    return events, waits
