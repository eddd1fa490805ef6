"""How many records each terminal has, without counting three years again for every page.

Partitions whose week is over are counted once (`record_count`); a trigger on each notes what changes there afterwards
(`record_late`), in the transaction that changes it. So the sum over both, with a live count of the younger partitions,
is exact in any snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Literal

from gateway.store.partitions import Partition, moment, read_partitions

SETTLED = timedelta(days=1)  # after a partition's end: by then most of what was late has come
_LOCK_TIMEOUT = "100ms"  # while the trigger waits, so do those who bring late records
_SUM = """
SELECT terminal, sum(records)::int8 FROM (
    SELECT terminal, records FROM record_count
    WHERE part = ANY (%(parts)s::oid[]::regclass[]) AND terminal = ANY (%(ids)s)
    UNION ALL
    SELECT terminal, records FROM record_late
    WHERE part = ANY (%(parts)s::oid[]::regclass[]) AND terminal = ANY (%(ids)s)
    UNION ALL
    SELECT terminal, count(*) FROM record WHERE terminal = ANY (%(ids)s) AND time >= %(since)s GROUP BY terminal
    UNION ALL
    SELECT terminal, count(*) FROM record_outside WHERE terminal = ANY (%(ids)s) GROUP BY terminal
) c GROUP BY terminal
"""
_NOTED = 10_000  # late records that are added up at once, rather than by each reader


async def count_settled(link: psycopg.AsyncConnection, now: datetime) -> int:
    """Count the partitions that are over and not counted yet; returns how many. `link` is in autocommit mode.

    Raises
    ------
    psycopg.errors.LockNotAvailable
        If somebody holds a lock on one of them for long.
    """
    settled = round((now - SETTLED).timestamp() * 1e6)
    found = [p for p in await read_partitions(link) if not p.pending]
    known = {part for (part,) in await (await link.execute("SELECT part::oid::int8 FROM record_counted")).fetchall()}
    counted = 0
    for partition in found:
        over = partition.kind == "r" and not partition.default and partition.high <= settled
        if over and partition.oid not in known:
            await _count(link, partition)
            counted += 1
    await _forget(link)
    await _add_up(link)
    return counted


async def count_records(link: psycopg.AsyncConnection[Any], terminals: Sequence[int]) -> dict[int, int]:
    """Records of each terminal, row of the terminal table: counted beforehand as far as can be, the rest live.

    `link` is in a transaction of one snapshot (REPEATABLE READ): what is counted and what is noted belong together.
    """
    cursor = link.cursor(row_factory=tuple_row)
    await cursor.execute("SELECT part::oid::int8 FROM record_counted")
    counted = {part for (part,) in await cursor.fetchall()}
    live, parts = None, []  # from where on records are counted one by one; those before it
    for partition in await read_partitions(link) if counted else ():
        if partition.pending:
            continue
        if partition.oid not in counted:
            live = partition.low
            break
        parts.append(partition.oid)
        live = partition.high
    since = datetime.min.replace(tzinfo=UTC) if not parts or live is None else moment(live)
    await cursor.execute(_SUM, {"ids": list(terminals), "parts": parts, "since": since})
    return dict.fromkeys(terminals, 0) | dict(await cursor.fetchall())


async def _count(link: psycopg.AsyncConnection, partition: Partition) -> None:
    # The trigger first, in a transaction of its own: its lock waits for whoever writes there at this moment, so all
    # that the count's snapshot does not see has been noted.
    async with link.transaction():
        await link.execute(SQL("SET LOCAL lock_timeout = {}").format(Literal(_LOCK_TIMEOUT)))
        await link.execute(
            SQL(
                "CREATE OR REPLACE TRIGGER record_late AFTER INSERT OR DELETE OR UPDATE OF terminal ON {} "
                "FOR EACH ROW EXECUTE FUNCTION record_late()"
            ).format(partition.sql)
        )
        await link.execute(
            SQL(
                "CREATE OR REPLACE TRIGGER record_emptied AFTER TRUNCATE ON {} "
                "FOR EACH STATEMENT EXECUTE FUNCTION record_late()"
            ).format(partition.sql)
        )
    part = Literal(partition.oid)
    async with link.transaction():
        await link.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await link.execute(SQL("DELETE FROM record_late WHERE part = {}").format(part))
        await link.execute(SQL("DELETE FROM record_count WHERE part = {}").format(part))
        await link.execute(
            SQL("INSERT INTO record_count SELECT {}, terminal, count(*) FROM {} GROUP BY terminal").format(
                part, partition.sql
            )
        )
        await link.execute(SQL("INSERT INTO record_counted (part) VALUES ({})").format(part))


async def _forget(link: psycopg.AsyncConnection) -> None:
    """What was counted of partitions that are gone."""
    gone = "NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = part AND inhparent = 'record'::regclass)"
    cursor = await link.execute(f"DELETE FROM record_counted WHERE {gone}")  # noqa: S608  # a text of ours
    if cursor.rowcount:
        for table in ("record_count", "record_late"):
            await link.execute(f"DELETE FROM {table} WHERE part NOT IN (SELECT part FROM record_counted)")  # noqa: S608


async def _add_up(link: psycopg.AsyncConnection) -> None:
    cursor = await link.execute("SELECT count(*) FROM (SELECT FROM record_late LIMIT %s) l", (_NOTED,))
    row = await cursor.fetchone()
    if row is not None and row[0] >= _NOTED:
        await link.execute(
            "WITH noted AS (DELETE FROM record_late RETURNING part, terminal, records) "
            "INSERT INTO record_count SELECT part, terminal, sum(records) FROM noted GROUP BY part, terminal "
            "ON CONFLICT (part, terminal) DO UPDATE SET records = record_count.records + excluded.records"
        )
