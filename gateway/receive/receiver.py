"""Listeners, connections and their limits; one receiver per process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import psycopg
import structlog

from gateway.metrics import ReceiveMetrics
from gateway.receive.admissions import Admissions
from gateway.receive.connection import TerminalConnection
from gateway.receive.history import History
from gateway.receive.identity import Alternation, Note, remark
from gateway.receive.limits import Gate, LoginLimit, Pace
from gateway.receive.listener import Change, Listeners
from gateway.receive.pipeline import Pipeline
from gateway.receive.sockets import Sockets
from gateway.receive.terminals import CHANNEL, NO_ROW, Terminals
from gateway.settings import Limits, Settings
from protocols.records import Frame, Malformed, Message, Quarantined, Reply, Session
from protocols.registry import WireProtocol

_log = structlog.get_logger()

STOP_TIMEOUT = 4.0  # s to answer what was taken before connections are cut
_LATE = 3.0  # s: by then a batch is in the store, or in a spool whose drain asks the registry
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
        shared: bool = False,
    ) -> None:
        """`shared`: other processes receive on the same ports."""
        self.settings = settings
        self.protocols = list(protocols)
        self.pipeline = pipeline
        self.terminals = terminals
        self.history = history
        self.metrics = metrics
        self.ask_version = settings.watch.firmware.ask
        self.stopping = False
        self.offset = 0.0  # wall clock minus the loop's clock
        self._clock = clock
        self.shared = shared
        self.on_login: Callable[[str, str], None] | None = None  # terminal, address: other processes want to know
        self._dsn = dsn
        self._late: asyncio.Task[None] | None = None
        self._late_wanted = False
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.pace: Pace | None = None
        self.gate = Gate(settings.limits)
        self._logins: LoginLimit | None = None
        self._limit(None, settings.limits)
        self.admissions = Admissions()
        self._alternation = Alternation()
        self._listeners = Listeners(self)
        self._sockets: Sockets | None = None
        self._connections: dict[TerminalConnection, None] = {}  # in the order they came
        self._gone = asyncio.Event()
        self._gone.set()
        self._by_terminal: dict[str, TerminalConnection] = {}
        self._set_offset()

    # -- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bind every listener."""
        _log.info("connection limit", connections=self.gate.most)
        await self._listeners.apply(await self._listeners.prepare(self.settings.listen))

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Protocol, with ``/udp`` where it is, to bound addresses."""
        return self._listeners.addresses

    async def prepare(self, settings: Settings) -> Change:
        """Bind and read what other settings need; see `Listeners.prepare`."""
        return await self._listeners.prepare(settings.listen)

    async def reconfigure(self, settings: Settings, change: Change) -> None:
        """Take over other settings; connections that are open stay open."""
        before, self.settings = self.settings, settings
        self.ask_version = settings.watch.firmware.ask
        self.terminals.policy = settings.login.policy
        self._limit(before.limits, settings.limits)
        await self._listeners.apply(change)

    def _limit(self, before: Limits | None, limits: Limits) -> None:
        self.gate.configure(limits)
        logins, records = limits.logins_per_minute_per_address, limits.records_per_second_per_terminal
        if before is None or before.logins_per_minute_per_address != logins:
            self._logins = LoginLimit(logins) if logins else None
        if before is None or before.records_per_second_per_terminal != records:
            if self.pace is not None:
                self.pace.release_all()
            self.pace = Pace(records, self.now) if records else None

    async def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Accept no more, answer what was taken, close."""
        self.stopping = True
        self._listeners.stop_accepting()
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
        self._listeners.close()
        await asyncio.sleep(0)
        if self._sockets is not None:
            self._sockets.close()

    async def sweep(self) -> None:
        """End connections that do not log in or say nothing; ends by cancellation."""
        while True:
            await asyncio.sleep(_SWEEP)
            self._set_offset()
            login, idle = self.settings.login.timeout, self.settings.login.idle_timeout
            for place, connection in enumerate(list(self._connections)):
                now = self.now()
                if (
                    connection.waiting
                    or connection.linger(now)
                    or (self.pace is not None and self.pace.holds(connection))
                ):
                    pass  # it waits for us, or is on its way out
                elif not connection.logged_in and now - connection.opened > login:
                    connection.expire("login timeout")
                elif now - connection.last > idle:
                    connection.expire("idle timeout")
                if place % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)

    def _set_offset(self) -> None:
        self.offset = self._clock() - self._loop.time()

    # -- connections --------------------------------------------------------------------------------------------

    @property
    def sockets(self) -> Sockets:
        """Connections that are plain TCP."""
        if self._sockets is None:
            self._sockets = Sockets()
        return self._sockets

    def new_session(self, protocol: int, transport: str) -> Session:
        """A session of protocol number `protocol`, with the configured frame limit."""
        return self.protocols[protocol].new_session(transport=transport, max_frame=self.settings.limits.frame_bytes)

    @property
    def deferring(self) -> bool:
        """Whether unknown terminals are accepted without a row: the policy lets them in and the store is away."""
        return self.settings.login.policy == "accept" and not self.pipeline.keeper.store_up

    def connected(self, connection: TerminalConnection) -> str:
        """Count a new connection; the reason if it is refused."""
        reason = self.gate.enter(connection.host)
        if reason or self.stopping:
            self._register(connection)
            reason = "stopping" if self.stopping else reason
            self.metrics.refused[reason] += 1
            return reason
        return self.joined(connection)

    def joined(self, connection: TerminalConnection) -> str:
        """Take a connection that the gate has let in; the reason if it is refused after all."""
        self._register(connection)
        if self.stopping:
            self.metrics.refused["stopping"] += 1
            return "stopping"
        self.metrics.accepted[connection.protocol] += 1
        return ""

    def _register(self, connection: TerminalConnection) -> None:
        self.metrics.connections[connection.protocol] += 1
        self._connections[connection] = None
        self._gone.clear()

    def allowed(self, host: str) -> bool:
        """Whether `limits.allow` lets this address in."""
        return self.gate.allowed(host)

    def may_log_in(self, connection: TerminalConnection) -> bool:
        """Whether its address has not made too many logins."""
        if self._logins is None or self._logins.take(connection.host, self.now()):
            return True
        self.metrics.refused["login_rate"] += 1
        self.metrics.logins["refused"][connection.protocol] += 1
        return False

    def logged_in(self, connection: TerminalConnection) -> None:
        """The newest connection of a terminal closes the one before it."""
        terminal = connection.terminal
        older = self._by_terminal.get(terminal)
        self._by_terminal[terminal] = connection
        if older is connection:
            return
        reason = f"replaced by a newer connection from {connection.address}"
        host = connection.host
        other = self._alternation.came(terminal, host, older.host if older is not None else None, self.now())
        if other is not None:
            _log.warning("duplicate identity", terminal=terminal, addresses=[other, host])
            reason = f"duplicate identity: logins alternate between {other} and {host}"
            self.pipeline.put(Note(connection.protocol, terminal, connection.row), remark(other, host), self.now())
        if older is not None:
            older.supersede(reason)
        if self.pace is not None:
            self.pace.came(connection)
        if self.on_login is not None:
            self.on_login(terminal, connection.address)

    def logged_in_elsewhere(self, terminal: str, address: str) -> None:
        """A terminal's newest connection is another process's: an older one here ends."""
        host = address.rpartition(":")[0]
        older = self._by_terminal.pop(terminal, None)
        # That process tells of an alternation; here it is only followed.
        self._alternation.came(terminal, host, older.host if older is not None else None, self.now())
        self._alternation.left(terminal, host, self.now())
        if older is not None:
            older.supersede(f"replaced by a newer connection from {address}")

    def disconnected(self, connection: TerminalConnection) -> None:
        """Forget a connection."""
        self._connections.pop(connection, None)
        if not self._connections:
            self._gone.set()
        self.metrics.connections[connection.protocol] -= 1
        self.gate.leave(connection.host)
        if self.pace is not None:
            self.pace.forget(connection)
        if self._by_terminal.get(connection.terminal) is connection:
            del self._by_terminal[connection.terminal]
            self._alternation.left(connection.terminal, connection.host, self.now())

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

    async def follow_registry(self, *, release: bool = True) -> None:
        """Learn of terminals that are registered while they are connected. Ends by cancel.

        The one process that is to `release` decodes, in order, what waited for that.
        """
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, application_name="dozor registry"
                ) as link:
                    await link.execute(f"LISTEN {CHANNEL}")
                    for name in [c.terminal for c in self._by_terminal.values() if c.row == NO_ROW]:
                        await self._look_up(name)  # perhaps while nobody listened
                    if release:
                        await self._release(None)
                    async for notice in link.notifies():  # which keeps `link` to itself
                        if await self._look_up(notice.payload) and release:
                            await self._release(notice.payload)
                            self._release_late()
            except (psycopg.Error, OSError, TimeoutError):
                await asyncio.sleep(1.0)

    async def _look_up(self, name: str) -> bool:
        """Read a terminal of the registry again; whether it is there."""
        row = await self.terminals.reload(name)
        connection = self._by_terminal.get(name)
        if row != NO_ROW and connection is not None and connection.row == NO_ROW:
            connection.registered(row)
        return row != NO_ROW

    async def _settle(self) -> None:
        """Wait until every frame taken so far is committed, whatever it was taken for."""
        barrier = _Replay(0, "", NO_ROW)
        self.pipeline.put(barrier, Reply(b""), self.now())
        await barrier.stored

    def _release_late(self) -> None:
        """Frames that another process took before it knew may still be on their way into quarantine: look again."""
        if self.shared:
            self._late_wanted = True
            if self._late is None or self._late.done():
                self._late = self._loop.create_task(self._look_late())

    async def _look_late(self) -> None:
        while self._late_wanted:
            self._late_wanted = False
            await asyncio.sleep(_LATE)
            try:
                await self._release(None)
            except (psycopg.Error, OSError, TimeoutError):
                self._late_wanted = True

    async def _release(self, terminal: str | None) -> None:
        async with self.terminals.pool.connection() as link:
            await self._replay(link, terminal)

    async def _replay(self, link: psycopg.AsyncConnection, terminal: str | None) -> None:
        after = 0
        settled = False
        while True:
            cursor = await link.execute(
                "SELECT q.id, q.terminal, t.id, q.protocol, q.variant, q.data, extract(epoch FROM q.received)::float8 "
                "FROM quarantine q JOIN terminal t ON t.identity = q.terminal WHERE q.reason = 'unregistered' "
                "AND q.id > %s AND (%s::text IS NULL OR q.terminal = %s) ORDER BY q.id LIMIT 500",
                (after, terminal, terminal),
            )
            rows = await cursor.fetchall()
            if not rows:
                if settled:
                    return
                await self._settle()  # frames taken before the registration may be on their way into quarantine
                settled = True
                continue
            for identifier, name, row, protocol, variant, data, received in rows:
                after = identifier
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
