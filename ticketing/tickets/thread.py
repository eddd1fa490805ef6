"""What is said about a ticket, kept: messages to and fro, and notes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ticketing.core.db import Connection, storable
from ticketing.core.errors import NotFoundError
from ticketing.tickets.facts import Actor


async def add_message(
    connection: Connection,
    ticket: int,
    at: datetime,
    direction: str,
    public: bool,
    actor: Actor,
    text: str,
    *,
    channel: str = "api",
    subject: str = "",
    html: str | None = None,
    machine: bool = False,
    message_id: str | None = None,
    inbox: int | None = None,
    letter_kind: str | None = None,
    attachments: Sequence[Any] = (),
) -> int:
    """Append a message; `direction` is in, out or note. Returns its id."""
    rows = await connection.execute(
        "INSERT INTO ticket_message (ticket, at, direction, public, author, contact, subject, text, html, channel,"
        " machine, message_id, inbox, letter_kind) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " RETURNING id",
        (
            ticket, at, direction, public, actor.name, actor.contact, storable(subject), storable(text), html, channel,
            machine, message_id, inbox, letter_kind,
        ),
    )  # fmt: skip
    found = await rows.fetchone()
    if found is None:
        raise NotFoundError("the message was not written")
    return int(found[0])


async def copy_messages(connection: Connection, source: int, target: int, ids: Sequence[int]) -> int:
    """Copy messages of one ticket to another, with what is attached to them; returns how many there were."""
    rows = await connection.execute(
        "SELECT id FROM ticket_message WHERE ticket = %s AND id = ANY(%s) ORDER BY at, id", (source, list(ids))
    )
    found = [row[0] for row in await rows.fetchall()]
    for message in found:
        rows = await connection.execute(
            "INSERT INTO ticket_message (ticket, at, direction, public, author, contact, recipients, subject, text,"
            " html, channel, machine, inbox) SELECT %s, at, direction, public, author, contact, recipients, subject,"
            " text, html, channel, machine, inbox FROM ticket_message WHERE id = %s RETURNING id",
            (target, message),
        )
        (copy,) = await rows.fetchone() or (None,)
        await connection.execute(
            "INSERT INTO attachment (message, sha256, name) SELECT %s, sha256, name FROM attachment WHERE message = %s",
            (copy, message),
        )
    return len(found)
