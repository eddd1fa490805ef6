"""Trackers that speak in short messages, each of which names its terminal and holds at most one record.

A `Splitter` cuts a stream into messages between a start and an end byte; a `SelfNamedSession` makes the first name the
login; `decode_each` reads messages one by one. What a message means, each protocol says.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from protocols.records import (
    SATELLITES_UNKNOWN,
    BatchBuilder,
    Close,
    Decoded,
    Event,
    Frame,
    Login,
    Malformed,
    Message,
    Quarantined,
    fingerprint,
)

MAX_MESSAGE = 1024  # the longest have some 200 bytes
_MAX_RUNS = 16  # damaged messages without a good one between them
_MAX_WAITING = 64 * 1024  # ahead of the answer to the login
_BLANKS = b"\r\n\t \0"


class Piece(NamedTuple):
    """A message, or why there is none; `offset` of its first byte in the stream."""

    data: bytes
    reason: str
    offset: int


class Splitter:
    """Messages from `start` to `end`, blanks between them; `fixed` sizes those that begin otherwise.

    `fixed(buffer, at)` is the size of a message without an end byte, 0 where more bytes would tell, -1 where there is
    none.
    """

    __slots__ = ("_at", "_buffer", "_end", "_fixed", "_lost", "_most", "_start")

    def __init__(
        self, start: bytes, end: bytes, most: int, fixed: Callable[[bytearray, int], int] = lambda _buffer, _at: -1
    ) -> None:
        self._start = start
        self._end = end
        self._most = most
        self._fixed = fixed
        self._buffer = bytearray()
        self._at = 0  # of the buffer's first byte in the stream
        self._lost = False  # inside unreadable bytes, which were told

    def feed(self, data: bytes) -> None:
        """More bytes."""
        self._buffer += data

    def __len__(self) -> int:
        return len(self._buffer)

    def alike(self, data: bytes) -> int:
        """How many messages of one size it is, from start to end and nothing between them; 0: it is not that."""
        count = data.count(self._end)
        size = len(data) // count if count else 0
        if (
            self._buffer
            or self._lost
            or not 1 < size <= self._most
            or count * size != len(data)
            or data.count(self._start) != count
            or data[::size] != self._start * count
            or data[size - 1 :: size] != self._end * count
        ):
            return 0
        return count

    def skip(self, size: int) -> int:
        """Bytes that were read elsewhere; where the first of them stood in the stream."""
        self._at += size
        return self._at - size

    def next(self) -> Piece | None:
        """The next message or damage; None: more bytes are needed."""
        buffer = self._buffer
        while buffer:
            if not self._lost and buffer[0] in _BLANKS:
                self._drop(len(buffer) - len(buffer.lstrip(_BLANKS)))
                continue
            if buffer[:1] == self._start:
                found = self._framed()
                if found is not None or buffer[:1] == self._start:
                    return found
                continue
            size = self._fixed(buffer, 0) if not self._lost else -1
            if size == 0:
                return None
            if size > 0:
                return self._take(size)
            start = buffer.find(self._start)
            told = None if self._lost else Piece(b"", "structure", self._at)
            self._lost = True
            self._drop(len(buffer) if start < 0 else start)
            if told is not None:
                return told
        return None

    def _framed(self) -> Piece | None:
        """From a start on: whole, cut by another start, too long, or not yet whole."""
        buffer = self._buffer
        end = buffer.find(self._end, 1)
        again = buffer.find(self._start, 1, end if end > 0 else len(buffer))
        if again > 0:
            return self._damaged("truncated", again)
        if end < 0:
            return self._damaged("length", len(buffer)) if len(buffer) > self._most else None
        if end + 1 > self._most:
            return self._damaged("length", end + 1)
        return self._take(end + 1)

    def _damaged(self, reason: str, size: int) -> Piece | None:
        told = None if self._lost else Piece(b"", reason, self._at)
        self._drop(size)
        self._lost = reason == "length" and not self._buffer  # the rest of it is still to come
        return told

    def _take(self, size: int) -> Piece:
        data, offset = bytes(self._buffer[:size]), self._at
        self._drop(size)
        self._lost = False
        return Piece(data, "", offset)

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._at += size

    def rest(self) -> Piece | None:
        """What is left when the stream ends: a message that was cut, or a part of what has been told."""
        left, self._buffer = self._buffer, bytearray()
        return Piece(b"", "truncated", self._at) if left and not self._lost else None


class SelfNamedSession(ABC):
    """See `protocols.records.Session`; over UDP one datagram."""

    def __init__(self, splitter: Splitter, *, udp: bool) -> None:
        self._splitter = splitter
        self._udp = udp
        self._terminal = ""
        self._first: Piece | None = None  # the message that named it waits for the answer
        self._closed = False
        self._runs = 0
        self._now = 0.0

    @abstractmethod
    def _named(self, data: bytes) -> str:
        """Who sends a message; empty: it is none."""

    @abstractmethod
    def _event(self, data: bytes, offset: int) -> list[Event]:
        """What a message of the terminal is."""

    @abstractmethod
    def _is_record(self, data: bytes) -> bool:
        """Whether a whole message is of who logged in and for certain nothing but a record."""

    def _are_records(self, data: bytes, size: int) -> bool:
        """The same of several of one size, end to end, without a start or end byte inside."""
        return all(self._is_record(data[at : at + size]) for at in range(0, len(data), size))

    def run(self, data: bytes) -> Frame | None:
        """Messages of one size of who logged in, each with a record."""
        count = 0 if self._first is not None or self._closed else self._splitter.alike(data)
        if not count:
            return None
        size = len(data) // count
        if not self._are_records(data, size):
            return None
        self._runs = 0
        return Frame(data, 1, self._splitter.skip(len(data)), 0, count)

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes; damage is an event in its place."""
        self._now = now
        if self._closed:
            return ()
        if self._first is not None and len(self._splitter) > _MAX_WAITING:
            self._first = None
            return self._end(
                [Malformed("length", self._splitter._at, "too much before the login was decided")], "length"
            )
        self._splitter.feed(data)
        return self._parse([])

    def accept(self, now: float) -> Sequence[Event]:
        """The message that named the terminal, then what waited behind it."""
        self._now = now
        first, self._first = self._first, None
        if first is None:
            return ()
        return self._parse(self._event(first.data, first.offset))

    def refuse(self) -> Sequence[Event]:
        """These protocols have no word for it: close in silence."""
        self._first = None
        return self._end([], "refused")

    def end_of_stream(self) -> Sequence[Event]:
        """A message cut by the close is `truncated`."""
        if self._closed or self._first is not None:
            return ()
        left = self._splitter.rest()
        return () if left is None else (Malformed(left.reason, left.offset),)

    def ask_version(self) -> bytes:
        """These protocols have no such question."""
        return b""

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """The answer to a message that is kept, also where it cannot be decoded."""
        del quarantined
        singles = item.singles() if type(item) is Frame and item.count > 1 else (item,)
        return b"".join([self._answer(single) for single in singles])

    @abstractmethod
    def _answer(self, item: Frame | Message) -> bytes:
        """The answer to one message; empty: there is none."""

    @property
    def _speaks(self) -> bool:
        """Whether it may be sent a command."""
        return bool(self._terminal) and self._first is None and not (self._closed or self._udp)

    def _parse(self, events: list[Event]) -> list[Event]:
        while self._first is None and not self._closed:
            piece = self._splitter.next()
            if piece is None:
                break
            name = "" if piece.reason else self._named(piece.data)
            if not name:
                events.append(Malformed(piece.reason or "structure", piece.offset))
                self._runs += 1
                if self._runs >= _MAX_RUNS:
                    self._end(events, "damaged")
            elif not self._terminal:
                self._terminal, self._first = name, piece
                events.append(Login(name))
            elif name != self._terminal:
                events.append(Malformed("login", piece.offset, "another terminal on the same connection"))
                self._end(events, "login")
            else:
                self._runs = 0
                events += self._event(piece.data, piece.offset)
        return events

    def _end(self, events: list[Event], reason: str) -> list[Event]:
        self._closed = True
        events.append(Close(reason))
        return events


