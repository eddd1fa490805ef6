"""Builders of whole packets and the terminal's view of the answers: for the simulator and the tests."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from protocols.wialon_ips.wire import V1, V2, crc16

CRLF = b"\r\n"


def login(terminal: str, password: str | None = None, *, version: str = "1.1") -> bytes:
    """``#L#``; any version but 1.1 is sent in front and closed by a checksum."""
    password = password or "NA"
    if version == "1.1":
        return f"#L#{terminal};{password}".encode() + CRLF
    return _sealed("L", f"{version};{terminal};{password};".encode())


def short(message: str, variant: int = V2) -> bytes:
    """``#SD#`` of a message of ten fields."""
    return _packet("SD", message, variant)


def long(message: str, variant: int = V2) -> bytes:
    """``#D#`` of a message of sixteen fields."""
    return _packet("D", message, variant)


def black_box(messages: Sequence[str], variant: int = V2) -> bytes:
    """``#B#`` of short and long messages."""
    if variant == V1:
        return b"#B#" + "|".join(messages).encode() + CRLF
    return _sealed("B", "".join(f"{message}|" for message in messages).encode())


def ping() -> bytes:
    """``#P#``: no checksum in any version."""
    return b"#P#" + CRLF


def driver_message(text: str, variant: int = V2) -> bytes:
    """``#M#`` with the driver's words."""
    return _packet("M", text, variant)


def picture_block(block: bytes, index: int, last: int, name: str, *, stamp: str, variant: int = V2) -> bytes:
    """``#I#`` and its bytes; `last` is the index of the last block, `stamp` is ``DDMMYY;HHMMSS``."""
    head = f"#I#{len(block)};{index};{last};{stamp};{name}".encode()
    if variant != V1:
        head += b";%04X" % crc16(block)
    return head + CRLF + block


def datagram(terminal: str, packet: bytes, *, version: str = "1.1") -> bytes:
    """A packet behind the prefix that names its sender over UDP."""
    return (terminal if version == "1.1" else f"{version};{terminal}").encode() + packet


def compressed(packet: bytes) -> bytes:
    """A packet in the 0xFF container."""
    block = zlib.compress(packet)
    return b"\xff" + len(block).to_bytes(2, "little") + block


def _packet(kind: str, body: str, variant: int) -> bytes:
    if variant == V1:
        return f"#{kind}#{body}".encode() + CRLF
    return _sealed(kind, f"{body};".encode())


def _sealed(kind: str, covered: bytes) -> bytes:
    return b"#%s#%s%04X\r\n" % (kind.encode(), covered, crc16(covered))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to a packet of `kind`: ``Answer("B", "3")`` is ``#AB#3``."""

    kind: str
    body: str

    def releases(self) -> int:
        """How many messages the terminal may forget: the count of a black box, 1 for code 1, else 0."""
        if self.kind == "B":
            return int(self.body) if self.body.isascii() and self.body.isdigit() else 0
        return int(self.body == "1")


def read_answers(buffer: bytes) -> tuple[list[Answer], bytes]:
    """Answers of the server in a byte stream, and the bytes of the one not yet complete.

    Lines that are no answer (commands, say) are passed over.
    """
    *lines, rest = buffer.split(CRLF)
    answers = []
    for line in lines:
        parts = line.decode("latin-1").split("#", 2)
        if len(parts) == 3 and not parts[0] and len(parts[1]) > 1 and parts[1].startswith("A"):
            answers.append(Answer(parts[1][1:], parts[2]))
    return answers, rest
