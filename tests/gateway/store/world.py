"""A store with some weeks of records, for tests of its upkeep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg

from gateway.configuration.settings import Keep, Store
from gateway.store.partitions import Partitions, week_of
from gateway.store.retention import release
from gateway.store.upkeep import Upkeep

DAY = timedelta(days=1)
MONDAY = datetime.fromtimestamp(week_of(int(time.time()) * 1_000_000) / 1e6, UTC)
KEEP = Keep(connection=86400.0, message=86400.0, quarantine=86400.0, outbox=86400.0)
WEEKS = [MONDAY - timedelta(weeks=n) for n in (5, 4, 3, 0)]
RECORD = (
    "INSERT INTO {} SELECT 1, %s, %s, 0, 0, 0, 0, 0, 0, 0, l.id, %s, '{{}}', NULL FROM layout l WHERE l.names = '{{}}'"
)


class World:
    """A migrated database with `WEEKS`, a record in each."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.link = psycopg.connect(dsn, autocommit=True)
        self.link.execute("INSERT INTO layout (names, terminal) VALUES ('{}', 0) ON CONFLICT DO NOTHING")
        asyncio.run(self._weeks())
        for week in WEEKS:
            self.record(week + DAY)

    async def _weeks(self) -> None:
        link = await psycopg.AsyncConnection.connect(self.dsn, autocommit=True)
        async with link:
            partitions = Partitions()
            await partitions.load(link)
            await partitions.make(link, partitions.missing(np.array([int(w.timestamp()) * 10**6 for w in WEEKS])))

    def record(self, at: datetime, *, table: str = "record", received: datetime | None = None, number: int = 0) -> None:
        self.link.execute(RECORD.format(table).encode(), (at, received or at, number))

    def rows(self, sql: str) -> list[Any]:
        return [row[0] if len(row) == 1 else row for row in self.link.execute(sql.encode()).fetchall()]

    def partitions(self) -> list[str]:
        return self.rows(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'record'::regclass "
            "AND NOT inhdetachpending ORDER BY 1"
        )

    def tables(self) -> list[str]:
        return self.rows("SELECT relname::text FROM pg_class WHERE relname ~ '^record_2.*[0-9]$' ORDER BY 1")

    def round(self, retention: timedelta | None = None) -> list[str]:
        settings = Store(dsn="", retention=retention and retention.total_seconds(), keep=KEEP)
        return asyncio.run(Upkeep(self.dsn, lambda: settings).round())

    def release(self, before: datetime | None) -> Any:
        return self.run(lambda link: release(link, before))

    def run(self, work: Callable[[psycopg.AsyncConnection], Coroutine[Any, Any, Any]]) -> Any:
        async def inside() -> Any:
            link = await psycopg.AsyncConnection.connect(self.dsn, autocommit=True, options="-c lock_timeout=200ms")
            async with link:
                return await work(link)

        return asyncio.run(inside())


def names(weeks: list[datetime]) -> list[str]:
    return [f"record_{week:%Y%m%d}" for week in weeks]


@contextmanager
def reading(dsn: str, *tables: str) -> Iterator[psycopg.Connection]:
    """Somebody who has read and stays in the transaction."""
    with psycopg.connect(dsn) as link:
        for table in tables:
            link.execute(f"SELECT count(*) FROM {table}".encode())
        yield link
