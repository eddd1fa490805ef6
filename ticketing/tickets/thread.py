"""A ticket's own messages: what an action says, files that a body carries, copies for a ticket that is split off."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from ticketing.core.db import Connection
from ticketing.core.errors import Problem, WrongInputError
from ticketing.threads.attachments import Kept, Limits, Offered, bounded
from ticketing.tickets.bodies import FileIn

FILES = Limits()


def files_of(attachments: Sequence[FileIn], files: Sequence[Offered] = ()) -> Kept:
    """The files of a JSON body, and those of a form, within the bounds.

    Raises
    ------
    WrongInputError
        If one is no base64, or they are too many or too large: whoever sends them can send less.
    """
    offered = list(files)
    for place, file in enumerate(attachments):
        try:
            offered.append(Offered(file.name, base64.b64decode(file.content, validate=True)))
        except (ValueError, binascii.Error) as error:
            raise WrongInputError(
                Problem(f"attachments[{place}].content", "is no base64", "encode the file's bytes")
            ) from error
    kept = bounded(offered, FILES)
    if kept.left_out:
        raise WrongInputError(*(Problem("attachments", f"{one.name}: {one.why}", "send less") for one in kept.left_out))
    return kept


async def copy_messages(connection: Connection, source: int, target: int, ids: Sequence[int]) -> int:
    """Copy messages of one ticket to another, with what is attached to them; returns how many there were."""
    rows = await connection.execute(
        "SELECT id FROM ticket_message WHERE ticket = %s AND id = ANY(%s) ORDER BY at, id", (source, list(ids))
    )
    found = [row[0] for row in await rows.fetchall()]
    for message in found:
        rows = await connection.execute(
            "INSERT INTO ticket_message (ticket, at, direction, public, author, contact, recipients, subject, text,"
            " said, html, channel, machine, inbox, data) SELECT %s, at, direction, public, author, contact, recipients,"
            " subject, text, said, html, channel, machine, inbox, data FROM ticket_message WHERE id = %s RETURNING id",
            (target, message),
        )
        (copy,) = await rows.fetchone() or (None,)
        await connection.execute(
            "INSERT INTO attachment (message, sha256, name) SELECT %s, sha256, name FROM attachment WHERE message = %s",
            (copy, message),
        )
    return len(found)
