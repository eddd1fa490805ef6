"""How long repairs take (S3-5): from the opening to the first fix or proven recovery, as the journal has both."""

from __future__ import annotations

from datetime import datetime

import msgspec
from psycopg import sql

from ticketing.core.db import Connection

_STATEMENT = sql.SQL(
    "SELECT CASE WHEN grouping(class) = 0 THEN 'class' WHEN grouping(zone) = 0 THEN 'zone'"
    "   WHEN grouping(client) = 0 THEN 'client' ELSE 'all' END AS by, coalesce(class, zone, client, ''), count(*),"
    "  avg(took)::float8, (percentile_cont(0.5) WITHIN GROUP (ORDER BY took))::float8, max(took)::float8"
    " FROM (SELECT coalesce(t.class, '') AS class, t.zone, coalesce(o.name, '') AS client,"
    "    extract(epoch FROM f.at - j.at) AS took"
    "   FROM ticket t JOIN journal j ON j.ticket = t.id AND j.action = 'opened'"
    "   JOIN LATERAL (SELECT min(at) AS at FROM journal WHERE ticket = t.id AND data -> 'events' ? 'fault-fixed') f"
    "    ON f.at >= %(since)s AND f.at < %(until)s"
    "   LEFT JOIN organisation o ON o.id = t.organisation"
    "   WHERE t.merged_into IS NULL AND {} AND (%(organisation)s::bigint IS NULL OR t.organisation = %(organisation)s)"
    "    AND t.opened_at < %(until)s) repaired"
    " GROUP BY GROUPING SETS ((), (class), (zone), (client))"
    " ORDER BY array_position(ARRAY['all', 'class', 'zone', 'client'], CASE WHEN grouping(class) = 0 THEN 'class'"
    "   WHEN grouping(zone) = 0 THEN 'zone' WHEN grouping(client) = 0 THEN 'client' ELSE 'all' END), 3 DESC, 2"
)


class Repaired(msgspec.Struct, kw_only=True):
    """Repairs that share something: `by` all, class, zone or client; times in seconds of the wall clock."""

    by: str
    value: str
    tickets: int
    mean_s: float
    median_s: float
    longest_s: float


class Repairs(msgspec.Struct, kw_only=True):
    """Repairs whose fix lies in the span, the first of each ticket; of tickets merged into others those count."""

    since: datetime
    until: datetime
    rows: list[Repaired]


async def repairs(
    connection: Connection, seen: sql.Composable, since: datetime, until: datetime, organisation: int | None = None
) -> Repairs:
    """The times of what was repaired from `since` until before `until`; `seen` is whose tickets count, over `t`."""
    rows = await connection.execute(
        _STATEMENT.format(seen), {"since": since, "until": until, "organisation": organisation}
    )
    found = [
        Repaired(by=row[0], value=row[1], tickets=row[2], mean_s=row[3], median_s=row[4], longest_s=row[5])
        for row in await rows.fetchall()
        if row[2]
    ]
    return Repairs(since=since, until=until, rows=found)
