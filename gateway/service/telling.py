"""What a service that stands by tells the one that watches: who reported, a second after it was stored.

    NOTIFY dozor_contacts, 'sender:message:part:parts:base64'

A message is what workers tell their service (`gateway.workers.summaries`), in parts, since a notice takes 8000 bytes.
It may get lost with a connection: the watch asks the store before it believes in a silence.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import itertools
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

import msgspec
import numpy as np
import structlog

from detectors.columns import Contacts
from gateway.receive.pipeline import Accepted
from gateway.watch.contacts import Told, unpack
from gateway.watch.detecting import DETECTORS
from gateway.workers.summaries import Summaries

_log = structlog.get_logger()

CHANNEL = "dozor_contacts"
PART = 5700  # bytes: 7600 in base64, and the rest of a notice for its head
AT_ONCE = 200  # parts in one statement: some 1.5 MB
FULL = 4 << 20  # bytes waiting, from where on contacts are merged; some 300 000 terminals
MOST = 16 << 20  # bytes waiting, from where on the oldest are dropped: the watch then asks the store
PARTS = 4096  # of one message: more are no message of ours
SENDERS = 256  # whose messages are being put together


class Telling:
    """The sending end; `dropped` counts messages that nobody took in time."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._on = False
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._summaries = Summaries(self.put, lambda: self._size > FULL)
        self._sender = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        self.dropped = 0

    def begin(self) -> bool:
        """From now on there is somebody to tell; whether that is new."""
        begun, self._on = not self._on, True
        return begun

    def end(self) -> None:
        """There is nobody any more."""
        self._on = False
        self._waiting.clear()
        self._size = 0

    def committed(self, batch: Accepted) -> None:
        """Take note of a committed batch."""
        if self._on:
            self._summaries.committed(batch)

    def put(self, packed: Mapping[str, bytes]) -> None:
        """What `Told.pack` made is to be told. Its instants are of the loop's clock, which other machines have not."""
        if self._on:
            message = msgspec.msgpack.encode((_ahead(self._clock()), packed))
            self._waiting.append(message)
            self._size += len(message)
            while self._size > MOST:
                self._size -= len(self._waiting.popleft())
                self.dropped += 1

    def take(self) -> Iterator[list[str]]:
        """Everything that waits, as lists of notices."""
        notices: list[str] = []
        while self._waiting:
            contacts = self._waiting.popleft()
            self._size -= len(contacts)
            number, parts = next(self._numbers), -(-len(contacts) // PART)
            for part in range(parts):
                piece = base64.b64encode(contacts[part * PART : (part + 1) * PART]).decode()
                notices.append(f"{self._sender}:{number}:{part}:{parts}:{piece}")
                if len(notices) == AT_ONCE:
                    yield notices
                    notices = []
        if notices:
            yield notices
        self._summaries.flush()  # what was held back while too much waited


class Hearing:
    """The receiving end: puts messages together and hands them to `heard`."""

    def __init__(self, heard: Callable[[Told], None], clock: Callable[[], float] = time.time) -> None:
        self._heard = heard
        self._clock = clock
        self._begun: dict[str, tuple[int, list[bytes]]] = {}  # by sender: number and parts so far

    def hear(self, notice: str) -> None:
        """Take one notice; what does not fit together is left out."""
        try:
            sender, *numbers, piece = notice.split(":", 4)
            number, part, parts = map(int, numbers)
            data = base64.b64decode(piece, validate=True)
        except (ValueError, binascii.Error):
            _log.warning("a notice of others cannot be read", size=len(notice))
            return
        if not 0 <= part < parts <= PARTS:
            return
        begun = self._begun.pop(sender, (number, []))
        pieces = begun[1] if begun[0] == number else []
        if part != len(pieces):
            return
        pieces.append(data)
        if len(pieces) < parts:
            if len(self._begun) >= SENDERS:
                self._begun.clear()
            self._begun[sender] = number, pieces
            return
        try:
            self._heard(self._read(b"".join(pieces)))
        except Exception:  # of another version, say: the watch goes on
            _log.exception("contacts of others cannot be used")

    def _read(self, message: bytes) -> Told:
        """What a message tells, its instants by our loop's clock, and none of them ahead of it."""
        ahead, packed = msgspec.msgpack.decode(message, type=tuple[int, dict[str, bytes]])
        told = unpack(packed, DETECTORS)
        contacts = told.contacts
        now = round(asyncio.get_running_loop().time() * 1e6)
        received = np.minimum(contacts.received + (ahead - _ahead(self._clock())), now)
        return Told(Contacts(contacts.terminal, received, contacts.own), told.summaries)


def _ahead(wall: float) -> int:
    """µs by which the wall clock is ahead of the loop's."""
    return round((wall - asyncio.get_running_loop().time()) * 1e6)
