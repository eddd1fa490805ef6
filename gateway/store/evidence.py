"""What is kept beside records, quarantine and messages, to PostgreSQL's binary COPY format.

Both go through a staging table of the connection, since a resend must not be kept twice and COPY knows no conflict.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.store.copy import EPOCH, HEADER, TRAILER

STAGING = (
    "CREATE TEMP TABLE staged_quarantine (place int4, received timestamptz, terminal text, protocol text, reason text, "
    "variant int2, digest bytea, data bytea) ON COMMIT DELETE ROWS",
    "CREATE TEMP TABLE staged_message (place int4, received timestamptz, terminal text, protocol text, kind text, "
    "body text, digest bytea, data bytea) ON COMMIT DELETE ROWS",
)
# In the order they came: frames of a terminal that is registered later are decoded in that order.
KEEP_QUARANTINE = (
    "INSERT INTO quarantine (received, terminal, protocol, reason, variant, digest, data) "
    "SELECT received, terminal, protocol, reason, variant, digest, data FROM staged_quarantine ORDER BY place "
    "ON CONFLICT DO NOTHING"
)
KEEP_MESSAGES = (
    "INSERT INTO message (received, terminal, protocol, kind, body, digest, data) "
    "SELECT received, terminal, protocol, kind, body, digest, data FROM staged_message ORDER BY place "
    "ON CONFLICT DO NOTHING"
)
_ROWS = 128  # in one piece: a quarter of a millisecond, so that others have the loop in between
_COLUMNS = struct.Struct(">h")
_INT2, _INT4, _INT8 = struct.Struct(">ih").pack, struct.Struct(">ii").pack, struct.Struct(">iq").pack
_LENGTH = struct.Struct(">i").pack
_NULL = _LENGTH(-1)


@dataclass(slots=True)
class Kept:
    """Raw bytes for quarantine, or a message; `received` is µs since the Unix epoch."""

    terminal: str
    protocol: str
    received: int
    data: bytes
    reason: str = ""
    variant: int = 0
    text: str | None = None


def quarantine_pieces(kept: Sequence[Kept]) -> Iterator[bytes]:
    """The COPY stream of `staged_quarantine`, in pieces."""
    return _pieces(
        kept,
        lambda k: [_text(k.reason), _INT2(2, k.variant), _bytes(digest(k)), _bytes(k.data)],
    )


def message_pieces(kept: Sequence[Kept]) -> Iterator[bytes]:
    """The COPY stream of `staged_message`, in pieces."""
    return _pieces(
        kept,
        lambda k: [
            _text(k.reason),
            _NULL if k.text is None else _text(k.text),
            _bytes(digest(k, k.received)),
            _bytes(k.data),
        ],
    )


def _pieces(kept: Sequence[Kept], rest: Callable[[Kept], list[bytes]]) -> Iterator[bytes]:
    yield HEADER
    for first in range(0, len(kept), _ROWS):
        parts: list[bytes] = []
        for place, one in enumerate(kept[first : first + _ROWS], first):
            parts += [
                _COLUMNS.pack(8), _INT4(4, place), _INT8(8, one.received - EPOCH), _text(one.terminal),
                _text(one.protocol), *rest(one),
            ]  # fmt: skip
        yield b"".join(parts)
    yield TRAILER


def _bytes(data: bytes) -> bytes:
    return _LENGTH(len(data)) + data


def _text(text: str) -> bytes:
    """PostgreSQL's text cannot hold U+0000, nor lone surrogates."""
    return _bytes(text.replace("\0", "").encode("utf-8", "replace"))


def digest(kept: Kept, received: int = 0) -> bytes:
    """Tells a resend: the same bytes of the same terminal are kept once (messages: once for each arrival)."""
    head = f"{kept.terminal}\0{kept.protocol}\0{kept.reason}\0{received}\0".encode()
    return hashlib.blake2b(head + kept.data, digest_size=16).digest()
