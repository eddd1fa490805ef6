"""Who is told when nobody acts: the steps of a policy's escalation ladders for one ticket. Pure.

A ladder of a clock begins with each of its cycles, one of an event each time that comes. A step's instant is a share of
the clock's budget, pauses included, or a term since the beginning. The ladder ends with the first event after its
beginning that the policy names, and with the ticket; an event at a step's very instant is in time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ticketing.clocks.moments import Moment, moments_of
from ticketing.clocks.several import TicketClocks
from ticketing.clocks.steps import Step
from ticketing.clocks.terms import ends
from ticketing.clocks.ticket import Stand
from ticketing.policies import Policy
from ticketing.policies.format import LadderTable, StepTable
from ticketing.working_time.hours import WorkingTime

STOPPED_BY = {
    "acknowledge": frozenset({"acknowledged", "human-action", "visit-agreed", "call-made", "letter-sent"}),
    "human-action": frozenset({"human-action"}),
    "fault-fixed": frozenset({"fault-fixed", "service-restored", "letter-sent"}),
}


class Rung(NamedTuple):
    """One step that comes, or came, if nobody acted before: `key` tells it apart from all others of the ticket."""

    at: datetime
    key: str
    ladder: str
    tell: str
    tier: int | None
    percent: int | None


class _Run(NamedTuple):
    """A ladder from its beginning to its end; `stand`: the cycle of its clock."""

    number: int
    begin: datetime
    end: datetime | None
    stand: Stand | None


def rungs(
    policy: Policy, clocks: TicketClocks, steps: Sequence[Step], *, work: WorkingTime | None = None
) -> list[Rung]:
    """All steps of all ladders by their instants, those that are still to come too; told are those up to now.

    Parameters
    ----------
    clocks : of the ticket, from the same `steps`
    """
    if not steps:
        return []
    moments = moments_of(steps)
    found = [
        Rung(at, f"{ladder.name}/{run.number}/{place}", ladder.name, step.tell, step.tier, step.percent)
        for ladder in policy.file.ladder
        for run in _runs(ladder, clocks, moments)
        for place, step in enumerate(ladder.steps, start=1)
        if (at := _instant(policy, step, run, work)) is not None and (run.end is None or at < run.end)
    ]
    return sorted(found)


def next_rung(found: Sequence[Rung], now: datetime) -> datetime | None:
    """When the next step comes, if nobody acts until then."""
    return min((rung.at for rung in found if rung.at > now), default=None)


def _runs(ladder: LadderTable, clocks: TicketClocks, moments: Sequence[Moment]) -> Iterator[_Run]:
    if ladder.clock is not None:
        clock = clocks.get(ladder.clock)
        for stand in clock.stands if clock is not None else ():
            end = _end(ladder, moments, stand.result.start)
            stops = [at for at in (end, stand.stopped) if at is not None]
            yield _Run(stand.number, stand.result.start, min(stops, default=None), stand)
        return
    before: datetime | None = None
    number = 0
    for moment in moments:
        again = moment.reopened and ladder.starts in ("ticket-opened", "request-received")
        if ladder.starts not in moment.events and not again:
            continue
        if before is not None and ((end := _end(ladder, moments, before)) is None or end >= moment.at):
            continue  # it is climbed already
        number, before = number + 1, moment.at
        yield _Run(number, moment.at, _end(ladder, moments, moment.at), None)


def _end(ladder: LadderTable, moments: Sequence[Moment], begin: datetime) -> datetime | None:
    stops = STOPPED_BY[ladder.stops_on]
    return next(
        (
            moment.at
            for moment in moments
            if moment.at > begin and (moment.closed or not moment.events.isdisjoint(stops))
        ),
        None,
    )


def _instant(policy: Policy, step: StepTable, run: _Run, work: WorkingTime | None) -> datetime | None:
    if step.percent is not None:
        reached = None if run.stand is None else run.stand.result.reached(step.percent)
        return None if reached is None else reached.astimezone(UTC)
    return ends(policy, step.after or "", step.kind, run.begin, work)
