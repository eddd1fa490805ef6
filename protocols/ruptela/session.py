"""One connection, sans-IO. There is no login of its own: every frame names its terminal.

::

    01 44    Frame; after its commit 0002 64 01 13BC
    09       Frame of trouble codes; after its commit 0002 6D 01 C4A4
    0F 12    who it is: answered at once; 10: alive: answered at once
    02 03 04 07 11   the answer to a command: Message, no answer
    05 06 25         Message, no answer

An ack of records is bare: behind a frame that is damaged it would release that one. So damage ends the connection, and
what came before it is acknowledged still.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.records import (
    Close,
    Event,
    Frame,
    Identified,
    Login,
    Malformed,
    Message,
    Quarantined,
    Reply,
)
from protocols.ruptela.wire import (
    ACK,
    COMMANDS,
    CONFIGURATION,
    DTCS,
    DTCS_ACK,
    DYNAMIC,
    EXTENDED,
    FIRMWARE,
    HEAD,
    HEARTBEAT,
    IDENTIFICATION,
    RECORDS,
    SET_IO,
    SMS,
    SMS_REQUEST,
    TAIL,
    VERSION,
    crc,
    downlink,
)

MAX_FRAME = 4096  # terminals send one to two kilobytes
MAX_IMEI = 999_999_999_999_999
_SHORTEST = 9  # what the length counts at least: IMEI and command
_MAX_WAITING = 16 * MAX_FRAME
_ANSWERS = {CONFIGURATION: "configuration", VERSION: "version", FIRMWARE: "firmware", SMS: "sms", SET_IO: "io"}
_GREETED = {
    IDENTIFICATION: downlink(IDENTIFICATION, b"\x01"),
    DYNAMIC: downlink(IDENTIFICATION, b"\x01"),
    HEARTBEAT: downlink(HEARTBEAT, b"\x01"),
}
_VERSION = downlink(VERSION)


class RuptelaSession:
    """A TCP connection."""

    __slots__ = ("_buffer", "_closed", "_imei", "_max_frame", "_name", "_offset", "_waiting")

    def __init__(self, *, max_frame: int | None = None) -> None:
        self._buffer = b""
        self._offset = 0  # of the buffer's first byte in the whole stream
        self._imei = b""  # as it stands in each frame
        self._name = ""
        self._waiting = False
        self._closed = False
        self._max_frame = min(max_frame or MAX_FRAME, MAX_FRAME)

    def run(self, data: bytes) -> Frame | None:
        """One frame of records."""
        size = len(data)
        if (
            not self._imei
            or self._waiting
            or self._closed
            or self._buffer
            or not HEAD + 2 + TAIL <= size <= self._max_frame
            or (data[0] << 8 | data[1]) != size - 4
            or data[2:10] != self._imei
            or data[10] not in (RECORDS, EXTENDED)
            or crc(data[2:-TAIL]) != data[-2] << 8 | data[-1]
        ):
            return None
        offset = self._offset
        self._offset = offset + size
        return Frame(data, data[HEAD + 1], offset)

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes; damage is an event in its place."""
        if self._closed:
            return ()
        self._buffer = self._buffer + data if self._buffer else data
        if self._waiting:
            if len(self._buffer) > _MAX_WAITING:
                return self._end("length", 0, "too much before its login was answered")
            return ()
        return self._events()

    def _events(self) -> list[Event]:
        events: list[Event] = []
        buffer, at, end = self._buffer, 0, len(self._buffer)
        while end - at >= 2 and not self._waiting:
            length = buffer[at] << 8 | buffer[at + 1]
            size = length + 4
            if length < _SHORTEST or size > self._max_frame:
                return events + self._end("length", at, f"a frame of {size} bytes")
            if end - at < size:
                break
            data = buffer[at : at + size]
            if crc(data[2:-TAIL]) != data[-2] << 8 | data[-1]:
                return events + self._end("checksum", at, "")
            if data[2:10] != self._imei:
                number = int.from_bytes(data[2:10], "big")
                if self._imei or not 0 < number <= MAX_IMEI:
                    detail = "another IMEI on the same connection" if self._imei else "an IMEI has fifteen digits"
                    return events + self._end("login", at, detail)
                self._imei, self._name = data[2:10], f"{number:015d}"
                self._waiting = True
                events.append(Login(self._name))
                break  # the frame itself is looked at once it is accepted
            events += _frame(data, self._offset + at)
            at += size
        self._offset += at
        self._buffer = buffer[at:]
        return events

    def _end(self, reason: str, at: int, detail: str) -> list[Event]:
        self._closed = True
        self._buffer = b""
        return [Malformed(reason, self._offset + at, detail), Close("damaged")]

    def accept(self, now: float) -> Sequence[Event]:
        """Nothing is said; then what the first frame holds, and what waited behind it."""
        if not self._waiting:
            return ()
        self._waiting = False
        return self._events()

    def refuse(self) -> Sequence[Event]:
        """The protocol has no word for it: close in silence."""
        self._waiting = False
        self._closed = True
        self._buffer = b""
        return (Close("refused"),)

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """One answer a frame, in order; what is in quarantine is kept too."""
        if not isinstance(item, Frame):
            return b""
        return DTCS_ACK if item.data[HEAD - 1] == DTCS else ACK

    def end_of_stream(self) -> Sequence[Event]:
        """A frame cut by the close is `truncated`."""
        if self._closed or not self._buffer:
            return ()
        self._closed = True
        if self._waiting and (self._buffer[0] << 8 | self._buffer[1]) + 4 == len(self._buffer):
            return ()  # whole: nobody has decided on its login yet
        return (Malformed("truncated", self._offset),)

    def ask_version(self) -> bytes:
        """The version request: its answer is a text."""
        return b"" if self._closed or self._waiting or not self._imei else _VERSION

    def encode_command(self, text: str) -> bytes:
        """A text as by SMS, behind the blank that stands for no password."""
        if self._closed or self._waiting or not self._imei:
            return b""
        return downlink(SMS_REQUEST, b" " + text.encode("ascii"))


def _frame(data: bytes, offset: int) -> Sequence[Event]:
    """A whole frame of the terminal whose connection this is."""
    command, payload = data[HEAD - 1], data[HEAD:-TAIL]
    if command in (RECORDS, EXTENDED):
        return (Frame(data, payload[1] if len(payload) > 1 else 0, offset),)
    if command == DTCS:
        return (Frame(data, payload[0] if payload else 0, offset),)
    if command in _GREETED:
        return (Reply(_GREETED[command]),)
    if command not in COMMANDS:
        return (Malformed("unsupported", offset, f"command {command:02x}"),)
    kind = _ANSWERS.get(command)
    if kind is None:
        return (Message(payload, None, f"command {command:02x}", offset),)
    if command == SET_IO:
        return (Message(payload, payload.hex(), kind, offset, True),)
    text = _text(payload)
    events: list[Event] = [Message(payload, text, kind, offset, True)]
    if command == VERSION and text and text.strip():
        events.append(Identified(text.strip()[:64], None))
    return events


def _text(payload: bytes) -> str | None:
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if any(ord(c) < 32 and c not in "\r\n\t" for c in text) else text
