"""Frames on the wire.

::

    C0 | command 1 | length N 2, little-endian | payload N | CRC-16 2
         '-------------------- stuffed: C0 → DB DC, DB → DB DD -----'

A marker never stands inside a frame, so every `C0` begins one. The checksum covers command, length and payload before
stuffing; it travels high byte first from the terminal and low byte first from the server.

Damage the splitter recovers from, always at the next marker: bytes outside a frame, a marker inside a frame, a wrong
escape, an impossible length, a wrong checksum.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import fastcrc

MARKER, ESCAPE = b"\xc0", b"\xdb"
HEADER_SIZE, CHECKSUM_SIZE = 3, 2
MAX_PAYLOAD = 0xFFFF
# Commands whose payload has one size only; another is impossible.
FIXED_PAYLOAD = {0x80: 8, 0x88: 4, 0x93: 0, 0x94: 4}
_HEAD = struct.Struct("<BH").pack
_crc = fastcrc.crc16.ibm_3740


def _wrong_escape(raw: bytes | bytearray) -> bool:
    """Whether an escape byte is followed by anything but the two bytes it may be followed by."""
    escapes = raw.count(ESCAPE)
    return escapes > 0 and escapes != raw.count(b"\xdb\xdc") + raw.count(b"\xdb\xdd")


def stuff(body: bytes) -> bytes:
    """The frame on the wire: marker and escaped body."""
    return MARKER + body.replace(ESCAPE, b"\xdb\xdd").replace(MARKER, b"\xdb\xdc")


def unstuff(raw: bytes) -> bytes:
    """The body of what stands between two markers; its escapes must be good."""
    return raw.replace(b"\xdb\xdc", MARKER).replace(b"\xdb\xdd", ESCAPE)


def checksum(body: bytes) -> int:
    """CRC-16/IBM-3740; zero over a body that ends with its own checksum, high byte first."""
    value: int = _crc(body)
    return value


def server_frame(command: int, payload: bytes = b"") -> bytes:
    """A frame to the terminal: checksum low byte first."""
    body = _HEAD(command, len(payload)) + payload
    return stuff(body + checksum(body).to_bytes(2, "little"))


@dataclass(slots=True)
class Piece:
    """One frame's unescaped body, or the reason why there is none; `offset` in the whole stream."""

    offset: int
    body: bytes = b""
    damage: str = ""


class Splitter:
    """Bytes in, frames out. Holds at most one unfinished frame (two bytes on the wire for each of its own)."""

    __slots__ = ("_base", "_buffer", "_lost", "_max_payload", "_seen", "_sized", "_wanted", "little_endian")

    def __init__(self, max_payload: int = MAX_PAYLOAD, *, little_endian: bool = False) -> None:
        self.little_endian = little_endian  # frames of the server
        self._max_payload = max_payload
        self._buffer = bytearray()
        self._base = 0  # stream offset of the buffer's first byte
        self._lost = False  # inside damage already told: skip to the next marker
        self._begin()

    def _begin(self) -> None:
        """A frame is expected. `_wanted` raw bytes after the marker are needed, `_seen` of them were looked at."""
        self._sized = False
        self._wanted = HEADER_SIZE
        self._seen = 0

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    @property
    def idle(self) -> bool:
        """Whether what comes now begins a frame."""
        return not (self._buffer or self._lost)

    def alone(self, raw: bytes) -> bytes:
        """The body of a whole good frame of a terminal without its marker; empty: it is none."""
        if ESCAPE in raw:
            if _wrong_escape(raw):
                return b""
            raw = unstuff(raw)
        length = len(raw) - (HEADER_SIZE + CHECKSUM_SIZE)
        if length < 0 or raw[1] | raw[2] << 8 != length or length > self._max_payload or _crc(raw):
            return b""
        return raw if FIXED_PAYLOAD.get(raw[0], length) == length else b""

    def skip(self, size: int) -> int:
        """Bytes that were read elsewhere; where the first of them stood in the stream."""
        self._base += size
        return self._base - size

    def next(self) -> Piece | None:
        """The next frame or damage; None when more bytes are needed."""
        buffer = self._buffer
        if not buffer or buffer[0] != MARKER[0]:
            junk = self._skip()
            if junk is not None or not buffer:
                return junk
        self._lost = False
        while True:
            limit = min(len(buffer), 1 + self._wanted)
            cut = buffer.find(MARKER, 1 + self._seen, limit)
            stop = limit if cut < 0 else cut
            escapes = buffer.count(ESCAPE, 1 + self._seen, stop)
            self._seen = stop - 1
            if cut >= 0:
                return self._damaged(self._unfinished(cut), cut)
            self._wanted += escapes  # each stands for one byte with two
            if escapes:
                continue
            if len(buffer) < 1 + self._wanted:
                return None
            raw = bytes(buffer[1 : 1 + self._wanted])
            if _wrong_escape(raw):
                return self._damaged("structure", 1 + self._wanted)
            body = unstuff(raw)
            if self._sized:
                if checksum(body if not self.little_endian else body[:-2] + body[:-3:-1]):
                    return self._damaged("checksum", 1 + self._wanted)
                piece = Piece(self._base, body)
                self._drop(1 + self._wanted)
                return piece
            length = body[1] | body[2] << 8
            if length > self._max_payload or (not self.little_endian and FIXED_PAYLOAD.get(body[0], length) != length):
                return self._damaged("length", 1 + self._wanted)
            self._sized = True
            self._wanted += length + CHECKSUM_SIZE

    def rest(self) -> Piece | None:
        """The stream ended: a frame cut short, if there is one."""
        if not self._buffer:
            return None
        return self._damaged(self._unfinished(len(self._buffer)), len(self._buffer))

    def _unfinished(self, end: int) -> str:
        """What is wrong with a frame that stops short at `end`; half an escape there is no wrong one."""
        raw = self._buffer[1:end]
        return "structure" if _wrong_escape(raw.removesuffix(ESCAPE)) else "truncated"

    def _skip(self) -> Piece | None:
        """Drop what stands before the next marker; told once per run."""
        start, told = self._base, self._lost
        at = self._buffer.find(MARKER)
        junk = at if at >= 0 else len(self._buffer)
        self._drop(junk)
        self._lost = at < 0 and (junk > 0 or told)
        return Piece(start, damage="structure") if junk and not told else None

    def _damaged(self, reason: str, size: int) -> Piece:
        piece = Piece(self._base, damage=reason)
        self._drop(size)
        self._lost = True
        return piece

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._base += size
        self._begin()
