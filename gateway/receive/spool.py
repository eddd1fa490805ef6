"""Disk when the store is away: append-only segments, acknowledged after fsync, drained in order, deleted after.

    segment  "dozor1\\n\\0" entry*                      00000001.spool, 00000002.spool, … up to `SEGMENT_BYTES` each
    entry    length u32 · CRC-32 of the body u32 · body (msgpack of `Entry`), little-endian

Entries that come while an fsync runs share the next one. A start cuts a torn tail: what was not fsynced was not
acknowledged. Draining is at-least-once: one that was cut is repeated, and the store's unique keys make each row one.
"""

from __future__ import annotations

import asyncio
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

_log = structlog.get_logger()

MAGIC = b"dozor1\n\0"
SEGMENT_BYTES = 16 << 20
_HEAD = struct.Struct("<II")
_SUFFIX = ".spool"


class SpoolFullError(Exception):
    """The spool has reached `max_size`: nothing more is acknowledged until it is drained."""


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """A frame or message as it came: enough to send it through the ordinary pipeline later.

    `received` is µs since the Unix epoch; `records` as the frame claims; `kind` is set for messages only.
    """

    protocol: str
    terminal: str
    received: int
    data: bytes
    variant: int = 0
    records: int = 1
    kind: str | None = None
    text: str | None = None


class Disk(Protocol):
    """The few things the spool asks of a disk; the tests' double fails on request."""

    async def list(self) -> list[str]:
        """Names of the files there are."""

    async def read(self, name: str) -> bytes:
        """All of a file."""

    async def append(self, name: str, data: bytes) -> None:
        """Write at the end of a file, made if missing, and fsync it (and its directory when it was made)."""

    async def truncate(self, name: str, size: int) -> None:
        """Cut a file and fsync it."""

    async def remove(self, name: str) -> None:
        """Delete a file."""


