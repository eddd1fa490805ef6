"""What the code takes for granted: of a database, which is looked at before it is used, and of its sessions, set."""

from __future__ import annotations

import os
import re

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from gateway.errors import SchemaError

_OLDEST = 14  # DETACH … CONCURRENTLY
_OLDEST_TIMESCALEDB = (2, 5)  # the first for PostgreSQL 14; `timescaledb_information.chunks` is older

# psycopg reads dates and intervals in these forms only; texts are compared and kept as they came.
_SETTINGS = {
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "client_encoding": "UTF8",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
}


def fit(dsn: str, **more: str) -> str:
    """The DSN with the settings that its sessions need, beside the options it has, or PGOPTIONS where it has none."""
    options = str(conninfo_to_dict(dsn).get("options") or os.environ.get("PGOPTIONS", "")).strip()
    wanted = " ".join(f"-c {name}={value}" for name, value in {**_SETTINGS, **more}.items())
    if not f" {options}".endswith(f" {wanted}"):  # of several that set the same the last one counts
        options = f"{options} {wanted}".strip()
    return make_conninfo(dsn, options=options)


def require(link: psycopg.Connection) -> None:
    """See that this version can work with the database at all; `link` is by a DSN made to `fit`.

    Raises
    ------
    SchemaError
        With all that is wrong, and how it is put right.
    """
    try:
        link.execute("SELECT 1")
    except psycopg.errors.UndefinedFile as error:  # TimescaleDB's loader: the package is newer than the extension
        raise SchemaError(
            f"the store cannot be used: {error}: install the library of that version again, or have a superuser bring "
            f"the extension up to the one there is (psql -X … -c 'ALTER EXTENSION timescaledb UPDATE')"
        ) from error
    row = link.execute(
        "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding'),"
        " current_schema(), coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),"
        " has_database_privilege(current_database(), 'TEMP'), quote_ident(current_database()),"
        " quote_ident(current_user)"
    ).fetchone()
    assert row is not None  # noqa: S101  # a query without a table
    version, encoding, schema, creates, temporary, database, user = row
    problems = []
    if version < _OLDEST:
        problems.append(f"the server is PostgreSQL {version}, {_OLDEST} or later is needed")
    if encoding != "UTF8":
        problems.append(
            f"the database {database} has the encoding {encoding}, in which texts would be lost or spoilt: make one "
            f"with CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8', and let store.dsn name it"
        )
    if schema is None or not creates:
        problems.append(
            f"{user} may not create tables: GRANT CREATE ON SCHEMA {schema or 'public'} TO {user}, or make it the owner"
        )
    if not temporary:
        problems.append(f"{user} may not make temporary tables: GRANT TEMPORARY ON DATABASE {database} TO {user}")
    problems += _extension_problems(link)
    problems += _setting_problems(link)
    if problems:
        raise SchemaError("the store cannot be used: " + "; ".join(problems))


def _extension_problems(link: psycopg.Connection) -> list[str]:
    """A hypertable without its library, or with one that is too old, cannot be written to."""
    # The library tells by a setting of its own that it is there; the statement before this one has had it loaded.
    row = link.execute(
        "SELECT extversion, current_setting('timescaledb.license', true) IS NOT NULL FROM pg_extension"
        " WHERE extname = 'timescaledb'"
    ).fetchone()
    if row is None:
        return []
    version, loaded = row
    problems = []
    if not loaded:
        problems.append(
            f"the database has the extension timescaledb {version}, but the server has not loaded its library: install "
            f"it, put timescaledb into shared_preload_libraries (postgresql.conf) and restart the server"
        )
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if number < _OLDEST_TIMESCALEDB:
        wanted = ".".join(map(str, _OLDEST_TIMESCALEDB))
        problems.append(f"timescaledb is {version}, {wanted} or later is needed: ALTER EXTENSION timescaledb UPDATE")
    return problems


def _setting_problems(link: psycopg.Connection) -> list[str]:
    """Something in between (a connection pooler) may drop what a session asks for."""
    rows = link.execute(
        "SELECT name, setting FROM pg_settings WHERE lower(name) = ANY(%s)", (list(_SETTINGS),)
    ).fetchall()
    other = [
        f"{name} is {setting}, not {_SETTINGS[name.lower()]}"
        for name, setting in sorted(rows)
        if setting.split(",")[0].lower() != _SETTINGS[name.lower()].lower()
    ]
    if not other:
        return []
    return [
        f"what a session sets at its beginning does not reach the server ({'; '.join(other)}): let store.dsn name the "
        f"server itself, or a pooler in session mode that passes `options` on"
    ]
