"""The service on a real TimescaleDB: the same promises, `record` a hypertable."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import psycopg
import pytest

from protocols.teltonika import declaration as teltonika
from tests.gateway.wire import Link, no_exception, telemetry, wait_for
from tests.harness import ServiceProcess, data_directory

DAY = 86_400
NOW = int(time.time())
IMEI = "356938035700001"


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
