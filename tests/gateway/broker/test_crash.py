"""What the broker took is in `telemetry` exactly once: gateway killed, broker stopped, both, store away."""

from __future__ import annotations

import asyncio
import os
import random
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.gateway.broker.outside import Publisher, broker, check, load, running, service, subscribed, until
from tests.harness import ServiceProcess, data_directory

LONG = bool(os.environ.get("DOZOR_SOAK"))
PUBLISHERS = 20
KILLS, STOPS = (12, 6) if LONG else (4, 2)


def publishers(port: int, interval: float = 0.02) -> list[Publisher]:
    return [Publisher(f"{860_000_000_000_000 + n}", port, interval) for n in range(PUBLISHERS)]


@pytest.mark.slow
def test_the_gateway_killed_and_the_broker_stopped(mosquitto: Path) -> None:
    chance = random.Random(os.environ.get("DOZOR_SEED", "mqtt"))
    with broker(mosquitto) as at, running(at) as gateway:
        fleet = publishers(at.port)

        def disturb() -> None:
            events = ["kill", "kill", "stop"] * (KILLS // 2)
            for event in events[: KILLS + STOPS]:
                time.sleep(chance.uniform(0.3, 1.0) * (3 if LONG else 1))
                if event == "kill":
                    gateway.kill()
                    time.sleep(chance.uniform(0.0, 0.5))
                    gateway.start(wait=False)
                else:
                    at.stop()
                    time.sleep(chance.uniform(0.2, 1.0))
                    at.start()
            gateway.wait_ready()
            subscribed(gateway, 40)
            time.sleep(0.5)

        asyncio.run(load(fleet, disturb))
        assert check([gateway], fleet) > 500, "too little load to prove anything"
        assert gateway.metric("dozor_mqtt_sessions_lost_total") == 0
        assert gateway.stop() == 0


@pytest.mark.soak
@pytest.mark.slow
def test_two_gateways_share_and_one_is_killed_and_comes_back(mosquitto: Path, postgres_dsn: str) -> None:
    """One group on one store, one of them with workers; what the broker had sent to who died waits for it."""
    with broker(mosquitto) as at:
        texts = [
            f'[[mqtt]]\nurl = "mqtt://127.0.0.1:{at.port}"\nclient_id = "gw-{n}"\nshare = "gw"\n' for n in range(2)
        ]
        with (
            service(None, text=texts[0], DOZOR_STORE__DSN=postgres_dsn) as one,
            service(None, "--workers", "2", text=texts[1], DOZOR_STORE__DSN=postgres_dsn) as two,
        ):
            two.start(wait=False)
            one.start()
            two.wait_ready(60)
            for each in (one, two):
                subscribed(each)
            fleet = publishers(at.port, 0.05)

            def disturb() -> None:
                for _ in range(3 if LONG else 1):
                    time.sleep(1.0)
                    two.kill()
                    time.sleep(1.0)
                    two.start(wait=False)
                    two.wait_ready(60)
                    subscribed(two)
                time.sleep(0.5)

            asyncio.run(load(fleet, disturb))
            assert check([one], fleet) > 200
            shares = [each.metric("dozor_records_total") for each in (one, two)]
            assert min(shares) > 0, "one got all"
            assert one.metric("dozor_mqtt_sessions_lost_total") == two.metric("dozor_mqtt_sessions_lost_total") == 0
            assert one.stop() == two.stop() == 0


def family(pid: int) -> list[psutil.Process]:
    """The postmaster and its backends."""
    postmaster = psutil.Process(pid)
    return [postmaster, *postmaster.children(recursive=True)]


@pytest.mark.slow
def test_the_store_away_then_the_spool_full(mosquitto: Path) -> None:
    """The spool takes over; when that is full nothing is acknowledged, the window fills, and nothing is lost."""
    with broker(mosquitto) as at, running(at, DOZOR_SPOOL__MAX_SIZE="128KiB") as gateway:
        fleet = publishers(at.port, 0.0)
        seen: dict[str, float] = {}

        def disturb() -> None:
            time.sleep(0.5)
            postgres = family(gateway.postgres_pid())
            for process in postgres:
                process.suspend()
            try:
                until(lambda: gateway.metric("dozor_spool_frames") > 50)
                until(lambda: gateway.metric('dozor_not_ready{reason="spool_full"}') == 1)
                time.sleep(0.3)
                seen["frames"] = gateway.metric("dozor_frames_total")
                time.sleep(1.0)
                seen["later"] = gateway.metric("dozor_frames_total")
                seen["queue"] = gateway.metric("dozor_queue_frames")
            finally:
                for process in postgres:
                    process.resume()
            subscribed(gateway)

        asyncio.run(load(fleet, disturb))
        assert check([gateway], fleet) > 500
        assert seen["frames"] == seen["later"], "acknowledged, and kept nowhere"
        assert seen["queue"] <= 3000, "the receive maximum bounds what is held"
        assert gateway.stop() == 0


LIVES: list[tuple[list[str], str, int]] = [([], "", 0), (["--workers", "2"], "", 1), ([], 'client_id = "other"\n', 3)]


@pytest.mark.soak
@pytest.mark.skipif(not LONG, reason="the long form: make soak")
def test_sessions_left_behind_are_emptied(mosquitto: Path) -> None:
    """Without workers, then with two, then by another name: what waits under the former names is stored."""
    with data_directory() as folder, broker(mosquitto) as at:
        fleet = [Publisher("860000000000001", at.port)]
        expected = 0
        text = f'[[mqtt]]\nurl = "mqtt://127.0.0.1:{at.port}"\n'
        for arguments, more, ended in LIVES:
            with service(None, *arguments, folder=folder, text=text + more) as gateway:
                gateway.start(wait=False)
                gateway.wait_ready(60)
                subscribed(gateway)
                assert check([gateway], fleet) >= expected
                until(partial(left_behind, gateway, ended))
                assert gateway.stop() == 0
            expected = len(fleet[0].taken)
            asyncio.run(load(fleet, partial(time.sleep, 0.3)))  # while nobody is there
            assert len(fleet[0].taken) > expected
        with service(None, folder=folder, text=text + 'client_id = "other"\n') as gateway:
            gateway.start()
            assert check([gateway], fleet) > expected
            assert gateway.metric("dozor_mqtt_sessions_lost_total") == 0
            assert gateway.stop() == 0


def left_behind(gateway: ServiceProcess, ended: int) -> bool:
    """Whether so many sessions have been emptied and ended so far."""
    return gateway.log.read_text().count("left behind has ended") == ended
