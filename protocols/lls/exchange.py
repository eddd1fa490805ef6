"""One question to a sensor, and what comes after it.

Bytes are looked through one by one: a packet whose checksum is right and that is not the answer (our own request that
an adapter echoes, the late answer to another sensor, an answer that comes twice) is passed over whole; anything else is
noise, and passed over byte by byte, so that damage costs no more than itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.lines import MAX_NOISE, Exchange, Reading, Sensor, Status
from protocols.lls.declaration import (
    ANSWER,
    ANY_ADDRESS,
    ASK_TEXT,
    MAX_TEXT,
    PERIODIC,
    READ,
    REQUEST,
    SETTINGS,
    TOP,
    Settings,
    packet,
    read_settings,
    read_text,
    reading_of,
    whole,
)

NAMES = ("level", "temperature", "frequency", "code")
_ANSWER_SIZE = 9  # of a reading


class Ask:
    """`opcode` to `address`; `text`: a line of text answers it too, since nobody else is on the line."""

    def __init__(self, address: int, opcode: int = READ, *, top: int = TOP, text: bool = False) -> None:
        self.address = address
        self.opcode = opcode
        self.request = packet(REQUEST, address, opcode)
        self.length = 44 if opcode == SETTINGS else MAX_TEXT if text else _ANSWER_SIZE
        self._top = top
        self._text = text
        self._buffer = b""
        self._noise = 0
        self.data = b""  # of the answer

    def receive_data(self, data: bytes) -> Reading | None:
        """Consume bytes; the reading once the answer is whole."""
        buffer = self._buffer + data
        at = 0
        while at < len(buffer):
            if self._text and (taken := self._line(buffer, at)) is not None:
                size, reading = taken
                if reading is not None:
                    self._buffer = b""
                    return reading
                if size:
                    at += size
                    continue
                # A line that has no end yet, or a byte of noise before an answer that is here already.
                found = self._behind(buffer, at)
                if found is None:
                    break
                self._noise += found - at
                at = found
            size = whole(buffer[at : at + MAX_NOISE])
            if size == 0:
                # Of a packet that is not whole yet; behind its damaged head a good one may stand already.
                found = self._behind(buffer, at)
                if found is None:
                    break
                self._noise += found - at
                at = found
                continue
            if size < 0:
                self._noise += 1
                at += 1
                continue
            reading = self._answer(buffer[at : at + size])
            at += size
            if reading is not None:
                self._buffer = b""
                return reading
        self._buffer = buffer[at:][-MAX_NOISE:]
        return None

    def _behind(self, buffer: bytes, at: int) -> int | None:
        """Where a whole packet begins behind `at`."""
        for later in range(at + 1, len(buffer)):
            if buffer[later] in (REQUEST, ANSWER) and whole(buffer[later : later + MAX_NOISE]) > 0:
                return later
        return None

    def _line(self, buffer: bytes, at: int) -> tuple[int, Reading | None] | None:
        """Bytes of the line of text that begins here, and what it says; (0, None): more is needed; None: none does."""
        if buffer[at : at + 1] not in (b"F", b" "):
            return None
        end = buffer.find(b"\n", at, at + MAX_TEXT)
        if end < 0:
            return (0, None) if len(buffer) - at < MAX_TEXT else None
        reading = read_text(buffer[at:end], self._top)
        return None if reading is None else (end + 1 - at, reading)

    def _answer(self, data: bytes) -> Reading | None:
        prefix, address, opcode, body = data[0], data[1], data[2], data[3:-1]
        if prefix != ANSWER or (address != self.address and self.address != ANY_ADDRESS):
            return None
        if opcode != self.opcode and not (self.opcode == READ and opcode == PERIODIC):
            return None
        if self.opcode in (READ, PERIODIC) and len(body) != 5:
            if self.opcode == READ or opcode != PERIODIC:
                return None
            return Reading(Status.GOOD if body == b"\0" else Status.REFUSED, final=True)
        self.data = body
        if opcode == SETTINGS:
            return Reading(Status.GOOD)
        if len(body) == 1:
            return Reading(Status.GOOD if body == b"\0" else Status.REFUSED, final=True)
        return reading_of(body, self._top)

    def missing(self) -> Reading:
        """Nothing came, too little, or as much as an answer has and none of it right."""
        unread = self._noise + len(self._buffer)
        return Reading(Status.CHECKSUM if unread >= _ANSWER_SIZE else Status.NO_ANSWER)


class AskText(Ask):
    """The one sensor of a line, in letters."""

    def __init__(self, address: int, *, top: int = TOP) -> None:
        super().__init__(address, top=top, text=True)
        self.request = ASK_TEXT


class AskSettings(Ask):
    """A sensor's settings."""

    def __init__(self, address: int) -> None:
        super().__init__(address, SETTINGS)

    def settings(self) -> Settings | None:
        """What it said; None: nothing yet."""
        return read_settings(self.data) if len(self.data) == 40 else None


def sensor(address: int, alone: bool = False, profile: object = None) -> Sensor:
    """A sensor of a line. Its highest level is learned from its settings, once, where it tells them."""
    top = TOP

    def exchanges(last: bool) -> Sequence[Exchange]:
        if alone and last:
            return [AskText(address, top=top)]
        return [Ask(address, top=top, text=alone)]

    class _Learning(AskSettings):
        def receive_data(self, data: bytes) -> Reading | None:
            nonlocal top
            reading = super().receive_data(data)
            told = self.settings()
            if reading is not None and told is not None and 0 < told.highest <= 0xFFFF:
                top = told.highest
            return reading

    return Sensor(address, exchanges, NAMES, lambda: _Learning(address))