class Directory:
    """A real directory; every call runs in a thread, so that a slow disk stalls nobody else."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def list(self) -> list[str]:
        """Names of the files there are; the directory is made if missing."""

        def listed() -> list[str]:
            self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
            return sorted(p.name for p in self._path.iterdir() if p.is_file())

        return await asyncio.to_thread(listed)

    async def read(self, name: str) -> bytes:
        """All of a file."""
        return await asyncio.to_thread((self._path / name).read_bytes)

    async def append(self, name: str, data: bytes) -> None:
        """Write at the end and fsync."""
        await asyncio.to_thread(self._append, name, data)

    def _append(self, name: str, data: bytes) -> None:
        path = self._path / name
        fresh = not path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if fresh:
            self._sync_directory()

    async def truncate(self, name: str, size: int) -> None:
        """Cut a file and fsync it."""

        def cut() -> None:
            with (self._path / name).open("r+b") as file:
                file.truncate(size)
                os.fsync(file.fileno())

        await asyncio.to_thread(cut)

    async def remove(self, name: str) -> None:
        """Delete a file."""
        await asyncio.to_thread((self._path / name).unlink, True)

    def _sync_directory(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Spool:
    """Append, read in order, delete what was drained.

    Attributes
    ----------
    bytes, frames : what waits, for the metrics.
    """

    def __init__(self, disk: Disk, max_size: int) -> None:
        self._disk = disk
        self._max_size = max_size
        self._segments: dict[str, tuple[int, int]] = {}  # name -> bytes, entries not yet drained
        self._current = ""
        self._next = 1
        self._drained = 0  # entries of the oldest segment that are in the store already
        self._at = len(MAGIC)  # where the first that is not begins
        self._ends: list[int] = []  # where the entries of the last `oldest` end
        self._cached: tuple[str, bytes] = ("", b"")
        self._waiting: list[tuple[bytes, int, asyncio.Future[None]]] = []
        self._writing = 0  # bytes on their way to the disk
        self._litter: list[str] = []  # files of which nothing is needed, that could not be deleted yet
        self._writer: asyncio.Task[None] | None = None
        self.bytes = 0
        self.frames = 0

    async def open(self) -> None:
        """Find what an earlier run left; a torn tail is cut."""
        for name in await self._disk.list():
            if not name.endswith(_SUFFIX):
                continue
            data = await self._disk.read(name)
            count, good = _walk(data)
            if good < len(data):
                _log.warning("spool: torn tail cut", segment=name, at=good, bytes=len(data) - good)
                await self._disk.truncate(name, good)
            self._next = max(self._next, int(name.removesuffix(_SUFFIX)) + 1)
            if not count:
                await self._disk.remove(name)
                continue
            self._segments[name] = (good, count)
            self.bytes += good
            self.frames += count

    @property
    def full(self) -> bool:
        """Whether there is no room left."""
        return self.bytes >= self._max_size

    async def append(self, entries: Sequence[Entry]) -> None:
        """Keep `entries`; they survive everything once this returns.

        Raises
        ------
        SpoolFullError
            If they do not fit.
        OSError
            If the disk refuses; nothing of them counts as kept.
        """
        data = b"".join(map(_pack, entries))
        coming = self._writing + sum(len(d) for d, _, _ in self._waiting)
        if self.bytes + coming + len(data) + len(MAGIC) > self._max_size:  # it may begin a segment
            raise SpoolFullError
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((data, len(entries), done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write())
        await done

    async def _write(self) -> None:
        """One write and fsync for all that wait."""
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            data = b"".join(data for data, _, _ in waiting)
            count = sum(count for _, count, _ in waiting)
            name = self._current
            if not name or self._segments.get(name, (SEGMENT_BYTES, 0))[0] + len(data) > SEGMENT_BYTES:
                name, data = f"{self._next:08d}{_SUFFIX}", MAGIC + data
                self._next += 1
            self._writing = len(data)
            try:
                await self._disk.append(name, data)
            except BaseException as error:
                # How much arrived is unknown: nothing more is written behind it, a start cuts the torn tail.
                self._current = ""
                if name not in self._segments:
                    self._litter.append(name)
                for _, _, done in waiting:
                    if not done.done():
                        done.set_exception(error if isinstance(error, OSError) else OSError(repr(error)))
                if not isinstance(error, OSError):
                    raise
                continue
            finally:
                self._writing = 0
            self._current = name
            size, held = self._segments.get(name, (0, 0))
            self._segments[name] = (size + len(data), held + count)
            self.bytes += len(data)
            self.frames += count
            for _, _, done in waiting:
                if not done.done():
                    done.set_result(None)

    async def has_room(self) -> bool:
        """Whether the disk takes something now; tried, not guessed."""
        await self._clear()
        if self.full:
            return False
        try:
            await self._disk.append("probe", bytes(4096))
            await self._disk.remove("probe")
        except OSError:
            return False
        return True

    async def oldest(self, limit: int) -> list[Entry]:
        """The oldest entries that are not drained yet, at most `limit`, all of one segment."""
        while self._segments:
            name = next(iter(self._segments))
            size, held = self._segments[name]
            if self._cached[0] != name or len(self._cached[1]) < size:
                self._cached = (name, (await self._disk.read(name))[:size])
            entries, self._ends = _entries(self._cached[1], self._at, min(limit, held - self._drained))
            if entries:
                return entries
            await self._finish(name)
        return []

    async def drained(self, count: int) -> None:
        """The first `count` entries of the last `oldest` are in the store."""
        name = next(iter(self._segments))
        self._drained += count
        self._at = self._ends[count - 1]
        self.frames -= count
        if self._drained >= self._segments[name][1]:
            await self._finish(name)

    async def _finish(self, name: str) -> None:
        """Delete a segment of which nothing is left; nothing is appended to it any more."""
        if self._current == name:
            self._current = ""
        if self._writer is not None and not self._writer.done():
            await asyncio.wait([self._writer])
        size, held = self._segments[name]
        if self._drained < held:
            return  # something came in the meantime
        del self._segments[name]
        self._drained, self._at, self._cached = 0, len(MAGIC), ("", b"")
        self.bytes -= size
        self._litter.append(name)
        await self._clear()

    async def _clear(self) -> None:
        """Delete what is not needed; what the disk does not let go now is tried again later, or drained once more."""
        while self._litter:
            try:
                await self._disk.remove(self._litter[0])
            except OSError as error:
                _log.warning("spool: segment not deleted", segment=self._litter[0], error=str(error))
                return
            del self._litter[0]


def _pack(entry: Entry) -> bytes:
    body = msgspec.msgpack.encode(entry)
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _walk(data: bytes) -> tuple[int, int]:
    """How many whole entries there are, and where the first damaged or cut one begins."""
    if not data.startswith(MAGIC):
        return 0, 0
    count, at, view = 0, len(MAGIC), memoryview(data)
    while at + _HEAD.size <= len(data):
        size, checksum = _HEAD.unpack_from(data, at)
        end = at + _HEAD.size + size
        # A power cut may leave zeros where a tail was to stand, and the checksum of nothing is zero: no entry is empty.
        if not size or end > len(data) or zlib.crc32(view[at + _HEAD.size : end]) != checksum:
            break
        count, at = count + 1, end
    return count, at


def _entries(data: bytes, at: int, limit: int) -> tuple[list[Entry], list[int]]:
    """Up to `limit` entries from `at`, and where each ends."""
    entries: list[Entry] = []
    ends: list[int] = []
    while len(entries) < limit and at + _HEAD.size <= len(data):
        size, _ = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + size]
        at += _HEAD.size + size
        entries.append(msgspec.msgpack.decode(body, type=Entry))
        ends.append(at)
    return entries, ends
