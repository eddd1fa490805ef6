"""What a ticket is, and which action leads from which state to which: the table, and nothing else.

    new ──take──▶ in_work ──ask──▶ waiting_client ──take──▶ in_work
     └──────────────┴─────recovered──────┴──▶ awaiting_consent ──consent, close──▶ closed
                    ▲─────────────relapsed──────────┴──────────────────────────────┘

The watch alone moves a ticket to `awaiting_consent` (recovery seen in live records) and back (relapse; to `new` where
nobody had taken it): people close, and only with the client's consent. A note changes no state and is possible in all.
Taking is possible in every open state: it takes over from whoever had the ticket, and leaves what awaits consent there.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from ticketing.core.errors import ConflictError, InvalidTextError

WATCH = "watch"  # the actor of what no person did

# A page of text is far below this; the limit keeps a hostile form from filling the journal.
TEXT_LIMIT = 10_000


class State(StrEnum):
    """States of a ticket, as in the API."""

    NEW = "new"
    IN_WORK = "in_work"
    WAITING_CLIENT = "waiting_client"
    AWAITING_CONSENT = "awaiting_consent"
    CLOSED = "closed"


class Action(StrEnum):
    """What can happen to a ticket: the first five by people, the others by the watch."""

    TAKE = "take"
    NOTE = "note"
    ASK = "ask"
    CONSENT = "consent"
    CLOSE = "close"
    OPENED = "opened"
    RECOVERED = "recovered"
    RELAPSED = "relapsed"
    WARNED = "warned"  # a share of a clock's budget is used up
    BREACHED = "breached"  # a clock's promise is broken
    CHANGED = "changed"  # what the ticket means: its terminal was back and is gone again, or it lasts twice too long
    DETACHED = "detached"  # of a ticket about many: one of them has a ticket of its own now


PEOPLE = (Action.TAKE, Action.NOTE, Action.ASK, Action.CONSENT, Action.CLOSE)
CAUSES = ("fault", "normal")  # what a closed ticket was about; the watch learns from it
TEXT_REQUIRED = frozenset({Action.NOTE, Action.ASK, Action.CONSENT})

# Each action's states: from -> to. What is not here is a conflict.
TRANSITIONS: dict[Action, dict[State, State]] = {
    Action.TAKE: {
        State.NEW: State.IN_WORK,
        State.IN_WORK: State.IN_WORK,
        State.WAITING_CLIENT: State.IN_WORK,
        State.AWAITING_CONSENT: State.AWAITING_CONSENT,
    },
    Action.NOTE: {state: state for state in State},
    Action.ASK: {
        State.NEW: State.WAITING_CLIENT,
        State.IN_WORK: State.WAITING_CLIENT,
        State.WAITING_CLIENT: State.WAITING_CLIENT,
    },
    Action.CONSENT: {State.AWAITING_CONSENT: State.AWAITING_CONSENT},
    Action.CLOSE: {State.AWAITING_CONSENT: State.CLOSED},
    Action.RECOVERED: {
        State.NEW: State.AWAITING_CONSENT,
        State.IN_WORK: State.AWAITING_CONSENT,
        State.WAITING_CLIENT: State.AWAITING_CONSENT,
    },
    Action.RELAPSED: {State.AWAITING_CONSENT: State.IN_WORK, State.CLOSED: State.IN_WORK},
}


class JournalEntry(msgspec.Struct, frozen=True):
    """One line of a ticket's journal; `actor` is a user's name or `watch`."""

    at: datetime
    actor: str
    action: str
    text: str


class TicketSummary(msgspec.Struct, kw_only=True):
    """A ticket as a list shows it.

    `terminal` is the identity, None of a ticket about many; `priority` 1 (first) to 4; instants are UTC. `verdict` is
    its clock's: `running`, `paused`, `met`, `breached`, `unknown` where there is no due time, None where there is no
    clock. In lists it is that of the watch's last look, some seconds ago.
    """

    number: str
    kind: str
    state: State
    title: str
    zone: str
    priority: int
    terminal: str | None
    opened_at: datetime
    due_at: datetime | None
    verdict: str | None


class Ticket(TicketSummary, kw_only=True):
    """A ticket whole: with the evidence frozen at its opening, its journal, oldest first, and its clocks.

    A clock is the object of `dozor clock --json --at`, with its cycle, verdict and breaches, and the same in words.
    """

    evidence: dict[str, Any]
    journal: list[JournalEntry]
    clocks: list[dict[str, Any]] = []

    @property
    def consented(self) -> bool:
        """Whether the client's consent is on record for the next closing."""
        for entry in reversed(self.journal):
            if entry.action == Action.CONSENT:
                return True
            if entry.action in (Action.RECOVERED, Action.RELAPSED, Action.CLOSE):
                return False
        return False

    @property
    def actions(self) -> tuple[Action, ...]:
        """What a person may do now, in the table's order."""
        return tuple(a for a in PEOPLE if self.state in TRANSITIONS[a] and (a != Action.CLOSE or self.consented))


def next_state(state: State, action: Action, *, consented: bool) -> State:
    """Return the state that `action` leads to.

    Raises
    ------
    ConflictError
        If the table has no such step, or a ticket is to be closed without consent.
    """
    after = TRANSITIONS[action].get(state)
    if after is None:
        raise ConflictError(f"{action} is not possible while the ticket is {state}")
    if action == Action.CLOSE and not consented:
        raise ConflictError("close needs the client's consent on record")
    return after


def relapsed_to(state: State, *, taken: bool) -> State:
    """Where a relapse leads: to whom it was taken by, or to the queue where nobody had taken it.

    A ticket that neither awaits consent nor is closed stays as it is.
    """
    after = TRANSITIONS[Action.RELAPSED].get(state)
    if after is None:
        return state
    return after if taken else State.NEW


def checked_text(action: Action, text: str | None) -> str:
    """Return the text of a person's action, stripped.

    Raises
    ------
    InvalidTextError
        If it is required and missing, longer than `TEXT_LIMIT` characters, or holds a NUL or a lone surrogate.
    """
    text = (text or "").strip()
    if not text and action in TEXT_REQUIRED:
        raise InvalidTextError(f"{action} needs a text")
    if len(text) > TEXT_LIMIT:
        raise InvalidTextError(f"the text is longer than {TEXT_LIMIT} characters")
    if "\x00" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise InvalidTextError("the text holds characters that cannot be stored")
    return text
