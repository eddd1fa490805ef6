"""Small things that users meet in their first days: odd places, files and names, a store that stops; on one service.

Its data directory has a long Cyrillic path, its configuration file is one that Windows wrote.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from gateway.store.embedded import EmbeddedServer
from protocols.teltonika import declaration as teltonika
from tests.gateway.wire import Link, no_exception, telemetry, wait_for
from tests.harness import ServiceProcess, data_directory

ONE = bytes.fromhex("00000001")
CONNECTIONS = 50  # of the store
CUT = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'dozor%'"


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    with data_directory() as folder:
        deep = folder.parent / "Данные телематического шлюза" / ("каталог с длинным именем " * 3).strip() / "д"
        assert len(str(deep).encode()) >= 170
        deep.parent.mkdir(parents=True)
        for place in (deep.parent, deep.parent.parent):
            place.chmod(0o711)
        file = folder.parent / "dozor.toml"
        file.write_bytes(b'\xef\xbb\xbf[watch.firmware]\r\nask = false\r\n[login]\r\ntimeout = "30s"\r\n')
        running = ServiceProcess(deep, DOZOR_CONFIG=str(file))
        store = EmbeddedServer(deep)
        store._make()
        (store.cluster / "dozor.local.conf").write_text(f"max_connections = {CONNECTIONS}\n")
        running.log = folder.parent / "serve.log"
        try:
            running.start()
            yield running
            no_exception(running)
            assert running.stop() == 0, running.tail()
        finally:
            running.end()


def _record(at: int) -> bytes:
    return teltonika.avl_frame(
        teltonika.CODEC_8E, [teltonika.avl_record(timestamp=at * 1000, latitude=1, satellites=7)]
    )


@pytest.mark.parametrize("identity", ["wl/odd", "100%", "%2F", "..", "<b>x</b>", "a?b#c", "a&b"])
def test_an_odd_identity_is_one_terminal_everywhere(service: ServiceProcess, identity: str) -> None:
    with Link(service, "wialon-ips") as link:
        link.send(f"#L#{identity};NA\r\n#D#210325;081537;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;;NA;NA\r\n".encode())
        assert link.read(14) == b"#AL#1\r\n#AD#1\r\n"
    assert len(telemetry(service, identity)) == 1
    assert service.command("terminal", "set", identity, "--name", "Тягач").returncode == 0
    assert service.query("SELECT name FROM terminal WHERE identity = %s", identity) == [("Тягач",)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_that_end_in_lf_alone_are_answered(service: ServiceProcess, end: str) -> None:
    with Link(service, "wialon-ips", timeout=5.0) as link:  # the login timeout is longer
        link.send(f"#L#350000000000013;NA{end}#P#{end}".encode())
        assert link.read(7).rstrip() + link.read(6).strip() == b"#AL#1#AP#"


def test_a_spreadsheet_that_is_wrong_registers_nobody(service: ServiceProcess, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    file.write_text("terminal,name\n350000000000507,Truck, red\n3.5E+14,\n350000000000504.0,\n350000000000508,Truck\n")
    done = service.command("terminal", "import", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert [f"{file}:{line}: " in done.stderr for line in range(1, 6)] == [False, True, True, True, False]
    assert service.query("SELECT identity FROM terminal WHERE identity LIKE '3500000000005%%'") == []
    file.write_bytes(b"\xef\xbb\xbfterminal;name\r\n350000000000508;\xd0\x9c\xd0\x90\xd0\x97\r\n")
    done = service.command("terminal", "import", str(file))
    assert (done.returncode, done.stdout) == (0, "1 new, 0 changed, 0 as before\n"), done.stderr
    assert service.query("SELECT name FROM terminal WHERE identity = '350000000000508'") == [("МАЗ",)]


def _fill(dsn: str, held: ExitStack) -> None:
    """Take all connections that the store has left."""
    for _ in range(CONNECTIONS + 1):
        try:
            held.enter_context(psycopg.connect(dsn, connect_timeout=5))
        except psycopg.OperationalError as error:
            if "too many clients" in str(error):
                return
            raise
    raise AssertionError("it has more")


@pytest.mark.parametrize("trouble", ["read only", "sessions killed", "no connections left"])
def test_a_store_that_takes_nothing_for_a_while_costs_nothing(service: ServiceProcess, trouble: str) -> None:
    imei, now = f"350000000{len(trouble):06}", int(time.time())
    assert service.process is not None
    with psycopg.connect(service.dsn, autocommit=True) as admin, Link(service, "teltonika") as link:
        assert link.send(teltonika.login(imei) + _record(now - 9)).read(5) == b"\x01" + ONE
        if trouble == "read only":
            admin.execute("ALTER DATABASE dozor SET default_transaction_read_only = on")
        with ExitStack() as held:
            service.process.send_signal(signal.SIGSTOP)  # or it would be quicker than we are
            try:
                admin.execute(CUT)
                if trouble == "no connections left":
                    _fill(service.dsn, held)
            finally:
                service.process.send_signal(signal.SIGCONT)
            for n in range(8):
                assert link.send(_record(now - 8 + n)).read(4) == ONE
            assert service.get("/readyz")[0] == 200
            if trouble != "sessions killed":
                assert service.metric("dozor_store_up") == 0
                assert service.metric("dozor_spool_frames") > 0
        admin.execute("SET default_transaction_read_only = off")
        admin.execute("ALTER DATABASE dozor RESET default_transaction_read_only")
        if trouble == "read only":
            admin.execute(CUT)
        wait_for(lambda: len(telemetry(service, imei)) == 9, 20)
        wait_for(lambda: service.metric("dozor_store_up") == 1 and service.metric("dozor_spool_frames") == 0)


@pytest.mark.slow
def test_what_a_kill_left_does_not_keep_it_from_starting(service: ServiceProcess) -> None:
    """The store's lock names a process that is somebody else's by now."""
    postmaster = psutil.Process(service.postgres_pid())
    family = [postmaster, *postmaster.children(recursive=True)]
    service.kill()
    for process in family:
        with suppress(psutil.NoSuchProcess):  # they end with their parent
            process.kill()
    psutil.wait_procs(family, 5)
    cluster = service.data_dir / "postgres"
    owner = {"user": cluster.stat().st_uid} if os.geteuid() == 0 else {}
    stranger = subprocess.Popen(["sleep", "60"], **owner)  # type: ignore[call-overload]
    try:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            lines = (cluster / name).read_text().split("\n")
            (cluster / name).write_text("\n".join([str(stranger.pid), *lines[1:]]))
        service.start()  # ready within 30 s
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
