"""`dozor serve --workers 2` from the outside: one service, whatever process a terminal reaches."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from protocols.teltonika.declaration import login
from tests.gateway.receive.outside import Terminal, wait_for
from tests.gateway.wire import Link, telemetry
from tests.harness import ServiceProcess, Tracker, alive, check_store, data_directory, free_port, give_store

START_WITHIN = 60.0  # s: three processes load their code, on a machine that tests other things too


@contextmanager
def workers(count: int = 2, **environment: str) -> Iterator[ServiceProcess]:
    """A ready service with `count` workers on a fresh directory."""
    with data_directory() as folder:
        give_store(folder)
        service = ServiceProcess(folder, **environment)
        try:
            start(service, count)
            yield service
            assert "Traceback" not in service.log.read_text()
        finally:
            service.end()


def start(service: ServiceProcess, count: int) -> None:
    """Start it, and wait until it is ready."""
    service.arguments = ["--workers", str(count)]
    service.start(wait=False)
    service.wait_ready(START_WITHIN)


def processes(service: ServiceProcess) -> list[psutil.Process]:
    """The workers, in the order of their start."""
    assert service.process is not None
    found = alive(psutil.Process(service.process.pid).children())
    return sorted((p for p in found if "gateway.workers.child" in p.cmdline()), key=lambda p: p.pid)


def worker_of(service: ServiceProcess, port: int) -> int:
    """The pid of the worker that holds the connection from this local port, once one has accepted it."""

    def holders() -> list[int]:
        held = ((process.pid, link) for process in processes(service) for link in process.net_connections("tcp"))
        return [pid for pid, link in held if link.raddr and link.raddr.port == port]

    wait_for(lambda: bool(holders()))
    return holders()[0]


def at_both(service: ServiceProcess, imei: Callable[[], str]) -> tuple[Terminal, Terminal]:
    """Connections at two different workers, not logged in yet."""
    first = Terminal(imei(), service.ports["teltonika"])
    time.sleep(0.1)
    home = worker_of(service, first.socket.getsockname()[1])
    for _ in range(64):
        second = Terminal(imei(), service.ports["teltonika"])
        time.sleep(0.1)
        if worker_of(service, second.socket.getsockname()[1]) != home:
            return first, second
        second.close()
    raise AssertionError("all connections went to one worker")


async def load(
    service: ServiceProcess, terminals: int, interval: float, disturb: Callable[[], None], *, first: int = 0
) -> list[Tracker]:
    """Trackers that send while `disturb` runs, and until all is acknowledged."""
    until = asyncio.Event()
    trackers = [
        Tracker(f"{860_000_000_000_000 + first + n}", service.ports["teltonika"], interval) for n in range(terminals)
    ]
    tasks = [asyncio.create_task(tracker.run(until)) for tracker in trackers]
    await asyncio.to_thread(disturb)
    until.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    return trackers


def gone(pids: list[int], within: float) -> bool:
    """Whether none of these processes lives after that time."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_one_service_of_two_workers() -> None:
    quick = {"FLOOR": "2s", "CEILING": "4s"}
    environment = {f"DOZOR_WATCH__SILENCE__{key}": value for key, value in quick.items()}
    with workers(
        **environment,
        DOZOR_WATCH__INCIDENTS__HOLD="1s",
        DOZOR_WATCH__FIRMWARE__ASK="false",
        DOZOR_WATCH__MASS_SILENCE__ENABLED="false",
    ) as service:
        pids = [process.pid for process in processes(service)]
        assert len(pids) == 2

        def disturb() -> None:
            time.sleep(2)
            wait_for(lambda: service.metric('dozor_connections{protocol="teltonika"}') == 40)

        trackers = asyncio.run(load(service, 40, 0.05, disturb))
        acked = check_store(service, trackers)
        assert acked > 200
        assert service.metric("dozor_frames_total") == acked
        assert service.metric("dozor_records_total") == acked
        assert service.metric("dozor_ack_seconds_count") == acked
        assert service.metric('dozor_logins_total{protocol="teltonika",result="accepted"}') == 40
        served = re.findall(r'"reason": "closed by the terminal".*"worker": (\d)', service.log.read_text())
        assert {"1", "2"} == set(served), "one worker got all"
        assert service.metric('dozor_terminals{detector="silence"') == 40
        own = psutil.Process(service.process.pid if service.process else 0).memory_info().rss
        assert service.metric("process_resident_memory_bytes") > 1.5 * own

        _newest_session_wins(service)

        # The fleet has fallen silent in the meantime: the watch heard of it from both workers.
        wait_for(lambda: service.metric('dozor_tickets_open{kind="silence"}') >= 40, 30)

        with Terminal("860000000000000", service.ports["teltonika"]) as open_till_the_end:
            assert open_till_the_end.login() == b"\x01"
            open_till_the_end.send()
            assert open_till_the_end.ack() == 1
            postgres, begun = service.postgres_pid(), time.monotonic()
            assert service.stop() == 0
            assert time.monotonic() - begun < 15
            assert open_till_the_end.ended()
        assert gone([*pids, postgres], 0.5)


