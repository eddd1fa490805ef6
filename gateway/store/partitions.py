"""Weekly range partitions of `record` where TimescaleDB is not there to keep chunks, and retention by whole weeks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeVar

import numpy as np
import psycopg

from protocols.records import Int64s

T = TypeVar("T", int, Int64s)
WEEK = 7 * 86_400_000_000  # µs
_MONDAY = 4 * 86_400_000_000  # 1970-01-05, the first Monday of Unix time
PAST = 3 * 365 * 86_400_000_000 + 86_400_000_000  # three years, one of them a leap year
AHEAD = 2 * 86_400_000_000


def week_of(time: T) -> T:
    """Start of the week (Monday, UTC) of an instant, or of each, µs."""
    return (time - _MONDAY) // WEEK * WEEK + _MONDAY


class Partitions:
    """Which weeks have their partition; makes those that are missing."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self.native = True

    async def load(self, link: psycopg.AsyncConnection) -> None:
        """Learn how `record` is divided and what there is."""
        cursor = await link.execute("SELECT relkind FROM pg_class WHERE oid = 'record'::regclass")
        row = await cursor.fetchone()
        self.native = row is not None and row[0] in ("p", b"p")
        self._known.clear()
        if self.native:
            cursor = await link.execute(
                "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
                "WHERE i.inhparent = 'record'::regclass"
            )
            async for (name,) in cursor:
                day = datetime.strptime(name, "record_%Y%m%d").replace(tzinfo=UTC)
                self._known.add(int(day.timestamp()) * 1_000_000)

    def missing(self, time: Int64s) -> list[int]:
        """Weeks of `time` that have no partition yet."""
        if not self.native or not len(time):
            return []
        first = week_of(int(time.min()))
        if first == week_of(int(time.max())):
            return [] if first in self._known else [first]
        return sorted(set(np.unique(week_of(time)).tolist()) - self._known)

    async def make(self, link: psycopg.AsyncConnection, weeks: list[int]) -> None:
        """Make partitions, each in its own transaction; another process may have been quicker."""
        for week in weeks:
            start = datetime.fromtimestamp(week / 1e6, UTC)
            end = start + timedelta(days=7)
            name = f"record_{start:%Y%m%d}"
            async with link.transaction():
                await link.execute("SELECT pg_advisory_xact_lock(hashtext('dozor partitions'))")
                cursor = await link.execute("SELECT to_regclass(%s) IS NULL", (name,))
                row = await cursor.fetchone()
                if row is not None and row[0]:
                    # Made apart and attached: the parent's readers and writers are not locked out.
                    await link.execute(f"CREATE TABLE {name} (LIKE record INCLUDING ALL)")
                    await link.execute(
                        f"ALTER TABLE record ATTACH PARTITION {name} FOR VALUES FROM ('{start}') TO ('{end}')"
                    )
            self._known.add(week)

    async def drop_before(self, link: psycopg.AsyncConnection, instant: datetime) -> list[str]:
        """Drop every partition that ends before `instant`, and what lies outside that came before it."""
        dropped = []
        if self.native:
            for week in sorted(self._known):
                start = datetime.fromtimestamp(week / 1e6, UTC)
                if start + timedelta(days=7) <= instant:
                    name = f"record_{start:%Y%m%d}"
                    await link.execute(f"DROP TABLE IF EXISTS {name}")
                    self._known.discard(week)
                    dropped.append(name)
        else:
            cursor = await link.execute("SELECT drop_chunks('record', older_than => %s)::text", (instant,))
            dropped = [name for (name,) in await cursor.fetchall()]
        await link.execute("DELETE FROM record_outside WHERE received < %s", (instant,))
        return dropped
