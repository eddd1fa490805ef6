"""The service on a real TimescaleDB: the same promises, `record` a hypertable."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator

import psycopg
import pytest

from gateway.configuration.settings import Keep, Store
from gateway.store import upkeep
from gateway.store.upkeep import Upkeep
from protocols.teltonika import declaration as teltonika
from tests.gateway.wire import Link, no_exception, telemetry, wait_for
from tests.harness import ServiceProcess, data_directory

DAY = 86_400
NOW = int(time.time())
IMEI = "356938035700001"
WAITS = "SELECT pid FROM pg_locks WHERE NOT granted"


@pytest.fixture(scope="module")
def service(timescaledb_dsn: str) -> Iterator[ServiceProcess]:
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(timescaledb_dsn, autocommit=True) as link:
        link.execute(f"CREATE DATABASE {name}")
    with data_directory() as folder:
        dsn = timescaledb_dsn.replace("dbname=postgres", f"dbname={name}")
        running = ServiceProcess(folder, DOZOR_STORE__DSN=dsn, DOZOR_WATCH__FIRMWARE__ASK="false")
        try:
            running.start()
            yield running
            no_exception(running)
        finally:
            running.end()


def _send(service: ServiceProcess, *times: int) -> bytes:
    records = [teltonika.avl_record(timestamp=t * 1000, latitude=10_000_000, satellites=7) for t in times]
    with Link(service, "teltonika") as link:
        assert link.send(teltonika.login(IMEI)).read(1) == b"\x01"
        return link.send(teltonika.avl_frame(teltonika.CODEC_8, records)).read(4)


def _chunks(service: ServiceProcess) -> int:
    return int(str(service.query("SELECT count(*) FROM timescaledb_information.chunks")[0][0]))


def test_record_is_a_hypertable(service: ServiceProcess) -> None:
    tables = "SELECT hypertable_name::text FROM timescaledb_information.hypertables"
    assert ("record",) in service.query(tables)


def test_a_resend_adds_nothing_and_absurd_times_make_no_chunk(service: ServiceProcess) -> None:
    times = [NOW - 200 * DAY, NOW - 60 * DAY, NOW - 20 * DAY, NOW - 60, NOW]
    for _ in range(3):
        assert _send(service, *times) == len(times).to_bytes(4, "big")
    assert [row["time"] for row in telemetry(service, IMEI)] == [t * 1_000_000 for t in times]
    assert service.metric('dozor_records_duplicate_total{protocol="teltonika"}') == 2 * len(times)
    chunks = _chunks(service)
    for _ in range(2):
        assert _send(service, 0, NOW + 100 * DAY) == bytes.fromhex("00000002")
    assert _chunks(service) == chunks
    assert len(telemetry(service, IMEI)) == len(times) + 2
    assert telemetry(service, IMEI)[-1]["lat"] == 1.0


def test_retention_drops_chunks(service: ServiceProcess) -> None:
    before = _chunks(service)
    assert service.stop() == 0
    service.environment["DOZOR_STORE__RETENTION"] = "30d"
    service.start()
    wait_for(lambda: _chunks(service) == before - 2)
    kept = [row["time"] for row in telemetry(service, IMEI)]
    assert (NOW - 20 * DAY) * 1_000_000 in kept
    assert (NOW - 60 * DAY) * 1_000_000 not in kept
    assert _send(service, NOW + 1) == bytes.fromhex("00000001")


def test_retention_waits_for_readers_and_writers_wait_for_neither(
    service: ServiceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "LOCK_TIMEOUT", "400ms")
    assert _send(service, NOW - 60 * DAY, NOW - 67 * DAY) == bytes.fromhex("00000002")
    chunks = _chunks(service)
    settings = Store(dsn="", retention=30 * 86400.0, keep=Keep(connection=9e6, message=9e6, quarantine=9e6, outbox=9e6))
    look = Upkeep(service.dsn, lambda: settings)

    async def round_and_write() -> list[str]:
        waiting = asyncio.create_task(look.round())
        await asyncio.to_thread(wait_for, lambda: service.query(WAITS) != [])
        begun = time.monotonic()
        assert await asyncio.to_thread(_send, service, NOW + 2) == bytes.fromhex("00000001")
        assert time.monotonic() - begun < 2.0
        return await waiting

    with psycopg.connect(service.dsn) as reader:
        reader.execute("SELECT count(*) FROM record")
        assert len(asyncio.run(round_and_write())) == 1
        assert _chunks(service) == chunks
    assert asyncio.run(look.round()) == []
    assert _chunks(service) == chunks - 2
