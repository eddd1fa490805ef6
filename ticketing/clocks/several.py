"""All clocks of a ticket, read from its steps. Pure.

Which clocks a ticket has (`ticketing.clocks.applying`) follows from its policy, plan, priority and warranty; when each
starts, starts anew, pauses and stops is what the policy file says of events and states.

- Each is followed by itself; none overrides another. The strictest that runs is shown first.
- Another priority or plan keeps what was counted: a clock goes over into the one of the new level that starts and stops
  alike. One that the new level adds counts from where it would have started and breaks nothing before the change; one
  that it takes away ends there, and is forgotten unless it was broken.
- A reopened ticket begins new cycles; their old verdicts stay.
- A promised repair time is a clock too, `eta`: it fires *at* its instant. Each new one begins a cycle.
- A merged ticket holds no clock: only what was broken before stays on record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from ticketing.clocks.applying import ETA, changes_of, tracks_of
from ticketing.clocks.following import eta_of, events_of, waits_of
from ticketing.clocks.history import Breach, Event, Verdict, follow
from ticketing.clocks.moments import moments_of
from ticketing.clocks.steps import Step
from ticketing.clocks.ticket import UNKNOWN, Stand, TicketClock, Wait
from ticketing.clocks.walk import Rule, rule
from ticketing.policies import Policy
from ticketing.working_time.calendars import Calendar
from ticketing.working_time.errors import ClockInputError


class Warned(NamedTuple):
    """A share of a clock's budget that is used up at `at`."""

    clock: str
    cycle: int
    percent: int
    at: datetime


@dataclass(frozen=True, eq=False)
class TicketClocks:
    """The clocks of a ticket as known at one instant, in the policy's order.

    `lost`: breaches on record that no clock of today's reading has; they stay broken.
    """

    clocks: tuple[TicketClock, ...]
    lost: tuple[Breach, ...] = ()

    @property
    def strictest(self) -> TicketClock | None:
        """The running clock that is due first; one that a pause holds, and the ETA, never are."""
        running = [clock for clock in self.clocks if clock.runs and clock.due is not None and clock.name != ETA]
        return min(running, key=lambda clock: (clock.due, clock.name), default=None)

    @property
    def due(self) -> datetime | None:
        """When the strictest running clock is due, in UTC; None: nothing runs, or a pause holds all that does."""
        return None if self.strictest is None else self.strictest.due

    @property
    def due_clock(self) -> str | None:
        """Its name."""
        return None if self.strictest is None else self.strictest.name

    @property
    def thirds(self) -> list[datetime]:
        """When a third, two thirds and all of the strictest clock's budget are used; for the queue."""
        return [] if self.strictest is None else self.strictest.stands[-1].result.thirds()

    @property
    def runs(self) -> bool:
        """Whether a promise of the policy is still to be kept, be it held by a pause or broken already."""
        return any(clock.runs for clock in self.clocks if clock.name != ETA)

    @property
    def verdict(self) -> str | None:
        """For lists: broken, if any current cycle is; else running, paused or met; None without clocks."""
        found = {clock.verdict for clock in self.clocks if clock.name != ETA}
        order = (Verdict.BREACHED, Verdict.RUNNING, Verdict.PAUSED, Verdict.MET, UNKNOWN)
        return next((str(verdict) for verdict in order if verdict in found), None)

    @property
    def breaches(self) -> tuple[Breach, ...]:
        """All of all cycles, with those on record that nothing explains any more."""
        found = [breach for clock in self.clocks for stand in clock.stands for breach in stand.breaches]
        return (*found, *self.lost)

    @property
    def stopped(self) -> list[tuple[str, int, datetime, Verdict]]:
        """Cycles that came to their end: clock, cycle, when, verdict."""
        return [
            (clock.name, stand.number, stand.stopped, stand.verdict)
            for clock in self.clocks
            for stand in clock.stands
            if stand.stopped is not None
        ]

    def warnings(self, now: datetime) -> list[Warned]:
        """Shares reached by `now` in cycles that still run; a clock that stopped needs no warning."""
        return [
            Warned(clock.name, clock.stands[-1].number, percent, at)
            for clock in self.clocks
            if clock.runs
            for percent, at in clock.stands[-1].warnings()
            if at <= now
        ]

    def next_check(self, now: datetime) -> datetime | None:
        """The next instant at which a clock may have something to tell, if nobody does anything until then."""
        moments = [clock.next_check(now) for clock in self.clocks]
        return min((at for at in moments if at is not None), default=None)

    def get(self, name: str) -> TicketClock | None:
        """The clock that has this name now."""
        return next((clock for clock in self.clocks if clock.name == name), None)

    def as_json(self, now: datetime) -> list[dict[str, Any]]:
        """One object a clock: that of `dozor clock --json --at` with cycle, verdict, stopped, breaches, earlier."""
        return [clock.as_json(now) for clock in self.clocks]


