"""LLS: capacitive fuel-level sensors on a serial line, asked one after another."""

from __future__ import annotations

from typing import Any

from protocols.lines import (
    MAX_ROUND,
    ROUND,
    LineProtocol,
    RoundSession,
    WireSession,
    add_reading,
    decode_with,
    round_tree,
)
from protocols.lls.anatomy import anatomy
from protocols.lls.declaration import (
    ANSWER,
    MAX_TEXT,
    PERIODIC,
    READ,
    describe,
    read_text,
    reading_of,
    tree,
    whole,
)
from protocols.lls.exchange import sensor
from protocols.records import BatchBuilder, Decoded, Event, Frame, Malformed, Message, Quarantined, Session
from protocols.registry import WireProtocol

SHARED = ("fuel.level.N", "fuel.temperature.N", "fuel.status.N", "fuel.frequency.N", "fuel.code.N")


class _Wire:
    """Cuts what was recorded on a line; sensors are numbered as they come."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}

    def cut(self, data: bytes, offset: int, ended: bool) -> tuple[int, Event | None]:
        if data[:1] == b"F":
            end = data.find(b"\n", 0, MAX_TEXT)
            if end >= 0 and read_text(data[:end]) is not None:
                return end + 1, Frame(data[: end + 1], 1, offset, self._place(-1))
            if end < 0 and len(data) < MAX_TEXT and not ended:
                return 0, None
        size = whole(data)
        if size == 0 and not ended:
            return 0, None
        if size <= 0:
            long = data[:1] == bytes((ANSWER,)) and len(data) >= 9 and data[2] in (READ, PERIODIC)
            if long:  # as much as a reading has, and its checksum is wrong
                return 1, Malformed("checksum", offset)
            return 1, Malformed("truncated", offset) if size == 0 else None
        packet = data[:size]
        if packet[0] == ANSWER and packet[2] in (READ, PERIODIC) and size == 9:
            return size, Frame(packet, 1, offset, self._place(packet[1]))
        kind = "answer" if packet[0] == ANSWER else "request"
        return size, Message(packet, describe(packet), kind, offset)

    def _place(self, address: int) -> int:
        return self._places.setdefault(address, len(self._places) + 1)


def _new_session(transport: str = "tcp", max_frame: int | None = None) -> Session:
    return RoundSession() if transport == "line" else WireSession(_Wire().cut)


def _from_wire(builder: BatchBuilder, number: int, frame: Frame) -> Quarantined | None:
    data = frame.data
    reading = read_text(data) if data[:1] == b"F" else None
    if reading is None and len(data) == 9 and whole(data) == 9 and data[0] == ANSWER and data[2] in (READ, PERIODIC):
        reading = reading_of(data[3:-1])
    if reading is None:
        return Quarantined(number, "structure")
    add_reading(builder, number, frame, frame.variant, reading)
    return None


def _decode(frames: Any) -> Decoded:
    return decode_with(frames, _from_wire)


def _tree(frame: Frame) -> Any:
    return round_tree(frame.data) if frame.variant == ROUND else tree(frame.data)


PROTOCOL = WireProtocol(
    name="lls",
    new_session=_new_session,
    decode=_decode,
    tree=_tree,
    measures={},
    shared_measures=SHARED,
    max_frame=MAX_ROUND,
    member=lambda _data, _variant: None,
    missing_login=lambda _data: b"",
    anatomy=anatomy,
    transports=("line",),
)

LINE = LineProtocol(
    name="lls",
    sensor=sensor,
    addresses=range(1, 255),
    answers_within=0.1,
    turnaround=0.005,
)

__all__ = ["LINE", "PROTOCOL"]
