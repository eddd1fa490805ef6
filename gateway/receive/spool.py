"""Disk when the store is away: append-only segments, acknowledged after fsync, drained in order, deleted after.

    00000001.spool, 00000002.spool, … up to `SEGMENT_BYTES` each; their format is told in `segments`

Entries that come while an fsync runs share the next one. A start cuts a torn tail: what was not fsynced was not
acknowledged. Draining is at-least-once: one that was cut is repeated, and the store's unique keys make each row one.
Other files in the directory are left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import structlog

from gateway.receive.disk import Directory, Disk
from gateway.receive.segments import (
    END_BYTES,
    MAGIC,
    RAW,
    Entry,
    measure,
    pack,
    pack_end,
    read_end,
    segment_name,
    segment_number,
    unpack,
)

__all__ = ["RAW", "Directory", "Disk", "Entry", "Spool", "SpoolFullError"]

_log = structlog.get_logger()

SEGMENT_BYTES = 16 << 20
ROOM = 20  # a full spool takes frames again when a twentieth of it is free: not one frame at a time
AGAIN = 30.0  # s between attempts at a segment that cannot be read
_PROBE = "probe"
_PROBE_BYTES = 1 << 20


class SpoolFullError(Exception):
    """The spool has reached `max_size`: nothing more is acknowledged until it is drained."""


class Spool:
    """Append, read in order, delete what was drained.

    Attributes
    ----------
    bytes, frames : what waits, for the metrics.
    unread : segments that could not be read at the start; tried again by `read_again`.
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
        self._writer: asyncio.Task[None] | None = None
        self._coming = 0  # bytes that wait or are being written
        self._refused = 0  # bytes of what was refused last
        self._again = 0.0  # loop time at which those in `unread` are tried again
        self.unread: list[str] = []
        self.bytes = 0
        self.frames = 0

    async def open(self) -> None:
        """Find what an earlier run left; a torn tail is cut."""
        names = await self._disk.list()
        if _PROBE in names:
            await self._disk.remove(_PROBE)
        for number, name in sorted((segment_number(name) or 0, name) for name in names):
            if not number:
                continue
            self._next = max(self._next, number + 1)
            try:
                await self._open_segment(name)
            except OSError as error:  # what it holds is lost only if somebody deletes it
                _log.error("spool: segment cannot be read", segment=name, error=str(error))
                self.unread.append(name)

    async def read_again(self) -> None:
        """Try once in a while what could not be read: it was acknowledged, and should not wait for the next start."""
        now = asyncio.get_running_loop().time()
        if not self.unread or now < self._again:
            return
        self._again = now + AGAIN
        for name in list(self.unread):
            try:
                await self._open_segment(name)
            except OSError:  # told at the start
                continue
            self.unread.remove(name)

    async def _open_segment(self, name: str) -> None:
        found = read_end(*await self._disk.tail(name, END_BYTES))
        if found is not None:  # it was full: nothing of it is torn
            self._segments[name] = (found[1], found[0])
            self.bytes += found[1]
            self.frames += found[0]
            return
        data = await self._disk.read(name)
        if not data.startswith(MAGIC):
            if MAGIC.startswith(data):  # cut while it was made
                await self._disk.remove(name)
            else:
                _log.error("spool: segment left alone", segment=name, error="not of this version")
            return
        count, good = measure(data)
        if not count:
            await self._disk.remove(name)
            return
        if good < len(data):
            _log.warning("spool: torn tail cut", segment=name, at=good, bytes=len(data) - good)
            try:
                await self._disk.truncate(name, good)
            except OSError as error:  # it is not read either way
                _log.warning("spool: torn tail stays", segment=name, error=str(error))
        self._segments[name] = (good, count)
        self.bytes += good
        self.frames += count

    def resize(self, max_size: int) -> None:
        """Take so much from now on, bytes; what is there already stays."""
        self._max_size = max_size

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
        data = pack(entries)
        if self.bytes + self._coming + len(data) + len(MAGIC) > self._max_size:  # it may begin a segment
            self._refused = len(data)
            raise SpoolFullError
        self._coming += len(data)
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
                await self._end(name)
                name, data = segment_name(self._next), MAGIC + data
                self._next += 1
            size, held = self._segments.get(name, (0, 0))
            try:
                await self._disk.append(name, data)
            except BaseException as error:
                # How much arrived is unknown: nothing more is written behind it, a start cuts the torn tail.
                self._current = ""
                self._refused = sum(len(data) for data, _, _ in waiting)
                if isinstance(error, OSError):
                    await self._cut_back(name, size)
                for _, _, done in waiting:
                    if not done.done():
                        done.set_exception(error if isinstance(error, OSError) else OSError(repr(error)))
                if not isinstance(error, OSError):
                    raise
                continue
            finally:
                self._coming -= sum(len(data) for data, _, _ in waiting)
            self._current = name
            size, held = self._segments.get(name, (0, 0))
            self._segments[name] = (size + len(data), held + count)
            self.bytes += len(data)
            self.frames += count
            self._refused = 0
            for _, _, done in waiting:
                if not done.done():
                    done.set_result(None)

    async def _end(self, name: str) -> None:
        """Write behind a full segment how much it holds: a convenience, without which the next start walks through."""
        if name in self._segments:
            with contextlib.suppress(OSError):
                await self._disk.append(name, pack_end(*self._segments[name]))

    async def _cut_back(self, name: str, size: int) -> None:
        """Give the disk back what a failed append left there: on a full one nothing else would."""
        try:
            if size:
                await self._disk.truncate(name, size)
            else:
                await self._disk.remove(name)
        except OSError as error:
            _log.warning("spool: a failed append stays on disk", segment=name, error=str(error))

    async def has_room(self) -> bool:
        """Whether it would take what it refused last, and some more; the disk is tried, not guessed."""
        room = max(self._max_size // ROOM, self._refused)
        if self.bytes + self._coming + min(room, self._max_size) > self._max_size:
            return False
        try:
            await self._disk.append(_PROBE, bytes(4096 + min(self._refused, _PROBE_BYTES)))
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):  # it is tried again, and a start removes it
                await self._disk.remove(_PROBE)
        return True

    async def oldest(self, limit: int) -> list[Entry]:
        """The oldest entries that are not drained yet, at most `limit`, all of one segment.

        Raises
        ------
        OSError
            If the segment cannot be read; it may be tried again.
        """
        while self._segments:
            name = next(iter(self._segments))
            size, held = self._segments[name]
            if self._cached[0] != name or len(self._cached[1]) < size:
                try:
                    self._cached = (name, (await self._disk.read(name))[:size])
                except FileNotFoundError:
                    self._cached = (name, b"")
            entries, self._ends = unpack(self._cached[1], self._at, min(limit, held - self._drained))
            if entries:
                return entries
            if self._drained < held:  # somebody else took it away: what is gone must not hold up the rest
                _log.error("spool: segment is cut or gone", segment=name, frames=held - self._drained)
                self.frames -= held - self._drained
                self._drained = held
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
        try:
            await self._disk.remove(name)
        except OSError as error:  # the next start drains it once more, which changes nothing
            _log.warning("spool: a drained segment stays", segment=name, error=str(error))
