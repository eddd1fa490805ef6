"""Faults of disks, stores and networks on the real service.

Each run ends with the same question: is every acknowledged record in `telemetry` exactly once and unaltered, with
nothing that was never sent? And: is the service itself well again, its memory bounded, its log without a traceback?
`make soak` runs them at full length.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from protocols.teltonika.declaration import CODEC_8, avl_frame, avl_record, login
from tests.gateway.proxy import StoreProxy
from tests.harness import ServiceProcess, Tracker, check_store, data_directory, running_service

pytestmark = pytest.mark.slow

SOAK = bool(os.environ.get("DOZOR_SOAK"))
TERMINALS = 100
RATE = 400  # frames a second over all terminals
ANSWER = 5.0  # s: a terminal may give up after that
MEMORY = 200 << 20  # bytes that the service may grow by under any fault
REPAIR = 19  # TCP_REPAIR of <linux/tcp.h>: a socket closed under it sends nothing

Disturb = Callable[[], Awaitable[None]]


class Run:
    """Terminals on a service while something is done to it, and what was seen meanwhile."""

    def __init__(self, service: ServiceProcess, terminals: int = TERMINALS, rate: float = RATE) -> None:
        self.service = service
        self.trackers = [
            Tracker(f"{861_000_000_000_000 + n}", service.ports["teltonika"], terminals / rate)
            for n in range(terminals)
        ]
        self.peak = 0
        self._base = self._memory()

    def play(self, disturb: Disturb, *, settle: float = 0.5, finish: float = 90.0) -> None:
        """Load, disturb under load, a little more load, then until everything is acknowledged."""
        asyncio.run(self._play(disturb, settle, finish))

    async def _play(self, disturb: Disturb, settle: float, finish: float) -> None:
        until = asyncio.Event()
        watching = asyncio.create_task(self._watch_memory())
        tasks = [asyncio.create_task(tracker.run(until)) for tracker in self.trackers]
        try:
            await asyncio.sleep(0.5)
            await disturb()
            await asyncio.sleep(settle)
            until.set()
            async with asyncio.timeout(finish):
                await asyncio.gather(*tasks)
        finally:
            watching.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(watching, *tasks, return_exceptions=True)

    def _memory(self) -> int:
        assert self.service.process is not None
        with contextlib.suppress(psutil.Error):
            return int(psutil.Process(self.service.process.pid).memory_info().rss)
        return 0

    async def _watch_memory(self) -> None:
        while True:
            self.peak = max(self.peak, self._memory())
            await asyncio.sleep(0.25)

    @property
    def acked(self) -> int:
        """Acknowledged so far."""
        return sum(len(tracker.acked) for tracker in self.trackers)

    def waits(self, since: float = 0.0, until: float = float("inf")) -> list[float]:
        """How long acks took that came between two moments of the monotonic clock, sorted."""
        return sorted(wait for t in self.trackers for at, wait in t.waits if since <= at <= until)

    async def until(self, condition: Callable[[], bool], within: float = 30.0) -> float:
        """Seconds until something holds; asked in a thread, so that the terminals go on."""
        begun = time.monotonic()
        while time.monotonic() - begun < within:
            if await asyncio.to_thread(condition):
                return time.monotonic() - begun
            await asyncio.sleep(0.1)
        raise AssertionError(f"not within {within} s: {self.service.get('/readyz')} {self.service.tail()}")

    async def drained(self, within: float = 60.0) -> float:
        """Seconds until nothing waits on disk."""
        return await self.until(
            lambda: self.service.metric("dozor_store_up") == 1 and self.service.metric("dozor_spool_frames") == 0,
            within,
        )

    def check(self, at_least: int, others: list[Tracker] | None = None) -> None:
        """The promise, and the service's own health; ends the service."""
        service = self.service
        assert service.get("/readyz")[0] == 200, service.get("/readyz")
        acked = check_store(service, [*self.trackers, *(others or [])])
        assert acked >= at_least, f"{acked} acknowledged: too few to prove anything"
        assert self.peak - self._base < MEMORY, f"grew from {self._base >> 20} to {self.peak >> 20} MiB"
        assert service.stop() == 0
        assert "Traceback" not in service.log.read_text(errors="replace")


