"""What the service and its workers say to one another, over a socket pair that nobody else holds.

    length u32 (little-endian) · body (msgpack of one of the messages below)

A worker never waits for the service: what it has to say while the pair is full is merged or left out by the sender,
which asks `Link.full`.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import cast

import msgspec

from gateway.receive.broker.brokers import BrokerStates

HIGH_WATER = 1 << 20  # bytes unsent, from where on the sender is to hold back
_HEAD = struct.Struct("<I")


class Message(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Base of all."""


# -- service to worker --------------------------------------------------------------------------------------------


class Setup(Message, frozen=True):
    """The first one: who you are. `settings` are pickled `Settings`, with ports that are known; `generation` counts
    them."""

    settings: bytes
    generation: int
    dsn: str
    worker: int
    workers: int


class Admitted(Message, frozen=True):
    """Terminals with addresses, whose newest connection is at `worker`; all hear all of them in the same order."""

    worker: int
    logins: list[tuple[str, str]]


class AskState(Message, frozen=True):
    """Answer with a `State` that has this number."""

    number: int


class AskContacts(Message, frozen=True):
    """Answer with `LastContacts`."""

    number: int
    terminals: list[str]


class AskCounted(Message, frozen=True):
    """Answer with `Counted`."""

    number: int
    terminal: str


class Prepare(Message, frozen=True):
    """Other settings, pickled: bind and read what they need, and answer with `Prepared`."""

    number: int
    settings: bytes
    generation: int


class Apply(Message, frozen=True):
    """Take over what was prepared last, if it is of this generation; connections stay. Answer with `Ready`."""

    generation: int


class Discard(Message, frozen=True):
    """What was prepared last is not to be."""


class Stop(Message, frozen=True):
    """Accept no more, commit, acknowledge, close, end."""


# -- worker to service --------------------------------------------------------------------------------------------


class Ready(Message, frozen=True):
    """It accepts terminals at these addresses, by protocol, by settings of this generation; again when they change."""

    addresses: dict[str, list[str]]
    generation: int


class Failed(Message, frozen=True):
    """It cannot start, for this reason."""

    reason: str


class LoggedIn(Message, frozen=True):
    """Terminals that have connected anew here, with addresses."""

    logins: list[tuple[str, str]]


class Heard(Message, frozen=True):
    """A packed `gateway.watch.contacts.Told` of committed batches: contacts, and each detector's summary of them."""

    told: dict[str, bytes]


class State(Message, frozen=True):
    """How it stands: once a second, and when asked (`number` is that of the question, else 0)."""

    number: int
    metrics: bytes  # float64 array of `ReceiveMetrics.snapshot`
    queue: int
    connected: int
    store_up: bool
    reasons: list[str]
    spool_bytes: int
    spool_frames: int
    process: dict[str, float]
    brokers: BrokerStates
    lines: dict[str, dict[str, int]] = {}  # requests on serial lines, by port and result


class Prepared(Message, frozen=True):
    """Whether other settings can be taken over: empty, or why not."""

    number: int
    reason: str


class LastContacts(Message, frozen=True):
    """When open connections last brought bytes, Unix seconds; only those there are."""

    number: int
    last: dict[str, float]


class Counted(Message, frozen=True):
    """Frames and damaged ones of a terminal's open connections, by their number in the history."""

    number: int
    connections: dict[int, tuple[int, int]]


ToWorker = Setup | Admitted | AskState | AskContacts | AskCounted | Prepare | Apply | Discard | Stop
ToService = Ready | Failed | LoggedIn | Heard | State | Prepared | LastContacts | Counted


class Link(asyncio.Protocol):
    """One end of the pair. `kinds` is the union of messages that the other end may send."""

    def __init__(self, kinds: object, on_message: Callable[[Message], None], on_room: Callable[[], None]) -> None:
        self._decode = msgspec.msgpack.Decoder(kinds).decode
        self._encode = msgspec.msgpack.Encoder().encode
        self._on_message = on_message
        self._on_room = on_room
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self.full = False
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, message: Message) -> None:
        """Say something; silently nothing once the other end is gone."""
        if self._transport is not None:
            body = self._encode(message)
            self._transport.write(_HEAD.pack(len(body)) + body)

    @property
    def unsent(self) -> int:
        """Bytes that the other end has not taken."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def close(self) -> None:
        """Send what is unsent, then close."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It begins."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        """Bytes to messages."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= _HEAD.size:
            (size,) = _HEAD.unpack_from(self._buffer, at)
            end = at + _HEAD.size + size
            if len(self._buffer) < end:
                break
            message = self._decode(bytes(memoryview(self._buffer)[at + _HEAD.size : end]))
            at = end
            self._on_message(message)
        del self._buffer[:at]

    def pause_writing(self) -> None:
        """The other end is slow."""
        self.full = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self.full = False
        self._on_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other end is gone."""
        self._transport = None
        self.full = False
        if not self.lost.done():
            self.lost.set_result(None)
