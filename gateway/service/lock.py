"""One service per data directory: a lock that the kernel releases with its holder, however that ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from gateway.errors import InUseError


class DataDirectoryLock:
    """Holds `data_dir/dozor.lock`; the file names the holder's process."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "dozor.lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        InUseError
            If another process holds it; names the directory and that process.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise InUseError(f"cannot use data_dir {self._path.parent}: {error.strerror}; set data_dir") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise InUseError(
                f"{self._path.parent} is in use by process {holder}: stop that one, or set another data_dir"
            ) from None
        with suppress(OSError):  # a full disk keeps nobody from its data: only the holder's name is missing then
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; harmless when not held."""
        if self._descriptor is not None:
            # Said, not left to `close`: a child that is just being started has the descriptor until its program runs.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None
