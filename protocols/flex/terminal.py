"""A Navtelecom device: handshake, agreement on FLEX by its model's version, then ~A; a change of ignition goes as ~T.

One word is in flight at a time; answers `*?V`. Records repeat but for their numbers, so one is written as a struct; the
tests hold it to the declaration.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

from protocols.flex import declaration as wire
from protocols.flex.wire import HEADER, PREAMBLE, PROTOCOL, Selection, ntcb, sealed, xor
from protocols.terminals import Packet, Reading, SentRecord, Terminal, TerminalSpec, Witness, imei

TIMER, IGNITION_ON, IGNITION_OFF = 4688, 6064, 6065
NOT_INITIALISED = 65_531  # of a fuel sensor that is not there
_FIELDS = (1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 29, 38, 39, 55)
_SECOND = (71, 78, 79)  # since FLEX 2.0
_VERSIONS = {"S-2117": (0x0A, 69), "S-2551": (0x14, 122), "S-2435": (0x1E, 255)}
_LAYOUT = struct.Struct("<IHIBBBIiiifHfHHBHHH")
_LAYOUT_2 = struct.Struct(_LAYOUT.format + "BBbb")
HDOP, PDOP = 9, 14
_REGISTERED, _RUNNING = 1 << 5, 1 << 7


@cache
def chosen(model: str) -> Selection:
    """The fields of a model's records."""
    version, bits = _VERSIONS[model]
    return wire.selection(_FIELDS if version == 0x0A else (*_FIELDS, *_SECOND), bits)


def ten_thousandths(raw: int) -> int:
    """1e-7 degrees in 1e-4 minutes."""
    return round(raw * 6 / 100)


def signal(gsm: int) -> int:
    """0 to 31."""
    return gsm * 6


def _event(reading: Reading) -> int:
    return (IGNITION_ON if reading.ignition else IGNITION_OFF) if reading.changed else TIMER


def fast_record(model: str, reading: Reading, number: int, fixed_at: int) -> bytes:
    """The same bytes as the declaration builds; `fixed_at`: when there was a fix last, s."""
    second = reading.fuel[1].level if len(reading.fuel) > 1 else NOT_INITIALISED
    values = (
        number, _event(reading), reading.time // 1000, _REGISTERED | _RUNNING * reading.ignition, signal(reading.gsm),
        1 | (reading.satellites > 0) << 1 | min(reading.satellites, 63) << 2, fixed_at, ten_thousandths(reading.lat),
        ten_thousandths(reading.lon), reading.altitude * 10, float(reading.speed), reading.course,
        reading.odometer / 1000, reading.external, reading.battery, int(reading.ignition), reading.fuel[0].level,
        second, reading.rpm,
    )  # fmt: skip
    if _VERSIONS[model][0] == 0x0A:
        return _LAYOUT.pack(*values)
    warmth = [tank.temperature for tank in reading.fuel]
    return _LAYOUT_2.pack(*values, HDOP, PDOP, warmth[0], warmth[1] if len(warmth) > 1 else -128)


