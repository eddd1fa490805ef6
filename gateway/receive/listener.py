"""Listeners: bound once; how they are served may change while they listen.

A listener keeps the sockets it has bound and serves duplicates of them. So a change of protocol, certificate or
trusted proxies replaces what accepts, and the kernel's queue of connections that wait goes on undisturbed.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from gateway.configuration.settings import Listen
from gateway.errors import GatewayError
from gateway.receive.connections import Connections
from gateway.receive.datagram import DatagramEndpoint
from gateway.receive.front import Acceptor
from gateway.tls import server_context
from protocols.auto import AUTO
from protocols.registry import UNKNOWN

_log = structlog.get_logger()

BACKLOG = 4096  # a fleet reconnects at once


class Listener:
    """One `[[listen]]`: its sockets, and what serves them."""

    def __init__(self, connections: Connections, listen: Listen, sockets: Sequence[socket.socket]) -> None:
        self._connections = connections
        self._sockets = sockets
        self._servers: list[Acceptor | DatagramEndpoint] = []
        self._left: list[Acceptor] = []  # they accept no more, but connections of theirs are on their way
        self.listen = listen
        self.bound = [_spelled(sock.getsockname()) for sock in sockets]

    @classmethod
    async def bind(cls, connections: Connections, listen: Listen, *, shared: bool) -> Listener:
        """Take the address; `shared`: with other processes.

        Raises
        ------
        GatewayError
            If it is not to be had.
        """
        return cls(connections, listen, await _bind(listen, shared=shared))

    def serve(self, listen: Listen, context: ssl.SSLContext | None) -> None:
        """Serve `listen` from now on, in place of what was served before; at the same address."""
        before, self._servers = self._servers, []
        for sock in self._sockets:
            self._servers.append(self._serve(sock.dup(), listen, context))
        self._stop(before)
        self.listen = listen

    def _serve(
        self, sock: socket.socket, listen: Listen, context: ssl.SSLContext | None
    ) -> Acceptor | DatagramEndpoint:
        connections = self._connections
        among = listen.protocols if listen.protocol == AUTO else None
        number = connections.conversations.number(listen.protocol if among is None else UNKNOWN)
        if listen.transport == "udp":
            return DatagramEndpoint(connections, number, sock, among)
        return Acceptor(connections, number, sock, context=context, proxies=listen.proxy_protocol_from, among=among)

    def _stop(self, servers: Sequence[Acceptor | DatagramEndpoint]) -> None:
        for server in servers:
            server.close()
        left = self._left + [server for server in servers if isinstance(server, Acceptor)]
        self._left = [acceptor for acceptor in left if acceptor.busy]

    def stop_accepting(self) -> None:
        """Take no more connections; datagrams are still received, and answered to, until `close`."""
        tcp = [server for server in self._servers if not isinstance(server, DatagramEndpoint)]
        self._stop(tcp)
        if tcp:
            for sock in self._sockets:
                sock.close()

    def close(self) -> None:
        """Give the address back; connections that were made live on."""
        self._stop(self._servers)
        self._servers = []
        for sock in self._sockets:
            sock.close()

    @property
    def busy(self) -> bool:
        """Whether connections of what was stopped are still on their way to their session."""
        return any(acceptor.busy for acceptor in self._left)

    def abort(self) -> None:
        """Drop connections that have no session yet."""
        for acceptor in self._left:
            acceptor.abort()


@dataclass(frozen=True, slots=True)
class Change:
    """What a reload makes of the listeners: all is bound and read already, so that it cannot fail halfway."""

    served: list[tuple[Listener, Listen, ssl.SSLContext | None]]
    added: list[Listener]
    removed: list[Listener]


class Listeners:
    """All listeners of the process."""

    def __init__(self, connections: Connections, *, shared: bool) -> None:
        """`shared`: other processes receive on the same ports."""
        self._connections = connections
        self._shared = shared
        self._all: list[Listener] = []
        self._removed: list[Listener] = []

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Protocol, with ``/udp`` where it is, to bound addresses."""
        found: dict[str, list[str]] = {}
        for listener in self._all:
            found.setdefault(_label(listener.listen), []).extend(listener.bound)
        return found

    async def prepare(self, wanted: Sequence[Listen]) -> Change:
        """Bind what is new and read certificates; nothing changes yet.

        Raises
        ------
        GatewayError
            If an address or a certificate is not to be had; then nothing is bound.
        """
        contexts = [server_context(entry.tls.cert, entry.tls.key) if entry.tls else None for entry in wanted]
        old = list(self._all)
        served: list[tuple[Listener, Listen, ssl.SSLContext | None]] = []
        added: list[Listener] = []
        try:
            for entry, context in zip(wanted, contexts, strict=True):
                listener = next((one for one in old if _place(one.listen) == _place(entry)), None)
                if listener is not None:
                    old.remove(listener)
                else:
                    listener = await Listener.bind(self._connections, entry, shared=self._shared)
                    added.append(listener)
                served.append((listener, entry, context))
        except GatewayError:
            for listener in added:
                listener.close()
            raise
        return Change(served, added, old)

    def apply(self, change: Change) -> None:
        """Serve as prepared."""
        self._all = [listener for listener, _, _ in change.served]
        for listener, entry, context in change.served:
            new = listener in change.added
            if new or context is not None or entry != listener.listen:
                listener.serve(entry, context)
            if new:
                for address in listener.bound:
                    _log.info("listening", protocol=entry.protocol, transport=entry.transport, address=address)
        for listener in change.removed:
            listener.close()
            for address in listener.bound:
                _log.info("no longer listening", protocol=listener.listen.protocol, address=address)

        self._removed = [listener for listener in (*self._removed, *change.removed) if listener.busy]

    def stop_accepting(self) -> None:
        """Take no more connections."""
        for listener in self._all:
            listener.stop_accepting()
        for listener in (*self._all, *self._removed):
            listener.abort()

    def close(self) -> None:
        """Close everything."""
        for listener in self._all:
            listener.close()
        self._all = []


def _place(listen: Listen) -> tuple[str, str, int, str]:
    """What makes a listener the same one after a reload. Free ports differ, so the protocol tells them apart."""
    return listen.transport, listen.host, listen.port, "" if listen.port else listen.protocol


def _label(listen: Listen) -> str:
    return listen.protocol if listen.transport == "tcp" else f"{listen.protocol}/udp"


def _spelled(name: tuple[str, int]) -> str:
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


def _taken(listen: Listen, error: OSError) -> GatewayError:
    return GatewayError(
        f"cannot listen on {listen.address} ({listen.protocol}): {error.strerror}; take another listen.address"
    )


async def _bind(listen: Listen, *, shared: bool) -> list[socket.socket]:
    kind = socket.SOCK_STREAM if listen.transport == "tcp" else socket.SOCK_DGRAM
    sockets: list[socket.socket] = []
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            listen.host, listen.port, type=kind, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                sock = socket.socket(family, kind)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and len(found) > 1:  # a name with addresses of both families
                    continue
                raise
            sockets.append(sock)
            sock.setblocking(False)
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what it accepts inherits it
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            if kind == socket.SOCK_STREAM:
                sock.listen(BACKLOG)  # only now is the address surely ours; who comes already waits a moment
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise _taken(listen, error) from error
    return sockets
