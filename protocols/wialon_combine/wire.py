"""Packets of Wialon Combine as bytes: extensible integers, the frame around them, what the server says.

    terminal  24 24 | type ext1 | number2 | length ext2 | data | crc2     (a sign of life, type 2, ends with its number)
    server    40 40 | code | number2
    command   40 40 FF | length ext2 | time4 | type ext1 (0 text) | text | crc2

Source: Vega MT, description of exchange protocols, Combine 1.0.3. All is big-endian. An extensible integer of n bytes
takes 2n where its top bit is set, which is not part of it.
"""

from __future__ import annotations

import fastcrc

HEAD = b"$$"
ANSWER = b"@@"
LOGIN, DATA, ALIVE = 0, 1, 2
ACCEPTED, DENIED, PASSWORD, NOT_STORED, CHECKSUM, COMMAND = 0, 1, 2, 3, 4, 255
PARAMETERS, POSITION, IO, PICTURE, CELLS, MESSAGE = 0, 1, 2, 3, 4, 12
LISTS = (PARAMETERS, 5, 6, 7, 8, 9, 10)  # kinds that hold numbered values
MAX_DATA = 1 << 20
SIGN_OF_LIFE = 5  # bytes
SIZES = {0: 1, 1: 2, 2: 4, 3: 8, 4: 1, 5: 4, 6: 2, 7: 8, 8: 4, 9: 8}  # of value types
FORMATS = {0: "u1", 1: ">u2", 2: ">u4", 3: ">u8", 4: "i1", 5: ">i4", 6: ">i2", 7: ">i8", 8: ">f4", 9: ">f8"}
TEXT = 10

crc16 = fastcrc.crc16.arc


def ext(data: bytes, at: int, size: int) -> tuple[int, int]:
    """An extensible integer of `size` bytes, and where it ends.

    Raises
    ------
    IndexError
        If it ends beyond `data`.
    """
    if data[at] & 0x80:
        size *= 2
    if at + size > len(data):
        raise IndexError
    value = int.from_bytes(data[at : at + size], "big")
    return (value & (1 << 8 * size - 1) - 1 if data[at] & 0x80 else value), at + size


def put(value: int, size: int) -> bytes:
    """An extensible integer."""
    if value < 1 << 8 * size - 1:
        return value.to_bytes(size, "big")
    return (value | 1 << 16 * size - 1).to_bytes(2 * size, "big")


def packet(kind: int, number: int, data: bytes) -> bytes:
    """A terminal's packet."""
    body = HEAD + put(kind, 1) + number.to_bytes(2, "big")
    if kind == ALIVE:
        return body
    body += put(len(data), 2) + data
    return body + crc16(body).to_bytes(2, "big")


def answer(code: int, number: int) -> bytes:
    """What the server says to a packet."""
    return ANSWER + bytes((code,)) + number.to_bytes(2, "big")


def command(text: str, time: int) -> bytes:
    """A command of the server; its text ends in a line feed, by which terminals find its end."""
    body = time.to_bytes(4, "big") + put(0, 1) + text.encode("utf-8") + b"\n"
    told = ANSWER + bytes((COMMAND,)) + put(len(body), 2) + body
    return told + crc16(told).to_bytes(2, "big")


def span(packet: bytes) -> tuple[int, int]:
    """Where the data of a whole packet lies."""
    _, at = ext(packet, 2, 1)
    size, at = ext(packet, at + 2, 2)
    return at, at + size
