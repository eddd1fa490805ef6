"""Listeners, connections and their limits; one receiver per process."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence

import psycopg
import structlog

from gateway.metrics import ReceiveMetrics
from gateway.receive.connection import TerminalConnection
from gateway.receive.datagram import DatagramEndpoint
from gateway.receive.history import History
from gateway.receive.pipeline import Pipeline
from gateway.receive.terminals import CHANNEL, NO_ROW, Terminals
from gateway.settings import Listen, Settings
from protocols.records import Frame, Malformed, Message, Quarantined, Reply, Session
from protocols.registry import WireProtocol

_log = structlog.get_logger()

DESCRIPTOR_RESERVE = 256  # for the store, the desk, logs and listeners
BACKLOG = 4096  # a fleet reconnects at once
_SWEEP = 1.0  # s between looks for timeouts
_SLICE = 5000  # connections looked at before others get the loop


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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.protocols = list(protocols)
        self.pipeline = pipeline
        self.terminals = terminals
        self.history = history
        self.metrics = metrics
        self.ask_version = settings.watch.firmware.ask
        self.stopping = False
        self.offset = 0.0  # wall clock minus the loop's clock
        self.addresses: dict[str, list[str]] = {}  # protocol -> bound addresses
        self._clock = clock
        self._dsn = dsn
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._servers: list[asyncio.Server] = []
        self._endpoints: list[asyncio.DatagramTransport] = []
        self._connections: dict[TerminalConnection, None] = {}  # in the order they came
        self._gone = asyncio.Event()
        self._gone.set()
        self._by_terminal: dict[str, TerminalConnection] = {}
        self._per_address: Counter[str] = Counter()
        self._networks = [ipaddress.ip_network(str(network)) for network in settings.limits.allow]
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._limit = max(1, min(settings.limits.connections, descriptors - DESCRIPTOR_RESERVE))
        self._set_offset()

    # -- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bind every listener."""
        _log.info("connection limit", connections=self._limit)
        for listen in self.settings.listen:
            await self._bind(listen)

    async def _bind(self, listen: Listen) -> None:
        number = next(n for n, p in enumerate(self.protocols) if p.name == listen.protocol)
        host = listen.host or None
        if listen.transport == "udp":
            transport, _ = await self._loop.create_datagram_endpoint(
                lambda: DatagramEndpoint(self, number), local_addr=(listen.host, listen.port)
            )
            self._endpoints.append(transport)
            bound = [transport.get_extra_info("sockname")]
        else:
            server = await self._loop.create_server(
                lambda: TerminalConnection(self, number, self.new_session(number, "tcp")),
                host,
                listen.port,
                backlog=BACKLOG,
                reuse_address=True,
            )
            self._servers.append(server)
            bound = [s.getsockname() for s in server.sockets]
        for name in bound:
            address = f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
            self.addresses.setdefault(
                listen.protocol if listen.transport == "tcp" else f"{listen.protocol}/udp", []
            ).append(address)
            _log.info("listening", protocol=listen.protocol, transport=listen.transport, address=address)

    async def stop(self, timeout: float = 10.0) -> None:
        """Accept no more, answer what was taken, close."""
        self.stopping = True
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.stop()
        try:
            async with asyncio.timeout(timeout):
                await self.pipeline.drain()
                await self._gone.wait()
        except TimeoutError:
            _log.warning("connections cut at the end", connections=len(self._connections))
            for connection in list(self._connections):
                connection.abandoned()
        for transport in self._endpoints:
            transport.close()
        await asyncio.sleep(0)

    async def sweep(self) -> None:
        """End connections that do not log in or say nothing; ends by cancellation."""
        login, idle = self.settings.login.timeout, self.settings.login.idle_timeout
        while True:
            await asyncio.sleep(_SWEEP)
            self._set_offset()
            for place, connection in enumerate(list(self._connections)):
                now = self.now()
                if connection.waiting:
                    pass  # it waits for us
                elif not connection.logged_in and now - connection.opened > login:
                    connection.expire("login timeout")
                elif now - connection.last > idle:
                    connection.expire("idle timeout")
                if place % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)

    def _set_offset(self) -> None:
        self.offset = self._clock() - self._loop.time()

    # -- connections --------------------------------------------------------------------------------------------

    def new_session(self, protocol: int, transport: str) -> Session:
        """A session of protocol number `protocol`, with the configured frame limit."""
        return self.protocols[protocol].new_session(transport=transport, max_frame=self.settings.limits.frame_bytes)

    @property
    def deferring(self) -> bool:
        """Whether unknown terminals are accepted without a row: the policy lets them in and the store is away."""
        return self.settings.login.policy == "accept" and not self.pipeline.keeper.store_up

    def connected(self, connection: TerminalConnection, host: str) -> str:
        """Count a new connection; the reason if it is refused."""
        self.metrics.connections[connection.protocol] += 1
        self._connections[connection] = None
        self._gone.clear()
        self._per_address[host] += 1
        most = self.settings.limits.connections_per_address
        if self.stopping:
            reason = "stopping"
        elif not self.allowed(host):
            reason = "not_allowed"
        elif len(self._connections) > self._limit:
            reason = "limit"
        elif most and self._per_address[host] > most:
            reason = "address_limit"
        else:
            self.metrics.accepted[connection.protocol] += 1
            return ""
        self.metrics.refused[reason] += 1
        return reason

    def allowed(self, host: str) -> bool:
        """Whether `limits.allow` lets this address in."""
        if not self._networks:
            return True
        address = ipaddress.ip_address(host.split("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def logged_in(self, connection: TerminalConnection) -> None:
        """The newest connection of a terminal closes the one before it."""
        older = self._by_terminal.get(connection.terminal)
        self._by_terminal[connection.terminal] = connection
        if older is not None and older is not connection:
            older.supersede()

    def disconnected(self, connection: TerminalConnection) -> None:
        """Forget a connection."""
        self._connections.pop(connection, None)
        if not self._connections:
            self._gone.set()
        self.metrics.connections[connection.protocol] -= 1
        host = connection.address.rpartition(":")[0]
        self._per_address[host] -= 1
        if self._per_address[host] <= 0:
            del self._per_address[host]
        if self._by_terminal.get(connection.terminal) is connection:
            del self._by_terminal[connection.terminal]

    def connected_count(self) -> int:
        """How many terminals are connected and logged in."""
        return len(self._by_terminal)

    def last_contact(self, terminal: str) -> float | None:
        """When its open connection last brought bytes, Unix seconds; None while it has none."""
        connection = self._by_terminal.get(terminal)
        return connection.last + self.offset if connection is not None else None

    def malformed(self, protocol: int, event: Malformed) -> None:
        """Count damage."""
        self.metrics.malformed[event.reason][protocol] += 1

    # -- what was kept for a terminal that is registered now ----------------------------------------------------

    async def release_quarantine(self) -> None:
        """Decode, in order, what waited for registration; then whenever a terminal is registered. Ends by cancel."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, application_name="dozor registry"
                ) as link:
                    await link.execute(f"LISTEN {CHANNEL}")
                    await self._release(link, None)
                    async for notice in link.notifies():
                        if await self.terminals.reload(notice.payload) != NO_ROW:
                            await self._release(link, notice.payload)
            except (psycopg.Error, OSError, TimeoutError):
                await asyncio.sleep(1.0)

    async def _release(self, link: psycopg.AsyncConnection, terminal: str | None) -> None:
        after = 0
        while True:
            cursor = await link.execute(
                "SELECT q.id, q.terminal, t.id, q.protocol, q.variant, q.data, extract(epoch FROM q.received)::float8 "
                "FROM quarantine q JOIN terminal t ON t.identity = q.terminal WHERE q.reason = 'unregistered' "
                "AND q.id > %s AND (%s::text IS NULL OR q.terminal = %s) ORDER BY q.id LIMIT 500",
                (after, terminal, terminal),
            )
            rows = await cursor.fetchall()
            if not rows:
                return
            for identifier, name, row, protocol, variant, data, received in rows:
                after = identifier
                self.terminals.rows[name] = row
                connection = self._by_terminal.get(name)
                if connection is not None:
                    connection.row = row  # from here on its frames are decoded as they come
                number = next((n for n, p in enumerate(self.protocols) if p.name == protocol), None)
                if number is None:
                    continue
                replay = _Replay(number, name, row)
                records = _records_of(data)
                self.pipeline.put(replay, Frame(data, records, 0, variant), received - self.offset)
                if await replay.stored:
                    await link.execute("DELETE FROM quarantine WHERE id = %s", (identifier,))


def _records_of(data: bytes) -> int:
    """An upper guess, for the size of batches only."""
    return max(1, len(data) // 40)


class _Replay:
    """A frame out of quarantine on its way to the store."""

    def __init__(self, protocol: int, terminal: str, row: int) -> None:
        self.protocol, self.terminal, self.row = protocol, terminal, row
        self.stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def committed(self, items: Sequence[Frame | Message | Reply], refused: Sequence[Sequence[Quarantined]]) -> None:
        """It is in the store, as records or under the reason why not."""
        self.stored.set_result(True)

    def abandoned(self) -> None:
        """The store is away: later again."""
        self.stored.set_result(False)
