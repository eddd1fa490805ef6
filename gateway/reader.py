"""What the desk reads of terminals and telemetry, in SQL: `ticketing.desk.ports.Reader` over a pool.

Telemetry is only read for one terminal and a span of time, so that partitions outside it are not touched, and with a
limit on rows. What lives in the fleet's arrays (who is connected, verdicts) comes from the callables handed in; without
them, or for a terminal they do not know, the store is asked.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Composable, Composed
from psycopg_pool import AsyncConnectionPool

from ticketing.desk.ports import (
    BadCursorError,
    Connection,
    Fleet,
    Group,
    Message,
    Page,
    Point,
    Position,
    Quarantined,
    Record,
    Terminal,
)

STATEMENT_TIMEOUT_MS = 5000  # a page that needs longer is refused: receiving comes first
RECENT = timedelta(days=7)  # where the last record is looked for first
PAST, FUTURE = timedelta(days=3 * 366), timedelta(days=2)  # what `record` can hold
MAX_ROWS = 200_000  # records a series is computed from, the newest ones
LAYOUT_ROWS = 2_000  # records whose layouts name the measures
SHOWN_BYTES = 256  # of a quarantined frame
MAX_DIGITS = 4000  # Python reads 4300
GROUPS = 50  # rows of each table of the fleet overview
RECOUNT_FACTOR = 20  # a count that took one second is believed for twenty

# One terminal's records of a span; both tables have the index (terminal, time, fingerprint).
COLUMNS = SQL("time, received, lat, lon, altitude, speed, course, satellites, flags, layout, measures, extra")
SPAN = SQL("terminal = %(terminal)s AND time >= %(since)s AND time < %(until)s")
RECORDS = SQL(
    "(SELECT {columns} FROM record WHERE {span} UNION ALL SELECT {columns} FROM record_outside WHERE {span})"
).format(columns=COLUMNS, span=SPAN)
# Core columns that can be drawn like measures.
CORE = {
    "speed": SQL("nullif(r.speed, 'NaN')::float8"),
    "altitude": SQL("nullif(r.altitude, 'NaN')::float8"),
    "satellites": SQL("nullif(r.satellites, -1)::float8"),
}


@dataclass(frozen=True, slots=True)
class Live:
    """What the fleet's arrays know of one terminal; `records` None: the store counts."""

    connected: bool
    last_seen: datetime | None
    last_contact: datetime | None
    verdicts: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    records: int | None = None


