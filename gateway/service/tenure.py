"""Who watches: of all services on one store, the one that holds an advisory lock on a connection of its own.

    stands by ── the lock is free ──→ waits out its predecessor ── restores ──→ watches
        ↑                                                                         │
        │                     its connection is lost: it stops at once, and       │
        └── another holds it ─┤ goes on where it was if nobody watched meanwhile ←┘

Everything that must be done once (patrol, clocks, outbox, retention) runs while the lock is held and its connection
answers. A holder finds out within `PING + PATIENCE` that its connection is lost; whoever takes over from another
service begins after `GRACE`, which is longer. While a service stands by, it tells the holder what its own terminals
report (NOTIFY), so that nobody looks silent who reports elsewhere.

The same connection makes the service's schema known to migrations (`gateway.store.migrate.register`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import msgspec
import psycopg
import structlog

from gateway.errors import SchemaError
from gateway.service.telling import CHANNEL, Hearing, Telling
from gateway.store import values
from gateway.store.migrate import register, registered

_log = structlog.get_logger()
T = TypeVar("T")

PING = 1.0  # s between questions to the server, and between attempts to get the lock
PATIENCE = 2.0  # s for its answer
GRACE = 4.0  # s before a successor begins: more than PING + PATIENCE, and it takes over within 10 s all the same
CONNECT = 5.0  # s
ENDING = 3.0  # s for work under way to end; against a server that hangs it begins nothing more, which is what counts
FAREWELL = 2.0  # s for what is written at the end: the whole stop takes less than 15, whatever the store does
SHARED_FOR = 3600.0  # s after another service was last seen: what it stored may still be news

_LOCK = (0x646F7A, 0)  # the class of the services' locks, whose numbers begin with schema 1
_KEY = "watch.holder"

# A machine that vanishes says nothing: the server then frees the lock within some 6 s by itself. No transaction pooler
# may stand in between, and no server setting end a session that only waits.
_SESSION = {
    "tcp_keepalives_idle": "3",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "6000",
    "idle_session_timeout": "0",
    "statement_timeout": "10s",
    "lock_timeout": "5s",
}


class Holder(msgspec.Struct):
    """Who watches, as stored. `ended`: it stopped by itself, so nobody need wait for it."""

    service: str
    term: int
    ended: bool = False


class Watch(Protocol):
    """What a tenure is for."""

    async def begin(self) -> None:
        """Restore what the store knows."""

    async def watch(self) -> None:
        """Judge, in memory, until cancelled."""

    async def work(self) -> None:
        """Do what one alone must do, until cancelled."""

    async def stop(self) -> None:
        """Keep what was learned."""

    def forget(self) -> None:
        """Another service watches."""


class Tenure:
    """One service's part in it.

    Attributes
    ----------
    holding : the lock is held and its connection answers.
    """

    def __init__(
        self,
        dsn: str,
        service: str,
        watch: Watch,
        telling: Telling,
        hearing: Hearing,
        fail: Callable[[str], None],
    ) -> None:
        """`service`: the same over restarts, another for each service. `fail` ends the process, with a reason."""
        self._dsn = dsn
        self._service = service
        self._watch = watch
        self._telling = telling
        self._hearing = hearing
        self._fail = fail
        self._link: psycopg.AsyncConnection[Any] | None = None
        self._term = 0  # the last of ours; 0: none
        self._ticking: asyncio.Task[None] | None = None
        self._working: asyncio.Task[None] | None = None
        self._shared_at = -SHARED_FOR
        self._told = ""
        self.holding = False

    @property
    def shared(self) -> bool:
        """Whether other services store records too, or did lately."""
        return time.monotonic() - self._shared_at < SHARED_FOR

    async def open(self) -> None:
        """Take part; if nobody watches, begin. To be called before the first frame is accepted.

        Raises
        ------
        SchemaError
            If the store's schema is not this version's.
        """
        try:
            link = await self._connect()
            if await self._take(link, wait=False):
                await self._begin(link)
        except SchemaError:
            raise
        except Exception:  # terminals are served all the same
            _log.exception("the watch does not begin, and is tried again")
            await self._leave()

    async def run(self) -> None:
        """Hold, or wait for one's turn, until cancelled."""
        while True:
            try:
                await self._turn()
            except SchemaError as error:  # migrated while the connection was lost: we would write what we do not know
                self._fail(str(error))
                return
            except (psycopg.Error, OSError) as error:  # a TimeoutError is an OSError
                told = str(error).strip() or type(error).__name__
                if told != self._told:
                    self._told = told
                    _log.warning("the watch's own connection is lost", error=told)
                await self._leave()
            except Exception:
                await self._leave()
                raise
            await asyncio.sleep(PING)

    async def close(self) -> None:
        """Save, and let another begin at once. To be called when `run` has ended and no more frames are accepted."""
        held = self.holding
        await self._stop_working()
        await self._stop_ticking()
        if held and self._link is not None:
            with contextlib.suppress(psycopg.Error, OSError):  # no store: the next start reads the records instead
                async with asyncio.timeout(FAREWELL):
                    await self._watch.stop()
                    await self._write(self._link, Holder(self._service, self._term, ended=True))
        await self._leave()

    # -- turns --------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        """From a connection to its loss."""
        link = self._link or await self._connect()
        while not self.holding:
            if await self._take(link, wait=True):
                await self._begin(link)
            else:
                await self._stand_by(link)
        self._told = ""
        self._working = asyncio.create_task(self._watch.work(), name="watch work")
        while not self._working.done():
            async for notice in link.notifies(timeout=PING):
                self._hearing.hear(notice.payload)
            await self._see_others(link)
        raise RuntimeError("the work of the watch ended by itself") from self._working.exception()

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        async with asyncio.timeout(CONNECT):
            link = self._link = await psycopg.AsyncConnection.connect(
                self._dsn, autocommit=True, application_name="dozor tenure"
            )
            for name, value in _SESSION.items():  # those there are: older servers lack some
                await link.execute("SELECT set_config(name, %s, false) FROM pg_settings WHERE name = %s", (value, name))
        await _within(2 * CONNECT, register(link))
        return link

    async def _take(self, link: psycopg.AsyncConnection[Any], *, wait: bool) -> bool:
        """Whether the lock is ours now; then no predecessor watches any more."""
        cursor = await _within(PATIENCE, link.execute("SELECT pg_try_advisory_lock(%s, %s)", _LOCK))
        row = await cursor.fetchone()
        if row is None or not row[0]:
            return False
        before = await self._read(link)
        if before is None or before.ended or before.service == self._service:
            return True
        self._shared_at = time.monotonic()
        if not wait:  # a start does not wait: terminals come first
            await link.execute("SELECT pg_advisory_unlock(%s, %s)", _LOCK)
            return False
        _log.info("taking the watch over", before=before.service)
        deadline = time.monotonic() + GRACE
        while (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(left, PING))
            await self._see_others(link)
        return True

    async def _begin(self, link: psycopg.AsyncConnection[Any]) -> None:
        """Go on with the fleet as we know it, if nobody else watched since; else with what the store knows."""
        before = await self._read(link)
        ours = before is not None and (before.service, before.term) == (self._service, self._term)
        await link.execute(f"LISTEN {CHANNEL}")  # first: what is stored during the restoring is told as well
        if not (ours and self._ticking is not None and not self._ticking.done()):
            await self._forget()
            self._term = before.term + 1 if before is not None else 1
            await self._write(link, Holder(self._service, self._term))
            await self._watch.begin()
            self._telling.end()
            self._ticking = asyncio.create_task(self._watch.watch(), name="watch")
            _log.info("watching", term=self._term)
        self.holding = True

    async def _stand_by(self, link: psycopg.AsyncConnection[Any]) -> None:
        """Another one watches: tell it what came, and wait."""
        await self._forget()
        if self._telling.begin():
            _log.info("standing by: another service watches")
        self._shared_at = time.monotonic()
        for notices in self._telling.take():
            statement = "SELECT pg_notify(%s, notice) FROM unnest(%s::text[]) AS notice"
            await _within(PATIENCE, link.execute(statement, (CHANNEL, notices)))
        await asyncio.sleep(PING)

    async def _forget(self) -> None:
        if self._ticking is not None:
            await self._stop_ticking()
            self._watch.forget()

    async def _stop_ticking(self) -> None:
        ticking, self._ticking = self._ticking, None
        if ticking is not None:
            ticking.cancel()
            await asyncio.wait({ticking})

    async def _stop_working(self) -> None:
        self.holding = False
        working, self._working = self._working, None
        if working is not None:
            working.cancel()
            await asyncio.wait({working}, timeout=ENDING)

    async def _leave(self) -> None:
        """Stop what one alone may do, and let go; ticking goes on, in memory."""
        await self._stop_working()
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _see_others(self, link: psycopg.AsyncConnection[Any]) -> None:
        if await _within(PATIENCE, registered(link)) > 1:
            self._shared_at = time.monotonic()

    # -- the row ------------------------------------------------------------------------------------------------

    async def _read(self, link: psycopg.AsyncConnection[Any]) -> Holder | None:
        data = await _within(PATIENCE, values.read(link, _KEY))
        try:
            return msgspec.json.decode(data, type=Holder) if data is not None else None
        except msgspec.MsgspecError:
            return None

    async def _write(self, link: psycopg.AsyncConnection[Any], holder: Holder) -> None:
        await values.save(link, _KEY, msgspec.json.encode(holder))


async def _within(seconds: float, asked: Awaitable[T]) -> T:
    """The answer, or TimeoutError at once; psycopg itself would wait for a server that hangs."""
    task = asyncio.ensure_future(asked)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.cancel()
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
        raise TimeoutError("no answer in time")
    return task.result()
