"""A ticket's steps, instant by instant: what happens at one time has one meaning, in whatever order it comes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ticketing.clocks.steps import NOTHING, Step
from ticketing.model.states import State

DEVELOPMENT = "development"
WITH_DEVELOPMENT = "with_development"


class Moment(NamedTuple):
    """All of one instant: the state after it, the events and data of all its steps.

    `state` is `with_development` where the vendor that is waited for is the own development.
    `closed`, `reopened`: the ticket was closed, or came back from closed, at it; both, if it did both.
    """

    at: datetime
    state: str
    events: frozenset[str]
    data: Mapping[str, Any]
    closed: bool
    reopened: bool


def moments_of(steps: Sequence[Step], also: Iterable[datetime] = ()) -> list[Moment]:
    """The moments of steps in order; `also`: instants at which something changes without a step."""
    by_instant: dict[datetime, list[Step]] = {at: [] for at in also}
    for step in steps:
        by_instant.setdefault(step.at, []).append(step)
    found: list[Moment] = []
    state, named = steps[0].state, steps[0].state
    for at in sorted(by_instant):
        closed = reopened = False
        data: dict[str, Any] = {}
        events = NOTHING
        for step in by_instant[at]:
            closed |= state != State.CLOSED == step.state
            reopened |= state == State.CLOSED != step.state
            if step.state != state or step.data.get("system") is not None:
                development = step.state == State.WAITING_VENDOR and step.data.get("system") == DEVELOPMENT
                named = WITH_DEVELOPMENT if development else step.state
            state = step.state
            events |= step.events
            data |= step.data
        closed |= not events.isdisjoint(("ticket-closed", "merged"))
        found.append(Moment(at, named, events, data, closed, reopened or "reopened" in events))
    return found
