"""What people say of closed tickets, told to the detectors: a silence that was normal teaches, a fault does not."""

from __future__ import annotations

from gateway.watch.fleet import Fleet
from ticketing.core.db import Pool

AT_ONCE = 1000

_WAITING = """
SELECT id, kind, terminal, cause = 'normal' FROM incident WHERE NOT taught ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
"""


async def learn(pool: Pool, fleet: Fleet) -> int:
    """Tell what waits; returns how many incidents that was. Told once, whether or not a detector makes use of it."""
    async with pool.connection() as connection, connection.transaction():
        rows = await (await connection.execute(_WAITING, (AT_ONCE,))).fetchall()
        for _, kind, terminal, normal in rows:
            if kind in fleet.detectors and terminal is not None:
                fleet.teach(kind, terminal, normal=normal)
        if rows:
            await connection.execute(
                "UPDATE incident SET taught = true WHERE id = ANY(%s)", ([row[0] for row in rows],)
            )
    return len(rows)
