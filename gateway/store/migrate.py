"""Numbered SQL files applied in order, each in a transaction, under an advisory lock.

A running service makes known over a connection of its own which schema it works with (`register`). No migration runs
under it: whatever would bring the schema further says who is in the way, and changes nothing.
"""

from __future__ import annotations

import re
import time
from datetime import datetime
from importlib.resources import files
from typing import Any

import psycopg
import structlog
from psycopg.sql import SQL

from gateway.errors import SchemaError
from gateway.store.session import fit
from gateway.store.session import require as usable

_log = structlog.get_logger()
_LOCK = 0x646F7A6F72  # "dozor": held while migrations run, shared for a moment by a service that registers
_SERVICES = 0x646F7A  # class of the locks that services share; the number in it is their schema
_PATIENCE = "60s"  # for another migration to end
_LOOK = 0.2  # s between looks whether services have ended
_BEFORE = "dozor"  # application name of services that did not register yet


def migrations() -> list[tuple[int, str, str]]:
    """(number, name, SQL) of each shipped migration, in order."""
    found = []
    for entry in files("gateway.store").joinpath("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", entry.name)
        if match:
            found.append((int(match[1]), entry.name, entry.read_text()))
    return sorted(found)


def known() -> int:
    """The schema that this version works with."""
    return migrations()[-1][0]


def migrate(dsn: str, patience: float = 0.0) -> list[str]:
    """Bring the schema up to this version; returns the names of what was applied.

    Parameters
    ----------
    patience : s for services of an older version to end.

    Raises
    ------
    SchemaError
        If the schema is newer than this version knows, a service of an older version runs on it, or a migration failed
        (nothing of it remains).
    """
    shipped = migrations()
    applied = []
    with psycopg.connect(fit(dsn, client_min_messages="warning"), autocommit=True) as link:
        usable(link)
        link.execute("SELECT set_config('lock_timeout', %s, false)", (_PATIENCE,))
        try:
            link.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        except psycopg.errors.LockNotAvailable:
            raise SchemaError(f"another migration has been running for {_PATIENCE}: wait for its end") from None
        link.execute("SET lock_timeout = 0")
        link.execute(
            "CREATE TABLE IF NOT EXISTS schema_version ("
            "number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {number for (number,) in link.execute("SELECT number FROM schema_version")}
        pending = [migration for migration in shipped if migration[0] not in done]
        if done:
            _refuse_newer(max(done), shipped[-1][0])
            if pending:
                _wait_for_services(link, max(done), shipped[-1][0], patience)
        if not done:
            _enable_timescaledb(dsn, link)
        for number, name, sql in pending:
            try:
                with link.transaction():
                    link.execute(sql.encode())
                    link.execute("INSERT INTO schema_version (number, name) VALUES (%s, %s)", (number, name))
            except psycopg.Error as error:
                raise SchemaError(f"migration {name} failed, nothing of it was kept: {error}") from error
            applied.append(name)
    return applied


def require(dsn: str) -> None:
    """Refuse to work on the store of a service that runs with another schema.

    Raises
    ------
    SchemaError
        If it does.
    """
    with psycopg.connect(dsn, autocommit=True) as link:
        row = link.execute("SELECT max(number) FROM schema_version").fetchone()
    found = row[0] if row is not None and row[0] is not None else 0
    _refuse_newer(found, known())
    if found < known():
        raise SchemaError(_in_the_way(found, known(), "the service that holds the data directory"))


async def register(link: psycopg.AsyncConnection[Any]) -> None:
    """Make it known, as long as `link` lives, that a service of this version works on the store.

    Raises
    ------
    SchemaError
        If the schema is another than this version's.
    """
    async with link.transaction():
        await link.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_LOCK,))  # not in the middle of a migration
        cursor = await link.execute("SELECT max(number) FROM schema_version")
        row = await cursor.fetchone()
        found = row[0] if row is not None and row[0] is not None else 0
        if found != known():
            _refuse_newer(found, known())
            raise SchemaError(f"the store's schema is at {found}, this version works with {known()}: dozor migrate")
        await link.execute("SELECT pg_advisory_lock_shared(%s, %s)", (_SERVICES, known()))


async def registered(link: psycopg.AsyncConnection[Any]) -> int:
    """How many services of any version are registered."""
    cursor = await link.execute(SQL("SELECT count(*) FROM pg_locks WHERE {}").format(_REGISTERED), (_SERVICES,))
    row = await cursor.fetchone()
    return int(row[0]) if row is not None else 0


_REGISTERED = SQL(
    "locktype = 'advisory' AND objsubid = 2 AND classid::int = %s AND objid::int > 0 AND granted"  # 0: who watches
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _wait_for_services(link: psycopg.Connection[Any], found: int, wanted: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        rows = link.execute(
            SQL(
                "SELECT a.pid, coalesce(host(a.client_addr), 'this machine'), a.backend_start FROM pg_stat_activity a"
                " WHERE a.pid IN (SELECT pid FROM pg_locks WHERE {} AND objid::int < %s)"
                " OR (a.datname = current_database() AND a.application_name = %s)"
            ).format(_REGISTERED),
            (_SERVICES, wanted, _BEFORE),
        ).fetchall()
        if not rows:
            return
        if time.monotonic() >= deadline:
            # What another role's session is doing is not told to everybody.
            running = ", ".join(sorted(_told(*row) for row in rows))
            raise SchemaError(_in_the_way(found, wanted, f"a service ({running})"))
        time.sleep(_LOOK)


def _told(session: int, place: str, since: datetime | None) -> str:
    return f"at {place} since {since:%Y-%m-%d %H:%M:%S}" if since is not None else f"session {session}"


def _refuse_newer(found: int, ours: int) -> None:
    if found > ours:
        raise SchemaError(f"the store's schema is at {found}, this version knows {ours}: run the newer dozor")


def _in_the_way(found: int, wanted: int, who: str) -> str:
    return (
        f"the store's schema is at {found}, this version needs {wanted}, and {who} works with the older one. Nothing"
        " was changed. Stop every such service, then `dozor migrate`; until then use the version that runs"
    )


def _enable_timescaledb(dsn: str, link: psycopg.Connection) -> None:
    """Use the extension where it is installed and we may create it; without it partitions are native, for ever."""
    available = link.execute(
        "SELECT installed_version IS NOT NULL FROM pg_available_extensions WHERE name = 'timescaledb'"
    ).fetchone()
    if available is None or available[0]:
        return
    try:
        # A library that is not preloaded ends the session that asks for it.
        with psycopg.connect(fit(dsn, client_min_messages="warning"), autocommit=True) as other:
            other.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except psycopg.Error as error:  # not preloaded, or not ours to create
        _log.warning(
            "TimescaleDB is installed but cannot be used here: records go to native partitions, and will stay there",
            error=str(error).strip().split("\n")[0],
            remedy="to have a hypertable, CREATE EXTENSION timescaledb as a superuser in an empty database, and use it",
        )
