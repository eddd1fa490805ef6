"""What a ticket's end takes along, however it ends: open tasks, permission to work from afar, access data."""

from __future__ import annotations

from datetime import datetime

from ticketing.core.db import Connection
from ticketing.model.states import State
from ticketing.tickets import entrusted
from ticketing.tickets.facts import Facts
from ticketing.tickets.tasks import drop_tasks


async def over(connection: Connection, facts: Facts, at: datetime) -> None:
    """The ticket has just been closed, inside the caller's transaction."""
    await drop_tasks(connection, facts.row, at)
    await connection.execute(
        "UPDATE remote_permission SET withdrawn_at = %s WHERE ticket = %s AND withdrawn_at IS NULL AND until > %s",
        (at, facts.row, at),
    )
    await entrusted.erase(connection, facts, State.CLOSED, at)
