"""A terminal of the template: logs in, sends packets, one in flight, and checks each ack against what it sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from protocols.template import declaration as wire
from protocols.terminals import Packet, SentRecord, Terminal, imei

_ACK = 5  # bytes


class TemplateTerminal(Terminal):
    """TCP. Nothing answers a login: what it sends next is acknowledged, or the connection closes."""

    models: ClassVar = {"TP-1": ("1.0", "1.1", "1.2", "1.3", "1.4")}
    archive_records = 100

    def _log_in(self, now: float) -> None:
        self._words += wire.login(self.spec.identity)
        self._logged_in()

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        built = []
        for record in records:
            reading = record.reading
            built.append(
                {
                    "time": reading.time // 1000,
                    "latitude": _micro(reading.lat),
                    "longitude": _micro(reading.lon),
                    "altitude": reading.altitude,
                    "speed": reading.speed,
                    "course": reading.course,
                    "satellites": reading.satellites,
                    "external": reading.external,
                    "status": int(reading.ignition) | archive << 1,
                }
            )
        return Packet(wire.data_packet(built), records, archive=archive)

    def _parse(self, now: float) -> None:
        while len(self._buffer) >= _ACK and not self.wants_close:
            answer = bytes(self._buffer[:_ACK])
            del self._buffer[:_ACK]
            if not self._in_flight or answer != wire.ack(self._in_flight[0].data):
                self._violation(now, f"no ack of what is in flight: {answer.hex()}")
            else:
                self._erase_oldest(now)

    @staticmethod
    def identity(serial: int) -> str:
        """An IMEI."""
        return imei("86000000", serial)

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry`."""
        reading = record.reading
        fixed = reading.satellites > 0
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": _micro(reading.lat) / 1e6 if fixed else None,
            "lon": _micro(reading.lon) / 1e6 if fixed else None,
            "altitude": reading.altitude,
            "speed": reading.speed,
            "course": reading.course,
            "satellites": reading.satellites,
            "valid": fixed,
            "archive": record.archive,
            "measures": {"ignition": int(reading.ignition), "power.external": reading.external / 1000},
        }


def _micro(raw: int) -> int:
    """1e-7 degrees to 1e-6."""
    return round(raw / 10)


TERMINALS = {"tcp": TemplateTerminal}
