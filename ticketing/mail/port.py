"""What verdicts do, as the tickets offer it: implemented over `tickets.act`, called within the judge's transaction.

Each appends the mail as a message with its files (`message_of`), journals, owes letters and tasks by its own rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from ticketing.core.db import Connection
from ticketing.mail.bounces import Bounce
from ticketing.mail.facts import Contact, Thread
from ticketing.mail.message import Mail
from ticketing.threads.attachments import Limits, Offered, bounded
from ticketing.threads.messages import NewMessage

FILES = Limits()


class Ref(NamedTuple):
    """A ticket that a mail opened, or was put into instead; `made`: it is new."""

    id: int
    number: str
    made: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A judged mail: its row in the inbox, who sent it, and what the steps found.

    `contact` is None of a sender nobody registered. `by`: message-id, reference, tag, marker; empty of a new one.
    `data`: hints (split, secrets, defects), `vehicle`, `machine`, `instead_of`.
    """

    row: int
    mail: Mail
    received_at: datetime
    contact: Contact | None
    by: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    accepted_by: str = ""

    @property
    def author(self) -> str:
        """Whose word it is, as threads show it."""
        return self.contact.name if self.contact is not None else self.mail.sender.address

    def message_of(self, ticket: int, at: datetime, *, quiet: bool = False) -> NewMessage:
        """The mail as a message of a ticket; `quiet`: a note that no client sees."""
        kept = bounded((Offered(file.name, file.content) for file in self.mail.files), FILES)
        data = dict(self.data) | ({"by": self.by} if self.by else {})
        return NewMessage(
            ticket=ticket,
            at=at,
            direction="note" if quiet else "in",
            public=not quiet,
            author=self.author,
            contact=None if self.contact is None else self.contact.id,
            recipients=[one.address for one in self.mail.recipients],
            subject=self.mail.subject,
            text=self.mail.text,
            html=self.mail.html,
            channel="mail",
            machine=quiet,
            message_id=self.mail.message_id or None,
            inbox=self.row,
            files=kept.files,
            left_out=kept.left_out,
            data=data,
        )


class Hands(Protocol):
    """What can be done with a mail.

    `answer`, `consent`, `dispute` and `reopen` may raise `ConflictError` where the ticket has moved on meanwhile: the
    mail then is appended. Nothing else of theirs is caught: the message is tried again later.
    """

    async def open(self, connection: Connection, mail: Incoming, now: datetime) -> Ref:
        """Open a ticket, acknowledged; or the open silence ticket of the vehicle that it names."""

    async def append(self, connection: Connection, thread: Thread, mail: Incoming, now: datetime) -> None:
        """A public message; no state changes."""

    async def answer(self, connection: Connection, thread: Thread, mail: Incoming, now: datetime) -> None:
        """The answer to our question: work goes on, at the head of its rank."""

    async def consent(self, connection: Connection, thread: Thread, mail: Incoming, now: datetime) -> None:
        """The client says that it works: explicit, by mail."""

    async def dispute(self, connection: Connection, thread: Thread, mail: Incoming, now: datetime) -> None:
        """The client says that it does not."""

    async def reopen(self, connection: Connection, thread: Thread, mail: Incoming, now: datetime) -> None:
        """A closed ticket comes back, with a new cycle."""

    async def follow_up(self, connection: Connection, thread: Thread, mail: Incoming, now: datetime) -> Ref:
        """A new ticket, linked to a closed one."""

    async def note(self, connection: Connection, thread: Thread, mail: Incoming, now: datetime) -> None:
        """File it quietly: nobody is told, no clock moves, the client does not see it."""

    async def bounced(
        self, connection: Connection, bounce: Bounce, thread: Thread | None, mail: Incoming, now: datetime
    ) -> None:
        """A letter came back: mark it; where it is for good, mark the contact's address and ask for a call."""

    async def task(
        self, connection: Connection, key: str, kind: str, thread: Thread | None, data: Mapping[str, Any], now: datetime
    ) -> None:
        """Something for a person to look at, once for each key."""
