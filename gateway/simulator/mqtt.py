"""A simulated terminal that publishes to a broker: each frame is a message, and PUBACK its acknowledgement."""

from __future__ import annotations

import asyncio
import json
from typing import cast

import aiomqtt

from gateway.mqtt import Broker
from gateway.simulator.fleet import Vehicle
from gateway.simulator.links import FIRST_RETRY, Clock, Link
from gateway.simulator.truth import Truth
from protocols.terminals import Terminal

_TIMEOUT = 10.0  # s for any answer of the broker
_GOODBYE = 1.0  # s for the last word


class MqttLink(Link):
    """A terminal over MQTT, with a status of its own and a last will."""

    def __init__(
        self, vehicle: Vehicle, terminal: Terminal, target: Broker, clock: Clock, truth: Truth, seed: int
    ) -> None:
        super().__init__(vehicle, terminal, (target.host, target.port), clock, truth, seed)
        self._broker = target
        self._wake = asyncio.Event()
        self._goes = False  # in an orderly way

    @property
    def ending(self) -> asyncio.Task[None] | None:
        """What has to end before the terminal is gone."""
        return self._connecting

    def _status(self, *, online: bool) -> str:
        return json.dumps({"online": online, "ts": round(self.clock.now())}, separators=(",", ":"))

    async def _open(self) -> None:
        name, protocol = self.terminal.spec.identity, self.terminal.spec.protocol
        status = f"status/{name}"
        try:
            async with aiomqtt.Client(
                self._broker.host, self._broker.port, identifier=name, protocol=aiomqtt.ProtocolVersion.V5,
                username=self._broker.user or None, password=self._broker.password or None, timeout=_TIMEOUT,
                will=aiomqtt.Will(status, self._status(online=False), 1, retain=True),
            ) as client:  # fmt: skip
                try:
                    await client.publish(status, self._status(online=True), 1, retain=True)
                    self.connection_made(cast("asyncio.Transport", _Hanging(self)))
                    await self._publish(client, f"telemetry/{name}/{protocol}")
                except asyncio.CancelledError:
                    if self._goes:
                        async with asyncio.timeout(_GOODBYE):
                            await client.publish(status, self._status(online=False), 1, retain=True)
                    raise
        except (aiomqtt.MqttError, OSError, TimeoutError):
            self.truth.count(protocol, "connections_failed")
        finally:
            self.connection_lost(None)

    async def _publish(self, client: aiomqtt.Client, topic: str) -> None:
        while True:
            self._wake.clear()
            if self.powered:
                for frame in self.terminal.datagrams(self.clock.now()):
                    await client.publish(topic, frame, 1)
                    self.terminal.carried(self.clock.now())
            await self._wake.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The broker knows who it is."""
        self._transport = cast("asyncio.Transport", transport)
        self._retry = FIRST_RETRY
        now = self.clock.now()
        if self.first_connected_at is None:
            self.first_connected_at = now
        self.terminal.connect_carried(now)

    def _pump(self) -> None:
        self._wake.set()

    def close(self) -> None:
        """Say goodbye."""
        self._goes = True
        super().close()

    def end(self) -> None:
        """The connection is to end."""
        if self._connecting is not None:
            self._connecting.cancel()


class _Hanging:
    """What a link asks of its transport, for one that has none."""

    def __init__(self, link: MqttLink) -> None:
        self._link = link

    def close(self) -> None:
        self._link.end()

    abort = close
