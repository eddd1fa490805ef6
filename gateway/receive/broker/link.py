"""One connection to a broker: packets in turns, acknowledgements out, read no more than there is room for."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Sequence
from typing import cast

from gateway.receive.broker import wire
from gateway.receive.broker.window import Window
from gateway.receive.pipeline import Pipeline

TURN = 200  # packets before others have the loop: two milliseconds
WINDOW_BYTES = 16 << 20  # of payloads that wait for their commit; then the broker is read no more
AT_QOS_0 = 1000  # messages beyond the receive maximum, which bounds only what is acknowledged
SILENCE = 1.5  # times the keep-alive without a word before the broker is given up


class _Pause(enum.Flag):
    TURN = enum.auto()  # a turn of the loop
    WINDOW = enum.auto()  # too much waits for its commit
    QUEUE = enum.auto()  # the pipeline is full
    STOP = enum.auto()  # nothing more is taken


class Link(asyncio.Protocol):
    """A connection, from CONNECT to its end.

    Attributes
    ----------
    window : what came over it and is not acknowledged.
    ended : done when it is gone; why, if it is known.
    """

    def __init__(
        self, hello: bytes, on_packet: Callable[[wire.Packet], None], pipeline: Pipeline, *,
        receive_maximum: int, max_packet: int,
    ) -> None:  # fmt: skip
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._hello = hello
        self._on_packet = on_packet
        self._pipeline = pipeline
        self._most = receive_maximum + AT_QOS_0
        self._reader = wire.Reader(max_packet)
        self._transport: asyncio.Transport | None = None
        self._pauses = _Pause(0)
        self._heard = loop.time()
        self.window = Window(self._acknowledge, lambda: self.abort("not stored: sent again when there is room"))
        self.ended: asyncio.Future[str] = loop.create_future()

    # -- the transport ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        """Packets, or parts of them."""
        self._heard = self._loop.time()
        self._reader.feed(data)
        self._turn()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self._end(f"lost: {exc}" if exc else "closed by the broker")

    def _end(self, reason: str) -> None:
        self._transport = None
        self.window.close()
        self._pipeline.paused.pop(self, None)
        if not self.ended.done():
            self.ended.set_result(reason)

    # -- reading ------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Some packets; what is left waits for its turn."""
        self._pauses &= ~_Pause.TURN
        if self._pauses or self._transport is None:
            return
        try:
            packets = self._reader.packets(TURN)
        except wire.WireError as error:
            self.abort(f"protocol error: {error}")
            return
        for packet in packets:
            self._on_packet(packet)
            if self._transport is None:
                return
        if len(packets) == TURN and self._reader.waiting:
            self._pause(_Pause.TURN)
            self._loop.call_soon(self._turn_comes)
        self.look()

    def _turn_comes(self) -> None:
        self._pauses &= ~_Pause.TURN
        self._go_on()

    def look(self) -> None:
        """Whether there is room for more."""
        window = self.window
        if len(window) > self._most or window.bytes > WINDOW_BYTES:
            self._pause(_Pause.WINDOW)
        elif _Pause.WINDOW in self._pauses and window.bytes < WINDOW_BYTES // 2:
            self._pauses &= ~_Pause.WINDOW
            self._go_on()
        if self._pipeline.full and _Pause.QUEUE not in self._pauses:
            self._pause(_Pause.QUEUE)
            self._pipeline.pause(self)

    def resume_reading(self) -> None:
        """The pipeline has room again."""
        self._pauses &= ~_Pause.QUEUE
        self._go_on()

    def hold(self) -> None:
        """Take nothing more; what was taken is acknowledged as ever."""
        self._pause(_Pause.STOP)

    def _pause(self, reason: _Pause) -> None:
        if not self._pauses and self._transport is not None:
            self._transport.pause_reading()
        self._pauses |= reason

    def _go_on(self) -> None:
        if self._pauses or self._transport is None:
            return
        self._heard = self._loop.time()  # it could not be heard
        self._transport.resume_reading()
        if self._reader.waiting:
            self._turn()

    # -- writing ------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send, if there is still somebody."""
        if self._transport is not None and data:
            self._transport.write(data)

    def _acknowledge(self, mids: Sequence[int]) -> None:
        self.write(wire.puback(mids))
        self.look()

    @property
    def held(self) -> bool:
        """Whether the broker is not read, for whatever reason."""
        return bool(self._pauses)

    def silent_for(self, keep_alive: float) -> bool:
        """Whether the broker has said nothing for too long, while it was listened to."""
        return not self.held and self._loop.time() - self._heard > SILENCE * keep_alive

    def close(self, farewell: bytes) -> None:
        """Acknowledge what is done, say goodbye, close."""
        self.window.flush()
        self.write(farewell)
        transport = self._transport
        self._end("closed")
        if transport is not None:
            transport.close()

    def abort(self, reason: str) -> None:
        """End now: what is not acknowledged comes again."""
        transport = self._transport
        self._end(reason)
        if transport is not None:
            transport.abort()
