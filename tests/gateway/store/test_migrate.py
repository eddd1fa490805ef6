"""Migrations and running services: none runs under another version's service, and everybody is told why."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from gateway.errors import SchemaError
from gateway.store import migrate as schema
from gateway.store.embedded import EmbeddedServer
from gateway.store.migrate import known, migrate, migrations, register, registered, require
from tests.gateway.wire import wait_for
from tests.harness import running_service


@contextmanager
def service(dsn: str) -> Iterator[psycopg.AsyncConnection]:
    """A session that is registered as a service of this version."""
    with asyncio.Runner() as runner:

        async def open_() -> psycopg.AsyncConnection:
            link = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
            await register(link)
            assert await registered(link) == 1
            return link

        link = runner.run(open_())
        try:
            yield link
        finally:
            runner.run(link.close())


def versions(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as link:
        return [number for (number,) in link.execute("SELECT number FROM schema_version ORDER BY 1").fetchall()]


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> int:
    """This version knows one migration more than the store has."""
    shipped = schema.migrations()
    number = shipped[-1][0] + 1
    more = [*shipped, (number, f"{number:04}_more.sql", "CREATE TABLE more (id int)")]
    monkeypatch.setattr(schema, "migrations", lambda: more)
    return number


def test_a_running_service_is_not_migrated_under(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = versions(postgres_dsn)
    shipped = schema.migrations()
    more = [*shipped, (shipped[-1][0] + 1, "more", "CREATE TABLE more (id int)")]
    with service(postgres_dsn):
        assert migrate(postgres_dsn) == []  # nothing to do disturbs nobody
        monkeypatch.setattr(schema, "migrations", lambda: more)
        with pytest.raises(SchemaError, match=r"a service \(at this machine since .*Stop every such"):
            migrate(postgres_dsn)
        with pytest.raises(SchemaError, match="Nothing was changed"):
            require(postgres_dsn)
        assert versions(postgres_dsn) == before
    assert migrate(postgres_dsn, patience=5.0) == ["more"]
    require(postgres_dsn)


def test_it_waits_for_services_that_are_just_ending(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with service(postgres_dsn):
        shipped = schema.migrations()
        more = [*shipped, (shipped[-1][0] + 1, "more", "SELECT 1")]
        monkeypatch.setattr(schema, "migrations", lambda: more)
        begun = time.monotonic()
        with pytest.raises(SchemaError):
            migrate(postgres_dsn, patience=0.5)
        assert 0.4 < time.monotonic() - begun < 3.0


def test_a_service_from_before_services_registered(postgres_dsn: str, newer: int) -> None:
    with (
        psycopg.connect(postgres_dsn, application_name="dozor"),
        pytest.raises(SchemaError, match=f"this version needs {newer}"),
    ):
        migrate(postgres_dsn)
    assert migrate(postgres_dsn) == [f"{newer:04}_more.sql"]


def test_no_service_registers_on_another_schema(postgres_dsn: str) -> None:
    async def scenario() -> None:
        async with await psycopg.AsyncConnection.connect(postgres_dsn, autocommit=True) as link:
            await link.execute("DELETE FROM schema_version WHERE number = %s", (known(),))
            with pytest.raises(SchemaError, match="dozor migrate"):
                await register(link)
            await link.execute("INSERT INTO schema_version (number, name) VALUES (%s, 'later')", (known() + 1,))
            with pytest.raises(SchemaError, match="run the newer dozor"):
                await register(link)
            assert await registered(link) == 0

    asyncio.run(scenario())


def test_nobody_registers_in_the_middle_of_a_migration(postgres_dsn: str) -> None:
    async def scenario() -> None:
        async with (
            await psycopg.AsyncConnection.connect(postgres_dsn, autocommit=True) as migrating,
            await psycopg.AsyncConnection.connect(postgres_dsn, autocommit=True) as link,
        ):
            await migrating.execute("SELECT pg_advisory_lock(%s)", (schema._LOCK,))
            registering = asyncio.create_task(register(link))
            await asyncio.wait({registering}, timeout=0.3)
            assert not registering.done()
            await migrating.execute("SELECT pg_advisory_unlock(%s)", (schema._LOCK,))
            await asyncio.wait_for(registering, 5)

    asyncio.run(scenario())


@pytest.fixture
def beside(postgres_server: EmbeddedServer, postgres_dsn: str) -> Iterator[str]:
    """Another database of the same server."""
    name = f"beside{uuid.uuid4().hex}"
    with psycopg.connect(postgres_dsn, autocommit=True) as link:
        link.execute(f"CREATE DATABASE {name} TEMPLATE dozor STRATEGY file_copy".encode())
        try:
            yield postgres_server.dsn.replace("dbname=dozor", f"dbname={name}")
        finally:
            link.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_services_of_another_database_are_in_nobodys_way(postgres_dsn: str, beside: str, newer: int) -> None:
    with psycopg.connect(beside, autocommit=True) as link:  # one of today's services, and one from before
        link.execute("SELECT pg_advisory_lock_shared(%s, %s)", (schema._SERVICES, newer - 1))
        with psycopg.connect(beside, application_name="dozor"):
            assert migrate(postgres_dsn) == [f"{newer:04}_more.sql"]
            with pytest.raises(SchemaError, match="Stop every such"):
                migrate(beside)


def test_two_migrations_at_once_are_one_after_the_other(
    postgres_dsn: str, newer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (schema._LOCK,))
        monkeypatch.setattr(schema, "_PATIENCE", "200ms")
        with pytest.raises(SchemaError, match="another migration has been running for 200ms: wait for its end"):
            migrate(postgres_dsn)
        monkeypatch.setattr(schema, "_PATIENCE", "20s")
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(migrate, postgres_dsn) for _ in range(2)]
            time.sleep(0.3)
            assert not any(one.done() for one in both)
            other.execute("SELECT pg_advisory_unlock(%s)", (schema._LOCK,))
            assert sorted(one.result(20) for one in both) == [[], [f"{newer:04}_more.sql"]]


def test_a_migration_waits_for_whoever_reads_as_long_as_it_takes(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = schema.migrations()
    more = [*shipped, (shipped[-1][0] + 1, "more", "ALTER TABLE terminal ADD COLUMN more int")]
    monkeypatch.setattr(schema, "migrations", lambda: more)
    monkeypatch.setattr(schema, "_PATIENCE", "200ms")  # for other migrations alone
    with psycopg.connect(postgres_dsn) as reader, ThreadPoolExecutor(1) as pool:
        reader.execute("SELECT count(*) FROM terminal")
        migrating = pool.submit(migrate, postgres_dsn)
        time.sleep(1.0)
        reader.rollback()
        assert migrating.result(20) == ["more"]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE half (id int); SELECT 1/0",
        "CREATE TABLE half (id int); ALTER TABLE schema_version ADD CHECK (number < 3) NOT VALID",  # then it fails
    ],
)
def test_of_a_migration_that_fails_nothing_stays(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    before, shipped = versions(postgres_dsn), schema.migrations()
    number = shipped[-1][0]
    more = [*shipped, (number + 1, "0100_good.sql", "CREATE TABLE good (id int)"), (number + 2, "0101_bad.sql", sql)]
    monkeypatch.setattr(schema, "migrations", lambda: more)
    with pytest.raises(SchemaError, match=r"migration 0101_bad\.sql failed, nothing of it was kept"):
        migrate(postgres_dsn)
    assert versions(postgres_dsn) == [*before, number + 1]
    with psycopg.connect(postgres_dsn) as link:
        assert link.execute("SELECT to_regclass('good'), to_regclass('half')").fetchone() == ("good", None)
        assert link.execute(
            "SELECT count(*) FROM pg_constraint WHERE conname LIKE 'schema_version%check%'"
        ).fetchone() == (0,)
    more[-1] = (number + 2, "0101_mended.sql", "SELECT 1")
    assert migrate(postgres_dsn) == ["0101_mended.sql"]


@pytest.mark.slow
def test_a_running_service_from_outside(postgres_dsn: str) -> None:
    """When its store was migrated behind its back: commands refuse, and the service ends as soon as it knows."""
    with running_service(DOZOR_STORE__DSN=postgres_dsn) as running:
        assert running.command("migrate").stdout == "the schema is up to date\n"
        with psycopg.connect(postgres_dsn, autocommit=True) as link:
            link.execute("INSERT INTO schema_version (number, name) VALUES (%s, 'later')", (known() + 1,))
            refused = running.command("terminal", "list")
            assert refused.returncode == 2
            assert "run the newer dozor" in refused.stderr
            assert running.get("/readyz")[0] == 200
            link.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'dozor tenure' AND datname = current_database()"
            )
        assert running.process is not None
        wait_for(lambda: running.process.poll() is not None, 20)  # type: ignore[union-attr]
        assert running.process.returncode == 2
        assert "run the newer dozor" in running.log.read_text()


def test_each_migration_has_a_number_of_its_own() -> None:
    numbers = [number for number, _, _ in migrations()]
    assert len(set(numbers)) == len(numbers)
