"""Shared fixtures: the real parts that tests run against.

A part that cannot be had on this machine skips the tests that need it, by name and with the reason. Parts are fetched
at their first use and kept (`tools/parts.py`); where all are there, no network is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import psycopg
import pytest

from gateway import log
from gateway.store.embedded import EmbeddedServer
from gateway.store.migrate import migrate
from tests.harness import scratch
from tools import parts

# A slow moment of the machine is no fault of an example: `timing` marks the tests that judge durations.
hypothesis.settings.register_profile("dozor", deadline=None)
hypothesis.settings.load_profile("dozor")
LONGEST = (
    "tests/bench/test_bench.py", "tests/ticketing/stories/", "tests/ticketing/desk/test_browser",
    "tests/gateway/egress/test_service.py", "tests/simulation/", "tests/gateway/test_workers.py",
)  # fmt: skip
# Whom to be where PostgreSQL refuses to run as root: nobody.
UNPRIVILEGED = 65534


def _part(name: str, find: Callable[[], Path]) -> Path:
    try:
        return find()
    except parts.PartMissingError as error:
        pytest.skip(f"{name} cannot be had here: {error}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of the long form alone are no part of the short one; the longest modules come first.

    A module is one process's: the last one that is begun should not be one that all others wait for.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
    if os.environ.get("DOZOR_SOAK"):
        return
    long = [item for item in items if item.get_closest_marker("soak")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


@pytest.fixture(autouse=True, scope="session")
def logs_of_this_process_stay_as_they_are() -> Iterator[None]:
    """A command that is run in here would set up logging for every test after it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "configure", lambda *, quiet=False: None)
        yield


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' promtool."""
    return _part("promtool", parts.promtool)


@pytest.fixture(scope="session")
def amtool() -> Path:
    """Alertmanager's amtool."""
    return _part("amtool", parts.amtool)


@pytest.fixture(scope="session")
def nginx() -> Path:
    """The proxy of that name."""
    return _part("nginx", parts.nginx)


@pytest.fixture(scope="session")
def caddy() -> Path:
    """The proxy of that name."""
    return _part("caddy", parts.caddy)


@pytest.fixture(scope="session")
def mosquitto() -> Path:
    """An MQTT broker."""
    return _part("mosquitto", parts.mosquitto)


@pytest.fixture(scope="session")
def dovecot() -> Path:
    """An IMAP server, unpacked: a folder with ``usr/``."""
    return _part("dovecot", parts.dovecot)


@pytest.fixture(scope="session")
def chromium() -> Path:
    """A Chromium for Playwright's `executable_path`."""
    return _part("chromium", parts.chromium)


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's script."""
    return _part("axe-core", parts.axe).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def timescaledb_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A PostgreSQL 17 with TimescaleDB: a folder with ``bin/initdb`` and the like, which any user can read."""
    found = _part("TimescaleDB", parts.timescaledb)
    if os.geteuid() != 0 or _others_reach(found):
        yield found
        return
    # As root the server runs as somebody else, who cannot look into root's home.
    folder = Path(tempfile.mkdtemp(prefix="dozor-timescaledb-"))
    try:
        folder.chmod(0o755)
        depth = len(Path(parts.POSTGRESQL).parts)
        shutil.copytree(found.parents[depth - 1], folder / "root", symlinks=True)
        yield folder / "root" / parts.POSTGRESQL
    finally:
        shutil.rmtree(folder)


def _others_reach(path: Path) -> bool:
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (path, *path.parents))


@pytest.fixture(scope="session")
def timescaledb_dsn(timescaledb_root: Path) -> Iterator[str]:
    """The DSN of a running server with TimescaleDB preloaded; make a database of your own in it."""
    folder = Path(tempfile.mkdtemp(prefix="dozor-timescaledb-", dir=scratch()))
    user: dict[str, int | list[int]] = {}
    if os.geteuid() == 0:
        os.chown(folder, UNPRIVILEGED, UNPRIVILEGED)
        user = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}

    def run(program: str, *arguments: str) -> None:
        command = [str(timescaledb_root / "bin" / program), "-D", str(folder / "data"), *arguments]
        quiet = subprocess.DEVNULL
        subprocess.run(command, cwd=folder, check=True, timeout=120, stdout=quiet, stderr=quiet, **user)

    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "shared_preload_libraries": "timescaledb",
        "timescaledb.telemetry_level": "off",
        "jit": "off",  # its compiler is not unpacked
        "fsync": "off",
        "max_wal_size": "192MB",
    }
    try:
        run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        run("pg_ctl", "-w", "-l", str(folder / "log"), "start")
        try:
            yield f"host={folder} user=postgres dbname=postgres"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server():
    """A running server; its database `dozor` is migrated and has no connections, so it serves as a template.

    It need not outlive the machine: what a service keeps over a crash is tried on the service's own.
    """
    folder = Path(tempfile.mkdtemp(prefix="dozor-test-", dir=scratch()))
    folder.chmod(0o711)
    server = EmbeddedServer(folder)
    server.ensure_running()
    try:
        migrate(server.dsn)
        with psycopg.connect(server.dsn.replace("dbname=dozor", "dbname=postgres"), autocommit=True) as connection:
            for name in ("fsync", "full_page_writes", "synchronous_commit"):
                connection.execute(f"ALTER SYSTEM SET {name} = off")
            connection.execute("ALTER SYSTEM SET max_wal_size = '192MB'")
            connection.execute("SELECT pg_reload_conf()")
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def postgres_dsn(postgres_server):
    """A fresh database with all migrations applied."""
    with _database(postgres_server) as dsn:
        yield dsn


@pytest.fixture(scope="module")
def shared_dsn(postgres_server):
    """The same for all tests of a module, which leave nothing in it that matters to the next."""
    with _database(postgres_server) as dsn:
        yield dsn


@contextmanager
def _database(postgres_server):
    name = f"t{uuid.uuid4().hex}"
    maintenance = postgres_server.dsn.replace("dbname=dozor", "dbname=postgres")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE dozor STRATEGY file_copy")
    yield postgres_server.dsn.replace("dbname=dozor", f"dbname={name}")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def hypertable_dsn(timescaledb_dsn: str) -> str:
    """A migrated database with TimescaleDB."""
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(timescaledb_dsn, autocommit=True) as link:
        link.execute(f"CREATE DATABASE {name}".encode())
    dsn = timescaledb_dsn.replace("dbname=postgres", f"dbname={name}")
    migrate(dsn)
    return dsn


@pytest.fixture(params=["native", pytest.param("timescaledb", marks=pytest.mark.soak)])
def either_dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated database, with native partitions, in the long form also as a hypertable; both begin empty."""
    if request.param == "native":
        yield request.getfixturevalue("postgres_dsn")
        return
    found = request.getfixturevalue("hypertable_dsn")
    yield found
    with psycopg.connect(found, autocommit=True) as link:
        for name in (
            "record",
            "record_outside",
            "egress_batch",
            "egress_cursor, egress_history, egress_taker, egress_aside",
        ):
            link.execute(f"TRUNCATE {name}".encode())
