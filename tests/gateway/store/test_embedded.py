"""The embedded server: long paths, closed parents, what is left over, what the shell has set, and who gets in."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from gateway.errors import EmbeddedStoreError
from gateway.store import embedded
from gateway.store.embedded import EmbeddedServer
from tests.harness import data_directory


def test_long_paths_and_closed_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    with data_directory() as folder:
        deep = folder.parent / ("a" * 60) / ("b" * 60)
        deep.mkdir(parents=True, mode=0o700)
        deep.parent.chmod(0o700)  # as root the server's own user cannot walk there
        monkeypatch.setattr(tempfile, "tempdir", str(deep))
        server = EmbeddedServer(deep / "data")
        try:
            server.ensure_running()
            with psycopg.connect(server.dsn) as link:
                assert link.execute("SHOW synchronous_commit").fetchone() == ("on",)
            place = Path(psycopg.conninfo.conninfo_to_dict(server.dsn)["host"])  # type: ignore[arg-type]
            assert len(str(place / ".s.PGSQL.5432")) <= 107
            assert place.is_symlink()
            assert server.cluster.stat().st_mode & 0o777 == 0o700
            if os.geteuid() == 0:
                assert server.cluster.stat().st_uid != 0
        finally:
            server.stop()
        assert not place.is_symlink()
        assert server.pid() is None


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with data_directory() as folder:
        found = EmbeddedServer(folder)
        try:
            yield found
        finally:
            found.stop()


LIBPQ = {
    "PGHOST": "192.0.2.1", "PGHOSTADDR": "192.0.2.1", "PGPORT": "1", "PGDATABASE": "no", "PGUSER": "nobody",
    "PGPASSWORD": "x", "PGSERVICE": "none", "PGOPTIONS": "-c nonsense=1", "PGSSLMODE": "verify-full", "PGDATA": "/none",
    "PGREQUIREAUTH": "scram-sha-256", "PGTARGETSESSIONATTRS": "standby", "PGDATESTYLE": "SQL", "PGTZ": "Asia/Tokyo",
}  # fmt: skip


def test_starts_whatever_is_left_over_and_whatever_the_shell_has_set(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.ensure_running()
    pid = server.pid()
    assert pid is not None
    family = [psutil.Process(pid), *psutil.Process(pid).children()]
    for process in family:
        process.kill()
    psutil.wait_procs(family, 5)
    owner = {"user": server.cluster.stat().st_uid} if os.geteuid() == 0 else {}
    stranger = subprocess.Popen(["sleep", "60"], **owner)  # type: ignore[call-overload]
    try:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            lock = server.cluster / name
            lock.write_text("\n".join([str(stranger.pid), *lock.read_text().split("\n")[1:]]))
        for name, value in LIBPQ.items():
            monkeypatch.setenv(name, value)
        again = EmbeddedServer(server.data_dir)
        begun = time.monotonic()
        again.ensure_running()
        assert time.monotonic() - begun < 20
        with psycopg.connect(again.dsn) as link:
            assert link.execute("SHOW timezone").fetchone() == ("UTC",)
        assert stranger.poll() is None
        again.stop()
    finally:
        stranger.kill()
        stranger.wait()


PSQLS = [psql for psql in (shutil.which("psql"), str(embedded._shipped() / "bin" / "psql")) if psql]


@pytest.mark.parametrize("psql", PSQLS, ids=["psql of the system", "psql of the wheel"][-len(PSQLS) :])
def test_what_dozor_dsn_prints_works_in_any_shell(postgres_server: EmbeddedServer, psql: str) -> None:
    """Each variable alone, for one may hide another's fault; then all of them. Not PGSERVICE: libpq reads it first."""
    shell = {name: value for name, value in LIBPQ.items() if name not in ("PGSERVICE", "PGREQUIREAUTH")}
    more = {
        "PGREQUIREPEER": "somebody", "PGGSSENCMODE": "require", "PGCHANNELBINDING": "require",
        "PGSSLROOTCERT": "system",
    }  # fmt: skip
    for environment in ({}, *({name: value} for name, value in (shell | more).items()), shell | more):
        done = subprocess.run(
            [psql, "-XAtw", postgres_server.dsn, "-c", "SELECT current_database(), current_user"],
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **environment},
            capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "dozor|dozor\n"), (environment, done.stderr)


def test_a_failed_start_tells_why_and_leaves_nothing(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "START_TIMEOUT", 3.0)
    server._make()
    log = server.cluster / "log"
    log.mkdir()
    (log / "postgresql-Mon.log").write_text("database system is ready to accept connections\n")
    (server.cluster / "dozor.local.conf").write_text("work_mem = 'plenty'\n")
    with pytest.raises(EmbeddedStoreError) as caught:
        server.ensure_running()
    assert "work_mem" in str(caught.value)
    assert "ready to accept" not in str(caught.value)
    (server.cluster / "dozor.local.conf").write_text("")
    server.stop()  # and what still waits for it in a thread starts nothing afterwards
    with pytest.raises(EmbeddedStoreError, match="stopped"):
        server.ensure_running()
    assert server.pid() is None


def _connect(dsn: str, uid: int) -> str:
    """What somebody with that user id is told when he connects; empty: he is in."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        told = "not even tried"
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            psycopg.connect(dsn, connect_timeout=5).close()
            told = ""
        except Exception as error:
            told = str(error)
        finally:
            os.write(writing, told.encode())
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(pid, 0)
    return answer


def test_nobody_but_its_users_gets_in(postgres_server: EmbeddedServer) -> None:
    """The directory's mode is one door, who the kernel says is calling the other; each is shut by itself."""
    with psycopg.connect(postgres_server.dsn, autocommit=True) as link:
        rules = link.execute("SELECT type, auth_method, user_name, error FROM pg_hba_file_rules").fetchall()
        assert rules == [("local", "peer", ["dozor"], None)]
        assert link.execute("SHOW listen_addresses").fetchone() == ("",)
        link.execute("CREATE ROLE other LOGIN SUPERUSER")
        try:
            with pytest.raises(psycopg.OperationalError, match=r"no pg_hba.conf entry|[Pp]eer"):
                psycopg.connect(postgres_server.dsn.replace("user=dozor", "user=other"))
        finally:
            link.execute("DROP ROLE other")
    if os.geteuid() != 0:
        pytest.skip("to be somebody else takes root")
    cluster = postgres_server.cluster
    socket = cluster / ".s.PGSQL.5432"
    stranger = 1  # daemon
    assert "ermission denied" in _connect(postgres_server.dsn, stranger)
    modes = cluster.stat().st_mode, socket.stat().st_mode
    try:
        cluster.chmod(0o711)
        assert "ermission denied" in _connect(postgres_server.dsn, stranger)
        socket.chmod(0o777)
        assert "eer authentication failed" in _connect(postgres_server.dsn, stranger)
        assert _connect(postgres_server.dsn, cluster.stat().st_uid) == ""
    finally:
        socket.chmod(modes[1])
        cluster.chmod(modes[0])
