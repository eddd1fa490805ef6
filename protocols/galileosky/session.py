"""One connection, sans-IO.

::

    01 … 03 IMEI … crc   Login; then 02 crc, at once for a packet that holds nothing but who it is
    01 …, 08 …           Frame; after its commit 02 and the packet's own checksum
    01 … E0 E1 …         the answer to a command: Message; then 02 crc
    06 …                 Garmin's: Message, no answer
    07 …                 part of a photo: Message; then 07 crc

An ack names its packet by checksum, so nothing behind a damaged packet can release it; the terminal sends that one
again. Where damage follows damage nothing tells where packets begin: the connection ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import fastcrc

from protocols.galileosky.decoder import COMPRESSED, DATA
from protocols.galileosky.measures import (
    ANSWER,
    COMMAND,
    FIRMWARE,
    HARDWARE,
    IMEI,
    NUMBER,
    TEXT,
)
from protocols.galileosky.walk import Shape, Walked, count, listed, walk, walk_listed
from protocols.learned import DamagedError
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

ACK, GARMIN, PHOTO = 0x02, 0x06, 0x07
HEADERS = (DATA, GARMIN, PHOTO, COMPRESSED)
HEAD, TAIL = 3, 2
MAX_TAGS = 4096  # bytes; the terminal's own limit is about a thousand
MAX_FRAME = HEAD + MAX_TAGS + TAIL
MAX_TEXT = 255  # its length is one byte
_MAX_DAMAGED = 3  # packets in one connection; then nothing tells any more where the next one begins
_MAX_WAITING = 16 * MAX_FRAME  # behind a login nobody has answered; a terminal sends one packet at a time
_MAX_SHAPES = 4  # a terminal's records differ by what its sensors told
_MAX_DAY = 0x7FFF  # days since 1970, as the store keeps a frame's variant
_WHO = {HARDWARE, FIRMWARE, IMEI, NUMBER}
_SAID = {COMMAND, TEXT, ANSWER}
_PLACED = 0x10  # from here on tags are of records

_crc = fastcrc.crc16.modbus


def packet(header: int, tags: bytes, *, more: bool = False) -> bytes:
    """A whole packet; `more`: the archive holds data that is not sent yet."""
    head = bytes((header,)) + (len(tags) | more << 15).to_bytes(2, "little")
    return head + tags + int(_crc(head + tags)).to_bytes(2, "little")


def command(imei: str, number: int, serial: int, text: str) -> bytes:
    """A command to the terminal of that IMEI; it repeats `serial` in its answer."""
    body = text.encode("cp1251")
    return packet(
        DATA,
        bytes((IMEI,)) + imei.encode("ascii") + bytes((NUMBER,)) + number.to_bytes(2, "little")
        + bytes((COMMAND,)) + serial.to_bytes(4, "little") + bytes((TEXT, len(body))) + body,
    )  # fmt: skip


class GalileoskySession:
    """A TCP connection."""

    __slots__ = (
        "_acks", "_buffer", "_closed", "_damaged", "_imei", "_max_frame", "_number", "_offset", "_open", "_sent",
        "_shapes", "_told", "_waiting",
    )  # fmt: skip

    def __init__(self, *, max_frame: int | None = None) -> None:
        self._acks: dict[int, bytes] = {}  # of messages that are not acknowledged yet, by their offset
        self._buffer = b""
        self._offset = 0  # of the buffer's first byte in the whole stream
        self._imei = ""
        self._number = 0  # of the terminal, told in its first packet; commands name it
        self._sent = 0  # commands on this connection
        self._told = False  # firmware
        self._damaged = 0
        self._waiting = False  # for accept or refuse
        self._closed = False
        self._open = False  # logged in, and no byte waits for its rest
        self._shapes: tuple[Shape, ...] = ()  # of records that came lately, the latest first
        self._max_frame = min(max_frame or MAX_FRAME, MAX_FRAME)

    def run(self, data: bytes) -> Frame | None:
        """One packet of records like those before."""
        size = len(data)
        if (
            not self._open
            or not self._shapes
            or size < HEAD + TAIL + 1
            or data[0] != DATA
            or (data[1] | data[2] << 8) & 0x7FFF != size - HEAD - TAIL
            or size > self._max_frame
            or data[-2] | data[-1] << 8 != _crc(data[:-2])
        ):
            return None
        records = self._alike(data)
        if not records:
            return None
        offset = self._offset
        self._offset = offset + size
        return Frame(data, records, offset)

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes; damage is an event in its place."""
        if self._closed:
            return ()
        self._buffer = self._buffer + data if self._buffer else data
        if self._waiting:
            if len(self._buffer) > _MAX_WAITING:
                return self._end(Malformed("length", self._offset, "too much before its login was answered"))
            return ()
        return self._events(now)

    def _events(self, now: float) -> list[Event]:
        events: list[Event] = []
        buffer, at, end = self._buffer, 0, len(self._buffer)
        while at < end and not self._waiting and not self._closed:
            if buffer[at] not in HEADERS:
                events += self._end(Malformed("structure", self._offset + at, f"header {buffer[at]:02x}"))
                break
            if end - at < HEAD:
                break
            length = (buffer[at + 1] | buffer[at + 2] << 8) & 0x7FFF
            size = length + HEAD + TAIL
            if not length or size > self._max_frame:
                events += self._end(Malformed("length", self._offset + at))
                break
            if end - at < size:
                break
            data = bytes(buffer[at : at + size])
            offset = self._offset + at
            if _crc(data[:-2]) != data[-2] | data[-1] << 8:
                events.append(Malformed("checksum", offset))
                self._damaged += 1
                if not self._imei or self._damaged >= _MAX_DAMAGED:
                    events += self._end()
                    break
            elif self._login(data, offset, events):
                if self._waiting:
                    break  # the packet itself is looked at once it is accepted
                if not self._closed:
                    events += self._packet(data, offset, now)
            at += size
        self._offset += at
        self._buffer = b"" if self._closed else bytes(buffer[at:])
        self._open = bool(self._imei) and not (self._buffer or self._waiting or self._closed)
        return events

    def _login(self, data: bytes, offset: int, events: list[Event]) -> bool:
        """Who speaks, as far as this packet tells; False: nothing more is to be made of it."""
        who = _who(data)
        imei = who.get(IMEI)
        if imei is not None and not (imei.isascii() and imei.isdigit()):
            events += self._end(Malformed("login", offset, "an IMEI has fifteen digits"))
            return False
        if self._imei:
            if imei is not None and imei.decode("ascii") != self._imei:
                events += self._end(Malformed("login", offset, "another IMEI on the same connection"))
                return False
            return True
        if imei is None:
            events += self._end(
                Malformed("login", offset, "no IMEI: the first packet is to have tag 03, with or without data")
            )
            return False
        self._imei = imei.decode("ascii")
        self._number = int.from_bytes(who.get(NUMBER, b""), "little")
        hardware, firmware = who.get(HARDWARE), who.get(FIRMWARE)
        self._told = firmware is not None
        self._waiting = True
        events.append(
            Login(
                self._imei,
                firmware=str(firmware[0]) if firmware else None,
                model=f"Dev{hardware[0]}" if hardware else None,
            )
        )
        return True

    def _packet(self, data: bytes, offset: int, now: float) -> Sequence[Event]:
        header = data[0]
        if header == GARMIN:
            return (Message(data[HEAD:-TAIL], None, "garmin", offset),)
        if header == PHOTO:
            self._acks[offset] = bytes((PHOTO,)) + data[-2:]
            return (Message(data[HEAD:-TAIL], None, "photo", offset),)
        if header == COMPRESSED:
            return (Frame(data, _listed(data), offset, min(max(int(now // 86_400), 0), _MAX_DAY)),)
        records = self._alike(data)
        if records:
            return (Frame(data, records, offset),)
        walked = _first(data)
        tags = {tag for tag, _, _ in walked}
        if walked and tags <= _WHO and walked[-1][1] + walked[-1][2] == len(data) - TAIL:
            return (Reply(bytes((ACK,)) + data[-2:]),)
        if walked and tags <= _WHO | _SAID and tags & {TEXT, ANSWER}:
            return self._answer(data, offset, walked)
        records, shape = count(data, HEAD, len(data) - TAIL)
        if shape is not None and all(tag >= _PLACED and tag not in _SAID for _, tag in shape.tags):
            self._shapes = (shape, *self._shapes[: _MAX_SHAPES - 1])
        return (Frame(data, records, offset),)

    def _alike(self, data: bytes) -> int:
        """How many records a packet holds that are like those that came lately; 0: others, or what is no record."""
        stop = len(data) - TAIL
        for shape in self._shapes:
            records = shape.repeats(data, stop)
            if records:
                return records
        return 0

    def _answer(self, data: bytes, offset: int, walked: Walked) -> Sequence[Event]:
        values = {tag: data[at : at + size] for tag, at, size in walked}
        try:
            text: str | None = values.get(TEXT, b"").decode("cp1251")
        except UnicodeDecodeError:
            text = None
        if text is not None and any(ord(c) < 32 and c not in "\r\n\t" for c in text):
            text = None
        number = int.from_bytes(values.get(COMMAND, b""), "little")
        body = values.get(TEXT, b"") + values.get(ANSWER, b"")
        self._acks[offset] = bytes((ACK,)) + data[-2:]
        # 0: of the gateway's own question. An answer to what was asked before the last command is nobody's any more.
        mine = True if COMMAND in values and number in (0, self._sent) else None
        events: list[Event] = [Message(body, text or None, "answer", offset, mine)]
        found = dict(word.split("=", 1) for word in (text or "").split() if "=" in word)
        first = (text or "").split(" ", 1)[0]
        if "Soft" in found:
            events.append(Identified(found["Soft"][:64], first[:64] if first.startswith("Dev") else None))
        return events

    def _end(self, damage: Malformed | None = None) -> list[Event]:
        self._closed = True
        self._buffer = b""
        return [*([damage] if damage is not None else []), Close("damaged")]

    def accept(self, now: float) -> Sequence[Event]:
        """Nothing is said; then what the first packet holds besides, and what waited behind it."""
        if not self._waiting:
            return ()
        self._waiting = False
        return self._events(now)

    def refuse(self) -> Sequence[Event]:
        """The protocol has no word for it: close in silence."""
        self._waiting = False
        self._closed = True
        self._buffer = b""
        return (Close("refused"),)

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """02, of a photo 07, and the packet's checksum; a packet in quarantine is kept too."""
        if isinstance(item, Frame):
            return b"\x02" + item.data[-2:]
        return self._acks.pop(item.offset, b"")

    def end_of_stream(self) -> Sequence[Event]:
        """A packet cut by the close is `truncated`."""
        if self._closed or not self._buffer:
            return ()
        self._closed = True
        if self._waiting and (self._buffer[1] | self._buffer[2] << 8) & 0x7FFF == len(self._buffer) - HEAD - TAIL:
            return ()  # whole: nobody has decided on its login yet
        return (Malformed("truncated", self._offset),)

    def ask_version(self) -> bytes:
        """`status`, where the first packet did not tell."""
        if self._closed or self._waiting or not self._imei or self._told:
            return b""
        return command(self._imei, self._number, 0, "status")

    def encode_command(self, text: str) -> bytes:
        """E0 and E1; the answer repeats the number in E0."""
        if self._closed or self._waiting or not self._imei:
            return b""
        self._sent += 1
        return command(self._imei, self._number, self._sent, text)


def _first(data: bytes) -> Walked:
    """The tags of a packet's first record; none if it is damaged."""
    try:
        return walk(data, HEAD, len(data) - TAIL)[0]
    except DamagedError:
        return []


def _who(data: bytes) -> dict[int, bytes]:
    """The identity's tags, which come first: behind an unknown tag there are none."""
    found: dict[int, bytes] = {}
    if data[0] == COMPRESSED:
        try:
            kind, begin, end = listed(data, HEAD, len(data) - TAIL)
            body = data[HEAD:begin] + data[end:-TAIL]
            walked, _ = walk_listed(body, kind, 0, len(body))
        except DamagedError:
            return found
        return {tag: body[at : at + size] for tag, at, size in walked if tag in _WHO}
    if data[0] != DATA or data[HEAD] > NUMBER:
        return found
    at, end = HEAD, len(data) - TAIL
    for tag, size in ((HARDWARE, 1), (FIRMWARE, 1), (IMEI, 15), (NUMBER, 2)):
        if at < end and data[at] == tag and at + 1 + size <= end:
            found[tag] = data[at + 1 : at + 1 + size]
            at += 1 + size
    return found


def _listed(data: bytes) -> int:
    """How many records a compressed packet holds, a damaged one counted in."""
    records = 0
    try:
        kind, begin, stop = listed(data, HEAD, len(data) - TAIL)
        body = data[HEAD:begin] + data[stop:-TAIL]
        at = 0
        while at < len(body):
            records += 1
            _, at = walk_listed(body, kind, at, len(body))
    except DamagedError:
        pass
    return max(records, 1)
