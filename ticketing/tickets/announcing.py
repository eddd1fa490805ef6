"""What other systems are told of a ticket: those that asked for the event, once each."""

from __future__ import annotations

from datetime import datetime

from ticketing.channels.events import BREACHED, WARNED
from ticketing.core.db import Connection
from ticketing.core.outbox import enqueue
from ticketing.model.states import Action
from ticketing.tickets.office import Office
from ticketing.tickets.reading import load_ticket


async def announce(connection: Connection, office: Office, number: str, event: str, at: datetime) -> None:
    """Owe `event` of a ticket to whom it interests, keyed by its latest journal entry."""
    wanted = [target for target in office.targets if event in target.events]
    if not wanted:
        return
    rows = await connection.execute(
        "SELECT t.id, max(j.seq) FROM ticket t JOIN journal j ON j.ticket = t.id WHERE t.number = %s GROUP BY t.id",
        (number,),
    )
    found = await rows.fetchone()
    ticket = await load_ticket(connection, number, at)
    if found is not None and ticket is not None:
        row, seq = found
        await enqueue(connection, event, row, number, ticket, wanted, at, key=f"{number}/{seq}")


async def announce_entries(
    connection: Connection, office: Office, row: int, number: str, count: int, at: datetime
) -> None:
    """Owe what the ticket's latest `count` journal entries say of its clocks, each entry once."""
    told = {str(Action.WARNED): WARNED, str(Action.BREACHED): BREACHED}
    if not any(event in target.events for target in office.targets for event in told.values()):
        return
    rows = await connection.execute(
        "SELECT seq, action FROM journal WHERE ticket = %s ORDER BY seq DESC LIMIT %s", (row, count)
    )
    entries = [(seq, told[action]) for seq, action in reversed(await rows.fetchall()) if action in told]
    ticket = await load_ticket(connection, number, at) if entries else None
    for seq, event in entries:
        await enqueue(connection, event, row, number, ticket, office.targets, at, key=f"{number}/{seq}")
