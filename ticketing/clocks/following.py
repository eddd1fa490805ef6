"""What happened to one clock of a ticket: its moments, read by what the policy says of that clock. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ticketing.clocks.applying import ETA, Track
from ticketing.clocks.history import Event, What
from ticketing.clocks.moments import WITH_DEVELOPMENT, Moment
from ticketing.clocks.ticket import Wait
from ticketing.clocks.walk import Rule
from ticketing.model.states import State
from ticketing.policies import Policy
from ticketing.working_time.budgets import Budget, Fires, Kind
from ticketing.working_time.time_zones import instant

# A ticket that comes back asks for these once more by itself.
_ASKED_ANEW = ("request-received", "ticket-opened", "public-message")
# Found once, however often it is written down, until the ticket is closed.
_ONCE = ("hardware-fault-found", "diagnosis")
_REPAIRED = frozenset({"fault-fixed", "service-restored"})


def events_of(policy: Policy, rules: Mapping[str, Rule], track: Track, moments: Sequence[Moment]) -> list[Event]:
    """The events of one clock; empty: it has not started."""
    events: list[Event] = []
    running = begun = found = False
    held: str | None = None
    ends = track.ends
    for moment in moments:
        if ends is not None and moment.at >= ends:
            events.append(Event(ends, What.STOP))
            break
        name, silent = track.in_force(moment.at)
        table, rule = policy.clock(name).table, rules[name]
        if any(at == moment.at for at, _, _ in track.segments[1:]):
            events.append(Event(moment.at, What.SWITCH, rule, silent=silent))
        pauses = pausing(table.pauses_in)
        if held is not None and (held != moment.state or held not in pauses):
            events.append(Event(moment.at, What.RESUME, cause=held))
            held = None
        if moment.state in pauses:
            held = moment.state
            events.append(Event(moment.at, What.PAUSE, cause=held))
        if moment.reopened:
            found = False
        starts = table.starts in moment.events and moment.state != State.CLOSED
        if starts and table.starts in _ONCE:
            starts, found = not found, True
        again = running and moment.state != State.CLOSED and not moment.events.isdisjoint(table.restarts)
        if again:
            events.append(Event(moment.at, What.RESTART, rule, silent=silent))
        elif starts:
            events.append(Event(_begin(moment, table.starts), What.START, rule, silent=silent))
            running = begun = True
        if moment.closed or not moment.events.isdisjoint(table.stops):
            events.append(Event(moment.at, What.STOP))
            running = False
        if moment.reopened and begun and table.starts in _ASKED_ANEW:
            events.append(Event(moment.at, What.REOPEN, rule, silent=silent))
            running = True
    return events if begun else []


def pausing(pauses_in: Iterable[str]) -> frozenset[str]:
    """The states that hold a clock: waiting for a vendor is also waiting for the own development."""
    states = frozenset(pauses_in)
    return states | {WITH_DEVELOPMENT} if State.WAITING_VENDOR in states else states


def _begin(moment: Moment, starts: str) -> datetime:
    """Of what came on paper the clock starts when it was received, not when it was entered."""
    received = moment.data.get("received_at") if starts in ("request-received", "official-request-received") else None
    if received is None:
        return moment.at
    return min(moment.at, received if isinstance(received, datetime) else datetime.fromisoformat(str(received)))


def waits_of(policy: Policy, track: Track, moments: Sequence[Moment]) -> tuple[Wait, ...]:
    """The spans in which the ticket was in a state that pauses this clock."""
    states = pausing(state for _, name, _ in track.segments for state in policy.clock(name).table.pauses_in)
    waits: list[Wait] = []
    for moment in moments:
        at = instant(moment.at)
        if waits and waits[-1].end is None and waits[-1].state != moment.state:
            waits[-1] = waits[-1]._replace(end=at)
        if moment.state in states and (not waits or waits[-1].end is not None):
            waits.append(Wait(at, None, moment.state))
    return tuple(waits)


def eta_of(policy: Policy, moments: Sequence[Moment]) -> tuple[Rule, list[Event]] | None:
    """The promised repair times as one clock, each promise a cycle that fires at its instant; None: none was made."""
    events: list[Event] = []
    last: Rule | None = None
    promised: datetime | None = None
    for moment in moments:
        eta = moment.data.get("eta")
        if eta is not None:
            due = eta if isinstance(eta, datetime) else datetime.fromisoformat(str(eta))
            left = instant(due) - instant(moment.at)
            if left > 0 and due != promised:  # what is said again is no new promise
                promised = due
                last = Rule(
                    policy.name, policy.version, ETA, Budget(Kind.REAL, left), Fires.AT, policy.working_time, ()
                )
                events.append(Event(moment.at, What.RESTART, last))
        if last is not None and (moment.closed or not moment.events.isdisjoint(_REPAIRED)):
            events.append(Event(moment.at, What.STOP))
    return None if last is None else (last, events)
