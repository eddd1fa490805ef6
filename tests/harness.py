"""The service as a process, from the outside; and terminals that remember what they were told to erase."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import psutil
import psycopg

from gateway.store.embedded import EmbeddedServer
from gateway.store.migrate import migrate
from protocols.registry import protocol, served
from protocols.teltonika.declaration import CODEC_8, avl_frame, avl_record, login
from tests import processes

ROOT = Path(__file__).resolve().parents[1]
DRAINED_WITHIN = 60.0  # s
READY_WITHIN = 30.0  # s, also after a kill
MEMORY = Path("/dev/shm")  # folders in it have names of their own
MEMORY_NEEDED = 4 << 30  # bytes free: several test processes, each with its databases


def _ports() -> Iterator[int]:
    """Ports below those that outgoing connections are given, in turns; test processes side by side share none."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    mine = range(15_000 + 2_000 * process, 17_000 + 2_000 * process)
    while True:  # from anywhere, for there may be another run
        start = random.SystemRandom().randrange(len(mine))
        yield from (*mine[start:], *mine[:start])


_PORTS = _ports()


def free_port() -> int:
    """A loopback port that is free now and that nobody else here was given lately."""
    while True:
        port = next(_PORTS)
        with socket.socket() as s, suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def scratch() -> str | None:
    """Where stores of the tests lie: in memory if there is room, else where other temporary files are.

    A store is a thousand files, which a file system on disk takes ten times as long to make; whatever the tests kill,
    the machine goes on, so that neither forgets. The long form is on disk, with its waits for fsync.
    """
    if os.environ.get("DOZOR_SOAK"):
        return None
    with suppress(OSError):
        if MEMORY.is_mount() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_NEEDED:
            return str(MEMORY)
    return None


@contextmanager
def data_directory() -> Iterator[Path]:
    """A folder for one service, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="dozor-test-", dir=scratch()))
    folder.chmod(0o711)
    try:
        yield folder / "data"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _cluster() -> Path:
    """A data directory whose store is made and migrated: made once, since that is most of a first start."""
    folder = Path(tempfile.mkdtemp(prefix="dozor-test-", dir=scratch()))
    folder.chmod(0o711)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = EmbeddedServer(folder / "data")
    server.ensure_running()
    try:
        migrate(server.dsn)
    finally:
        server.stop()
    return folder / "data"


def give_store(data_dir: Path) -> None:
    """An empty store that has run already, for tests of something else than the first start."""
    data_dir.mkdir(mode=0o711)
    subprocess.run(["cp", "-a", "--reflink=auto", f"{_cluster()}/.", str(data_dir)], check=True, timeout=60)


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that run; one that nobody has reaped does not."""
    running = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
    return running


