"""One question for registers, and what comes after it.

As in `protocols.lls.exchange`: what is whole and right and not the answer is passed over whole, all else byte by byte.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.lines import MAX_NOISE, Exchange, Reading, Sensor, Status
from protocols.modbus_fuel.declaration import CONFIGURATION, FAILED, answer_size, good, request
from protocols.modbus_fuel.profile import Profile, Read


class Ask:
    """The registers of `read`, of the sensor at `address`."""

    def __init__(self, address: int, read: Read) -> None:
        self.request = request(address, read.function, read.start, read.count)
        self.length = 5 + 2 * read.count
        self._address = address
        self._read = read
        self._buffer = b""
        self._noise = 0

    def receive_data(self, data: bytes) -> Reading | None:
        """Consume bytes; the reading once the answer is whole."""
        buffer = self._buffer + data
        at = kept = 0
        while at < len(buffer):
            size, reading = self._next(buffer[at : at + MAX_NOISE])
            if reading is not None:
                self._buffer = b""
                return reading
            if size == 0:  # may be the start of something whole: it stays, and what is behind it is looked at too
                kept = kept or at + 1
                at += 1
                continue
            if size == 1:
                self._noise += not kept
            else:
                kept = 0
            at += size
        self._buffer = buffer[kept - 1 if kept else at :][-MAX_NOISE:]
        return None

    def _next(self, data: bytes) -> tuple[int, Reading | None]:
        """Bytes of what begins here, and the reading if it is the answer; 0 bytes: more is needed to tell."""
        if data[: len(self.request)] == self.request:  # an adapter's echo
            return len(self.request), None
        size = answer_size(data)
        waiting = self.request.startswith(data) or size == 0 or size > len(data)
        if 0 < size <= len(data) and good(data[:size]):
            return size, self._answer(data[:size])
        return (0 if waiting else 1), None

    def _answer(self, data: bytes) -> Reading | None:
        if data[0] != self._address or data[1] & ~FAILED != self._read.function:
            return None
        if data[1] & FAILED:
            return Reading(Status.REFUSED, final=data[2] in CONFIGURATION)
        if data[2] != 2 * self._read.count:
            return None
        return reading_of(self._read, data[3:-2])

    def missing(self) -> Reading:
        """Nothing came, too little, or as much as an answer has and none of it right."""
        unread = self._noise + len(self._buffer)
        return Reading(Status.CHECKSUM if unread >= self.length else Status.NO_ANSWER)


def reading_of(read: Read, registers: bytes) -> Reading:
    """What the registers of `read` say."""
    values: dict[str, float] = {}
    status = Status.GOOD
    for at, value in read.values:
        told, fine = value.read(registers[at : at + 2 * value.registers])
        if fine:
            values[value.measure] = told
        elif value.measure == "level":
            status = Status.INVALID
            if told == told:  # no number has no code
                values["code"] = told
    return Reading(status, values)


def sensor(address: int, alone: bool = False, profile: Profile | None = None) -> Sensor:
    """A sensor of a line, whose registers `profile` explains."""
    if profile is None:
        raise ValueError("a profile says what the registers mean")
    reads = profile.reads

    def exchanges(last: bool) -> Sequence[Exchange]:
        return [Ask(address, read) for read in reads]

    return Sensor(address, exchanges, profile.names, tells_good=profile.level)
