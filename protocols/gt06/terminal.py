"""A GT06 terminal: login, places by 22, a heartbeat behind each packet of them.

Nothing answers a place. But all that a server says leaves in its turn, so the answer to a heartbeat tells that what was
sent before it is stored: that is what this terminal erases by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from protocols.gt06 import declaration, wire
from protocols.instants import binary
from protocols.terminals import Packet, Reading, SentRecord, Terminal, imei

_INTERVAL, _IGNITION = 0, 3  # why a place is sent
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

    def _frame(self, protocol: int, content: bytes) -> bytes:
        self._number = self._number % 0xFFFF + 1
        return wire.frame(protocol, content, self._number)

    def _log_in(self, now: float) -> None:
        self._number = 1
        self._words += declaration.login(self.spec.identity, 1)

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        return Packet(b"", records, archive=archive)  # its frames are numbered when it is sent

    def _send(self, packet: Packet, now: float) -> None:
        """Numbers belong to a connection: a packet that goes out again has new ones, and says that it does."""
        again = bool(packet.sends) or packet.archive
        packet.archive = again
        packet.data = b"".join([self._record(record.reading, again=again) for record in packet.records])
        packet.data += self._frame(wire.HEARTBEAT, b"\x46\x05\x04\x00\x02")
        packet.number = self._number
        super()._send(packet, now)

    def _record(self, reading: Reading, *, again: bool) -> bytes:
        place = gps(reading)
        added = bytes(
            (int(reading.ignition), _IGNITION if reading.changed else _INTERVAL, int(again))
        ) + reading.odometer.to_bytes(4, "big")
        return self._frame(wire.LOCATION_UTC, place + _LBS + added)

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
        elif protocol == wire.HEARTBEAT:
            if not self._in_flight or self._in_flight[0].number != serial:
                self._violation(now, f"an answer to heartbeat {serial}, which is not in flight")
            else:
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
            "archive": record.archive,
            "measures": {"ignition": int(reading.ignition), "odometer": reading.odometer, "gsm.operator": 25001},
        }


TERMINALS = {"tcp": Gt06Terminal}
