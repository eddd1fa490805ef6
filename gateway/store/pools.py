"""Pools of connections, one a role: what hangs in one takes none from the others, and does not hang for ever."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from psycopg import AsyncConnection
from psycopg.sql import SQL
from psycopg_pool import AsyncConnectionPool


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large a pool may be, and how long anything over it may take; seconds.

    Attributes
    ----------
    wait : for a connection that is free
    lock : for a lock that somebody else holds
    statement : one statement whole, its waiting for locks included
    idle : a transaction in which nothing happens; then the server ends it, and its locks with it
    """

    size: int
    wait: float
    lock: float
    statement: float
    idle: float


# Registering and the history bound themselves more narrowly; reading a million terminals at the start takes seconds.
RECEIVE = Bounds(size=3, wait=10.0, lock=2.0, statement=60.0, idle=30.0)
WORKER = replace(RECEIVE, size=2)
# Four incidents at once, and a heartbeat, letters and clocks beside them. Catching up reads long.
WATCH = Bounds(size=6, wait=10.0, lock=5.0, statement=60.0, idle=60.0)
# People wait: an answer that something is locked comes soon. The reader bounds its own statements further.
DESK = Bounds(size=5, wait=3.0, lock=2.0, statement=10.0, idle=15.0)


class Pool(AsyncConnectionPool[AsyncConnection[Any]]):
    """A pool that loses no cancelling of who waits for a connection.

    Before Python 3.12 `asyncio.wait_for`, in which the pool waits, swallows the cancelling that comes in the moment its
    connection does; who cancelled would then wait for ever, as a service does that is to stop.
    """

    async def getconn(self, timeout: float | None = None) -> AsyncConnection[Any]:
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        link = await super().getconn(timeout)
        if task is not None and task.cancelling() > before:
            await self.putconn(link)
            raise asyncio.CancelledError
        return link


def make_pool(dsn: str, name: str, bounds: Bounds) -> Pool:
    """A pool that is not open yet; `name` is what `pg_stat_activity` calls its connections."""
    return Pool(
        dsn,
        min_size=1,
        max_size=bounds.size,
        timeout=bounds.wait,
        open=False,
        configure=partial(_configure, bounds),
        kwargs={"application_name": name, "autocommit": True},
    )


async def _configure(bounds: Bounds, link: AsyncConnection[Any]) -> None:
    """By statement, not by start-up options: a DSN may have options of its own."""
    for name, seconds in (
        ("lock_timeout", bounds.lock),
        ("statement_timeout", bounds.statement),
        ("idle_in_transaction_session_timeout", bounds.idle),
    ):
        await link.execute(SQL("SELECT set_config(%s, %s, false)"), (name, f"{seconds * 1000:.0f}"))
