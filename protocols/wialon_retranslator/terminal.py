"""A platform that passes one object on: no login, a packet a record, 11 for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from protocols.terminals import Packet, Reading, SentRecord, Terminal, imei
from protocols.wialon_retranslator import wire


def packet(uid: str, reading: Reading, firmware: str) -> bytes:
    """One message."""
    fixed = reading.satellites > 0
    content = []
    if fixed:
        place = wire.posinfo(
            reading.lon / 1e7, reading.lat / 1e7, float(reading.altitude), reading.speed, reading.course,
            reading.satellites,
        )  # fmt: skip
        content.append(wire.block("posinfo", wire.BINARY, place, hidden=True))
    content.append(wire.block("avl_inputs", *wire.number(int(reading.ignition)), hidden=True))
    content += [
        wire.block(name, *wire.number(value))
        for name, value in (
            ("pwr_ext", reading.external / 1000), ("pwr_int", reading.battery / 1000), ("ign", int(reading.ignition)),
            ("odom_m", reading.odometer),
        )
    ]  # fmt: skip
    for number, tank in enumerate(reading.fuel, 1):
        content.append(wire.block(f"rs485_lls{number}", *wire.number(tank.level)))
        content.append(wire.block(f"rs485_t{number}", *wire.number(tank.temperature)))
    if firmware:
        content.append(wire.block("fw", wire.TEXT, firmware.encode("ascii") + b"\0"))
    flags = wire.POSITION * fixed | wire.INPUTS
    return wire.packet(uid, reading.time // 1000, flags, content)


class RetranslatorTerminal(Terminal):
    """TCP."""

    models: ClassVar = {"protocol:wialon-retranslator": ("1.0.4", "1.1.0", "1.1.3", "1.2.0", "1.2.1")}
    archive_records = 1

    def _log_in(self, now: float) -> None:
        self._told = False
        self._logged_in()

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        """Its firmware stands in the first message of a connection; several records are several packets."""
        told, self._told = self._told, True
        first = "" if told else self.firmware
        data = [packet(self.spec.identity, one.reading, "" if n else first) for n, one in enumerate(records)]
        return Packet(b"".join(data), records, number=len(data))

    def _parse(self, now: float) -> None:
        while self._buffer and not self.wants_close:
            if self._buffer[:1] != wire.ACCEPTED:
                self._violation(now, f"an answer that is none: {bytes(self._buffer[:16]).hex()}")
            elif not self._in_flight:
                self._violation(now, "an answer without a packet in flight")
            elif len(self._buffer) < self._in_flight[0].number:
                return
            else:
                del self._buffer[: self._in_flight[0].number]
                self._erase_oldest(now)

    @staticmethod
    def identity(serial: int) -> str:
        """An IMEI."""
        return imei("86147205", serial)

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry`."""
        reading = record.reading
        fixed = reading.satellites > 0
        measures: dict[str, float] = {
            "inputs": int(reading.ignition),
            "ignition": int(reading.ignition),
            "power.external": reading.external / 1000,
            "power.battery": reading.battery / 1000,
            "odometer": reading.odometer,
        }
        for place, tank in enumerate(reading.fuel, 1):
            measures[f"fuel.level.{place}"] = tank.level
            measures[f"fuel.temperature.{place}"] = tank.temperature
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": reading.lat / 1e7 if fixed else None,
            "lon": reading.lon / 1e7 if fixed else None,
            "altitude": reading.altitude if fixed else None,
            "speed": reading.speed if fixed else None,
            "course": reading.course if fixed else None,
            "satellites": reading.satellites if fixed else None,
            "valid": fixed,
            "archive": False,
            "measures": measures,
        }


TERMINALS = {"tcp": RetranslatorTerminal}
