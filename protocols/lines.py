"""What protocols of serial lines share: the gateway asks, one sensor after another, and a round of answers is a record.

    Exchange   one request and whatever answers it: bytes in, a `Reading` out; sans-IO, no clock
    Reading    what one sensor said, or why it said nothing
    round      the readings of all sensors of a line at one time, as bytes: what pipeline and spool carry

A round holds values, not the wire's bytes: their checks were made while the sensor could still be asked again, and what
is spooled must mean the same after the line was configured anew.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import numpy as np

from protocols.records import (
    MAX_NAMES,
    BatchBuilder,
    Close,
    Decoded,
    Event,
    Frame,
    Malformed,
    Message,
    Quarantined,
    fingerprint,
)

MAX_ROUND = 1 << 16  # bytes; 64 sensors of eight values take some 20 KiB
MAX_SENSORS = 64  # on one line; RS-485 carries 32 loads, and with lighter ones rarely more
MAX_NOISE = 512  # bytes of one wait that are looked at: a whole Modbus answer and as much noise
ROUND = 0  # `Frame.variant` of a round; others hold what was read off a wire


class Status(enum.IntEnum):
    """`fuel.status.N` of a line."""

    GOOD = 0
    NO_ANSWER = 1
    CHECKSUM = 2
    REFUSED = 3
    INVALID = 4


@dataclass(frozen=True, slots=True)
class Reading:
    """What one sensor said.

    Attributes
    ----------
    status : why there is no level, or that there is one.
    values : what follows `fuel.` and stands before the sensor's number in a measure's name -> its value.
    final : asking again would not help: the sensor said that it cannot.
    """

    status: Status
    values: Mapping[str, float] = field(default_factory=dict)
    final: bool = False


class Exchange(Protocol):
    """One request, and what comes after it until it is answered."""

    @property
    def request(self) -> bytes:
        """What is sent."""

    @property
    def length(self) -> int:
        """Bytes of the usual answer: how long it takes on the wire."""

    def receive_data(self, data: bytes) -> Reading | None:
        """Consume bytes; the reading once the answer is whole. Noise, echoes and others' answers are passed over."""

    def missing(self) -> Reading:
        """What it means that nothing more comes."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """How a sensor is asked.

    Attributes
    ----------
    address : on the bus.
    exchanges : ``exchanges(last) -> the exchanges of one reading``; `last`: the last attempt, which may try other ways.
    names : what its readings may hold, in order, without `status`.
    learn : an exchange worth making once, behind the first good reading: it takes in what it is told; None: none.
    tells_good : a good reading says so in its status. A meter without a level does not: elsewhere a status without a
        level is a sensor's error.
    """

    address: int
    exchanges: Callable[[bool], Sequence[Exchange]]
    names: tuple[str, ...]
    learn: Callable[[], Exchange | None] = lambda: None
    tells_good: bool = True


@dataclass(frozen=True, slots=True)
class LineProtocol:
    """What a line's poller knows of its protocol.

    Attributes
    ----------
    name : as in the configuration.
    sensor : ``sensor(address, alone, profile) -> Sensor``; `alone`: the only one of its line.
    addresses : that sensors can have.
    answers_within : s a sensor may take to begin its answer.
    turnaround : s of silence between an answer and the next request.
    takes_profile : what a sensor's registers mean is configured.
    """

    name: str
    sensor: Callable[..., Sensor]
    addresses: range
    answers_within: float
    turnaround: float
    takes_profile: bool = False


def combined(readings: Sequence[Reading]) -> Reading:
    """The reading of a sensor that is asked several times for one: all values, and the first trouble."""
    status = next((reading.status for reading in readings if reading.status), Status.GOOD)
    values = {name: value for reading in readings for name, value in reading.values.items()}
    if status not in (Status.GOOD, Status.INVALID):
        values.pop("level", None)  # a reading is right as a whole, or marked
    return Reading(status, values, any(reading.final for reading in readings))


# -- rounds ---------------------------------------------------------------------------------------------------------


class _Round(msgspec.Struct):
    time: int | None  # µs since the Unix epoch
    measures: dict[str, float | None]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Round)


def pack_round(time: int, sensors: Sequence[Sensor], readings: Sequence[Reading]) -> bytes:
    """A round as bytes; sensor N's readings are numbered by its place.

    Every name of every sensor is there, null where nothing was told: records of a line have one layout, whatever fails.
    """
    measures: dict[str, float | None] = {}
    for place, (sensor, reading) in enumerate(zip(sensors, readings, strict=True), 1):
        measures |= {f"fuel.{name}.{place}": reading.values.get(name) for name in sensor.names}
        silent = reading.status == Status.GOOD and not sensor.tells_good
        measures[f"fuel.status.{place}"] = None if silent else int(reading.status)
    return _encoder.encode(_Round(time, measures))


def add_round(builder: BatchBuilder, number: int, data: bytes) -> Quarantined | None:
    """One more record; why not, where that is so."""
    try:
        told = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Quarantined(number, "structure")
    if len(told.measures) > MAX_NAMES:
        return Quarantined(number, "count")
    if told.time is None or not 0 <= told.time < 1 << 62:
        return Quarantined(number, "time")
    values = [math.nan if value is None else value for value in told.measures.values()]
    if any(map(math.isinf, values)) or not all(map(_is_name, told.measures)):
        return Quarantined(number, "value")
    builder.add(
        frame=number, position=0, time=told.time, fingerprint=fingerprint(data), names=tuple(told.measures),
        values=tuple(values), time_digits=3,
    )  # fmt: skip
    return None


def _is_name(name: str) -> bool:
    return name.startswith("fuel.") and name.isascii() and name.isprintable() and len(name) <= 64


def decode_with(frames: Sequence[Frame], wire: Callable[[BatchBuilder, int, Frame], Quarantined | None]) -> Decoded:
    """Rounds, and by `wire` what was read off a wire, as columns."""
    builder = BatchBuilder()
    quarantined = []
    number = 0
    for frame in frames:
        for single in frame.singles():
            bad = add_round(builder, number, single.data) if single.variant == ROUND else wire(builder, number, single)
            if bad is not None:
                quarantined.append(bad)
            number += 1
    return Decoded(builder.build(), quarantined)


def add_reading(builder: BatchBuilder, number: int, frame: Frame, place: int, reading: Reading) -> None:
    """A record without a time, of one sensor's answer."""
    names = [*(f"fuel.{name}.{place}" for name in reading.values), f"fuel.status.{place}"]
    builder.add(
        frame=number, position=0, time=int(np.iinfo(np.int64).min), fingerprint=fingerprint(frame.data),
        names=tuple(names), values=(*reading.values.values(), float(reading.status)),
    )  # fmt: skip


