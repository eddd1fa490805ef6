"""One connection of the template, sans-IO.

::

    54 50 01 …   Login; accepted in silence, refused by closing
    54 50 02 …   Frame; after its commit 54 50 06 and its checksum

An ack names its packet by checksum, so none behind damage could release it; still the connection ends with the first
damage, for a length that was damaged too would hide where the next packet begins. The terminal sends again.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.records import Close, Event, Frame, Login, Malformed, Message, Quarantined
from protocols.template.declaration import DATA, LOGIN, MARKER, ack, crc

HEAD, TAIL, RECORD = 4, 2, 21
MAX_FRAME = HEAD + 255 * RECORD + TAIL  # the count is one byte
_MAX_WAITING = 16 * MAX_FRAME  # behind a login nobody has answered; a terminal sends one packet at a time


class TemplateSession:
    """A TCP connection."""

    __slots__ = ("_buffer", "_closed", "_imei", "_max_frame", "_offset", "_waiting")

    def __init__(self, *, max_frame: int | None = None) -> None:
        self._buffer = b""
        self._offset = 0  # of the buffer's first byte in the whole stream
        self._imei = ""
        self._waiting = False  # for accept or refuse
        self._closed = False
        self._max_frame = min(max_frame or MAX_FRAME, MAX_FRAME)

    def run(self, data: bytes) -> Frame | None:
        """No quicker way than `receive_data`; the other packages have one."""
        return None

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes; damage is an event in its place."""
        del now
        if self._closed:
            return ()
        self._buffer += data
        if not self._waiting:
            return self._events()
        if len(self._buffer) > _MAX_WAITING:
            return self._end("length", 0, "too much before its login was answered")
        return ()

    def _events(self) -> list[Event]:
        events: list[Event] = []
        buffer, at = self._buffer, 0
        while len(buffer) - at >= len(MARKER) and not self._waiting:
            if buffer[at : at + 2] != MARKER:
                return [*events, *self._end("structure", at)]
            if len(buffer) - at < HEAD:
                break
            kind, count = buffer[at + 2], buffer[at + 3]
            if kind not in (LOGIN, DATA):
                return [*events, *self._end("unsupported", at, f"packet {kind:02x}")]
            size = HEAD + count * (RECORD if kind == DATA else 1) + TAIL
            if not count or size > self._max_frame:
                return [*events, *self._end("length", at)]
            if len(buffer) - at < size:
                break
            frame = buffer[at : at + size]
            if crc(frame[:-2]) != frame[-2:]:
                return [*events, *self._end("checksum", at)]
            if kind == LOGIN:
                imei = frame[HEAD:-TAIL]
                if self._imei or not imei.isdigit() or len(imei) != 15:
                    return [*events, *self._end("login", at)]
                self._imei = imei.decode("ascii")
                self._waiting = True
                events.append(Login(self._imei))
            elif not self._imei:
                return [*events, *self._end("login", at, "records before the login")]
            else:
                events.append(Frame(frame, count, self._offset + at))
            at += size
        self._offset += at
        self._buffer = buffer[at:]
        return events

    def _end(self, reason: str, at: int, detail: str = "") -> list[Event]:
        self._closed = True
        self._buffer = b""
        return [Malformed(reason, self._offset + at, detail), Close("damaged")]

    def accept(self, now: float) -> Sequence[Event]:
        """Nothing is said; then what waited behind the login."""
        del now
        self._waiting = False
        return self._events()

    def refuse(self) -> Sequence[Event]:
        """The protocol has no word for it: close in silence."""
        self._closed = True
        self._buffer = b""
        return (Close("refused"),)

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """The packet's checksum; one in quarantine is kept too."""
        del quarantined
        return ack(item.data)

    def end_of_stream(self) -> Sequence[Event]:
        """A packet cut by the close is `truncated`."""
        if self._closed or self._waiting or not self._buffer:
            return ()
        return self._end("truncated", 0)[:1]

    def ask_version(self) -> bytes:
        """The protocol has no question for it."""
        return b""

    def encode_command(self, text: str) -> bytes:
        """The protocol has no commands."""
        del text
        return b""
