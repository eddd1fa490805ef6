"""A UDP socket that answers from the address it was asked at.

A host has several addresses; a listener on all of them (0.0.0.0, ::) would answer from whichever the route back
prefers, and a terminal, or the NAT before it, takes no answer from an address that it did not ask. So the kernel is
asked for each datagram's destination (RFC 3542 for IPv6, ip(7) for IPv4), and the answer names it as its source.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

import structlog

_log = structlog.get_logger()

_IP_PKTINFO: int | None = getattr(socket, "IP_PKTINFO", 8 if sys.platform == "linux" else None)  # named from 3.12 on
_V4 = struct.Struct("=I4s4s")  # interface, the local address, the header's destination
_V6 = struct.Struct("=16sI")  # the header's destination, interface
_ROOM = socket.CMSG_SPACE(max(_V4.size, _V6.size))
_LARGEST = 1 << 16
_AT_ONCE = 64  # datagrams before others get the loop

Ancillary = tuple[int, int, bytes]


class Way:
    """Back to where a datagram came from, from where it was sent to: the wire of its conversation."""

    __slots__ = ("_from", "_peer", "_socket")

    def __init__(self, sock: socket.socket, peer: tuple[Any, ...], source: Sequence[Ancillary]) -> None:
        self._socket = sock
        self._peer = peer
        self._from = source

    @property
    def address(self) -> str:
        """The peer's, with its port."""
        return f"{self._peer[0]}:{self._peer[1]}"

    @property
    def host(self) -> str:
        """The peer's address without the port."""
        return str(self._peer[0])

    def write(self, data: bytes) -> None:
        """A datagram of its own; one that cannot be sent now is lost, and its terminal sends again."""
        if self._socket.fileno() < 0:
            return
        try:
            self._socket.sendmsg([data], self._from, 0, self._peer)
        except OSError as error:
            _log.debug("answer not sent", address=self.address, error=str(error))

    def pause_reading(self) -> None:
        """All has been read."""

    resume_reading = close = abort = pause_reading


class UdpSocket:
    """Reads a bound socket, which it owns."""

    def __init__(self, sock: socket.socket, received: Callable[[bytes, Way], None]) -> None:
        self._socket = sock
        self._received = received
        self._buffer = bytearray(_LARGEST)
        self._loop = asyncio.get_running_loop()
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif _IP_PKTINFO is not None:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self._loop.add_reader(sock, self._read)

    def close(self) -> None:
        """Read and answer no more."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _read(self) -> None:
        for _ in range(_AT_ONCE):
            if self._socket.fileno() < 0:
                return
            try:
                size, ancillary, _, peer = self._socket.recvmsg_into([self._buffer], _ROOM)
            except OSError:  # nothing more, or an answer that could not be delivered
                return
            try:
                self._received(bytes(self._buffer[:size]), Way(self._socket, peer, _source(ancillary)))
            except Exception:  # a bug: this datagram is lost, the next are read
                _log.exception("datagram failed", address=peer[0])


def _source(ancillary: Sequence[Ancillary]) -> Sequence[Ancillary]:
    """What an answer has to say for the kernel to send it from where the datagram was sent to."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(data) >= _V4.size:
            _, local, _ = _V4.unpack_from(data)  # of a broadcast this is the interface's own
            return [(level, kind, _V4.pack(0, local, bytes(4)))]
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(data) >= _V6.size:
            address, interface = _V6.unpack_from(data)
            found = ipaddress.IPv6Address(address)
            if not found.is_multicast:
                return [(level, kind, _V6.pack(address, interface if found.is_link_local else 0))]
    return ()
