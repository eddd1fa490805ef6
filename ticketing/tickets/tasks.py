"""Tasks: what somebody has to do for a ticket, each once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from ticketing.core.db import Connection
from ticketing.core.errors import ConflictError, NotFoundError


async def add_task(
    connection: Connection,
    ticket: int | None,
    kind: str,
    key: str,
    at: datetime,
    *,
    due_at: datetime | None = None,
    data: Mapping[str, Any] | None = None,
) -> int | None:
    """Write a task, once by `key`; returns its id, None if it is there already."""
    rows = await connection.execute(
        "INSERT INTO task (ticket, key, kind, data, created_at, due_at) VALUES (%s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (key) DO NOTHING RETURNING id",
        (ticket, key, kind, Jsonb(data or {}, dumps=msgspec.json.encode), at, due_at),
    )
    found = await rows.fetchone()
    return None if found is None else int(found[0])


async def end_task(
    connection: Connection, ticket: int, task: int, at: datetime, by: str, outcome: str
) -> tuple[str, dict[str, Any]]:
    """A task is done; returns its kind and data.

    Raises
    ------
    NotFoundError
        If the ticket has no such task.
    ConflictError
        If it is done already.
    """
    rows = await connection.execute(
        "UPDATE task SET done_at = %s, done_by = %s, outcome = %s WHERE id = %s AND ticket = %s AND done_at IS NULL"
        " RETURNING kind, data",
        (at, by, outcome, task, ticket),
    )
    found = await rows.fetchone()
    if found is None:
        rows = await connection.execute("SELECT outcome FROM task WHERE id = %s AND ticket = %s", (task, ticket))
        if await rows.fetchone() is None:
            raise NotFoundError(f"the ticket has no task {task}")
        raise ConflictError(f"task {task} is done already")
    return found[0], found[1]


async def drop_tasks(connection: Connection, ticket: int, at: datetime, *kinds: str) -> None:
    """Open tasks of these kinds, without any of all kinds, have no sense any more."""
    await connection.execute(
        "UPDATE task SET done_at = %s, done_by = 'watch', outcome = 'dropped' WHERE ticket = %s AND done_at IS NULL"
        " AND (kind = ANY(%s) OR %s)",
        (at, ticket, list(kinds), not kinds),
    )
