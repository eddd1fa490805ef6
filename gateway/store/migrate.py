"""Numbered SQL files applied in order, each in a transaction, under an advisory lock."""

from __future__ import annotations

import re
from importlib.resources import files

import psycopg

from gateway.errors import SchemaError

_LOCK = 0x646F7A6F72  # "dozor"


def migrations() -> list[tuple[int, str, str]]:
    """(number, name, SQL) of each shipped migration, in order."""
    found = []
    for entry in files("gateway.store").joinpath("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", entry.name)
        if match:
            found.append((int(match[1]), entry.name, entry.read_text()))
    return sorted(found)


def migrate(dsn: str) -> list[str]:
    """Bring the schema up to this version; returns the names of what was applied.

    Raises
    ------
    SchemaError
        If the schema is newer than this version knows, or a migration failed (nothing of it remains).
    """
    shipped = migrations()
    applied = []
    with psycopg.connect(dsn, autocommit=True, options="-c client_min_messages=warning") as link:
        link.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        link.execute(
            "CREATE TABLE IF NOT EXISTS schema_version ("
            "number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {number for (number,) in link.execute("SELECT number FROM schema_version")}
        if done and max(done) > shipped[-1][0]:
            raise SchemaError(
                f"the store's schema is at {max(done)}, this version knows {shipped[-1][0]}: run the newer dozor"
            )
        _enable_timescaledb(link)
        for number, name, sql in shipped:
            if number in done:
                continue
            try:
                with link.transaction():
                    link.execute(sql.encode())
                    link.execute("INSERT INTO schema_version (number, name) VALUES (%s, %s)", (number, name))
            except psycopg.Error as error:
                raise SchemaError(f"migration {name} failed, nothing of it was kept: {error}") from error
            applied.append(name)
    return applied


def _enable_timescaledb(link: psycopg.Connection) -> None:
    """Use the extension where it is installed and we may create it; without it partitions are native."""
    available = link.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'").fetchone()
    if available is None:
        return
    try:
        link.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except psycopg.Error:  # not preloaded, or not ours to create
        return
