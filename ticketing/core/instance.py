"""The instance's own secret: made once, kept with the data."""

from __future__ import annotations

import secrets

from ticketing.core.db import Pool

_KEY = "instance.secret"


async def instance_secret(pool: Pool) -> bytes:
    """32 random bytes, the same for every process on one database."""
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO gateway_state (key, value) VALUES (%s, %s) ON CONFLICT (key) DO NOTHING",
            (_KEY, secrets.token_bytes(32)),
        )
        rows = await connection.execute("SELECT value FROM gateway_state WHERE key = %s", (_KEY,))
        row = await rows.fetchone()
    if row is None:
        raise RuntimeError("the instance's secret vanished while it was read")
    return bytes(row[0])
