"""A worker never outlives the service; the ways in which the service can be gone, one by one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.gateway.receive.outside import wait_for
from tests.harness import ROOT, ServiceProcess, alive, data_directory

LOADED_WITHIN = 60.0  # s for a process to load its code on a busy machine


@contextmanager
def worker(parent: int) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """A worker that waits for its set-up, and our end of its pair."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.workers.child", str(theirs.fileno()), str(parent)],
            cwd=ROOT,
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        try:
            yield process, ours
        finally:
            process.kill()
            process.wait()


def test_the_end_of_the_pair_ends_it_while_its_parent_lives() -> None:
    with worker(os.getpid()) as (process, ours):
        ours.close()
        assert process.wait(LOADED_WITHIN) == 1


def test_a_parent_that_was_gone_before_the_kernel_knew() -> None:
    with worker(1) as (process, _):
        assert process.wait(LOADED_WITHIN) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's end only on Linux")
def test_the_kernel_ends_it_even_when_it_cannot_act() -> None:
    """A worker that is stopped reads no pair."""
    with data_directory() as folder:
        service = ServiceProcess(folder)
        service.arguments = ["--workers", "2"]
        try:
            service.start(wait=False)
            service.wait_ready(LOADED_WITHIN)
            assert service.process is not None
            workers = [
                process
                for process in psutil.Process(service.process.pid).children()
                if "gateway.workers.child" in process.cmdline()
            ]
            assert len(workers) == 2
            for process in workers:
                process.suspend()
            service.kill()
            wait_for(lambda: not any(process.is_running() for process in workers), 5)
        finally:
            service.end()


@pytest.mark.slow
def test_stopped_while_it_starts() -> None:
    with data_directory() as folder:
        service = ServiceProcess(folder)
        service.arguments = ["--workers", "2"]
        try:
            service.start(wait=False)
            assert service.process is not None
            own = psutil.Process(service.process.pid)
            wait_for(lambda: any("gateway.workers.child" in _command(p) for p in own.children()), LOADED_WITHIN)
            family = own.children(recursive=True)
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(15) == 0
            wait_for(lambda: not alive(family), 5)
            assert "Traceback" not in service.log.read_text()
        finally:
            service.end()


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
