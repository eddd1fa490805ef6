"""What stands before a session: the PROXY header, then the TLS handshake; both within the time for the login.

    accepted → counted by its peer → header (trusted peers) → counted by its client → handshake → its protocol told
    by its first bytes (listeners of several) → the session

Connections of listeners that have none of these begin at once.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog

from gateway.receive.connection import TerminalConnection
from gateway.receive.connections import Connections
from gateway.receive.limits import Network, within
from gateway.receive.proxy import HeaderError, looks_like_header, read_header
from gateway.receive.sockets import AVAILABLE as SOCKETS
from gateway.receive.telling import Undecided
from gateway.tls import SHUTDOWN_TIMEOUT
from protocols.auto import AUTO
from protocols.records import Malformed

_log = structlog.get_logger()

_PEEK = 16  # bytes: enough to tell a header from a protocol
_AT_ONCE = 64  # connections accepted before others get the loop
_PAUSE = 1.0  # s without accepting when there are no descriptors


class FrontedConnection(TerminalConnection):
    """A connection that was counted, and whose client was found out, before its session begins."""

    __slots__ = ("joined",)

    def __init__(self, connections: Connections, protocol: int, address: str, opened: float, listener: str) -> None:
        super().__init__(connections, protocol, listener)
        self.conversation.address = address
        self.conversation.opened = opened
        self.joined = False  # from then on its end is counted by `connection_lost`

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The way is clear."""
        self.joined = True
        self._begin(transport, self._connections.join(self))

    def eof_received(self) -> bool:
        """TLS has no half-closed connection: what is taken is stored, but its acks no longer reach anybody."""
        plain = self._transport is None or self._transport.get_extra_info("ssl_object") is None
        super().eof_received()
        return plain

    def connection_lost(self, exc: Exception | None) -> None:
        """A handshake that failed never was a connection."""
        if self.joined:
            super().connection_lost(exc)