def _newest_session_wins(service: ServiceProcess) -> None:
    first, second = at_both(service, lambda: "356938035669999")
    third, fourth = at_both(service, lambda: "356938035668888")
    with first, second, third, fourth:
        assert first.login() == b"\x01"
        first.send()
        assert first.ack() == 1
        assert second.login() == b"\x01"
        assert first.ended()
        second.send()
        assert second.ack() == 1
        # Both at the same moment: one of them stays.
        third.socket.sendall(login(third.imei))
        fourth.socket.sendall(login(fourth.imei))
        for link in (third, fourth):
            link.read(1)
            link.socket.settimeout(1.0)
        ended = []
        for link in (third, fourth):
            try:
                ended.append(link.ended())
            except TimeoutError:
                ended.append(False)
        assert sorted(ended) == [False, True]
        assert service.metric('dozor_connections{protocol="teltonika"}') == 2
    assert len(telemetry(service, first.imei)) == 2
    reasons = service.query("SELECT reason FROM connection WHERE terminal = %s AND closed_at IS NOT NULL", first.imei)
    assert any("replaced by a newer connection" in str(reason) for (reason,) in reasons)


@pytest.mark.slow
def test_killed_alone_and_with_the_service() -> None:
    with workers() as service:
        before = processes(service)

        def kill_one() -> None:
            time.sleep(1.5)
            before[0].kill()
            time.sleep(0.3)
            assert service.get("/readyz")[0] == 200, "the other one serves"
            wait_for(lambda: service.log.read_text().count('"worker ready"') == 3, START_WITHIN)
            ended.extend(service.query("SELECT DISTINCT worker FROM connection WHERE reason = 'gateway stopped'"))

        ended: list[tuple[object, ...]] = []
        trackers = asyncio.run(load(service, 60, 0.03, kill_one))
        assert len(ended) == 1, "the one that was started again ends its own connections, and no other's"
        assert check_store(service, trackers) > 500
        after = [process.pid for process in processes(service)]
        assert len(after) == 2
        assert before[1].pid in after
        assert before[0].pid not in after
        assert service.metric("dozor_connections{") == 0
        wait_for(lambda: service.query("SELECT count(*) FROM connection WHERE closed_at IS NULL") == [(0,)])

        for process in processes(service):
            process.kill()
        wait_for(lambda: service.get("/readyz") == (503, '{"ready":false,"reasons":["workers"]}'), 5)
        assert service.metric('dozor_not_ready{reason="workers"}') == 1
        service.wait_ready(START_WITHIN)

        def kill_all() -> None:
            time.sleep(1)
            pids = [process.pid for process in processes(service)]
            service.kill()
            assert gone(pids, 5)
            start(service, 2)

        trackers += asyncio.run(load(service, 30, 0.03, kill_all, first=1000))
        check_store(service, trackers)
        assert service.stop() == 0


@pytest.mark.slow
def test_receiving_in_one_process_beside_the_desk() -> None:
    """It is ended alone and started again, and the next service, which is one process, takes its spool over."""
    with workers(1) as service:
        (before,) = processes(service)

        def hang_and_kill() -> None:
            before.kill()
            wait_for(lambda: service.get("/readyz") == (503, '{"ready":false,"reasons":["workers"]}'), 5)
            assert service.get("/metrics")[0] == 200
            service.wait_ready(START_WITHIN)
            postmaster = psutil.Process(service.postgres_pid())
            stopped = [postmaster, *postmaster.children(recursive=True)]
            for process in stopped:
                process.suspend()
            wait_for(lambda: bool(_segments(service.data_dir / "spool")), 20)
            wait_for(lambda: service.metric("dozor_spool_frames") > 0)
            service.kill()
            for process in stopped:
                process.kill()
            service.arguments = []
            service.start()
            wait_for(lambda: service.metric("dozor_spool_frames") == 0, 20)

        trackers = asyncio.run(load(service, 20, 0.05, hang_and_kill))
        assert processes(service) == []
        assert check_store(service, trackers) >= 20
        assert service.stop() == 0