class FlexTerminal(Terminal):
    """TCP."""

    models: ClassVar = {
        "S-2551": ("01.06.02", "01.10.01", "01.10.05", "01.12.07", "01.13.01"),
        "S-2435": ("02.01.00", "02.04.03", "02.05.00", "02.07.02", "02.08.00"),
        "S-2117": ("00.20.01", "00.24.00", "00.25.02", "00.27.01", "00.28.00"),
    }
    archive_records = 20  # of 64 bytes: a word has 1.3 KB at most

    def __init__(
        self, spec: TerminalSpec, truth: Witness, *, firmware: str = "", window: int = 1, frame_records: int = 1
    ) -> None:
        super().__init__(spec, truth, firmware=firmware, window=window, frame_records=frame_records)
        self._number = 1000 * (spec.index + 1)
        self._fixed_at = 0
        self._greeted = False

    def _log_in(self, now: float) -> None:
        self._greeted = False
        self._words += wire.handshake(self.spec.identity)

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        made: list[bytes] = []
        for record in records:
            reading = record.reading
            self._number += 1
            if reading.satellites > 0:
                self._fixed_at = reading.time // 1000
            made.append(fast_record(self.spec.model, reading, self._number, self._fixed_at))
        if not archive and len(records) == 1 and records[0].reading.changed:
            return Packet(wire.urgent(self._number, made[0]), records)
        return Packet(wire.archive(made), records)

    def _parse(self, now: float) -> None:
        buffer = self._buffer
        while buffer and not self.wants_close:
            if buffer[0] == PREAMBLE[0]:
                if not self._message(now):
                    return
            elif buffer[0] == 0x7E:
                if not self._acknowledged(now):
                    return
            else:
                self._violation(now, f"neither a message nor an ack: {bytes(buffer[:16]).hex()}")

    def _message(self, now: float) -> bool:
        """A message from the server; False while it is not whole."""
        buffer = self._buffer
        if len(buffer) < HEADER:
            return False
        size = int.from_bytes(buffer[12:14], "little")
        if size > 1024:
            self._violation(now, f"a message of {size} bytes")
            return True
        if len(buffer) < HEADER + size:
            return False
        head, body = bytes(buffer[:HEADER]), bytes(buffer[HEADER : HEADER + size])
        del buffer[: HEADER + size]
        if head != ntcb(body, 0, 1)[:HEADER] or xor(head[:15]) != head[15]:
            self._violation(now, f"a message that is none: {head.hex()}")
        elif not self._greeted:
            self._greeted = body == b"*<S"
            if self._greeted:
                self._words += wire.agreement(chosen(self.spec.model), _VERSIONS[self.spec.model][0])
            else:
                self._violation(now, f"handshake answered with {body[:32]!r}")
        elif not self.ready:
            version = _VERSIONS[self.spec.model][0]
            if body == bytes((*b"*<FLEX", PROTOCOL, version, version)):
                self._logged_in()
            else:
                self._violation(now, f"agreement answered with {body[:32]!r}")
        elif body.startswith((b"*?", b"*!")):
            self._answer_command(ntcb(self._answer(body)), now)
        else:
            self._violation(now, f"an answer to nothing: {body[:32]!r}")
        return True

    def _answer(self, body: bytes) -> bytes:
        if body == b"*?V":
            return f"*#V:{self.spec.model}:{self.firmware}:14.02.25:RU".encode()
        if body == b"*?S":
            return b"*#S:" + self.spec.identity.encode()
        return b"*Z:" + body if body.startswith(b"*?") else b"*@" + body[2:].split(b" ")[0] + b" OK"

    def _acknowledged(self, now: float) -> bool:
        """An ack; False while it is not whole."""
        buffer = self._buffer
        size = {0x41: 4, 0x54: 7}.get(buffer[1], 0) if len(buffer) > 1 else 1
        if len(buffer) < max(size, 2):
            return False
        word = bytes(buffer[:size])
        del buffer[:size]
        wanted = self._in_flight[0].data[: size - 1] if self._in_flight else b""
        if not size or not self.ready or not wanted or word != sealed(wanted):
            self._violation(now, f"ack {word.hex()} of nothing in flight")
        else:
            self._erase_oldest(now)
        return True

    @staticmethod
    def identity(serial: int) -> str:
        """An IMEI."""
        return imei("86889604", serial)

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry` (nothing tells what was sent late)."""
        reading = record.reading
        fixed = reading.satellites > 0
        (mileage,) = struct.unpack("<f", struct.pack("<f", reading.odometer / 1000))
        measures: dict[str, float] = {
            "event": _event(reading),
            "ignition": int(reading.ignition),
            "inputs": int(reading.ignition),
            "gsm.signal": signal(reading.gsm) * 100 / 31,
            "power.external": reading.external / 1000,
            "power.battery": reading.battery / 1000,
            "odometer": mileage * 1000,
            "can.engine.rpm": reading.rpm,
        }
        second = record.spec.model != "S-2117"
        if second:
            measures |= {"hdop": HDOP / 10, "pdop": PDOP / 10}
        for place, tank in enumerate(reading.fuel, 1):
            measures[f"fuel.level.{place}"] = tank.level
            if second:
                measures[f"fuel.temperature.{place}"] = tank.temperature
        if len(reading.fuel) < 2:
            measures["fuel.status.2"] = NOT_INITIALISED
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": ten_thousandths(reading.lat) / 600_000 if fixed else None,
            "lon": ten_thousandths(reading.lon) / 600_000 if fixed else None,
            "altitude": reading.altitude,
            "speed": reading.speed,
            "course": reading.course,
            "satellites": reading.satellites,
            "valid": fixed,
            "archive": False,
            "measures": measures,
        }


TERMINALS = {"tcp": FlexTerminal}
