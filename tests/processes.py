"""Commands of ours as processes: forked from one that has imported everything; in the long form started as usual."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any, Protocol

from tests.zygote import NUMBER

ROOT = Path(__file__).resolve().parents[1]
AS_USUAL = bool(os.environ.get("DOZOR_SOAK"))


class Process(Protocol):
    """What tests use of a `subprocess.Popen`."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Forked:
    """A process that another one forked for us; used like a `subprocess.Popen` without pipes."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status
        self._told = select.poll()
        self._told.register(status, select.POLLIN)

    def __del__(self) -> None:
        if self.returncode is None:
            os.close(self._status)

    def poll(self) -> int | None:
        """Its exit code, negative of a signal; None while it runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """The same when it has ended; `subprocess.TimeoutExpired` after so many seconds."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and self._told.poll(None if timeout is None else timeout * 1000):
            told = os.read(self._status, NUMBER.size)
            self.returncode = os.waitstatus_to_exitcode(NUMBER.unpack(told)[0]) if told else -signal.SIGKILL
            os.close(self._status)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


@cache
def _zygote() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote", str(theirs.fileno())], cwd=ROOT, pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


def start(
    *arguments: str, environment: Mapping[str, str], cwd: Path = ROOT, stdin: int | IO[Any] | None = None,
    stdout: int | IO[Any] | None = None, stderr: int | IO[Any] | None = None,
) -> Process:  # fmt: skip
    """`dozor` with these arguments; each stream is a file, by default ours."""
    if AS_USUAL:
        return subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", *arguments], cwd=cwd, env={"PYTHONPATH": str(ROOT), **environment},
            stdin=stdin, stdout=stdout, stderr=stderr,
        )  # fmt: skip
    streams = [
        number if given is None else given if isinstance(given, int) else given.fileno()
        for number, given in enumerate((stdin, stdout, stderr))
    ]
    status, told = os.pipe()
    request = json.dumps({"arguments": arguments, "cwd": str(cwd), "environment": dict(environment)})
    try:
        socket.send_fds(_zygote(), [request.encode("utf-8", "surrogateescape")], [*streams, told])
    finally:
        os.close(told)
    (pid,) = NUMBER.unpack(os.read(status, NUMBER.size))
    return Forked(pid, status)


def run(
    *arguments: str, environment: Mapping[str, str], cwd: Path = ROOT, text: str | None = None, timeout: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """The same to its end, what it is told on standard input and what it says; killed after `timeout` s."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        given.write((text or "").encode())
        given.seek(0)
        process = start(*arguments, environment=environment, cwd=cwd, stdin=given, stdout=out, stderr=errors)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(["dozor", *arguments], code, out.read().decode(), errors.read().decode())
