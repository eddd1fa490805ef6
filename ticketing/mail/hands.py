"""What verdicts do, done to tickets: a mail acts as any other channel does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from ticketing.core.db import Connection
from ticketing.core.journal import append_journal
from ticketing.letters.bounces import bounced
from ticketing.mail.bounces import Bounce
from ticketing.mail.facts import Thread
from ticketing.mail.port import Incoming, Ref
from ticketing.model.states import Action
from ticketing.model.tickets import TEXT_LIMIT
from ticketing.threads.messages import NewMessage, append
from ticketing.tickets.acts import act
from ticketing.tickets.bodies import Body
from ticketing.tickets.facts import Actor, lock, set_columns
from ticketing.tickets.intake import NewTicket, take_in
from ticketing.tickets.office import Office
from ticketing.tickets.tasks import add_task

SUBJECT_LIMIT = 200
NO_SUBJECT = "(no subject)"


class TicketHands:
    """`Hands` over the desk's tickets."""

    def __init__(self, office: Office, secret: bytes) -> None:
        """`secret` is the instance's, of Message-IDs."""
        self._office = office
        self._secret = secret

    async def open(self, connection: Connection, mail: Incoming, now: datetime) -> Ref:
        contact = mail.contact
        vehicle = mail.data.get("vehicle")
        given = NewTicket(
            channel="mail",
            subject=(mail.mail.subject.strip() or NO_SUBJECT)[:SUBJECT_LIMIT],
            description=mail.mail.text.strip()[:TEXT_LIMIT],
            reporter=None if contact is None else contact.id,
            vehicle=vehicle if isinstance(vehicle, int) else None,
        )
        taken = await take_in(
            connection,
            self._office,
            given,
            Actor(mail.author, "engineer"),
            now,
            verify=_nobody,
            sender=None if contact is not None else mail.mail.sender.address,
            message=_maker(mail, now),
            language=None if contact is None else contact.language,
        )
        return Ref(taken.row, taken.number, taken.created)

    async def append(self, connection: Connection, thread: Thread, mail: Incoming, now: datetime) -> None:
        facts = await lock(connection, thread.id)
        made = await append(connection, mail.message_of(facts.row, now))
        await set_columns(connection, facts.row, {"said_at": now, "said_by": mail.author})
        await append_journal(
            connection, facts.row, now, mail.author, Action.MESSAGE, "", facts.state,
            {"channel": "mail", "sender": mail.author, "message": made, "by": mail.by, **_hints(mail)},
        )  # fmt: skip

    async def answer(self, connection: Connection, thread: Thread, mail: Incoming, now: datetime) -> None:
        await self._act(connection, Action.ANSWER, thread, mail, Body(text=_text(mail)), now)

    async def consent(self, connection: Connection, thread: Thread, mail: Incoming, now: datetime) -> None:
        await self._act(connection, Action.CONSENT, thread, mail, Body(means="mail", text=_text(mail)), now)

    async def dispute(self, connection: Connection, thread: Thread, mail: Incoming, now: datetime) -> None:
        await self._act(connection, Action.DISPUTE, thread, mail, Body(text=_text(mail)), now)

    async def reopen(self, connection: Connection, thread: Thread, mail: Incoming, now: datetime) -> None:
        await self._act(connection, Action.REOPEN, thread, mail, Body(text=_text(mail)), now)

    async def follow_up(self, connection: Connection, thread: Thread, mail: Incoming, now: datetime) -> Ref:
        ref = await self.open(connection, mail, now)
        if ref.made:
            await connection.execute(
                "INSERT INTO ticket_link (parent, child, kind) VALUES (%s, %s, 'follow-up') ON CONFLICT DO NOTHING",
                (thread.id, ref.id),
            )
        return ref

    async def note(self, connection: Connection, thread: Thread, mail: Incoming, now: datetime) -> None:
        await append(connection, mail.message_of(thread.id, now, quiet=True))

    async def bounced(
        self, connection: Connection, bounce: Bounce, thread: Thread | None, mail: Incoming, now: datetime
    ) -> None:
        if not bounce.hard:
            return
        rows = await connection.execute("SELECT message_id FROM letter WHERE id = %s", (bounce.letter.id,))
        (identity,) = await rows.fetchone() or (None,)
        for ticket in await bounced(connection, self._secret, identity or "", bounce.address, bounce.why, now):
            await add_task(
                connection, ticket, "call", f"bounced/{bounce.letter.id}/{ticket}", now,
                data={"why": "bounced", "letter": bounce.letter.kind, "address": bounce.address},
            )  # fmt: skip

    async def task(
        self, connection: Connection, key: str, kind: str, thread: Thread | None, data: Mapping[str, Any], now: datetime
    ) -> None:
        await add_task(connection, None if thread is None else thread.id, kind, key, now, data=data)

    async def _act(
        self, connection: Connection, action: Action, thread: Thread, mail: Incoming, body: Body, now: datetime
    ) -> None:
        contact = mail.contact
        actor = Actor(mail.author, "client", None if contact is None else contact.id)
        await act(
            connection, self._office, action, thread.id, actor, body, now, channel="mail", message=_maker(mail, now)
        )


def _maker(mail: Incoming, now: datetime) -> Callable[[int], NewMessage]:
    return lambda row: mail.message_of(row, now)


def _text(mail: Incoming) -> str:
    """What stands under the journal's hash: the mail's beginning; the whole of it is the message."""
    return mail.mail.text[:2000] or NO_SUBJECT


def _hints(mail: Incoming) -> dict[str, Any]:
    return {name: mail.data[name] for name in ("split", "secrets", "instead_of") if name in mail.data}


async def _nobody(contact: int, word: str) -> bool:
    return False
