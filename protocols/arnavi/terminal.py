"""An Arnavi terminal: header, then packages; its versions in the first record of each connection; answers commands.

Records repeat but for their numbers, so one is written as a struct; the tests hold it to the declaration.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

from protocols.arnavi import declaration as wire
from protocols.arnavi.wire import RESULT, TEXT, TIMED, answer
from protocols.terminals import Packet, Reading, SentRecord, Terminal, TerminalSpec, Witness, imei

_CLOCK_TOLERANCE = 60  # s: more is no answer to a header
_NO_FIX = 0xFE
_VERSIONS = {"arnavi-540": 0x23, "arnavi-410": 0x22}
HDOP = 90  # hundredths


@cache
def _layout(tanks: int, versions: bool) -> struct.Struct:
    """The tags of a record."""
    return struct.Struct("<" + "BHHBfBfBBBBBBBBHBBHBBI" + "BHbx" * tanks + "BIBHxx" + ("BHH" if versions else ""))


def satellites(reading: Reading) -> int:
    """GPS in the low four bits, GLONASS in the high ones; or that there is no fix."""
    if not reading.satellites:
        return _NO_FIX
    gps = min(15, (reading.satellites + 1) // 2)
    return gps | min(13, reading.satellites - gps) << 4


def fast_tags(reading: Reading, versions: tuple[int, int] | None = None) -> bytes:
    """The same bytes as the declaration builds."""
    tanks: list[int] = []
    for place, tank in enumerate(reading.fuel):
        tanks += (70 + place, tank.level, tank.temperature)
    return _layout(len(reading.fuel), versions is not None).pack(
        1, reading.battery, reading.external, 3, reading.lat / 1e7, 4, reading.lon / 1e7,
        5, reading.course // 2, reading.altitude // 10, satellites(reading), knots(reading.speed),
        6, 1, int(reading.ignition), int(reading.ignition), 8, reading.gsm * 12, 250, 1, 9, 0, *tanks,
        150, reading.odometer // 10, 151, HDOP, *((251, *versions) if versions else ()),
    )  # fmt: skip


def knots(speed: int) -> int:
    """km/h as the wire has them."""
    return round(speed / 1.852)


class ArnaviTerminal(Terminal):
    """TCP."""

    models: ClassVar = {
        "arnavi-540": ("1980", "2001", "2003", "2017", "2020"),
        "arnavi-410": ("310", "322", "325", "341", "350"),
    }
    archive_records = 20

    def __init__(
        self, spec: TerminalSpec, truth: Witness, *, firmware: str = "", window: int = 1, frame_records: int = 1
    ) -> None:
        super().__init__(spec, truth, firmware=firmware, window=window, frame_records=frame_records)
        self._number = 0
        self._tell = True  # its versions, in the first record of each connection

    def _log_in(self, now: float) -> None:
        self._tell = True
        self._words += wire.header(self.spec.identity, _VERSIONS[self.spec.model])

    def _next_number(self) -> int:
        self._number = self._number % 0xFB + 1
        return self._number

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        made: list[bytes] = []
        for record in records:
            hardware = int(self.spec.model.partition("-")[2])
            versions = (hardware, int(self.firmware or 0)) if self._tell else None
            self._tell = False
            made.append(wire.record(record.reading.time // 1000, fast_tags(record.reading, versions)))
        number = self._next_number()
        return Packet(wire.package(number, made), records, number=number)

    def _parse(self, now: float) -> None:
        buffer = self._buffer
        while len(buffer) >= 4 and not self.wants_close:
            size = 4 + (buffer[1] + 1 if buffer[1] else 0)
            if buffer[0] != 0x7B:
                self._violation(now, f"no answer of this protocol: {bytes(buffer[:16]).hex()}")
                return
            if len(buffer) < size:
                return
            word = bytes(buffer[:size])
            del buffer[:size]
            data = word[4:-1]
            if word != answer(word[2], data):
                self._violation(now, f"an answer that is none: {word[:32].hex()}")
            elif not self.ready:
                self._greeted(word, data, now)
            elif data:
                self._command(word[2], data, now)
            elif self._in_flight and word[2] == self._in_flight[0].number:
                self._erase_oldest(now)
            else:
                self._violation(now, f"ack {word[2]} of nothing in flight")

    def _greeted(self, word: bytes, data: bytes, now: float) -> None:
        timed = _VERSIONS[self.spec.model] in TIMED
        told = abs(int.from_bytes(data, "little") - now) <= _CLOCK_TOLERANCE if timed else not data
        if word[2] or not told or len(data) != (4 if timed else 0):
            self._violation(now, f"header answered with {word.hex()}")
        else:
            self._logged_in()

    def _command(self, number: int, data: bytes, now: float) -> None:
        if number != RESULT or not data.isascii():
            self._violation(now, f"a command that is none: {data[:32].hex()}")
            return
        text = data.decode("ascii")
        said = f"VER {self.firmware}" if text == "VER" else f"{text} OK"
        self._answer_command(wire.package(RESULT, [wire.record(int(now), said.encode(), TEXT)]), now)

    @staticmethod
    def identity(serial: int) -> str:
        """An IMEI."""
        return imei("86520704", serial)

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry` (nothing tells what was sent late)."""
        reading = record.reading
        fixed = reading.satellites > 0
        byte = satellites(reading)
        lat, lon = struct.unpack("<ff", struct.pack("<ff", reading.lat / 1e7, reading.lon / 1e7))
        measures: dict[str, float] = {
            "ignition": int(reading.ignition),
            "inputs": int(reading.ignition),
            "power.external": reading.external / 1000,
            "power.battery": reading.battery / 1000,
            "gsm.rssi": reading.gsm * 12,
            "gsm.mcc": 250,
            "odometer": reading.odometer // 10 * 10,
            "hdop": HDOP / 100,
        }
        for place, tank in enumerate(reading.fuel, 1):
            measures[f"fuel.level.{place}"] = tank.level
            measures[f"fuel.temperature.{place}"] = tank.temperature
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": lat if fixed else None,
            "lon": lon if fixed else None,
            "altitude": reading.altitude // 10 * 10,
            "speed": knots(reading.speed) * 1852 / 1000,
            "course": reading.course // 2 * 2,
            "satellites": (byte & 15) + (byte >> 4) if fixed else None,
            "valid": fixed,
            "archive": False,
            "measures": measures,
        }


TERMINALS = {"tcp": ArnaviTerminal}
