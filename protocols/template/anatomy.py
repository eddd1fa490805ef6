"""The template's bytes by name."""

from __future__ import annotations

from collections.abc import Iterator

from protocols.anatomy import Cursor, ShortError, Unit, checked, instant
from protocols.template.declaration import DATA, LOGIN, MARKER, crc

_FIELDS = (
    ("time", 4, False), ("latitude", 4, True), ("longitude", 4, True), ("altitude", 2, True), ("speed", 1, False),
    ("course", 2, False), ("satellites", 1, False), ("external", 2, False), ("status", 1, False),
)  # fmt: skip


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes."""
    del udp
    at = 0
    while at < len(data):
        unit = _unit(data, at)
        yield unit
        at += unit.size


def _unit(data: bytes, at: int) -> Unit:
    cursor = Cursor(data, at)
    kind = "unreadable"
    try:
        if data[at : at + 2] != MARKER:
            raise ShortError
        cursor.take(2, "marker", "TP")
        packet = cursor.number(1, "kind")
        if packet == LOGIN:
            imei = cursor.take(cursor.number(1, "size"), "imei")
            cursor.say(imei.decode("ascii", "backslashreplace"))
            kind = "login"
        elif packet == DATA:
            for number in range(1, cursor.number(1, "count") + 1):
                for name, size, signed in _FIELDS:
                    value = cursor.number(size, f"record.{number}.{name}", little=True, signed=signed)
                    if name == "time":
                        cursor.say(instant(value))
            kind = "frame"
        else:
            raise ShortError
        end = cursor.at
        found = cursor.number(2, "crc", little=True)
        cursor.say(checked(found, int.from_bytes(crc(data[at:end]), "little")))
    except ShortError:
        cursor.rest()
        kind = "unreadable"
    return Unit(kind, cursor.spans)
