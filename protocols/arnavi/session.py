"""One connection, sans-IO.

::

    FF version IMEI      Login; then 7B 00 00 7D, or for some versions 7B 04 00 with the time
    5B number … 5D       Frame, if it holds data; after the commit of all it holds 7B 00 number 7D
    5B number 00… 5D     nothing but pings: the same, at once
    5B FD … 5D           what answers a command: Message, no ack
    texts, files, bytes  among the records of a package: Messages

An ack names its package, so nothing behind a damaged one releases it. A package whose records add up to its end sign
was cut right even if a checksum in it fails: it is no record and gets no ack, and the next one is read. Lengths and
kinds are under no checksum: where they do not add up, the connection ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.arnavi.measures import SIZE, VERSIONS
from protocols.arnavi.wire import (
    BINARY,
    DATA,
    FILE,
    HEADER,
    HEADER_SIZES,
    PACKAGE,
    PACKAGE_END,
    PING,
    RECORD_HEAD,
    RESULT,
    TEXT,
    TIMED,
    Record,
    answer,
    records,
    total,
)
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

MAX_FRAME = 65_536
MAX_TEXT = 255  # of a command: its length is one byte
MAX_IMEI = 999_999_999_999_999
_LAST_NUMBER = 0xFB
_MAX_WAITING = 4096
_LATER = 1  # variant of a frame whose ack goes with what its package holds besides
_KINDS = {TEXT: "text", FILE: "file", BINARY: "binary"}


class ArnaviSession:
    """A TCP connection."""

    __slots__ = (
        "_acks", "_buffer", "_closed", "_imei", "_max_frame", "_now", "_offset", "_scanned", "_version", "_waiting",
    )  # fmt: skip

    def __init__(self, *, max_frame: int | None = None) -> None:
        self._acks: dict[int, bytes] = {}  # of messages that are not acknowledged yet, by their offset
        self._buffer: bytes | bytearray = b""
        self._offset = 0  # of the buffer's first byte in the whole stream
        self._scanned = 0  # bytes of a package that is not whole whose records are known
        self._imei = ""
        self._now = 0.0
        self._version = 0
        self._waiting = False
        self._closed = False
        self._max_frame = min(max_frame or MAX_FRAME, MAX_FRAME)

    def run(self, data: bytes) -> Frame | None:
        """One package of records of one size."""
        if not self._imei or self._waiting or self._closed or self._buffer:
            return None
        count = _uniform(data)
        if not count or len(data) > self._max_frame:
            return None
        offset = self._offset
        self._offset = offset + len(data)
        return Frame(data, count, offset)

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes; damage is an event in its place."""
        if self._closed:
            return ()
        self._now = now
        if type(self._buffer) is bytearray:
            self._buffer += data
        else:
            self._buffer = self._buffer + data if self._buffer else data
        if self._waiting:
            if len(self._buffer) > _MAX_WAITING + self._max_frame:
                return self._end("length", 0, "too much before its login was answered")
            return ()
        return self._events()

    def _events(self) -> list[Event]:
        events: list[Event] = []
        buffer, at, end = self._buffer, 0, len(self._buffer)
        while at < end and not self._waiting and not self._closed:
            if buffer[at] == HEADER:
                used = self._header(buffer, at, events)
            elif buffer[at] == PACKAGE and self._imei:
                used = self._package(buffer, at, events)
            elif buffer[at] == 0x24 and not self._imei:
                events += self._end("unsupported", at, "the text protocol")
                break
            else:
                reason = "structure" if self._imei else "login"
                events += self._end(reason, at, f"{buffer[at]:02x} begins nothing")
                break
            if not used:
                break
            at += used
        if self._closed:
            return events
        self._offset += at
        if at == end:
            self._buffer = b""
        elif type(buffer) is bytearray:
            del buffer[:at]
        else:
            self._buffer = bytearray(buffer[at:])
        return events

    def _header(self, buffer: bytes | bytearray, at: int, events: list[Event]) -> int:
        if len(buffer) - at < 2:
            return 0
        version = buffer[at + 1]
        size = HEADER_SIZES.get(version)
        if size is None:
            events += self._end("login", at, f"version {version:02x}")
            return 0
        if len(buffer) - at < size:
            return 0
        number = int.from_bytes(buffer[at + 2 : at + 10], "little")
        imei = f"{number:015d}"
        if not 0 < number <= MAX_IMEI:
            events += self._end("login", at, "an IMEI has fifteen digits")
            return 0
        if self._imei and imei != self._imei:
            events += self._end("login", at, "another IMEI on the same connection")
            return 0
        self._version = version
        if self._imei:  # the same again: the answer got lost
            events.append(Reply(self._greeting(self._now)))
        else:
            self._imei, self._waiting = imei, True
            events.append(Login(imei))
        return size

    def _greeting(self, now: float) -> bytes:
        if self._version not in TIMED:
            return answer(0)
        return answer(0, min(max(int(now), 0), 0xFFFF_FFFF).to_bytes(4, "little"))

    def _package(self, buffer: bytes | bytearray, at: int, events: list[Event]) -> int:
        end = len(buffer)
        if at == 0 and not self._scanned and end <= self._max_frame:
            count = _uniform(buffer)
            if count:
                events.append(Frame(bytes(buffer), count, self._offset))
                return end
        if end - at < 3:
            return 0
        number = buffer[at + 1]
        if number == RESULT and not self._scanned and buffer[at + 2] == PING:
            if end - at < 4:
                return 0
            if buffer[at + 3] != PACKAGE_END:
                events += self._end("structure", at, "a result that is none")
                return 0
            events.append(Message(b"", None, "result", self._offset + at, True))
            return 4
        stop = max(at + 2, at + self._scanned)
        try:
            for record in records(buffer, stop, end):
                stop = record.end
        except ValueError as error:
            events += self._end("structure", at, str(error))
            return 0
        if stop + 1 - at > self._max_frame:
            events += self._end("length", at, f"a package of more than {self._max_frame} bytes")
            return 0
        if stop >= end or buffer[stop] != PACKAGE_END:
            self._scanned = stop - at
            return 0
        self._scanned = 0
        data = bytes(buffer[at : stop + 1])
        self._whole(data, self._offset + at, events)
        return 0 if self._closed else len(data)

    def _whole(self, data: bytes, offset: int, events: list[Event]) -> None:
        """A package whose records add up."""
        number = data[1]
        found = list(records(data, 2, len(data)))
        if not number:
            events += self._end("structure", offset - self._offset, "a package without a number")
            return
        if any(total(data[r.start + 3 : r.end - 1]) != data[r.end - 1] for r in found):
            events.append(Malformed("checksum", offset))
            return
        texts: list[Message] = []
        for record in found:
            body = data[record.start + RECORD_HEAD : record.end - 1]
            if record.kind == PING:
                damaged = bool(body)
            elif record.kind == DATA:
                damaged = False
            else:
                text = _text(body) if record.kind == TEXT else None
                damaged = record.kind == TEXT and text is None
                said = True if record.kind == TEXT or number == RESULT else None
                texts.append(Message(body, text, _KINDS[record.kind], offset + record.start, said))
            if damaged:  # kinds are under no checksum: data that is called a text is none
                events.append(Malformed("structure", offset, "a ping with data, or a text that is none"))
                return
        ack = answer(number) if number != RESULT else b""
        kept = [record for record in found if record.kind == DATA]
        if kept:
            variant = _LATER if texts or not ack else 0
            events.append(Frame(data, len(kept), offset, variant))
            events += _identified(data, kept)
        if texts:
            self._acks[texts[-1].offset] = ack
            events += texts
        elif not kept and ack:
            events.append(Reply(ack))

    def _end(self, reason: str, at: int, detail: str) -> list[Event]:
        self._closed = True
        self._buffer = b""
        return [Malformed(reason, self._offset + at, detail), Close("damaged")]

    # -- what the gateway says ------------------------------------------------------------------------------------

    def accept(self, now: float) -> Sequence[Event]:
        """The answer to the header, then what waited behind it."""
        if not self._waiting:
            return ()
        self._waiting = False
        return [Reply(self._greeting(now)), *self._events()]

    def refuse(self) -> Sequence[Event]:
        """The protocol has no word for it: close in silence."""
        self._waiting = False
        self._closed = True
        self._buffer = b""
        return (Close("refused"),)

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """The package's number, once all that it holds is kept; what is in quarantine is kept too."""
        if isinstance(item, Message):
            return self._acks.pop(item.offset, b"")
        return b"" if item.variant == _LATER else answer(item.data[1])

    def end_of_stream(self) -> Sequence[Event]:
        """A package cut by the close is `truncated`."""
        if self._closed or not self._buffer:
            return ()
        self._closed = True
        return (Malformed("truncated", self._offset),)

    def ask_version(self) -> bytes:
        """None: tag 251 tells, unasked."""
        return b""

    def encode_command(self, text: str) -> bytes:
        """The text as the answer's data. Its number is the one of results, lest it be taken for a package's ack."""
        if self._closed or self._waiting or not self._imei:
            return b""
        return answer(RESULT, text.encode("ascii"))


