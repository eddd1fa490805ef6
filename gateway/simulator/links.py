"""One simulated terminal on a real socket: reports when due, reconnects, loses its link, falls silent.

A report is stamped with the time it was due, not with the time the loop got to it: the same seed gives the same
records on a busy machine too.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import cast

from gateway.simulator.fleet import Vehicle
from gateway.simulator.truth import Truth
from protocols.terminals import Terminal

# Terminals in the field wait minutes; here a restarted server must be found again at once.
FIRST_RETRY, _LAST_RETRY = 0.3, 3.0


class Clock:
    """Unix time that follows the monotonic clock: no step of the wall clock disturbs a run."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.unix = time.time()
        self._started = time.monotonic()
        self._loop_started = loop.time()

    def now(self) -> float:
        """Unix seconds, to the microsecond (uvloop's own time is cached and has milliseconds)."""
        return self.unix + (time.monotonic() - self._started)

    @property
    def elapsed(self) -> float:
        """Seconds since the start, in the time of the loop's timers."""
        return self.loop.time() - self._loop_started

    def at(self, elapsed: float) -> float:
        """Seconds since the start → the loop's time."""
        return self._loop_started + elapsed


class Link(asyncio.Protocol):
    """A terminal over TCP.

    States: `powered` (reports), `on_air` (may be connected); both true but for faults and lost links.
    """

    def __init__(
        self, vehicle: Vehicle, terminal: Terminal, target: tuple[str, int], clock: Clock, truth: Truth, seed: int
    ) -> None:
        self.vehicle = vehicle
        self.terminal = terminal
        self.target = target
        self.clock = clock
        self.truth = truth
        self.ack_timeout = 30.0
        self.powered = True
        self.on_air = True
        self.first_connected_at: float | None = None
        self._rng = random.Random(f"{seed}/{terminal.spec.identity}/link")  # noqa: S311 - seeded on purpose
        self._retry = FIRST_RETRY
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._retry_timer: asyncio.TimerHandle | None = None
        self._loss_timer: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._stopped = False

    # -- life

    def start(self, delay: float, backlog: int = 0) -> None:
        """Connect `delay` seconds after the clock's start; `backlog` records are there already."""
        start_ms = round(self.clock.unix * 1000)
        for at in self.vehicle.backlog(backlog) if backlog else ():
            self.terminal.record(self.vehicle.read(at, start_ms))
        self._schedule()
        self._retry_timer = self.clock.loop.call_at(self.clock.at(delay), self._connect)

    def lose_link(self, every: float, length: float) -> None:
        """Break the connection now and then, for some `length` seconds, on average `every` seconds."""
        if self._stopped or every <= 0:
            return

        def lost() -> None:
            if self.powered and self.on_air:
                self.off_air()
                self._loss_timer = self.clock.loop.call_later(length * self._rng.uniform(0.5, 1.5), back)
            else:
                self.lose_link(every, length)

        def back() -> None:
            self.back_on_air()
            self.lose_link(every, length)

        self._loss_timer = self.clock.loop.call_later(self._rng.expovariate(1 / every), lost)

    def stop_reporting(self) -> None:
        """No new records from here on; what is in flight may still be acknowledged."""
        self._stopped = True
        for timer in (self._timer, self._retry_timer, self._loss_timer):
            if timer is not None:
                timer.cancel()

    def close(self) -> None:
        """Hang up."""
        self.stop_reporting()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.close()

    @property
    def waits(self) -> bool:
        """Connected, and an ack is owed."""
        return self._transport is not None and self.terminal.awaiting > 0

    # -- faults

    def power_off(self, *, hang: bool) -> None:
        """Silence: the connection dies without a word, or (`hang`) stays open with nothing more on it."""
        self.powered = False
        if not hang:
            self.off_air()

    def power_on(self) -> None:
        """Report again, from now on."""
        self.powered = True
        self.vehicle.due = max(self.vehicle.due, self.clock.elapsed)
        self._schedule()
        self.back_on_air()

    def off_air(self) -> None:
        """Recording goes on, the connection is gone."""
        self.on_air = False
        if self._retry_timer is not None:
            self._retry_timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    def back_on_air(self) -> None:
        """The modem works again."""
        self.on_air = True
        if self._transport is None and not self._stopped:
            self._connect()

    # -- reports

    def _schedule(self) -> None:
        if not self._stopped and self.powered:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.clock.loop.call_at(self.clock.at(self.vehicle.due), self._report)

    def _report(self) -> None:
        if self._stopped or not self.powered:
            return
        start_ms = round(self.clock.unix * 1000)
        while self.vehicle.due <= self.clock.elapsed:
            self.terminal.record(self.vehicle.read(self.vehicle.due, start_ms))
        since = self.terminal.waiting_since()
        if self._transport is not None and since is not None and self.clock.now() - since > self.ack_timeout:
            self.truth.count(self.terminal.spec.protocol, "ack_timeouts")
            self._transport.abort()
        else:
            self._pump()
        self._schedule()

    def _pump(self) -> None:
        transport = self._transport
        if transport is None:
            return
        if self.powered:
            data = self.terminal.data_to_send(self.clock.now())
            if data:
                transport.write(data)
        if self.terminal.wants_close:
            transport.close()

    # -- the socket

    def _connect(self) -> None:
        if self._stopped or not self.on_air or self._transport is not None:
            return
        if self._connecting is None or self._connecting.done():
            self._connecting = self.clock.loop.create_task(self._open())

    async def _open(self) -> None:
        try:
            await self.clock.loop.create_connection(lambda: self, *self.target)
        except OSError:
            self.truth.count(self.terminal.spec.protocol, "connections_failed")
            self._try_later()

    def _try_later(self) -> None:
        if self._stopped or not self.on_air or not self.powered:
            return
        if self._retry_timer is not None:
            self._retry_timer.cancel()
        self._retry_timer = self.clock.loop.call_later(self._retry * self._rng.uniform(0.5, 1.5), self._connect)
        self._retry = min(self._retry * 2, _LAST_RETRY)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Log in."""
        self._transport = cast("asyncio.Transport", transport)
        if self._stopped or not self.on_air:
            transport.close()
            return
        now = self.clock.now()
        if self.first_connected_at is None:
            self.first_connected_at = now
        self.terminal.connect(now)
        self._pump()

    def data_received(self, data: bytes) -> None:
        """The server's words; a terminal that hangs still has its modem take them."""
        self.terminal.receive(data, self.clock.now())
        if self.terminal.ready:
            self._retry = FIRST_RETRY
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """Try again, but for a terminal that is off."""
        self._transport = None
        self.terminal.disconnected()
        self._try_later()


