"""Which sessions brokers keep for us: noted in the store, so that a lost one is noticed over a restart too.

A session that is left behind (another `client_id`, fewer workers, workers for the first time) still has messages, or
gets some: it is noted under its name until it is empty and ended.
"""

from __future__ import annotations

import msgspec
from psycopg_pool import AsyncConnectionPool

from gateway.store import values

_PREFIX = "mqtt session "
_ALL = "SELECT value FROM gateway_state WHERE key LIKE %s ORDER BY key"
_FORGET = "DELETE FROM gateway_state WHERE key = %s"
_TIMEOUT = 2.0  # s for a connection to the store


class Noted(msgspec.Struct, frozen=True):
    """A session: at which broker (host:port), under which name, with which subscriptions."""

    broker: str
    client_id: str
    filters: list[str]


class Sessions:
    """Those of an instance."""

    def __init__(self, pool: AsyncConnectionPool, instance: str) -> None:
        self._pool = pool
        self._prefix = f"{_PREFIX}{instance} "

    def _key(self, noted: Noted) -> str:
        return f"{self._prefix}{noted.broker} {noted.client_id}"

    async def all(self) -> list[Noted]:
        """Those that were noted."""
        pattern = self._prefix.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%") + "%"
        async with self._pool.connection(_TIMEOUT) as link:
            rows = await (await link.execute(_ALL, (pattern,))).fetchall()
        return [msgspec.json.decode(bytes(value), type=Noted) for (value,) in rows]

    async def note(self, noted: Noted) -> None:
        """The broker keeps it from now on."""
        async with self._pool.connection(_TIMEOUT) as link:
            await values.save(link, self._key(noted), msgspec.json.encode(noted))

    async def forget(self, noted: Noted) -> None:
        """It is no more."""
        async with self._pool.connection(_TIMEOUT) as link:
            await link.execute(_FORGET, (self._key(noted),))