def reasons(service: ServiceProcess) -> list[str]:
    """Why it is not ready; empty when it is."""
    status, body = service.get("/readyz")
    told = json.loads(body)["reasons"] if body else ["no answer"]
    assert (status == 200) == (not told), (status, told)
    return list(told)


def family(pid: int) -> list[psutil.Process]:
    """The postmaster and its backends."""
    postmaster = psutil.Process(pid)
    return [postmaster, *postmaster.children(recursive=True)]


# -- disks ----------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """A tmpfs of `size` on `path`."""
    if os.geteuid() != 0:
        pytest.skip("full disk: mounting a small tmpfs needs root")
    path.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "none", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"full disk: no tmpfs can be mounted here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path, leave: int = 0) -> Path:
    """A file that leaves so many bytes of its file system free."""
    filler = path / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while (rest := shutil.disk_usage(path).free - leave) > 0:
            file.write(bytes(min(rest, 1 << 20)))
    return filler


def test_spool_on_a_full_disk() -> None:
    """Store away, spool's disk full: no ack, connections close, readiness says why; with room it is taken up again."""

    async def disturb() -> None:
        stopped = family(service.postgres_pid())
        for process in stopped:
            process.suspend()
        try:
            filler = fill(spool, leave=(24 << 20) // 16 + (100 << 10))  # what is left to the store, and a little
            await run.until(lambda: reasons(service) == ["store", "spool_full"])
            assert service.metric('dozor_not_ready{reason="spool_full"}') == 1
            assert service.metric("dozor_spool_frames") > 100
            await run.until(lambda: min(tracker.connects for tracker in run.trackers) > 1)  # each was closed
            connects = sum(tracker.connects for tracker in run.trackers)
            await asyncio.sleep(0.5)
            acked = run.acked
            await asyncio.sleep(10 if SOAK else 2)
            assert run.acked == acked, "acknowledged while neither store nor spool took anything"
            more = sum(tracker.connects for tracker in run.trackers) - connects
            assert more <= (2 * TERMINALS if SOAK else TERMINALS), "read on and closed again and again"
            assert reasons(service) == ["store", "spool_full"], "it wavers"
            filler.unlink()
            await run.until(lambda: not reasons(service), 15)
            await run.until(lambda: run.acked > acked + TERMINALS, 20)
        finally:
            for process in stopped:
                process.resume()
        await run.drained()

    with data_directory() as folder:
        folder.mkdir(mode=0o711)
        spool = folder / "spool"
        with small_disk(spool, "24m"):
            service = ServiceProcess(folder)
            try:
                service.start()
                run = Run(service)
                run.play(disturb)
                run.check(at_least=RATE)
                log = service.log.read_text()
                assert log.count("spool refuses") < 20, "told once, not for each batch"
            finally:
                service.end()


@pytest.mark.skipif(not SOAK, reason="long form: as on a full disk, which the short form tries")
def test_a_small_spool_that_fills_up() -> None:
    """`spool.max_size` reached: the same, without any disk being full."""

    async def disturb() -> None:
        stopped = family(service.postgres_pid())
        for process in stopped:
            process.suspend()
        try:
            await run.until(lambda: reasons(service) == ["store", "spool_full"])
            await asyncio.sleep(0.5)
            acked = run.acked
            await asyncio.sleep(2)
            assert run.acked == acked
            assert service.metric("dozor_spool_bytes") <= 100 << 10
        finally:
            for process in stopped:
                process.resume()
        await run.until(lambda: not reasons(service), 20)
        await run.drained()

    with running_service(DOZOR_SPOOL__MAX_SIZE="100KiB") as service:
        run = Run(service)
        run.play(disturb)
        run.check(at_least=RATE)


def test_the_whole_data_directory_on_a_full_disk() -> None:
    """The embedded PostgreSQL runs out of disk and falls over; with room again it comes back, and so does all else."""

    async def disturb() -> None:
        postmaster = service.postgres_pid()
        filler = fill(folder)
        await run.until(lambda: bool(reasons(service)))
        with contextlib.suppress(psycopg.Error):  # the log of changes cannot grow either: PostgreSQL panics
            for _ in range(3):
                await asyncio.to_thread(service.query, "SELECT pg_switch_wal()")
        await asyncio.sleep(70 if SOAK else 3)
        await run.until(lambda: not psutil.pid_exists(postmaster))
        acked = run.acked
        assert "spool_full" in reasons(service)
        await asyncio.sleep(1)
        assert run.acked == acked
        filler.unlink()
        await run.until(lambda: not reasons(service), 60)
        await run.until(lambda: run.acked > acked + TERMINALS, 30)
        await run.drained()

    with data_directory() as folder:
        folder.mkdir(mode=0o711)
        with small_disk(folder, "400m"):
            service = ServiceProcess(folder)
            try:
                service.start()
                run = Run(service)
                run.play(disturb)
                run.check(at_least=RATE)
            finally:
                service.end()


# -- the store ------------------------------------------------------------------------------------------------------


@pytest.mark.soak
def test_store_stopped_again_and_again_then_drained() -> None:
    """PostgreSQL killed and hung in turn for a while; then the spool is drained, and live acks stay quick."""
    length = 600.0 if SOAK else 10.0
    seen: dict[str, float] = {}

    async def disturb() -> None:
        end = time.monotonic() + length
        chance = random.Random("store")
        while time.monotonic() < end:
            try:
                processes = family(service.postgres_pid())
            except (OSError, ValueError, psutil.Error):  # not there yet
                await asyncio.sleep(0.2)
                continue
            if chance.random() < 0.5:
                for process in processes:
                    with contextlib.suppress(psutil.Error):
                        process.suspend()
                await asyncio.sleep(min(chance.uniform(2, 60 if SOAK else 4), max(0.1, end - time.monotonic())))
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            await asyncio.sleep(chance.uniform(0.1, 2))
        seen["spooled"] = service.metric("dozor_spool_frames")
        await run.until(lambda: service.metric("dozor_store_up") == 1)
        begun = time.monotonic()
        await run.drained(600)
        await asyncio.sleep(1.0)
        seen["worst"] = run.waits(begun, time.monotonic())[-1]

    with running_service() as service:
        run = Run(service)
        run.play(disturb)
        waits = run.waits()
        assert waits[-1] < ANSWER, waits[-5:]
        assert seen["worst"] < 2.5, seen
        run.check(at_least=int(RATE * length / 3))


@contextmanager
def distant_service(dsn: str) -> Iterator[tuple[ServiceProcess, StoreProxy]]:
    """A service whose PostgreSQL is reached through the proxy."""
    parameters = psycopg.conninfo.conninfo_to_dict(dsn)
    with StoreProxy(f"{parameters['host']}/.s.PGSQL.5432") as proxy:
        way = f"host=127.0.0.1 port={proxy.port} user={parameters['user']} dbname={parameters['dbname']}"
        with running_service(DOZOR_STORE__DSN=f"{way} sslmode=disable gssencmode=disable") as service:
            yield service, proxy


@pytest.mark.soak
def test_a_distant_store_whose_answers_get_lost(postgres_dsn: str) -> None:
    """200 ms more for each answer: acks go on. Then it is unknown again and again whether a batch is stored: it is."""

    async def disturb() -> None:
        proxy.delay = 0.2
        begun = time.monotonic()
        await asyncio.sleep(120 if SOAK else 6)
        seen["waits"] = run.waits(begun + 2)
        for trouble, delay in ((0.1, 0.0), (0.6, 0.0), (0.3, 0.05)):
            proxy.trouble, proxy.delay = trouble, delay
            await asyncio.sleep(60 if SOAK else 2)
        proxy.trouble = proxy.delay = 0.0
        await run.drained()

    seen: dict[str, list[float]] = {}
    with distant_service(postgres_dsn) as (service, proxy):
        run = Run(service)
        run.play(disturb)
        waits = seen["waits"]
        assert 0.2 < waits[len(waits) // 2] < 1.5, waits[len(waits) // 2]
        assert proxy.cut > 0
        assert proxy.swallowed > 0
        assert proxy.cut + proxy.swallowed > (50 if SOAK else 3), (proxy.cut, proxy.swallowed)
        assert run.waits()[-1] < ANSWER
        run.check(at_least=RATE)


# -- networks -------------------------------------------------------------------------------------------------------


class Plain:
    """A terminal by hand, over a blocking socket; `tracker` remembers what it sent."""

    def __init__(self, service: ServiceProcess, imei: str) -> None:
        self.tracker = Tracker(imei, service.ports["teltonika"], 0)
        self.socket = socket.socket()
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", service.ports["teltonika"]))

    def login(self) -> None:
        """Log in."""
        self.socket.sendall(login(self.tracker.imei))
        assert self.socket.recv(1) == b"\x01"

    def frames(self, count: int) -> bytes:
        """New frames of one record each."""
        first = 1_750_000_000_000 + len(self.tracker.sent)
        for moment in range(first, first + count):
            self.tracker.sent[moment] = (moment % 800_000_000, 5)
        return b"".join(
            avl_frame(CODEC_8, [avl_record(timestamp=m, latitude=m % 800_000_000, longitude=5, satellites=9)])
            for m in range(first, first + count)
        )

    def vanish(self) -> None:
        """Be gone without a word, as when the power is cut."""
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, REPAIR, 1)
        except PermissionError:
            return  # it stays, and says nothing any more: the other end cannot tell the two apart
        self.socket.close()


def flood(port: int, identity: str) -> socket.socket:
    """A Wialon terminal that pings and pings and reads no answer, until it is read no more itself."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.connect(("127.0.0.1", port))
    link.sendall(f"#L#{identity};NA\r\n".encode())
    link.settimeout(2)
    pings = b"#P#\r\n" * 20_000
    with contextlib.suppress(TimeoutError):
        for _ in range(200):  # 20 MB, which the buffers of no connection hold
            link.sendall(pings)
        raise AssertionError("what it did not read went somewhere")
    return link


def pour(port: int, count: int) -> int:
    """A Wialon terminal that pings in large pieces and reads; how many answers it got."""
    with socket.create_connection(("127.0.0.1", port), 20) as link, ThreadPoolExecutor(1) as pool:
        link.sendall(b"#L#pour;NA\r\n")
        sending = pool.submit(link.sendall, b"#P#\r\n" * count)
        expected, got = b"#AL#1\r\n" + b"#AP#\r\n" * count, b""
        while len(got) < len(expected):
            piece = link.recv(1 << 16)
            assert piece, "closed"
            got += piece
        sending.result()
        assert got == expected
        return count


@pytest.mark.soak  # the short form has one of them: test_login, test_hostile
def test_peers_that_never_read_or_are_gone() -> None:
    """Slow readers are read no more, and let go. Half-open connections, before login, within a frame or behind it, end
    by their timeouts. What came whole is kept, and nobody else waits for them."""
    each, readers = (1000, 12) if SOAK else (30, 4)
    gone: list[Plain] = []

    def vanish_all() -> None:
        for n in range(each):
            mute, torn, idle = (Plain(service, f"{863_000_000_000_000 + 3 * n + k}") for k in range(3))
            gone.extend((mute, torn, idle))
            torn.login()
            idle.login()
            mute.socket.sendall(login(mute.tracker.imei)[:5])
            torn.socket.sendall(torn.frames(2)[:-7])
            idle.socket.sendall(idle.frames(3))
        for terminal in gone:
            terminal.vanish()

    async def disturb() -> None:
        port = service.ports["wialon-ips"]
        assert await asyncio.to_thread(pour, port, 100_000) == 100_000
        slow.extend(await asyncio.gather(*[asyncio.to_thread(flood, port, f"slow-{n}") for n in range(readers)]))
        await asyncio.to_thread(vanish_all)
        seen["most"] = service.metric('dozor_connections{protocol="teltonika"}')
        await run.until(lambda: service.metric('dozor_connections{protocol="teltonika"}') == TERMINALS, 30)
        await run.until(lambda: service.metric('dozor_connections{protocol="wialon-ips"}') == 0, 30)

    slow: list[socket.socket] = []
    seen: dict[str, float] = {}
    unlimited = {"DOZOR_LIMITS__REGISTRATIONS_PER_MINUTE_PER_ADDRESS": "0"}  # they are new, and at one address
    with running_service(DOZOR_LOGIN__IDLE_TIMEOUT="3s", DOZOR_LOGIN__TIMEOUT="2s", **unlimited) as service:
        run = Run(service)
        try:
            run.play(disturb)
        finally:
            for link in [*slow, *[terminal.socket for terminal in gone]]:
                link.close()
        assert seen["most"] > TERMINALS, "none of them was there when all had come"
        stored = dict(service.query("SELECT terminal, count(*) FROM telemetry GROUP BY terminal"))
        for place, terminal in enumerate(gone):
            assert stored.get(terminal.tracker.imei, 0) == (0, 1, 3)[place % 3]
        assert run.waits()[-1] < ANSWER
        run.check(at_least=RATE, others=[terminal.tracker for terminal in gone])


class Member:
    """One of a whole fleet: connects until it is in, sends a frame, waits for its ack, stays."""

    def __init__(self, number: int, port: int) -> None:
        self.tracker = Tracker(f"{864_000_000_000_000 + number}", port, 0)
        self._source = f"127.0.0.{2 + number // 10_000}"
        self._writer: asyncio.StreamWriter | None = None
        self.login = 0.0

    async def join(self) -> None:
        """`login` is s from the first attempt that was taken to the answer."""
        while True:
            begun = time.monotonic()
            try:
                async with asyncio.timeout(60):
                    reader, self._writer = await asyncio.open_connection(
                        "127.0.0.1", self.tracker.port, local_addr=(self._source, 0)
                    )
                    self._writer.write(login(self.tracker.imei))
                    assert await reader.readexactly(1) == b"\x01"
                    self.login = time.monotonic() - begun
                    moment = int(time.time() * 1000)
                    self.tracker.sent[moment] = (7, 9)
                    self._writer.write(
                        avl_frame(CODEC_8, [avl_record(timestamp=moment, latitude=7, longitude=9, satellites=9)])
                    )
                    assert int.from_bytes(await reader.readexactly(4), "big") == 1
                    self.tracker.acked.add(moment)
                    return
            except (OSError, asyncio.IncompleteReadError):
                self.leave()
                await asyncio.sleep(0.1)

    def leave(self) -> None:
        """Without a word of farewell."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None


@pytest.mark.timing
def test_the_whole_fleet_reconnects_at_once() -> None:
    """New to the service, after their network was cut, and after the service was killed: all are in soon."""
    count = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1000, 50_000) if SOAK else 2000
    bound = 60.0 if SOAK else 5.0  # s for 99 of 100 logins, with the terminals on the same two cores

    async def storm(why: str) -> None:
        for member in fleet:
            member.leave()
        if why == "the service was killed":
            service.kill()
            service.start(wait=False)
        async with asyncio.timeout(120):
            await asyncio.gather(*[member.join() for member in fleet])
        logins = sorted(member.login for member in fleet)
        p99[why] = logins[int(len(logins) * 0.99)]

    async def storms() -> None:
        for why in ("new", "their network was cut", "the service was killed"):
            await storm(why)
        assert service.metric('dozor_connections{protocol="teltonika"}') == count
        for member in fleet:
            member.leave()
        await run.until(lambda: service.metric('dozor_connections{protocol="teltonika"}') == 0)

    p99: dict[str, float] = {}
    with running_service(DOZOR_LIMITS__REGISTRATIONS_PER_MINUTE_PER_ADDRESS="0") as service:
        run = Run(service, terminals=1)
        run.trackers = []
        fleet = [Member(n, service.ports["teltonika"]) for n in range(count)]
        asyncio.run(storms())
        assert max(p99.values()) < bound, p99
        run.check(at_least=3 * count, others=[member.tracker for member in fleet])
