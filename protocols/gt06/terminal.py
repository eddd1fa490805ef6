"""A GT06 terminal: login, and each place as an alarm (26) that is none, or tells of the ignition.

Nothing answers a place of 22; an alarm is answered by its number, and that is what this terminal erases by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from protocols.gt06 import declaration, wire
from protocols.instants import binary
from protocols.terminals import Packet, Reading, SentRecord, Terminal, imei

_NORMAL, _ON, _OFF = 0x00, 0xFE, 0xFF  # what an alarm is about
_LBS = declaration.cell()


def minutes(value: int) -> int:
    """1e-7 degrees as the wire's 1 / 1 800 000, towards zero."""
    return int(value * 9 / 50)


def gps(reading: Reading) -> bytes:
    """Time and gps part, as the declaration builds them."""
    lat, lon = minutes(reading.lat), minutes(reading.lon)
    bits = reading.course | (1 << 12 if reading.satellites else 0)
    bits |= (1 << 10 if lat >= 0 else 0) | (1 << 11 if lon < 0 else 0)
    return (
        binary(reading.time // 1000)
        + bytes((0xC0 | min(reading.satellites, 15),))
        + abs(lat).to_bytes(4, "big")
        + abs(lon).to_bytes(4, "big")
        + bytes((min(reading.speed, 255),))
        + bits.to_bytes(2, "big")
    )


class Gt06Terminal(Terminal):
    """TCP. Hears echoes and commands."""

    models: ClassVar = {
        "GT06N": ("GT06N_20_60DM2_V08", "GT06N_20_61DM2_V10", "GT06N_20_61DM2_V12", "GT06N_20_62DM2_V01", "GT06N_V21"),
        "VL103": ("VL103_10_V101", "VL103_10_V104", "VL103_10_V107", "VL103_10_V112", "VL103_10_V115"),
    }
    archive_records = 20

    _number = 0
    _owed: list[int]  # numbers of the alarms in flight that are not answered

    def _frame(self, protocol: int, content: bytes) -> bytes:
        self._number = self._number % 0xFFFF + 1
        return wire.frame(protocol, content, self._number)

    def _log_in(self, now: float) -> None:
        self._owed = []
        self._number = 1
        self._words += declaration.login(self.spec.identity, 1)

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        del archive  # alarms have no mark for it
        return Packet(b"", records)  # its frames are numbered when it is sent

    def _send(self, packet: Packet, now: float) -> None:
        """Numbers belong to a connection: a packet that goes out again has new ones."""
        self._owed = []
        packet.data = b"".join([self._record(record.reading) for record in packet.records])
        super()._send(packet, now)

    def _record(self, reading: Reading) -> bytes:
        alarm = _NORMAL if not reading.changed else _ON if reading.ignition else _OFF
        state = bytes((0x44 | (2 if reading.ignition else 0), 5, min(reading.gsm, 4), alarm, 2))
        content = gps(reading) + bytes((len(_LBS) + 1,)) + _LBS + state + reading.odometer.to_bytes(4, "big")
        data = self._frame(wire.ALARM_UTC, content)
        self._owed.append(self._number)
        return data

    def _parse(self, now: float) -> None:
        buffer = self._buffer
        while len(buffer) >= 3 and not self.wants_close:
            size = buffer[2] + 5
            if buffer[:2] != wire.SHORT:
                self._violation(now, f"no frame: {bytes(buffer[:16]).hex()}")
                return
            if len(buffer) < size:
                return
            whole = bytes(buffer[:size])
            del buffer[:size]
            told = wire.parts_of(whole)
            if told is None or wire.frame(*told, int.from_bytes(whole[-6:-4], "big")) != whole:
                self._violation(now, f"a damaged frame: {whole.hex()}")
                return
            self._heard(*told, int.from_bytes(whole[-6:-4], "big"), now)

    def _heard(self, protocol: int, content: bytes, serial: int, now: float) -> None:
        if protocol == wire.LOGIN and not self.ready and serial == 1:
            self._logged_in()
        elif protocol == wire.ALARM_UTC:
            if not self._in_flight or serial not in self._owed:
                self._violation(now, f"an answer to alarm {serial}, which is not in flight")
                return
            self._owed.remove(serial)
            if not self._owed:
                self._erase_oldest(now)
        elif protocol == wire.COMMAND and len(content) > 6:
            text = content[5 : 1 + content[0]].decode("ascii", "replace")
            self._number = self._number % 0xFFFF + 1
            said = f"[VERSION]{self.firmware}" if text == "VERSION#" else f"OK! {text}"
            flag = int.from_bytes(content[1:5], "big")
            self._answer_command(declaration.answer(said, flag, self._number), now)
        else:
            self._violation(now, f"protocol 0x{protocol:02x} with number {serial}")

    @staticmethod
    def identity(serial: int) -> str:
        """An IMEI."""
        return imei("86147205", serial)

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry`: whole seconds, 1 / 1 800 000 degree; no altitude."""
        reading = record.reading
        fixed = reading.satellites > 0
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": minutes(reading.lat) / 1_800_000 if fixed else None,
            "lon": minutes(reading.lon) / 1_800_000 if fixed else None,
            "altitude": None,
            "speed": min(reading.speed, 255),
            "course": reading.course,
            "satellites": min(reading.satellites, 15),
            "valid": fixed,
            "archive": False,
            "measures": {
                "event": _NORMAL if not reading.changed else _ON if reading.ignition else _OFF,
                "ignition": int(reading.ignition), "odometer": reading.odometer, "gsm.operator": 25001,
                "gsm.signal": min(reading.gsm, 4) * 25,
            },
        }  # fmt: skip


TERMINALS = {"tcp": Gt06Terminal}
