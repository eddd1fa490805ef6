"""The ports that workers share: taken by the service first, so that they are known and nobody else's.

A TCP socket that is bound and does not listen takes no connection; it holds the port while workers come and go. A UDP
socket would take datagrams, so it is given back once the workers are bound.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence

import msgspec

from gateway.errors import GatewayError
from gateway.settings import Listen

_PATIENCE = 5.0  # s for workers of a service that was killed to be gone
_ATTEMPT = 0.1  # s


class Ports:
    """Holds ports for workers."""

    def __init__(self) -> None:
        self._tcp: list[socket.socket] = []
        self._udp: list[socket.socket] = []

    async def take(self, wanted: Sequence[Listen]) -> list[Listen]:
        """`wanted` with every port known: one that asks for a free port becomes one entry for each of its addresses.

        Raises
        ------
        GatewayError
            If an address is not to be had.
        """
        found = []
        deadline = time.monotonic() + _PATIENCE
        for listen in wanted:
            while True:
                try:
                    bound = await self._bind(listen)
                    break
                except OSError as error:
                    if time.monotonic() > deadline:
                        raise GatewayError(
                            f"cannot listen on {listen.address} ({listen.protocol}): {error.strerror}; take another"
                        ) from error
                    await asyncio.sleep(_ATTEMPT)
            if listen.port:
                found.append(listen)
            else:
                found += [msgspec.structs.replace(listen, host=host, port=port) for host, port in bound]
        return found

    async def _bind(self, listen: Listen) -> list[tuple[str, int]]:
        kind = socket.SOCK_DGRAM if listen.transport == "udp" else socket.SOCK_STREAM
        addresses = await asyncio.get_running_loop().getaddrinfo(
            listen.host or None, listen.port, type=kind, flags=socket.AI_PASSIVE
        )
        taken: list[socket.socket] = []
        try:
            for family, _, _, _, address in dict.fromkeys(addresses):
                if listen.port:  # first without sharing: whoever else listens here must not go unnoticed
                    with _socket(family, kind, shared=False) as alone:
                        alone.bind(address)
                taken.append(_socket(family, kind, shared=True))
                taken[-1].bind(address)
        except OSError:
            for sock in taken:
                sock.close()
            raise
        (self._udp if listen.transport == "udp" else self._tcp).extend(taken)
        return [sock.getsockname()[:2] for sock in taken]

    def bound(self) -> None:
        """The workers have bound: datagrams are theirs alone."""
        for sock in self._udp:
            sock.close()
        self._udp.clear()

    def close(self) -> None:
        """Give everything back."""
        self.bound()
        for sock in self._tcp:
            sock.close()
        self._tcp.clear()


def _socket(family: int, kind: int, *, shared: bool) -> socket.socket:
    sock = socket.socket(family, kind)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if kind == socket.SOCK_STREAM:  # an old connection's remains are no listener
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return sock
