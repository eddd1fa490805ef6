"""Frames kept in quarantine for want of a registration go through the pipeline again, in order, once there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from gateway.receive.pipeline import Pipeline
from protocols.records import Frame, Message, Quarantined, Reply
from protocols.registry import WireProtocol

_log = structlog.get_logger()

_LATE = 3.0  # s: by then a batch is in the store, or in a spool whose drain asks the registry
_LATEST = 60.0  # s, at most, after it failed
_BATCH = 500  # frames read at once


class Replays:
    """The one process that releases them has it."""

    def __init__(
        self,
        pool: AsyncConnectionPool,
        pipeline: Pipeline,
        protocols: Sequence[WireProtocol],
        offset: Callable[[], float],
        *,
        shared: bool,
    ) -> None:
        """`offset`: wall clock minus the loop's; `shared`: other processes take frames too."""
        self._pool = pool
        self._pipeline = pipeline
        self._numbers = {p.name: number for number, p in enumerate(protocols)}
        self._offset = offset
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._late: asyncio.Task[None] | None = None
        self._late_wanted = False

    async def release(self, terminal: str | None) -> None:
        """Those of one terminal, or of all."""
        async with self._pool.connection() as link:
            await self._release(link, terminal)

    def release_late(self) -> None:
        """Frames that another process took before it knew may still be on their way into quarantine: look again."""
        if self._shared:
            self._late_wanted = True
            if self._late is None or self._late.done():
                self._late = self._loop.create_task(self._look_late())

    async def _look_late(self) -> None:
        pause, told = _LATE, False
        while self._late_wanted:
            self._late_wanted = False
            await asyncio.sleep(pause)
            try:
                await self.release(None)
            except (psycopg.Error, OSError, TimeoutError) as error:
                if not told:  # once, not at each attempt
                    _log.warning("quarantine not looked through: later again", error=str(error).strip())
                told, pause = True, min(2 * pause, _LATEST)
                self._late_wanted = True

    async def _release(self, link: psycopg.AsyncConnection, terminal: str | None) -> None:
        after = 0
        settled = False
        while True:
            cursor = await link.execute(
                "SELECT q.id, q.terminal, q.protocol, q.variant, q.data, extract(epoch FROM q.received)::float8 "
                "FROM quarantine q JOIN terminal t ON t.identity = q.terminal WHERE q.reason = 'unregistered' "
                "AND q.id > %s AND (%s::text IS NULL OR q.terminal = %s) ORDER BY q.id LIMIT %s",
                (after, terminal, terminal, _BATCH),
            )
            rows = await cursor.fetchall()
            if not rows:
                if settled:
                    return
                await self._settle()  # frames taken before the registration may be on their way into quarantine
                settled = True
                continue
            for identifier, name, protocol, variant, data, received in rows:
                after = identifier
                number = self._numbers.get(protocol)
                if number is None:
                    continue
                replay = Replay(number, name)
                self._pipeline.put(replay, Frame(data, _records_of(data), 0, variant), received - self._offset())
                if await replay.stored:
                    await link.execute("DELETE FROM quarantine WHERE id = %s", (identifier,))

    async def _settle(self) -> None:
        """Wait until every frame taken so far is committed, whatever it was taken for."""
        barrier = Replay(0, "")
        self._pipeline.put(barrier, Reply(b""), self._loop.time())
        await barrier.stored


def _records_of(data: bytes) -> int:
    """An upper guess, for the size of batches only."""
    return max(1, len(data) // 40)


class Replay:
    """A frame out of quarantine on its way to the store."""

    waits = False  # its terminal had its answer long ago
    link = 0

    registered = True

    def __init__(self, protocol: int, terminal: str) -> None:
        self.protocol, self.terminal = protocol, terminal
        self.stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def committed(
        self, items: Sequence[Frame | Message | Reply], refused: Sequence[Sequence[Quarantined]] = ()
    ) -> None:
        """It is in the store, as records or under the reason why not."""
        self._tell(stored=True)

    def abandoned(self) -> None:
        """The store is away: later again."""
        self._tell(stored=False)

    def _tell(self, *, stored: bool) -> None:
        if not self.stored.done():  # whoever waited may have been cancelled at the end of the service
            self.stored.set_result(stored)
