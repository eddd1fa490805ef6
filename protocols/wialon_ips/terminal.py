"""A Wialon IPS 2.0 terminal: live messages as `D`, a backlog as `B`; firmware and model as parameters.

Answers come without numbers, each in its turn: a terminal compares kind and count with what it sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from protocols.terminals import Packet, Reading, SentRecord, Terminal, TerminalSpec, Witness, imei
from protocols.wialon_ips import declaration, packets
from protocols.wialon_ips.wire import V2, checksum_holds

VERSION = "2.0"


def message(reading: Reading, firmware: str = "", model: str = "") -> str:
    """One long message; without a fix it tells no position, as the protocol wants it."""
    fixed = reading.satellites > 0
    short = declaration.build_message(
        time=reading.time * 1000,
        lat=reading.lat / 1e7 if fixed else None,
        lon=reading.lon / 1e7 if fixed else None,
        speed=reading.speed if fixed else None,
        course=reading.course if fixed else None,
        altitude=reading.altitude if fixed else None,
        satellites=reading.satellites,
    )
    params: dict[str, declaration.Value] = {"gsm": reading.gsm, "odo": reading.odometer}
    for place, tank in enumerate(reading.fuel, 1):
        params[f"lls{place}"] = tank.level
        params[f"lls{place}t"] = tank.temperature
    if firmware:
        params |= {"fw": firmware, "hw": model}
    return declaration.build_long_message(
        short,
        hdop=0.9 if fixed else None,
        inputs=int(reading.ignition),
        outputs=0,
        adc=[reading.external / 1000, reading.battery / 1000],
        params=params,
    )


class WialonIpsTerminal(Terminal):
    """TCP, version 2.0 with checksums."""

    models: ClassVar = {
        "KIT-2": ("KIT-2.9.4", "KIT-2.12.0", "KIT-2.12.1", "KIT-2.14.3", "KIT-2.15.0"),
        "NavTrack-5": ("5.0.11", "5.2.0", "5.2.1", "5.4.7", "5.5.0"),
    }
    archive_records = 50

    def __init__(
        self, spec: TerminalSpec, truth: Witness, *, firmware: str = "", window: int = 1, frame_records: int = 1
    ) -> None:
        super().__init__(spec, truth, firmware=firmware, window=window, frame_records=frame_records)
        self._tell_firmware = True  # in the first message of each connection

    def _log_in(self, now: float) -> None:
        self._tell_firmware = True
        self._words += packets.login(self.spec.identity, version=VERSION)

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        texts = []
        for record in records:
            texts.append(
                message(record.reading, self.firmware, self.spec.model)
                if self._tell_firmware
                else message(record.reading)
            )
            self._tell_firmware = False
        if archive or len(texts) > 1:
            return Packet(packets.black_box(texts, V2), records, archive=True)
        return Packet(packets.long(texts[0], V2), records)

    def _parse(self, now: float) -> None:
        while not self.wants_close:
            line, end, rest = bytes(self._buffer).partition(b"\r\n")
            if not end:
                return
            self._buffer = bytearray(rest)
            if line.startswith(b"#M#"):
                self._command(line[3:], now)
                continue
            answers, _ = packets.read_answers(line + end)
            if not answers:
                self._violation(now, f"no answer of this protocol: {line[:64]!r}")
                return
            self._answered(answers[0], now)

    def _command(self, body: bytes, now: float) -> None:
        """Words of the server: taken."""
        if not self.ready or not checksum_holds(body):
            self._violation(now, f"a command that is none: #M#{body[:64]!r}")
        else:
            self._answer_command(b"#AM#1\r\n", now)

    def _answered(self, answer: packets.Answer, now: float) -> None:
        if answer.kind == "L":
            if self.ready:
                self._violation(now, "a second answer to the login")
            elif answer.body == "1":
                self._logged_in()
            else:
                self._refused()
            return
        if answer.kind not in {"D", "B"} or not self._in_flight:
            self._violation(now, f"#A{answer.kind}#{answer.body} without a frame in flight")
            return
        packet = self._in_flight[0]
        kind, wanted = ("B", str(len(packet.records))) if packet.archive else ("D", "1")
        if (answer.kind, answer.body) != (kind, wanted):
            self._violation(now, f"#A{answer.kind}#{answer.body} for a {kind} of {len(packet.records)}")
        else:
            self._erase_oldest(now)

    @staticmethod
    def identity(serial: int) -> str:
        """An IMEI."""
        return imei("86253104", serial)

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry`: seconds, minutes of arc to 1e-5, parameters by their own names."""
        reading = record.reading
        fixed = reading.satellites > 0
        measures: dict[str, float | str] = {
            "inputs": int(reading.ignition),
            "outputs": 0,
            "adc.1": reading.external / 1000,
            "adc.2": reading.battery / 1000,
            "param.gsm": reading.gsm,
            "param.odo": reading.odometer,
        }
        if fixed:
            measures["hdop"] = 0.9
        for place, tank in enumerate(reading.fuel, 1):
            measures[f"param.lls{place}"] = tank.level
            measures[f"param.lls{place}t"] = tank.temperature
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": _through_minutes(reading.lat) if fixed else None,
            "lon": _through_minutes(reading.lon) if fixed else None,
            "altitude": reading.altitude if fixed else None,
            "speed": reading.speed if fixed else None,
            "course": reading.course if fixed else None,
            "satellites": reading.satellites,
            "valid": fixed,
            "archive": record.archive,
            "measures": measures,
        }


def _through_minutes(raw: int) -> float:
    """1e-7 degrees → degrees after the way through minutes with five decimals."""
    hundred_thousandths = round(abs(raw / 1e7) * 60 * 100_000)
    degrees = hundred_thousandths / 6_000_000
    return round(degrees if raw >= 0 else -degrees, 12)


TERMINALS = {"tcp": WialonIpsTerminal}
