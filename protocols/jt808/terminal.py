"""A JT/T 808 terminal: registers, authenticates with the code it was given, one message in flight, answers commands.

    0100 -> 8100 code    0102 code -> 8001    0200 or 0704 -> 8001    8107 -> 0107    8300 … -> 0001

A code that is refused is forgotten: the next connection registers anew. Every third terminal speaks the edition of
2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from protocols.instants import bcd
from protocols.jt808 import declaration as wire
from protocols.jt808.wire import (
    ASK_ATTRIBUTES,
    ASK_LOCATION,
    ATTRIBUTES,
    AUTHENTICATE,
    BATCH,
    LOCATION,
    LOCATION_ANSWER,
    PLATFORM_REPLY,
    REGISTER,
    REGISTERED,
    REPLY,
    head_of,
    phone_of,
    unescape,
    xor,
)
from protocols.terminals import Packet, Reading, SentRecord, Terminal

_IGNITION, _FIXED, _GPS = 1, 2, 1 << 18
_SHIFT = 8 * 3600


def body_of(reading: Reading) -> bytes:
    """One location, as the declaration builds it."""
    fixed = reading.satellites > 0
    lat, lon = micro(reading.lat), micro(reading.lon)
    status = int(reading.ignition) | (_FIXED if fixed else 0) | _GPS
    status |= (4 if lat < 0 else 0) | (8 if lon < 0 else 0)
    return (
        bytes(4)
        + status.to_bytes(4, "big")
        + abs(lat).to_bytes(4, "big")
        + abs(lon).to_bytes(4, "big")
        + reading.altitude.to_bytes(2, "big", signed=True)
        + (reading.speed * 10).to_bytes(2, "big")
        + reading.course.to_bytes(2, "big")
        + bcd(reading.time // 1000 + _SHIFT)
        + b"\x01\x04"
        + (reading.odometer // 100).to_bytes(4, "big")
        + b"\x02\x02"
        + reading.fuel[0].level.to_bytes(2, "big")
        + b"\x30\x01"
        + bytes((reading.gsm * 6,))
        + b"\x31\x01"
        + bytes((reading.satellites,))
    )


def micro(value: int) -> int:
    """1e-7 degrees as the wire's 1e-6, towards zero."""
    return int(value / 10)


class Jt808Terminal(Terminal):
    """TCP. Hears 8100, 8001 and commands; erases what a general reply of result 0 names."""

    models: ClassVar = {
        "KT-20X": ("KT20X_V3.1.02", "KT20X_V3.2.08", "KT20X_V3.3.01", "KT20X_V3.4.19", "KT20X_V3.5.00"),
        "KT-40E": ("KT40E_V2.0.11", "KT40E_V2.1.04", "KT40E_V2.2.00", "KT40E_V2.3.07", "KT40E_V2.4.01"),
    }
    archive_records = 20  # 923 bytes of the 1023 that a body may have

    _code = ""
    _number = 0

    @property
    def _new(self) -> bool:
        return len(self.spec.identity) == 20

    def _say(self, message: int, body: bytes) -> bytes:
        self._number = self._number % 0xFFFF + 1
        phone = phone_of(self.spec.identity, new=self._new)
        return wire.frame(message, phone, self._number, body, version=int(self._new))

    def _log_in(self, now: float) -> None:
        if self._code:
            body = wire.authentication(self._code, imei="861472050987321", firmware=self.firmware, new=self._new)
            self._words += self._say(AUTHENTICATE, body)
        else:
            body = wire.registration(model=self.spec.model, terminal="0A1B2C3", plate="A123BC77", new=self._new)
            self._words += self._say(REGISTER, body)

    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        bodies = [body_of(record.reading) for record in records]
        if len(bodies) == 1 and not archive:
            data = self._say(LOCATION, bodies[0])
        else:
            data = self._say(BATCH, wire.batch(bodies, blind=archive))
        return Packet(data, records, number=self._number, archive=archive)

    def _parse(self, now: float) -> None:
        while not self.wants_close:
            begin = self._buffer.find(b"~")
            end = self._buffer.find(b"~", begin + 1)
            if begin < 0 or end < 0:
                return
            segment = bytes(self._buffer[begin + 1 : end])
            if begin or not segment:
                self._violation(now, "bytes between two messages")
                return
            del self._buffer[: end + 1]
            package = unescape(segment)
            head = head_of(package) if package else None
            if package is None or head is None or head.size != len(package) or xor(package):
                self._violation(now, f"a damaged message: {segment[:64].hex()}")
            elif head.phone != phone_of(self.spec.identity, new=self._new):
                self._violation(now, f"a message for {head.phone.hex()}")
            else:
                self._heard(head.id, head.serial, package[head.start : -1], now)

    def _heard(self, message: int, serial: int, body: bytes, now: float) -> None:
        if message == REGISTERED and not self.ready:
            if len(body) > 3 and body[2] == 0:
                self._code = body[3:].decode("gbk")
                self._log_in(now)
            else:
                self._refused()
        elif message == PLATFORM_REPLY and len(body) == 5:
            number, told, result = int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big"), body[4]
            self._replied(number, told, result, now)
        elif message >> 12 != 8 or message in (REGISTERED, PLATFORM_REPLY):
            self._violation(now, f"message 0x{message:04x}")
        elif message == ASK_ATTRIBUTES:
            told_of = wire.attributes(
                model=self.spec.model, firmware=self.firmware, iccid="89860402102090977002", new=self._new
            )
            self._answer_command(self._say(ATTRIBUTES, told_of), now)
        elif message == ASK_LOCATION:
            place = wire.location(time=int(now), latitude=55.75, longitude=37.61, status=3)
            self._answer_command(self._say(LOCATION_ANSWER, serial.to_bytes(2, "big") + place), now)
        else:
            done = serial.to_bytes(2, "big") + message.to_bytes(2, "big") + b"\0"
            self._answer_command(self._say(REPLY, done), now)

    def _replied(self, number: int, message: int, result: int, now: float) -> None:
        if not self.ready and message == AUTHENTICATE:
            if result == 0:
                self._logged_in()
            else:
                self._code = ""
                self._refused()
        elif message in (LOCATION, BATCH):
            if not self._in_flight or self._in_flight[0].number != number:
                self._violation(now, f"an ack for {number}, which is not in flight")
            elif result == 0:
                self._erase_oldest(now)
            else:
                self._violation(now, f"result {result} for a good location")
        elif message not in (ATTRIBUTES, REPLY, LOCATION_ANSWER):
            self._violation(now, f"a reply to 0x{message:04x}")

    @staticmethod
    def identity(serial: int) -> str:
        """A phone number, of twenty digits where the terminal speaks the edition of 2019."""
        number = f"139{serial:08d}"
        return number.rjust(20 if serial % 3 == 0 else 12, "0")

    @staticmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry`: whole seconds, millionths of a degree."""
        reading = record.reading
        fixed = reading.satellites > 0
        return {
            "terminal": record.spec.identity,
            "time": reading.time // 1000 * 1_000_000,
            "lat": micro(reading.lat) / 1e6 if fixed else None,
            "lon": micro(reading.lon) / 1e6 if fixed else None,
            "altitude": reading.altitude,
            "speed": reading.speed,
            "course": reading.course,
            "satellites": reading.satellites,
            "valid": fixed,
            "archive": record.archive,
            "measures": {
                "ignition": int(reading.ignition),
                "odometer": reading.odometer // 100 * 100,
                "fuel.gauge": reading.fuel[0].level / 10,
            },
        }


TERMINALS = {"tcp": Jt808Terminal}
