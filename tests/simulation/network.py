"""TCP connections in memory: reads cut anywhere, back pressure both ways, closes, resets and silence."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.receive.connection import TerminalConnection
    from gateway.receive.conversation import Conversation
    from tests.simulation.terminals import Terminal
    from tests.simulation.world import Life, World

KERNEL = 64  # bytes the kernels hold for a reader who does not read


class Link(asyncio.Transport):
    """Both ends of one connection; as a `Transport`, the gateway's end."""

    def __init__(self, world: World, life: Life, terminal: Terminal, chance: random.Random, number: int) -> None:
        super().__init__()
        self._world, self._life, self._terminal, self._chance = world, life, terminal, chance
        self._loop = life.loop
        self.number = number
        self.protocol: TerminalConnection | None = None
        self._to_gateway = bytearray()
        self._ended = False  # the terminal sends no more
        self._gone = False  # the terminal is not there any more, and nobody was told
        self._reset = False  # the terminal refuses everything; the gateway learns of it when it reads or writes
        self._buffer = bytearray()  # what the kernel did not take from the gateway yet
        self._kernel = bytearray()  # what it took and the terminal did not read
        self._high = 64 << 10
        self._write_paused = False
        self._reading = True
        self._closing = False
        self.lost = False
        self._delivery: asyncio.Handle | None = None
        self._flush: asyncio.Handle | None = None

    @property
    def conversation(self) -> Conversation | None:
        return self.protocol.conversation if self.protocol is not None else None

    # -- the terminal's end -------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        self._to_gateway += data
        self._schedule_delivery()

    def end(self) -> None:
        """An orderly close, after what was sent."""
        self._ended = True
        self._schedule_delivery()

    def reset(self) -> None:
        """A close that loses what was not read yet, at any byte."""
        self._reset = True
        del self._to_gateway[self._chance.randint(0, len(self._to_gateway)) :]
        self._schedule_delivery()

    def vanish(self) -> None:
        """The terminal is gone; the gateway hears nothing."""
        self._gone = True
        self._to_gateway.clear()

    def read_again(self) -> None:
        """The terminal reads again."""
        if not self.lost:
            self._schedule_flush()

    # -- towards the gateway ------------------------------------------------------------------------------------

    def _schedule_delivery(self) -> None:
        due = self._to_gateway or self._ended or self._reset
        if due and self._delivery is None and not self.lost and self._reading:
            self._delivery = self._loop.call_later(self._chance.uniform(0.0, 0.02), self._deliver)

    def _deliver(self) -> None:
        self._delivery = None
        if self.lost or self._life.dead or not self._reading or self.protocol is None:
            return
        waiting = self._to_gateway
        if waiting:
            size = len(waiting)
            if self._chance.random() < self._terminal.plan.cut:
                size = self._chance.randint(1, min(size, 40))
            data = bytes(waiting[:size])
            del waiting[:size]
            self._world.note("read", self.number, len(data))
            self._world.before_read(self)
            self.protocol.data_received(data)
            self._world.after_read(self)
        elif self._reset:
            self._lose(ConnectionResetError("reset by the terminal"))
        elif self._ended:
            self._ended = False
            self._reading = False
            self._world.note("end", self.number)
            if not self.protocol.eof_received():
                self.close()
            return
        self._schedule_delivery()

    # -- the gateway's end --------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 40_000 + self.number) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high if high is not None else 64 << 10

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._closing and not self._reading:
            self._reading = True
            self._schedule_delivery()

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._life.dead or self.lost:
            return
        self._world.note("write", self.number, bytes(data))
        if self._reset and not self._closing:
            self._loop.call_soon(self._lose, ConnectionResetError("reset by the terminal"))
            return
        self._buffer += data
        self._world.most("write buffer", len(self._buffer), self._high + self._world.slack_bytes)
        if len(self._buffer) > self._high and not self._write_paused:
            self._write_paused = True
            assert self.protocol is not None
            self.protocol.pause_writing()
        self._schedule_flush()

    def _schedule_flush(self) -> None:
        if self._flush is None and not self.lost:
            self._flush = self._loop.call_later(self._chance.choice((0.0, 0.0, 0.004, 0.02)), self._flushed)

    def _flushed(self) -> None:
        self._flush = None
        if self.lost or self._life.dead:
            return
        room = KERNEL - len(self._kernel)
        taken = bytes(self._buffer if self._terminal_reads else self._buffer[:room])
        del self._buffer[: len(taken)]
        self._kernel += taken
        if self._write_paused and len(self._buffer) <= self._high // 4:
            self._write_paused = False
            assert self.protocol is not None
            self.protocol.resume_writing()
        if self._terminal_reads and self._kernel:
            data = bytes(self._kernel)
            self._kernel.clear()
            self._terminal.received(self, data)
        if self._closing and not self._buffer:
            self._lose(None)

    @property
    def _terminal_reads(self) -> bool:
        return not self._gone and not self._reset and not self._terminal.deaf

    def close(self) -> None:
        if self._closing or self._life.dead:
            return
        self._closing = True
        if not self._buffer:
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        if not self._life.dead:
            self._closing = True
            self._buffer.clear()
            self._loop.call_soon(self._lose, None)

    def _lose(self, error: Exception | None) -> None:
        """Exactly once: tell both ends."""
        if self.lost or self._life.dead:
            return
        self.lost = self._closing = True
        self._reading = False
        self._world.note("lost", self.number, error)
        assert self.protocol is not None
        self.protocol.connection_lost(error)
        self._world.links.pop(self.number, None)
        if not self._gone and not self._reset:
            if self._kernel and self._terminal_reads and error is None:
                self._terminal.received(self, bytes(self._kernel))
            self._terminal.closed(self)

    def cut_by_crash(self) -> None:
        """The gateway died: what its kernel had taken may still arrive."""
        self.lost = True
        sent = bytes(self._kernel + self._buffer)
        sent = sent[: self._chance.randint(0, len(sent))]
        if self._terminal_reads and sent:
            self._terminal.received(self, sent)
        if not self._gone and not self._reset:
            self._terminal.closed(self)
