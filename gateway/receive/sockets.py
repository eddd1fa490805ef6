"""Plain TCP connections behind one epoll of their own, which the event loop sees as a single descriptor.

    loop: epoll is ready → turn: up to READS sockets, each one read → protocol.data_received → … → loop: store, timers

Why not the loop's own transports: one of uvloop's costs 1.3 KB a connection, this one 0.3; a read goes straight to its
protocol; and a turn ends after READS sockets, so that the store's next step never waits behind a thousand of them.
What waits for TLS takes the loop's (`front.py`). Where there is no epoll, everybody does (`listener.py`).

A socket is registered for what it waits for, and not at all when it waits for nothing: else a peer that is gone would
wake a connection that is not to be read. All sockets are level-triggered: the kernel moves one that was told to the
end of its list, so each has its turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from typing import Any, cast

import structlog

_log = structlog.get_logger()

AVAILABLE = hasattr(select, "epoll")
READS = 512
READ_BYTES = 16 << 10  # of one socket in one turn; more is read in the next
_IN, _OUT = (select.EPOLLIN, select.EPOLLOUT) if AVAILABLE else (1, 4)


class Sockets:
    """The connections of one process that are plain TCP."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.epoll = select.epoll()
        self.open: dict[int, SocketTransport] = {}
        self._loop.add_reader(self.epoll.fileno(), self._turn)

    def add(self, sock: socket.socket, protocol: asyncio.Protocol, peer: Any = None) -> SocketTransport:
        """Serve an accepted socket, which is this object's from now on."""
        transport = SocketTransport(self, sock.detach(), protocol, peer)
        self.open[transport.descriptor] = transport
        self.epoll.register(transport.descriptor, _IN)
        transport.registered = _IN
        protocol.connection_made(transport)
        transport.forget_peer()
        return transport

    def close(self) -> None:
        """Serve no more; connections that are open are cut."""
        self._loop.remove_reader(self.epoll.fileno())
        for transport in list(self.open.values()):
            transport.end(None)
        self.epoll.close()

    def _turn(self) -> None:
        found = self.open
        read = os.read
        for descriptor, events in self.epoll.poll(0, READS):
            transport = found.get(descriptor)
            if transport is None:
                continue
            if events & _OUT:
                transport.flush()
            if not transport.registered & _IN:  # it waits for room to write, or somebody stopped it in this turn
                if not events & (_IN | _OUT):
                    transport.end(ConnectionResetError("connection reset"))
                continue
            if events == _OUT:
                continue
            try:
                data = read(descriptor, READ_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                transport.end(error)
                continue
            try:
                if data:
                    transport.protocol.data_received(data)
                else:
                    transport.ended()
            except Exception as error:  # a bug: this connection ends, the others go on
                _log.exception("connection failed", address=getattr(transport.protocol, "address", None))
                transport.end(error)


class SocketTransport(asyncio.Transport):
    """One of them; as `asyncio.Transport` says, as far as a terminal's connection needs it."""

    __slots__ = (
        "_buffer", "_closing", "_full", "_high", "_peer", "_reading", "_sockets", "descriptor", "protocol",
        "registered",
    )  # fmt: skip

    def __init__(self, sockets: Sockets, descriptor: int, protocol: asyncio.Protocol, peer: Any) -> None:
        self._sockets = sockets
        self.descriptor = descriptor  # -1 once it is closed
        self.protocol = protocol
        self._peer = peer
        self.registered = 0
        self._reading = True
        self._closing = False
        self._buffer: bytearray | None = None  # what the kernel did not take
        self._high = 64 << 10
        self._full = False  # the protocol was told to pause writing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The peer's address, while the connection is being made; there is nothing else."""
        return self._peer if name == "peername" else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who is told of what comes from now on."""
        self.protocol = cast(asyncio.Protocol, protocol)

    def forget_peer(self) -> None:
        """Its protocol has what it needs of it: 150 bytes less for each connection."""
        self._peer = None

    # -- reading ------------------------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Whether the socket is read."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Leave what comes in the kernel."""
        if self._reading:
            self._reading = False
            self._register()

    def resume_reading(self) -> None:
        """Read again."""
        if not self._reading and not self._closing:
            self._reading = True
            self._register()

    def ended(self) -> None:
        """The peer sends no more."""
        self.pause_reading()
        if not self.protocol.eof_received():
            self.close()

    # -- writing ------------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send now what the kernel takes, the rest when it does."""
        if self.descriptor < 0:
            return
        if self._buffer is None:
            try:
                sent = os.write(self.descriptor, data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._fail(error)
                return
            if sent == len(data):
                return
            self._buffer = bytearray(data[sent:])
            self._register()
        else:
            self._buffer += data
        if len(self._buffer) > self._high and not self._full:
            self._full = True
            self.protocol.pause_writing()

    def flush(self) -> None:
        """There is room in the kernel."""
        buffer = self._buffer
        if buffer is None:
            return
        try:
            del buffer[: os.write(self.descriptor, buffer)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.end(error)
            return
        if not buffer:
            self._buffer = None
            if self._closing:
                self.end(None)
                return
            self._register()
        if self._full and len(buffer) <= self._high // 4:
            self._full = False
            self.protocol.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Above `high` bytes that wait the protocol pauses writing, below a quarter it goes on."""
        self._high = 64 << 10 if high is None else high

    def get_write_buffer_size(self) -> int:
        """Bytes that wait."""
        return len(self._buffer) if self._buffer is not None else 0

    # -- the end ------------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._closing

    def close(self) -> None:
        """Read no more, send what waits, close."""
        if self._closing:
            return
        self._closing = True
        self._register()
        if self._buffer is None:
            self._sockets._loop.call_soon(self.end, None)

    def abort(self) -> None:
        """Close now; what waits is dropped."""
        self._fail(None)

    def _fail(self, error: Exception | None) -> None:
        if self.descriptor >= 0:
            self._closing = True
            self._buffer = None
            self._register()
            self._sockets._loop.call_soon(self.end, error)

    def end(self, error: Exception | None) -> None:
        """Close, and tell the protocol, once."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor < 0:
            return
        self._closing = True
        self._buffer = None
        if self.registered:
            self.registered = 0
            self._sockets.epoll.unregister(descriptor)
        del self._sockets.open[descriptor]
        try:
            self.protocol.connection_lost(error)
        finally:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _register(self) -> None:
        if self.descriptor < 0:
            return
        wanted = (_IN if self._reading and not self._closing else 0) | (_OUT if self._buffer is not None else 0)
        if wanted != self.registered:
            epoll = self._sockets.epoll
            if not wanted:
                epoll.unregister(self.descriptor)
            elif self.registered:
                epoll.modify(self.descriptor, wanted)
            else:
                epoll.register(self.descriptor, wanted)
            self.registered = wanted
