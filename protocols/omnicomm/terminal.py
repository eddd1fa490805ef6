"""An Omnicomm registrar: identification with its firmware, archive on request, then live data.

    80 identification -> 85 archive from    86 … -> 87 …    86 empty    95 … -> 87 …    93 -> 94

A container keeps its number and its bytes until it is erased; what was sent live and not acknowledged comes again as
archive. 0x87 erases everything up to its number, so a number that is not in flight is a violation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from protocols.omnicomm import declaration as wire
from protocols.omnicomm.omnicomm_pb2 import RecReg
from protocols.terminals import Packet, Reading, SentRecord, Terminal, TerminalSpec, Witness

EPOCH = 1_230_768_000  # 2009-01-01 UTC
SERVER_IDENTIFICATION, ARCHIVE_REQUEST, ARCHIVE, ERASE, TIME_REQUEST, TIME, LIVE = (
    0x81,
    0x85,
    0x86,
    0x87,
    0x93,
    0x94,
    0x95,
)
TIMER, IGNITION_ON, IGNITION_OFF = 1, 4, 5
_CLOCK_TOLERANCE = 60  # seconds: more is no answer to "what time is it"


def message(reading: Reading) -> RecReg:
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
    return record


class OmnicommTerminal(Terminal):
    """One registrar; `firmware` is a number in decimal."""

    models: ClassVar = {"protocol:omnicomm": ("287", "301", "305", "312", "318")}  # it names no model

    def __init__(
        self, spec: TerminalSpec, truth: Witness, *, firmware: str = "", window: int = 1, frame_records: int = 1
    ) -> None:
        super().__init__(spec, truth, firmware=firmware, window=window, frame_records=frame_records)
        self._number = 1000 + spec.index
        self._server = wire.ServerFrames()
        self._archive_done = False
        self._asked_time = False

    def _log_in(self, now: float) -> None:
        self._archive_done = self._asked_time = False
        self._server = wire.ServerFrames()
        for packet in self._unsent:
            if not packet.archive:
                packet.archive = True
                packet.data = self._container(packet)
        self._words += wire.identification(int(self.spec.identity), int(self.firmware or 0))

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        packet = Packet(b"", records, number=self._number, archive=archive)
        self._number += 1
        packet.data = self._container(packet)
        return packet

    @staticmethod
    def _container(packet: Packet) -> bytes:
        readings = [record.reading for record in packet.records]
        return wire.container(
            packet.number,
            readings[0].time // 1000 - EPOCH,
            [message(reading) for reading in readings],
            command=ARCHIVE if packet.archive else LIVE,
        )

    def _next_packet(self) -> Packet | None:
        if not self._archive_done and not self._offline:
            return None  # live data only after the word that ends the archive
        return super()._next_packet()

    def data_to_send(self, now: float) -> bytes:
        """Archive, the word that ends it, live data."""
        out = super().data_to_send(now)
        if self.ready and not (self._archive_done or self._offline or self._unsent or self._in_flight):
            self._archive_done = True
            out += wire.archive_exhausted() + super().data_to_send(now)
        return out

    def _parse(self, now: float) -> None:
        data = bytes(self._buffer)
        self._buffer.clear()  # unfinished frames wait in `_server`
        try:
            words = self._server.feed(data)
        except ValueError as error:
            self._violation(now, f"a damaged frame from the server: {error}")
            return
        for command, number in words:
            if not self.wants_close:
                self._heard(command, number, now)

    def _heard(self, command: int, number: int, now: float) -> None:
        if command == ARCHIVE_REQUEST:
            oldest = self._unsent[0].number if self._unsent else self._number
            if number > oldest:
                self._violation(now, f"archive asked from {number}, {oldest} was never acknowledged")
                return
            if not self.ready:
                self._logged_in()
                if self.spec.index % 3 == 0:  # some set their clocks by the server
                    self._asked_time = True
                    self._words += wire.time_request()
        elif command == ERASE:
            self._erase(number, now)
        elif command == TIME_REQUEST:
            self._words += wire.frame(TIME, wire.TIME.build({"time": wire.omnicomm_time(now)}))
        elif command == TIME:
            if not self._asked_time:
                self._violation(now, "told the time without having asked")
            elif abs(number + EPOCH - now) > _CLOCK_TOLERANCE:
                self._violation(now, f"told that it is {number + EPOCH}")
            self._asked_time = False
        elif command != SERVER_IDENTIFICATION:
            self._violation(now, f"command 0x{command:02x}")

    def _erase(self, number: int, now: float) -> None:
        if number not in [packet.number for packet in self._in_flight]:
            self._violation(now, f"erase up to {number}, which is not in flight")
            return
        while self._in_flight and self._in_flight[0].number <= number:
            self._erase_oldest(now)
        self._words += wire.delete_confirmation(number)

    @staticmethod
    def identity(serial: int) -> str:
        """The registrar's number."""
        return str(300_000_000 + serial)

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


TERMINALS = {"tcp": OmnicommTerminal}
