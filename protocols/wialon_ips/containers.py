"""The compressed container: 0xFF, length (uint16, little-endian), zlib stream of exactly one text packet."""

from __future__ import annotations

import zlib

MARK = 0xFF
HEADER = 3


def inflate(block: bytes, max_line: int) -> tuple[bytes, str]:
    """The packet without its line end, or empty and the reason (`length`, `structure`) it is none.

    Never unpacks more than the longest line allowed, so a bomb costs no more than a long line.
    """
    limit = max_line + 3  # with its line end, the longest line is shorter
    stream = zlib.decompressobj()
    try:
        line = stream.decompress(block, limit)
    except zlib.error:
        return b"", "structure"
    if len(line) >= limit:
        return b"", "length"
    if not stream.eof or stream.unused_data:
        return b"", "structure"
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    if not line or b"\r\n" in line or line[0] == MARK:
        return b"", "structure"
    return (b"", "length") if len(line) > max_line else (line, "")
