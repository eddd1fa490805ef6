"""An Omnicomm registrar: identification with its firmware, archive on request, then live data.

    80 identification -> 85 archive from    86 … -> 87 …    86 empty    95 … -> 87 …    93 -> 94

A container keeps its number and its bytes until it is erased; what was sent live and not acknowledged comes again as
archive. 0x87 erases everything up to its number, so a number that is not in flight is a violation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fastcrc

from gateway.simulator.fleet import Reading, TerminalSpec
from gateway.simulator.terminals import Packet, Terminal
from gateway.simulator.truth import SentRecord, Truth
from protocols.omnicomm.omnicomm_pb2 import RecReg

EPOCH = 1_230_768_000  # 2009-01-01 UTC
IDENTIFICATION, ARCHIVE_REQUEST, ARCHIVE, ERASE, ERASED = 0x80, 0x85, 0x86, 0x87, 0x88
SERVER_IDENTIFICATION, TIME_REQUEST, TIME, LIVE = 0x81, 0x93, 0x94, 0x95
TIMER, IGNITION_ON, IGNITION_OFF = 1, 4, 5
_LARGEST = 64  # payload of any word a server has, generously
_CLOCK_TOLERANCE = 60  # seconds: more is no answer to "what time is it"


def from_terminal(command: int, payload: bytes = b"") -> bytes:
    """A registrar's frame: the checksum goes high byte first."""
    body = bytes([command]) + len(payload).to_bytes(2, "little") + payload
    return _stuffed(body + int(fastcrc.crc16.ibm_3740(body)).to_bytes(2, "big"))


def _stuffed(body: bytes) -> bytes:
    return b"\xc0" + body.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")


def message(reading: Reading) -> bytes:
    """One record as protobuf."""
    record = RecReg()
    record.mID.append((IGNITION_ON if reading.ignition else IGNITION_OFF) if reading.changed else TIMER)
    fixed = reading.satellites > 0
    general = record.general
    general.Time = reading.time // 1000 - EPOCH
    general.FLG = int(reading.ignition) | 2 | (4 if fixed else 0)
    general.Mileage = reading.step
    general.TImp = reading.rpm
    general.Uboard = reading.external // 100
    general.GsmSignalQuality = reading.gsm
    place = record.nav
    place.LAT, place.LON = (reading.lat, reading.lon) if fixed else (0, 0)
    place.GPSVel = reading.speed * 10
    place.GPSDir = reading.course
    place.GPSNSat = reading.satellites
    place.GPSAlt = reading.altitude * 10 if fixed else 0
    for number, tank in enumerate(reading.fuel, 1):
        setattr(record.llsdt, f"TLLS{number}", tank.temperature)
        setattr(record.llsdt, f"CLLS{number}", tank.level)
        setattr(record.llsdt, f"FLLS{number}", tank.status)
    return record.SerializeToString()


