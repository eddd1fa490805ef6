"""What a letter takes from its ticket when it is frozen: the thread's Message-IDs, the files of its message."""

from __future__ import annotations

from ticketing.core.db import Connection
from ticketing.letters.budget import Candidate
from ticketing.letters.compose import File

THREAD = 500  # Message-IDs of a ticket that are looked at
FILES_LIMIT = 7 << 20  # bytes of all files of a letter: base64 makes 10 MB of it, which most servers take


async def thread_of(connection: Connection, candidate: Candidate) -> list[str]:
    """The Message-IDs that this address may know of the ticket, oldest first: what came in, what it got."""
    rows = await connection.execute(
        "SELECT message_id FROM (SELECT at, 0 AS kind, id, message_id FROM ticket_message WHERE ticket = %(ticket)s"
        " AND direction = 'in' AND public AND NOT machine AND message_id IS NOT NULL UNION ALL"
        " SELECT created_at, 1, id, message_id FROM letter WHERE ticket = %(ticket)s AND address = %(address)s"
        " AND id < %(letter)s AND message_id IS NOT NULL) known ORDER BY at, kind, id LIMIT %(limit)s",
        {"ticket": candidate.ticket, "address": candidate.address, "letter": candidate.id, "limit": THREAD},
    )
    return [identity if identity.startswith("<") else f"<{identity}>" for (identity,) in await rows.fetchall()]


async def files_of(connection: Connection, candidate: Candidate) -> tuple[list[File], list[str]]:
    """The files of the message that the letter carries, and the names of those that are too large for it.

    The message is the cause's ``message``, a row; only a public one of the letter's own ticket gives its files away.
    """
    message = candidate.data.get("message")
    if candidate.auto or candidate.ticket is None or not isinstance(message, int):
        return [], []
    rows = await connection.execute(
        "SELECT a.name, b.type, b.size, CASE WHEN sum(b.size) OVER (ORDER BY a.id) <= %s THEN b.content END"
        " FROM ticket_message m JOIN attachment a ON a.message = m.id JOIN blob b ON b.sha256 = a.sha256"
        " WHERE m.id = %s AND m.ticket = %s AND m.public AND m.direction = 'out' ORDER BY a.id",
        (FILES_LIMIT, message, candidate.ticket),
    )
    files, left = [], []
    for name, kind, _, content in await rows.fetchall():
        if content is None:
            left.append(name)
        else:
            files.append(File(name, kind, bytes(content)))
    return files, left
