"""Fuel sensors and meters that speak Modbus RTU; profiles say what their registers mean."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from protocols.lines import (
    MAX_ROUND,
    ROUND,
    LineProtocol,
    Reading,
    RoundSession,
    Status,
    WireSession,
    add_reading,
    decode_with,
    round_tree,
)
from protocols.modbus_fuel.anatomy import anatomy
from protocols.modbus_fuel.declaration import (
    ADDRESSES,
    FAILED,
    READS,
    REFUSAL_SIZE,
    REFUSALS,
    REQUEST_SIZE,
    answer_size,
    good,
    read_request,
    tree,
)
from protocols.modbus_fuel.exchange import reading_of, sensor
from protocols.modbus_fuel.profile import MEASURES as OWN
from protocols.modbus_fuel.profile import Profile, Read, parse
from protocols.records import BatchBuilder, Decoded, Event, Frame, Malformed, Message, Quarantined, Session
from protocols.registry import WireProtocol

SHIPPED = ("daviteq-cap10", "magnetostrictive", "kral-bem100", "contoil-vzd2")
MEASURES = {f"fuel.{name}.N": entry for name, entry in OWN.items() if entry[1]}
SHARED = ("fuel.level.N", "fuel.temperature.N", "fuel.status.N", "fuel.code.N", "fuel.frequency.N")

# Profiles by which bytes read off a wire are explained: a frame's variant counts them, in this process alone.
_known: list[Profile] = []


@cache
def shipped(name: str) -> Profile:
    """A profile of ours by its name."""
    text = resources.files("protocols.modbus_fuel.profiles").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return parse(text)


class _Wire:
    """Cuts what was recorded on a line: an answer means something only behind its request."""

    def __init__(self, profile: Profile) -> None:
        if profile not in _known:
            _known.append(profile)
        self._profile = profile
        self._number = _known.index(profile)
        self._places: dict[int, int] = {}
        self._asked: tuple[int, ...] = ()  # address, function, start, count

    def cut(self, data: bytes, offset: int, ended: bool) -> tuple[int, Event | None]:
        if len(data) >= REQUEST_SIZE and data[1] in READS and good(data[:REQUEST_SIZE]):
            self._asked = read_request(data)
            address, function, start, count = self._asked
            text = f"to {address}: function {function}, {count} registers from {start}"
            return REQUEST_SIZE, Message(data[:REQUEST_SIZE], text, "request", offset)
        size = answer_size(data)
        if 0 < size <= len(data) and good(data[:size]):
            return size, self._answer(data[:size], offset)
        could = size >= 0 or (len(data) > 1 and data[1] in READS and len(data) < REQUEST_SIZE)
        if could and not ended and max(size, REQUEST_SIZE) > len(data):
            return 0, None
        if 0 < size <= len(data) and self._asked[:2] == (data[0], data[1] & ~FAILED):
            return 1, Malformed("checksum", offset)
        return 1, Malformed("truncated", offset) if ended and could else None

    def _answer(self, data: bytes, offset: int) -> Event:
        if data[1] & FAILED:
            text = f"from {data[0]}: refused: {REFUSALS.get(data[2], data[2])}"
            return Message(data, text, "refusal", offset)
        asked, self._asked = self._asked, ()
        if not asked or (asked[0], asked[1], 2 * asked[3]) != (data[0], data[1], data[2]):
            return Message(data, f"from {data[0]}: {data[2] // 2} registers that were not asked for", "answer", offset)
        place = self._places.setdefault(data[0], len(self._places) + 1)
        return Frame(data, 1, offset, place | self._number << 8 | asked[2] << 16)


def _new_session(transport: str = "tcp", max_frame: int | None = None, profile: Profile | None = None) -> Session:
    """`profile`: what the registers of a recorded line mean; None: those of the first shipped one."""
    if transport == "line":
        return RoundSession()
    return WireSession(_Wire(profile or shipped(SHIPPED[0])).cut)


def _from_wire(builder: BatchBuilder, number: int, frame: Frame) -> Quarantined | None:
    data, variant = frame.data, frame.variant
    place, profile, start = variant & 0xFF, variant >> 8 & 0xFF, variant >> 16
    right = good(data) and answer_size(data) == len(data) and not data[1] & FAILED
    if not (right and place and profile < len(_known)):
        return Quarantined(number, "structure")
    registers = data[3:-2]
    read = _asked_for(_known[profile], data[1], start, len(registers) // 2)
    add_reading(builder, number, frame, place, reading_of(read, registers) if read.values else Reading(Status.GOOD))
    return None


def _asked_for(profile: Profile, function: int, start: int, count: int) -> Read:
    """What of a profile lies in these registers, whoever asked for them."""
    values = []
    for read in profile.reads:
        for _, value in read.values:
            at = value.start - start
            if value.function == function and 0 <= at <= count - value.registers:
                values.append((2 * at, value))
    return Read(function, start, count, tuple(values))


def _decode(frames: Sequence[Frame]) -> Decoded:
    return decode_with(frames, _from_wire)


def _tree(frame: Frame) -> Any:
    if frame.variant == ROUND:
        return round_tree(frame.data)
    return tree(frame.data) if len(frame.data) >= REFUSAL_SIZE else {"bytes": frame.data.hex()}


PROTOCOL = WireProtocol(
    name="modbus-fuel",
    new_session=_new_session,
    decode=_decode,
    tree=_tree,
    measures=MEASURES,
    shared_measures=SHARED,
    max_frame=MAX_ROUND,
    member=lambda _data, _variant: None,
    missing_login=lambda _data: b"",
    anatomy=anatomy,
    transports=("line",),
)

LINE = LineProtocol(
    name="modbus-fuel",
    sensor=sensor,
    addresses=ADDRESSES,
    answers_within=0.5,
    turnaround=0.01,
    takes_profile=True,
)

__all__ = ["LINE", "PROTOCOL", "SHIPPED", "Profile", "parse", "shipped"]