class Reading(NamedTuple):
    """What one message tells: the core columns, numbers by name, and texts."""

    time: int
    lat: float = math.nan
    lon: float = math.nan
    altitude: float = math.nan
    speed: float = math.nan
    course: float = math.nan
    satellites: int = SATELLITES_UNKNOWN
    flags: int = 0
    measures: dict[str, float] = {}  # noqa: RUF012  # never changed
    texts: dict[str, Any] = {}  # noqa: RUF012
    time_digits: int = 0


class FieldError(ValueError):
    """A message that is none, or a field that cannot be; `args[0]` is the reason."""


def decode_each(frames: Sequence[Frame], read: Callable[[bytes, int], Reading]) -> Decoded:
    """Messages of any terminals, one record each; `read(data, variant)` raises `FieldError`."""
    builder = BatchBuilder()
    quarantined: list[Quarantined] = []
    index = 0
    for item in frames:
        for frame in item.singles():
            try:
                found = read(frame.data, frame.variant)
            except FieldError as error:
                quarantined.append(Quarantined(index, error.args[0]))
            else:
                builder.add(
                    frame=index, position=0, time=found.time, fingerprint=fingerprint(frame.data), lat=found.lat,
                    lon=found.lon, altitude=found.altitude, speed=found.speed, course=found.course,
                    satellites=found.satellites, flags=found.flags, names=tuple(found.measures),
                    values=tuple(found.measures.values()), extra=dict(found.texts) or None,
                    time_digits=found.time_digits,
                )  # fmt: skip
            index += 1
    return Decoded(builder.build(), quarantined)


def degrees(text: bytes, half: bytes, most: int) -> float:
    """DDMM.MMMM or DDDMM.MMMM and its half of the world, N S E W.

    Raises
    ------
    FieldError
        If the minutes are 60 or more, or the degrees beyond `most`.
    """
    width = text.find(b".") - 2 if b"." in text else len(text) - 2
    whole, minutes = int(text[:width]), float(text[width:])
    value = whole + minutes / 60
    if minutes >= 60 or value > most:
        raise FieldError("place")
    return -value if half in (b"S", b"W") else value
