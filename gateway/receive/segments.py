"""The spool's files: entries, one behind the other, each with its length and checksum.

    segment  "dozor1\\n\\0" entry* end?
    entry    length u32 · CRC-32 of the body u32 · body (msgpack of `Entry`), little-endian
    end      "dozorend" · where it begins u64 · entries before it u64 · CRC-32 of these 24 bytes u32

The end is written behind a segment that is full, so that a start need not walk through it. Read as an entry it is one
whose length runs past the file, like a torn tail.

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
RAW = "raw: "
_HEAD = struct.Struct("<II")
_END = struct.Struct("<8sQQ")
_END_MARK = b"dozorend"
END_BYTES = _END.size + 4
_NAME = re.compile(r"[0-9]{8,18}\.spool")


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """A frame or message as it came: enough to send it through the ordinary pipeline later.

    `received` is µs since the Unix epoch; `records` as the frame claims; `kind` is set for messages only, and as `RAW`
    and the reason for what is kept as it came. What cannot be read has neither protocol nor terminal: its bytes are
    kept as they are.
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


def pack_end(size: int, count: int) -> bytes:
    """What stands behind a full segment of `size` bytes with `count` entries."""
    end = _END.pack(_END_MARK, size, count)
    return end + zlib.crc32(end).to_bytes(4, "little")


def read_end(tail: bytes, size: int) -> tuple[int, int] | None:
    """Entries and where the last ends, as `measure`, from the last bytes of a file of `size`; None if it has no end."""
    end = tail[-END_BYTES:-4]
    if len(end) != _END.size or zlib.crc32(end).to_bytes(4, "little") != tail[-4:]:
        return None
    mark, at, count = _END.unpack(end)
    return (count, at) if mark == _END_MARK and at + END_BYTES == size and count else None


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
