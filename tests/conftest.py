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
from pathlib import Path

import psycopg
import pytest

from gateway.store.embedded import EmbeddedServer
from gateway.store.migrate import migrate
from tools import parts

# Whom to be where PostgreSQL refuses to run as root: nobody.
UNPRIVILEGED = 65534


def _part(name: str, find: Callable[[], Path]) -> Path:
    try:
        return find()
    except parts.PartMissingError as error:
        pytest.skip(f"{name} cannot be had here: {error}")


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' promtool."""
    return _part("promtool", parts.promtool)


@pytest.fixture(scope="session")
def chromium() -> Path:
    """A Chromium for Playwright's `executable_path`."""
    return _part("chromium", parts.chromium)


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
    folder = Path(tempfile.mkdtemp(prefix="dozor-timescaledb-"))
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
    """A running server; its database `dozor` is migrated and has no connections, so it serves as a template."""
    folder = Path(tempfile.mkdtemp(prefix="dozor-test-"))
    folder.chmod(0o711)
    server = EmbeddedServer(folder)
    server.ensure_running()
    try:
        migrate(server.dsn)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def postgres_dsn(postgres_server):
    """A fresh database with all migrations applied."""
    name = f"t{uuid.uuid4().hex}"
    maintenance = postgres_server.dsn.replace("dbname=dozor", "dbname=postgres")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE dozor")
    yield postgres_server.dsn.replace("dbname=dozor", f"dbname={name}")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
