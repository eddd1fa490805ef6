"""A ticket's journal as its clocks see it: instants, states, and events in the words of the policy files.

Whoever acts writes the events into the entry (`data["events"]`). Entries of version 1, of before, have none: what their
actions were for the clocks of then stands here, so that old tickets keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from ticketing.model.states import Action, State

NOTHING: frozenset[str] = frozenset()
OPENING = frozenset({"request-received", "ticket-opened"})
_SEEN = frozenset({"human-action", "zone-localised"})
_RECOVERY = frozenset({"fault-fixed", "service-restored"})
# The first action of a person that the client sees was the reaction, and told the zone as far as the desk knew it.
_BEFORE: dict[str, frozenset[str]] = {
    Action.OPENED: OPENING,
    Action.TAKE: _SEEN,
    Action.ASK: _SEEN | {"public-message"},
    Action.CONSENT: _SEEN,
    Action.CLOSE: _SEEN | {"ticket-closed"},
    Action.RECOVERED: _RECOVERY,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One journal entry.

    Attributes
    ----------
    at : aware.
    state : the ticket's after it.
    events : what happened, as policies name it.
    data : what the clocks need besides: `priority` and `plan` from this entry on; `received_at` of the opening (of
        paper: earlier than it); `accepted_at` of the opening, the day on which the vehicle's warranty began; `eta`.
        Instants may be ISO texts.
    """

    at: datetime
    state: str
    events: frozenset[str] = NOTHING
    data: Mapping[str, Any] = field(default_factory=dict)


class Entry(NamedTuple):
    """A row of the journal."""

    at: datetime
    action: str
    state: str
    version: int = 2
    data: Mapping[str, Any] = {}


def steps_of(entries: Iterable[Entry], *, localised: bool = False) -> list[Step]:
    """The steps of a ticket's entries, in order, the opening first.

    `localised`: the zone was known when the ticket was opened; entries of before do not say so themselves.
    """
    steps: list[Step] = []
    reopened = False
    for entry in entries:
        if entry.version >= 2:
            steps.append(Step(entry.at, entry.state, frozenset(entry.data.get("events", ())), entry.data))
            continue
        events = _BEFORE.get(entry.action, NOTHING)
        if not steps and localised:
            events |= {"zone-localised"}
        if steps and steps[-1].state == State.CLOSED != entry.state:
            reopened = True
            events |= {"reopened"}
        if reopened and entry.action == Action.NOTE:
            # Whoever has a reopened ticket in hand could take nothing then: the first note was the reaction.
            events |= {"human-action"}
        steps.append(Step(entry.at, entry.state, events, entry.data))
    return steps