class _RefusedError(Exception):
    """Not let in, for the reason that is counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


class Acceptor:
    """Accepts on a listening socket, which it owns, and leads each connection to its session."""

    def __init__(
        self,
        connections: Connections,
        protocol: int,
        listening: socket.socket,
        *,
        context: ssl.SSLContext | None,
        proxies: Sequence[Network],
        among: Sequence[str] | None = None,
    ) -> None:
        """`among`: the protocols that are told by the first bytes, none for all; `protocol` counts what is none."""
        self._connections = connections
        self._protocol = protocol
        name = connections.conversations.protocols[protocol].name if among is None else AUTO
        self._name = f"{name}:{listening.getsockname()[1]}"
        self._context = context
        self._proxies = proxies
        self._among = among
        self._plain = SOCKETS and context is None and not proxies and among is None  # nothing stands before the session
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._listening = listening
        self._pause: asyncio.TimerHandle | None = None
        self._listen()

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._accept)

    def _unlisten(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        elif self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)

    @property
    def busy(self) -> bool:
        """Whether connections are on their way to their session."""
        return bool(self._opening)

    def close(self) -> None:
        """Accept no more; those on their way go on, and those in the kernel's queue stay there."""
        self._unlisten()
        self._listening.close()

    def abort(self) -> None:
        """Drop those on their way too."""
        for task in list(self._opening):
            task.cancel()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, peer = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors or buffers: the others need them first
                _log.warning("cannot accept", error=error.strerror)
                self._unlisten()
                self._pause = self._loop.call_later(_PAUSE, self._listen)
                return
            sock.setblocking(False)
            if self._plain:
                connections = self._connections
                connections.sockets.add(sock, TerminalConnection(connections, self._protocol, self._name), peer)
                continue
            task = self._loop.create_task(self._open(sock, peer))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, sock: socket.socket, peer: tuple[Any, ...]) -> None:
        connections = self._connections
        opened = connections.now()
        deadline = opened + connections.settings.login.timeout
        way = _Way(connections, str(peer[0]), int(peer[1]))
        connection: FrontedConnection | None = None
        undecided: Undecided | None = None
        ours = True  # until its transport closes it
        try:
            async with asyncio.timeout_at(deadline):
                await self._clear(sock, way)
            if self._among is None:
                ours = False
                connection = FrontedConnection(connections, self._protocol, way.address, opened, self._name)
                await self._hand_over(sock, connection, deadline)
            else:
                ours = False
                undecided = Undecided(self._among)
                await self._hand_over(sock, undecided, deadline)
                async with asyncio.timeout_at(deadline):
                    name = await undecided.told()
                if name is None:
                    self._none_of_them(undecided, way)
                else:
                    number = connections.conversations.number(name)
                    connection = FrontedConnection(connections, number, way.address, opened, self._name)
                    undecided.pass_on(connection)
        except _RefusedError as refused:
            connections.metrics.refused[refused.reason] += 1
            if refused.args[0]:
                _log.info("connection refused", address=way.address, reason=refused.reason, error=refused.args[0])
        except TimeoutError:
            connections.conversations.malformed(self._protocol, Malformed("timeout"))
        except OSError as error:
            _log.debug("connection lost before its session", address=way.address, error=str(error))
        finally:
            if ours:
                sock.close()
            if undecided is not None:
                undecided.close()  # unless it is its connection's
            if connection is None or not connection.joined:
                way.leave()

    def _none_of_them(self, undecided: Undecided, way: _Way) -> None:
        damage = undecided.damage
        if damage is not None:
            self._connections.conversations.malformed(self._protocol, damage)
            _log.info("connection refused", address=way.address, reason=damage.reason, error=damage.detail)

    async def _clear(self, sock: socket.socket, way: _Way) -> None:
        """Who is it, and may it come in?"""
        trusted = bool(self._proxies) and within(way.host, self._proxies)
        way.enter(trusted=trusted)
        if trusted:
            try:
                source = await read_header(partial(self._loop.sock_recv, sock))
            except HeaderError as error:
                raise _RefusedError("proxy_header", str(error)) from None
            if source is not None:
                way.change(*source)
        elif self._proxies and looks_like_header(await self._peek(sock)):
            raise _RefusedError("proxy_untrusted", "a PROXY header from an address that is not trusted")

    async def _peek(self, sock: socket.socket) -> bytes:
        """The first bytes, left where they are."""
        ready = self._loop.create_future()
        self._loop.add_reader(sock, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            self._loop.remove_reader(sock)
        try:
            return sock.recv(_PEEK, socket.MSG_PEEK)
        except BlockingIOError:
            return b""

    async def _hand_over(self, sock: socket.socket, connection: FrontedConnection | Undecided, deadline: float) -> None:
        if self._context is None:
            if SOCKETS:
                self._connections.sockets.add(sock, connection)
            else:
                await self._loop.connect_accepted_socket(lambda: connection, sock)
            return
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=self._context,
                ssl_handshake_timeout=max(0.1, deadline - self._connections.now()),
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
            )
        except OSError as error:  # ssl.SSLError is one, and so is a handshake that takes too long
            if isinstance(connection, Undecided) or not connection.joined:
                raise _RefusedError("tls", getattr(error, "reason", None) or str(error) or "handshake failed") from None
            raise


class _Way:
    """Where a connection comes from and as whom it is counted."""

    def __init__(self, connections: Connections, host: str, port: int) -> None:
        self._connections = connections
        self._entered = False
        self.host = host
        self.address = f"{host}:{port}"

    def enter(self, *, trusted: bool = False) -> None:
        """Count it in, or refuse it."""
        if self._connections.stopping:
            raise _RefusedError("stopping")
        self._entered = True
        reason = self._connections.gate.enter(self.host, trusted=trusted)
        if reason:
            raise _RefusedError(reason)

    def change(self, host: str, port: int) -> None:
        """It is somebody else's connection, passed on."""
        self.leave()
        self.host = host
        self.address = f"{host}:{port}"
        self.enter()

    def leave(self) -> None:
        """Count it out."""
        if self._entered:
            self._entered = False
            self._connections.gate.leave(self.host)
