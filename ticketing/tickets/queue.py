"""The order of work: who is next, by rank, deadline or arrival, ageing, and what an answer puts at the head."""

from __future__ import annotations

from datetime import datetime

from ticketing.core.db import Connection

QUEUES = {
    "support": ("technical", "letter", "call-back"),
    "finance": ("finance",),
    "warranty": ("warranty",),
}


async def queue_order(connection: Connection, queue: str, now: datetime) -> list[int]:
    """Rows of the open tickets of a queue but waiting ones, taken or not, the next to work on first."""
    rows = await connection.execute(
        "SELECT id FROM ticket WHERE state IN ('new', 'in_work', 'visit', 'recovering', 'awaiting_consent')"
        " AND topic = ANY(%s) ORDER BY NOT jump, priority, rank DESC, resumed_at NULLS LAST, opened_at, id",
        (list(QUEUES.get(queue, ())),),
    )
    return [row[0] for row in await rows.fetchall()]
