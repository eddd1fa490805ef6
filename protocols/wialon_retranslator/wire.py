"""Packets of Wialon Retranslator 1.0 as bytes: a size, whose it is, when, and blocks of named values.

    packet  size4 (little-endian, of what follows) | uid… 00 | time4 | flags4 | blocks
    block   0BBB | size4 (of what follows) | hidden | type | name… 00 | value

Source: Gurtam, Wialon Retranslator v1.0. The size and doubles are little-endian, all else is big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

BLOCK = 0x0BBB
TEXT, BINARY, INT, DOUBLE, LONG, PICTURE = 1, 2, 3, 4, 5, 6
SIZES = {INT: 4, DOUBLE: 8, LONG: 8}
POSITION, INPUTS, OUTPUTS, ALARM, DRIVER = 0x01, 0x02, 0x04, 0x10, 0x20  # flags
ACCEPTED = b"\x11"
MAX_PACKET = 1 << 20
MIN_SIZE = 14  # sizes below hold no identity, time and flags
MAX_UID = 64
POSINFO = struct.Struct("<dddhhB")  # its integers are big-endian: see `posinfo`
_BLOCK = struct.Struct(">HIBB")


class DamagedError(Exception):
    """Blocks that are none."""


class Block(NamedTuple):
    """Where one lies: `at` its head, `value` to `end` its value."""

    at: int
    hidden: int
    kind: int
    name: bytes
    value: int
    end: int


def blocks(data: bytes, at: int) -> Iterator[Block]:
    """Blocks up to the end of `data`.

    Raises
    ------
    DamagedError
        At the first that is none.
    """
    end = len(data)
    while at < end:
        if end - at < 8:
            raise DamagedError
        mark, size, hidden, kind = _BLOCK.unpack_from(data, at)
        stop = at + 6 + size
        name = data.find(0, at + 8, stop)
        if mark != BLOCK or size < 3 or stop > end or name < 0 or stop - name - 1 < SIZES.get(kind, 0):
            raise DamagedError
        yield Block(at, hidden, kind, data[at + 8 : name], name + 1, stop)
        at = stop


def block(name: str, kind: int, value: bytes, *, hidden: bool = False) -> bytes:
    """One block."""
    body = bytes((hidden, kind)) + name.encode("ascii") + b"\0" + value
    return BLOCK.to_bytes(2, "big") + len(body).to_bytes(4, "big") + body


def posinfo(lon: float, lat: float, altitude: float, speed: int, course: int, satellites: int) -> bytes:
    """The value of `posinfo`; longitude comes first."""
    return struct.pack("<ddd", lon, lat, altitude) + struct.pack(">hhB", speed, course, satellites)


def number(value: float | int) -> tuple[int, bytes]:
    """A number's type and value."""
    if isinstance(value, float):
        return DOUBLE, struct.pack("<d", value)
    if -(1 << 31) <= value < 1 << 31:
        return INT, value.to_bytes(4, "big", signed=True)
    return LONG, value.to_bytes(8, "big", signed=True)


def packet(uid: str, time: int, flags: int, content: Sequence[bytes]) -> bytes:
    """A whole packet of `content`, blocks."""
    body = uid.encode("ascii") + b"\0" + time.to_bytes(4, "big") + flags.to_bytes(4, "big") + b"".join(content)
    return len(body).to_bytes(4, "little") + body
