"""Escalation: the steps of a policy's ladders, each taken once when it is due."""

from __future__ import annotations

from datetime import datetime

from ticketing.clocks.ladders import Rung, next_rung, rungs
from ticketing.clocks.records import load_steps
from ticketing.core.db import Connection
from ticketing.core.journal import append_journal
from ticketing.model.states import WATCH, Action, State
from ticketing.tickets.announcing import announce
from ticketing.tickets.facts import Facts, lock, set_columns
from ticketing.tickets.office import Office


async def look(connection: Connection, office: Office, ticket: int, now: datetime) -> datetime | None:
    """Take the steps that are due; returns when the next one is."""
    facts = await lock(connection, ticket, follow=False)
    if facts.state == State.CLOSED:
        return None
    read = await load_steps(connection, ticket, now)
    if read is None or not read[0].file.ladder:
        return None
    found = rungs(*read)
    due = [rung for rung in found if rung.at <= now]
    if due:
        rows = await connection.execute(
            "SELECT data ->> 'key' FROM journal WHERE ticket = %s AND action = 'escalated'", (ticket,)
        )
        taken = {key for (key,) in await rows.fetchall()}
        for rung in due:
            if rung.key not in taken:
                await _take(connection, office, facts, rung, now)
    return next_rung(found, now)


async def _take(connection: Connection, office: Office, facts: Facts, rung: Rung, now: datetime) -> None:
    place = int(rung.key.rpartition("/")[2])
    data = {"ladder": rung.ladder, "step": place, "tell": rung.tell, "tier": rung.tier, "key": rung.key}
    await append_journal(connection, facts.row, now, WATCH, Action.ESCALATED, "", facts.state, data)
    if rung.tell == "tier" and rung.tier is not None and rung.tier > facts.tier:
        await set_columns(connection, facts.row, {"tier": rung.tier})
    await announce(connection, office, facts.number, "ticket.warned", now)
