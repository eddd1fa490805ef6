"""An EGTS terminal: names itself and its firmware, erases a record when its own number is confirmed with 0.

A packet is sent again as it is, with its number. What the server sends besides is confirmed at once; commands are
answered: the firmware's version, and `illegal` for the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, ClassVar

from protocols.egts import commands, wire
from protocols.egts import declaration as declared
from protocols.terminals import Packet, Reading, SentRecord, Terminal, TerminalSpec, Witness, imei

FIRST_NUMBER = 2_150_000_000
TIMER_ON, INPUT, TIMER_OFF = 0, 4, 5
_POSITION = struct.Struct("<BHIIIBHBHBBBHB")
_SATELLITES = struct.Struct("<BHBBH")
_STATE = struct.Struct("<BHBBBBB")
_LEVEL = struct.Struct("<BHBHI")
_HEAD = struct.Struct("<HHBIIBB")
_LLS_PORT = 1  # RS-485


def subrecords(reading: Reading, *, archive: bool) -> bytes:
    """One record; the same bytes as the declaration builds."""
    fixed = reading.satellites > 0
    flags = 0x80 | 0x40 * (reading.lon < 0) | 0x20 * (reading.lat < 0) | 0x10 * reading.moving | 8 * archive
    flags |= 2 | fixed
    odometer = reading.odometer // 100 & 0xFFFFFF
    parts = [
        _POSITION.pack(
            wire.POS_DATA, 24, reading.time // 1000 - wire.EPOCH, declared.degrees(reading.lat / 1e7, 90),
            declared.degrees(reading.lon / 1e7, 180), flags,
            reading.speed * 10 | 0x4000 * (reading.altitude < 0) | 0x8000 * (reading.course > 255),
            reading.course & 0xFF, odometer & 0xFFFF, odometer >> 16, int(reading.ignition), _reason(reading),
            abs(reading.altitude), 0,
        ),
        _SATELLITES.pack(wire.EXT_POS_DATA, 4, 0x18, reading.satellites, 3),
        _STATE.pack(wire.STATE, 5, 2, _volts(reading.external), 0, _volts(reading.battery), 4),
        *(_LEVEL.pack(wire.LIQUID_LEVEL, 7, n, _LLS_PORT, tank.level) for n, tank in enumerate(reading.fuel, 1)),
    ]  # fmt: skip
    return b"".join(parts)


def _volts(millivolts: int) -> int:
    """Tenths of a volt, in the one byte that there is."""
    return min(millivolts // 100, 255)


def _reason(reading: Reading) -> int:
    return INPUT if reading.changed else TIMER_ON if reading.ignition else TIMER_OFF


class EgtsTerminal(Terminal):
    """TCP."""

    models: ClassVar = {"protocol:egts": ("3.18", "4.02", "4.07", "4.19", "4.41")}  # it names no model

    def __init__(
        self, spec: TerminalSpec, truth: Witness, *, firmware: str = "", window: int = 1, frame_records: int = 1
    ) -> None:
        super().__init__(spec, truth, firmware=firmware, window=window, frame_records=frame_records)
        self._number = self._record = 0
        self._login = -1

    def _next(self) -> int:
        self._number = self._number % 0xFFFF + 1
        return self._number

    def _log_in(self, now: float) -> None:
        major, _, minor = (self.firmware or "1.0").partition(".")
        module = declared.module_data((int(major), int(minor or 0)), texts=(self.spec.identity, "tracker"))
        self._login = self._next()
        self._record = self._record % 0xFFFF + 1
        self._words += declared.login(
            int(self.spec.identity), self._login, self._record, module, imei=imei("86162995", self.spec.index % 10**6),
            buffer=4096,
        )  # fmt: skip

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        parts = []
        oid = int(self.spec.identity)
        for one in records:
            self._record = self._record % 0xFFFF + 1
            data = subrecords(one.reading, archive=archive)
            tm = one.reading.time // 1000 - wire.EPOCH
            flags = wire.FROM_TERMINAL | wire.HAS_OID | wire.HAS_TM
            parts += [_HEAD.pack(len(data), self._record, flags, oid, tm, wire.TELEDATA, wire.TELEDATA), data]
        number = self._next()
        return Packet(wire.packet(number, wire.APPDATA, b"".join(parts)), records, number=number, archive=archive)

    def _parse(self, now: float) -> None:
        buffer = self._buffer
        while len(buffer) >= wire.HEAD and not self.wants_close:
            length = buffer[5] | buffer[6] << 8
            whole = wire.HEAD + length + (2 if length else 0)
            head = bytes(buffer[: wire.HEAD])
            if head[0] != 1 or head[3] != wire.HEAD or wire.crc8(head[:10]) != head[10]:
                self._violation(now, f"no header: {head.hex()}")
                return
            if len(buffer) < whole:
                return
            body = bytes(buffer[wire.HEAD : whole - 2])
            crc = int.from_bytes(buffer[whole - 2 : whole], "little")
            del buffer[:whole]
            if not length or wire.crc16(body) != crc:
                self._violation(now, "a packet whose data is damaged")
            elif head[9] == wire.RESPONSE:
                self._confirmed(body, now)
            else:
                self._heard(head[7] | head[8] << 8, body, now)

    def _confirmed(self, body: bytes, now: float) -> None:
        """RESPONSE: by packet, then by record."""
        number = body[0] | body[1] << 8
        records, bad = wire.records(body, 3, len(body))
        told = [content for one in records for _, content in wire.subrecords(body[one.at : one.end])]
        codes = {content[0] | content[1] << 8: content[2] for content in told if len(content) == 3}
        if bad >= 0 or len(codes) != len(records):
            self._violation(now, f"a response that is none: {body.hex()}")
        elif number == self._login and not self.ready:
            if body[2] or set(codes.values()) - {0}:
                self._refused()
        elif not self._in_flight or number != self._in_flight[0].number:
            self._violation(now, f"packet {number} is confirmed, and is not the oldest in flight")
        elif body[2] or set(codes.values()) - {0}:
            self.truth.count(self.spec.protocol, "frames_refused")
            self.wants_close = True  # and sends it again
        elif sorted(codes) != sorted(_numbers(self._in_flight[0].data)):
            self._violation(now, f"records {sorted(codes)} are confirmed for {len(self._in_flight[0].records)} of ours")
        else:
            self._erase_oldest(now)

    def _heard(self, number: int, body: bytes, now: float) -> None:
        """APPDATA of the server: confirmed at once."""
        records, bad = wire.records(body, 0, len(body))
        if bad >= 0 or not records:
            self._violation(now, f"a packet without records: {body.hex()}")
            return
        self._words += wire.response(
            self._next(), self._record, number, 0, [(one.number, one.service, 0) for one in records]
        )
        for one in records:
            for kind, content in wire.subrecords(body[one.at : one.end]):
                if kind == wire.RESULT_CODE and one.service == wire.AUTH:
                    if content[0]:
                        self._refused()
                    elif not self.ready:
                        self._logged_in()
                elif kind == wire.COMMAND_DATA:
                    self._command(content, now)

    def _command(self, content: bytes, now: float) -> None:
        if len(content) < 15 or content[0] >> 4 != commands.COMMAND:
            self._violation(now, f"a command that is none: {content.hex()}")
            return
        asked = content[12] & 15 == 1 and content[13:15] == commands.FIRMWARE_VERSION.to_bytes(2, "little")
        result, value = (0, self.firmware.encode("ascii")) if asked else (2, b"")
        told = bytes((commands.MESSAGE_CONFIRMS << 4 | result,)) + content[1:9] + b"\0" + bytes(2) + content[13:15]
        self._record = self._record % 0xFFFF + 1
        data = wire.subrecord(wire.COMMAND_DATA, told + value)
        answer = wire.record(self._record, wire.COMMANDS, data, flags=wire.FROM_TERMINAL)
        number = self._next()
        self._answer_command(wire.packet(number, wire.APPDATA, answer), now)

    @staticmethod
    def identity(serial: int) -> str:
        """A terminal's number, TID."""
        return str(FIRST_NUMBER + serial)

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry`."""
        reading = record.reading
        fixed = reading.satellites > 0
        measures: dict[str, float] = {
            "event": _reason(reading),
            "movement": int(reading.moving),
            "odometer": reading.odometer // 100 * 100,
            "inputs": int(reading.ignition),
            "power.external": _volts(reading.external) / 10,
            "power.battery": _volts(reading.battery) / 10,
        }
        for place, tank in enumerate(reading.fuel, 1):
            if tank.level <= 4095:
                measures[f"fuel.level.{place}"] = tank.level
        lat = declared.degrees(reading.lat / 1e7, 90) * 90.0 / 0xFFFF_FFFF
        lon = declared.degrees(reading.lon / 1e7, 180) * 180.0 / 0xFFFF_FFFF
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": (-lat if reading.lat < 0 else lat) if fixed else None,
            "lon": (-lon if reading.lon < 0 else lon) if fixed else None,
            "altitude": reading.altitude,
            "speed": reading.speed,
            "course": reading.course,
            "satellites": reading.satellites,
            "valid": fixed,
            "archive": record.archive,
            "measures": measures,
        }


def _numbers(packet: bytes) -> list[int]:
    begin, end = wire.span(packet)
    return [one.number for one in wire.records(packet, begin, end)[0]]


TERMINALS = {"tcp": EgtsTerminal}