@pytest.mark.soak
@pytest.mark.slow
def test_spools_of_more_workers_are_drained_by_fewer() -> None:
    with workers(3) as service:
        spool = service.data_dir / "spool"

        def hang_and_kill() -> None:
            time.sleep(1)
            postmaster = psutil.Process(service.postgres_pid())
            stopped = [postmaster, *postmaster.children(recursive=True)]
            for process in stopped:
                process.suspend()
            wait_for(lambda: all(_segments(spool / f"worker-{n}") for n in (1, 2, 3)), 20)
            wait_for(lambda: service.metric("dozor_spool_frames") > 0)  # counted when on disk, the file is there before
            assert service.get("/readyz")[0] == 200
            service.kill()
            for process in stopped:
                process.kill()
            start(service, 1)
            wait_for(lambda: service.metric("dozor_spool_frames") == 0, 20)

        trackers = asyncio.run(load(service, 40, 0.05, hang_and_kill))
        assert not any(_segments(folder) for folder in (spool, *spool.glob("*")) if folder.is_dir())
        assert not list(spool.glob("worker-*"))
        assert check_store(service, trackers) > 100
        assert service.stop() == 0


def _segments(folder: Path) -> list[Path]:
    return list(folder.glob("*.spool"))


@pytest.mark.slow
def test_registered_while_connected_to_either_worker() -> None:
    with workers(DOZOR_LOGIN__POLICY="quarantine", DOZOR_WATCH__FIRMWARE__ASK="false") as service:
        imeis = map(str, itertools.count(356938035660001))
        first, second = at_both(service, lambda: next(imeis))
        with first, second:
            for terminal in (first, second):
                assert terminal.login() == b"\x01"
                terminal.send()
                assert terminal.ack() == 1
                assert service.command("terminal", "add", terminal.imei).returncode == 0
            for terminal in (first, second):
                wait_for(partial(_rows, service, terminal.imei, 1), 20)
                terminal.send()
                assert terminal.ack() == 1
                wait_for(partial(_rows, service, terminal.imei, 2), 20)
            assert service.query("SELECT count(*) FROM quarantine") == [(0,)]
            # The desk is another process than either: each tells the counters of its own open connections.
            service.command("user", "add", "olga", "--role", "admin", "--password-stdin", text="a good password\n")
            token = service.command("user", "token", "olga").stdout.strip()
            for terminal in (first, second):
                answer = httpx.get(
                    f"http://127.0.0.1:{service.ports['desk']}/api/connections",
                    params={"terminal": terminal.imei},
                    headers={"Authorization": f"Bearer {token}"},
                )
                assert [(c["frames"], c["closed_at"]) for c in answer.json()["items"]] == [(2, None)]
        assert service.stop() == 0


def _rows(service: ServiceProcess, imei: str, count: int) -> bool:
    return len(telemetry(service, imei)) == count


@pytest.mark.slow
def test_reload_reaches_every_worker() -> None:
    text = """
[[listen]]
protocol = "teltonika"
address = "127.0.0.1:{first}"
{more}
"""
    more = '[[listen]]\nprotocol = "wialon-ips"\naddress = "127.0.0.1:{port}"\n'
    ports = {"first": free_port(), "second": free_port()}
    with data_directory() as folder:
        file = folder.parent / "dozor.toml"
        service = ServiceProcess(folder, DOZOR_CONFIG=str(file))
        del service.environment["DOZOR_LISTEN"]
        service.ports["teltonika"], service.ports["wialon-ips"] = ports["first"], ports["second"]
        file.write_text(text.format(first=ports["first"], more=""))
        try:
            start(service, 2)
            assert service.process is not None
            with Terminal("356938035660003", ports["first"]) as terminal:
                assert terminal.login() == b"\x01"
                file.write_text(text.format(first=ports["first"], more=more.format(port=ports["second"])))
                service.process.send_signal(signal.SIGHUP)
                wait_for(lambda: '"configuration reloaded"' in service.log.read_text())
                wait_for(lambda: service.log.read_text().count(f"127.0.0.1:{ports['second']}") == 2)
                for _ in range(12):
                    with Link(service, "wialon-ips") as link:
                        assert link.send(b"#L#1234;NA\r\n").read(7) == b"#AL#1\r\n"

                file.write_text(text.format(first=ports["first"], more=more.format(port=service.ports["metrics"])))
                service.process.send_signal(signal.SIGHUP)
                wait_for(lambda: '"configuration not reloaded"' in service.log.read_text(), 20)
                with Link(service, "wialon-ips") as link:
                    assert link.send(b"#L#1234;NA\r\n").read(7) == b"#AL#1\r\n"
                terminal.send()
                assert terminal.ack() == 1
            assert service.stop() == 0
        finally:
            service.end()


