"""The composition root: builds everything in order, stops it in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from gateway.calendar_watch import calendar_metrics, watch_calendars
from gateway.channels import configured_channels
from gateway.desk_role import DeskRole
from gateway.errors import GatewayError
from gateway.health import Readiness, health_app, host_metrics
from gateway.lock import DataDirectoryLock
from gateway.metrics import Callback, ReceiveMetrics, new_registry
from gateway.receive.history import History
from gateway.receive.pipeline import Pipeline
from gateway.receive.receiver import Receiver
from gateway.receive.spool import Directory, Spool
from gateway.receive.terminals import Terminals
from gateway.reload import apply
from gateway.settings import Settings
from gateway.store.embedded import EmbeddedServer, keep_running
from gateway.store.migrate import migrate
from gateway.store.writer import Writer
from gateway.watch.role import WatchRole
from gateway.web import WebServer
from protocols.registry import PROTOCOLS, protocol
from ticketing.instance import instance_secret

_log = structlog.get_logger()
_RETENTION_PERIOD = 3600.0  # s between looks for partitions to drop
_FAREWELL = 2.0  # s for what a part writes at the end: the whole stop takes less than 15, whatever the store does


class Service:
    """Everything `dozor serve` runs, in one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.readiness = Readiness()
        self.registry = new_registry()
        self.dsn = ""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stack = contextlib.AsyncExitStack()
        self._stopping = False
        self._server: EmbeddedServer | None = None

    # -- start --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the directory, start the store, then whatever stands on it; undone if any step fails."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = self.settings
        lock = DataDirectoryLock(settings.data_dir)
        lock.acquire()
        self._stack.callback(lock.release)
        self._raise_descriptor_limit()
        self.registry.register(Callback(lambda: host_metrics(self.readiness, settings.data_dir)))
        self.health = WebServer(settings.metrics.address)
        self.health.start(health_app(self.registry, self.readiness))
        self._stack.push_async_callback(self.health.stop)
        self.dsn = await self._start_store()
        await asyncio.to_thread(migrate, self.dsn)
        self.pool = AsyncConnectionPool(
            self.dsn, min_size=1, max_size=8, open=False, kwargs={"application_name": "dozor", "autocommit": True}
        )
        await self.pool.open(wait=True, timeout=30)
        self._stack.push_async_callback(self.pool.close, 1.0)

        protocols = [protocol(name) for name in PROTOCOLS]
        self.metrics = ReceiveMetrics([p.name for p in protocols])
        self.registry.register(self.metrics)
        self.terminals = Terminals(self.pool, settings.login.policy)
        await self.terminals.load()
        self.history = History(self.pool, self.terminals)
        await self.history.end_open()
        self.writer = Writer(len(protocols))
        await self._prepare_writer()
        self.spool = Spool(Directory(settings.data_dir / "spool"), settings.spool.max_size)
        await self.spool.open()
        self.pipeline = Pipeline(
            lambda: Writer.open(self.dsn), self.writer, self.spool, protocols, self.metrics, self.terminals.rows,
            self.terminals.resolve,
        )  # fmt: skip
        self._stack.push_async_callback(self.pipeline.close)
        self.readiness.spool = self.spool
        self.readiness.store_up = lambda: self.pipeline.keeper.store_up
        self.readiness.refusing = lambda: self.pipeline.keeper.reason if self.pipeline.keeper.refusing else ""
        self._background("history", self.history.run())
        self.receiver = Receiver(
            settings, protocols, self.pipeline, self.terminals, self.history, self.metrics, self.dsn
        )
        self._background("store watch", self.pipeline.watch_store())
        self.desk_server = WebServer(settings.desk.address)
        self._stack.push_async_callback(self.desk_server.stop)
        url = settings.desk.url or f"http://{self.desk_server.address}"
        self.desk_url = url
        await self._start_watch(url)
        await self.receiver.start()
        self._stack.push_async_callback(self.receiver.stop)
        desk = DeskRole(settings, self.pool, self.receiver, self.watch, url)
        self._stack.callback(desk.users.close)
        self.desk_server.start(desk.app)
        self.registry.register(Callback(calendar_metrics))
        self._background("calendars", watch_calendars())
        self._background("timeouts", self.receiver.sweep())
        self._background("registrations", self.receiver.release_quarantine())
        self._background("partitions", self._keep_partitions())
        _tame_collector()
        self.readiness.starting = False
        _notify("READY=1")
        self._background("watchdog", _feed_watchdog())
        _log.info("ready", pid=os.getpid(), data_dir=str(settings.data_dir))

    async def _start_watch(self, url: str) -> None:
        self.secret = await instance_secret(self.pool)
        self.watch = WatchRole(self.settings, self.pool, configured_channels(self.settings, self.secret, url))
        await self.watch.start()
        self._stack.push_async_callback(self._keep_watch)
        self.registry.register(Callback(self.watch.metrics))
        self.pipeline.on_commit.append(self.watch.committed)
        self._background("watch", self._run_again("watch", self._run_watch))

    async def _run_watch(self) -> None:
        await self.watch.run(lambda: not self.readiness.reasons())

    async def _keep_watch(self) -> None:
        # No store: the next start reads the records instead.
        with contextlib.suppress(psycopg.Error, PoolTimeout, TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await self.watch.stop()

    async def _run_again(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """A part that data does not need: when it fails, terminals are served on and it is started again."""
        while True:
            try:
                await work()
            except Exception:
                _log.exception("part failed, starting it again", part=name)
            await asyncio.sleep(5.0)

    async def _start_store(self) -> str:
        if self.settings.store.dsn:
            return self.settings.store.dsn
        server = self._server = EmbeddedServer(self.settings.data_dir)
        await asyncio.to_thread(server.ensure_running)
        self._stack.push_async_callback(asyncio.to_thread, server.stop)
        self._background("embedded store", keep_running(server))
        return server.dsn

    async def _prepare_writer(self) -> None:
        link = await Writer.open(self.dsn)
        try:
            await self.writer.prepare(link)
        finally:
            await link.close()

    async def _keep_partitions(self) -> None:
        """Make the coming week's partition, drop those that retention lets go."""
        while True:
            try:
                link = await Writer.open(self.dsn)
                try:
                    await self.writer.prepare(link)
                    if self.settings.store.retention:
                        before = datetime.now(UTC) - timedelta(seconds=self.settings.store.retention)
                        dropped = await self.writer.partitions.drop_before(link, before)
                        if dropped:
                            _log.info("retention", dropped=dropped)
                finally:
                    await link.close()
            except (psycopg.Error, OSError) as error:
                _log.warning("partitions not looked after", error=str(error).strip())
            await asyncio.sleep(_RETENTION_PERIOD)

    def _background(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run beside the rest; cancelled at the end, in reverse order. A failure ends the service."""
        task = asyncio.create_task(work, name=name)

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None and not self._stopping:
                _log.error("part failed", part=name, error=repr(task.exception()))
                if not self.failed.done():
                    self.failed.set_exception(GatewayError(f"{name} failed: {task.exception()!r}"))

        task.add_done_callback(ended)

        async def cancel() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

        self._stack.push_async_callback(cancel)

    @staticmethod
    def _raise_descriptor_limit() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    async def reload(self, settings: Settings) -> None:
        """Take over other settings without dropping a connection; see `gateway.reload`."""
        if not self._stopping:
            await apply(self, settings)

    # -- end ----------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Accept no more, commit, ack, close; then the store."""
        self._stopping = True
        self.readiness.stopping = True
        _notify("STOPPING=1")
        if self._server is not None and not await self._store_answers():
            # Nothing more can be committed, and whoever waits for it need not wait longer.
            await asyncio.to_thread(self._server.stop, at_once=True)
        await self._stack.aclose()

    async def _store_answers(self) -> bool:
        if not self.dsn:  # it has not been started yet
            return True
        if not self.readiness.store_up():
            return False
        try:
            async with asyncio.timeout(_FAREWELL):
                await (await psycopg.AsyncConnection.connect(self.dsn)).close()
        except (psycopg.Error, OSError, TimeoutError):
            return False
        return True

    def cut(self) -> None:
        """The end at once: what was acknowledged is durable, so nothing is lost. Blocking."""
        if self._server is not None:
            self._server.stop(at_once=True)


def _tame_collector() -> None:
    """What stands after the start stays: the collector need not look at it again, nor so often at the rest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _notify(state: str) -> None:
    """Tell systemd, if it asked (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect("\0" + address[1:] if address[0] == "@" else address)
        out.send(state.encode())


async def _feed_watchdog() -> None:
    """Prove to systemd that the loop turns."""
    period = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6 / 2
    while period:
        await asyncio.sleep(period)
        _notify("WATCHDOG=1")


async def run_until(service: Service, stop: asyncio.Event) -> None:
    """Run a started service until `stop` is set or a part of it fails."""
    waiter = asyncio.create_task(stop.wait())
    ends: list[asyncio.Future[Any]] = [waiter, service.failed]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
        await service.stop()
    if service.failed.done():
        service.failed.result()
