"""Receiving as a role of a process: what stands between the sockets, and store or spool.

With one process the service holds it itself; with several, each worker holds one, and the service a `Reception` that
speaks for all of them.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from gateway.configuration.settings import Settings
from gateway.metrics import ReceiveMetrics
from gateway.parts import Parts
from gateway.receive.broker.brokers import BrokerStates
from gateway.receive.history import History
from gateway.receive.instance import instance_name
from gateway.receive.pipeline import Accepted, Pipeline
from gateway.receive.receiver import Change, Receiver
from gateway.receive.spool import Directory, Spool
from gateway.receive.spools import SpoolLock, adopt, spool_directory
from gateway.receive.terminals import Terminals
from gateway.store.writer import Writer
from protocols.registry import RECEIVED, protocol
from ticketing.core.instance import instance_secret

_log = structlog.get_logger()
PARTITIONS_PERIOD = 3600.0  # s between looks whether the coming week has its partition


class Reception(Protocol):
    """What the rest of the service asks of receiving, whether it is in this process or in workers."""

    @property
    def spool_bytes(self) -> int:
        """Bytes that wait on disk."""

    @property
    def spool_frames(self) -> int:
        """Frames that wait on disk."""

    @property
    def store_up(self) -> bool:
        """Whether the store answered when it was last asked."""

    async def open(self) -> None:
        """Make everything ready but accept nothing."""

    async def listen(self) -> None:
        """Accept terminals."""

    def reasons(self) -> set[str]:
        """Words for why frames are not accepted, or nobody new is; empty while they are."""

    def connected_count(self) -> int:
        """How many terminals are connected and logged in."""

    async def last_contacts(self, terminals: Iterable[str]) -> dict[str, float]:
        """When their open connections last brought bytes, Unix seconds; those that have none are left out."""

    async def counted(self, terminal: str) -> dict[int, tuple[int, int]]:
        """Frames and damaged ones of its open connections, by their number in the history."""

    def brokers(self) -> BrokerStates:
        """How it stands with each broker."""

    async def refresh(self) -> None:
        """Bring what is counted up to date."""

    async def prepare(self, settings: Settings) -> Any:
        """Bind and read what other settings need, for `reconfigure`; nothing changes yet.

        Raises
        ------
        GatewayError
            If they cannot be used now.
        """

    async def reconfigure(self, settings: Settings, change: Any) -> None:
        """Take over other settings; connections that are open stay open."""

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Protocol to bound addresses."""


