"""One Wialon IPS connection or datagram: bytes in, events and answers out.

    TCP   login line -> accept -> lines, blocks of refused files, compressed containers, in any mixture
    UDP   one object per datagram: its prefix is the login, the rest is read as over TCP

Lines end in CR LF by the manual; a terminal whose first line ends in LF alone ends all of them so. The first line is a
login, in which no LF can stand; later ones may hold one in a text, so it is decided once.

Answers name their packet one by one, so damage never blocks what comes behind it. What a line of each type
means is a table in `_HANDLERS`. Bounds: a line `MAX_LINE`, a container 64 KiB packed and a line unpacked, file
blocks are dropped as they come, three runs of unreadable bytes in a row close the connection.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from protocols.records import (
    MAX_IDENTITY,
    TIME_UNKNOWN,
    Close,
    Event,
    Frame,
    Identified,
    Login,
    Malformed,
    Message,
    Quarantined,
    Reply,
    identity_of,
)
from protocols.wialon_ips.blocks import Block, read_block
from protocols.wialon_ips.containers import HEADER, MARK, inflate
from protocols.wialon_ips.declaration import FieldError, read_time
from protocols.wialon_ips.packets import driver_message
from protocols.wialon_ips.wire import (
    MAX_LINE,
    STRUCTURE_CODE,
    V1,
    V2,
    checksum_holds,
    count_members,
    members,
    split_checksum,
    split_line,
    text_of,
)

ANSWER = "answer"  # kind of a message that is the receipt of a command
_MAX_RUNS = 3  # runs of unreadable bytes in a row
_MAX_PREFIX = 4 * MAX_IDENTITY + 8  # bytes of a datagram before its first packet: a character takes up to four
_VERSION = re.compile(rb"[0-9]+\.[0-9]+")
_SPOKEN = re.compile(rb"2\.[0-9]")
_CRLF, _LF = b"\r\n", b"\n"

# The answer to a wrong checksum: the terminal sends again.
_WRONG_CHECKSUM = {b"SD": b"#ASD#13", b"D": b"#AD#16", b"B": b"#AB#", b"M": b"#AM#01", b"IT": b"#AIT#01"}
_TRAIT = re.compile(rb"[^,;|]*")
_TELLS = re.compile(rb"(?:[fh]w|imei|iccid|imsi):3:")


def new_session(transport: str = "tcp", max_frame: int | None = None) -> WialonSession:
    """A session for a connection, or over UDP for one datagram; `max_frame` lowers the limit of a line."""
    return WialonSession(udp=transport == "udp", max_frame=max_frame)


class WialonSession:
    """See `protocols.records.Session`."""

    __slots__ = (
        "_asked",
        "_at",
        "_block",
        "_buffer",
        "_cards",
        "_closed",
        "_ending",
        "_firmware",
        "_firmware_at",
        "_limit",
        "_model",
        "_model_at",
        "_now",
        "_prefix",
        "_runs",
        "_scanned",
        "_skipping",
        "_terminal",
        "_udp",
        "_variant",
        "_waiting",
    )

    def __init__(self, *, udp: bool = False, max_frame: int | None = None) -> None:
        self._udp = udp
        self._limit = MAX_LINE if max_frame is None else min(max_frame, MAX_LINE)
        self._buffer = bytearray()
        self._at = 0  # offset of the buffer's first byte in the stream
        self._scanned = 0  # how much of the buffer holds no line end
        self._block: Block | None = None
        self._skipping = False  # inside unreadable bytes, until the next line end
        self._runs = 0
        self._terminal = ""
        self._prefix = b""
        self._variant = V1
        self._waiting = False  # for `accept` or `refuse`
        self._closed = False
        self._ending = b""  # of this connection's lines; its first line tells
        self._cards: tuple[str | None, ...] = ()
        self._firmware: str | None = None
        self._model: str | None = None
        self._firmware_at = self._model_at = -math.inf  # µs: what time that was told of
        self._now = 0
        self._asked = 0  # commands that were not answered

    # -- the interface ------------------------------------------------------------------------------------------

    def run(self, data: bytes) -> Frame | None:
        """Text, of any size: none."""
        return None

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes. After a `Login` nothing more is parsed until `accept` or `refuse`."""
        self._now = round(now * 1e6)
        if self._closed:
            return []
        if self._waiting and len(self._buffer) + len(data) > 2 * MAX_LINE:  # the reader should have paused
            self._closed = True
            self._buffer.clear()
            return [Malformed("length", self._at, "too much before the login was decided"), Close("length")]
        self._buffer += data
        if self._udp and not self._terminal:
            return self._datagram()
        return self._parse()

    def accept(self, now: float) -> Sequence[Event]:
        """The login is good: answer it, then read what waited behind it."""
        self._now = round(now * 1e6)
        self._waiting = False
        parsed = self._parse()
        return parsed if self._udp else [Reply(b"#AL#1\r\n"), *parsed]

    def refuse(self) -> Sequence[Event]:
        """The login is refused: `#AL#0` over TCP, nothing over UDP."""
        self._waiting = False
        self._closed = True
        self._buffer.clear()
        return [Close("login")] if self._udp else [Reply(b"#AL#0\r\n"), Close("login")]

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """Code 1 or the decoder's negative code for a lone message, the count for a black box."""
        if isinstance(item, Message):
            return b"" if item.kind == ANSWER else b"#AM#1\r\n"
        if item.data.startswith(b"#B#"):
            refused_whole = any(bad.data is None for bad in quarantined)
            return b"#AB#%d\r\n" % (0 if refused_whole else item.records)
        code = (quarantined[0].code or STRUCTURE_CODE) if quarantined else "1"
        return b"#A%s#%s\r\n" % (b"SD" if item.data.startswith(b"#SD#") else b"D", code.encode())

    def end_of_stream(self) -> Sequence[Event]:
        """The peer closed: damage if it did so inside a line or a file's block."""
        if self._closed or self._waiting:
            return []
        self._closed = True
        if self._block is not None:
            return [Malformed("truncated", self._block.offset, "inside a file's block")]
        if self._buffer and not self._skipping and self._buffer != b"\r":
            return [Malformed("truncated", self._at, "inside a line")]
        return []

    def ask_version(self) -> bytes:
        """The protocol has no such request: terminals tell `fw` and `hw` in their parameters."""
        return b""

    def encode_command(self, text: str) -> bytes:
        """`#M#`: what a server can say in words. Taken by `#AM#`, or by what the driver says next; none over UDP."""
        if self._udp or self._closed or self._waiting or not self._terminal:
            return b""
        self._asked += 1
        return driver_message(text, self._variant)

    # -- the stream ---------------------------------------------------------------------------------------------

    def _parse(self) -> list[Event]:
        events: list[Event] = []
        at = 0
        while not (self._waiting or self._closed):
            then = self._step(at, events)
            if then < 0:
                break
            at = then
        if self._closed:
            at = len(self._buffer)
        if at:
            del self._buffer[:at]
            self._at += at
            self._scanned = max(0, self._scanned - at)
        return events

    def _step(self, at: int, events: list[Event]) -> int:
        """Take one thing from the buffer at `at`; where the next begins, or -1 to wait for more bytes."""
        buffer = self._buffer
        have = len(buffer) - at
        if self._block is not None:
            return self._drop_block(at, events)
        if self._skipping:
            return self._skip(at)
        if not have:
            return -1
        first = buffer[at]
        if first == 0x23:  # '#'
            return self._take_line(at, events)
        if first == MARK:
            return self._take_container(at, events)
        if first == 0x0D and (have < 2 or buffer[at + 1] == 0x0A):  # an empty line
            return at + 2 if have >= 2 else -1
        if first == 0x0A and self._ending != _CRLF:
            return at + 1
        if self._prefix and buffer.startswith(self._prefix + b"#", at):  # a further packet of the datagram
            return at + len(self._prefix)
        self._skipping = True
        self._runs += 1
        events.append(Malformed("structure", self._at + at, "unreadable bytes"))
        if self._runs >= _MAX_RUNS:
            self._close(events, "structure")
        return at

    def _skip(self, at: int) -> int:
        self._scanned = 0
        ending = self._ending or _LF
        end = self._buffer.find(ending, at)
        if end < 0:  # a CR may be the first half of the line end
            half = self._buffer.endswith(b"\r")
            keep = len(self._buffer) - half
            if keep > at:
                del self._buffer[at:keep]
                self._at += keep - at
            return -1
        self._skipping = False
        return end + len(ending)

    def _take_line(self, at: int, events: list[Event]) -> int:
        buffer = self._buffer
        ending = self._ending or _LF
        end = buffer.find(ending, max(at, self._scanned - 1))
        if end < 0 and self._udp:
            end = len(buffer)  # a datagram ends its last line
        elif end >= 0 and not self._ending:
            self._ending = _CRLF if end > at and buffer[end - 1] == 0x0D else _LF
            ending = self._ending
            end -= len(ending) - 1
        if end < 0:
            self._scanned = len(buffer)
            if len(buffer) - at <= self._limit + 1:
                return -1
            self._skipping = True
            events.append(Malformed("length", self._at + at))
            return at
        if end - at > self._limit:
            events.append(Malformed("length", self._at + at))
        else:
            line = bytes(buffer[at:end])
            self._line(line.removesuffix(b"\r") if ending == _LF else line, self._at + at, events)
        return min(end + len(ending), len(buffer))

    def _take_container(self, at: int, events: list[Event]) -> int:
        buffer = self._buffer
        if len(buffer) - at < HEADER:
            return -1
        end = at + HEADER + int.from_bytes(buffer[at + 1 : at + HEADER], "little")
        if len(buffer) < end:
            return -1
        line, wrong = inflate(bytes(buffer[at + HEADER : end]), self._limit)
        if wrong:
            events.append(Malformed(wrong, self._at + at, "compressed container"))
        elif not line.startswith(b"#"):
            events.append(Malformed("structure", self._at + at, "compressed container"))
        else:
            self._line(line, self._at + at, events)
        return end

    def _drop_block(self, at: int, events: list[Event]) -> int:
        block = self._block
        if block is None:
            return at
        taken = block.take(memoryview(self._buffer)[at:])
        if block.missing:
            if taken:
                del self._buffer[at:]
                self._at += taken
            return -1
        self._block = None
        reason, reply = block.outcome()
        events += [Malformed(reason, block.offset, f"#{block.kind}#"), Reply(reply)]
        return at + taken

    def _close(self, events: list[Event], reason: str) -> None:
        events.append(Close(reason))
        self._closed = True

    # -- the lines ----------------------------------------------------------------------------------------------

    def _line(self, line: bytes, offset: int, events: list[Event]) -> None:
        parts = split_line(line)
        kind, body = parts or (b"", b"")
        if not self._terminal and kind != b"L":
            events += [Malformed("login", offset, "a packet before the login"), Reply(b"#AL#0\r\n")]
            self._close(events, "login")
            return
        if not kind.isalnum():
            events.append(Malformed("structure", offset))
            return
        self._runs = 0
        handler = _HANDLERS.get(kind)
        if handler is None or (self._udp and kind == b"L"):
            events.append(Malformed("unsupported", offset, f"#{text_of(kind[:8])}#"))
        elif (
            self._variant != V1 and kind in _WRONG_CHECKSUM and not checksum_holds(body, b"|" if kind == b"B" else b";")
        ):
            events += [Malformed("checksum", offset), Reply(_WRONG_CHECKSUM[kind] + _CRLF)]
        else:
            handler(self, kind, body, line, offset, events)

    def _data(self, kind: bytes, body: bytes, line: bytes, offset: int, events: list[Event]) -> None:
        records = count_members(body, self._variant) if kind == b"B" else 1
        events.append(Frame(line, records, offset, self._variant))
        if b":3:" in line and _TELLS.search(line):
            for member in members(body, self._variant) if kind == b"B" else [body]:
                self._identify(member, events)

    def _identify(self, member: bytes, events: list[Event]) -> None:
        """What a record tells of its terminal, unless a newer one told otherwise: a black box may come at any time."""
        firmware, model = _trait(member, b"fw:3:"), _trait(member, b"hw:3:")
        cards = tuple(_trait(member, name) for name in (b"imei:3:", b"iccid:3:", b"imsi:3:"))
        if firmware is None and model is None and not any(cards):
            return
        at = self._time_of(member)
        told = Identified(time=at)
        if any(cards) and cards != self._cards:
            self._cards = cards
            told.imei, told.iccid, told.imsi = cards
        if firmware is not None and at >= self._firmware_at:
            told.firmware = firmware if firmware != self._firmware else None
            self._firmware, self._firmware_at = firmware, at
        if model is not None and at >= self._model_at:
            told.model = model if model != self._model else None
            self._model, self._model_at = model, at
        if told.facts:
            events.append(told)

    def _time_of(self, member: bytes) -> int:
        """A record's time, µs; that of its arrival where it tells none, none that can be, or one to come."""
        day, clock, *_ = [*member.split(b";", 2), b""]
        try:
            at, _ = read_time(text_of(day), text_of(clock))
        except FieldError:
            return self._now
        return self._now if at == TIME_UNKNOWN else min(at, self._now)

    def _ping(self, _kind: bytes, _body: bytes, _line: bytes, _offset: int, events: list[Event]) -> None:
        events.append(Reply(b"#AP#\r\n"))

    def _message(self, _kind: bytes, body: bytes, line: bytes, offset: int, events: list[Event]) -> None:
        if self._variant != V1:
            body = split_checksum(body)[0][:-1]
        answer = self._asked > 0
        self._asked -= answer
        events.append(Message(line, text_of(body), "driver", offset, answer or None))

    def _receipt(self, kind: bytes, body: bytes, line: bytes, offset: int, events: list[Event]) -> None:
        """Of a command: code 1, or the terminal did not take it."""
        if not self._asked:
            events.append(Malformed("unsupported", offset, f"#{text_of(kind)}#"))
            return
        self._asked -= 1
        events.append(Message(line, text_of(line), ANSWER, offset, body.partition(b";")[0] == b"1"))

    def _file_block(self, kind: bytes, body: bytes, _line: bytes, offset: int, events: list[Event]) -> None:
        found = read_block(kind, body, self._variant, offset)
        if isinstance(found, Block):
            self._block = found
            return
        reason, reply = found
        events += [Malformed(reason, offset, f"#{text_of(kind)}#"), Reply(reply)]
        if reason == "length":  # how far its bytes reach is anyone's guess
            self._close(events, reason)

    def _file_offer(self, _kind: bytes, _body: bytes, _line: bytes, offset: int, events: list[Event]) -> None:
        events += [Malformed("unsupported", offset, "#IT#"), Reply(b"#AIT#0\r\n")]

    # -- the login ----------------------------------------------------------------------------------------------

    def _login(self, _kind: bytes, body: bytes, _line: bytes, offset: int, events: list[Event]) -> None:
        fields = body.split(b";")
        variant = V1
        if _VERSION.fullmatch(fields[0]):
            variant = V2
            if len(fields) >= 4 and _SPOKEN.fullmatch(fields[0]) and not checksum_holds(body):
                events += [Malformed("checksum", offset), Reply(b"#AL#10\r\n")]
                return
        terminal = identity_of(text_of(fields[variant - 1])) if len(fields) == 2 * variant else ""
        if not terminal or (variant == V2 and not _SPOKEN.fullmatch(fields[0])):
            events += [Malformed("structure", offset, "login"), Reply(b"#AL#0\r\n")]
            self._close(events, "login")
        elif not self._terminal:
            self._terminal, self._variant, self._waiting = terminal, variant, True
            password = text_of(fields[variant])
            events.append(Login(terminal, password=None if password in ("", "NA") else password))
        elif terminal == self._terminal:
            self._variant = variant
            events.append(Reply(b"#AL#1\r\n"))
        else:  # one terminal per connection
            events += [Malformed("login", offset, "another terminal"), Reply(b"#AL#0\r\n")]
            self._close(events, "login")

    def _datagram(self) -> list[Event]:
        """The prefix of a datagram as a login; the packets behind it wait for `accept`."""
        buffer = self._buffer
        if buffer[:1] == bytes((MARK,)):
            line, wrong = inflate(bytes(buffer[HEADER:]), self._limit)
            if wrong or int.from_bytes(buffer[1:HEADER], "little") != len(buffer) - HEADER:
                return self._lost(wrong or "structure")
            buffer[:] = line
        at = buffer.find(b"#", 0, _MAX_PREFIX)
        if at == 0:
            return self._lost("login")
        *version, name = bytes(buffer[: max(at, 0)]).split(b";")
        terminal = identity_of(text_of(name))
        if not terminal or len(version) > 1 or (version and not _SPOKEN.fullmatch(version[0])):
            return self._lost("structure")
        self._terminal, self._waiting = terminal, True
        self._variant = V2 if version else V1
        self._prefix = bytes(buffer[:at])
        del buffer[:at]
        self._at += at
        return [Login(terminal)]

    def _lost(self, reason: str) -> list[Event]:
        self._closed = True
        self._buffer.clear()
        return [Malformed(reason, self._at, "datagram")]


def _trait(line: bytes, name: bytes) -> str | None:
    """The last value of a text parameter in a data line, None if it tells nothing."""
    at = line.rfind(name)
    while at > 0 and line[at - 1] not in b",;":  # the end of a longer name
        at = line.rfind(name, 0, at)
    found = _TRAIT.match(line, at + len(name)) if at > 0 else None
    text = text_of(found[0]) if found else ""
    return text if 0 < len(text) <= MAX_IDENTITY and text.isprintable() else None


_Handler = Callable[[WialonSession, bytes, bytes, bytes, int, list[Event]], None]

_HANDLERS: dict[bytes, _Handler] = {
    b"L": WialonSession._login,
    b"SD": WialonSession._data,
    b"D": WialonSession._data,
    b"B": WialonSession._data,
    b"P": WialonSession._ping,
    b"M": WialonSession._message,
    b"AM": WialonSession._receipt,
    b"I": WialonSession._file_block,
    b"T": WialonSession._file_block,
    b"IT": WialonSession._file_offer,
}
