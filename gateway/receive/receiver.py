"""Receiving as a whole, one per process: conversations, the connections and brokers that carry them, listeners,
the registry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from gateway.configuration.settings import Settings
from gateway.metrics import ReceiveMetrics
from gateway.parts import Supervisor
from gateway.receive.broker.brokers import Brokers
from gateway.receive.broker.subscription import Plan
from gateway.receive.connections import Connections
from gateway.receive.conversations import Conversations
from gateway.receive.history import History
from gateway.receive.lines.line import Lines
from gateway.receive.listener import Change as ListenersChange
from gateway.receive.listener import Listeners
from gateway.receive.pipeline import Pipeline
from gateway.receive.registrations import Registrations
from gateway.receive.replay import Replays
from gateway.receive.terminals import Terminals
from protocols.registry import WireProtocol

_log = structlog.get_logger()

STOP_TIMEOUT = 4.0  # s to answer what was taken before connections are cut


@dataclass(frozen=True, slots=True)
class Change:
    """What a reload makes of listeners and brokers: all is bound and read already."""

    listeners: ListenersChange
    brokers: list[Plan]

    def discard(self) -> None:
        """It is not to be."""
        for listener in self.listeners.added:
            listener.close()


class Receiver:
    """Accepts terminals and hands their frames to the pipeline."""

    def __init__(
        self,
        settings: Settings,
        protocols: Sequence[WireProtocol],
        pipeline: Pipeline,
        terminals: Terminals,
        history: History,
        metrics: ReceiveMetrics,
        dsn: str,
        *,
        supervisor: Supervisor | None = None,
        instance: str = "",
        secret: bytes = b"",
        clock: Callable[[], float] = time.time,
        worker: int = 0,
        processes: int = 1,
        shared: bool = False,
        polls: bool = True,
    ) -> None:
        """`processes` of them receive on the same ports; `worker` counts them from 1, and is 0 where there is one.

        One of them `polls` the serial lines. `shared`: the ports are held by the process that started this one.
        """
        self._settings = settings
        self.conversations = Conversations(
            settings, protocols, pipeline, terminals, history, metrics, clock=clock, processes=processes,
            secret=secret,
        )  # fmt: skip
        self.connections = Connections(settings, self.conversations)
        self._listeners = Listeners(self.connections, shared=shared)
        self._lines = Lines(self.conversations)
        self._polls = polls
        metrics.lines = self._lines.results
        self.brokers = Brokers(self.conversations, supervisor or Supervisor(), instance, worker, processes)
        replays = Replays(terminals.pool, pipeline, protocols, lambda: self.conversations.offset, shared=shared)
        self.registrations = Registrations(dsn, self.conversations, replays)

    async def start(self) -> None:
        """Bind every listener, then go to the brokers."""
        _log.info("connection limit", connections=self.connections.gate.most)
        change = await self.prepare(self._settings)
        self._listeners.apply(change.listeners)
        await self.brokers.apply(change.brokers)
        self._poll()

    def _poll(self) -> None:
        self._lines.apply(self._settings.serial if self._polls else [])

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Protocol, with ``/udp`` where it is, to bound addresses."""
        return self._listeners.addresses

    async def prepare(self, settings: Settings) -> Change:
        """Bind and read what other settings need; see `Listeners.prepare` and `Brokers.prepare`."""
        brokers = await self.brokers.prepare(settings)
        return Change(await self._listeners.prepare(settings.listen), brokers)

    async def reconfigure(self, settings: Settings, change: Change) -> None:
        """Take over other settings; connections that are open stay open."""
        self._settings = settings
        self.conversations.configure(settings)
        self.connections.configure(settings)
        self._listeners.apply(change.listeners)
        await self.brokers.apply(change.brokers)
        self._poll()

    async def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Accept no more, answer what was taken, close."""
        self._listeners.stop_accepting()
        self.brokers.hold()
        await asyncio.gather(self.connections.stop(timeout), self._lines.stop(timeout))
        await self.brokers.stop()
        self._listeners.close()
        await asyncio.sleep(0)
        self.connections.close()
