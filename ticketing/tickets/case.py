"""One action under way: what it knows, and what it will do. The actions themselves register in `HANDLERS`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ticketing.core.db import Connection
from ticketing.model.states import Action, State
from ticketing.policies import Policy
from ticketing.tickets.bodies import Body
from ticketing.tickets.facts import Actor, Facts
from ticketing.tickets.office import Office


@dataclass
class Effect:
    """What an action does, besides its state.

    Attributes
    ----------
    data : of its journal entry, codes and values.
    columns : of the ticket's row.
    events : for clocks, beside the action's own.
    letter : the kind that goes to the client; None: the table's, empty: none.
    said : a text that the client sees as a message, or a note; its direction and whether it is public.
    after : another state than the table's.
    then : what follows once the entry is written.
    next : another action that this one leads to at once, and in whose name.
    """

    data: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    letter: str | None = None
    letter_data: dict[str, Any] = field(default_factory=dict)
    said: tuple[str, bool] | None = None
    text: str | None = None
    after: State | None = None
    then: Callable[[], Awaitable[None]] | None = None
    next: tuple[Action, Actor] | None = None


@dataclass
class Case:
    """One action under way."""

    connection: Connection
    office: Office
    action: Action
    actor: Actor
    body: Body
    at: datetime
    facts: Facts
    text: str
    policy: Policy


Handler = Callable[[Case], Awaitable[Effect]]
HANDLERS: dict[Action, Handler] = {}


def does(*actions: Action) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        for action in actions:
            HANDLERS[action] = handler
        return handler

    return register


async def incident_open(case: Case) -> bool:
    """Whether a fault that the watch sees is still there."""
    rows = await case.connection.execute(
        "SELECT EXISTS (SELECT FROM incident WHERE ticket = %s AND state = 'open')", (case.facts.row,)
    )
    return await rows.fetchone() == (True,)