@pytest.mark.slow
def test_a_worker_that_starts_during_a_reload_serves_by_the_new_settings() -> None:
    """It was given the old ones, and was not ready when the others took the new ones over."""
    text = '[login]\npolicy = "{policy}"\n[[listen]]\nprotocol = "teltonika"\naddress = "127.0.0.1:{port}"\n'
    second = '[[listen]]\nprotocol = "wialon-ips"\naddress = "127.0.0.1:{port}"\n'
    with data_directory() as folder:
        file = folder.parent / "dozor.toml"
        service = ServiceProcess(folder, DOZOR_CONFIG=str(file))
        del service.environment["DOZOR_LISTEN"]
        port, other = service.ports["teltonika"], service.ports["wialon-ips"]
        file.write_text(text.format(policy="accept", port=port))
        try:
            start(service, 2)
            assert service.process is not None
            before = {process.pid for process in processes(service)}
            os.kill(min(before), signal.SIGKILL)
            wait_for(lambda: {process.pid for process in processes(service)} - before)
            new = {process.pid for process in processes(service)} - before
            file.write_text(text.format(policy="known", port=port) + second.format(port=other))
            service.process.send_signal(signal.SIGHUP)
            wait_for(lambda: '"configuration reloaded"' in service.log.read_text())
            assert service.log.read_text().count('"worker ready"') == 2, "the new one was ready too soon: no race"
            wait_for(lambda: "serves by older settings" in service.log.read_text(), START_WITHIN)
            wait_for(lambda: service.log.read_text().count(f"127.0.0.1:{other}") == 2)
            assert {process.pid for process in processes(service)} > new, "told, not killed"
            met = set()
            for number in range(60):
                with Link(service, "teltonika") as link:
                    met.add(worker_of(service, link.socket.getsockname()[1]))
                    assert link.send(login(f"3569380356{number:05}")).read(1) == b"\x00"
                if len(met) == 2:
                    break
            assert len(met) == 2
            assert service.stop() == 0
        finally:
            service.end()


@pytest.mark.soak
@pytest.mark.slow
def test_free_ports_and_a_port_that_is_taken() -> None:
    listen = "teltonika=127.0.0.1:0,wialon-ips/udp=127.0.0.1:0"
    with workers(DOZOR_LISTEN=listen) as service:
        found = set(re.findall(r'"transport": "(\w+)", "address": "127.0.0.1:(\d+)"', service.log.read_text()))
        assert sorted(transport for transport, _ in found) == ["tcp", "udp"], "both workers on the same two ports"
        port = int(next(port for transport, port in found if transport == "tcp"))
        with data_directory() as folder:
            other = ServiceProcess(folder, DOZOR_LISTEN=f"teltonika=127.0.0.1:{port}")
            other.arguments = ["--workers", "2"]
            try:
                other.start(wait=False)
                assert other.process is not None
                assert other.process.wait(START_WITHIN) == 2
                assert f"cannot listen on 127.0.0.1:{port} (teltonika)" in other.tail()
            finally:
                other.end()
        os.kill(processes(service)[0].pid, signal.SIGTERM)  # by somebody who meant the service
        wait_for(lambda: service.log.read_text().count('"worker ready"') == 3, START_WITHIN)
        with Terminal("356938035660004", port) as terminal:
            assert terminal.login() == b"\x01"
        assert service.stop() == 0


def test_how_many_there_may_be() -> None:
    with data_directory() as folder:
        service = ServiceProcess(folder)
        for number in ("0", "13", "-1"):
            done = service.command("serve", "--workers", number)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr == f"dozor serve: --workers {number}: take a number from 1 to 12\n"
