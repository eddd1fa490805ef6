"""Single values that the gateway keeps in the store by key: table `gateway_state`."""

from __future__ import annotations

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

READ = "SELECT value FROM gateway_state WHERE key = %s"
_SAVE = (
    "INSERT INTO gateway_state (key, value, saved_at) VALUES (%s, %s, now())"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value, saved_at = excluded.saved_at"
)


async def read(connection: AsyncConnection[TupleRow], key: str) -> bytes | None:
    """What is kept under `key`; None: nothing."""
    row = await (await connection.execute(READ, (key,))).fetchone()
    return None if row is None else bytes(row[0])


async def save(connection: AsyncConnection[TupleRow], key: str, value: bytes) -> None:
    """Keep it in place of what was there."""
    await connection.execute(_SAVE, (key, value))
