"""Lets partitions of `record` go that are too old, without holding up anybody who writes.

    mark → DETACH … CONCURRENTLY → DROP of what is no longer part of `record`

A plain DROP of a partition waits for whoever reads it and meanwhile makes every writer of `record` wait behind itself.
DETACH … CONCURRENTLY waits without a lock. One that was interrupted, by a reader who stayed longer than the lock's
time-out or by a crash, is finalised in a later round; a marked table that is no longer a partition is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from gateway.store.partitions import Partition, is_native, read_partitions

MARK = "dozor: older than store.retention, to be dropped"
LOCK_TIMEOUT = "2s"
# Beside a DEFAULT partition DETACH cannot be CONCURRENTLY: it locks all writers out for as long as it waits.
_LOCK_TIMEOUT_EXCLUSIVE = "100ms"
_IN_THE_WAY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


@dataclass(slots=True)
class Released:
    """What a round of retention did; `waiting` is what it could not get at, by name."""

    dropped: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


async def release(link: psycopg.AsyncConnection, before: datetime | None) -> Released:
    """Drop each partition that ends at or before `before` (None: keep all), and finish what an earlier round began.

    `link` is in autocommit mode, with `LOCK_TIMEOUT` as its `lock_timeout`.
    """
    done = Released()
    if not await is_native(link):
        if before is not None:
            await _drop_chunks(link, before, done)
        return done
    instant = None if before is None else round(before.timestamp() * 1e6)
    partitions = await read_partitions(link)
    free = True  # one detach may be pending at a time
    await _unmark(link, [p for p in partitions if not p.pending and not _too_old(p, instant)])
    for partition in partitions:
        if partition.pending:
            free = await _detach(link, partition, "FINALIZE", done, mark=_too_old(partition, instant))
    for partition in partitions:
        if free and not partition.pending and _too_old(partition, instant):
            how = "" if any(p.default for p in partitions) else "CONCURRENTLY"
            free = await _detach(link, partition, how, done, mark=True)
    await _drop_detached(link, done)
    return done


def _too_old(partition: Partition, instant: int | None) -> bool:
    # A table on another server is somebody's archive.
    return instant is not None and partition.high <= instant and not partition.default and partition.kind != "f"


async def _unmark(link: psycopg.AsyncConnection, partitions: list[Partition]) -> None:
    """An earlier round did not get at them, and now they are to stay: nobody who detaches one by hand shall lose it."""
    cursor = await link.execute(
        "SELECT objoid::int8 FROM pg_description WHERE classoid = 'pg_class'::regclass AND description = %s", (MARK,)
    )
    marked = {oid for (oid,) in await cursor.fetchall()}
    for partition in partitions:
        if partition.oid in marked:
            await link.execute(SQL("COMMENT ON TABLE {} IS NULL").format(partition.sql))


async def _detach(
    link: psycopg.AsyncConnection, partition: Partition, how: LiteralString, done: Released, *, mark: bool
) -> bool:
    """Take it out of `record`; False where somebody's lock is in the way."""
    detach = SQL("ALTER TABLE record DETACH PARTITION {} {}").format(partition.sql, SQL(how))
    try:
        if mark:
            await link.execute(SQL("COMMENT ON TABLE {} IS {}").format(partition.sql, Literal(MARK)))
        if how:
            await link.execute(detach)
        else:
            await _exclusively(link, detach)
    except (*_IN_THE_WAY, psycopg.errors.ObjectNotInPrerequisiteState):  # the last: by hand at this very moment
        done.waiting.append(partition.name)
        return False
    return True


async def _exclusively(link: psycopg.AsyncConnection, statement: Composed) -> None:
    async with link.transaction():
        await link.execute(SQL("SET LOCAL lock_timeout = {}").format(Literal(_LOCK_TIMEOUT_EXCLUSIVE)))
        await link.execute(statement)


async def _drop_detached(link: psycopg.AsyncConnection, done: Released) -> None:
    """Drop every marked table that is no partition."""
    cursor = await link.execute(
        "SELECT n.nspname, c.relname FROM pg_description d JOIN pg_class c ON c.oid = d.objoid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE d.classoid = 'pg_class'::regclass AND d.objsubid = 0 "
        "AND d.description = %s AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.relname",
        (MARK,),
    )
    for schema, name in await cursor.fetchall():
        try:
            await link.execute(SQL("DROP TABLE {}").format(Identifier(schema, name)))
        except _IN_THE_WAY:
            done.waiting.append(name)
        else:
            done.dropped.append(name)


async def _drop_chunks(link: psycopg.AsyncConnection, before: datetime, done: Released) -> None:
    """TimescaleDB's way, a chunk at a time: one that is being read does not keep the younger ones."""
    cursor = await link.execute(
        "SELECT range_end, array_agg(chunk_name::text) FROM timescaledb_information.chunks "
        "WHERE hypertable_name = 'record' AND range_end <= %s GROUP BY range_end ORDER BY range_end",
        (before,),
    )
    for end, names in await cursor.fetchall():
        try:
            cursor = await link.execute("SELECT drop_chunks('record', older_than => %s)::text", (end,))
        except _IN_THE_WAY:
            done.waiting += names
            return
        done.dropped += [name for (name,) in await cursor.fetchall()]
