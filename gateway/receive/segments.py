"""The spool's files: entries, one behind the other, each with its length and checksum.

    segment  "dozor1\\n\\0" entry*
    entry    length u32 · CRC-32 of the body u32 · body (msgpack of `Entry`), little-endian

A damaged entry costs none of those behind it. Damage at the very end, or zeros where a file system lost the contents,
is a torn tail: it was never acknowledged.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence

import msgspec

MAGIC = b"dozor1\n\0"
_HEAD = struct.Struct("<II")
_NAME = re.compile(r"[0-9]{8,18}\.spool", re.ASCII)


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """A frame or message as it came: enough to send it through the ordinary pipeline later.

    `received` is µs since the Unix epoch; `records` as the frame claims; `kind` is set for messages only. What cannot
    be read has neither protocol nor terminal: its bytes are kept as they are.
    """

    protocol: str
    terminal: str
    received: int
    data: bytes
    variant: int = 0
    records: int = 1
    kind: str | None = None
    text: str | None = None


def segment_name(number: int) -> str:
    """The file of segment `number`."""
    return f"{number:08d}.spool"


def segment_number(name: str) -> int | None:
    """The number of a segment's file; None for any other file."""
    return int(name.removesuffix(".spool")) if _NAME.fullmatch(name) else None


def pack(entries: Sequence[Entry]) -> bytes:
    """Entries as they lie in a segment."""
    parts = []
    for entry in entries:
        body = msgspec.msgpack.encode(entry)
        parts += [_HEAD.pack(len(body), zlib.crc32(body)), body]
    return b"".join(parts)


def measure(data: bytes) -> tuple[int, int]:
    """How many entries a segment holds, unreadable ones between readable ones included, and where the last ends."""
    count, good = 0, len(MAGIC)
    for _, end, _ in _runs(data, good):
        count, good = count + 1, end
    return count, good


def unpack(data: bytes, at: int, limit: int) -> tuple[list[Entry], list[int]]:
    """Up to `limit` entries from offset `at`, and where each ends."""
    entries: list[Entry] = []
    ends: list[int] = []
    if limit <= 0:
        return entries, ends
    for start, end, whole in _runs(data, at):
        entries.append(_entry(data[start + _HEAD.size : end]) if whole else _unreadable(data[start:end]))
        ends.append(end)
        if len(entries) == limit:
            break
    return entries, ends


def _entry(body: bytes) -> Entry:
    try:
        entry = msgspec.msgpack.decode(body, type=Entry)
    except msgspec.MsgspecError:  # written by another version
        return _unreadable(body)
    return entry if 0 <= entry.received < 1 << 62 else _unreadable(body)


def _unreadable(data: bytes) -> Entry:
    return Entry("", "", 0, data)


def _runs(data: bytes, at: int) -> Iterator[tuple[int, int, bool]]:
    """(start, end, whole) of each entry; damaged ones only where a whole one is found behind them.

    Lengths lead from one to the next. Nothing is searched for in between: bodies hold what strangers sent.
    """
    view = memoryview(data)
    damaged: list[tuple[int, int, bool]] = []
    while at + _HEAD.size < len(data):
        size, checksum = _HEAD.unpack_from(data, at)
        start, body, at = at, at + _HEAD.size, at + _HEAD.size + size
        if not size or at > len(data):
            return
        if zlib.crc32(view[body:at]) != checksum:
            damaged.append((start, at, False))
            continue
        if damaged:
            yield from damaged
            damaged.clear()
        yield start, at, True
