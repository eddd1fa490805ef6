"""Reading at scale: what pages, a start and a batch of returning terminals ask of three years of records.

    python -m bench.store --rows 20000000 --terminals 4000

Makes a store of its own in a temporary folder (some 180 bytes a row), fills 157 weekly partitions by SQL, counts the
closed ones as upkeep does, asks, and removes it all. Milliseconds, the median of three; the first answer stands beside:
with it come the catalogue's 157 entries into a fresh connection, and perhaps pages from the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg.sql import SQL, Identifier, Literal
from psycopg_pool import AsyncConnectionPool

from gateway.service.reader import PostgresReader
from gateway.store.counts import count_settled
from gateway.store.embedded import EmbeddedServer
from gateway.store.migrate import migrate
from gateway.store.newest import ask_newest
from gateway.store.partitions import week_of
from gateway.store.writer import Writer

WEEKS = 157
SPANS = (timedelta(days=1), timedelta(days=31))
SILENT = 100  # terminals that never sent anything


def fill(dsn: str, rows: int, terminals: int) -> None:
    """Each terminal evenly over all weeks; the partition is indexed when it is full."""
    each = max(1, rows // WEEKS // terminals)
    this = datetime.fromtimestamp(week_of(time.time_ns() // 1000) / 1e6, UTC)
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC -c synchronous_commit=off") as link:
        link.execute(
            "INSERT INTO terminal (identity, protocol) SELECT (350000000000000 + n)::text, 'teltonika' "
            "FROM generate_series(1, %s) n",
            (terminals + SILENT,),
        )
        link.execute("INSERT INTO layout (names, terminal) VALUES ('{power.external,gsm.signal}', 1)")
        for ago in range(WEEKS - 1, -1, -1):
            start = this - timedelta(weeks=ago)
            name = Identifier(f"record_{start:%Y%m%d}")
            with link.transaction():
                link.execute(SQL("CREATE TABLE {} (LIKE record)").format(name))
                link.execute(
                    SQL(
                        "INSERT INTO {} SELECT t, at, at, 51 + random(), 37 + random(), 100, 60, 90, 9, 1, l.id, "
                        "t * 1000003::bigint + i, ARRAY[12.5 + random(), 4], NULL "
                        "FROM layout l, generate_series(0, %s) i, generate_series(1, %s) t, LATERAL "
                        "(SELECT %s::timestamptz + i * %s::interval + t * interval '1 ms' AS at) a "
                        "WHERE l.names <> '{{}}'"
                    ).format(name),
                    (each - 1, terminals, start, timedelta(weeks=1) / each),
                )
                link.execute(SQL("CREATE UNIQUE INDEX ON {} (terminal, time, fingerprint)").format(name))
                link.execute(
                    SQL("ALTER TABLE record ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                        name, Literal(start), Literal(start + timedelta(weeks=1))
                    )
                )
            link.execute(SQL("VACUUM (ANALYZE) {}").format(name))


async def measure(dsn: str, terminals: int) -> dict[str, Any]:
    """What each question takes."""
    told: dict[str, Any] = {}

    async def ask(name: str, question: Callable[[], Awaitable[object]]) -> None:
        took = []
        for _ in range(4):
            begun = time.perf_counter()
            await question()
            took.append(round((time.perf_counter() - begun) * 1000, 1))
        told[name] = {"ms": statistics.median(took[1:]), "first_ms": took[0]}

    now = time.time_ns() // 1000
    some = np.arange(1, min(terminals, 4000) + 1, dtype=np.int32)
    link = await Writer.open(dsn)
    pool = AsyncConnectionPool(dsn, min_size=1, max_size=1, open=False, kwargs={"autocommit": True})
    async with link, pool:
        reader, present = PostgresReader(pool), datetime.now(UTC)
        await ask("page of 50 terminals, uncounted", lambda: PostgresReader(pool).terminals(limit=50))
        begun = time.perf_counter()
        weeks = await count_settled(link, present)
        told["counting"] = {"weeks": weeks, "s": round(time.perf_counter() - begun, 1)}
        await ask("page of 50 terminals", lambda: reader.terminals(limit=50))
        await ask("page of 500 terminals", lambda: reader.terminals(limit=500))
        first, silent = f"{350000000000001}", f"{350000000000000 + terminals + 1}"
        await ask("one terminal", lambda: reader.terminal(first))
        await ask("last record", lambda: reader.last_record(first))
        await ask("last record of none", lambda: reader.last_record(silent))
        for span in SPANS:
            since = present - span
            days = f"{span.days} d"
            await ask(f"track, {days}", lambda since=since: reader.positions(first, since=since, until=present))  # type: ignore[misc]
            await ask(f"measures, {days}", lambda since=since: reader.measures(first, since=since, until=present))  # type: ignore[misc]
            await ask(
                f"series, {days}",
                lambda since=since: reader.series(first, "power.external", since=since, until=present),  # type: ignore[misc]
            )
        for name, age in (("live", timedelta()), ("three years old", timedelta(days=1090))):
            times = np.full(len(some), now - age // timedelta(microseconds=1))
            await ask(f"batch of {len(some)} unknown terminals, {name}", lambda t=times: ask_newest(link, some, t, now))  # type: ignore[misc]
    return told


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.store", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--terminals", type=int, default=4000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dozor-bench-") as folder:
        place = Path(folder)
        place.chmod(0o711)
        server = EmbeddedServer(place / "data")
        try:
            server.ensure_running()
            migrate(server.dsn)
            begun = time.perf_counter()
            fill(server.dsn, arguments.rows, arguments.terminals)
            print(f"filled in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
            told = asyncio.run(measure(server.dsn, arguments.terminals))
        finally:
            server.stop()
    for name, figures in told.items():
        print(f"{name:50} " + "  ".join(f"{key} {value}" for key, value in figures.items()), file=sys.stderr)
    print(json.dumps({"rows": arguments.rows, "terminals": arguments.terminals, **told}))


if __name__ == "__main__":
    main()
