"""When a part of the engine looks at a ticket next: a row for each, moved by whoever changes something."""

from __future__ import annotations

from datetime import datetime

from ticketing.core.db import Connection

# What asks a ticket's state and journal, and says by itself when to ask again.
WATCHING = ("reminders", "consent", "eta", "recheck", "ladders")


async def poke(connection: Connection, ticket: int, at: datetime) -> None:
    """Something changed: all parts look at it at once."""
    await connection.execute(
        "INSERT INTO due (module, subject, at) SELECT module, %s, %s FROM unnest(%s::text[]) AS m(module)"
        " ON CONFLICT (module, subject) DO UPDATE SET at = excluded.at, attempts = 0",
        (ticket, at, list(WATCHING)),
    )


async def expect(connection: Connection, module: str, subject: int, at: datetime) -> None:
    """Look by `at`, unless a look is planned already."""
    await connection.execute(
        "INSERT INTO due (module, subject, at) VALUES (%s, %s, %s) ON CONFLICT (module, subject) DO NOTHING",
        (module, subject, at),
    )


async def move(connection: Connection, module: str, subject: int, at: datetime | None) -> None:
    """Look again at `at`; None: nothing will come by itself."""
    if at is None:
        await connection.execute("DELETE FROM due WHERE module = %s AND subject = %s", (module, subject))
    else:
        await connection.execute(
            "INSERT INTO due (module, subject, at) VALUES (%s, %s, %s)"
            " ON CONFLICT (module, subject) DO UPDATE SET at = excluded.at, attempts = 0",
            (module, subject, at),
        )