class Receiving:
    """Listeners, connections, pipeline and spool of one process."""

    def __init__(
        self,
        settings: Settings,
        dsn: str,
        pool: AsyncConnectionPool,
        parts: Parts,
        metrics: ReceiveMetrics,
        *,
        worker: int = 0,
        workers: int = 0,
    ) -> None:
        """`worker` counts from 1 where there are several `workers`; 0 of them: the service itself receives."""
        self.settings = settings
        self.metrics = metrics
        self.on_accepted: list[Callable[[Accepted], None]] = []
        self._dsn = dsn
        self._pool = pool
        self._parts = parts
        self._worker = worker
        self._apart = workers > 0
        self._processes = max(1, workers)

    async def open(self) -> None:
        """Make everything ready but accept nothing; only the receiver's listeners are missing."""
        settings, parts = self.settings, self._parts
        protocols = [protocol(name) for name in RECEIVED]
        self.terminals = Terminals(self._pool, settings.login.policy)
        await self.terminals.load()
        instance = await asyncio.to_thread(instance_name, settings.data_dir)
        self.history = History(self._pool, self.terminals, instance, self._worker)
        await self.history.end_open()
        self.writer = Writer(len(protocols), self.terminals.rows, self.terminals.resolve)
        await self.prepare_writer()
        if not self._worker:
            await asyncio.to_thread(adopt, settings.data_dir, 1)
        folder = spool_directory(settings.data_dir, self._worker)
        lock = SpoolLock(folder)
        await asyncio.to_thread(lock.acquire)
        parts.callback(lock.release)
        self.spool = Spool(Directory(folder), settings.spool.max_size // self._processes)
        await self.spool.open()
        self.pipeline = Pipeline(
            lambda: Writer.open(self._dsn), self.writer, self.spool, protocols, self.metrics, self.terminals.rows,
            self.terminals.resolve,
        )  # fmt: skip
        self.pipeline.on_accepted = self.on_accepted
        parts.push_async_callback(self.pipeline.close)
        parts.kept("history", self.history.run)
        self.receiver = Receiver(
            settings, protocols, self.pipeline, self.terminals, self.history, self.metrics, self._dsn,
            supervisor=parts.supervisor, instance=instance, secret=await instance_secret(self._pool),
            worker=self._worker, processes=self._processes, shared=self._apart, polls=self._worker <= 1,
        )  # fmt: skip
        parts.background("store watch", self.pipeline.watch_store())

    async def listen(self) -> None:
        """Accept terminals."""
        await self.pipeline.keeper.open()
        await self.receiver.start()
        self._parts.push_async_callback(self.receiver.stop)
        self._parts.kept("timeouts", self.receiver.connections.sweep)
        self._parts.kept("asking", self.receiver.conversations.asking.run)
        self._parts.kept("commands", self.receiver.conversations.commanding.run)
        self._parts.kept("registrations", partial(self.receiver.registrations.follow, release=self._worker <= 1))

    async def prepare_writer(self) -> None:
        """Learn what layouts and partitions there are; make the coming week's."""
        link = await Writer.open(self._dsn)
        try:
            await self.writer.prepare(link)
        finally:
            await link.close()

    async def keep_prepared(self) -> None:
        """Make the coming week's partition in time, here and in every process; ends by cancellation."""
        while True:
            await asyncio.sleep(PARTITIONS_PERIOD)
            try:
                await self.prepare_writer()
            except (psycopg.Error, OSError) as error:
                _log.warning("partitions not looked after", error=str(error).strip())

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Protocol to bound addresses."""
        return self.receiver.addresses

    @property
    def spool_bytes(self) -> int:
        """What waits in the spool."""
        return self.spool.bytes

    @property
    def spool_frames(self) -> int:
        """What waits in the spool."""
        return self.spool.frames

    @property
    def store_up(self) -> bool:
        """Whether the store answered when it was last asked."""
        return self.pipeline.keeper.store_up

    def reasons(self) -> set[str]:
        """Words for why frames are not accepted, or nobody new is; empty while they are."""
        keeper = self.pipeline.keeper
        if keeper.refusing:
            return {"store", keeper.reason}
        # While the store is away, new ones are let in for later, and those that must be looked up wait for it.
        return {"admission"} if keeper.store_up and self.terminals.failing else set()

    def connected_count(self) -> int:
        """How many terminals are connected and logged in."""
        return self.receiver.conversations.count()

    async def last_contacts(self, terminals: Iterable[str]) -> dict[str, float]:
        """When their open connections last brought bytes, Unix seconds; those that have none are left out."""
        found = {terminal: self.receiver.conversations.last_contact(terminal) for terminal in terminals}
        return {terminal: last for terminal, last in found.items() if last is not None}

    async def counted(self, terminal: str) -> dict[int, tuple[int, int]]:
        """Frames and damaged ones of its open connections, by their number in the history."""
        found = self.receiver.conversations.counted(terminal)
        return {} if found is None else {found[0]: found[1:]}

    def brokers(self) -> BrokerStates:
        """How it stands with each broker."""
        return self.receiver.brokers.states()

    async def refresh(self) -> None:
        """Nothing to do: the counters are this process's own."""

    async def prepare(self, settings: Settings) -> Change:
        """Bind and read what other settings need; see `Listeners.prepare`."""
        return await self.receiver.prepare(settings)

    def discard(self, change: Change) -> None:
        """The other settings are not to be."""
        change.discard()

    async def reconfigure(self, settings: Settings, change: Change) -> None:
        """Take over other settings; connections that are open stay open."""
        self.settings = settings
        self.spool.resize(settings.spool.max_size // self._processes)
        await self.receiver.reconfigure(settings, change)


def raise_descriptor_limit() -> None:
    """A connection takes a descriptor: as many as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
