"""One Teltonika connection: login, data frames, answers to commands.

    TCP  00 0F + IMEI -> 01; 00000000 + length + codec … + CRC -> record count, after the commit
    UDP  every datagram names the IMEI; 7-byte answer, after the commit

A TCP ack is a bare record count: behind a damaged frame it would release that frame too. From there on nothing is
acknowledged, and the connection closes once the earlier acks have left.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import fastcrc

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
from protocols.teltonika.declaration import CODEC_12, CODEC_13, CODEC_14, CODEC_15, RESPONSE, command

MAX_FRAME = 64 * 1024  # documented 1280 bytes; larger frames have been seen in the field
_OVERHEAD = 12  # preamble, length, CRC
_MIN_DATA = 3  # codec and two counts
_SHORTEST = _OVERHEAD + _MIN_DATA
_HEAD = struct.Struct(">QBB").unpack_from  # preamble and length as one, codec, number of records
IMEI = re.compile(rb"[0-9]{14,17}")
_VERSION = re.compile(r"(?:^|\s|Code )Ver:\s*(\S+)")
_MODEL = re.compile(r"(?:^|\s)Hw:\s*(\S+)")
_GETVER = command("getver")
_ACKS = [n.to_bytes(4, "big") for n in range(256)]
_NEVER = 1 << 62

_crc = fastcrc.crc16.arc


@lru_cache(256)
def _cut(size: int) -> Callable[[bytes], Iterator[tuple[int, int, int, int]]]:
    """Frames of one size end to end: preamble and length, codec, number of records, checksum of each."""
    return struct.Struct(f">QBB{size - 14}xI").iter_unpack


class TeltonikaSession:
    """A TCP connection, sans-IO."""

    __slots__ = ("_buffer", "_closed", "_damaged_at", "_imei", "_max_frame", "_nothing_open", "_offset", "_waiting")

    def __init__(self, *, max_frame: int | None = None) -> None:
        self._buffer: bytes | bytearray = b""  # a bytearray while a piece waits for its rest: appending copies nothing
        self._offset = 0  # of the buffer's first byte in the whole stream
        self._imei: str | None = None
        self._waiting = False  # for accept or refuse
        self._closed = False
        self._damaged_at = _NEVER
        self._max_frame = min(max_frame or MAX_FRAME, MAX_FRAME)
        self._nothing_open = False  # logged in, and no byte waits for its rest

    def run(self, data: bytes) -> Frame | None:
        """One frame or several alike; what is different goes the long way."""
        end = len(data)
        if not self._nothing_open or end < _SHORTEST:
            return None
        length, codec, records = _HEAD(data)  # the preamble is zero, or the length is far too large
        size = length + _OVERHEAD
        if not _SHORTEST <= size <= self._max_frame or end % size or CODEC_12 <= codec <= CODEC_15:
            return None
        if size == end:
            if _crc(data[8:-4]) != int.from_bytes(data[-4:], "big"):
                return None
        else:
            at = 8
            for its_length, its_codec, its_records, crc in _cut(size)(data):
                if (
                    its_length != length
                    or its_codec != codec
                    or its_records != records
                    or _crc(data[at : at + length]) != crc
                ):
                    return None
                at += size
        offset = self._offset
        self._offset = offset + end
        return Frame(data, records, offset, 0, end // size)

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes; damage is an event in its place."""
        if self._closed:
            return ()
        if type(self._buffer) is bytearray:
            self._buffer += data
        else:
            self._buffer = self._buffer + data if self._buffer else data
        if self._waiting:
            if len(self._buffer) > self._max_frame:  # nothing is owed to a terminal that does not wait for its login
                return [*self._end(Malformed("length", self._offset))]
            return ()
        return self._parse()

    def _parse(self) -> list[Event]:
        events: list[Event] = []
        buffer, at, end = self._buffer, 0, len(self._buffer)
        while at < end and not self._waiting and not self._closed:
            if self._imei is None or (end - at > 1 and buffer[at] == 0 and 14 <= buffer[at + 1] <= 17):
                used = self._login(buffer, at, events)
            elif buffer[at] == 0xFF:  # an idle byte between frames
                used = 1
            else:
                used = self._frame(buffer, at, events)
            if used == 0:
                break
            at += used
        self._offset += at
        if at == end or self._closed:
            self._buffer = b""
        elif type(buffer) is bytearray:
            del buffer[:at]
        else:
            self._buffer = bytearray(buffer[at:])
        if self._damaged_at != _NEVER and not self._closed:
            events += self._end()
        self._nothing_open = self._imei is not None and not (self._buffer or self._waiting or self._closed)
        return events

    def _login(self, buffer: bytes | bytearray, at: int, events: list[Event]) -> int:
        if len(buffer) - at < 2:
            if buffer[at] != 0:
                events += self._end(Malformed("login", self._offset + at))
            return 0
        size = int.from_bytes(buffer[at : at + 2], "big")
        if not 14 <= size <= 17:
            events += self._end(Malformed("login", self._offset + at))
            return 0
        imei = buffer[at + 2 : at + 2 + size]
        if not IMEI.fullmatch(imei + b"0" * (size - len(imei))):
            events += self._end(Malformed("login", self._offset + at))
            return 0
        if len(imei) < size:
            return 0
        name = imei.decode("ascii")
        if self._imei is not None and name != self._imei:
            events += self._end(Malformed("login", self._offset + at, "another IMEI on the same connection"))
            return 0
        if self._imei is not None:
            events.append(Reply(b"\x01"))
            return 2 + size
        self._imei = name
        self._waiting = True
        events.append(Login(name))
        return 2 + size

    def _frame(self, buffer: bytes | bytearray, at: int, events: list[Event]) -> int:
        head = buffer[at : at + 8]
        if head[:4].strip(b"\0"):
            events += self._end(Malformed("structure", self._offset + at))
            return 0
        if len(head) < 8:
            return 0
        size = int.from_bytes(head[4:], "big")
        if size < _MIN_DATA or size + _OVERHEAD > self._max_frame:
            events += self._end(Malformed("length", self._offset + at))
            return 0
        if len(buffer) - at < size + _OVERHEAD:
            return 0
        frame = bytes(buffer[at : at + size + _OVERHEAD])
        payload = frame[8:-4]
        offset = self._offset + at
        if _crc(payload) != int.from_bytes(frame[-4:], "big"):
            events.append(Malformed("checksum", offset))
            self._damaged_at = min(self._damaged_at, offset)
        elif payload[0] in (CODEC_14, CODEC_15):
            events.append(Malformed("unsupported", offset))
        elif payload[0] in (CODEC_12, CODEC_13):
            events += _text_event(payload, offset)
        else:
            events.append(Frame(frame, frame[9], offset))
        return len(frame)

    def _end(self, damage: Malformed | None = None) -> list[Event]:
        self._closed = True
        events: list[Event] = []
        if damage is not None:
            self._damaged_at = min(self._damaged_at, damage.offset)
            events.append(damage)
        events.append(Close("damaged"))
        return events

    def accept(self, now: float) -> Sequence[Event]:
        """01, then what waited behind the login."""
        self._waiting = False
        return [Reply(b"\x01"), *self._parse()]

    def refuse(self) -> Sequence[Event]:
        """00: the terminal closes and tries again later."""
        self._waiting = False
        self._closed = True
        self._buffer = b""
        return [Reply(b"\x00"), Close("refused")]

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """The number of records the frame says it holds; a quarantined frame is kept too, so it counts the same."""
        if type(item) is not Frame or item.offset > self._damaged_at:
            return b""
        return _ACKS[item.records] if item.count == 1 else _ACKS[item.records] * item.count

    def end_of_stream(self) -> Sequence[Event]:
        """A frame or a login cut by the close is `truncated`."""
        if self._closed or not self._buffer:
            return ()
        self._closed = True
        return (Malformed("truncated", self._offset),)

    def ask_version(self) -> bytes:
        """Codec 12 `getver`."""
        return b"" if self._closed or self._waiting or self._imei is None else _GETVER

    def encode_command(self, text: str) -> bytes:
        """Codec 12; the answer has no number, so one command is to be outstanding at a time."""
        return b"" if self._closed or self._waiting or self._imei is None else command(text)


