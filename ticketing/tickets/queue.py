"""The order of work, kept as one key a ticket: it changes with what is done, and by time at known instants alone."""

from __future__ import annotations

from datetime import datetime

from ticketing.clocks.records import load_clocks
from ticketing.core.db import Connection, utc
from ticketing.policies.queue import TOPICS, Standing, place
from ticketing.tickets.dues import move
from ticketing.tickets.office import Office
from ticketing.tickets.rules import stored_policy

MODULE = "queue"


async def restand(connection: Connection, office: Office, ticket: int, now: datetime) -> None:
    """Give a ticket its place, and say when time alone will change it."""
    await move(connection, MODULE, ticket, await look(connection, office, ticket, now))


async def look(connection: Connection, office: Office, ticket: int, now: datetime) -> datetime | None:
    """Write the ticket's key; returns when it changes by itself."""
    rows = await connection.execute(
        "SELECT t.state, t.priority, t.channel, coalesce(t.received_at, t.opened_at), t.jump, t.resumed_at,"
        " t.policy_version, (SELECT max(j.at) FROM journal j WHERE j.ticket = t.id"
        " AND j.data -> 'events' ? 'human-action') FROM ticket t WHERE t.id = %s",
        (ticket,),
    )
    row = await rows.fetchone()
    if row is None:
        return None
    state, priority, channel, arrived, jump, resumed, version, acted = row
    policy = await stored_policy(connection, version, office)
    clocks = await load_clocks(connection, ticket, now)
    strictest = None if clocks is None else clocks.strictest
    thirds: list[datetime] = []
    if strictest is not None and strictest.stands:
        thirds = [utc(at) for at in strictest.stands[-1].result.thirds()]
    found = place(
        policy,
        Standing(
            state=state,
            priority=priority,
            channel=channel,
            arrived=utc(arrived),
            jump=jump,
            acted=acted is not None,
            resumed=resumed is not None and (acted is None or acted < resumed),
            due=None if strictest is None else strictest.due,
            thirds=thirds,
        ),
        now,
    )
    await connection.execute(
        "UPDATE ticket SET queue_key = %s WHERE id = %s AND queue_key IS DISTINCT FROM %s",
        (found and found.key, ticket, found and found.key),
    )
    return None if found is None else found.changes_at


async def queue_order(connection: Connection, queue: str, limit: int = 10_000) -> list[int]:
    """Rows of the open tickets of a queue but waiting ones, taken or not, the next to work on first."""
    rows = await connection.execute(
        "SELECT id FROM ticket WHERE queue_key IS NOT NULL AND topic = ANY(%s) ORDER BY queue_key, id LIMIT %s",
        (sorted(TOPICS.get(queue, ())), limit),
    )
    return [row[0] for row in await rows.fetchall()]
