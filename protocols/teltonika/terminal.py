"""A Teltonika terminal: Codec 8 or 8E by its model, one frame in flight, answers `getver`.

Frames repeat but for their numbers, so a layout is written once as a struct; the tests hold it to the
declaration in `protocols.teltonika`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

from protocols.teltonika import declaration as wire
from protocols.terminals import Packet, Reading, SentRecord, Terminal, imei

OPERATOR = 25001
IGNITION_EVENT = 239

# (id, size, signed) in the order of their groups.
_ITEMS = ((239, 1, False), (240, 1, False), (21, 1, False), (202, 1, True))
_ITEMS_2 = ((66, 2, False), (67, 2, False), (201, 2, True))
_ITEMS_4 = ((16, 4, False), (241, 4, False))
_SECOND_TANK = ((204, 1, True), (203, 2, True))
_FORMATS = {1: ("B", "b"), 2: ("H", "h"), 4: ("I", "i")}


def _values(reading: Reading) -> dict[int, int]:
    values = {
        239: int(reading.ignition),
        240: int(reading.moving),
        21: reading.gsm,
        202: reading.fuel[0].temperature,
        66: reading.external,
        67: reading.battery,
        201: reading.fuel[0].level,
        16: reading.odometer,
        241: OPERATOR,
    }
    if len(reading.fuel) > 1:
        values[204] = reading.fuel[1].temperature
        values[203] = reading.fuel[1].level
    return values


def _groups(tanks: int) -> tuple[tuple[tuple[int, int, bool], ...], ...]:
    second = tanks > 1
    return (
        _ITEMS + (_SECOND_TANK[:1] if second else ()),
        _ITEMS_2 + (_SECOND_TANK[1:] if second else ()),
        _ITEMS_4,
        (),
    )


@cache
def _layout(codec: int, tanks: int) -> tuple[struct.Struct, tuple[int, ...]]:
    """One record as a struct, counts and ids included, and which of its fields are values."""
    number = "H" if codec == wire.CODEC_8E else "B"
    text = ">QBiihHBH" + number + number
    order: list[int] = []
    for group in _groups(tanks):
        text += number
        order.append(-len(group))
        for identifier, size, signed in group:
            text += number + _FORMATS[size][signed]
            order.append(identifier)
    if codec == wire.CODEC_8E:
        text += number
        order.append(0)
    return struct.Struct(text), tuple(order)


def fast_record(codec: int, reading: Reading) -> bytes:
    """The same bytes as the declaration builds."""
    layout, order = _layout(codec, len(reading.fuel))
    values = _values(reading)
    tail: list[int] = []
    for entry in order:
        if entry > 0:
            tail += (entry, values[entry])
        else:
            tail.append(-entry)
    return layout.pack(
        reading.time,
        int(reading.changed),
        reading.lon,
        reading.lat,
        reading.altitude,
        reading.course,
        reading.satellites,
        reading.speed,
        IGNITION_EVENT if reading.changed else 0,
        len(values),
        *tail,
    )


def payload(codec: int, readings: Sequence[Reading]) -> bytes:
    """Codec byte to the second count."""
    count = bytes([len(readings)])
    return bytes([codec]) + count + b"".join([fast_record(codec, r) for r in readings]) + count


class TeltonikaTerminal(Terminal):
    """TCP. Reads the login's answer (one byte), acks (u32 counts) and Codec 12 commands."""

    models: ClassVar = {
        "FMC130": ("03.25.14_03", "03.27.02_00", "03.27.07_00", "03.29.00_05", "03.30.01_01"),
        "FMB920": ("03.25.15_00", "03.27.01_02", "03.27.05_01", "03.28.03_04", "03.29.02_00"),
        "FMC650": ("03.00.09_00", "03.01.00_02", "03.01.02_00", "03.02.01_01", "03.02.04_00"),
    }
    weight = 4.0
    resolution = 1
    archive_records = 15  # 8E, two tanks: 15 records stay below the 1280 bytes of ordinary models

    @property
    def codec(self) -> int:
        """FMB920: an old configuration with Codec 8; the others 8 Extended."""
        return wire.CODEC_8 if self.spec.model == "FMB920" else wire.CODEC_8E

    def _log_in(self, now: float) -> None:
        self._acked_once = False
        self._uptime_from = now
        self._words += wire.login(self.spec.identity)

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        return Packet(wire.tcp_frame(payload(self.codec, [r.reading for r in records])), records)

    def _parse(self, now: float) -> None:
        buffer = self._buffer
        if not self.ready:
            if not buffer:
                return
            answer = buffer.pop(0)
            if answer == 0:
                self._refused()
                return
            if answer != 1:
                self._violation(now, f"login answered with 0x{answer:02x}")
                return
            self._logged_in()
        while len(buffer) >= 4 and not self.wants_close:
            count = int.from_bytes(buffer[:4], "big")
            if count:
                del buffer[:4]
                self._counted(count, now)
            elif not self._command(now):
                return

    def _counted(self, count: int, now: float) -> None:
        if not self._in_flight:
            self._violation(now, f"ack {count} without a frame in flight")
        elif count != len(self._in_flight[0].records):
            self._violation(now, f"ack {count} for a frame of {len(self._in_flight[0].records)}")
        else:
            self._erase_oldest(now)
            self._acked_once = True

    def _command(self, now: float) -> bool:
        """A frame from the server; False while it is not whole."""
        buffer = self._buffer
        if len(buffer) < 8:
            return False
        length = int.from_bytes(buffer[4:8], "big")
        if not 8 <= length <= 4096:
            self._violation(now, f"neither an ack nor a command: {bytes(buffer[:8]).hex()}")
            return True
        if len(buffer) < length + 12:
            return False
        frame = bytes(buffer[: length + 12])
        del buffer[: length + 12]
        body = frame[8:-4]
        text = body[7:-1].decode("ascii", "replace")
        if wire.tcp_frame(body) != frame or body != wire.command(text)[8:-4]:
            self._violation(now, f"a command that is none: {frame[:64].hex()}")
        elif text == "getver" and not self._acked_once:  # which the gateway asks by itself
            self._violation(now, f"command {text!r} before the first ack of the connection")
        else:
            self._answer_command(wire.command(self._answer(text, now), kind=wire.RESPONSE), now)
        return True

    def _answer(self, text: str, now: float) -> str:
        if text == "getimei":
            return f"IMEI: {self.spec.identity}"
        if text != "getver":
            return "WARNING: Unknown Command"
        return (
            f"Ver:{self.firmware} GPS:AXN_5.1.9 Hw:{self.spec.model} Mod:11 IMEI:{self.spec.identity} "
            f"Init: 2026-3-14 8:1 Uptime: {int(now - self._uptime_from)} BL:1.11"
        )

    @staticmethod
    def identity(serial: int) -> str:
        """An IMEI."""
        return imei("35693803", serial)

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry` (Teltonika never marks archive)."""
        reading = record.reading
        fixed = reading.satellites > 0
        measures: dict[str, float] = {
            "ignition": int(reading.ignition),
            "movement": int(reading.moving),
            "gsm.signal": reading.gsm * 20,
            "gsm.operator": OPERATOR,
            "power.external": reading.external / 1000,
            "power.battery": reading.battery / 1000,
            "odometer": reading.odometer,
        }
        for place, tank in enumerate(reading.fuel, 1):
            measures[f"fuel.level.{place}"] = tank.level
            measures[f"fuel.temperature.{place}"] = tank.temperature
        return {
            "terminal": record.spec.identity,
            "time": reading.time * 1000,
            "lat": reading.lat / 1e7 if fixed else None,
            "lon": reading.lon / 1e7 if fixed else None,
            "altitude": reading.altitude,
            "speed": reading.speed,
            "course": reading.course,
            "satellites": reading.satellites,
            "valid": fixed,
            "archive": False,
            "measures": measures,
        }


class TeltonikaUdpTerminal(TeltonikaTerminal):
    """The UDP channel: each datagram carries the IMEI and its own number, which the answer repeats.

    Packet ids differ from one datagram to the next so that an echo is seen to be one.
    """

    def _log_in(self, now: float) -> None:
        self._acked_once = False
        self._uptime_from = now
        self._logged_in()

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        self._number = (getattr(self, "_number", 0) % 255) + 1
        data = wire.udp_datagram(
            payload(self.codec, [r.reading for r in records]),
            self.spec.identity,
            packet_id=0xC000 + self._number,
            avl_id=self._number,
        )
        return Packet(data, records, number=self._number)

    def _parse(self, now: float) -> None:
        answer = bytes(self._buffer)
        self._buffer.clear()
        for packet in self._in_flight:
            wanted = b"\x00\x05" + packet.data[2:4] + b"\x01" + bytes([packet.number, len(packet.records)])
            if answer == wanted:
                # Answers may overtake one another here: bring this one to the front.
                self._in_flight.remove(packet)
                self._in_flight.appendleft(packet)
                self._erase_oldest(now)
                return
        self.truth.count(self.spec.protocol, "late_answers")
        if len(answer) != 7 or answer[:2] != b"\x00\x05" or answer[4] != 1:
            self._violation(now, f"unreadable answer {answer[:32].hex()}")


TERMINALS = {"tcp": TeltonikaTerminal, "udp": TeltonikaUdpTerminal}
