"""Databases that are not what one expects: refused at the start with the remedy, or made to fit."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from gateway.errors import SchemaError
from gateway.service.reader import PostgresReader
from gateway.store import session as module
from gateway.store.embedded import EmbeddedServer
from gateway.store.migrate import migrate
from gateway.store.session import fit, require
from gateway.store.writer import Writer
from tests.harness import ServiceProcess, data_directory

Made = Callable[[str], str]


@pytest.fixture
def made(postgres_server: EmbeddedServer) -> Iterator[Made]:
    """Makes a database of one's own, given what follows CREATE DATABASE."""
    names = []
    with psycopg.connect(postgres_server.dsn.replace("dbname=dozor", "dbname=postgres"), autocommit=True) as link:

        def make(how: str) -> str:
            name = f"t{uuid.uuid4().hex}"
            link.execute(f"CREATE DATABASE {name} {how}".encode())
            names.append(name)
            return postgres_server.dsn.replace("dbname=dozor", f"dbname={name}")

        yield make
        for name in names:
            link.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_an_encoding_that_spoils_texts_is_refused(made: Made, encoding: str) -> None:
    dsn = made(f"TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    with pytest.raises(SchemaError, match=f"{encoding}.*TEMPLATE template0 ENCODING 'UTF8'"):
        migrate(dsn)
    with psycopg.connect(dsn) as link:
        assert link.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
    if encoding == "LATIN1":
        with data_directory() as folder:
            refused = ServiceProcess(folder, DOZOR_STORE__DSN=dsn).command("serve")
        assert refused.returncode == 2
        assert "ENCODING 'UTF8'" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_rights_that_are_missing_are_named_at_once(made: Made) -> None:
    dsn = made("TEMPLATE template0")
    with psycopg.connect(dsn, autocommit=True) as link:
        role = f"r{uuid.uuid4().hex}"
        database = conninfo_to_dict(dsn)["dbname"]
        link.execute(f"CREATE ROLE {role} LOGIN".encode())
        link.execute(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC".encode())
        try:
            with pytest.raises(SchemaError) as caught:
                migrate(fit(dsn, role=role))
            assert f"GRANT CREATE ON SCHEMA public TO {role}" in str(caught.value)
            assert f"GRANT TEMPORARY ON DATABASE {database} TO {role}" in str(caught.value)
        finally:
            link.execute(f"DROP ROLE {role}".encode())


def test_sessions_are_what_the_code_takes_for_granted(made: Made) -> None:
    dsn = made("TEMPLATE template0")
    with psycopg.connect(dsn, autocommit=True) as link:
        for name, value in (
            ("datestyle", "'SQL, DMY'"), ("timezone", "'Asia/Vladivostok'"), ("intervalstyle", "sql_standard"),
            ("client_encoding", "LATIN1"), ("bytea_output", "escape"),
        ):  # fmt: skip
            link.execute(f"ALTER DATABASE {conninfo_to_dict(dsn)['dbname']} SET {name} = {value}".encode())
    migrate(dsn)

    async def scenario() -> None:
        link = await Writer.open(dsn)
        async with link:
            await Writer(1, {}, unknown).prepare(link)
            await link.execute("INSERT INTO terminal (identity, name) VALUES ('ТРАКТОР-1', '图')")
            assert await (await link.execute("SELECT interval '1 day 2 hours', '\\x00ff'::bytea")).fetchone()
        async with AsyncConnectionPool(fit(dsn), min_size=1, max_size=1, kwargs={"autocommit": True}) as pool:
            (found,) = (await PostgresReader(pool).terminals()).items
            assert (found.terminal, found.name, found.records) == ("ТРАКТОР-1", "图", 0)

    asyncio.run(scenario())


ODD = {
    "datestyle": "SQL, DMY", "intervalstyle": "sql_standard", "timezone": "Asia/Tokyo", "client_encoding": "LATIN1",
    "bytea_output": "escape", "standard_conforming_strings": "off",
}  # fmt: skip


def test_each_setting_that_is_relied_on_is_made_and_looked_at(shared_dsn: str) -> None:
    assert set(ODD) == set(module._SETTINGS)
    for name, value in ODD.items():
        with psycopg.connect(fit(shared_dsn), autocommit=True) as link:
            row = link.execute("SELECT current_setting(%s)", (name,)).fetchone()
            assert row is not None
            assert row[0].split(",")[0] == module._SETTINGS[name]
            require(link)
            link.execute("SELECT set_config(%s, %s, false)", (name, value))
            with pytest.raises(SchemaError, match=f"(?i){name} is {value}, not {module._SETTINGS[name]}"):
                require(link)


def test_a_server_that_is_too_old_is_named(shared_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OLDEST", 99)
    with psycopg.connect(fit(shared_dsn)) as link, pytest.raises(SchemaError, match="99 or later is needed"):
        require(link)


def test_a_pooler_that_drops_what_a_session_sets_is_named(made: Made) -> None:
    """As pgbouncer with `ignore_startup_parameters = options`."""
    dsn = made("TEMPLATE template0")
    told = r"DateStyle is SQL, MDY, not ISO; TimeZone is Asia/Vladivostok, not UTC"
    elsewhere = fit(dsn, timezone="Asia/Vladivostok", datestyle="SQL")
    with psycopg.connect(elsewhere, autocommit=True) as link, pytest.raises(SchemaError, match=told):
        require(link)
    with psycopg.connect(fit(dsn), autocommit=True) as link:
        require(link)


def test_the_options_of_a_dsn_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    once = fit("host=x options='-c search_path=mine -c timezone=Asia/Tokyo'")
    options = str(conninfo_to_dict(once)["options"]).split(" -c ")
    assert options[0] == "-c search_path=mine"
    assert options.index("timezone=UTC") > options.index("timezone=Asia/Tokyo")
    assert fit(once) == once
    monkeypatch.setitem(os.environ, "PGOPTIONS", "-c work_mem=8MB")
    assert "-c work_mem=8MB" in str(conninfo_to_dict(fit("postgresql://x/y"))["options"])


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("-c lock_timeout=20000", {"lock_timeout": "2000"}),
        ("-c timezone=UTC-3", {}),
        ("-c timezone=UTC -c timezone=Asia/Tokyo", {}),
        ("-c bytea_output=hex -c bytea_output=escape", {}),
        ("-c client_encoding=UTF8 --client_encoding=LATIN1", {}),
        ("-c statement_timeout=0 -c statement_timeout=100", {"statement_timeout": "0"}),
        ("--datestyle=ISO,DMY -c datestyle=German", {}),
    ],
)
def test_what_is_wanted_wins_whatever_the_options_say_before(
    shared_dsn: str, given: str, wanted: dict[str, str]
) -> None:
    """Also where what is wanted is the beginning of another value there, or stands there and is overruled."""
    once = fit(make_conninfo(shared_dsn, options=given), **wanted)
    with psycopg.connect(once) as link:
        require(link)
        for name, value in {**module._SETTINGS, **wanted}.items():
            row = link.execute("SELECT setting, unit FROM pg_settings WHERE lower(name) = %s", (name,)).fetchone()
            assert row is not None
            assert row[0].split(",")[0] == value, name
    assert fit(once, **wanted) == once
    with psycopg.connect(fit(once)) as link:  # a part with fewer wishes: what the options had besides stays
        require(link)


async def unknown(identity: str, protocol: str) -> int:
    return -1
