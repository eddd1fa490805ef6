"""A phone with OsmAnd: asks whether the server is there, then a request a place, each erased by 200."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from protocols.osmand.declaration import KNOT, get
from protocols.terminals import Packet, Reading, SentRecord, Terminal


def knots(reading: Reading) -> str:
    """Its speed as the wire writes it."""
    return f"{reading.speed / KNOT:.3f}"


class OsmandTerminal(Terminal):
    """TCP, on one connection that stays."""

    models: ClassVar = {"protocol:osmand": ("1", "2", "3", "4", "5")}  # it names neither model nor firmware
    weight = 1.0

    def _log_in(self, now: float) -> None:
        self._owed = 0
        self._words += get(id=self.spec.identity)

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        del archive  # the wire has no mark for it
        return Packet(b"".join([self._place(record.reading) for record in records]), records)

    def _send(self, packet: Packet, now: float) -> None:
        super()._send(packet, now)
        self._owed = len(packet.records)

    def _place(self, reading: Reading) -> bytes:
        place = {"lat": f"{reading.lat / 1e7:.7f}", "lon": f"{reading.lon / 1e7:.7f}"}
        return get(
            id=self.spec.identity,
            timestamp=reading.time // 1000,
            **place,
            valid="true" if reading.satellites else "false",
            speed=knots(reading),
            bearing=reading.course,
            altitude=reading.altitude,
            ignition="true" if reading.ignition else "false",
            fuel1=reading.fuel[0].level,
        )

    def _parse(self, now: float) -> None:
        while not self.wants_close and (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            line, *_ = bytes(self._buffer[:end]).split(b"\r\n")
            del self._buffer[: end + 4]
            if not line.startswith(b"HTTP/1.1 "):
                self._violation(now, f"no answer of HTTP: {line[:64]!r}")
            elif line[9:12] != b"200":
                self._refused() if not self.ready else self._violation(now, f"{line.decode()} to a good place")
            elif not self.ready:
                self._logged_in()
            elif not self._in_flight:
                self._violation(now, "200 without a request in flight")
            else:
                self._owed -= 1
                if not self._owed:
                    self._erase_oldest(now)

    @staticmethod
    def identity(serial: int) -> str:
        """What its owner calls it."""
        return f"phone-{serial:06d}"

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry`: whole seconds, thousandths of a knot."""
        reading = record.reading
        fixed = reading.satellites > 0
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": reading.lat / 1e7 if fixed else None,
            "lon": reading.lon / 1e7 if fixed else None,
            "altitude": reading.altitude,
            "speed": float(knots(reading)) * KNOT,
            "course": reading.course,
            "satellites": None,
            "valid": fixed,
            "archive": False,
            "measures": {"ignition": int(reading.ignition), "param.fuel1": reading.fuel[0].level},
        }


TERMINALS = {"tcp": OsmandTerminal}
