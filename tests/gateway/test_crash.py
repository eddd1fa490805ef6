"""`kill -9` under load: every acknowledged record is in `telemetry` exactly once, unaltered, and nothing else."""

from __future__ import annotations

import asyncio
import os
import random
import signal

import psutil
import pytest

from tests.harness import ServiceProcess, Tracker, check_store, data_directory, running_service

TERMINALS = 200
RATE = 2000  # frames a second over all terminals
ROUNDS = 12 if os.environ.get("DOZOR_SOAK") else 3


async def _load(service: ServiceProcess, seconds: float, disturb: asyncio.Future[None] | None = None) -> list[Tracker]:
    until = asyncio.Event()
    trackers = [
        Tracker(f"{860_000_000_000_000 + n}", service.ports["teltonika"], TERMINALS / RATE * 0.8)
        for n in range(TERMINALS)
    ]
    tasks = [asyncio.create_task(tracker.run(until)) for tracker in trackers]
    if disturb is not None:
        await disturb
    await asyncio.sleep(seconds)
    until.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    return trackers


@pytest.mark.slow
def test_killed_at_random_moments() -> None:
    chance = random.Random(os.environ.get("DOZOR_SEED", "dozor"))

    async def disturb(service: ServiceProcess) -> None:
        for number in range(ROUNDS):
            await asyncio.sleep(chance.uniform(1.0, 3.0))
            how = ("gateway", "with its store", "while starting")[number % 3]
            postgres = service.postgres_pid()
            service.kill()
            if how == "with its store":
                os.kill(postgres, signal.SIGKILL)
            if how == "while starting":
                service.start(wait=False)
                await asyncio.sleep(chance.uniform(0.05, 1.5))
                service.kill()
            service.start(wait=False)
            await asyncio.to_thread(service.wait_ready)

    async def scenario(service: ServiceProcess) -> list[Tracker]:
        return await _load(service, 1.0, asyncio.ensure_future(disturb(service)))

    with running_service() as service:
        trackers = asyncio.run(scenario(service))
        acked = check_store(service, trackers)
        assert acked > RATE * ROUNDS / 2, "too little load to prove anything"
        assert min(tracker.connects for tracker in trackers) > ROUNDS
        assert service.stop() == 0


@pytest.mark.slow
def test_killed_while_making_its_store() -> None:
    chance = random.Random("first start")
    with data_directory() as folder:
        service = ServiceProcess(folder)
        try:
            for _ in range(ROUNDS):
                service.start(wait=False)
                asyncio.run(asyncio.sleep(chance.uniform(0.2, 1.5)))
                service.kill()
            service.start()
            assert service.query("SELECT count(*) FROM telemetry") == [(0,)]
            assert service.stop() == 0
        finally:
            service.end()


@pytest.mark.soak
@pytest.mark.slow
def test_store_killed_and_stopped_under_load() -> None:
    async def disturb(service: ServiceProcess) -> None:
        await asyncio.sleep(1.5)
        os.kill(service.postgres_pid(), signal.SIGKILL)
        await asyncio.sleep(4)
        os.kill(service.postgres_pid(), signal.SIGINT)  # stopped in an orderly way, by somebody else
        await asyncio.sleep(4)
        await asyncio.to_thread(service.wait_ready)

    async def scenario(service: ServiceProcess) -> list[Tracker]:
        return await _load(service, 1.0, asyncio.ensure_future(disturb(service)))

    with running_service() as service:
        trackers = asyncio.run(scenario(service))
        assert check_store(service, trackers) > RATE
        assert service.stop() == 0


def _family(pid: int) -> list[psutil.Process]:
    """The postmaster and its backends."""
    postmaster = psutil.Process(pid)
    return [postmaster, *postmaster.children(recursive=True)]


@pytest.mark.slow
def test_store_that_hangs_is_replaced_by_the_spool_and_drained() -> None:
    """Acks go on while the store hangs; nothing is lost when gateway and store are killed with a full spool."""
    seen: dict[str, float] = {}

    async def disturb(service: ServiceProcess) -> None:
        await asyncio.sleep(1.5)
        stopped = _family(service.postgres_pid())
        for process in stopped:
            process.suspend()
        await asyncio.sleep(5)
        seen["spooled"] = service.metric("dozor_spool_frames")
        seen["ready"] = service.get("/readyz")[0]
        seen["acked"] = service.metric("dozor_frames_total")
        service.kill()
        for process in stopped:
            process.kill()
        service.start(wait=False)
        await asyncio.to_thread(service.wait_ready)
        for _ in range(300):
            if not service.metric("dozor_spool_frames"):
                break
            await asyncio.sleep(0.1)
        seen["left"] = service.metric("dozor_spool_frames")

    async def scenario(service: ServiceProcess) -> list[Tracker]:
        return await _load(service, 1.0, asyncio.ensure_future(disturb(service)))

    with running_service() as service:
        trackers = asyncio.run(scenario(service))
        acked = check_store(service, trackers)
        assert acked > RATE
        assert seen["spooled"] > 500, seen
        assert seen["ready"] == 200
        assert seen["left"] == 0
        assert service.stop() == 0
        assert "Traceback" not in service.log.read_text()
