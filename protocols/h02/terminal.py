"""An H02 terminal: a sign of life, places in text, erased by V4 with their own times; answers commands by V4."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from protocols.h02 import declaration as wire
from protocols.h02.declaration import HEAD, KNOT
from protocols.selfnamed import degrees
from protocols.terminals import Packet, Reading, SentRecord, Terminal

_ALL_WELL = 0xFFFFFFFF
_IGNITION = 1 << 10


def knots(reading: Reading) -> str:
    """Its speed as the wire writes it."""
    return f"{reading.speed / KNOT:.2f}"


class H02Terminal(Terminal):
    """TCP."""

    models: ClassVar = {"protocol:h02": ("1", "2", "3", "4", "5")}  # it names neither model nor firmware

    def _log_in(self, now: float) -> None:
        at = datetime.fromtimestamp(now, UTC)
        life = (f"{at:%H%M%S}", "23", "11", "87", "0", "0", f"{at:%d%m%y}", "FFFFFBFF")
        self._words += wire.word(self.spec.identity, "LINK", *life)

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        del archive  # the wire has no mark for it
        return Packet(b"".join([self._place(record.reading) for record in records]), records)

    def _send(self, packet: Packet, now: float) -> None:
        super()._send(packet, now)
        self._stamps = [f"{datetime.fromtimestamp(r.reading.time / 1000, UTC):%Y%m%d%H%M%S}" for r in packet.records]

    def _place(self, reading: Reading) -> bytes:
        return wire.place(
            self.spec.identity,
            time=reading.time // 1000,
            lat=reading.lat / 1e7,
            lon=reading.lon / 1e7,
            knots=float(knots(reading)),
            course=reading.course,
            status=_ALL_WELL if reading.ignition else _ALL_WELL & ~_IGNITION,
            fixed=reading.satellites > 0,
        )

    def _parse(self, now: float) -> None:
        while not self.wants_close and (end := self._buffer.find(b"#")) >= 0:
            said = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            head = HEAD.match(said)
            if head is None or head[2].decode() != self.spec.identity:
                self._violation(now, f"no message for this terminal: {said[:64]!r}")
                return
            fields = said[head.end() + 1 : -1].decode("ascii", "replace").split(",")
            if head[3] != b"V4":
                stamp = f"{datetime.fromtimestamp(now, UTC):%H%M%S}"
                self._answer_command(wire.word(self.spec.identity, "V4", head[3].decode(), "OK", stamp), now)
            elif fields[0] == "LINK" and not self.ready:
                self._logged_in()
            elif not self._in_flight or fields != ["V1", self._stamps[0]]:
                self._violation(now, f"V4 with {fields}, which is not in flight")
            else:
                del self._stamps[0]
                if not self._stamps:
                    self._erase_oldest(now)

    @staticmethod
    def identity(serial: int) -> str:
        """Ten digits."""
        return f"8168{serial:06d}"

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry`: whole seconds, hundredths of a knot, ten-thousandths of a minute."""
        reading = record.reading
        fixed = reading.satellites > 0
        lat, lon = reading.lat / 1e7, reading.lon / 1e7
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": degrees(wire.minutes(lat, 2).encode(), b"S" if lat < 0 else b"N", 90) if fixed else None,
            "lon": degrees(wire.minutes(lon, 3).encode(), b"W" if lon < 0 else b"E", 180) if fixed else None,
            "altitude": None,
            "speed": float(knots(reading)) * KNOT,
            "course": reading.course,
            "satellites": None,
            "valid": fixed,
            "archive": False,
            "measures": {"ignition": int(reading.ignition), "gsm.operator": 25001},
        }


TERMINALS = {"tcp": H02Terminal}