class UdpLink(Link):
    """A terminal over UDP: a datagram at a time, sent again when its answer is late."""

    def __init__(
        self, vehicle: Vehicle, terminal: Terminal, target: tuple[str, int], clock: Clock, truth: Truth, seed: int
    ) -> None:
        super().__init__(vehicle, terminal, target, clock, truth, seed)
        self.ack_timeout = 3.0  # a datagram may be lost: do not wait as long as for a connection
        self._socket: asyncio.DatagramTransport | None = None

    async def _open(self) -> None:
        link = self

        class Datagrams(asyncio.DatagramProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                link._socket = cast("asyncio.DatagramTransport", transport)
                link.connection_made(transport)

            def datagram_received(self, data: bytes, addr: object) -> None:
                link.data_received(data)

            def error_received(self, exc: Exception) -> None:
                link.truth.count(link.terminal.spec.protocol, "connections_failed")

            def connection_lost(self, exc: Exception | None) -> None:
                link._socket = None
                link.connection_lost(exc)

        try:
            await self.clock.loop.create_datagram_endpoint(Datagrams, remote_addr=self.target)
        except OSError:
            self.truth.count(self.terminal.spec.protocol, "connections_failed")
            self._try_later()

    def _pump(self) -> None:
        if self._socket is None or not self.powered:
            return
        for datagram in self.terminal.datagrams(self.clock.now()):
            self._socket.sendto(datagram)
        if self.terminal.wants_close:
            self._socket.close()