def _text_event(payload: bytes, offset: int) -> list[Event]:
    """A Codec 12 or 13 frame; whatever it holds is kept."""
    codec, kind = payload[0], payload[2] if len(payload) > 2 else 0
    size = int.from_bytes(payload[3:7], "big")
    stamp = 4 if codec == CODEC_13 else 0  # the terminal's time, u32 s, counted in the size
    if size < stamp or 7 + size + 1 != len(payload) or payload[1] != payload[-1]:
        return [Malformed("structure", offset)]  # its checksum is right: the stream goes on behind it
    body = payload[7 + stamp : -1]
    try:
        text: str | None = body.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if text is not None and any(ord(c) < 32 and c not in "\r\n\t" for c in text):
        text = None
    answer = codec == CODEC_12 and kind == RESPONSE
    events: list[Event] = [Message(body, text, f"codec {codec}", offset, True if answer else None)]
    if answer and text:
        version, model = _VERSION.search(text), _MODEL.search(text)
        if version or model:
            events.append(Identified(version and version[1][:64], model and model[1][:64]))
    return events


class TeltonikaDatagram:
    """One UDP datagram; the answer goes to its sender."""

    __slots__ = ("_data", "_max_frame")

    def __init__(self, *, max_frame: int | None = None) -> None:
        self._data = b""
        self._max_frame = min(max_frame or MAX_FRAME, MAX_FRAME)

    def run(self, data: bytes) -> Frame | None:
        """A datagram begins with its login."""
        return None

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """One whole datagram: header, IMEI, payload."""
        if len(data) < 8 or int.from_bytes(data[:2], "big") != len(data) - 2 or len(data) > self._max_frame:
            return (Malformed("length"),)
        size = int.from_bytes(data[6:8], "big")
        imei = data[8 : 8 + size]
        if not IMEI.fullmatch(imei):
            return (Malformed("login"),)
        payload = data[8 + size :]
        if len(payload) < _MIN_DATA:
            return (Malformed("length"),)
        if payload[0] in (CODEC_12, CODEC_13, CODEC_14, CODEC_15):
            return (Malformed("unsupported"),)
        self._data = data
        return (Login(imei.decode("ascii")),)

    def accept(self, now: float) -> Sequence[Event]:
        """The datagram as a frame."""
        return (Frame(self._data, self._data[8 + self._data[7] + 1], 0, 1),)

    def refuse(self) -> Sequence[Event]:
        """Silence: the channel has no word for it."""
        return ()

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """Packet id echoed, AVL packet id, count."""
        return (
            b"\x00\x05"
            + self._data[2:4]
            + b"\x01"
            + self._data[5:6]
            + bytes([item.records if isinstance(item, Frame) else 0])
        )

    def end_of_stream(self) -> Sequence[Event]:
        """A datagram is whole."""
        return ()

    def ask_version(self) -> bytes:
        """Commands over UDP work on some models only: none."""
        return b""

    def encode_command(self, text: str) -> bytes:
        """None, as above."""
        return b""
