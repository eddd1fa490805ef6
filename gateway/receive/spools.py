"""Which spool belongs to which process, and what becomes of spools whose process is no more.

    data_dir/spool             of the only process
    data_dir/spool/worker-K    of worker K (from 1) when there are several

A service that starts with fewer workers, or from one to several, finds spools that nobody drains: their segments move
to the spools there are, before anything is received. Moving is a rename, so a segment is whole in one of both places.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import structlog

from gateway.errors import GatewayError
from gateway.receive.segments import segment_name, segment_number

_log = structlog.get_logger()
_PATIENCE = 10.0  # s for a process that was killed to leave the kernel, an fsync included


def spool_directory(data_dir: Path, worker: int) -> Path:
    """Where worker `worker` has its spool; 0 is the only process."""
    folder = data_dir / "spool"
    return folder / f"worker-{worker}" if worker else folder


class SpoolLock:
    """A spool has one process, also a moment after its last one was killed; the kernel lets go with the holder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1

    def acquire(self, patience: float = _PATIENCE) -> None:
        """Take it; blocking.

        Raises
        ------
        GatewayError
            If another process still has it after `patience` seconds.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    self.release()
                    raise GatewayError(f"{self._folder} is in use by another process: stop that one") from None
                time.sleep(0.05)
            else:
                return

    def release(self) -> None:
        """Let go; harmless when not held."""
        if self._descriptor >= 0:
            # Said, not left to `close`: a child that is just being started has the descriptor until its program runs.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1


def adopt(data_dir: Path, workers: int) -> int:
    """Move the segments of spools that have no process any more to those of `workers` processes; how many.

    Blocking; before any of the processes has opened its spool.
    """
    own = [spool_directory(data_dir, worker) for worker in (range(1, workers + 1) if workers > 1 else (0,))]
    root = spool_directory(data_dir, 0)
    found = [root, *sorted(root.glob("worker-*"))] if root.exists() else []
    moved = 0
    for folder in found:
        if folder in own or not folder.is_dir():
            continue
        lock = SpoolLock(folder)
        lock.acquire()
        try:
            for number in _segments(folder):
                _move(folder / segment_name(number), own[moved % len(own)])
                moved += 1
        finally:
            lock.release()
        if folder != root and not any(folder.iterdir()):
            folder.rmdir()
    if moved:
        _log.info("spools of former processes taken over", segments=moved)
    return moved


def _segments(folder: Path) -> list[int]:
    """Numbers of its segments, oldest first."""
    return sorted(filter(None, (segment_number(path.name) for path in folder.iterdir())))


def _move(segment: Path, folder: Path) -> None:
    """Behind the newest segment of `folder`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    number = max(_segments(folder), default=0) + 1
    segment.rename(folder / segment_name(number))
    for touched in (folder, segment.parent):
        descriptor = os.open(touched, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
