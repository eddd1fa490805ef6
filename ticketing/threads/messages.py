"""Messages of a ticket: appended with their files, read back in order. Nothing is ever changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from ticketing.core.db import Connection, storable, utc
from ticketing.threads import attachments
from ticketing.threads.attachments import LeftOut, Offered
from ticketing.threads.html import cleaned
from ticketing.threads.quotes import said

TEXT_LIMIT = 200_000  # characters of one message; a mail's raw form is kept beside it
CUT = "\n[…]"
THREAD_LIMIT = 1000  # messages a page shows


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """What is said: `direction` in, out or note; a note is not public.

    `text` is kept whole; what it says anew is found here. `html` as it came: cleaned here. `data`: hints and how it was
    matched. `machine`: filed quietly.
    """

    ticket: int
    at: datetime
    direction: str
    public: bool
    author: str
    text: str
    channel: str
    contact: int | None = None
    recipients: Sequence[str] = ()
    subject: str = ""
    html: str | None = None
    machine: bool = False
    message_id: str | None = None
    inbox: int | None = None
    letter_kind: str | None = None
    files: Sequence[Offered] = ()
    left_out: Sequence[LeftOut] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


class Attachment(msgspec.Struct, kw_only=True):
    """A file of a message, as the API shows it; `sha256` in hexadecimal."""

    id: int
    name: str
    type: str
    size: int
    sha256: str


class Message(msgspec.Struct, kw_only=True):
    """A message as the API and the pages show it; `text` whole, `said` without what it quotes."""

    id: int
    at: datetime
    direction: str
    public: bool
    author: str
    contact: int | None
    recipients: list[str]
    subject: str
    text: str
    said: str
    html: str | None
    channel: str
    machine: bool
    message_id: str | None
    letter_kind: str | None
    data: dict[str, Any]
    attachments: list[Attachment] = []


async def append(connection: Connection, message: NewMessage) -> int:
    """Append a message with its files within the caller's transaction; returns its id."""
    text = storable(message.text.replace("\r\n", "\n"))
    if len(text) > TEXT_LIMIT:
        text = text[:TEXT_LIMIT] + CUT
    new = said(text) if message.direction == "in" else text
    data = dict(message.data)
    if message.left_out:
        data["left_out"] = [{"name": storable(name), "why": why} for name, why in message.left_out]
    html = None if message.html is None else cleaned(storable(message.html))
    rows = await connection.execute(
        "INSERT INTO ticket_message (ticket, at, direction, public, author, contact, recipients, subject, text, said,"
        " html, channel, machine, message_id, inbox, letter_kind, data)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        (
            message.ticket,
            message.at,
            message.direction,
            message.public,
            storable(message.author)[:500],
            message.contact,
            [storable(address)[:320] for address in message.recipients[:100]],
            storable(message.subject)[:1000],
            text,
            None if new == text else new,
            html,
            message.channel,
            message.machine,
            None if message.message_id is None else storable(message.message_id)[:1000],
            message.inbox,
            message.letter_kind,
            Jsonb(data),
        ),
    )
    row = await rows.fetchone()
    assert row is not None  # noqa: S101  # RETURNING of a single INSERT
    made: int = row[0]
    await attachments.store(connection, made, message.files, message.at)
    return made


async def thread(
    connection: Connection, ticket: int, *, public_only: bool, after: int = 0, limit: int = THREAD_LIMIT
) -> list[Message]:
    """Messages of a ticket in their order, after the one of id `after`; `public_only` for a client."""
    rows = await connection.execute(
        "SELECT id, at, direction, public, author, contact, recipients, subject, text, coalesce(said, text), html,"
        " channel, machine, message_id, letter_kind, data FROM ticket_message"
        " WHERE ticket = %s AND id > %s AND (public OR NOT %s) ORDER BY id LIMIT %s",
        (ticket, after, public_only, limit),
    )
    names = Message.__struct_fields__[:-1]
    found = {row[0]: Message(**dict(zip(names, row, strict=True)), attachments=[]) for row in await rows.fetchall()}
    for message in found.values():
        message.at = utc(message.at)
    rows = await connection.execute(
        "SELECT a.message, a.id, a.name, b.type, b.size, encode(b.sha256, 'hex') FROM attachment a JOIN blob b"
        " USING (sha256) WHERE a.message = ANY(%s) ORDER BY a.id",
        (list(found),),
    )
    for owner, identity, name, kind, size, digest in await rows.fetchall():
        found[owner].attachments.append(Attachment(id=identity, name=name, type=kind, size=size, sha256=digest))
    return list(found.values())
