"""One service a data directory: who holds it is named, and it is free once its holder is gone, however that was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.errors import InUseError
from gateway.service.lock import DataDirectoryLock
from tests.harness import ROOT

HOLD = """
import sys, time
from pathlib import Path
from gateway.service.lock import DataDirectoryLock
lock = DataDirectoryLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds it until its stdin ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_directory_is_made_and_its_holder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "data"
    with holder(folder) as process:
        lock = DataDirectoryLock(folder)
        for _ in range(2):
            with pytest.raises(InUseError) as caught:
                lock.acquire()
            assert f"{folder} is in use by process {process.pid}: stop that one" in str(caught.value)
        lock.release()  # harmless: it was never held
        process.kill()
        process.wait()
        lock.acquire()
        assert (folder / "dozor.lock").read_text() == f"{os.getpid()}\n"
        assert (folder / "dozor.lock").stat().st_mode & 0o077 == 0
        with pytest.raises(InUseError, match=str(os.getpid())):
            DataDirectoryLock(folder).acquire()
        lock.release()
        lock.release()
    with holder(folder):
        pass


def test_a_child_that_outlives_the_holder_keeps_nothing(tmp_path: Path) -> None:
    """The store's server, or a shell that somebody started from it."""
    lock = DataDirectoryLock(tmp_path)
    lock.acquire()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        DataDirectoryLock(tmp_path).acquire()
        child.kill()


def test_a_longer_pid_of_before_leaves_no_digits(tmp_path: Path) -> None:
    (tmp_path / "dozor.lock").write_text("123456789012345\n")
    lock = DataDirectoryLock(tmp_path)
    lock.acquire()
    assert (tmp_path / "dozor.lock").read_text() == f"{os.getpid()}\n"
    lock.release()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"x" * 5000])
def test_a_holder_that_says_nothing_readable_is_told_all_the_same(tmp_path: Path, content: bytes) -> None:
    with holder(tmp_path):
        (tmp_path / "dozor.lock").write_bytes(content)
        with pytest.raises(InUseError) as caught:
            DataDirectoryLock(tmp_path).acquire()
        assert len(str(caught.value)) < 300
        assert "is in use by process" in str(caught.value)


def test_a_place_that_can_be_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(InUseError, match=r"cannot use data_dir .*; set data_dir"):
            DataDirectoryLock(folder).acquire()
    (tmp_path / "data" / "dozor.lock").mkdir(parents=True)
    with pytest.raises(InUseError, match="Is a directory"):
        DataDirectoryLock(tmp_path / "data").acquire()


def test_a_disk_without_room_for_its_holders_name_keeps_nobody_out(tmp_path: Path) -> None:
    take = "from pathlib import Path; import resource, sys; from gateway.service.lock import DataDirectoryLock as L; "
    full = "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "  # no file may grow: every write says so
    (tmp_path / "dozor.lock").write_text("4711\n")
    script = f"{take}{full}a = L(Path(sys.argv[1])); a.acquire(); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InUseError, match="in use by process unknown: stop that one"):  # and no stranger's
            DataDirectoryLock(tmp_path).acquire()
        process.kill()
    lock = DataDirectoryLock(tmp_path)
    lock.acquire()
    lock.release()
