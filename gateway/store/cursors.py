"""Consumers' cursors: made, listed, begun anew, forgotten. With the first of them writers begin to tell what they store
(`gateway.store.feed`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from gateway.store.feed import is_on

BEGINNING, NOW = "beginning", "now"
_LOCK_TIMEOUT = "2s"  # while that lock is waited for, writers wait behind it

# The last terminal whose records are history.
_LAST = "CASE WHEN %(start)s = 'beginning' THEN (SELECT coalesce(max(id), 0) FROM terminal) END"
_MAKE = (
    f"INSERT INTO egress_cursor (name, number, history_last) VALUES (%(name)s, egress_settled() + 1, {_LAST}) "  # noqa: S608
    "ON CONFLICT (name) DO NOTHING"
)
# Another client: a service that still sends by the old cursor is cut off by the consumer.
_AGAIN = (
    "UPDATE egress_cursor SET number = egress_settled() + 1, place = 0, client = gen_random_uuid(), history_after = 0, "  # noqa: S608
    f"history_last = {_LAST}, created_at = clock_timestamp() WHERE name = %(name)s"
)
_LIST = """
SELECT c.name, c.created_at, c.seen_at, c.sent, c.lost, c.history_last IS NOT NULL AS history,
       EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND classid::int = %s
               AND objid::bigint = c.id AND granted
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS held,
       CASE WHEN c.history_last IS NOT NULL THEN c.created_at
            ELSE (SELECT stored_at FROM egress_batch WHERE number >= c.number ORDER BY number, part LIMIT 1)
       END AS oldest,
       (SELECT coalesce(sum(length(keys)) / 20, 0) FROM egress_batch WHERE number >= c.number)::int8 - c.place
           AS waiting,
       (SELECT count(*) FROM egress_aside a WHERE a.name = c.name) AS aside
FROM egress_cursor c ORDER BY c.name
"""
_GUARDED = ("record", "record_outside")
_HAS_GUARD = "SELECT FROM pg_trigger WHERE tgname = 'egress_guard' AND tgrelid = %s::regclass"
_GUARD = "CREATE TRIGGER egress_guard BEFORE INSERT ON {} FOR EACH STATEMENT EXECUTE FUNCTION egress_guard()"
HOLDING = 0x65677265  # class of the advisory locks that holders have, by the cursor's id


@dataclass(frozen=True, slots=True)
class Consumer:
    """Where a consumer stands.

    Attributes
    ----------
    history : what was stored before it was made is still being sent.
    held : some service sends to it now.
    oldest : when the oldest record that waits for it was stored; None: none waits.
    waiting : records that wait, those of others' terminals included, history not.
    aside : records that it refused for themselves and is offered again.
    """

    name: str
    created_at: datetime
    seen_at: datetime
    sent: int
    lost: int
    history: bool
    held: bool
    oldest: datetime | None
    waiting: int
    aside: int


async def ensure(link: psycopg.AsyncConnection[Any], starts: Sequence[tuple[str, str]]) -> None:
    """Make the cursors that are not there yet, of (name, `BEGINNING` or `NOW`); `link` is in autocommit mode.

    What is committed after this has returned reaches all of them.

    Raises
    ------
    psycopg.errors.LockNotAvailable
        If somebody holds the records for long.
    """
    names = sorted({name for name, _ in starts})
    cursor = await link.execute("UPDATE egress_cursor SET seen_at = clock_timestamp() WHERE name = ANY(%s)", (names,))
    if cursor.rowcount == len(names):  # nobody need be held up
        return
    async with _changing(link):
        for name, start in starts:
            await link.execute(_MAKE, {"name": name, "start": start})


async def reset(link: psycopg.AsyncConnection[Any], name: str, start: str) -> bool:
    """Begin anew; False: there is no such cursor. Records set aside are forgotten, those it was sent come again."""
    async with link.transaction():
        cursor = await link.execute(_AGAIN, {"name": name, "start": start})
        await link.execute("DELETE FROM egress_history WHERE name = %s", (name,))
        await link.execute("DELETE FROM egress_aside WHERE name = %s", (name,))
        await link.execute("DELETE FROM egress_taker WHERE name = %s", (name,))
        return cursor.rowcount > 0


async def forget(link: psycopg.AsyncConnection[Any], name: str) -> bool:
    """Remove a cursor, and with it what is kept for it alone; False: there is none."""
    cursor = await link.execute("DELETE FROM egress_cursor WHERE name = %s", (name,))
    return cursor.rowcount > 0


async def consumers(link: psycopg.AsyncConnection[Any]) -> list[Consumer]:
    """All cursors, by name."""
    cursor = link.cursor(row_factory=class_row(Consumer))
    await cursor.execute(_LIST.encode(), (HOLDING,))
    return await cursor.fetchall()


@asynccontextmanager
async def _changing(link: psycopg.AsyncConnection[Any]) -> AsyncIterator[None]:
    """A transaction that changes cursors, one at a time. Where there is none yet, no writer is under way in it."""
    async with link.transaction():
        await link.execute("SELECT set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
        await link.execute("LOCK TABLE egress_cursor IN SHARE ROW EXCLUSIVE MODE")
        if not await is_on(link):
            for table in _GUARDED:
                await link.execute(f"LOCK TABLE ONLY {table} IN SHARE ROW EXCLUSIVE MODE".encode())
                cursor = await link.execute(_HAS_GUARD, (table,))
                if await cursor.fetchone() is None:
                    await link.execute(_GUARD.format(table).encode())
        yield
