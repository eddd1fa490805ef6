"""A Galileosky terminal: a head packet with its firmware, then records, one packet in flight; answers `status`.

Records repeat but for their numbers, so one is written as a struct; the tests hold it to the declaration.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

from construct import ConstructError

from protocols.galileosky import declaration as wire
from protocols.terminals import Packet, Reading, SentRecord, Terminal, imei

FIXED, LOST = 0, 1  # validity of a place
HDOP = 9  # tenths
_IGNITION, _MOVING = 1 << 9, 1
_NUMBER = 7


@cache
def _layout(tanks: int) -> struct.Struct:
    """One record, codes included."""
    text = "<BHBIBBiiBHHBhBBBHBHBH" + "BH" * tanks + "Bb" * tanks + "BI"
    return struct.Struct(text)


def quality(gsm: int) -> int:
    """Signal as the status word has it, 0 to 3."""
    return min(3, gsm * 3 // 5)


def fast_record(reading: Reading, number: int) -> bytes:
    """The same bytes as the declaration builds."""
    fixed = reading.satellites > 0
    status = _IGNITION * reading.ignition | _MOVING * reading.moving | quality(reading.gsm) << 12
    levels: list[int] = []
    temperatures: list[int] = []
    for place, tank in enumerate(reading.fuel):
        levels += (0x60 + place, tank.level)
        temperatures += (0x8A + place, tank.temperature)
    return _layout(len(reading.fuel)).pack(
        0x10, number & 0xFFFF, 0x20, reading.time // 1000,
        0x30, min(reading.satellites, 15) | (FIXED if fixed else LOST) << 4, microdegrees(reading.lat),
        microdegrees(reading.lon),
        0x33, reading.speed * 10, reading.course * 10, 0x34, reading.altitude, 0x35, HDOP, 0x40, status,
        0x41, reading.external, 0x42, reading.battery, *levels, *temperatures, 0xD4, reading.odometer,
    )  # fmt: skip


def microdegrees(raw: int) -> int:
    """1e-7 degrees in the wire's own unit."""
    return round(raw / 10)


class GalileoskyTerminal(Terminal):
    """TCP."""

    models: ClassVar = {
        "Dev154": ("25", "31", "33", "39", "41"),
        "Dev17": ("190", "205", "211", "223", "226"),
    }
    archive_records = 18  # with two tanks 52 bytes each: below the thousand that a packet may have

    def _log_in(self, now: float) -> None:
        self._answers: set[bytes] = set()
        self._head = wire.head(
            self.spec.identity, hardware=int(self.spec.model.removeprefix("Dev")),
            firmware=int(self.firmware or 0) & 0xFF, number=_NUMBER,
        )  # fmt: skip
        self._words += self._head

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        self._serial = getattr(self, "_serial", 0)
        tags = b""
        for record in records:
            self._serial += 1
            tags += fast_record(record.reading, self._serial)
        return Packet(wire.packet(tags, more=archive and bool(self._offline)), records)

    def _parse(self, now: float) -> None:
        buffer = self._buffer
        while len(buffer) >= 3 and not self.wants_close:
            if buffer[0] == 0x02:
                word = bytes(buffer[1:3])
                del buffer[:3]
                self._acknowledged(word, now)
            elif buffer[0] == wire.DATA:
                size = int.from_bytes(buffer[1:3], "little") + 5
                if not 5 < size <= 1024:
                    self._violation(now, f"a packet of {size} bytes from the server")
                    return
                if len(buffer) < size:
                    return
                data = bytes(buffer[:size])
                del buffer[:size]
                self._command(data, now)
            else:
                self._violation(now, f"neither an ack nor a command: {bytes(buffer[:16]).hex()}")

    def _acknowledged(self, word: bytes, now: float) -> None:
        if not self.ready:
            if word == self._head[-2:]:
                self._logged_in()
            else:
                self._violation(now, f"head packet acknowledged as {word.hex()}")
        elif self._in_flight and word == self._in_flight[0].data[-2:]:
            self._erase_oldest(now)
        elif word not in self._answers:
            self._violation(now, f"ack {word.hex()} of nothing in flight")

    def _command(self, data: bytes, now: float) -> None:
        try:
            told = wire.parse(data)
            (values,) = [{tag.tag: tag.value for tag in record} for record in told["records"]]
            mine = values[3] == self.spec.identity.encode() or values[4] == _NUMBER
            text = values[0xE1].decode("cp1251")
            number = values[0xE0]
            whole = wire.packet(data[3:-2]) == data
        except (ConstructError, KeyError, ValueError) as error:
            self._violation(now, f"a command that is none: {data[:64].hex()} ({type(error).__name__})")
            return
        if not whole or not mine or not self.ready:
            self._violation(now, f"a command that is none, or for another terminal: {data[:64].hex()}")
            return
        answer = wire.packet(
            wire.record([
                (3, self.spec.identity.encode()), (4, _NUMBER), (0xE0, number),
                (0xE1, self._answer(text).encode("cp1251")),
            ])
        )  # fmt: skip
        self._answers.add(answer[-2:])
        self._answer_command(answer, now)

    def _answer(self, text: str) -> str:
        if text == "status":
            return f"{self.spec.model} Soft={self.firmware} Pack={getattr(self, '_serial', 0)}"
        return f"IMEI {self.spec.identity}" if text == "imei" else "Unknown command"

    @staticmethod
    def identity(serial: int) -> str:
        """An IMEI."""
        return imei("86177405", serial)

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry` (no record is marked as archive)."""
        reading = record.reading
        fixed = reading.satellites > 0
        measures: dict[str, float] = {
            "ignition": int(reading.ignition),
            "movement": int(reading.moving),
            "gsm.signal": quality(reading.gsm) * 100 / 3,
            "power.external": reading.external / 1000,
            "power.battery": reading.battery / 1000,
            "odometer": reading.odometer,
            "gnss.source": FIXED if fixed else LOST,
            "hdop": HDOP / 10,
        }
        for place, tank in enumerate(reading.fuel, 1):
            measures[f"fuel.level.{place}"] = tank.level
            measures[f"fuel.temperature.{place}"] = tank.temperature
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": microdegrees(reading.lat) / 1e6 if fixed else None,
            "lon": microdegrees(reading.lon) / 1e6 if fixed else None,
            "altitude": reading.altitude,
            "speed": reading.speed,
            "course": reading.course,
            "satellites": min(reading.satellites, 15),
            "valid": fixed,
            "archive": False,
            "measures": measures,
        }


TERMINALS = {"tcp": GalileoskyTerminal}
