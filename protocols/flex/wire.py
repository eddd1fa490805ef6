"""NTCB messages and FLEX words as bytes."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

import fastcrc

PREAMBLE = b"@NTC"
HEADER = 16
PROTOCOL = 0xB0
VERSIONS = (0x0A, 0x14, 0x1E)  # FLEX 1.0, 2.0, 3.0

_HEAD = struct.Struct("<4sIIHB")
_crc = fastcrc.crc8.nrsc_5


def xor(data: bytes) -> int:
    """The sums of NTCB."""
    total = 0
    for byte in data:
        total ^= byte
    return total


def ntcb(body: bytes, receiver: int = 1, sender: int = 0) -> bytes:
    """A message with its header; the answer to one has both ids the other way round."""
    head = _HEAD.pack(PREAMBLE, receiver, sender, len(body), xor(body))
    return head + bytes((xor(head),)) + body


def sealed(data: bytes) -> bytes:
    """A FLEX word and its checksum."""
    return data + bytes((_crc(data),))


def whole(data: bytes) -> bool:
    """Whether the checksum of a FLEX word is right."""
    return bool(_crc(data[:-1]) == data[-1])


class Selection(NamedTuple):
    """What was agreed upon: how records are cut. `short`: field 100 is of one byte."""

    bits: int
    mask: bytes
    short: bool = False

    @property
    def prefix(self) -> bytes:
        """In front of each frame's bytes: nothing else tells how they are to be read."""
        return bytes((self.short, self.bits)) + self.mask


def unprefixed(data: bytes) -> tuple[Selection, int] | None:
    """The agreement in front of a frame's bytes, and where those begin; None: there is none."""
    if len(data) < 2 or data[0] > 1 or not data[1]:
        return None
    end = 2 + (data[1] + 7) // 8
    return (_selection(data[:end]), end) if len(data) > end else None


@lru_cache(1024)
def _selection(prefix: bytes) -> Selection:
    return Selection(prefix[1], prefix[2:], bool(prefix[0]))
