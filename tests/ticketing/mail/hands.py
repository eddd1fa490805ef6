"""What verdicts do, over the real tables and as plainly as can be: the tests look at what is in them afterwards."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from ticketing.core.errors import ConflictError
from ticketing.core.numbers import ticket_number
from ticketing.mail.port import Ref
from ticketing.threads.messages import append


class TestHands:
    """`ticketing.mail.port.Hands`."""

    __test__ = False

    async def open(self, connection, mail, now):
        return await self._open(connection, mail, now)

    async def append(self, connection, thread, mail, now):
        await append(connection, mail.message_of(thread.id, now))

    async def answer(self, connection, thread, mail, now):
        await self._move(connection, thread, mail, now, "waiting_client", "in_work")

    async def consent(self, connection, thread, mail, now):
        await connection.execute(
            "UPDATE ticket SET consent_at = %s, consent_by = %s, consent_means = 'explicit' WHERE id = %s",
            (now, mail.author, thread.id),
        )
        await self._move(connection, thread, mail, now, "awaiting_consent", "awaiting_consent")

    async def dispute(self, connection, thread, mail, now):
        await self._move(connection, thread, mail, now, "awaiting_consent", "in_work")

    async def reopen(self, connection, thread, mail, now):
        await self._move(connection, thread, mail, now, "closed", "in_work")

    async def follow_up(self, connection, thread, mail, now):
        ref = await self._open(connection, mail, now)
        await connection.execute(
            "INSERT INTO ticket_link (parent, child, kind) VALUES (%s, %s, 'follow-up')", (thread.id, ref.id)
        )
        return ref

    async def note(self, connection, thread, mail, now):
        await append(connection, mail.message_of(thread.id, now, quiet=True))

    async def bounced(self, connection, bounce, thread, mail, now):
        await connection.execute("UPDATE letter SET state = 'bounced' WHERE id = %s", (bounce.letter.id,))
        if not bounce.hard:
            return
        await connection.execute(
            "UPDATE contact SET bounced = bounced || %s WHERE emails @> ARRAY[%s]",
            (Jsonb({bounce.address: bounce.why}), bounce.address),
        )
        key = f"call/bounce/{bounce.address}/{thread.id if thread else 0}"
        await self.task(connection, key, "call", thread, {"address": bounce.address}, now)

    async def task(self, connection, key, kind, thread, data, now):
        await connection.execute(
            "INSERT INTO task (ticket, key, kind, data, created_at) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (key) DO NOTHING",
            (None if thread is None else thread.id, key, kind, Jsonb(dict(data)), now),
        )

    async def _open(self, connection, mail, now):
        contact = mail.contact
        return await open_ticket(
            connection,
            now,
            mail=mail,
            title=mail.mail.subject or "-",
            channel="mail",
            organisation=None if contact is None else contact.organisation,
            reporter=None if contact is None else contact.id,
            sender=mail.mail.sender.address if contact is None else None,
            verified=contact is not None,
            vehicle=mail.data.get("vehicle"),
        )

    async def _move(self, connection, thread, mail, now, before, after):
        closed = now if after == "closed" else None
        rows = await connection.execute(
            "UPDATE ticket SET state = %s, closed_at = %s WHERE id = %s AND state = %s",
            (after, closed, thread.id, before),
        )
        if rows.rowcount != 1:
            raise ConflictError(f"not {before}")
        await append(connection, mail.message_of(thread.id, now))


async def open_ticket(connection, now, *, mail: Any = None, title="No data", state="new", **columns) -> Ref:
    """A ticket as a row."""
    rows = await connection.execute("SELECT nextval('ticket_sequence')")
    number = ticket_number((await rows.fetchone())[0])
    given = {
        "number": number,
        "kind": "request",
        "state": state,
        "title": title[:200],
        "zone": "unknown",
        "priority": 3,
        "opened_at": now,
        "policy": "test@1",
        "channel": "mail",
        **columns,
    }
    if state == "closed":
        given.setdefault("closed_at", now)
    names = ", ".join(given)
    rows = await connection.execute(
        f"INSERT INTO ticket ({names}) VALUES ({', '.join(['%s'] * len(given))}) RETURNING id", tuple(given.values())
    )
    made = Ref((await rows.fetchone())[0], number)
    if mail is not None:
        await append(connection, mail.message_of(made.id, now))
    return made