def _uniform(data: bytes | bytearray) -> int:
    """How many data records of one size a package is, if it is nothing else and every checksum is right; else 0."""
    size = len(data) - 3
    if size < RECORD_HEAD + 1 or data[0] != PACKAGE or not 0 < data[1] <= _LAST_NUMBER or data[-1] != PACKAGE_END:
        return 0
    if data[2] != DATA:
        return 0
    length = (data[3] | data[4] << 8) + RECORD_HEAD + 1
    count, rest = divmod(size, length)
    if rest:
        return 0
    if count == 1:  # as live records come: without numpy, whose every step costs more than a sum of so few bytes
        good = total(data[5:-2]) == data[-2] and VERSIONS not in data[2 + RECORD_HEAD : -2 : SIZE]
        return 1 if good else 0
    rows = np.frombuffer(bytes(data), np.uint8, size, 2).reshape(count, length)
    tags = rows[:, RECORD_HEAD:-1:SIZE]
    if np.count_nonzero(rows[:, :3] != rows[0, :3]) or np.count_nonzero(tags == VERSIONS):
        return 0
    sums = np.add.reduce(rows[:, 3:-1], axis=1, dtype=np.uint64) & np.uint64(0xFF)
    return 0 if np.count_nonzero(sums != rows[:, -1]) else count


def _text(body: bytes) -> str | None:
    """A text, CP1251 where it is not UTF-8; None: that is none."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        try:
            text = body.decode("cp1251")
        except UnicodeDecodeError:
            return None
    return None if any(ord(c) < 32 and c not in "\r\n\t" for c in text) else text


def _identified(data: bytes, kept: Sequence[Record]) -> list[Event]:
    """What tag 251 says of hardware and software, from the record on that tells it."""
    for record in reversed(kept):
        tags = data[record.start + RECORD_HEAD : record.end - 1 : SIZE]
        place = tags.find(VERSIONS)
        if place >= 0:
            at = record.start + RECORD_HEAD + SIZE * place + 1
            hardware, software = (int.from_bytes(data[k : k + 2], "little") for k in (at, at + 2))
            time = int.from_bytes(data[record.start + 3 : record.start + 7], "little")
            if at + 4 < record.end:
                return [Identified(str(software), f"arnavi-{hardware}", time * 1_000_000)]
    return []
