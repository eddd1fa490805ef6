"""Times without service, and the letters that explain them: after an hour, with each new date, and at the end.

Whom it hit is decided when the letter falls due: the clients whose terminals it was, or all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import LiteralString

from ticketing.channels.events import OUTAGE_CLOSED, OUTAGE_OPENED, enqueue_outage
from ticketing.core.db import Connection, utc, utc_or_none
from ticketing.letters.owe import owe
from ticketing.letters.recipients import outage_recipients
from ticketing.tickets.dues import move
from ticketing.tickets.office import Office

MODULE = "outage"
LOCK: LiteralString = "SELECT FROM outage WHERE id = %s FOR UPDATE SKIP LOCKED"
AFTER = timedelta(minutes=60)  # more than that without service: a letter (S2-24)
TICK = timedelta(microseconds=1)


async def begin(
    connection: Connection,
    office: Office,
    key: str,
    at: datetime,
    *,
    eta: datetime | None = None,
    terminals: Sequence[int] | None = None,
) -> int:
    """Service is away since `at`, for these terminals or all; one outage a `key` at a time. Returns its row.

    One that is open takes over the new date; after its first letter the clients are told of it.
    """
    rows = await connection.execute(
        "INSERT INTO outage (key, started_at, eta, terminals) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (key) WHERE ended_at IS NULL DO UPDATE SET eta = coalesce(excluded.eta, outage.eta),"
        " eta_version = outage.eta_version"
        "   + (excluded.eta IS NOT NULL AND excluded.eta IS DISTINCT FROM outage.eta)::int,"
        " terminals = CASE WHEN outage.terminals IS NULL OR excluded.terminals IS NULL THEN NULL"
        "   ELSE ARRAY(SELECT DISTINCT unnest(outage.terminals || excluded.terminals)) END"
        " RETURNING id, started_at, told_at IS NOT NULL",
        (key, at, eta, None if terminals is None else list(terminals)),
    )
    outage, started, told = await rows.fetchone() or (0, at, False)
    await move(connection, MODULE, outage, at if told else utc(started) + AFTER + TICK)
    body = {"id": outage, "started_at": utc(started), "ended_at": None, "eta": eta}
    await enqueue_outage(connection, OUTAGE_OPENED, outage, body, office.targets, at)
    return int(outage)


async def promise(connection: Connection, outage: int, eta: datetime | None, at: datetime) -> None:
    """Service is expected by `eta`, or nobody knows when: who was told of the outage is told this as well."""
    rows = await connection.execute(
        "UPDATE outage SET eta = %(eta)s, eta_version = eta_version + 1 WHERE id = %(id)s AND ended_at IS NULL"
        " AND eta IS DISTINCT FROM %(eta)s RETURNING told_at IS NOT NULL",
        {"id": outage, "eta": eta},
    )
    if await rows.fetchone() == (True,):
        await move(connection, MODULE, outage, at)


async def end(connection: Connection, office: Office, key: str, at: datetime) -> int | None:
    """Service is back; who was told that it was away is told. Returns the outage's row, None if there was none."""
    rows = await connection.execute(
        "UPDATE outage SET ended_at = %s WHERE key = %s AND ended_at IS NULL RETURNING id, started_at, eta, told_at",
        (at, key),
    )
    row = await rows.fetchone()
    if row is None:
        return None
    outage, started, eta, told = row
    # Over the hour by now, though nobody looked in between: it is explained all the same.
    if told is None and at > utc(started) + AFTER:
        await _first(connection, office, outage, at)
        told = at
    if told is not None:
        data = {"started_at": utc(started), "ended_at": at}
        await _write(connection, office, outage, "outage_end", f"outage/{outage}/end", data, at)
    await move(connection, MODULE, outage, None)
    body = {"id": outage, "started_at": utc(started), "ended_at": at, "eta": utc_or_none(eta)}
    await enqueue_outage(connection, OUTAGE_CLOSED, outage, body, office.targets, at)
    return int(outage)


async def look(connection: Connection, office: Office, outage: int, now: datetime) -> datetime | None:
    """The first letter when its hour has passed; later ones when the date has changed since."""
    rows = await connection.execute(
        "SELECT started_at, ended_at, eta, eta_version, told_at, data ->> 'told_version', data ->> 'told_eta'"
        " FROM outage WHERE id = %s",
        (outage,),
    )
    row = await rows.fetchone()
    if row is None or row[1] is not None:
        return None
    started, _, eta, version, told, told_version, told_eta = row
    if told is None:
        due = utc(started) + AFTER + TICK
        if now < due:
            return due
        await _first(connection, office, outage, now)
        return None
    if int(told_version or 0) != version:
        data = {"started_at": utc(started), "eta": utc_or_none(eta), "old_eta": told_eta}
        await _write(connection, office, outage, "outage_update", f"outage/{outage}/update/{version}", data, now)
        await _told(connection, outage)
    return None


async def _first(connection: Connection, office: Office, outage: int, now: datetime) -> None:
    rows = await connection.execute("SELECT started_at, eta FROM outage WHERE id = %s", (outage,))
    started, eta = await rows.fetchone() or (now, None)
    data = {"started_at": utc(started), "eta": utc_or_none(eta)}
    await _write(connection, office, outage, "outage", f"outage/{outage}/first", data, now)
    await connection.execute("UPDATE outage SET told_at = %s WHERE id = %s", (now, outage))
    await _told(connection, outage)


async def _told(connection: Connection, outage: int) -> None:
    await connection.execute(
        "UPDATE outage SET data = data || jsonb_build_object('told_version', eta_version, 'told_eta', eta)"
        " WHERE id = %s",
        (outage,),
    )


async def _write(
    connection: Connection, office: Office, outage: int, kind: str, key: str, data: Mapping[str, object], at: datetime
) -> None:
    zone = office.terms.policy.file.working_time.time_zone
    for organisation, count in await _hit(connection, outage):
        await owe(
            connection, kind, key=f"{key}/{organisation}", ticket=None, outage=outage,
            recipients=await outage_recipients(connection, [organisation], zone=zone), data={**data, "count": count},
            at=at, auto=True,
        )  # fmt: skip


async def _hit(connection: Connection, outage: int) -> list[tuple[int, int]]:
    """Organisations with how many of their terminals were hit."""
    rows = await connection.execute(
        "SELECT v.organisation, count(*) FROM outage u JOIN vehicle v ON v.active"
        " AND (u.terminals IS NULL OR v.terminal = ANY(u.terminals)) JOIN organisation o ON o.id = v.organisation"
        " WHERE u.id = %s AND o.active GROUP BY v.organisation ORDER BY v.organisation",
        (outage,),
    )
    return [(organisation, count) for organisation, count in await rows.fetchall()]
