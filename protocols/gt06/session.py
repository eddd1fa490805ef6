"""One GT06 connection: login, places, alarms, heartbeats, answers to commands.

::

    NEW --01--> accept: 01 echoed --> OPEN            refused: nothing, close; anything else first: malformed "login"
    OPEN  places, cells, voltage, fuel   Frame; no answer, as the documents say
          alarms                         Frame; after its commit echoed by its number, unless its language says no
          heartbeat                      echoed; behind frames it waits for their commit, as all that is said does
          time                           8A with UTC
          answers to commands            kept, told by the server's flag
          others                         kept as they are

Nothing that a server says lets a terminal keep or drop a place, so a store that refuses closes the connection: the
terminal keeps what it cannot send. Damage ends at the next start of a frame and blocks nothing behind it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from protocols.gt06.contents import HEAD, layout
from protocols.gt06.wire import (
    ALARMS,
    ANSWER,
    ANSWER_LONG,
    CELLS,
    CELLS_4G,
    COMMAND,
    FILES,
    HEARTBEAT,
    HEARTBEAT_2,
    INFO,
    INFO_CARDS,
    LOGIN,
    LONG,
    MAX_FRAME,
    MODULES,
    PLACES,
    SHORT,
    SHORTEST,
    STOP,
    TIME,
    crc,
    frame,
    imei_of,
    is_record,
    parts_of,
    zone_of,
)
from protocols.headed import DamagedRecordError
from protocols.instants import binary
from protocols.records import Close, Event, Frame, Identified, Login, Malformed, Message, Quarantined, Reply

_MAX_RUNS = 16  # runs of unreadable bytes without a good frame between them: nobody speaks GT06 here
_MAX_WAITING = 64 * 1024  # ahead of the answer to the login
_MAX_OUTSTANDING = 0xFFFF
_IN_RUNS = PLACES | {CELLS, CELLS_4G}  # of an information the content tells what it is
_VERSION = re.compile(r"\[VERSION\]\s*([^\s\[\];,]{1,64})|VERSION:\s*([^\s\[\];,]{1,64})")
_ENGLISH = b"\x00\x02"
_LBS = HEAD  # where an alarm's content says how long its lbs is
_ECHO = struct.Struct(">2s4sH2s").pack
_START, _STOP = int.from_bytes(SHORT, "big"), int.from_bytes(STOP, "big")
_QUESTION = frame(COMMAND, bytes((12,)) + bytes(4) + b"VERSION#" + _ENGLISH, 0)


@lru_cache(256)
def _bodies(size: int) -> Callable[[bytes], Iterator[tuple[bytes, int]]]:
    """Short frames of one size end to end: what the checksum covers, and the checksum."""
    return struct.Struct(f">2x{size - 6}sH2x").iter_unpack


def _alike(data: bytes, size: int) -> bool:
    """Whether pieces of one size begin with the same four bytes, and end as frames do."""
    count = len(data) // size
    return data[-2:] == STOP and (
        count == 1
        or (
            all(data[at::size] == data[at : at + 1] * count for at in range(4))
            and data[size - 2 :: size] == STOP[:1] * count
            and data[size - 1 :: size] == STOP[1:] * count
        )
    )


@lru_cache(256)
def _cut(size: int) -> Callable[[bytes], Iterator[tuple[int, int, int, int, int]]]:
    """Short frames of one size end to end: start, length, protocol, checksum and stop of each."""
    return struct.Struct(f">HBB{size - 8}xHH").iter_unpack


class Gt06Session:
    """A TCP connection, sans-IO."""

    __slots__ = (
        "_asked", "_buffer", "_closed", "_imei", "_lost", "_most", "_now", "_offset", "_open", "_runs", "_serial",
        "_waiting", "_zone",
    )  # fmt: skip

    def __init__(self, *, max_frame: int | None = None) -> None:
        self._most = min(max_frame or MAX_FRAME, MAX_FRAME)
        self._buffer = bytearray()
        self._offset = 0
        self._imei = ""
        self._zone = 0
        self._open = False
        self._waiting = b""  # the login that waits for its answer
        self._closed = False
        self._lost = False  # inside unreadable bytes, which were told
        self._runs = 0
        self._serial = 0
        self._asked = 0  # flag of the command that is out
        self._now = 0.0

    # -- the interface ------------------------------------------------------------------------------------------

    def run(self, data: bytes) -> Frame | None:
        """Short frames of one protocol and size, each of them a place or cells."""
        if not self._open or self._buffer or self._closed or self._lost or data[:2] != SHORT or len(data) < SHORTEST:
            return None
        size, end = data[2] + 5, len(data)
        if size < SHORTEST or end % size or size > self._most or data[3] not in _IN_RUNS or not _alike(data, size):
            return None
        for body, its in _bodies(size)(data):
            if crc(body) != its:
                return None
        offset = self._offset
        self._offset += end
        self._runs = 0
        return Frame(data, 1, offset, self._zone, end // size)

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes; damage is an event in its place."""
        self._now = now
        if self._closed:
            return ()
        if self._open and not (self._buffer or self._lost):
            events: list[Event] = []
            used = self._usual(data, events)
            if used == len(data):
                return events
            self._buffer += data[used:]
            return self._parse(events)
        self._buffer += data
        if self._waiting:
            if len(self._buffer) > _MAX_WAITING:
                return self._end([Malformed("length", self._offset, "too much before the login was decided")])
            return ()
        return self._parse([])

    def accept(self, now: float) -> Sequence[Event]:
        """01 with the login's number, then what waited behind it."""
        self._now = now
        if not self._waiting:
            return ()
        echo, self._waiting = _echo(self._waiting), b""
        self._open = True
        return self._parse([Reply(echo)])

    def refuse(self) -> Sequence[Event]:
        """Nothing is said: the terminal tries again."""
        self._waiting = b""
        return self._end([], "refused")

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """An alarm by its number, one that cannot be decoded too, since it is kept; a place has no answer."""
        del quarantined
        if item.count == 1:
            return _answer_to(item.data)
        if item.data[3] not in ALARMS:
            return b""
        size = len(item.data) // item.count
        return b"".join([_answer_to(item.data[at : at + size]) for at in range(0, len(item.data), size)])

    def end_of_stream(self) -> Sequence[Event]:
        """A frame cut by the close is `truncated`."""
        if self._closed or self._waiting or not self._buffer or self._lost:
            return ()
        self._closed = True
        return (Malformed("truncated", self._offset),)

    def ask_version(self) -> bytes:
        """VERSION#, with the flag 0."""
        return _QUESTION if self._open and not self._closed else b""

    def encode_command(self, text: str) -> bytes:
        """0x80; a flag of its own tells its answer."""
        if not self._open or self._closed:
            return b""
        self._asked = self._asked % 0xFFFF_FFFF + 1
        self._serial = self._serial % _MAX_OUTSTANDING + 1
        words = text.strip().removesuffix("#").encode("ascii") + b"#"
        body = bytes((len(words) + 4,)) + self._asked.to_bytes(4, "big") + words + _ENGLISH
        return frame(COMMAND, body, self._serial)

    def _usual(self, data: bytes, events: list[Event]) -> int:
        """Good short frames with places from the beginning on, as nearly all there are: how many bytes they take."""
        at, end, offset, zone = 0, len(data), self._offset, self._zone
        add = events.append
        while at + SHORTEST < end:
            size = data[at + 2] + 5
            protocol = data[at + 3]
            if size < SHORTEST or size > end - at or protocol not in PLACES:
                break
            begin = at
            for start, length, its, crc_, stop in _cut(size)(data[at : at + (end - at) // size * size]):
                if (
                    start != _START
                    or length + 5 != size
                    or its != protocol
                    or stop != _STOP
                    or crc(data[at + 2 : at + size - 4]) != crc_
                ):
                    break
                add(Frame(data[at : at + size], 1, offset + at, zone))
                at += size
            if at == begin:
                break
        if at:
            self._offset = offset + at
            self._runs = 0
        return at

    # -- bytes to frames ----------------------------------------------------------------------------------------

    def _parse(self, events: list[Event]) -> list[Event]:
        buffer, at, end = self._buffer, 0, len(self._buffer)
        while at < end and not self._waiting and not self._closed:
            begin = bytes(buffer[at : at + 4])
            if begin[:2] == SHORT:
                size = begin[2] + 5 if len(begin) > 2 else 0
            elif begin[:2] == LONG:
                size = (begin[2] << 8 | begin[3]) + 6 if len(begin) > 3 else 0
            elif len(begin) == 1 and begin in b"\x78\x79":
                size = 0
            else:
                at = self._skip(at, events, "structure")
                continue
            if size == 0:
                break
            if not SHORTEST + (begin[:2] == LONG) <= size <= self._most:
                at = self._skip(at, events, "length")
                continue
            if at + size > end:
                if self._lost and (found := self._later(at + 2)) >= 0:  # no start, most likely
                    at = found
                    continue
                break
            whole = bytes(buffer[at : at + size])
            if crc(whole[2:-4]) != whole[-4] << 8 | whole[-3]:
                # Where the stop stands in its place the length is right; else anything may begin inside.
                if whole[-2:] == STOP and not self._lost:
                    self._damage("checksum", at, events)
                    self._lost = False
                    at += size
                else:
                    at = self._skip(at, events, "checksum")
                continue
            if whole[-2:] != STOP:
                at = self._skip(at, events, "structure")
                continue
            self._lost = False
            self._runs = 0
            offset = self._offset + at
            at += size
            self._frame(whole, offset, events)
        if self._closed:
            buffer.clear()
            return events
        self._offset += at
        del buffer[:at]
        return events

    def _later(self, at: int) -> int:
        """Where the next whole good frame begins, -1: none is there yet."""
        buffer = self._buffer
        while (at := _start(buffer, at)) < len(buffer) - 4:
            size = buffer[at + 2] + 5 if buffer[at] == 0x78 else (buffer[at + 2] << 8 | buffer[at + 3]) + 6
            whole = bytes(buffer[at : at + size])
            good = len(whole) == size >= SHORTEST and whole[-2:] == STOP
            if good and crc(whole[2:-4]) == whole[-4] << 8 | whole[-3]:
                return at
            at += 1
        return -1

    def _skip(self, at: int, events: list[Event], reason: str) -> int:
        """Unreadable from here to the next start of a frame, told once; where that is."""
        if not self._lost:
            self._damage(reason, at, events)
        return _start(self._buffer, at + 1)

    def _damage(self, reason: str, at: int, events: list[Event]) -> None:
        events.append(Malformed(reason, self._offset + at))
        self._lost = True
        self._runs += 1
        if self._runs >= _MAX_RUNS:
            self._end(events)

    # -- frames -------------------------------------------------------------------------------------------------

    def _frame(self, whole: bytes, offset: int, events: list[Event]) -> None:
        head = 4 if whole[:2] == LONG else 3
        protocol, content = whole[head], whole[head + 1 : -6]
        if protocol == LOGIN:
            self._login(whole, content, offset, events)
        elif not self._open:
            events.append(Malformed("login", offset, "nothing before the login"))
            self._end(events, "login")
        elif is_record(protocol, content):
            events.append(Frame(whole, 1, offset, self._zone))
        elif protocol in (HEARTBEAT, HEARTBEAT_2):
            events.append(Reply(_echo(whole)))
        elif protocol == TIME:
            events.append(Reply(frame(TIME, binary(self._now), int.from_bytes(whole[-6:-4], "big"))))
        elif protocol in (ANSWER, ANSWER_LONG):
            events += self._answer(protocol, whole, content, offset)
        else:
            events.append(Message(whole, _text(protocol, content), f"0x{protocol:02x}", offset))
            events += _cards(protocol, content)

    def _login(self, whole: bytes, content: bytes, offset: int, events: list[Event]) -> None:
        imei = imei_of(content[:8])
        if imei is None or (self._imei and imei != self._imei):
            why = "another IMEI on the same connection" if imei else "no IMEI"
            events.append(Malformed("login", offset, why))
            self._end(events, "login")
            return
        self._zone = zone_of(int.from_bytes(content[10:12], "big")) if len(content) >= 12 else 0
        if self._imei:
            events.append(Reply(_echo(whole)))
            return
        self._imei = imei
        self._waiting = whole
        events.append(Login(imei))

    def _answer(self, protocol: int, whole: bytes, content: bytes, offset: int) -> list[Event]:
        """Its flag is the command's; old terminals echo it wrongly, and one command is out at a time."""
        if protocol == ANSWER_LONG:
            flag, coding, data = content[:4], content[4:5], content[5:]
            text = data.decode("utf-16-be", "replace") if coding == b"\2" else _ascii(data)
        else:
            flag = content[1:5]
            size = content[0] if content else 0
            data = content[5 : 1 + size] if 4 <= size < len(content) else content[5:]
            text = _ascii(data)
        asked = self._asked if int.from_bytes(flag, "big") else 0
        events: list[Event] = [Message(whole, text, "answer", offset, True if asked or not any(flag) else None)]
        found = _VERSION.search(text or "")
        if found is not None:
            events.append(Identified(found[1] or found[2]))
        return events

    def _end(self, events: list[Event], reason: str = "damaged") -> list[Event]:
        self._closed = True
        self._buffer.clear()
        events.append(Close(reason))
        return events


def _start(buffer: bytes | bytearray, at: int) -> int:
    """Where 78 78 or 79 79 stands next; the end, or the half of one before it."""
    found = [place for place in (buffer.find(SHORT, at), buffer.find(LONG, at)) if place >= 0]
    if found:
        return min(found)
    return len(buffer) - 1 if len(buffer) > at and buffer[-1] in b"\x78\x79" else len(buffer)


def _echo(whole: bytes) -> bytes:
    """The bare answer: its protocol and number."""
    return frame_echo(whole[4 if whole[:2] == LONG else 3], whole[-6:-4])


def frame_echo(protocol: int, serial: bytes) -> bytes:
    """A short frame without a content."""
    body = b"\5%c%b" % (protocol, serial)
    return _ECHO(SHORT, body, crc(body), STOP)


def _answer_to(whole: bytes) -> bytes:
    """What a frame is answered by after its commit; empty: nothing."""
    told = parts_of(whole)
    if told is None:
        return b""
    protocol, content = told
    if protocol in (MODULES, FILES) or (protocol in ALARMS and _wants_answer(protocol, content)):
        return _echo(whole)
    return b""


def _wants_answer(protocol: int, content: bytes) -> bool:
    at = _language_at(protocol, len(content), content[_LBS] if len(content) > _LBS else -1)
    return at < 0 or content[at] != 0


@lru_cache(1024)
def _language_at(protocol: int, size: int, lbs: int) -> int:
    """Where an alarm of that size tells its language, whose lbs says so of its own size; -1: it is no whole alarm."""
    try:
        return layout(protocol, bytes(_LBS) + bytes((max(lbs, 0),)) * (size - _LBS)).state + 4
    except DamagedRecordError:
        return -1


def _ascii(data: bytes) -> str | None:
    text = data.rstrip(b"\0").decode("utf-8", "replace")
    return text if all(c.isprintable() or c in "\r\n\t" for c in text) else None


def _text(protocol: int, content: bytes) -> str | None:
    """What an information says to people, where it says anything."""
    for told in _cards(protocol, content):
        return f"IMEI {told.imei}, IMSI {told.imsi}, ICCID {told.iccid}"
    return _ascii(content[1:]) if protocol == INFO else None


def _cards(protocol: int, content: bytes) -> list[Identified]:
    """What an information tells of modem and SIM card; filled up with 0 in front, or F behind."""
    if protocol != INFO or content[:1] != bytes((INFO_CARDS,)) or len(content) < 27:
        return []
    imei, imsi, iccid = content[1:9].hex()[1:], content[9:17].hex().lstrip("0"), content[17:27].hex().rstrip("f")
    return [Identified(imei=imei, imsi=imsi, iccid=iccid)]


def new_session(transport: str = "tcp", max_frame: int | None = None) -> Gt06Session:
    """A session for one TCP connection.

    Raises
    ------
    ValueError
        If asked for another transport.
    """
    if transport != "tcp":
        raise ValueError(f"GT06 names its terminal once a connection: TCP only, not {transport!r}")
    return Gt06Session(max_frame=max_frame)