def round_tree(data: bytes) -> Any:
    """A round for people."""
    try:
        return msgspec.to_builtins(_decoder.decode(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return {"bytes": data.hex(), "error": str(error)}


class RoundSession:
    """A line's poller as a conversation has it: each piece is one round, and nobody waits for an answer."""

    def run(self, data: bytes) -> Frame | None:
        """Rounds come one by one."""
        return None

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """One round."""
        return [Frame(data)] if len(data) <= MAX_ROUND else [Malformed("length")]

    def accept(self, now: float) -> Sequence[Event]:
        """Nothing waited."""
        return ()

    def refuse(self) -> Sequence[Event]:
        """There is nobody to tell."""
        return [Close("login refused")]

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """A sensor keeps nothing that it could forget."""
        return b""

    def end_of_stream(self) -> Sequence[Event]:
        """Rounds are whole."""
        return ()

    def ask_version(self) -> bytes:
        """Settings are read by the poller."""
        return b""

    def encode_command(self, text: str) -> bytes:
        """Sensors are asked by the poller, and by `dozor sensor`."""
        return b""


class WireSession(RoundSession):
    """The bytes of a line as they were recorded, both directions, for `dozor decode`.

    `cut` is called with the buffer and says of its start: how many bytes it is, and what; (0, None): more is needed.
    """

    def __init__(self, cut: Callable[[bytes, int, bool], tuple[int, Event | None]]) -> None:
        self._cut = cut
        self._buffer = b""
        self._at = 0  # of the buffer's first byte in the stream
        self._junk = False  # a run of unreadable bytes counts once

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Requests, answers and noise, in the order of the wire."""
        self._buffer += data
        return self._events(ended=False)

    def end_of_stream(self) -> Sequence[Event]:
        """What is left is cut, or noise."""
        return self._events(ended=True)

    def _events(self, *, ended: bool) -> list[Event]:
        events: list[Event] = []
        buffer, at = self._buffer, 0
        while at < len(buffer):
            size, event = self._cut(buffer[at : at + MAX_NOISE], self._at + at, ended)
            if size == 0:
                break
            if event is None or isinstance(event, Malformed):
                event = event or Malformed("structure", self._at + at)
                if not self._junk or event.reason != "structure":
                    events.append(event)
                self._junk = True
            else:
                events.append(event)
                self._junk = False
            at += size
        self._buffer = buffer[at:]
        self._at += at
        return events
