"""Letters that an action owes the client; where nobody can be told, somebody phones (S3-19)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ticketing.core.db import Connection
from ticketing.tickets.facts import Facts
from ticketing.tickets.office import Office
from ticketing.tickets.tasks import add_task

BY_PEOPLE = frozenset({"reply", "question", "official"})


async def owe(
    connection: Connection,
    office: Office,
    facts: Facts,
    kind: str,
    data: Mapping[str, Any],
    at: datetime,
    *,
    key: str | None = None,
) -> None:
    """Owe a letter of `kind`, once by `key`; without one, once for the ticket's latest journal entry."""
    rows = await connection.execute(
        "SELECT organisation IS NOT NULL OR reporter IS NOT NULL OR sender IS NOT NULL,"
        " (SELECT max(seq) FROM journal WHERE ticket = t.id) FROM ticket t WHERE id = %s",
        (facts.row,),
    )
    found = await rows.fetchone()
    if found is None or not found[0]:
        return
    key = key or f"{facts.number}/{kind}/{found[1]}"
    untold = await office.post.owe(
        connection, kind, key=key, ticket=facts.row, data=data, at=at, auto=kind not in BY_PEOPLE
    )
    if untold:
        await add_task(connection, facts.row, "call", f"{key}/call", at, data={"why": "untold", "letter": kind})
