"""Which protocol a connection or a datagram is, by its first bytes, where a listener takes several.

    made → bytes, until one protocol alone can begin so → its session, which gets them all
                  none can, or too many of them say nothing → malformed (structure)
                  the time for the login is over → malformed (timeout)

What was decided once holds for the whole connection. Until then a connection costs its few bytes, is counted against
the limits of its address, and is no terminal's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from gateway.receive.connection import TerminalConnection
from protocols.auto import begun
from protocols.records import Malformed

LOOKED_AT = 1024  # bytes; the longest beginning that leaves doubt is a fraction of it


class Undecided(asyncio.Protocol):
    """A connection, TLS or plain, before its protocol is known."""

    __slots__ = ("_among", "_data", "_decided", "_ended", "_transport")

    def __init__(self, among: Sequence[str]) -> None:
        """`among`: the protocols it may be; all that can be told apart where none is named."""
        self._among = among
        self._data = bytearray()
        self._decided: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._ended = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bytes may come."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Look again; once it is decided nothing more is read."""
        self._data += data
        if self._decided.done():
            return
        seen = begun(bytes(self._data[:LOOKED_AT]), "tcp", self._among)
        if seen.name is not None or seen.hopeless or len(self._data) >= LOOKED_AT:
            if self._transport is not None:
                self._transport.pause_reading()
            self._decided.set_result(seen.name)

    def eof_received(self) -> bool:
        """The peer sends no more: what has not been decided never is."""
        self._ended = True
        self._settle()
        return self._transport is None or self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone before anybody knew what it was."""
        self._transport = None
        self._settle()

    def _settle(self) -> None:
        if not self._decided.done():
            self._decided.set_result(None)

    async def told(self) -> str | None:
        """The protocol's name, when it is known; None: it is none of them."""
        return await self._decided

    @property
    def damage(self) -> Malformed | None:
        """What is counted where it is none of them; None: nothing came."""
        if not self._data:
            return None
        if self._ended or self._transport is None:
            return Malformed("truncated", detail="ended before its protocol was known")
        return Malformed("structure", detail="no protocol begins so")

    def pass_on(self, connection: TerminalConnection) -> None:
        """It is `connection`'s from now on, with all that came."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(bytes(self._data))
        if self._ended:
            if not connection.eof_received():
                transport.close()
        elif connection.reading and not transport.is_closing():
            transport.resume_reading()

    def close(self) -> None:
        """Nobody takes it."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None


def told_datagram(data: bytes, among: Sequence[str]) -> str | None:
    """The protocol of a datagram, which is whole; None: it is none of them, or several."""
    return begun(data, "udp", among).name
