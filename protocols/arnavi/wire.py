"""Packages and answers as bytes, and where records lie in a package: every length is checked, nothing is read."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

HEADER, PACKAGE, PACKAGE_END = 0xFF, 0x5B, 0x5D
ANSWER, ANSWER_END = 0x7B, 0x7D
PING, DATA, TEXT, FILE, BINARY = 0x00, 0x01, 0x03, 0x04, 0x06
KINDS = (PING, DATA, TEXT, FILE, BINARY)
RESULT = 0xFD  # the number of a package that answers a command
RECORD_HEAD = 7  # kind, length, time
MAX_DATA = 4096  # bytes of one record
_SUMMED = 256  # bytes whose sum Adler-32 holds as it is
HEADER_SIZES = {0x22: 10, 0x23: 10, 0x24: 18, 0x25: 10}  # by version
TIMED = (0x23, 0x25)  # versions whose answer tells the time


class Record(NamedTuple):
    """One record of a package: `start` of its kind, `end` behind its checksum."""

    kind: int
    start: int
    end: int


def total(data: bytes | bytearray) -> int:
    """The checksum: a sum of bytes."""
    if len(data) <= _SUMMED:
        return zlib.adler32(data) - 1 & 0xFF
    return sum(data) & 0xFF


def answer(number: int, data: bytes = b"") -> bytes:
    """What the server says; without `data` there is no checksum."""
    if not data:
        return b"%c\0%c%c" % (ANSWER, number, ANSWER_END)
    body = bytes((total(data),)) + data
    return bytes((ANSWER, len(data), number)) + body + bytes((ANSWER_END,))


def records(data: bytes | bytearray, at: int, end: int) -> Iterator[Record]:
    """The records of a package from `at` on, up to its end sign or to where the bytes end.

    Raises
    ------
    ValueError
        At a kind that there is not, or a length beyond `MAX_DATA`.
    """
    while at < end and data[at] != PACKAGE_END:
        if data[at] not in KINDS:
            raise ValueError(f"a record of kind {data[at]:02x}")
        if at + 3 > end:
            return
        size = data[at + 1] | data[at + 2] << 8
        if size > MAX_DATA:
            raise ValueError(f"a record of {size} bytes")
        stop = at + RECORD_HEAD + size + 1
        if stop > end:
            return
        yield Record(data[at], at, stop)
        at = stop
