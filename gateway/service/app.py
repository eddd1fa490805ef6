"""The composition root: builds everything in order, stops it in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import psycopg
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from psycopg_pool import AsyncConnectionPool

from gateway.collector import tame_collector
from gateway.configuration.settings import Settings
from gateway.errors import GatewayError
from gateway.metrics import Callback, ReceiveMetrics, new_registry
from gateway.parts import Parts
from gateway.receive.broker.brokers import BrokerStates
from gateway.receive.instance import instance_name
from gateway.receive.pipeline import Accepted
from gateway.receive.reception import Receiving, Reception, raise_descriptor_limit
from gateway.service.calendar_watch import calendar_metrics, watch_calendars
from gateway.service.channels import carriage, configured_channels, configured_judge, courier_of, mail_rules
from gateway.service.desk_role import DeskRole
from gateway.service.egress import EgressRole
from gateway.service.health import Readiness, health_app, host_metrics
from gateway.service.lock import DataDirectoryLock
from gateway.service.mail_in import MailIn
from gateway.service.reload import changed, kept
from gateway.service.telling import Hearing, Telling
from gateway.service.tenure import Tenure
from gateway.service.web import WebServer
from gateway.store.embedded import EmbeddedServer, keep_running
from gateway.store.migrate import migrate
from gateway.store.pools import DESK, RECEIVE, WATCH, Bounds, make_pool
from gateway.store.restore import finish
from gateway.store.session import fit
from gateway.store.upkeep import Upkeep
from gateway.watch.contacts import unpack
from gateway.watch.detecting import DETECTORS, detectors_of
from gateway.watch.role import WatchRole
from gateway.workers.parent import Workers
from protocols.registry import RECEIVED
from ticketing.core.instance import instance_secret
from ticketing.letters.texts import TextsError

_log = structlog.get_logger()
_FAREWELL = 2.0  # s for what a part writes at the end: the whole stop takes less than 15, whatever the store does


class Service:
    """Everything `dozor serve` runs; with `workers`, receiving is in so many processes of its own."""

    def __init__(self, settings: Settings, workers: int = 0) -> None:
        self.settings = settings
        self.workers = workers
        self.readiness = Readiness()
        self.parts = Parts()
        self.registry = new_registry(self._processes)
        self._workers: Workers | None = None
        self.dsn = ""
        self._server: EmbeddedServer | None = None
        self.egress: EgressRole | None = None

    def _processes(self) -> Iterable[dict[str, float]]:
        """What the service's other processes use."""
        workers = self._workers.processes() if self._workers is not None else ()
        return [*workers, *(self.egress.processes() if self.egress is not None else ())]

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
        if await asyncio.to_thread(finish, settings.data_dir):
            _log.warning("a restore that was cut has been finished", data_dir=str(settings.data_dir))
        raise_descriptor_limit()
        self.registry.register(Callback(lambda: host_metrics(self.readiness, settings.data_dir)))
        self.registry.register(Callback(self._own_metrics))
        self.health = WebServer("metrics", settings.metrics.address, parts.supervisor)
        self.health.start(health_app(self.registry, self.readiness))
        parts.push_async_callback(self.health.stop)
        self.dsn = fit(await self._start_store())
        await asyncio.to_thread(migrate, self.dsn)
        self.receive_pool = await self._open_pool("receive", RECEIVE)
        self.watch_pool = await self._open_pool("watch", WATCH)
        self.desk_pool = await self._open_pool("desk", DESK)
        self.egress = EgressRole(self.dsn, self.watch_pool, settings.egress)
        await self.egress.begin()  # before the first record is stored
        self.reception = self._make_reception()
        await self.reception.open()
        self.readiness.reception = self.reception

        self.desk_server = WebServer("desk", settings.desk.address, parts.supervisor, settings.desk.trusted_proxies)
        parts.push_async_callback(self.desk_server.stop)
        url = settings.desk.url or f"http://{self.desk_server.address}"
        self.desk_url = url
        await self._start_watch(url)
        await self.reception.listen()
        desk = DeskRole(settings, self.desk_pool, self.reception, self.watch, url)
        parts.callback(desk.users.close)
        self.desk_server.start(desk.app)
        self.mail_in = MailIn(settings, self.desk_pool)
        parts.push_async_callback(self.mail_in.stop)
        await self.mail_in.listen()
        for name, mailbox in self.mail_in.mailboxes.items():
            parts.kept(f"mailbox {name}", mailbox.run)
        self.registry.register(Callback(self.mail_in.metrics))
        self.upkeep = Upkeep(self.dsn, lambda: self.settings.store)
        parts.kept("upkeep", self.upkeep.run)
        parts.kept("egress", self.egress.run)
        self.registry.register(Callback(self.egress.metrics))
        self.registry.register(Callback(calendar_metrics))
        parts.kept("calendars", partial(watch_calendars, self.watch.incidents.calendars))
        tame_collector()
        self.readiness.starting = False
        _notify("READY=1")
        parts.kept("watchdog", _feed_watchdog)
        _log.info("ready", pid=os.getpid(), data_dir=str(settings.data_dir), metrics=f"http://{self.health.address}/")

    async def _open_pool(self, role: str, bounds: Bounds) -> AsyncConnectionPool:
        pool = make_pool(self.dsn, f"dozor {role}", bounds)
        await pool.open(wait=True, timeout=30)
        self.parts.push_async_callback(pool.close, 1.0)
        return pool

    def _make_reception(self) -> Reception:
        """Receiving in this process, or in workers; what it commits is heard by the watch, which comes later."""
        if self.workers:
            self._workers = Workers(
                self.settings, self.dsn, self.receive_pool, self.parts, RECEIVED, self.workers, self._heard
            )
            self.registry.register(self._workers.metrics)
            return self._workers
        metrics = ReceiveMetrics(list(RECEIVED))
        self.registry.register(metrics)
        receiving = Receiving(self.settings, self.dsn, self.receive_pool, self.parts, metrics)
        receiving.on_accepted.append(self._committed)
        self.parts.kept("partitions", receiving.keep_prepared)
        return receiving

    def _committed(self, batch: Accepted) -> None:
        self.watch.committed(batch)
        self.telling.committed(batch)

    def _heard(self, packed: Mapping[str, bytes]) -> None:
        """What a worker tells: its loop's clock is ours."""
        self.watch.heard(unpack(packed, DETECTORS))
        self.telling.put(packed)

    async def _start_watch(self, url: str) -> None:
        self.secret = await instance_secret(self.watch_pool)
        self.telling = Telling()
        self.watch = WatchRole(
            self.settings, self.watch_pool, configured_channels(self.settings, self.secret, url),
            self.parts.supervisor, lambda: self.readiness.accepting,
            courier_of(carriage(self.settings, self.secret, url), self.watch_pool),
            partial(configured_judge, self.settings, self.watch_pool, self.secret),
        )  # fmt: skip
        self.tenure = Tenure(
            self.dsn, instance_name(self.settings.data_dir), self.watch, self.telling,
            Hearing(self.watch.heard), self.parts.fail,
        )  # fmt: skip
        self.watch.shared = lambda: self.tenure.shared
        self.parts.push_async_callback(self.tenure.close)
        await self.tenure.open()
        self.registry.register(Callback(self.watch.metrics))
        self.parts.kept("tenure", self.tenure.run)

    def _own_metrics(self) -> Iterator[Metric]:
        """What the service says of its parts, and whether it is the one that watches."""
        failures = CounterMetricFamily(
            "dozor_part_failures", "Parts that failed and were started again", labels=["name"]
        )
        for name, count in self.parts.supervisor.failures.items():
            failures.add_metric([name], count)
        yield failures
        if not self.readiness.starting:
            yield from _broker_metrics(self.reception.brokers())
            active = float(self.tenure.holding)
            yield GaugeMetricFamily("dozor_watch_active", "1 where the watch of the store is held", active)

    async def _start_store(self) -> str:
        if self.settings.store.dsn:
            return self.settings.store.dsn
        server = self._server = EmbeddedServer(self.settings.data_dir)
        self.parts.push_async_callback(asyncio.to_thread, server.stop)  # a start that fails, or is not waited for, too
        await asyncio.to_thread(server.ensure_running)
        self.parts.kept("embedded store", partial(keep_running, server))
        return server.dsn

    async def reload(self, settings: Settings) -> None:
        """Take over other settings without dropping a connection; see `gateway.service.reload`.

        Raises
        ------
        GatewayError
            If they cannot be used now; then nothing has changed.
        """
        if self.readiness.stopping:
            return
        before = self.settings
        settings, names = kept(before, settings)
        detectors = await asyncio.to_thread(detectors_of, settings)
        assert self.egress is not None  # noqa: S101  # it runs
        try:
            await self.egress.prepare(settings.egress)
        except psycopg.Error as error:
            raise GatewayError(f"egress cannot begin: {str(error).strip()}") from error
        try:
            letters = await asyncio.to_thread(carriage, settings, self.secret, self.desk_url)
        except (OSError, TextsError) as error:
            raise GatewayError(f"letters cannot go out as configured: {error}") from error
        change = await self.reception.prepare(settings)
        self.settings = settings
        self.watch.reconfigure(settings, detectors, configured_channels(settings, self.secret, self.desk_url))
        self.watch.carry_by(
            courier_of(letters, self.watch_pool, self.watch.desk.courier), owed=bool(settings.mail.host)
        )
        if self.watch.desk.judge is not None:
            self.watch.desk.judge.replace(mail_rules(settings, self.secret))
        await self.reception.reconfigure(settings, change)
        self.egress.reconfigure(settings.egress)
        self.upkeep.wake()
        if names:
            _log.warning("kept until the next start", keys=names)
        _log.info("configuration reloaded", changed=changed(before, settings))

    # -- end ----------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Accept no more, commit, ack, close; then the store."""
        begun, served = time.monotonic(), not self.readiness.starting
        connections = self.reception.connected_count() if served else 0
        self.readiness.stopping = True
        _notify("STOPPING=1")
        if self._server is not None and not await self._store_answers():
            # Nothing more can be committed, and whoever waits for it need not wait longer.
            await asyncio.to_thread(self._server.stop, at_once=True)
        await self.parts.stop()
        if served:
            _log.info(
                "stopped: all that was acknowledged is kept",
                connections_closed=connections,
                spooled_frames=self.reception.spool_frames,
                embedded_store="stopped" if self._server is not None else None,
                seconds=round(time.monotonic() - begun, 1),
            )

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


def _broker_metrics(brokers: BrokerStates) -> Iterator[Metric]:
    connected = GaugeMetricFamily("dozor_mqtt_connected", "1 while messages come from the broker", labels=["broker"])
    lost = CounterMetricFamily(
        "dozor_mqtt_sessions_lost", "Sessions that the broker had lost, with what it kept in them", labels=["broker"]
    )
    for address, state in brokers.items():
        if state.connected is not None:
            connected.add_metric([address], float(state.connected))
        lost.add_metric([address], state.lost)
    yield connected
    yield lost


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
