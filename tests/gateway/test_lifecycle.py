"""Start, stop, crash, and a store that goes away: what the service promises to those who run it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from protocols.teltonika import declaration as teltonika
from tests import processes
from tests.gateway.wire import Link, no_exception, telemetry, wait_for
from tests.harness import ServiceProcess, alive, data_directory, running_service

ONE = bytes.fromhex("00000001")
DAY = 86_400
NOW = int(time.time())


def _frame(*times: float) -> bytes:
    records = [teltonika.avl_record(timestamp=int(t * 1000), latitude=10_000_000, satellites=7) for t in times]
    return teltonika.avl_frame(teltonika.CODEC_8, records)


def _send(service: ServiceProcess, imei: str, *times: float) -> bytes:
    """One frame over a connection of its own; the answer to it."""
    with Link(service, "teltonika") as link:
        assert link.send(teltonika.login(imei)).read(1) == b"\x01"
        return link.send(_frame(*times)).read(4)


def _family(service: ServiceProcess) -> list[psutil.Process]:
    """The gateway, its PostgreSQL, and their children."""
    assert service.process is not None
    found: list[psutil.Process] = []
    for pid in (service.process.pid, service.postgres_pid()):
        process = psutil.Process(pid)
        found += [process, *process.children(recursive=True)]
    return found


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    with running_service(fresh=True, DOZOR_WATCH__FIRMWARE__ASK="false") as running:
        yield running
        no_exception(running)


# -- what it says of itself -------------------------------------------------------------------------------------------


def test_health_and_readiness(service: ServiceProcess) -> None:
    assert service.get("/healthz")[0] == 200
    status, body = service.get("/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "reasons": []})
    assert service.get("/nothing")[0] == 404


def test_version(service: ServiceProcess) -> None:
    done = service.command("version", "--json")
    assert done.returncode == 0
    assert set(json.loads(done.stdout)) == {"version", "commit", "python"}
    assert done.stdout.count("\n") == 1


def test_the_dsn_opens_the_store(service: ServiceProcess) -> None:
    done = service.command("dsn")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    with psycopg.connect(done.stdout.strip()) as link:
        settings = link.execute(
            "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', "
            "'listen_addresses')"
        ).fetchall()
    assert dict(settings) == {
        "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "listen_addresses": "",
    }  # fmt: skip


def test_a_second_service_names_the_directory_and_its_holder(service: ServiceProcess) -> None:
    assert service.process is not None
    done = service.command("serve")
    assert done.returncode == 2
    assert str(service.data_dir) in done.stderr
    assert str(service.process.pid) in done.stderr
    assert "Traceback" not in done.stderr
    assert service.get("/readyz")[0] == 200


def test_commands_work_while_the_service_runs(service: ServiceProcess) -> None:
    added = service.command("user", "add", "olga", "--role", "engineer", "--password-stdin", text="a good password\n")
    assert added.returncode == 0, added.stderr
    assert "olga" in service.command("user", "list").stdout
    token = service.command("user", "token", "olga", "--scope", "read")
    assert token.returncode == 0
    assert token.stdout.count("\n") == 1
    assert service.command("terminal", "add", "T-1").returncode == 0
    assert "T-1" in service.command("terminal", "list").stdout
    assert service.command("migrate").returncode == 0


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"DOZOR_LOGIN__POLICY": "maybe"}, "DOZOR_LOGIN__POLICY"),
        ({"DOZOR_LISTEN": "gt99=127.0.0.1:1"}, "gt99"),
        ({"DOZOR_SPOOL__MAX_SIZE": "much"}, "DOZOR_SPOOL__MAX_SIZE"),
        ({"DOZOR_NO_SUCH_KEY": "1"}, "DOZOR_NO_SUCH_KEY"),
    ],
)
def test_a_wrong_configuration_ends_at_once(service: ServiceProcess, environment: dict[str, str], told: str) -> None:
    for command in ("serve", "check-config"):
        done = processes.run(command, environment={**service.environment, **environment})
        assert done.returncode == 2, (command, done.stderr)
        assert told in done.stderr + done.stdout
        assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named(service: ServiceProcess, tmp_path: Path) -> None:
    for key in ("DOZOR_LISTEN", "DOZOR_DESK__ADDRESS", "DOZOR_METRICS__ADDRESS"):
        taken = f"127.0.0.1:{service.ports['metrics']}"
        other = {
            **service.environment,
            "DOZOR_DATA_DIR": str(tmp_path / "other"),
            "DOZOR_LISTEN": "teltonika=127.0.0.1:0",
            "DOZOR_DESK__ADDRESS": "127.0.0.1:0",
            "DOZOR_METRICS__ADDRESS": "127.0.0.1:0",
            "DOZOR_STORE__DSN": service.dsn,
            key: f"teltonika={taken}" if key == "DOZOR_LISTEN" else taken,
        }
        done = processes.run("serve", environment=other)
        assert done.returncode == 2, (key, done.stderr[-500:])
        assert taken in done.stderr
        assert "Traceback" not in done.stderr


# -- storing ----------------------------------------------------------------------------------------------------------


def test_a_row_is_visible_before_its_ack(service: ServiceProcess) -> None:
    imei = "356938035680001"
    with psycopg.connect(service.dsn, autocommit=True) as store, Link(service, "teltonika") as link:
        assert link.send(teltonika.login(imei)).read(1) == b"\x01"
        for n in range(300):
            moment = NOW - 5000 + n
            assert link.send(_frame(moment)).read(4) == ONE
            seen = store.execute(
                "SELECT count(*) FROM telemetry WHERE terminal = %s AND time = to_timestamp(%s)", (imei, moment)
            ).fetchone()
            assert seen == (1,), n


def test_a_resend_is_recognised(service: ServiceProcess) -> None:
    imei = "356938035680002"
    name = 'dozor_records_duplicate_total{protocol="teltonika"}'
    before, stored = service.metric(name), service.metric('dozor_records_total{protocol="teltonika"}')
    times = [NOW - 100, NOW - 90, NOW - 80]
    assert _send(service, imei, *times) == bytes.fromhex("00000003")
    assert _send(service, imei, *times) == bytes.fromhex("00000003")
    assert _send(service, imei, *times, NOW - 70) == bytes.fromhex("00000004")
    assert len(telemetry(service, imei)) == 4
    assert service.metric(name) == before + 6
    assert service.metric('dozor_records_total{protocol="teltonika"}') == stored + 4


def test_absurd_times_are_kept_and_make_no_partition(service: ServiceProcess) -> None:
    imei = "356938035680003"
    times = [0, 1_000_000_000, NOW - 4 * 365 * DAY, NOW + 3 * DAY, NOW + 400 * DAY, 4_000_000_000, 30_000_000_000, NOW]
    tables = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'record'::regclass"
    before = service.query(tables)
    for _ in range(3):
        assert _send(service, imei, *times) == len(times).to_bytes(4, "big")
    assert [row["time"] for row in telemetry(service, imei)] == [t * 1_000_000 for t in sorted(times)]
    outside = service.query("SELECT count(*) FROM record_outside o JOIN terminal t ON t.id = o.terminal "
                            "WHERE identity = %s", imei)  # fmt: skip
    assert outside == [(7,)]
    assert service.query(tables) == before
    assert _send(service, imei, NOW + 3 * DAY, NOW + 1) == bytes.fromhex("00000002")  # dated ahead, again
    assert len(telemetry(service, imei)) == 9


def test_a_time_that_no_calendar_has(service: ServiceProcess) -> None:
    imei = "356938035680004"
    frame = teltonika.avl_frame(teltonika.CODEC_8, [teltonika.avl_record(timestamp=2**64 - 1, satellites=7)])
    with Link(service, "teltonika") as link:
        assert link.send(teltonika.login(imei) + frame + _frame(NOW)).read(9) == b"\x01" + ONE * 2
    kept = service.query("SELECT count(*) FROM quarantine WHERE terminal = %s", imei)
    assert (kept, len(telemetry(service, imei))) == ([(1,)], 1)


# -- the store goes away ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_store_that_hangs_is_spooled_for(service: ServiceProcess) -> None:
    imei = "356938035680005"
    with Link(service, "teltonika", timeout=30) as link:
        assert link.send(teltonika.login(imei) + _frame(NOW)).read(5) == b"\x01" + ONE
        postgres = psutil.Process(service.postgres_pid())
        family = [postgres, *postgres.children(recursive=True)]
        for process in family:
            process.suspend()
        try:
            assert link.send(_frame(NOW + 1)).read(4) == ONE  # on disk, if not in the store
            assert service.metric("dozor_store_up") == 0
            assert service.metric("dozor_spool_frames") >= 1
            assert service.get("/readyz")[0] == 200
            assert service.get("/healthz")[0] == 200
        finally:
            for process in family:
                process.resume()
        wait_for(lambda: service.metric("dozor_spool_frames") == 0, 30)
        wait_for(lambda: service.metric("dozor_store_up") == 1, 30)
        assert link.send(_frame(NOW + 1, NOW + 2)).read(4) == bytes.fromhex("00000002")
    assert [row["time"] for row in telemetry(service, imei)] == [(NOW + n) * 1_000_000 for n in range(3)]


@pytest.mark.slow
def test_an_idle_service_notices_that_its_store_is_killed(service: ServiceProcess) -> None:
    pid = service.postgres_pid()
    psutil.Process(pid).kill()
    wait_for(lambda: service.postgres_pid() != pid, 30)
    wait_for(lambda: service.get("/readyz")[0] == 200, 30)
    assert _send(service, "356938035680006", NOW) == ONE


@pytest.mark.slow
def test_the_end_is_in_time_while_the_store_hangs() -> None:
    with running_service() as running:
        family = _family(running)
        postgres = psutil.Process(running.postgres_pid())
        for process in [postgres, *postgres.children(recursive=True)]:
            process.suspend()
        begun = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - begun < 15
        assert not alive(family)


# -- the end ----------------------------------------------------------------------------------------------------------


def test_an_orderly_end_answers_what_was_taken_and_leaves_nothing() -> None:
    imei = "356938035690001"
    with running_service(DOZOR_WATCH__FIRMWARE__ASK="false") as running:
        family = _family(running)
        with Link(running, "teltonika") as link, Link(running, "teltonika") as idle:
            assert idle.send(teltonika.login("356938035690002")).read(1) == b"\x01"
            assert link.send(teltonika.login(imei)).read(1) == b"\x01"
            assert running.process is not None
            for n in range(200):
                link.send(_frame(NOW + n))
                if n == 150:
                    running.process.send_signal(signal.SIGTERM)
                    break
            begun = time.monotonic()
            acked = len(link.rest(20)) // 4
            assert idle.rest() == b""
        assert running.process.wait(20) == 0
        assert time.monotonic() - begun < 15
        assert not alive(family)
        assert acked
        no_exception(running)
        # Not running: commands start the store for themselves, and leave nothing behind either.
        done = running.command("user", "add", "late", "--role", "admin", "--password-stdin", text="another password\n")
        assert done.returncode == 0, done.stderr
        assert running.command("terminal", "add", "T-2").returncode == 0
        assert not (running.data_dir / "postgres" / "postmaster.pid").exists()
        running.start()
        stored = {row["time"] for row in telemetry(running, imei)}
        assert {(NOW + n) * 1_000_000 for n in range(acked)} <= stored
        assert {"T-2", imei} <= {str(name) for (name,) in running.query("SELECT identity FROM terminal")}
        # Killed: the store lives on, and the next start takes it over.
        postgres = running.postgres_pid()
        running.kill()
        assert psutil.pid_exists(postgres)
        begun = time.monotonic()
        running.start()
        assert time.monotonic() - begun < 30
        assert running.postgres_pid() == postgres
        assert running.stop() == 0


def test_retention_drops_whole_partitions() -> None:
    imei = "356938035690003"
    with running_service(DOZOR_WATCH__FIRMWARE__ASK="false") as running:
        times = [NOW - age * DAY for age in (0, 20, 60, 200)]
        assert _send(running, imei, *times) == bytes.fromhex("00000004")
        assert running.stop() == 0
        running.environment["DOZOR_STORE__RETENTION"] = "30d"
        running.start()
        wait_for(lambda: len(telemetry(running, imei)) == 2)
        assert [row["time"] for row in telemetry(running, imei)] == [times[1] * 1_000_000, times[0] * 1_000_000]
        oldest = running.query("SELECT min(relname) FROM pg_class WHERE relname ~ '^record_2'")[0][0]
        assert str(oldest) >= time.strftime("record_%Y%m%d", time.gmtime(NOW - 38 * DAY))
        # A version that knows less than the store's schema keeps its hands off.
        running.query("INSERT INTO schema_version (number, name) VALUES (9999, 'later') RETURNING number")
        assert running.stop() == 0
        refused = running.command("serve")
        assert refused.returncode == 2
        assert "9999" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_configured_store(postgres_dsn: str) -> None:
    imei = "356938035690004"
    with data_directory() as folder:
        running = ServiceProcess(folder, DOZOR_STORE__DSN=postgres_dsn, DOZOR_WATCH__FIRMWARE__ASK="false")
        try:
            running.start()
            assert _send(running, imei, NOW) == ONE
            assert running.command("dsn").stdout.strip() == postgres_dsn
            assert len(telemetry(running, imei)) == 1
            assert not (folder / "postgres").exists()
            assert running.stop() == 0
            with psycopg.connect(postgres_dsn) as link:  # not ours to stop
                assert link.execute("SELECT count(*) FROM telemetry").fetchone() == (1,)
        finally:
            running.end()
