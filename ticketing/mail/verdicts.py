"""What becomes of a mail: one verdict of a closed list, with the step that spoke and its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Verdicts, as the inbox, the metric and the admin's page name them."""

    OPENED = "opened"  # a new ticket
    APPENDED = "appended"  # a public message in its ticket
    ANSWERED = "answered"  # the answer to our question
    CONSENTED = "consented"
    DISPUTED = "disputed"
    REOPENED = "reopened"
    FOLLOWED_UP = "followed_up"  # a new ticket, linked to a closed one
    NOTED = "noted"  # filed quietly, invisible to the client
    BOUNCED = "bounced"  # a letter of ours came back
    HELD = "held"  # a person must accept it
    DROPPED = "dropped"  # kept, and nothing else


class Reason(StrEnum):
    """Why, in one word; sentences are made when shown."""

    OWN = "own"
    DUPLICATE = "duplicate"
    MUTED = "muted"
    MACHINE = "machine"
    STRANGER = "stranger"
    SPAM = "spam"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    REPLY = "reply"
    ANSWER = "answer"
    FIXED = "fixed"
    NOT_FIXED = "not_fixed"
    THANKS = "thanks"
    UNCLEAR = "unclear"
    LATE = "late"  # beyond the window
    FLIPS = "flips"  # too many changes of state by mail
    HARD = "hard"  # the address is dead
    SOFT = "soft"  # it may work again
    NEW = "new"
    UNREGISTERED = "unregistered"
    DISMISSED = "dismissed"  # by a person


CHANGES = frozenset({Kind.ANSWERED, Kind.CONSENTED, Kind.DISPUTED, Kind.REOPENED})  # the state of a ticket
REPEATABLE = frozenset({Kind.HELD, Kind.DROPPED})  # nothing was done: may be judged again


@dataclass(frozen=True, slots=True)
class Verdict:
    """One mail's. `data`: hints (split, secrets, left out), the vehicle, who bounced."""

    kind: Kind
    reason: Reason
    data: Mapping[str, Any] = field(default_factory=dict)
