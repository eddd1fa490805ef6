"""The composition root: builds everything in order, stops it in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from gateway.calendar_watch import calendar_metrics, watch_calendars
from gateway.channels import configured_channels
from gateway.collector import tame_collector
from gateway.desk_role import DeskRole
from gateway.health import Readiness, health_app, host_metrics
from gateway.lock import DataDirectoryLock
from gateway.metrics import Callback, ReceiveMetrics, new_registry
from gateway.parts import Parts
from gateway.receiving import Receiving, Reception, raise_descriptor_limit
from gateway.reload import apply
from gateway.settings import Settings
from gateway.store.embedded import EmbeddedServer, keep_running
from gateway.store.migrate import migrate
from gateway.watch.contacts import unpack
from gateway.watch.role import WatchRole
from gateway.web import WebServer
from gateway.workers.parent import Workers
from protocols.registry import PROTOCOLS
from ticketing.instance import instance_secret

_log = structlog.get_logger()
_RETENTION_PERIOD = 3600.0  # s between looks for partitions to drop
_FAREWELL = 2.0  # s for what a part writes at the end: the whole stop takes less than 15, whatever the store does


class Service:
    """Everything `dozor serve` runs; receiving may be in `workers` processes of its own."""

    def __init__(self, settings: Settings, workers: int = 1) -> None:
        self.settings = settings
        self.workers = workers
        self.readiness = Readiness()
        self.parts = Parts()
        self.registry = new_registry(lambda: self._workers.processes() if self._workers is not None else ())
        self._workers: Workers | None = None
        self.dsn = ""
        self._server: EmbeddedServer | None = None

    @property
    def failed(self) -> asyncio.Future[None]:
        """Done when a part failed that the service cannot do without."""
        return self.parts.failed

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Where terminals are accepted, by protocol."""
        return self.reception.addresses

    # -- start --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the directory, start the store, then whatever stands on it; undone if any step fails."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        tame_collector()
        settings, parts = self.settings, self.parts
        lock = DataDirectoryLock(settings.data_dir)
        lock.acquire()
        parts.callback(lock.release)
        raise_descriptor_limit()
        self.registry.register(Callback(lambda: host_metrics(self.readiness, settings.data_dir)))
        self.health = WebServer(settings.metrics.address)
        self.health.start(health_app(self.registry, self.readiness))
        parts.push_async_callback(self.health.stop)
        self.dsn = await self._start_store()
        await asyncio.to_thread(migrate, self.dsn)
        self.pool = AsyncConnectionPool(
            self.dsn, min_size=1, max_size=8, open=False, kwargs={"application_name": "dozor", "autocommit": True}
        )
        await self.pool.open(wait=True, timeout=30)
        parts.push_async_callback(self.pool.close, 1.0)
        self.reception = self._make_reception()
        await self.reception.open()
        self.readiness.reception = self.reception

        self.desk_server = WebServer(settings.desk.address)
        parts.push_async_callback(self.desk_server.stop)
        url = settings.desk.url or f"http://{self.desk_server.address}"
        self.desk_url = url
        await self._start_watch(url)
        await self.reception.listen()
        desk = DeskRole(settings, self.pool, self.reception, self.watch, url)
        parts.callback(desk.users.close)
        self.desk_server.start(desk.app)
        parts.background("retention", self._keep_retention())
        self.registry.register(Callback(calendar_metrics))
        parts.background("calendars", watch_calendars())
        tame_collector()
        self.readiness.starting = False
        _notify("READY=1")
        parts.background("watchdog", _feed_watchdog())
        _log.info("ready", pid=os.getpid(), data_dir=str(settings.data_dir))

    def _make_reception(self) -> Reception:
        """Receiving in this process, or in workers; what it commits is heard by the watch, which comes later."""
        if self.workers > 1:
            self._workers = Workers(
                self.settings, self.dsn, self.pool, self.parts, PROTOCOLS, self.workers,
                lambda contacts: self.watch.fleet.note(*unpack(contacts)),
            )  # fmt: skip
            self.registry.register(self._workers.metrics)
            return self._workers
        metrics = ReceiveMetrics(list(PROTOCOLS))
        self.registry.register(metrics)
        receiving = Receiving(self.settings, self.dsn, self.pool, self.parts, metrics)
        receiving.on_commit.append(lambda batch: self.watch.committed(batch))
        self.parts.background("partitions", receiving.keep_prepared())
        return receiving

    async def _start_watch(self, url: str) -> None:
        self.secret = await instance_secret(self.pool)
        self.watch = WatchRole(self.settings, self.pool, configured_channels(self.settings, self.secret, url))
        await self.watch.start()
        self.parts.push_async_callback(self._keep_watch)
        self.registry.register(Callback(self.watch.metrics))
        self.parts.background("watch", self._run_again("watch", self._run_watch))

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
        self.parts.push_async_callback(asyncio.to_thread, server.stop)
        self.parts.background("embedded store", keep_running(server))
        return server.dsn

    async def _keep_retention(self) -> None:
        """Drop the partitions that retention lets go."""
        while self.settings.store.retention:
            before = datetime.now(UTC) - timedelta(seconds=self.settings.store.retention)
            try:
                dropped = await self.reception.drop_partitions(before)
                if dropped:
                    _log.info("retention", dropped=dropped)
            except (psycopg.Error, OSError) as error:
                _log.warning("retention not looked after", error=str(error).strip())
            await asyncio.sleep(_RETENTION_PERIOD)

    async def reload(self, settings: Settings) -> None:
        """Take over other settings without dropping a connection; see `gateway.reload`."""
        if not self.readiness.stopping:
            await apply(self, settings)

    # -- end ----------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Accept no more, commit, ack, close; then the store."""
        self.readiness.stopping = True
        _notify("STOPPING=1")
        if self._server is not None and not await self._store_answers():
            # Nothing more can be committed, and whoever waits for it need not wait longer.
            await asyncio.to_thread(self._server.stop, at_once=True)
        await self.parts.stop()

    async def _store_answers(self) -> bool:
        if not self.dsn:  # it has not been started yet
            return True
        if not self.readiness.store_up:
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
