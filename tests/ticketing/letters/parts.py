"""People and tickets for the tests of letters, written as they lie in the store."""

import itertools
from datetime import UTC, datetime, timedelta

from psycopg.types.json import Jsonb

from tests.ticketing.desk_parts import execute, fetch

NOW = datetime(2026, 11, 16, 10, 0, tzinfo=UTC)  # Monday, 13:00 in Moscow
_names = itertools.count(1)


def later(**span):
    return NOW + timedelta(**span)


async def organisation(pool, **columns):
    values = {"name": f"Acme {next(_names)}", "created_at": NOW, **columns}
    return await _insert(pool, "organisation", values)


async def contact(pool, of, name="Ann", **columns):
    emails = columns.pop("emails", [f"{name.lower()}{next(_names)}@acme.example"])
    return await _insert(
        pool, "contact", {"organisation": of, "name": name, "emails": emails, "created_at": NOW, **columns}
    )


async def vehicle(pool, of, **columns):
    return await _insert(pool, "vehicle", {"organisation": of, "created_at": NOW, **columns})


async def ticket(pool, **columns):
    """Row and number of a ticket."""
    number = f"DZ-9{next(_names):04}"
    values = {
        "number": number,
        "kind": "request",
        "channel": "mail",
        "state": "new",
        "title": "No data",
        "zone": "unknown",
        "priority": 2,
        "opened_at": NOW,
        "policy": "support-procedure",
        **columns,
    }
    return await _insert(pool, "ticket", values), number


async def letters(pool, of):
    """What is written of a ticket's letters, oldest first: kind, n, address, state, untold."""
    return await fetch(pool, "SELECT kind, n, address, state, untold FROM letter WHERE ticket = %s ORDER BY id", of)


async def _insert(pool, table, values):
    wrapped = [Jsonb(one) if isinstance(one, dict) else one for one in values.values()]
    slots = ", ".join(["%s"] * len(values))
    (row,) = await fetch(pool, f"INSERT INTO {table} ({', '.join(values)}) VALUES ({slots}) RETURNING id", *wrapped)
    return row[0]


__all__ = ["NOW", "contact", "execute", "fetch", "later", "letters", "organisation", "ticket", "vehicle"]
