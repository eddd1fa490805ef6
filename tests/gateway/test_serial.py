"""Serial lines through the whole service: what sensors said is in `telemetry`, right or marked, whatever happens."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import msgspec
import psutil
import pytest

from gateway.configuration.reading import load
from gateway.receive.lines.poller import Poller
from gateway.simulator.lines import Line, Sensors, Sent
from protocols.modbus_fuel import shipped
from tests.gateway.receive.outside import Configured, Terminal, configured, wait_for
from tests.harness import ServiceProcess, data_directory, give_store

SOAK = bool(os.environ.get("DOZOR_SOAK"))
SOAKED = pytest.mark.soak
IMEI = "860000000030001"
LISTEN = '[[listen]]\nprotocol = "teltonika"\naddress = "127.0.0.1:<<tcp>>"\n'
ROWS = (
    "SELECT extract(epoch FROM time)::float8, measures, extract(epoch FROM received)::float8 FROM telemetry"
    " WHERE terminal = %s ORDER BY time"
)


ON_ITS_WAY = 5.0  # s: the store has 2 for a batch, then the spool 2
STARTING = 30.0  # s in which the next life asks for the settings, and reads again


def numbered(address: int, now: float, count: int) -> int:
    """Levels that say whose they are, and which."""
    return address * 450 + count % 450  # of LLS, whose levels end at 4095


def line(port: str, terminal: str, sensors: list[int], interval: float = 0.5, more: str = "") -> str:
    return f'[[serial]]\nport = "{port}"\nterminal = "{terminal}"\nsensors = {sensors}\ninterval = {interval}\n{more}'


@contextmanager
def simulated(folder: Path, name: str, sensors: Sensors) -> Iterator[Line]:
    found = Line(sensors, folder / name)
    try:
        yield found
    finally:
        found.close()


def rows(gateway: Configured | ServiceProcess, terminal: str) -> list[tuple[float, dict[str, float], float]]:
    return gateway.query(ROWS, terminal)  # type: ignore[return-value]


def all_right(found: list[tuple[float, dict[str, float], float]], sensors: Sensors, addresses: list[int]) -> int:
    """Every reading was sent by that sensor, in that order, not before its round began, or is marked; how many are."""
    sent: dict[tuple[int, int], list[Sent]] = {}
    for one in sensors.sent:
        sent.setdefault((one.address, one.level), []).append(one)
    marked = 0
    before = 0.0
    newest = dict.fromkeys(addresses, 0.0)
    offset = time.time() - time.monotonic()
    for moment, measures, _ in found:
        assert moment > before
        for place, address in enumerate(addresses, 1):
            status = measures[f"fuel.status.{place}"]
            if status:
                assert f"fuel.level.{place}" not in measures
                marked += 1
                continue
            its = sent[address, int(measures[f"fuel.level.{place}"])]  # in a long run a number comes again
            answer = max((one for one in its if one.at <= moment - offset + 0.1), key=lambda one: one.at)
            assert measures[f"fuel.temperature.{place}"] == answer.temperature
            assert newest[address] < answer.at
            assert answer.at > before - offset - 0.1 or not before
            newest[address] = answer.at
        before = moment
    return marked


def test_eight_sensors_with_errors_are_right_or_marked_and_the_port_may_vanish(tmp_path: Path) -> None:
    addresses = [3, 1, 2, 4, 5, 6, 7, 8]
    sensors = Sensors("lls", addresses, seed=11, errors=0.05, level=numbered)
    with (
        simulated(tmp_path, "bus", sensors) as bus,
        configured(LISTEN + line(bus.port, "TANK-1", addresses, 1.0)) as gateway,
    ):
        begun = time.monotonic()
        until = begun + (600.0 if SOAK else 12.0)
        wait_for(lambda: len(rows(gateway, "TANK-1")) > 3, 20)
        while time.monotonic() < until:
            time.sleep(1.0)
        before = rows(gateway, "TANK-1")
        assert all_right(before, sensors, addresses) < 0.02 * 8 * len(before) + 3
        assert len(before) > 0.6 * (time.monotonic() - begun) - 4
        bus.pull_out()
        wait_for(lambda: all(rows(gateway, "TANK-1")[-1][1][f"fuel.status.{n}"] == 1 for n in range(1, 9)), 20)
        bus.put_in()
        wait_for(lambda: rows(gateway, "TANK-1")[-1][1]["fuel.status.8"] == 0, 40)
        all_right(rows(gateway, "TANK-1"), sensors, addresses)
        counted = {
            result: gateway.service.metric(f'dozor_line_requests_total{{port="{bus.port}",result="{result}"}}')
            for result in ("good", "no_answer", "checksum", "no_port")
        }
        assert counted["good"] > 30
        assert counted["no_port"] >= 8
        assert counted["no_answer"] + counted["checksum"] > 0
        (protocol,) = gateway.query("SELECT protocol FROM terminal WHERE identity = 'TANK-1'")[0]
        assert protocol == "lls"
        assert gateway.service.metric('dozor_records_total{protocol="lls"}') >= len(before)


def test_lines_come_go_and_change_by_a_reload_and_others_are_not_disturbed(tmp_path: Path) -> None:
    profile = shipped("daviteq-cap10")
    lls, modbus = (
        Sensors("lls", [1], level=numbered),
        Sensors("modbus-fuel", [30], profile=profile, level=lambda *_: 613),
    )
    with (
        simulated(tmp_path, "one", lls) as one,
        simulated(tmp_path, "two", modbus) as two,
        configured(LISTEN + line(one.port, "TANK-A", [1], 0.2)) as gateway,
    ):
        wait_for(lambda: len(rows(gateway, "TANK-A")) > 1)
        more = line(two.port, "TANK-B", [30], 0.2, 'protocol = "modbus-fuel"\nprofile = "daviteq-cap10"\n')
        gateway.reload(LISTEN + line(one.port, "TANK-A", [1], 0.2) + more)
        wait_for(lambda: len(rows(gateway, "TANK-B")) > 1)
        assert rows(gateway, "TANK-B")[0][1].keys() >= {"fuel.level.1", "fuel.temperature.1", "fuel.capacitance.1"}
        moments = [moment for moment, _, _ in rows(gateway, "TANK-A")]
        assert max(b - a for a, b in pairwise(moments)) < 1.5
        gateway.reload(LISTEN + line(one.port, "TANK-C", [1], 0.2))  # it speaks for another from now on
        wait_for(lambda: len(rows(gateway, "TANK-C")) > 1)
        count = len(rows(gateway, "TANK-B"))
        time.sleep(0.6)
        assert len(rows(gateway, "TANK-B")) == count
        assert all_right(rows(gateway, "TANK-C"), lls, [1]) == 0
        gateway.reload(LISTEN + line(one.port, IMEI, [1], 0.2))  # a tracker's own: both are heard
        wait_for(lambda: len(rows(gateway, IMEI)) > 1)
        with Terminal(IMEI, gateway.ports["tcp"]) as terminal:
            assert terminal.login() == b"\x01"
            terminal.send()
            assert terminal.ack() == 1
            count = len(rows(gateway, IMEI))
            wait_for(lambda: len(rows(gateway, IMEI)) > count + 2)
            terminal.send()
            assert terminal.ack() == 1


def test_nothing_is_lost_while_the_store_is_away_and_the_service_is_killed(tmp_path: Path) -> None:
    sensors = Sensors("lls", [1], level=numbered)
    with simulated(tmp_path, "bus", sensors) as bus, configured(LISTEN + line(bus.port, "TANK-1", [1], 0.2)) as gateway:
        service = gateway.service
        wait_for(lambda: len(rows(gateway, "TANK-1")) > 2)
        postgres = psutil.Process(service.postgres_pid())
        family = [postgres, *postgres.children(recursive=True)]
        for process in family:
            process.suspend()
        away = time.time()
        try:
            wait_for(lambda: service.metric("dozor_spool_frames") > 3, 30)
            service.kill()
            killed, ended = time.monotonic(), time.time()
        finally:
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        service.start()
        wait_for(lambda: service.metric("dozor_spool_frames") == 0, 30)
        count = len(rows(gateway, "TANK-1"))
        wait_for(lambda: len(rows(gateway, "TANK-1")) > count + 1)
        found = rows(gateway, "TANK-1")
        assert all_right(found, sensors, [1]) == 0
        assert sum(away < moment < ended for moment, _, _ in found) > 3  # by way of the spool
        # Each answer is there but the first two, which the settings made one of, and what was not yet on disk when it
        # was killed: a sensor cannot send again.
        levels = {int(measures["fuel.level.1"]) for _, measures, _ in found}
        missing = [s for s in sensors.sent[2:] if s.level not in levels and s.level < max(levels)]
        assert [s for s in missing if not killed - ON_ITS_WAY < s.at < killed + STARTING] == []


def test_a_second_one_on_a_port_says_so_and_marks_nothing(tmp_path: Path) -> None:
    """A service has the port; what another would ask with, and `dozor sensor`, are turned away."""
    sensors = Sensors("lls", [1], level=numbered)
    with simulated(tmp_path, "bus", sensors) as bus, configured(LISTEN + line(bus.port, "TANK-1", [1], 0.2)) as first:
        wait_for(lambda: len(rows(first, "TANK-1")) > 1)
        told: list[bytes] = []
        settings = load(None, {"DOZOR_SERIAL__PORT": bus.port, "DOZOR_SERIAL__TERMINAL": "T"}, implicit=False)
        second = Poller(msgspec.structs.replace(settings.serial[0], interval=0.1), told.append)
        second.start()
        time.sleep(1.5)
        second.stop()
        second.join(5)
        assert told == []  # the first tells; marks beside it would contradict it
        assert second.results["no_port"] == 0
        assert all_right(rows(first, "TANK-1"), sensors, [1]) == 0
        done = first.service.command("sensor", "read", bus.port, "1")
        assert (done.returncode, "is used by another process" in done.stderr) == (2, True)


@pytest.mark.soak
def test_one_worker_polls_and_another_takes_over_when_it_is_killed(tmp_path: Path) -> None:
    sensors = Sensors("lls", [1], level=numbered)
    with simulated(tmp_path, "bus", sensors) as bus, data_directory() as folder:
        give_store(folder)
        file = tmp_path / "dozor.toml"
        file.write_text(line(bus.port, "TANK-1", [1], 0.2))
        service = ServiceProcess(folder, DOZOR_CONFIG=str(file))
        service.arguments = ["--workers", "2"]
        try:
            service.start(wait=False)
            service.wait_ready(60)
            wait_for(lambda: len(rows(service, "TANK-1")) > 2)
            holders = [
                process
                for process in psutil.Process(service.process.pid).children()  # type: ignore[union-attr]
                if any(os.path.realpath(bus.port) == _target(process.pid, number) for number in _numbers(process.pid))
            ]
            assert len(holders) == 1
            wait_for(lambda: service.metric(f'dozor_line_requests_total{{port="{bus.port}",result="good"}}') > 2)
            counted = service.metric(f'dozor_line_requests_total{{port="{bus.port}",result="good"}}')
            holders[0].kill()
            count = len(rows(service, "TANK-1"))
            wait_for(lambda: len(rows(service, "TANK-1")) > count + 2, 30)
            assert all_right(rows(service, "TANK-1"), sensors, [1]) == 0
            assert service.metric(f'dozor_line_requests_total{{port="{bus.port}",result="good"}}') >= counted
            assert service.stop() == 0
        finally:
            service.end()


def _numbers(pid: int) -> list[str]:
    return os.listdir(f"/proc/{pid}/fd")


def _target(pid: int, number: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{number}")
    except OSError:
        return ""


@pytest.mark.parametrize("policy", ["known", pytest.param("quarantine", marks=SOAKED)])
def test_a_policy_holds_for_lines_too(tmp_path: Path, policy: str) -> None:
    sensors = Sensors("lls", [1], level=numbered)
    text = f'[login]\npolicy = "{policy}"\n' + LISTEN
    with (
        simulated(tmp_path, "bus", sensors) as bus,
        configured(text + line(bus.port, "TANK-1", [1], 0.2)) as gateway,
    ):
        wait_for(lambda: sensors.requests > 4)
        assert rows(gateway, "TANK-1") == []
        assert gateway.service.command("terminal", "add", "TANK-1").returncode == 0
        wait_for(lambda: len(rows(gateway, "TANK-1")) > 3, 40)
        assert all_right(rows(gateway, "TANK-1"), sensors, [1]) == 0
        assert int(rows(gateway, "TANK-1")[0][1]["fuel.level.1"]) < 504  # those from before are there too
