"""What a JT/T 808 frame is made of.

    7E | id 2 · properties 2 · [version 1] · phone 6 or 10 BCD · serial 2 · [total 2 · index 2] | body | xor 1 | 7E

Between the flags 7E is sent as 7D 02 and 7D as 7D 01, the checksum included: the XOR of header and body. Properties:
bits 0-9 the body's length, 10-12 encryption, 13 a package of several, 14 the header of 2019 (with a version, and a
phone number of ten bytes). All integers are big-endian, texts GBK.

A *package* is what stands between the flags, unescaped. `Frame.data` is one package, or all of one message end to end.
Source: JT/T 808-2019, JT/T 808-2011, JT/T 808-2013.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

FLAG, ESCAPE = 0x7E, 0x7D
MAX_BODY = 1023  # ten bits
MAX_PACKAGE = 21 + MAX_BODY + 1
MAX_ESCAPED = 2 * MAX_PACKAGE  # every byte of it escaped
SHORTEST = 13

REGISTER, AUTHENTICATE, HEARTBEAT, LOGOUT = 0x0100, 0x0102, 0x0002, 0x0003
REPLY, PLATFORM_REPLY, REGISTERED = 0x0001, 0x8001, 0x8100
TIME, TIME_ANSWER, MISSING = 0x0004, 0x8004, 0x8003
LOCATION, LOCATION_ANSWER, BATCH = 0x0200, 0x0201, 0x0704
MEDIA, MEDIA_ANSWER = 0x0801, 0x8800
PARAMETERS, ATTRIBUTES = 0x0104, 0x0107
SET_PARAMETERS, ASK_PARAMETERS, CONTROL, ASK_SOME, ASK_ATTRIBUTES = 0x8103, 0x8104, 0x8105, 0x8106, 0x8107
ASK_LOCATION, TEXT = 0x8201, 0x8300

SUCCESS, FAILURE, WRONG, UNSUPPORTED = 0, 1, 2, 3  # results of a general reply

_TWO = struct.Struct(">HH").pack
_ENCRYPTED, _SEVERAL, _V2019 = 0x1C00, 0x2000, 0x4000


class Head(NamedTuple):
    """A package's header.

    Attributes
    ----------
    version : 0 before 2019, from then on the header's own, 1 for the edition of 2019.
    phone : its bytes.
    total, number : of the packages of one message; 1 and 1 where there are no more.
    start : where the body begins.
    length : of the body, as the header says.
    """

    id: int
    version: int
    new: bool
    encrypted: bool
    phone: bytes
    serial: int
    several: bool
    total: int
    number: int
    start: int
    length: int

    @property
    def size(self) -> int:
        """Bytes of the whole package, by its header."""
        return self.start + self.length + 1


def head_of(data: bytes | memoryview, at: int = 0) -> Head | None:
    """The header at `at`; None if it is cut."""
    if len(data) - at < SHORTEST:
        return None
    properties = data[at + 2] << 8 | data[at + 3]
    new, several = bool(properties & _V2019), bool(properties & _SEVERAL)
    phone = at + (5 if new else 4)
    serial = phone + (10 if new else 6)
    start = serial + (6 if several else 2)
    if start >= len(data):
        return None
    return Head(
        data[at] << 8 | data[at + 1],
        data[at + 4] if new else 0,
        new,
        bool(properties & _ENCRYPTED),
        bytes(data[phone:serial]),
        data[serial] << 8 | data[serial + 1],
        several,
        data[serial + 2] << 8 | data[serial + 3] if several else 1,
        data[serial + 4] << 8 | data[serial + 5] if several else 1,
        start - at,
        properties & MAX_BODY,
    )


def packages(data: bytes) -> list[tuple[Head, bytes]] | None:
    """The packages of a frame, header and body of each; None unless they fill it."""
    found, at = [], 0
    while at < len(data):
        head = head_of(data, at)
        if head is None or at + head.size > len(data):
            return None
        found.append((head, data[at + head.start : at + head.start + head.length]))
        at += head.size
    return found or None


# (bits, their mask) of halves: 512 bytes, 256 … 1.
_HALVES = [(8 << n, (1 << (8 << n)) - 1) for n in range(9, -1, -1)]


def xor(data: bytes | memoryview) -> int:
    """The checksum: one half of the bytes upon the other, until one is left; a loop takes ten times as long."""
    value, size = int.from_bytes(data, "big"), len(data)
    if size <= 64:  # what is above the half is not looked at again
        value ^= value >> 256
        value ^= value >> 128
        value ^= value >> 64
        value ^= value >> 32
        value ^= value >> 16
        return (value ^ value >> 8) & 0xFF
    while size > 1024:
        size = (size + 1) // 2
        value = value >> 8 * size ^ value & (1 << 8 * size) - 1
    if size > 1:
        for bits, mask in _HALVES[-(size - 1).bit_length() :]:
            value = value >> bits ^ value & mask
    return value


def escape(package: bytes) -> bytes:
    """A package with its flags, as it is sent."""
    if ESCAPE in package:
        package = package.replace(b"\x7d", b"\x7d\x01")
    if FLAG in package:
        package = package.replace(b"\x7e", b"\x7d\x02")
    return b"\x7e" + package + b"\x7e"


def unescape(data: bytes) -> bytes | None:
    """What was escaped; None where 7D stands before anything but 01 and 02."""
    if ESCAPE not in data:
        return data
    if data.count(b"\x7d") != data.count(b"\x7d\x01") + data.count(b"\x7d\x02"):
        return None
    return data.replace(b"\x7d\x02", b"\x7e").replace(b"\x7d\x01", b"\x7d")


def package(  # the header's fields
    message: int, phone: bytes, serial: int, body: bytes = b"", *, version: int = 0, total: int = 0, index: int = 0
) -> bytes:
    """Header, body and checksum; a header of 2019 where there is a version."""
    properties = len(body) | (_V2019 if version else 0) | (_SEVERAL if total else 0)
    head = _TWO(message, properties)
    head += (bytes((version,)) if version else b"") + phone + serial.to_bytes(2, "big")
    if total:
        head += _TWO(total, index)
    whole = head + body
    return whole + bytes((xor(whole),))


def identity_of(phone: bytes) -> str:
    """Digits where it is digits, as the standard wants it; else its bytes, as some makers pack an IMEI into it."""
    return phone.hex()


def phone_of(identity: str, *, new: bool = False) -> bytes:
    """The bytes of a phone number, padded with zeros.

    Raises
    ------
    ValueError
        If it is none.
    """
    return bytes.fromhex(identity.rjust(20 if new else 12, "0"))


def gbk(data: bytes) -> str:
    """Text as terminals send it, without what pads it."""
    return data.rstrip(b"\0").decode("gbk", "replace")


def printable(data: bytes) -> str | None:
    """A short text of one line; None where it is none."""
    text = gbk(data).strip("\0 ")
    return text[:64] if text and text.isprintable() else None
