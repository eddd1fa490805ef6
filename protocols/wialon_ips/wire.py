"""What a Wialon IPS line is made of: type, body, checksum, members of a black box.

    # TYPE # body CR LF                     1.1
    # TYPE # body; CRC CR LF                2.x; a black box closes its last member with `|`

The checksum (CRC-16/ARC, four hex digits) covers the body with its closing `;` or `|`.
Source: Gurtam, "Wialon IPS v.1.1" and "Wialon IPS v.2.0".
"""

from __future__ import annotations

import re

import fastcrc

V1, V2 = 1, 2  # `Frame.variant`: does the line end with a checksum

MAX_LINE = 1 << 20  # a black box of 5000 messages of some 180 bytes is 0.9 MB
MAX_MEMBERS = 5000  # messages in one black box (v.2.0)
MAX_PARAMS = 200  # a server keeps no more of one message (v.2.0)
MAX_NAME = 38  # characters of a parameter's name (v.2.0)
MAX_TEXT = 1344  # characters of a text parameter (v.2.0)
MAX_ADC = 256  # no terminal has more; bounds what one message may invent

STRUCTURE_CODE = "-1"

# `0x`, lower case and missing leading zeros are all seen in the field.
_CHECKSUM = re.compile(rb"(?:0[xX])?([0-9A-Fa-f]{1,4})")


def crc16(data: bytes, start: int = 0) -> int:
    """CRC-16/ARC of `data`; `start` continues an earlier one."""
    value: int = fastcrc.crc16.arc(data, start)
    return value


def checksum_value(text: bytes) -> int | None:
    """The checksum a line carries, None if it is not one."""
    found = _CHECKSUM.fullmatch(text)
    return int(found[1], 16) if found else None


def split_checksum(body: bytes, separator: bytes = b";") -> tuple[bytes, bytes]:
    """A 2.x body as (what the checksum covers, checksum text)."""
    at = body.rfind(separator) + 1
    return body[:at], body[at:]


def checksum_holds(body: bytes, separator: bytes = b";") -> bool:
    """Whether a 2.x body ends with the right checksum."""
    at = body.rfind(separator) + 1
    value = crc16(body[:at])
    return body[at:] == b"%04X" % value or checksum_value(body[at:]) == value


def split_line(line: bytes) -> tuple[bytes, bytes] | None:
    """``#TYPE#body`` as (type, body); None if the second ``#`` is missing."""
    at = line.find(b"#", 1)
    return (line[1:at], line[at + 1 :]) if at > 0 else None


def count_members(body: bytes, variant: int) -> int:
    """How many messages a black box holds."""
    bars = body.count(b"|")
    if variant != V1:
        return bars  # each message, the last one too, is closed by a bar
    return bars if not body or body.endswith(b"|") else bars + 1


def members(body: bytes, variant: int) -> list[bytes]:
    """The messages of a black box, without the checksum."""
    if variant != V1:
        body = split_checksum(body, b"|")[0]
    parts = body.split(b"|")
    if not parts[-1]:
        parts.pop()
    return parts


def text_of(data: bytes) -> str:
    """Text as terminals send it: UTF-8, else the Cyrillic code page; never an error."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1251", "replace")
