"""Egress of running services to a real Mosquitto: what is acknowledged to terminals reaches the consumer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from protocols.teltonika import declaration as teltonika
from tests.gateway.egress.broker import Broker, Consumer, consumer, running_broker
from tests.gateway.wire import Link, no_exception, wait_for
from tests.harness import ServiceProcess, Tracker, alive, data_directory, give_store, running_service

NOW = int(time.time()) * 1000
IMEI = "356938035700001"
SOAK = bool(os.environ.get("DOZOR_SOAK"))
RECORD = {"latitude": 557_520_123, "longitude": 376_175_432, "satellites": 7}


def settings(broker: Broker, **more: str) -> dict[str, str]:
    named = {"DOZOR_EGRESS__NAME": "region", "DOZOR_EGRESS__URL": broker.url, "DOZOR_WATCH__FIRMWARE__ASK": "false"}
    return named | {f"DOZOR_EGRESS__{key.upper()}": value for key, value in more.items()}


def send(service: ServiceProcess, *times: int, imei: str = IMEI) -> None:
    records = [teltonika.avl_record(timestamp=t, **RECORD) for t in times]
    with Link(service, "teltonika") as link:
        assert link.send(teltonika.login(imei)).read(1) == b"\x01"
        assert link.send(teltonika.avl_frame(teltonika.CODEC_8, records)).read(4) == len(times).to_bytes(4, "big")


def instants(consumer: Consumer, terminal: str = IMEI) -> list[int]:
    """ms of the terminal's records in the order in which each came first."""
    return [int(told["id"].split("-")[1]) // 1000 for told in consumer.first().get(terminal, [])]


def listed(service: ServiceProcess) -> dict[str, Any]:
    (line,) = service.command("egress", "list", "--json").stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


async def load(trackers: list[Tracker], work: Coroutine[Any, Any, None]) -> None:
    """Terminals send until `work` is done."""
    stop = asyncio.Event()
    sending = [asyncio.create_task(tracker.run(stop)) for tracker in trackers]
    try:
        await work
    finally:
        stop.set()
        await asyncio.gather(*sending)


def check(there: Consumer, trackers: list[Tracker], since: int = 0) -> None:
    """Every acknowledged record came, in its terminal's order; what came twice has the same id and content."""
    contents: dict[str, str] = {}
    for told in there.seen():
        assert contents.setdefault(told["id"], json.dumps(told)) == json.dumps(told)
    for tracker in trackers:
        assert not tracker.wrong, (tracker.imei, tracker.wrong[:3])
        got = instants(there, tracker.imei)
        assert got == sorted(got), tracker.imei
        missing = {moment for moment in tracker.acked if moment >= since} - set(got)
        assert not missing, f"{tracker.imei}: {len(missing)} of {len(tracker.acked)} did not come"


@pytest.fixture(scope="module")
def world(mosquitto: Path) -> Iterator[tuple[Broker, ServiceProcess]]:
    """A service that sends to a broker, for tests with terminals of their own."""
    with running_broker(mosquitto) as broker, running_service(**settings(broker)) as service:
        yield broker, service
        no_exception(service)


def test_what_is_stored_is_passed_on(world: tuple[Broker, ServiceProcess]) -> None:
    broker, service = world
    with consumer(broker) as there:
        send(service, NOW - 3000, NOW - 2000, NOW - 1000)
        wait_for(lambda: len(there.seen()) == 3)
        frame = teltonika.avl_frame(teltonika.CODEC_8, [teltonika.avl_record(timestamp=NOW - 3000, **RECORD)])
        shown = service.command("decode", "teltonika", "--json", "--terminal", IMEI, frame.hex()).stdout.splitlines()
        told = there.seen()[0]
        assert told == json.loads(shown[0]) | {"terminal": IMEI, "id": told["id"]}
        assert list(there.by_topic) == [f"records/{IMEI}"]
        # Late, dated ahead, and a resend.
        send(service, NOW - 86_400_000, NOW + 86_400_000 * 30)
        send(service, NOW - 3000, NOW - 86_400_000)
        send(service, NOW)
        wait_for(lambda: len(there.seen()) == 6)
        assert instants(there)[3:] == [NOW - 86_400_000, NOW + 86_400_000 * 30, NOW]
        wait_for(lambda: service.metric('dozor_egress_records_total{name="region"}') == 6)
        wait_for(lambda: service.metric("dozor_egress_lag_seconds") == 0)
        for name, value in (("holding", 1), ("connected", 1), ("aside", 0)):
            assert service.metric(f'dozor_egress_{name}{{name="region"}}') == value
        state = listed(service)
        assert (state["state"], state["sent"], state["waiting"], state["consumer"]) == ("following", 6, 0, broker.url)


@pytest.mark.soak
def test_begun_anew_from_the_beginning(world: tuple[Broker, ServiceProcess]) -> None:
    broker, service = world
    imei = "356938035700002"
    with consumer(broker) as there:
        send(service, *(NOW - 1000 * n for n in range(20, 0, -1)), imei=imei)
        send(service, NOW - 30_000, imei=imei)

        def ids() -> list[str]:
            return [told["id"] for told in there.seen() if told["terminal"] == imei]

        wait_for(lambda: len(ids()) == 21)
        done = service.command("egress", "reset", "region", "--start", "beginning", "--json")
        assert json.loads(done.stdout)["name"] == "region", done.stderr
        wait_for(lambda: len(ids()) == 42)
        assert ids()[21:] == ids()[:21]
        wait_for(lambda: listed(service)["state"] == "following")
        send(service, NOW, imei=imei)
        wait_for(lambda: len(ids()) == 43)
        assert service.command("egress", "reset", "nobody").returncode == 2


def test_the_process_that_passes_records_on_is_started_again(world: tuple[Broker, ServiceProcess]) -> None:
    broker, service = world
    imei = "356938035700003"
    with consumer(broker) as there:
        send(service, NOW - 3000, imei=imei)
        wait_for(lambda: instants(there, imei) == [NOW - 3000])
        (child,) = _children(service)
        assert not any("mqtt" in word or "dbname" in word for word in child.cmdline()), "no secret in sight"
        time.sleep(1.1)  # it tells what it sent each second
        before = service.metric("dozor_egress_records_total")
        child.kill()
        send(service, NOW - 2000, imei=imei)
        wait_for(lambda: instants(there, imei) == [NOW - 3000, NOW - 2000], 15)
        wait_for(lambda: service.metric("dozor_egress_records_total") > before, 15)
        assert service.metric('dozor_part_failures_total{name="egress"}') == 1
        text = service.log.read_text()
        assert text.count("Traceback") == 1
        service.log.write_text("")  # that one was ours


@pytest.mark.slow
def test_consumer_away_under_load_and_the_gateway_killed_twice(mosquitto: Path) -> None:
    """Nothing is left out, in each terminal's order, and what waits takes no memory."""
    away, most, pause, within = (200.0, 20, 0.01, 900.0) if SOAK else (1.2, 6, 0.002, 120.0)
    with running_broker(mosquitto) as broker, consumer(broker) as there, data_directory() as folder:
        give_store(folder)
        service = ServiceProcess(folder, **settings(broker))
        service.start()
        trackers = [Tracker(f"35693803570{n:04}", service.ports["teltonika"], pause) for n in range(most)]
        peaks: list[int] = []

        async def work() -> None:
            await asyncio.sleep(1.0)
            broker.stop()
            for _ in range(2):
                await asyncio.sleep(away)
                peaks.append(_memory(service))
                children = _children(service)
                service.kill()
                await asyncio.to_thread(wait_for, lambda children=children: not alive(children))
                await asyncio.to_thread(service.start)
            await asyncio.sleep(away)
            peaks.append(_memory(service))
            broker.start()
            await asyncio.sleep(1.0)

        try:
            asyncio.run(load(trackers, work()))
            acked = sum(len(tracker.acked) for tracker in trackers)
            wait_for(lambda: service.metric("dozor_spool_frames") == 0, 60)
            wait_for(lambda: len(there.seen()) >= acked, within)
            wait_for(lambda: len({told["id"] for told in there.seen()}) >= acked, 120)
            check(there, trackers)
            assert max(peaks) < 150 << 20, peaks
            twice = len(there.seen()) - len({told["id"] for told in there.seen()})
            assert twice <= 4 * 500, "what was on its way, no more"
            wait_for(lambda: service.metric("dozor_egress_lag_seconds") == 0)
            service.stop()
        finally:
            service.end()


def _memory(service: ServiceProcess) -> int:
    """Resident bytes of the process that passes records on."""
    return sum(child.memory_info().rss for child in _children(service))


def _children(service: ServiceProcess) -> list[psutil.Process]:
    assert service.process is not None
    children = psutil.Process(service.process.pid).children()
    return [child for child in children if "gateway.egress.child" in child.cmdline()]


@pytest.mark.soak
@pytest.mark.slow
def test_two_services_with_workers_send_as_one(mosquitto: Path) -> None:
    """One is killed and the other goes on within ten seconds."""
    with running_broker(mosquitto) as broker, consumer(broker) as there, running_service(**settings(broker)) as first:
        named = settings(broker, url=broker.url) | {"DOZOR_STORE__DSN": first.dsn}
        with running_service("--workers", "2", **named) as second:
            trackers = [
                Tracker(f"35693803570{n:04}", service.ports["teltonika"], 0.005)
                for n, service in enumerate([first, second, second, second])
            ]
            holders = [service.metric("dozor_egress_holding") for service in (first, second)]
            assert sorted(holders) == [0.0, 1.0]

            async def work() -> None:
                await asyncio.sleep(1.0)
                # The embedded store lives on without the service that runs it.
                first.kill()
                trackers[0].port = second.ports["teltonika"]
                begun = time.monotonic()
                await asyncio.to_thread(wait_for, lambda: second.metric("dozor_egress_holding") == 1.0, 10.0)
                seen = len(there.seen())
                await asyncio.to_thread(wait_for, lambda: len(there.seen()) > seen, 10.0 - (time.monotonic() - begun))
                await asyncio.sleep(0.5)

            asyncio.run(load(trackers, work()))
            acked = sum(len(tracker.acked) for tracker in trackers)
            wait_for(lambda: len({told["id"] for told in there.seen()}) >= acked, 30)
            check(there, trackers)


def test_consumers_come_and_go_with_a_reload(mosquitto: Path) -> None:
    with running_broker(mosquitto) as broker, consumer(broker) as there, data_directory() as folder:
        give_store(folder)
        file = folder.parent / "dozor.toml"
        file.write_text("")
        service = ServiceProcess(folder, DOZOR_CONFIG=str(file), DOZOR_WATCH__FIRMWARE__ASK="false")
        try:
            service.start()
            send(service, NOW - 9000)
            entry = f'[[egress]]\nname = "NAME"\nurl = "{broker.url}"\n'
            file.write_text(entry.replace("NAME", "a") + 'start = "beginning"\n')
            _reload(service)
            wait_for(lambda: instants(there) == [NOW - 9000])
            file.write_text(entry.replace("NAME", "b") + f'terminals = ["{IMEI}"]\n')
            _reload(service)
            send(service, NOW - 8000)
            send(service, NOW - 8000, imei="356938035700002")
            wait_for(lambda: instants(there) == [NOW - 9000, NOW - 8000])
            assert service.metric('dozor_egress_records_total{name="a"}') == 0, "it is no longer configured"
            wait_for(lambda: service.metric('dozor_egress_records_total{name="b"}') == 1)
            states = [json.loads(line) for line in service.command("egress", "list", "--json").stdout.splitlines()]
            assert [(told["name"], told["state"], told["waiting"]) for told in states] == [
                ("a", "not configured", 2),
                ("b", "following", 0),
            ]
            assert "forgotten" in service.command("egress", "reset", "a").stdout
            file.write_text("")
            _reload(service)
            send(service, NOW - 7000)
            time.sleep(0.5)
            assert len(there.seen()) == 2
            service.command("egress", "reset", "b")
            assert service.query("SELECT count(*) FROM egress_cursor") == [(0,)]
            no_exception(service)
            assert service.stop() == 0
        finally:
            service.end()


def _reload(service: ServiceProcess) -> None:
    assert service.process is not None
    before = service.log.read_text().count("configuration reloaded")
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: service.log.read_text().count("configuration reloaded") > before)
