"""Blocks of pictures (`I`) and tachograph files (`T`): refused, their bytes dropped as they come.

#I#size;index;last;date;time;name[;CRC] CR LF size bytes        CRC over the bytes
#T#code;size;index[;CRC] CR LF size bytes
"""

from __future__ import annotations

import re

from protocols.wialon_ips.wire import V1, checksum_value, crc16

MAX_BLOCK = 512 << 10  # ten times what the manual recommends

_NUMBER = re.compile(rb"[0-9]{1,9}")


class Block:
    """A block on its way: counts and checks its bytes, keeps none."""

    __slots__ = ("_checksum", "_expected", "_wrong", "index", "kind", "missing", "offset")

    def __init__(self, kind: str, size: int, index: int, offset: int, *, expected: int | None, wrong: str) -> None:
        self.kind = kind
        self.missing = size
        self.index = index
        self.offset = offset
        self._checksum = 0
        self._expected = expected  # None: the version has no checksum
        self._wrong = wrong

    def take(self, data: memoryview) -> int:
        """Drop what belongs to the block; how many bytes that was."""
        part = bytes(data[: self.missing])
        if self._expected is not None:
            self._checksum = crc16(part, self._checksum)
        self.missing -= len(part)
        return len(part)

    def outcome(self) -> tuple[str, bytes]:
        """Why it is refused and what the terminal is told: 01 asks for it again, 0 does not."""
        if self._expected is not None and self._expected != self._checksum:
            return "checksum", f"#A{self.kind}#{self.index};01\r\n".encode()
        return self._wrong, f"#A{self.kind}#{self.index};0\r\n".encode()


def read_block(kind: bytes, body: bytes, variant: int, offset: int) -> Block | tuple[str, bytes]:
    """The head of a block, or (reason, reply) if it cannot be one."""
    fields = body.split(b";")
    name = kind.decode("ascii")
    expected: int | None = None
    plain = 6 if name == "I" else 3
    if variant != V1:
        # A missing or unreadable checksum is one that never holds.
        value = checksum_value(fields[plain]) if len(fields) == plain + 1 else None
        expected = -1 if value is None else value
        fields = fields[:plain] if len(fields) == plain + 1 else fields
    numbers = fields[:3] if name == "I" else [*fields[1:3], b"0"]
    if len(fields) != plain or not all(_NUMBER.fullmatch(text) for text in numbers):
        return "structure", f"#A{name}#NA;0\r\n".encode()
    size, index, last = (int(text) for text in numbers)
    if size > MAX_BLOCK:
        return "length", f"#A{name}#NA;0\r\n".encode()
    wrong = "structure" if name == "I" and index > last else "unsupported"
    return Block(name, size, index, offset, expected=expected, wrong=wrong)
