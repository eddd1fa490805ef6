"""The storm budget: how many automatic letters of tickets an address gets; what is above it waits for one digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from ticketing.core.db import Connection
from ticketing.letters.kinds import KINDS
from ticketing.letters.quiet import awake

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Budget:
    """Letters an address gets within any hour, and within any 24 hours."""

    address_hour: int = 10
    address_day: int = 40


@dataclass(frozen=True, slots=True)
class Candidate:
    """A letter that is due; `data` as `owe` wrote it."""

    id: int
    kind: str
    ticket: int | None
    contact: int | None
    address: str
    language: str
    auto: bool
    admitted: bool
    data: Mapping[str, Any]

    @property
    def counts(self) -> bool:
        """Whether it must ask the budget first: automatic, of a ticket, of a kind that can wait, not asked before."""
        traits = KINDS.get(self.kind)  # a later release's kinds are its own affair
        return self.auto and self.ticket is not None and not self.admitted and traits is not None and traits.budgeted


async def admit(connection: Connection, due: Sequence[Candidate], budget: Budget, now: datetime) -> set[int]:
    """Ask the budget about letters that this transaction holds; returns those that must wait for a digest.

    They are written down as digested, and a digest is owed to each address at the next full hour. Who is let through
    counts from now on, whatever becomes of it. Two couriers ask for one address one after the other.
    """
    asking = [one for one in due if one.counts]
    for address in sorted({one.address for one in asking}):
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('letter address'), hashtext(%s))", (address,))
    over: set[int] = set()
    for one in asking:
        rows = await connection.execute(
            "SELECT count(*) FILTER (WHERE admitted_at > %(hour)s), count(*) FROM letter"
            " WHERE address = %(address)s AND admitted_at > %(day)s",
            {"address": one.address, "hour": now - HOUR, "day": now - DAY},
        )
        lately, today = await rows.fetchone() or (0, 0)
        if lately < budget.address_hour and today < budget.address_day:
            await connection.execute("UPDATE letter SET admitted_at = %s WHERE id = %s", (now, one.id))
            continue
        digest = await _digest(connection, one, now)
        await connection.execute(
            "UPDATE letter SET state = 'digested', digest = %s, lease_until = NULL WHERE id = %s", (digest, one.id)
        )
        over.add(one.id)
    return over


async def entries(connection: Connection, digest: int) -> list[dict[str, Any]]:
    """What a digest lists: the facts of each letter, and its kind as ``letter``, in order."""
    rows = await connection.execute("SELECT kind, data FROM letter WHERE digest = %s ORDER BY id", (digest,))
    return [{**data, "letter": kind} for kind, data in await rows.fetchall()]


async def _digest(connection: Connection, one: Candidate, now: datetime) -> int:
    """The digest that will list a letter: one that waits already, else a new one."""
    rows = await connection.execute(
        "SELECT id FROM letter WHERE kind = 'digest' AND address = %s AND state = 'owed' AND raw IS NULL"
        " AND not_before > %s ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
        (one.address, now),
    )
    row = await rows.fetchone()
    to = one.data.get("to") or {}
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('letter'), hashtext('digest'))")
    while row is None:
        hour += HOUR
        rows = await connection.execute(
            "INSERT INTO letter (key, kind, n, contact, address, language, subject, auto, data, state, created_at,"
            " not_before) SELECT %s, 'digest', coalesce(max(n), 0) + 1, %s, %s, %s, '', true, %s, 'owed', %s, %s"
            " FROM letter WHERE ticket IS NULL AND kind = 'digest' ON CONFLICT (key) DO NOTHING RETURNING id",
            (
                f"digest/{one.address}/{hour:%Y-%m-%dT%H}",
                one.contact,
                one.address,
                one.language,
                Jsonb({"to": to}),
                now,
                awake(hour, str(to.get("quiet_hours") or ""), str(to.get("zone") or "")),
            ),
        )
        row = await rows.fetchone()
    return int(row[0])
