"""TimescaleDB as one finds it: installed and not loaded, loaded no more, loaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import structlog

from gateway.errors import SchemaError
from gateway.store.migrate import migrate
from tests.conftest import UNPRIVILEGED


@pytest.fixture
def database(timescaledb_dsn: str) -> Iterator[str]:
    """An empty one on a server that has loaded it."""
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(timescaledb_dsn, autocommit=True) as link:
        link.execute(f"CREATE DATABASE {name}")
        yield timescaledb_dsn.replace("dbname=postgres", f"dbname={name}")
        link.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_library_that_is_loaded_no_more_is_named(database: str) -> None:
    """As after an upgrade of the server whose configuration was not carried over."""
    migrate(database)
    assert migrate(database) == []
    with pytest.raises(SchemaError, match=r"extension timescaledb 2\.\d.*shared_preload_libraries.*restart"):
        migrate(f"{database} options='-c timescaledb.disable_load=on'")


def test_one_that_is_too_old_or_whose_library_is_gone_is_named(database: str) -> None:
    migrate(database)
    with psycopg.connect(database, autocommit=True) as link:
        link.execute("UPDATE pg_extension SET extversion = '2.4.2' WHERE extname = 'timescaledb'")
    with pytest.raises(SchemaError, match=r"timescaledb is 2\.4\.2, 2\.5 or later.*ALTER EXTENSION"):
        migrate(f"{database} options='-c timescaledb.disable_load=on'")
    with pytest.raises(SchemaError, match=r"timescaledb-2\.4\.2.*ALTER EXTENSION timescaledb UPDATE"):
        migrate(database)


def test_installed_and_not_loaded_is_told_and_records_go_to_native_partitions(timescaledb_root: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="dozor-unloaded-"))
    user: dict[str, int | list[int]] = {}
    if os.geteuid() == 0:
        os.chown(folder, UNPRIVILEGED, UNPRIVILEGED)
        user = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}

    def run(program: str, *arguments: str) -> None:
        command = [str(timescaledb_root / "bin" / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(
            command, cwd=folder, check=True, timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user
        )

    run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
    with (folder / "data" / "postgresql.conf").open("a") as file:
        file.write(f"listen_addresses = ''\nunix_socket_directories = '{folder}'\nfsync = off\njit = off\n")
    run("pg_ctl", "-w", "-l", str(folder / "log"), "start")
    try:
        dsn = f"host={folder} user=postgres dbname=postgres"
        with structlog.testing.capture_logs() as logged:
            assert migrate(dsn)
            assert migrate(dsn) == []
        assert [line["log_level"] for line in logged] == ["warning"], "once, at the first start"
        assert "CREATE EXTENSION timescaledb" in logged[0]["remedy"]
        with psycopg.connect(dsn) as link:
            assert link.execute("SELECT relkind::text FROM pg_class WHERE oid = 'record'::regclass").fetchone() == (
                "p",
            )
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)
