"""A Wialon Combine terminal: login, packets of several messages, an answer to each by its number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from protocols.terminals import Packet, Reading, SentRecord, Terminal, TerminalSpec, Witness, imei
from protocols.wialon_combine import declaration as declared
from protocols.wialon_combine import wire

EXTERNAL, BATTERY, ODOMETER, TEMPERATURE = 1, 2, 3, 10  # numbers of parameters
_PLACE = declared.POSITION
_MILLIVOLTS = 1 | 3 << 5  # u16 by a thousand


def message(reading: Reading) -> bytes:
    """One message."""
    fixed = reading.satellites > 0
    place = declared.position(
        lat=round(reading.lat / 10) if fixed else 0, lon=round(reading.lon / 10) if fixed else 0, speed=reading.speed,
        course=reading.course, height=reading.altitude, satellites=reading.satellites, hdop=90,
    )  # fmt: skip
    states = wire.put(wire.IO, 1) + int(reading.ignition).to_bytes(4, "big") + bytes(4)
    parameters = [(EXTERNAL, _MILLIVOLTS, reading.external), (BATTERY, _MILLIVOLTS, reading.battery),
                  (ODOMETER, 2, reading.odometer)]  # fmt: skip
    parameters += [(TEMPERATURE + n, 4, tank.temperature) for n, tank in enumerate(reading.fuel, 1)]
    levels = [(n, 1, tank.level) for n, tank in enumerate(reading.fuel, 1)]
    return declared.message(
        reading.time // 1000,
        [place, states, declared.listed(wire.PARAMETERS, parameters), declared.listed(5, levels)],
    )


class CombineTerminal(Terminal):
    """TCP."""

    models: ClassVar = {"protocol:wialon-combine": ("1.0.1", "1.0.2", "1.0.3", "1.0.4", "1.0.5")}  # it names none

    def __init__(
        self, spec: TerminalSpec, truth: Witness, *, firmware: str = "", window: int = 1, frame_records: int = 1
    ) -> None:
        super().__init__(spec, truth, firmware=firmware, window=window, frame_records=frame_records)
        self._number = 0

    def _next(self) -> int:
        self._number = self._number % 0xFFFF + 1
        return self._number

    def _log_in(self, now: float) -> None:
        self._words += declared.login(self.spec.identity, 0)

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        number = self._next()
        data = b"".join([message(one.reading) for one in records])
        return Packet(wire.packet(wire.DATA, number, data), records, number=number)

    def _parse(self, now: float) -> None:
        buffer = self._buffer
        while len(buffer) >= 5 and not self.wants_close:
            head = bytes(buffer[:5])
            if head[:2] != wire.ANSWER:
                self._violation(now, f"an answer that is none: {head.hex()}")
            elif head[2] == wire.COMMAND:
                if not self._command(now):
                    return
            else:
                del buffer[:5]
                self._answered(head[2], int.from_bytes(head[3:], "big"), now)

    def _answered(self, code: int, number: int, now: float) -> None:
        if not self.ready and number == 0:
            if code:
                self._refused()
            else:
                self._logged_in()
        elif not self._in_flight or self._in_flight[0].number != number:
            self._violation(now, f"packet {number} is answered, and is not the oldest in flight")
        elif code == wire.ACCEPTED:
            self._erase_oldest(now)
        else:
            self.truth.count(self.spec.protocol, "frames_refused")
            self.wants_close = True  # and sends it again

    def _command(self, now: float) -> bool:
        """False while it is not whole."""
        buffer = bytes(self._buffer)
        try:
            size, at = wire.ext(buffer, 3, 2)
        except IndexError:
            return False
        end = at + size + 2
        if len(buffer) < end:
            return False
        del self._buffer[:end]
        if size < 5 or wire.crc16(buffer[: end - 2]) != int.from_bytes(buffer[end - 2 : end], "big"):
            self._violation(now, f"a command that is none: {buffer[:64].hex()}")
            return True
        text = wire.put(wire.MESSAGE, 1) + b"OK " + buffer[at + 5 : end - 2].rstrip(b"\n") + b"\0"
        self._answer_command(wire.packet(wire.DATA, self._next(), declared.message(int(now), [text])), now)
        return True

    @staticmethod
    def identity(serial: int) -> str:
        """An IMEI."""
        return imei("86253104", serial)

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry`."""
        reading = record.reading
        fixed = reading.satellites > 0
        measures: dict[str, float] = {
            "inputs": int(reading.ignition),
            "outputs": 0,
            f"param.{EXTERNAL}": reading.external / 1000,
            f"param.{BATTERY}": reading.battery / 1000,
            f"param.{ODOMETER}": reading.odometer,
        }
        for place, tank in enumerate(reading.fuel, 1):
            measures[f"fuel.level.{place}"] = tank.level
            measures[f"param.{TEMPERATURE + place}"] = tank.temperature
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": round(reading.lat / 10) / 1e6 if fixed else None,
            "lon": round(reading.lon / 10) / 1e6 if fixed else None,
            "altitude": reading.altitude,
            "speed": reading.speed,
            "course": reading.course,
            "satellites": reading.satellites,
            "valid": fixed,
            "archive": False,
            "measures": measures,
        }


TERMINALS = {"tcp": CombineTerminal}
