"""What can go wrong with a ticket.

TicketingError
├── NotFoundError        no ticket of that number (the desk says 404)
├── ConflictError        the ticket's state does not allow it (409)
├── InvalidTextError     a text is missing, too long or unstorable (400)
├── WrongInputError      what was sent is wrong, each problem named (422)
├── NotAllowedError      not theirs to do (403)
└── DeliveryError        a channel could not hand its message over; it will be tried again
    └── UndeliverableError   and trying again cannot help
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class TicketingError(Exception):
    """Base of everything this package raises on purpose."""


class NotFoundError(TicketingError):
    """There is no ticket of that number."""


class ConflictError(TicketingError):
    """The ticket's state does not allow the action; the message says which state and what it needs."""


class InvalidTextError(TicketingError):
    """The text of an action is missing, too long, or holds what the store cannot keep."""


class NotAllowedError(TicketingError):
    """Somebody else may do it; the message says who."""


class Problem(NamedTuple):
    """One thing that is wrong with what was sent: where, what, and what to do."""

    field: str
    problem: str
    remedy: str


class WrongInputError(TicketingError):
    """What was sent cannot be taken; `problems` are all that is wrong with it, and nothing was written."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(f"{p.field}: {p.problem}: {p.remedy}" for p in problems))
        self.problems = problems


class DeliveryError(TicketingError):
    """A message was not taken: try again later with the same identity.

    `settled` are recipients that need no further attempt: address -> "" if it was taken, else why it never will be.
    """

    def __init__(self, message: str, settled: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.settled = dict(settled or {})


class UndeliverableError(DeliveryError):
    """A message cannot be delivered as it is: trying again changes nothing."""
