"""A Ruptela terminal: records or extended records by its model, one frame in flight; answers requests and texts.

Records repeat but for their numbers, so one is written as a struct; the tests hold it to the declaration.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

from protocols.ruptela import declaration as wire
from protocols.ruptela.wire import ACK, EXTENDED, HEARTBEAT, RECORDS, SMS, VERSION, crc, downlink, uplink
from protocols.terminals import Packet, Reading, SentRecord, Terminal, imei

OPERATOR = 25001
HDOP = 9
_IGNITION = {RECORDS: 251, EXTENDED: 409}
_MODELS = {"FM-Eco4": RECORDS, "HCV5": EXTENDED, "Trace5": EXTENDED}
_IN_PARTS = "Trace5"


@cache
def _layout(command: int, *, parts: bool) -> struct.Struct:
    """One record, or two parts of one."""
    number = "B" if command == RECORDS else "H"
    head = ">IB" + ("B" if command == EXTENDED else "") + "BiihHBHB" + number
    ones, twos = f"B{number}B{number}B{number}B", f"B{number}H{number}H{number}H{number}H{number}h"
    fours = f"B{number}I{number}I"
    if parts:
        return struct.Struct(head + ones + "BBB" + head[1:] + "B" + twos + fours + "B")
    return struct.Struct(head + ones + twos + fours + "B")


def fast_record(command: int, reading: Reading, *, parts: bool = False) -> bytes:
    """The same bytes as the declaration builds."""
    fixed = reading.satellites > 0
    event = _IGNITION[command] if reading.changed else 0
    place = (reading.lon, reading.lat) if fixed else (wire.INVALID, wire.INVALID)
    tail = (
        0, *place, reading.altitude * 10, reading.course * 100, reading.satellites, reading.speed, HDOP, event,
    )  # fmt: skip
    ones = (3, _IGNITION[command], int(reading.ignition), 13, int(reading.moving), 27, reading.gsm * 6)
    twos = (
        5, 29, reading.external, 30, reading.battery, 205, reading.fuel[0].level, 197, reading.rpm * 8,
        78, reading.fuel[0].temperature * 10,
    )  # fmt: skip
    fours = (2, 65, reading.odometer, 150, OPERATOR)
    stamp = (reading.time // 1000, 0)
    pack = _layout(command, parts=parts).pack
    if parts:
        return pack(*stamp, 0x10, *tail, *ones, 0, 0, 0, *stamp, 0x11, *tail, 0, *twos, *fours, 0)
    return pack(*stamp, *((0,) if command == EXTENDED else ()), *tail, *ones, *twos, *fours, 0)


class RuptelaTerminal(Terminal):
    """TCP."""

    models: ClassVar = {
        "FM-Eco4": ("03.10.02", "03.12.00", "03.12.01", "03.14.05", "03.15.00"),
        "HCV5": ("01.02.10", "01.04.00", "01.04.02", "01.06.07", "01.07.00"),
        "Trace5": ("02.01.05", "02.03.00", "02.03.02", "02.05.01", "02.06.00"),
    }
    archive_records = 15

    @property
    def command(self) -> int:
        """FM-Eco4: records; the others extended ones, Trace5 in two parts each."""
        return _MODELS[self.spec.model]

    def _log_in(self, now: float) -> None:
        self._greeted = False
        self._words += uplink(self.spec.identity, HEARTBEAT, b"")

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        parts = self.spec.model == _IN_PARTS
        made = b"".join([fast_record(self.command, record.reading, parts=parts) for record in records])
        count = len(records) * (2 if parts else 1)
        left = bool(archive and self._offline)
        return Packet(uplink(self.spec.identity, self.command, bytes((left, count)) + made), records)

    def _parse(self, now: float) -> None:
        buffer = self._buffer
        while len(buffer) >= 2 and not self.wants_close:
            length = int.from_bytes(buffer[:2], "big")
            if not 1 <= length <= 1024:
                self._violation(now, f"a frame of {length} bytes from the server")
                return
            if len(buffer) < length + 4:
                return
            data = bytes(buffer[: length + 4])
            del buffer[: length + 4]
            if crc(data[2:-2]) != int.from_bytes(data[-2:], "big"):
                self._violation(now, f"a damaged frame: {data[:32].hex()}")
            else:
                self._heard(data, now)

    def _heard(self, data: bytes, now: float) -> None:
        if not self.ready:
            if data == downlink(HEARTBEAT, b"\x01"):
                self._logged_in()
            else:
                self._violation(now, f"heartbeat answered with {data.hex()}")
        elif data == ACK:
            if self._in_flight:
                self._erase_oldest(now)
            else:
                self._violation(now, "an ack without a frame in flight")
        elif data == downlink(VERSION):
            self._answer_command(uplink(self.spec.identity, VERSION, self.firmware.encode()), now)
        elif data[2] == 100 + SMS + 1:
            text = data[3:-2].decode("ascii", "replace").strip()
            said = f"Unit IMEI: {self.spec.identity} FW: {self.firmware}" if text == "getver" else f"{text} ok"
            self._answer_command(uplink(self.spec.identity, SMS, said.encode()), now)
        else:
            self._violation(now, f"a command that is none: {data[:32].hex()}")

    @staticmethod
    def identity(serial: int) -> str:
        """An IMEI."""
        return imei("86363204", serial)

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry` (nothing tells what was sent late)."""
        reading = record.reading
        fixed = reading.satellites > 0
        command = _MODELS[record.spec.model]
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": reading.lat / 1e7 if fixed else None,
            "lon": reading.lon / 1e7 if fixed else None,
            "altitude": reading.altitude,
            "speed": reading.speed,
            "course": reading.course,
            "satellites": reading.satellites,
            "valid": fixed,
            "archive": False,
            "measures": {
                "ignition": int(reading.ignition),
                "movement": int(reading.moving),
                "event": _IGNITION[command] if reading.changed else 0,
                "power.external": reading.external / 1000,
                "power.battery": reading.battery / 1000,
                "odometer": reading.odometer,
                "can.engine.rpm": reading.rpm,
                "can.fuel.raw": reading.fuel[0].level,
                "temperature.1": reading.fuel[0].temperature,
                "gsm.operator": OPERATOR,
                "hdop": HDOP / 10,
            },
        }


TERMINALS = {"tcp": RuptelaTerminal}
