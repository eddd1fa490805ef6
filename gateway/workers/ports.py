"""The ports that workers share: taken by the service first, so that they are known and nobody else's.

A TCP socket that is bound and does not listen takes no connection; it holds the port while workers come and go. A UDP
socket would take datagrams, so it is given back once the workers are bound.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from gateway.configuration.settings import Listen
from gateway.errors import GatewayError

_PATIENCE = 5.0  # s for workers of a service that was killed to be gone
_ATTEMPT = 0.1  # s


@dataclass(frozen=True, slots=True)
class PortsChange:
    """Ports that are held for other settings, and those settings' listeners with every port known."""

    listen: list[Listen]
    held: dict[tuple[str, ...], Held]
    added: list[Held]


@dataclass(frozen=True, slots=True)
class Held:
    """The sockets of one `[[listen]]`."""

    sockets: list[socket.socket]
    bound: list[tuple[str, int]]

    def close(self) -> None:
        """Give them back."""
        for sock in self.sockets:
            sock.close()


class Ports:
    """Holds ports for workers."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, ...], Held] = {}

    async def prepare(self, wanted: Sequence[Listen]) -> PortsChange:
        """Take what is not held yet. An entry that asks for a free port becomes one for each of its addresses.

        Raises
        ------
        GatewayError
            If an address is not to be had; then nothing is taken.
        """
        change = PortsChange([], {}, [])
        for listen in wanted:
            place = _place(listen)
            held = self._held.get(place)
            if held is None:
                try:
                    held = await self._take(listen)
                except GatewayError:
                    self.discard(change)
                    raise
                change.added.append(held)
            change.held[place] = held
            change.listen.extend(
                [listen] if listen.port else [msgspec.structs.replace(listen, host=h, port=p) for h, p in held.bound]
            )
        return change

    def discard(self, change: PortsChange) -> None:
        """It is not to be."""
        for held in change.added:
            held.close()

    def apply(self, change: PortsChange) -> None:
        """Hold these, and no others."""
        for place, held in self._held.items():
            if place not in change.held:
                held.close()
        self._held = change.held

    def bound(self) -> None:
        """The workers have bound: datagrams are theirs alone."""
        for held in self._held.values():
            for sock in held.sockets:
                if sock.type == socket.SOCK_DGRAM:
                    sock.close()

    def close(self) -> None:
        """Give everything back."""
        for held in self._held.values():
            held.close()
        self._held = {}

    async def _take(self, listen: Listen) -> Held:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return await _bind(listen)
            except OSError as error:
                if time.monotonic() > deadline:
                    where = f"{listen.address} ({listen.protocol})"
                    raise GatewayError(
                        f"cannot listen on {where}: {error.strerror}; take another listen.address"
                    ) from error
                await asyncio.sleep(_ATTEMPT)


def _place(listen: Listen) -> tuple[str, ...]:
    """What makes an entry the same one after a reload. Free ports differ, so the protocol tells them apart."""
    return listen.transport, listen.host, str(listen.port), "" if listen.port else listen.protocol


async def _bind(listen: Listen) -> Held:
    kind = socket.SOCK_DGRAM if listen.transport == "udp" else socket.SOCK_STREAM
    addresses = await asyncio.get_running_loop().getaddrinfo(
        listen.host, listen.port, type=kind, flags=socket.AI_PASSIVE
    )
    taken: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(addresses):
            if family == socket.AF_INET6 and len(addresses) > 1 and not _has_ipv6():  # a name with both families
                continue
            if listen.port:  # first without sharing: whoever else listens here must not go unnoticed
                with _socket(family, kind, shared=False) as alone:
                    alone.bind(address)
            taken.append(_socket(family, kind, shared=True))
            taken[-1].bind(address)
    except OSError:
        for sock in taken:
            sock.close()
        raise
    return Held(taken, [sock.getsockname()[:2] for sock in taken])


def _has_ipv6() -> bool:
    try:
        socket.socket(socket.AF_INET6).close()
    except OSError as error:
        return error.errno != errno.EAFNOSUPPORT
    return True


def _socket(family: int, kind: int, *, shared: bool) -> socket.socket:
    sock = socket.socket(family, kind)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if kind == socket.SOCK_STREAM:  # an old connection's remains are no listener
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return sock
