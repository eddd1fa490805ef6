"""What a run starts: the bare server, the gateway on a fresh data directory, the load. Nothing outlives the run.

Children are told to end by the kernel when the bench ends, whatever ends it: the gateway by SIGTERM, so that it stops
its PostgreSQL in order, everything else by SIGKILL. Where the kernel cannot (it is Linux that can), an orderly end and
Ctrl-C still stop them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg

from gateway.store.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parents[1]
READY_WITHIN = 90.0  # s: a million terminals are read at start
STOP_WITHIN = 30.0  # s
PREFIX = "dozor-bench-"
_SET_PDEATHSIG = 1
G = TypeVar("G", bound="Gateway")


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def start(
    module: str, *arguments: str, end: signal.Signals = signal.SIGKILL, **options: Any
) -> subprocess.Popen[bytes]:
    """Start `python -m module`, to end with this process."""
    command = [sys.executable, "-m", module, *arguments]
    options = {"cwd": ROOT, "stdin": subprocess.DEVNULL, **options}
    return subprocess.Popen(command, preexec_fn=_end_with_parent(end), **options)


def _end_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def tell() -> None:
        prctl(_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os._exit(1)  # it was gone before the kernel knew

    return tell


def ask(module: str, *arguments: str, timeout: float, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run `python -m module` to its end; the JSON object in its last line.

    Raises
    ------
    RuntimeError
        If it fails or takes longer than `timeout` seconds; the message holds the end of what it said.
    """
    process = start(module, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    try:
        out, said = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{module} took longer than {timeout:.0f} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode:
        raise RuntimeError(f"{module} ended with {process.returncode}: {said.decode(errors='replace')[-2000:]}")
    answer: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return answer


@contextlib.contextmanager
def bare() -> Iterator[tuple[int, int]]:
    """The bare server: its port and its process id."""
    process = start("bench.bare", stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        process.kill()
        process.communicate()


class Gateway:
    """`dozor serve` with its embedded store, on a data directory of its own.

    `protocols` are listened for, the first one on `port`.
    """

    module = "gateway.cli"
    protocols: tuple[str, ...] = ("teltonika",)

    def __init__(self, folder: Path, workers: int = 0) -> None:
        self.folder = folder
        self.workers = workers
        data = folder / "data"
        (folder / "dozor.toml").touch()  # the defaults, whatever file lies elsewhere
        self.ports = {name: free_port() for name in self.protocols}
        self.port, self._metrics = self.ports[self.protocols[0]], free_port()
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("DOZOR_")},
            "DOZOR_CONFIG": str(folder / "dozor.toml"),
            "DOZOR_DATA_DIR": str(data),
            "DOZOR_LISTEN": ",".join(f"{name}=127.0.0.1:{port}" for name, port in self.ports.items()),
            "DOZOR_METRICS__ADDRESS": f"127.0.0.1:{self._metrics}",
            "DOZOR_DESK__ADDRESS": f"127.0.0.1:{free_port()}",
            "DOZOR_WATCH__FIRMWARE__ASK": "false",  # its terminals know no commands
            "DOZOR_LIMITS__REGISTRATIONS_PER_MINUTE_PER_ADDRESS": "0",  # the fleet is new, and at one address
        }
        self._server = EmbeddedServer(data)
        self._process: subprocess.Popen[bytes] | None = None
        # Time of the next record to send, ms: each run's are newer than the last one's, and younger than the 15
        # minutes after which the gateway takes a record for one out of the black box.
        self.next_ms = int(time.time() * 1000) - 780_000

    @property
    def dsn(self) -> str:
        """Its store."""
        return self._server.dsn

    @property
    def pid(self) -> int:
        """The gateway's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def store_pid(self) -> int:
        """PostgreSQL's first process."""
        pid = self._server.pid()
        assert pid is not None
        return pid

    def start(self) -> float:
        """Start it and wait; seconds until it was ready."""
        begun = time.perf_counter()
        with (self.folder / "serve.log").open("ab") as log:
            self._process = start(
                self.module, "serve", *(["--workers", str(self.workers)] if self.workers else []), end=signal.SIGTERM,
                env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        while not self._ready():
            if self._process.poll() is not None or time.perf_counter() - begun > READY_WITHIN:
                raise RuntimeError(f"dozor serve did not get ready: {self.log()[-2000:]}")
            time.sleep(0.02)
        return time.perf_counter() - begun

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def resident(self) -> int:
        """Bytes of its processes in memory, without PostgreSQL's."""
        process = psutil.Process(self.pid)
        store = {self.store_pid, *(child.pid for child in psutil.Process(self.store_pid).children(recursive=True))}
        family = [process, *(child for child in process.children(recursive=True) if child.pid not in store)]
        return sum(int(each.memory_info().rss) for each in family)

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=10) as answer:
            lines = [line for line in answer.read().decode().splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements on its store; the rows of the last one."""
        with psycopg.connect(self.dsn, autocommit=True) as link:
            for statement in statements:
                cursor = link.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def log(self) -> str:
        """What it said."""
        return (self.folder / "serve.log").read_text(errors="replace")

    def stop(self) -> None:
        """SIGTERM; whatever happens, neither it nor its PostgreSQL stays."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._server.stop()


@contextlib.contextmanager
def gateway(kind: type[G], workers: int = 0) -> Iterator[G]:
    """A ready gateway of this kind on a fresh data directory, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    folder.chmod(0o711)  # as root, PostgreSQL runs as another user
    try:
        service = kind(folder, workers)
        try:
            service.start()
            yield service
        finally:
            service.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove data directories of runs that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)