class ServiceProcess:
    """`dozor serve` on loopback ports of its own."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        self.data_dir = data_dir
        names = (*served(), "metrics", "desk")
        ports: set[int] = set()
        while len(ports) < len(names):  # the same may be free twice
            ports.add(free_port())
        self.ports = dict(zip(names, ports, strict=True))
        listen = [
            f"{name}{'' if transport == 'tcp' else f'/{transport}'}=127.0.0.1:{self.ports[name]}"
            for name in served()
            for transport in protocol(name).transports
        ]
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("DOZOR_")},
            "DOZOR_DATA_DIR": str(data_dir),
            "DOZOR_LISTEN": ",".join(listen),
            "DOZOR_METRICS__ADDRESS": f"127.0.0.1:{self.ports['metrics']}",
            "DOZOR_DESK__ADDRESS": f"127.0.0.1:{self.ports['desk']}",
            **environment,
        }
        self.arguments: list[str] = []  # of `serve`
        self.process: processes.Process | None = None
        self.log = data_dir.parent / "serve.log"

    def command(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a `dozor` command against the same settings."""
        return processes.run(*arguments, environment=self.environment, text=text)

    def start(self, *, wait: bool = True) -> None:
        """Start it; `wait` until it is ready."""
        with self.log.open("ab") as log:
            self.process = processes.start("serve", *self.arguments, environment=self.environment, stderr=log)
        if wait:
            self.wait_ready()

    def wait_ready(self, within: float = READY_WITHIN) -> float:
        """Seconds until ready."""
        begun = time.monotonic()
        while time.monotonic() - begun < within:
            assert self.process is not None
            code = self.process.poll()
            assert code is None, f"ended with {code}: {self.tail()}"
            if self.get("/readyz")[0] == 200:
                return time.monotonic() - begun
            time.sleep(0.05)
        raise AssertionError(f"not ready within {within} s: {self.tail()}")

    def get(self, path: str, port: str = "metrics") -> tuple[int, str]:
        """Status and body; status 0 while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """The sum of a metric's samples; `name` may hold labels."""
        status, text = self.get("/metrics")
        assert status == 200, status
        lines = [line for line in text.splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def kill(self) -> None:
        """SIGKILL to the gateway alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def postgres_pid(self) -> int:
        """The embedded server's postmaster."""
        return int((self.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def end(self) -> None:
        """Whatever happened: leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        try:
            postgres = psutil.Process(self.postgres_pid())
            family = [postgres, *postgres.children(recursive=True)]
            postgres.send_signal(signal.SIGQUIT)
            for _ in range(100):
                if not alive(family):
                    return
                time.sleep(0.05)
            for process in alive(family):
                process.kill()
        except (OSError, ValueError, psutil.NoSuchProcess):
            return

    @cached_property
    def dsn(self) -> str:
        """What `dozor dsn` prints; it stays the same over restarts."""
        return self.command("dsn").stdout.strip()

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Rows of a query on the store."""
        with psycopg.connect(self.dsn) as link:
            return link.execute(sql.encode(), values or None).fetchall()

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


@contextmanager
def running_service(*arguments: str, fresh: bool = False, **environment: str) -> Iterator[ServiceProcess]:
    """A ready service on a directory of its own; `arguments` are for `serve`. `fresh`: it makes its store itself."""
    with data_directory() as folder:
        if not fresh and "DOZOR_STORE__DSN" not in environment:
            give_store(folder)
        service = ServiceProcess(folder, **environment)
        service.arguments = list(arguments)
        try:
            service.start()
            yield service
        finally:
            service.end()


@dataclass
class Tracker:
    """A Teltonika terminal that sends at its pace, resends what was not acknowledged, and remembers both."""

    imei: str
    port: int
    interval: float
    sent: dict[int, tuple[float, float]] = field(default_factory=dict)  # ms -> lat, lon
    acked: set[int] = field(default_factory=set)
    connects: int = 0
    wrong: list[str] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)  # when acknowledged (monotonic), after how many s

    async def run(self, until: asyncio.Event) -> None:
        """Send until told to stop, then until everything is acknowledged."""
        pending: list[int] = []
        start = int(time.time() * 1000) - 3_600_000
        random_ = random.Random(self.imei)
        writer: asyncio.StreamWriter | None = None
        while not until.is_set() or pending:
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), 5)
                self.connects += 1
                writer.write(login(self.imei))
                if await asyncio.wait_for(reader.readexactly(1), 10) != b"\x01":
                    self.wrong.append("login refused")
                while not until.is_set() or pending:
                    if not pending:
                        moment = start + len(self.sent)
                        self.sent[moment] = (
                            random_.randint(-800_000_000, 800_000_000),
                            random_.randint(-(10**9), 10**9),
                        )
                        pending.append(moment)
                    moment = pending[0]
                    lat, lon = self.sent[moment]
                    record = avl_record(timestamp=moment, latitude=int(lat), longitude=int(lon), satellites=9)
                    begun = time.monotonic()
                    writer.write(avl_frame(CODEC_8, [record]))
                    answer = await asyncio.wait_for(self._answer(reader), 20)
                    if answer == 1:
                        self.waits.append((time.monotonic(), time.monotonic() - begun))
                        self.acked.add(pending.pop(0))
                    else:
                        self.wrong.append(f"ack {answer}")
                    await asyncio.sleep(self.interval)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.2)
            finally:
                if writer is not None:
                    writer.close()

    @staticmethod
    async def _answer(reader: asyncio.StreamReader) -> int:
        """The next ack; commands to the terminal, which begin with zeros, are read over."""
        while True:
            count = int.from_bytes(await reader.readexactly(4), "big")
            if count:
                return count
            await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big") + 4)


def check_store(service: ServiceProcess, trackers: list[Tracker]) -> int:
    """Every acknowledged record exactly once and unaltered, nothing that was never sent; how many.

    What went by the spool is waited for.
    """
    deadline = time.monotonic() + DRAINED_WITHIN
    while service.metric("dozor_spool_frames") and time.monotonic() < deadline:
        time.sleep(0.1)
    stored: dict[tuple[str, int], tuple[float, float]] = {}
    rows = service.query("SELECT terminal, (extract(epoch FROM time) * 1000)::bigint, lat, lon FROM telemetry")
    for terminal, moment, lat, lon in rows:
        assert (terminal, moment) not in stored, f"{terminal} {moment} is stored twice"
        stored[str(terminal), int(str(moment))] = (float(str(lat)), float(str(lon)))
    acked = 0
    for tracker in trackers:
        assert not tracker.wrong, (tracker.imei, tracker.wrong[:3])
        for moment in tracker.acked:
            lat, lon = tracker.sent[moment]
            assert stored.get((tracker.imei, moment)) == (lat / 1e7, lon / 1e7), (tracker.imei, moment)
        acked += len(tracker.acked)
    known = {(tracker.imei, moment) for tracker in trackers for moment in tracker.sent}
    invented = set(stored) - known
    assert not invented, f"{len(invented)} rows were never sent: {sorted(invented)[:3]}"
    return acked


__all__ = ["ServiceProcess", "Tracker", "check_store", "json", "running_service"]
