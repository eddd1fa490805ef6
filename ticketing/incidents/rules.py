"""From a finding to what becomes of it: the rules, in the order in which they are asked. Pure.

`decide` asks, of one finding: is its incident open already (`standing`); was it seen good since (`stale`); does its
old ticket come back (`relapse`); is it a group's (`group`); is it one too many (`limit`)? The first that answers
decides; if none does, it is a new incident with a ticket of its own. `inhibit` is asked before anything is looked at,
`recover` when the proof is there, `review` of a group now and then.

A **storm** is a group whose members share nothing but the time. It takes each finding that comes when as many as may
have tickets within a minute asked for one before it, tickets and members counted alike: while more come than that, all
go there. It is over when nobody has joined for a minute and both at most half of its members and at most a minute's
number of tickets still fail: those get tickets of their own, as many a minute as there is room for. A storm without
members has recovered. One whose ticket awaits consent comes back under its number; once closed, the next is a new one.

A group with a cause in common (`mass-silence`, `platform`) is found before any of its members is (`detectors.mass`):
its members stand while it is silent, and leave it for tickets of their own when it is over and they still fail.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from detectors.verdicts import Finding
from ticketing.incidents.decisions import Decision, Group, Known, Limiter, Members, Reason, Step, View
from ticketing.model.kinds import COMMON
from ticketing.model.states import State

RELAPSE_WINDOW = timedelta(days=7)  # after closing; later it is a new ticket
MINUTE = 60.0  # s
AHEAD = 60.0  # s; what was seen good later than that from now was seen under a clock that was ahead


def inhibit(
    now: float, *, listening: bool, refused_until: float = float("-inf"), waits: str | None = None
) -> Decision | None:
    """What keeps a finding or a recovery from being looked at; None: nothing.

    Parameters
    ----------
    listening : whether the gateway trusts its own ears.
    refused_until : when the store, which refused the last attempt, may be asked again.
    waits : what a finding waits for that may belong to many: `reconnecting`, `forming`.
    """
    if not listening:
        return Decision(Step.HOLD, Reason.DEAF)
    if now < refused_until:
        return Decision(Step.HOLD, Reason.REFUSED)
    if waits is not None:
        return Decision(Step.HOLD, Reason(waits))
    return None


def standing(view: View, finding: Finding, now: float) -> Decision | None:
    """An open incident stands, unless it is a member of a group that is over."""
    known = view.known
    if known is None or not known.open:
        return None
    if known.parent is not None and known.parent_kind in COMMON:
        if known.parent_open:
            return Decision(Step.STANDING, Reason.SHARED, known.parent)
        return Decision(Step.DETACH, Reason.STAYED, known.parent)
    if known.parent is None or view.members is None:
        return Decision(Step.STANDING, Reason.OPEN_ALREADY, known.parent)
    over = review(known.parent, view.members, view.limiter, now)
    if over.step != Step.DETACH:
        return Decision(Step.STANDING, over.reason, known.parent)
    return Decision(Step.DETACH, Reason.CALM, known.parent)


def stale(view: View, finding: Finding, now: float) -> Decision | None:
    """A recovery that was seen after the time which the finding judges overtakes it."""
    if view.known is not None and finding.observed_until < view.known.good_until <= now + AHEAD:
        return Decision(Step.STALE, Reason.SEEN_GOOD)
    return None


def relapse(view: View, finding: Finding, now: float) -> Decision | None:
    """A ticket that awaits consent, or was closed less than the window ago, comes back."""
    known = view.known
    if known is None or known.ticket_state is None:
        return None
    closed = known.ticket_closed_at
    if closed is None or now - closed <= RELAPSE_WINDOW.total_seconds():
        return Decision(Step.RELAPSE, Reason.AGAIN)
    return None


def group(view: View, finding: Finding, now: float) -> Decision | None:
    """Who left a group that is still open rejoins it: one number for one problem."""
    known, storm = view.known, view.storm
    if known is None or known.parent is None or storm is None or known.parent != storm.id or not storm.open:
        return None
    return Decision(Step.ATTACH, Reason.REJOINED, storm.id)


def limit(view: View, finding: Finding, now: float) -> Decision | None:
    """What is too much for tickets of its own goes to the storm."""
    if view.limiter.room is None or view.limiter.room > 0:
        return None
    return attach(view.storm)


def attach(storm: Group | None) -> Decision:
    """Into the open storm, into the one that awaits consent, or into a new one."""
    if storm is not None and storm.open:
        return Decision(Step.ATTACH, Reason.RATE, storm.id)
    if storm is not None and storm.ticket_state == State.AWAITING_CONSENT:
        return Decision(Step.ATTACH, Reason.RATE, storm.id, storm=Step.RELAPSE)
    return Decision(Step.ATTACH, Reason.RATE, storm=Step.OPEN)


STAGES: tuple[Callable[[View, Finding, float], Decision | None], ...] = (standing, stale, relapse, group, limit)


def decide(view: View, finding: Finding, now: float) -> Decision:
    """What becomes of a finding; `now` is Unix seconds."""
    for stage in STAGES:
        decision = stage(view, finding, now)
        if decision is not None:
            return decision
    return Decision(Step.OPEN, Reason.FIRST)


def recover(known: Known | None) -> Decision:
    """What a proven recovery ends."""
    if known is None or not known.open:
        return Decision(Step.STANDING, Reason.NOTHING_OPEN)
    if known.parent is not None:
        return Decision(Step.RECOVER, Reason.LEFT, known.parent)
    return Decision(Step.RECOVER, Reason.PROVEN)


def review(group: int, members: Members, limiter: Limiter, now: float) -> Decision:
    """Whether an open group is over, and how many of those left may have tickets of their own now."""
    if members.failing == 0:
        return Decision(Step.RECOVER, Reason.ALL_GOOD, group)
    if limiter.room is None:
        return Decision(Step.DETACH, Reason.CALM, group, count=members.failing)
    if 0.0 <= now - members.joined_at < MINUTE:
        return Decision(Step.STANDING, Reason.GROWING, group)
    if members.failing > limiter.per_minute or 2 * members.failing > members.joined:
        return Decision(Step.STANDING, Reason.MANY_BAD, group)
    if limiter.room == 0:
        return Decision(Step.STANDING, Reason.NO_ROOM, group)
    return Decision(Step.DETACH, Reason.CALM, group, count=min(limiter.room, members.failing))
