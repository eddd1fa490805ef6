"""One connection of Wialon Retranslator: packets of many objects, each named in its packet; 11 for each that is kept.

    size uid 00 time flags blocks → 11, after the commit

There is no login, and an answer has no number: after what is no packet nothing can be found again, and nothing behind
it is answered. The connection ends once the earlier answers have left.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

from protocols.records import (
    Close,
    Event,
    Frame,
    Identified,
    Malformed,
    Message,
    Quarantined,
)
from protocols.wialon_retranslator import wire

_TOLD = 4096  # objects of one connection that are remembered: firmware is not told with every packet
_LAST = 4 + wire.MAX_UID + 1  # where the zero behind an identity stands at the latest
_size = struct.Struct("<I").unpack_from
_MOST = 64  # characters
_TELLS = re.compile(rb"\x01(?:[fh]w|imei|iccid|imsi)\0")  # the type of a text before it
_FACTS = {b"fw": "firmware", b"hw": "model", b"imei": "imei", b"iccid": "iccid", b"imsi": "imsi"}


class RetranslatorSession:
    """A TCP connection, sans-IO."""

    __slots__ = ("_buffer", "_closed", "_max", "_names", "_offset", "_told", "_wanted")

    def __init__(self, *, max_frame: int | None = None) -> None:
        self._buffer = bytearray()
        self._offset = 0
        self._closed = False
        self._max = min(max_frame or wire.MAX_PACKET, wire.MAX_PACKET)
        self._wanted = 4  # bytes that the next packet has
        self._names: dict[bytes, str] = {}
        self._told: dict[str, dict[str, str]] = {}

    def run(self, data: bytes) -> Frame | None:
        """Whole packets of one size and a known object that tell nothing of it but records."""
        end = len(data)
        if self._buffer or self._closed or end < wire.MIN_SIZE:
            return None
        whole = _size(data)[0] + 4
        zero = data.find(0, 4, _LAST)
        uid = self._names.get(data[4:zero]) if 4 < zero < whole - 8 else None
        if not uid or not wire.MIN_SIZE <= whole - 4 <= self._max - 4 or end % whole or _TELLS.search(data):
            return None
        head = data[: zero + 1]
        if not all(data.startswith(head, at) for at in range(whole, end, whole)):
            return None
        offset = self._offset
        self._offset = offset + end
        return Frame(data, 1, offset, 0, end // whole, uid)

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes; what is no packet ends it."""
        if self._closed:
            return ()
        events: list[Event] = []
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return ()
            data = bytes(self._buffer)
            self._buffer.clear()
        at, end, base, most, names = 0, len(data), self._offset, self._max - 4, self._names
        tells = _TELLS.search(data) is not None
        self._wanted = 4
        while end - at >= 4:
            (size,) = _size(data, at)
            stop = at + size + 4
            if not wire.MIN_SIZE <= size <= most:
                self._end(Malformed("length", base + at), events)
                return events
            if stop > end:
                self._wanted = size + 4
                break
            packet = data[at:stop]
            zero = packet.find(0, 4, _LAST)
            raw = packet[4:zero] if zero > 4 else b""
            uid = names.get(raw) or self._name(raw)
            if not uid or size < zero + 5:
                self._end(Malformed("structure", base + at), events)
                return events
            if tells and _TELLS.search(packet):
                self._learn(uid, packet, zero + 1, events)
            events.append(Frame(packet, 1, base + at, 0, 1, uid))
            at = stop
        self._offset = base + at
        if at < end:
            self._buffer += data[at:]
        return events

    def _name(self, raw: bytes) -> str:
        """An identity as a text; empty: it is none."""
        uid = raw.decode("ascii", "replace").strip()
        if not uid.isascii() or not uid.isprintable():
            return ""
        if len(self._names) >= _TOLD:
            self._names.clear()
        self._names[raw] = uid
        return uid

    def _learn(self, uid: str, data: bytes, at: int, events: list[Event]) -> None:
        """Text parameters that are the object's firmware, model, modem and card."""
        told: dict[str, str] = {}
        try:
            for block in wire.blocks(data, at + 8):
                if block.kind == wire.TEXT and block.name in _FACTS:
                    text = data[block.value : block.end].split(b"\0")[0].decode("utf-8", "replace").strip()
                    if text and text.isprintable():
                        told[_FACTS[block.name]] = text[:_MOST]
        except wire.DamagedError:
            return
        if told and self._told.get(uid) != told:
            if len(self._told) >= _TOLD:
                self._told.clear()
            self._told[uid] = told
            time = int.from_bytes(data[at : at + 4], "big") * 1_000_000
            events.append(Identified(**told, time=time, terminal=uid))

    def _end(self, damage: Malformed, events: list[Event]) -> None:
        self._closed = True
        events += [damage, Close("damaged")]

    def accept(self, now: float) -> Sequence[Event]:
        """Nobody logs in."""
        return ()

    def refuse(self) -> Sequence[Event]:
        """Nobody logs in."""
        return (Close("refused"),)

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """11, also for what is in quarantine: it is kept, and there is no other word."""
        return wire.ACCEPTED * item.count

    def end_of_stream(self) -> Sequence[Event]:
        """A packet cut by the close is `truncated`."""
        if self._closed or not self._buffer:
            return ()
        self._closed = True
        return (Malformed("truncated", self._offset),)

    def ask_version(self) -> bytes:
        """There is no such question."""
        return b""

    def encode_command(self, text: str) -> bytes:
        """There are no commands."""
        return b""