def rules_of(policy: Policy, calendar: Calendar | None = None) -> dict[str, Rule]:
    """The policy's clocks ready to run; `calendar`: one version of its own."""
    return {name: rule(policy, name, calendar=calendar) for name in policy.clocks}


def read_all(
    policy: Policy,
    plan: str | None,
    steps: Sequence[Step],
    now: datetime,
    *,
    recorded: Iterable[Breach] = (),
    priorities: Sequence[tuple[datetime, int]] = (),
    rules: Mapping[str, Rule] | None = None,
) -> TicketClocks:
    """Every clock of the policy that applies to a ticket.

    Parameters
    ----------
    plan : when the ticket was opened; None: the lowest, where the policy has plans. A step's `plan` changes it.
    steps : in order, the opening first
    now : an instant before the last step is taken for that step's
    recorded : breaches stored earlier: none vanishes
    priorities : (from when, level); without any, those of the steps' `priority`
    rules : of `rules_of`, from the calendar that the ticket was opened under
    """
    if not steps:
        return TicketClocks(())
    now = max(now, *(step.at for step in steps))
    ready = rules_of(policy) if rules is None else rules
    changes = changes_of(policy, plan, steps, priorities)
    moments = moments_of(steps, [change.at for change in changes])
    merged = next((moment.at for moment in moments if "merged" in moment.events), None)
    left = list(recorded)
    clocks: list[TicketClock] = []
    for track in tracks_of(policy, changes, merged):
        events = events_of(policy, ready, track, moments)
        waits = waits_of(policy, track, moments)
        clock = _clock(ready[track.name], events, waits, now, left, track.names)
        left = _add(clocks, clock, left, ended=track.ends is not None)
    if (eta := eta_of(policy, moments)) is not None:
        clock = _clock(eta[0], eta[1], (), now, left, frozenset({ETA}))
        left = _add(clocks, clock, left, ended=merged is not None)
    return TicketClocks(tuple(clocks), tuple(left))


def _clock(
    last: Rule,
    events: Sequence[Event],
    waits: tuple[Wait, ...],
    now: datetime,
    recorded: Iterable[Breach],
    names: frozenset[str],
) -> TicketClock | None:
    """One clock followed; None: it has not started."""
    if not events:
        return None
    begun = min(event.at for event in events)
    try:
        cycles = follow(events, now, [breach for breach in recorded if breach.clock in names])
    except ClockInputError as error:
        return TicketClock(last, begun, (), str(error))
    stands = [Stand(c.number, c.result, c.verdict, c.stopped, c.breaches, waits) for c in cycles]
    return TicketClock(last, begun, tuple(stands)) if stands else None


def _add(clocks: list[TicketClock], clock: TicketClock | None, left: list[Breach], *, ended: bool) -> list[Breach]:
    """Keep a clock, unless what promised it is gone and it was not broken; the breaches that none has told yet."""
    told = [] if clock is None else [breach for stand in clock.stands for breach in stand.breaches]
    if clock is not None and (told or not ended):
        clocks.append(clock)
    known = {(breach.clock, breach.cycle, breach.policy) for breach in told}
    return [breach for breach in left if (breach.clock, breach.cycle, breach.policy) not in known]
