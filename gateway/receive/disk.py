"""What the spool asks of a disk, and a real directory that gives it."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Protocol

RESERVE = 128 << 20  # bytes of the file system left to the store, which cannot start and drain the spool without any
RESERVE_PART = 16  # of a small file system: one in so many bytes


class Disk(Protocol):
    """The few things the spool asks of a disk; the tests' double fails on request."""

    async def list(self) -> list[str]:
        """Names of the files there are."""

    async def read(self, name: str) -> bytes:
        """All of a file."""

    async def tail(self, name: str, count: int) -> tuple[bytes, int]:
        """The last `count` bytes of a file, or all it has, and its size."""

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
            if not self._path.is_dir():
                self._path.mkdir(parents=True, mode=0o700)
                _sync_directory(self._path.parent)
            return sorted(os.listdir(self._path))

        return await asyncio.to_thread(listed)

    async def read(self, name: str) -> bytes:
        """All of a file."""
        return await asyncio.to_thread((self._path / name).read_bytes)

    async def tail(self, name: str, count: int) -> tuple[bytes, int]:
        """The last bytes of a file, and its size."""

        def read() -> tuple[bytes, int]:
            with (self._path / name).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - count))
                return file.read(count), size

        return await asyncio.to_thread(read)

    async def append(self, name: str, data: bytes) -> None:
        """Write at the end and fsync."""
        await asyncio.to_thread(self._append, name, data)

    def _append(self, name: str, data: bytes) -> None:
        path = self._path / name
        fresh = not path.is_file()
        system = os.statvfs(self._path)
        reserve = min(RESERVE, system.f_blocks * system.f_frsize // RESERVE_PART)
        if system.f_bavail * system.f_frsize - len(data) < reserve:
            raise OSError(errno.ENOSPC, "the rest of the disk is left to the store", str(path))
        make = os.O_CREAT | os.O_EXCL if fresh else 0
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | make, 0o600)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if fresh:
            _sync_directory(self._path)

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


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
