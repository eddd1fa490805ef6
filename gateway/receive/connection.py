"""A terminal's TCP connection, plain or TLS: the wire of one conversation, read fairly."""

from __future__ import annotations

import asyncio
from typing import cast

from gateway.receive.connections import Connections
from gateway.receive.conversation import Conversation

WRITE_BUFFER = 64 << 10  # bytes a slow reader may leave unread before it is read no more
FAIR = 16 << 10  # bytes of one connection that are read before the others have their turn
LINGER = 10.0  # s for the peer to take its last answers


class TerminalConnection(asyncio.Protocol):
    """One TCP connection of one terminal."""

    __slots__ = ("_connections", "_transport", "_turns", "conversation")

    def __init__(self, connections: Connections, protocol: int, listener: str = "") -> None:
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._turns: _Turns | None = None
        self.conversation = Conversation(connections.conversations, protocol, "tcp")
        self.conversation.listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it, or refuse it with a reason."""
        peer = transport.get_extra_info("peername")
        conversation = self.conversation
        conversation.address = f"{peer[0]}:{peer[1]}" if peer else ""
        conversation.opened = self._connections.now()
        self._begin(transport, self._connections.enter(self))

    def _begin(self, transport: asyncio.BaseTransport, refused: str) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        if refused:
            self.conversation.turn_away(refused)
            transport.abort()
            return
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self.conversation.begin(transport)
        if self.conversation.pauses:
            asyncio.get_running_loop().call_soon(self._stay_paused)

    def _stay_paused(self) -> None:
        """uvloop begins to read when `connection_made` returns, whatever was said in it."""
        if self.conversation.pauses and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Bytes; a large read has its turns."""
        if len(data) > FAIR or self._turns is not None:
            self._take_turns(data)
        else:
            self.conversation.receive(data)

    def _take_turns(self, data: bytes) -> None:
        if self._turns is not None:  # it was on its way when reading was paused
            self._turns.add(data)
        elif self._transport is not None:
            self._turns = _Turns(self, self._transport, data)

    def turns_end(self) -> None:
        """The large read is read."""
        self._turns = None

    @property
    def reading(self) -> bool:
        """Whether the socket is read: nothing is there to wait for."""
        return self._turns is None and not self.conversation.pauses

    def eof_received(self) -> bool:
        """The peer sends no more; what it sent is still answered."""
        if self._turns is not None:
            self._turns.finish()
        self.conversation.ended()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, by whomever."""
        self._transport = None
        self._connections.leave(self)
        self.conversation.lost(exc)

    def pause_writing(self) -> None:
        """A slow reader."""
        self.conversation.pause_writing()

    def resume_writing(self) -> None:
        """It has read."""
        self.conversation.resume_writing()

    def linger(self, now: float) -> bool:
        """Whether it is closing; a peer that does not take its last answers is cut off after a while."""
        conversation = self.conversation
        if conversation.closing and self._transport is not None and now - conversation.closing_since > LINGER:
            self._transport.abort()
        return conversation.closing

    @property
    def protocol(self) -> int:
        """The number of its protocol."""
        return self.conversation.protocol

    @property
    def address(self) -> str:
        """Where it comes from."""
        return self.conversation.address


class _Turns:
    """A large read, which the conversation gets a piece at a time between those of others; its wire meanwhile."""

    __slots__ = ("_connection", "_due", "_rest", "_transport")

    def __init__(self, connection: TerminalConnection, transport: asyncio.Transport, data: bytes) -> None:
        self._connection = connection
        self._transport = transport
        self._rest = memoryview(data)
        self._due = False
        transport.pause_reading()
        connection.conversation.wire = self
        self._go_on()

    def add(self, data: bytes) -> None:
        """More came after it."""
        self._rest = memoryview(bytes(self._rest) + data)

    def _go_on(self) -> None:
        """The next piece, unless there are reasons to wait."""
        self._due = False
        conversation = self._connection.conversation
        if conversation.pauses or conversation.wire is not self:
            return
        piece, self._rest = self._rest[:FAIR], self._rest[FAIR:]
        conversation.receive(bytes(piece))
        if len(self._rest) and not conversation.closing:
            self.resume_reading()
        else:
            self._end()
            if not conversation.pauses and not conversation.closing:
                self._transport.resume_reading()

    def finish(self) -> None:
        """All of it, now."""
        rest = self._rest
        self._end()
        for at in range(0, len(rest), FAIR):
            self._connection.conversation.receive(bytes(rest[at : at + FAIR]))

    def _end(self) -> None:
        conversation = self._connection.conversation
        if conversation.wire is self:
            conversation.wire = self._transport
        self._connection.turns_end()

    # -- the wire -----------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """As ever."""
        self._transport.write(data)

    def pause_reading(self) -> None:
        """The socket is not read as it is, and the rest looks for reasons to wait."""

    def resume_reading(self) -> None:
        """The next piece, after others."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def close(self) -> None:
        """As ever."""
        self._transport.close()

    def abort(self) -> None:
        """As ever."""
        self._transport.abort()
