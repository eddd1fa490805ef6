"""Real parts for the tests: the product's own PostgreSQL, a fresh database for each test that asks for one."""

import shutil
import tempfile
import uuid
from pathlib import Path

import psycopg
import pytest

from gateway.store.embedded import EmbeddedServer
from gateway.store.migrate import migrate


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
