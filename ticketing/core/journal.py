"""The journal of a ticket: append-only, each entry chained to the one before by the database."""

from __future__ import annotations

from datetime import datetime

from ticketing.core.db import Connection


async def append_journal(
    connection: Connection, ticket: int, at: datetime, actor: str, action: str, text: str, state: str
) -> None:
    """Append one entry; the database numbers and chains it."""
    await connection.execute(
        "INSERT INTO journal (ticket, at, actor, action, text, state) VALUES (%s, %s, %s, %s, %s, %s)",
        (ticket, at, actor, str(action), text, str(state)),
    )