class OmnicommTerminal(Terminal):
    """One registrar; `firmware` is a number in decimal."""

    archive_records = 20

    def __init__(
        self, spec: TerminalSpec, truth: Truth, *, firmware: str = "", window: int = 1, frame_records: int = 1
    ) -> None:
        super().__init__(spec, truth, firmware=firmware, window=window, frame_records=frame_records)
        self._number = 1000 + spec.index
        self._archive_done = False
        self._asked_time = False

    def _log_in(self, now: float) -> None:  # noqa: ARG002 - the identification carries no time
        self._archive_done = self._asked_time = False
        for packet in self._unsent:
            if not packet.archive:
                packet.archive = True
                packet.data = from_terminal(ARCHIVE, self._container(packet))
        identification = int(self.spec.identity).to_bytes(4, "little") + int(self.firmware or 0).to_bytes(4, "little")
        self._words += from_terminal(IDENTIFICATION, identification)

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        packet = Packet(b"", records, number=self._number, archive=archive)
        self._number += 1
        packet.data = from_terminal(ARCHIVE if archive else LIVE, self._container(packet))
        return packet

    @staticmethod
    def _container(packet: Packet) -> bytes:
        first = packet.records[0].reading.time // 1000 - EPOCH
        out = packet.number.to_bytes(4, "little") + first.to_bytes(4, "little") + b"\0"
        for record in packet.records:
            data = message(record.reading)
            out += len(data).to_bytes(2, "little") + data
        return out

    def _next_packet(self) -> Packet | None:
        if not self._archive_done and not self._offline:
            return None  # live data only after the word that ends the archive
        return super()._next_packet()

    def data_to_send(self, now: float) -> bytes:
        """Archive, the word that ends it, live data."""
        out = super().data_to_send(now)
        if self.ready and not (self._archive_done or self._offline or self._unsent or self._in_flight):
            self._archive_done = True
            out += from_terminal(ARCHIVE) + super().data_to_send(now)
        return out

    def _parse(self, now: float) -> None:
        while not self.wants_close:
            frame = self._take(now)
            if frame is None:
                return
            self._heard(frame[0], frame[1], now)

    def _take(self, now: float) -> tuple[int, bytes] | None:
        """The next whole frame of the server: (command, payload); its checksum goes low byte first."""
        buffer = self._buffer
        if not buffer:
            return None
        if buffer[0] != 0xC0:
            self._violation(now, f"no frame begins with 0x{buffer[0]:02x}")
            return None
        end = buffer.find(0xC0, 1)
        stuffed = bytes(buffer[1:end] if end > 0 else buffer[1:])
        body = stuffed.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
        if stuffed.endswith(b"\xdb") and end < 0:
            return None
        size = 3 + int.from_bytes(body[1:3], "little") + 2 if len(body) >= 3 else 5
        if size > _LARGEST:
            self._violation(now, f"a frame of {size} bytes from the server")
            return None
        if len(body) < size and end < 0:
            return None
        whole, body = body[:size], body[:size]
        if len(whole) < size or int(fastcrc.crc16.ibm_3740(body[:-2])).to_bytes(2, "little") != body[-2:]:
            self._violation(now, f"a damaged frame from the server: {bytes(buffer[:32]).hex()}")
            return None
        used = len(_stuffed(body))
        if bytes(buffer[:used]) != _stuffed(body):
            self._violation(now, f"wrongly stuffed: {bytes(buffer[:used]).hex()}")
            return None
        del buffer[:used]
        return body[0], body[3:-2]

    def _heard(self, command: int, payload: bytes, now: float) -> None:
        sizes = {SERVER_IDENTIFICATION: 8, ARCHIVE_REQUEST: 4, ERASE: 4, TIME_REQUEST: 0, TIME: 4}
        if sizes.get(command) != len(payload):
            self._violation(now, f"command 0x{command:02x} with {len(payload)} bytes")
            return
        number = int.from_bytes(payload[:4], "little")
        if command == ARCHIVE_REQUEST:
            oldest = self._unsent[0].number if self._unsent else self._number
            if number > oldest:
                self._violation(now, f"archive asked from {number}, {oldest} was never acknowledged")
                return
            if not self.ready:
                self._logged_in()
                if self.spec.index % 3 == 0:  # some set their clocks by the server
                    self._asked_time = True
                    self._words += from_terminal(TIME_REQUEST)
        elif command == ERASE:
            self._erase(number, now)
        elif command == TIME_REQUEST:
            self._words += from_terminal(TIME, (int(now) - EPOCH).to_bytes(4, "little"))
        elif command == TIME:
            if not self._asked_time:
                self._violation(now, "told the time without having asked")
            elif abs(number + EPOCH - now) > _CLOCK_TOLERANCE:
                self._violation(now, f"told that it is {number + EPOCH}")
            self._asked_time = False

    def _erase(self, number: int, now: float) -> None:
        if number not in [packet.number for packet in self._in_flight]:
            self._violation(now, f"erase up to {number}, which is not in flight")
            return
        while self._in_flight and self._in_flight[0].number <= number:
            self._erase_oldest(now)
        self._words += from_terminal(ERASED, number.to_bytes(4, "little"))

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry`: whole seconds, tenths of a volt."""
        reading = record.reading
        fixed = reading.satellites > 0
        event = (IGNITION_ON if reading.ignition else IGNITION_OFF) if reading.changed else TIMER
        measures: dict[str, float] = {
            "event": event,
            "ignition": int(reading.ignition),
            "mileage.delta": reading.step,
            "engine.rpm": reading.rpm,
            "power.external": (reading.external // 100) / 10,
            "gsm.signal": reading.gsm * 20,
        }
        for number, tank in enumerate(reading.fuel, 1):
            measures[f"fuel.level.{number}"] = tank.level
            measures[f"fuel.temperature.{number}"] = tank.temperature
            measures[f"fuel.status.{number}"] = tank.status
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": reading.lat / 1e7 if fixed else None,
            "lon": reading.lon / 1e7 if fixed else None,
            "altitude": reading.altitude if fixed else 0,
            "speed": reading.speed,
            "course": reading.course,
            "satellites": reading.satellites,
            "valid": fixed,
            "archive": record.archive,
            "measures": measures,
        }