@dataclass(frozen=True, slots=True)
class LiveCounts:
    """The fleet's arrays, counted: `verdicts` maps detector to {verdict: terminals}."""

    connected: int
    verdicts: Mapping[str, Mapping[str, int]]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class PostgresReader:
    """`live({identity: id})` gives the state of those it knows, `counts()` the whole fleet's."""

    def __init__(
        self,
        pool: AsyncConnectionPool[Any],
        *,
        live: Callable[[Mapping[str, int]], Awaitable[Mapping[str, Live]]] | None = None,
        counts: Callable[[], LiveCounts] | None = None,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._pool = pool
        self._live = live
        self._counts = counts
        self._now = now
        self._counted: dict[int, tuple[int, float]] = {}  # terminal: records, believed until (monotonic)

    async def terminals(self, *, search: str = "", cursor: str | None = None, limit: int = 50) -> Page[Terminal]:
        """Terminals by identity."""
        match = SQL(
            "(%(search)s = '' OR strpos(lower(identity), %(search)s) > 0 OR strpos(lower(name), %(search)s) > 0)"
        )
        values = {"search": search.lower(), "after": _decode(cursor) or "", "limit": limit + 1}
        async with self._reading() as connection:
            total = await _count(
                connection, SQL("SELECT count(*) FROM terminal WHERE {match}").format(match=match), values
            )
            rows = await _rows(
                connection,
                SQL("""SELECT id, identity, protocol, coalesce(model_told, model) AS model, firmware, name,
                           created_at
                    FROM terminal WHERE {match} AND identity > %(after)s ORDER BY identity LIMIT %(limit)s""").format(
                    match=match
                ),
                values,
            )
            items = await self._terminals(connection, rows[:limit])
        return Page(items, total, _encode(items[-1].terminal) if len(rows) > limit else None)

    async def terminal(self, identity: str) -> Terminal | None:
        """One terminal."""
        async with self._reading() as connection:
            rows = await _rows(
                connection,
                """SELECT id, identity, protocol, coalesce(model_told, model) AS model, firmware, name,
                          created_at
                   FROM terminal WHERE identity = %(identity)s""",
                {"identity": identity},
            )
            found = await self._terminals(connection, rows)
        return found[0] if found else None

    async def last_record(self, identity: str) -> Record | None:
        """The record with the latest time: of the last days, else of all that are stored."""
        now = self._now()
        for since, until in ((now - RECENT, now + FUTURE), (None, None)):
            rows = await self._records(
                SQL("""SELECT r.time, r.received, r.lat, r.lon, r.altitude, r.speed, r.course, r.satellites, r.flags,
                              r.measures, r.extra::text AS extra, l.names
                    FROM (SELECT * FROM {records} r ORDER BY time DESC LIMIT 1) r
                    JOIN layout l ON l.id = r.layout""").format(records=RECORDS),
                identity,
                since or datetime.min.replace(tzinfo=UTC),
                until or datetime.max.replace(tzinfo=UTC),
            )
            if rows:
                return _record(rows[0])
        return None

    async def first_time(self, identity: str, *, since: datetime, until: datetime) -> datetime | None:
        """The earliest record's time within the span."""
        rows = await self._records(
            SQL("SELECT time FROM {records} r ORDER BY time LIMIT 1").format(records=RECORDS), identity, since, until
        )
        return rows[0]["time"] if rows else None

    async def positions(self, identity: str, *, since: datetime, until: datetime, limit: int = 500) -> list[Position]:
        """The last `limit` valid positions of the span, oldest first."""
        rows = await self._records(
            SQL("""SELECT time, lat, lon, nullif(speed, 'NaN') AS speed, nullif(course, 'NaN') AS course
                FROM {records} r WHERE flags & 1 <> 0 AND lat BETWEEN -90 AND 90 AND lon BETWEEN -180 AND 180
                ORDER BY time DESC LIMIT %(limit)s""").format(records=RECORDS),
            identity,
            since,
            until,
            limit=limit,
        )
        return [Position(**row) for row in reversed(rows)]

    async def measures(self, identity: str, *, since: datetime, until: datetime) -> list[str]:
        """Names of numeric measures of its newest records, core columns first."""
        rows = await self._records(
            SQL("""SELECT DISTINCT unnest(l.names) AS name FROM layout l WHERE l.id IN
                  (SELECT layout FROM (SELECT layout FROM {records} r ORDER BY time DESC LIMIT %(limit)s) newest)
                ORDER BY name LIMIT 500""").format(records=RECORDS),
            identity,
            since,
            until,
            limit=LAYOUT_ROWS,
        )
        return [*CORE, *(row["name"] for row in rows)]

    async def series(
        self, identity: str, measure: str, *, since: datetime, until: datetime, points: int = 300
    ) -> list[Point]:
        """A measure over the span, oldest first, joined to at most `points` values; absurd ones are left out."""
        value = CORE.get(measure, SQL("nullif(r.measures[array_position(l.names, %(measure)s)], 'NaN')"))
        rows = await self._records(
            SQL("""SELECT min(time) AS time, avg(value) AS value, min(value) AS low, max(value) AS high
                FROM (SELECT r.time, {value} AS value
                      FROM (SELECT * FROM {records} r ORDER BY time DESC LIMIT %(limit)s) r
                      JOIN layout l ON l.id = r.layout) v
                WHERE abs(value) < 1e15
                GROUP BY date_bin(%(step)s, v.time, %(since)s) ORDER BY 1""").format(value=value, records=RECORDS),
            identity,
            since,
            until,
            limit=MAX_ROWS,
            measure=measure,
            step=max((until - since) / points, timedelta(microseconds=1)),
        )
        return [Point(**row) for row in rows]

    async def connections(self, identity: str, *, cursor: str | None = None, limit: int = 50) -> Page[Connection]:
        """Its connections, newest first."""
        rows, total, following = await self._by_id(
            SQL("connection"),
            SQL("protocol, address, opened_at, closed_at, frames, malformed, reason"),
            identity,
            cursor,
            limit,
        )
        return Page([Connection(**_without_id(row)) for row in rows], total, following)

    async def messages(self, identity: str, *, cursor: str | None = None, limit: int = 50) -> Page[Message]:
        """Its messages, newest first."""
        rows, total, following = await self._by_id(
            SQL("message"),
            SQL("received, protocol, kind, body AS text, encode(substring(data for {shown}), 'hex') AS hex").format(
                shown=SHOWN_BYTES
            ),
            identity,
            cursor,
            limit,
        )
        return Page([Message(**_without_id(row)) for row in rows], total, following)

    async def quarantine(
        self, *, terminal: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Quarantined]:
        """What is in quarantine, newest first."""
        rows, total, following = await self._by_id(
            SQL("quarantine"),
            SQL(
                "received, terminal, protocol, reason, octet_length(data) AS size, "
                "encode(substring(data for {shown}), 'hex') AS hex"
            ).format(shown=SHOWN_BYTES),
            terminal,
            cursor,
            limit,
        )
        return Page([Quarantined(**row) for row in rows], total, following)

    async def fleet(self) -> Fleet:
        """The fleet overview."""
        async with self._reading() as connection:
            terminals = await _count(connection, "SELECT count(*) FROM terminal", {})
            quarantined = await _count(connection, "SELECT count(*) FROM quarantine", {})
            groups = [
                [
                    Group(**row)
                    for row in await _rows(
                        connection,
                        SQL("""SELECT coalesce({name}, 'unknown') AS name, count(*) AS terminals FROM terminal
                            GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {groups}""").format(name=name, groups=GROUPS),
                        {},
                    )
                ]
                for name in (
                    SQL("protocol"),
                    SQL("coalesce(model_told, model, 'protocol:' || protocol)"),
                    SQL(
                        "coalesce(model_told, model, 'protocol:' || protocol) || ' · ' || coalesce(firmware, 'unknown')"
                    ),
                )
            ]
            if self._counts is not None:
                live = self._counts()
            else:
                live = LiveCounts(
                    await _count(
                        connection, "SELECT count(DISTINCT terminal) FROM connection WHERE closed_at IS NULL", {}
                    ),
                    {},
                )
        return Fleet(terminals, live.connected, quarantined, live.verdicts, *groups)

    async def _terminals(self, connection: AsyncConnection[DictRow], rows: Sequence[DictRow]) -> list[Terminal]:
        """Rows of `terminal` with their live state."""
        known = dict(await self._live({row["identity"]: row["id"] for row in rows})) if self._live is not None else {}
        missing = [row for row in rows if row["identity"] not in known]
        if missing:
            known.update(await self._stored(connection, missing))
        counts = await self._count_records(connection, [r["id"] for r in rows if known[r["identity"]].records is None])
        found = []
        for row in rows:
            live = known[row["identity"]]
            found.append(
                Terminal(
                    terminal=row["identity"],
                    protocol=row["protocol"],
                    model=row["model"],
                    firmware=row["firmware"],
                    name=row["name"],
                    connected=live.connected,
                    last_seen=live.last_seen,
                    last_contact=live.last_contact,
                    verdicts=live.verdicts,
                    reasons=live.reasons,
                    records=counts[row["id"]] if live.records is None else live.records,
                    created_at=row["created_at"],
                )
            )
        return found

    async def _stored(self, connection: AsyncConnection[DictRow], rows: Sequence[DictRow]) -> dict[str, Live]:
        """The state of terminals that the arrays do not know, from what is stored."""
        now = self._now()
        last: dict[int, datetime] = {}
        for since in (now - RECENT, now - PAST):
            wanted = [row["id"] for row in rows if row["id"] not in last]
            if not wanted:
                break
            for row in await _rows(
                connection,
                """SELECT t.id, r.received FROM unnest(%(ids)s::int[]) AS t(id) CROSS JOIN LATERAL
                     (SELECT received FROM record WHERE terminal = t.id AND time >= %(since)s AND time < %(until)s
                      ORDER BY time DESC LIMIT 1) r""",
                {"ids": wanted, "since": since, "until": now + FUTURE},
            ):
                last[row["id"]] = row["received"]
        contacts = {
            row["terminal"]: row
            for row in await _rows(
                connection,
                """SELECT t.identity AS terminal, c.opened_at, c.closed_at
                   FROM unnest(%(names)s::text[]) AS t(identity) CROSS JOIN LATERAL
                     (SELECT opened_at, closed_at FROM connection WHERE terminal = t.identity
                      ORDER BY id DESC LIMIT 1) c""",
                {"names": [row["identity"] for row in rows]},
            )
        }
        found = {}
        for row in rows:
            contact = contacts.get(row["identity"])
            seen = last.get(row["id"])
            moments = [seen, contact and contact["opened_at"], contact and contact["closed_at"]]
            found[row["identity"]] = Live(
                connected=bool(contact and contact["closed_at"] is None),
                last_seen=seen,
                last_contact=max((m for m in moments if m), default=None),
            )
        return found

    async def _count_records(self, connection: AsyncConnection[DictRow], ids: Sequence[int]) -> dict[int, int]:
        """Stored records of each; an expensive count is believed for a while."""
        now = time.monotonic()
        counts = {id_: self._counted[id_][0] for id_ in ids if id_ in self._counted and self._counted[id_][1] > now}
        wanted = [id_ for id_ in ids if id_ not in counts]
        if wanted:
            rows = await _rows(
                connection,
                """SELECT terminal, sum(n)::int8 AS n FROM
                     (SELECT terminal, count(*) AS n FROM record WHERE terminal = ANY(%(ids)s) GROUP BY 1
                      UNION ALL
                      SELECT terminal, count(*) AS n FROM record_outside WHERE terminal = ANY(%(ids)s) GROUP BY 1) c
                   GROUP BY terminal""",
                {"ids": wanted},
            )
            took = time.monotonic() - now
            counts.update(dict.fromkeys(wanted, 0))
            counts.update({row["terminal"]: row["n"] for row in rows})
            if took > 0.25:  # below it, asking again is cheap and always right
                self._counted.update({id_: (counts[id_], now + took * RECOUNT_FACTOR) for id_ in wanted})
        return counts

    async def _records(
        self, query: Composed, identity: str, since: datetime, until: datetime, **values: Any
    ) -> list[DictRow]:
        async with self._reading() as connection:
            terminal = await _rows(connection, "SELECT id FROM terminal WHERE identity = %(i)s", {"i": identity})
            if not terminal:
                return []
            return await _rows(
                connection, query, {"terminal": terminal[0]["id"], "since": since, "until": until, **values}
            )

    async def _by_id(
        self, table: Composable, columns: Composable, terminal: str | None, cursor: str | None, limit: int
    ) -> tuple[list[DictRow], int, str | None]:
        """A page of a table with `id` and `terminal`, newest first."""
        before = _decode(cursor)
        if before is not None and not (before.isascii() and before.isdecimal() and len(before) < 19):
            raise BadCursorError("not a cursor of this list")
        match = SQL("(%(terminal)s::text IS NULL OR terminal = %(terminal)s)")
        values = {"terminal": terminal, "before": int(before) if before else None, "limit": limit + 1}
        async with self._reading() as connection:
            total = await _count(
                connection, SQL("SELECT count(*) FROM {table} WHERE {match}").format(table=table, match=match), values
            )
            rows = await _rows(
                connection,
                SQL("""SELECT id, {columns} FROM {table}
                    WHERE {match} AND (%(before)s::int8 IS NULL OR id < %(before)s)
                    ORDER BY id DESC LIMIT %(limit)s""").format(columns=columns, table=table, match=match),
                values,
            )
        following = _encode(str(rows[limit - 1]["id"])) if len(rows) > limit else None
        return rows[:limit], total, following

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection[DictRow]]:
        """A connection in one read-only snapshot, whose statements end in time."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION READ ONLY")
            await connection.execute(SQL("SET LOCAL statement_timeout = {ms}").format(ms=STATEMENT_TIMEOUT_MS))
            yield connection


async def _rows(
    connection: AsyncConnection[Any], query: LiteralString | Composed, values: Mapping[str, Any]
) -> list[DictRow]:
    cursor = connection.cursor(row_factory=dict_row)
    return await (await cursor.execute(query, values)).fetchall()


async def _count(connection: AsyncConnection[Any], query: LiteralString | Composed, values: Mapping[str, Any]) -> int:
    rows = await _rows(connection, query, values)
    return int(rows[0]["count"])


def _without_id(row: DictRow) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "id"}


def _record(row: DictRow) -> Record:
    measures = {n: v for n, v in zip(row["names"], row["measures"], strict=True) if math.isfinite(v)}
    return Record(
        time=row["time"],
        received=row["received"],
        lat=_told(row["lat"]),
        lon=_told(row["lon"]),
        altitude=_told(row["altitude"]),
        speed=_told(row["speed"]),
        course=_told(row["course"]),
        satellites=row["satellites"] if row["satellites"] >= 0 else None,
        valid=bool(row["flags"] & 1),
        archive=bool(row["flags"] & 16),
        measures=measures | json.loads(row["extra"] or "{}", parse_int=_integer),
    )


def _integer(digits: str) -> int | str:
    """Exact; one that Python refuses to read, lest it takes all day, stays text."""
    return int(digits) if len(digits) <= MAX_DIGITS else digits


def _told(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _decode(cursor: str | None) -> str | None:
    """The key behind a cursor.

    Raises
    ------
    BadCursorError
        If it is none of ours.
    """
    if cursor is None:
        return None
    try:
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise BadCursorError("not a cursor of this list") from error
    if not key or len(key) > 64 or "\0" in key:
        raise BadCursorError("not a cursor of this list")
    return key
