"""What can go wrong with a ticket.

TicketingError
├── NotFoundError        no ticket of that number (the desk says 404)
├── ConflictError        the ticket's state does not allow it (409)
├── InvalidTextError     a text is missing, too long or unstorable (400)
└── DeliveryError        a channel could not hand its message over; it will be tried again
    └── UndeliverableError   and trying again cannot help
"""

from __future__ import annotations

from collections.abc import Mapping


class TicketingError(Exception):
    """Base of everything this package raises on purpose."""


class NotFoundError(TicketingError):
    """There is no ticket of that number."""


class ConflictError(TicketingError):
    """The ticket's state does not allow the action; the message says which state and what it needs."""


class InvalidTextError(TicketingError):
    """The text of an action is missing, too long, or holds what the store cannot keep."""


class DeliveryError(TicketingError):
    """A message was not taken: try again later with the same identity.

    `settled` are recipients that need no further attempt: address -> "" if it was taken, else why it never will be.
    """

    def __init__(self, message: str, settled: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.settled = dict(settled or {})


class UndeliverableError(DeliveryError):
    """A message cannot be delivered as it is: trying again changes nothing."""
