"""How well groups of terminals do: who is silent now, and how many incidents began on each of the last days."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

DAYS = 7
GROUPS = 30  # those with the most silent terminals
# What health can be asked by, and the terminal's column; null: unknown. Lists mean the same by these names.
BY = {
    "operator": sql.SQL("e.operator"),
    "customer": sql.SQL("e.customer"),
    "site": sql.SQL("e.site"),
    "region": sql.SQL("e.region"),
    "model": sql.SQL("coalesce(e.model_told, e.model, 'protocol:' || e.protocol)"),
    "protocol": sql.SQL("e.protocol"),
}


class GroupHealth(msgspec.Struct, kw_only=True):
    """Terminals in use that share `value`; `silent` have an open incident of silence, members of groups among them.

    `trend` are incidents of silence by the day on which they were opened (UTC), the oldest first, today last.
    """

    value: str
    terminals: int
    silent: int
    share: float
    trend: list[int]


class Health(msgspec.Struct, kw_only=True):
    """Groups by one dimension, the most silent first; `days` are those of their trends."""

    by: str
    days: list[str]
    groups: list[GroupHealth]


async def fleet_health(pool: AsyncConnectionPool[AsyncConnection[TupleRow]], by: str, now: datetime) -> Health:
    """The health of groups by `by`, one of `BY`."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    first = today - timedelta(days=DAYS - 1)
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 5000")
        rows = await connection.execute(
            sql.SQL(
                "WITH fleet AS (SELECT e.id, coalesce({column}, 'unknown') AS value FROM terminal e"
                "   WHERE e.stage = 'in_use' OR e.stage_until <= %(now)s),"
                " recent AS (SELECT terminal, state, opened_at FROM incident WHERE kind = 'silence'"
                "   AND terminal IS NOT NULL AND (state = 'open' OR opened_at >= %(first)s))"
                " SELECT f.value, count(DISTINCT f.id), count(DISTINCT f.id) FILTER (WHERE r.state = 'open'),"
                "   array_agg(floor(extract(epoch FROM r.opened_at - %(first)s) / 86400)::int)"
                "     FILTER (WHERE r.opened_at >= %(first)s AND r.opened_at < %(end)s)"
                " FROM fleet f LEFT JOIN recent r ON r.terminal = f.id"
                " GROUP BY 1 ORDER BY 3 DESC, 2 DESC, 1 LIMIT %(most)s"
            ).format(column=BY[by]),
            {"now": now, "first": first, "end": today + timedelta(days=1), "most": GROUPS},
        )
        found = await rows.fetchall()
    groups = [
        GroupHealth(
            value=value,
            terminals=terminals,
            silent=silent,
            share=round(silent / terminals, 4),
            trend=[(opened or []).count(day) for day in range(DAYS)],
        )
        for value, terminals, silent, opened in found
    ]
    return Health(by=by, days=[f"{first + timedelta(days=day):%Y-%m-%d}" for day in range(DAYS)], groups=groups)
