"""A TK103 terminal: handshake, places as BP05, erased by AP05; answers commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from protocols.h02.declaration import minutes
from protocols.selfnamed import degrees
from protocols.terminals import Packet, Reading, SentRecord, Terminal
from protocols.tk103 import declaration as wire
from protocols.tk103.declaration import HEAD


class Tk103Terminal(Terminal):
    """TCP."""

    models: ClassVar = {"protocol:tk103": ("1", "2", "3", "4", "5")}  # it names neither model nor firmware

    def _log_in(self, now: float) -> None:
        self._owed = 0
        self._words += wire.word(self.spec.identity, "BP00", f"000{self.spec.identity}HSO")

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        del archive  # the wire has no mark for it
        return Packet(b"".join([self._place(record.reading) for record in records]), records)

    def _send(self, packet: Packet, now: float) -> None:
        super()._send(packet, now)
        self._owed = len(packet.records)

    def _place(self, reading: Reading) -> bytes:
        return wire.place(
            self.spec.identity,
            time=reading.time // 1000,
            lat=reading.lat / 1e7,
            lon=reading.lon / 1e7,
            speed=reading.speed,
            course=reading.course,
            fixed=reading.satellites > 0,
            ignition=reading.ignition,
            fuel=reading.fuel[0].level & 0xFFF,
            odometer=reading.odometer,
            command="BP05",
            imei=f"000{self.spec.identity}",
        )

    def _parse(self, now: float) -> None:
        while not self.wants_close and (end := self._buffer.find(b")")) >= 0:
            said = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            head = HEAD.match(said)
            if head is None or head[1].decode() != self.spec.identity:
                self._violation(now, f"no message for this terminal: {said[:64]!r}")
            elif said[13:-1] == b"AP01HSO" and not self.ready:
                self._logged_in()
            elif said[13:-1] != b"AP05":
                self._answer_command(wire.word(self.spec.identity, f"B{head[2].decode()[1:]}", "OK"), now)
            elif not self._in_flight:
                self._violation(now, "AP05 without a place in flight")
            else:
                self._owed -= 1
                if not self._owed:
                    self._erase_oldest(now)

    @staticmethod
    def identity(serial: int) -> str:
        """Twelve digits."""
        return f"088048{serial:06d}"

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry`: whole seconds, ten-thousandths of a minute."""
        reading = record.reading
        fixed = reading.satellites > 0
        lat, lon = reading.lat / 1e7, reading.lon / 1e7
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": degrees(minutes(lat, 2).encode(), b"S" if lat < 0 else b"N", 90) if fixed else None,
            "lon": degrees(minutes(lon, 3).encode(), b"W" if lon < 0 else b"E", 180) if fixed else None,
            "altitude": None,
            "speed": reading.speed,
            "course": reading.course,
            "satellites": None,
            "valid": fixed,
            "archive": False,
            "measures": {
                "ignition": int(reading.ignition), "odometer": reading.odometer, "fuel.level.1": reading.fuel[0].level,
            },
        }  # fmt: skip


TERMINALS = {"tcp": Tk103Terminal}
