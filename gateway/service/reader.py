"""What the desk reads of terminals and telemetry, in SQL: `ticketing.kit.ports.Reader` over a pool.

Telemetry is only read for one terminal and a span of time, so that partitions outside it are not touched, and with a
limit on rows. What lives in the fleet's arrays (who is connected, verdicts) comes from the callables handed in; without
them, or for a terminal they do not know, the store is asked.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Composable, Composed
from psycopg_pool import AsyncConnectionPool

from gateway.service import fuel, listing, reading
from gateway.store.calibrations import tables, volumes
from gateway.store.counts import count_records
from ticketing.core.moments import utc_now
from ticketing.core.paging import Page, RowId, cursor_of, read_cursor
from ticketing.kit.ports import (
    ALL_TERMINALS,
    Anatomy,
    Connection,
    Fleet,
    FuelEvents,
    Group,
    Message,
    Point,
    Position,
    Quarantined,
    QuarantinedFrame,
    Record,
    Terminal,
    TerminalQuery,
)
from ticketing.people.scope import ALL

ELSEWHERE = "another service of this store holds the watch"
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
TERMINAL = SQL(
    "id, identity, protocol, coalesce(model_told, model) AS model, firmware, name, created_at, operator, customer,"
    " site, region, CASE WHEN stage_until <= now() THEN 'in_use' ELSE stage END AS stage,"
    " CASE WHEN stage_until > now() THEN stage_until END AS stage_until, firmware_target, imei, iccid, imsi,"
    " operator_told"
)
CARDS = ("imei", "iccid", "imsi", "operator_told")
PEOPLES = ("operator", "customer", "site", "region", "stage", "stage_until", "firmware_target")
# Core columns that can be drawn like measures.
CORE = {
    "speed": SQL("nullif(r.speed, 'NaN')::float8"),
    "altitude": SQL("nullif(r.altitude, 'NaN')::float8"),
    "satellites": SQL("nullif(r.satellites, -1)::float8"),
}
VOLUME = re.compile(r"fuel\.volume\.([1-9][0-9]{0,3})")


@dataclass(frozen=True, slots=True)
class Live:
    """What the fleet's arrays know of one terminal; `records` None: the store counts."""

    connected: bool
    last_seen: datetime | None
    last_contact: datetime | None
    verdicts: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    records: int | None = None
    outlook: Mapping[str, Any] = field(default_factory=dict)  # fields of `Terminal`


@dataclass(frozen=True, slots=True)
class LiveCounts:
    """The fleet's arrays, counted: `verdicts` maps detector to {verdict: terminals}."""

    connected: int
    verdicts: Mapping[str, Mapping[str, int]]


class PostgresReader:
    """`live({identity: id})` gives the state of those it knows, `counts()` the whole fleet's; the store has the rest.

    `ranks(kind)` is the verdict of every terminal, one byte each by id (`listing.RANKS`), of a detector or, for None,
    the worst; empty where nobody here knows. `counted(identity)` are frames and damaged ones of open connections by id.
    `kinds` are the detectors whose verdicts are unknown where `live` does not
    know a terminal, `fuel_range` is the highest level of a fuel sensor.
    """

    def __init__(
        self,
        pool: AsyncConnectionPool[Any],
        *,
        live: Callable[[Mapping[str, int]], Awaitable[Mapping[str, Live]]] | None = None,
        counts: Callable[[], LiveCounts | None] | None = None,
        ranks: Callable[[str | None], bytes] | None = None,
        counted: Callable[[str], Awaitable[Mapping[int, tuple[int, int]]]] | None = None,
        kinds: Mapping[str, str] | None = None,
        fuel_range: float = 4095.0,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.kinds = kinds or {}
        self._fuel_range = fuel_range
        self._pool = pool
        self._live = live
        self._counts = counts
        self._ranks = ranks or (lambda _kind: b"")
        self._counted_now = counted
        self._now = now
        self._counted: dict[int, tuple[int, float]] = {}  # terminal: records, believed until (monotonic)

    async def terminals(
        self,
        wanted: TerminalQuery = ALL_TERMINALS,
        *,
        cursor: str | None = None,
        limit: int = 50,
        seen: Composable = ALL,
    ) -> Page[Terminal]:
        """Those that are wanted and `seen`."""
        position = {} if cursor is None else listing.position(wanted, cursor)
        match, order, values = listing.statement(wanted, self._ranks)
        match = SQL("{match} AND {seen}").format(match=match, seen=seen)
        direction = SQL("DESC" if wanted.sort.startswith("-") else "ASC")
        values |= position | {"limit": limit + 1}
        async with self._reading() as connection:
            total = await _count(
                connection, SQL("SELECT count(*) FROM terminal t WHERE {match}").format(match=match), values
            )
            rows = await _rows(
                connection,
                SQL("""SELECT {columns}, {key} AS key FROM terminal t WHERE {match} AND {behind}
                    ORDER BY {key} {direction}, identity {direction} LIMIT %(limit)s""").format(
                    columns=TERMINAL,
                    match=match,
                    behind=SQL("true") if cursor is None else listing.behind(wanted, order),
                    key=order,
                    direction=direction,
                ),
                values,
            )
            items = await self._terminals(connection, rows[:limit])
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(items, total, listing.cursor_behind(wanted, last["key"], last["identity"]) if last else None)

    async def terminal(self, identity: str, *, seen: Composable = ALL) -> Terminal | None:
        """One terminal; None also where it is not `seen`."""
        async with self._reading() as connection:
            rows = await _rows(
                connection,
                SQL("SELECT {columns} FROM terminal t WHERE t.identity = %(identity)s AND {seen}").format(
                    columns=TERMINAL, seen=seen
                ),
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
                              r.measures, r.extra::text AS extra, l.names,
                              t.protocol, coalesce(t.model_told, t.model) AS model
                    FROM (SELECT * FROM {records} r ORDER BY time DESC LIMIT 1) r
                    JOIN layout l ON l.id = r.layout JOIN terminal t ON t.id = %(terminal)s""").format(records=RECORDS),
                identity,
                since or datetime.min.replace(tzinfo=UTC),
                until or datetime.max.replace(tzinfo=UTC),
            )
            if rows:
                record = _record(rows[0])
                async with self._reading() as connection:
                    calibrated = await tables(connection, identity)
                litres = volumes(record.measures, calibrated, record.time)
                return replace(record, measures={**record.measures, **litres})
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
            SQL("""WITH told AS MATERIALIZED (SELECT names, fuel FROM layout WHERE id IN
                  (SELECT layout FROM (SELECT layout FROM {records} r ORDER BY time DESC LIMIT %(limit)s) newest))
                SELECT unnest(names) AS name FROM told UNION SELECT 'fuel.volume.' || p.sensor FROM told, unnest(fuel) p
                  WHERE p.level IS NOT NULL AND EXISTS (SELECT FROM calibration c
                    WHERE c.terminal = %(terminal)s AND c.sensor = p.sensor AND c.since < %(until)s)
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
        rows = await self._records(
            SQL("""SELECT min(time) AS time, avg(value) AS value, min(value) AS low, max(value) AS high
                FROM ({values}) v
                WHERE abs(value) < 1e15
                GROUP BY date_bin(%(step)s, v.time, %(since)s) ORDER BY 1""").format(values=_values(measure)),
            identity,
            since,
            until,
            limit=MAX_ROWS,
            measure=measure,
            name=identity,
            step=max((until - since) / points, timedelta(microseconds=1)),
        )
        return [Point(**row) for row in rows]

    async def fuel_events(self, identity: str, *, since: datetime, until: datetime) -> FuelEvents:
        """Refuellings and drains of the span, and what only looks like them."""
        async with self._reading() as connection:
            rows = await _rows(connection, "SELECT id FROM terminal WHERE identity = %(name)s", {"name": identity})
            if not rows:
                return FuelEvents(items=[], since=since, until=until)
            readings = await fuel.read(connection, rows[0]["id"], RECORDS, since, until)
            calibrated = await tables(connection, identity)
        items = await fuel.events(readings, self._fuel_range, calibrated)
        return FuelEvents(items=items, since=since, until=until, truncated=readings.truncated)

    async def connections(self, identity: str, *, cursor: str | None = None, limit: int = 50) -> Page[Connection]:
        """Its connections, newest first."""
        rows, total, following = await self._by_id(
            SQL("connection"),
            SQL("protocol, address, opened_at, closed_at, frames, malformed, reason"),
            identity,
            cursor,
            limit,
        )
        if self._counted_now is not None and any(row["closed_at"] is None for row in rows):
            counted = await self._counted_now(identity)  # the store hears of them when they end
            for row in rows:
                if row["closed_at"] is None and row["id"] in counted:
                    row["frames"], row["malformed"] = counted[row["id"]]
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

    async def quarantined(self, number: int) -> QuarantinedFrame | None:
        """One frame of the quarantine, decoded."""
        async with self._reading() as connection:
            rows = await _rows(
                connection,
                """SELECT id, received, terminal, protocol, reason, variant, octet_length(data) AS size,
                          substring(data for %(most)s) AS data FROM quarantine WHERE id = %(id)s""",
                {"id": number, "most": reading.MAX_DECODED + 1},
            )
        if not rows:
            return None
        row, data, variant = rows[0], rows[0].pop("data"), rows[0].pop("variant")
        return QuarantinedFrame(
            **row, hex=data[:SHOWN_BYTES].hex(), decoded=reading.decoded(row["protocol"], data, variant)
        )

    @property
    def anatomies(self) -> Sequence[str]:
        """The protocols whose bytes have names."""
        return reading.anatomies()

    async def anatomy(self, text: str, protocol: str | None, *, udp: bool) -> Anatomy:
        """Bytes that somebody has, by name."""
        return await asyncio.to_thread(reading.anatomy, text, protocol, udp=udp)

    async def frame_anatomy(self, number: int) -> Anatomy | None:
        """The bytes of a frame of the quarantine, by name."""
        async with self._reading() as connection:
            rows = await _rows(
                connection,
                "SELECT protocol, variant, substring(data for %(most)s) AS data FROM quarantine WHERE id = %(id)s",
                {"id": number, "most": reading.MAX_TREE + 1},
            )
        if not rows:
            return None
        row = rows[0]
        return await asyncio.to_thread(reading.frame_anatomy, row["protocol"], row["data"], row["variant"])

    async def fleet(self) -> Fleet:
        """The fleet overview."""
        async with self._reading() as connection:
            terminals = await _count(connection, "SELECT count(*) FROM terminal", {})
            quarantined = await _count(connection, "SELECT count(*) FROM quarantine", {})
            groups = [
                [
                    Group(
                        " · ".join(row[name] for name in names), row["terminals"], {name: row[name] for name in names}
                    )
                    for row in await _rows(connection, listing.groups(names), {"groups": GROUPS})
                ]
                for names in (("protocol",), ("model",), ("model", "firmware"))
            ]
            live = self._counts() if self._counts is not None else None
            if live is None:
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
                    **{name: row[name] for name in (*PEOPLES, *CARDS)},
                    connected=live.connected,
                    last_seen=live.last_seen,
                    last_contact=live.last_contact,
                    verdicts=live.verdicts,
                    reasons=live.reasons,
                    records=counts[row["id"]] if live.records is None else live.records,
                    created_at=row["created_at"],
                    **live.outlook,
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
                verdicts=dict.fromkeys(self.kinds, "unknown"),
                reasons=dict.fromkeys(self.kinds, ELSEWHERE),
            )
        return found

    async def _count_records(self, connection: AsyncConnection[DictRow], ids: Sequence[int]) -> dict[int, int]:
        """Stored records of each; an expensive count is believed for a while."""
        now = time.monotonic()
        counts = {id_: self._counted[id_][0] for id_ in ids if id_ in self._counted and self._counted[id_][1] > now}
        wanted = [id_ for id_ in ids if id_ not in counts]
        if wanted:
            counts.update(await count_records(connection, wanted))
            took = time.monotonic() - now
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
        before = None if cursor is None else read_cursor(cursor, RowId)
        match = SQL("(%(terminal)s::text IS NULL OR terminal = %(terminal)s)")
        values = {"terminal": terminal, "before": before, "limit": limit + 1}
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
        following = cursor_of(rows[limit - 1]["id"]) if len(rows) > limit else None
        return rows[:limit], total, following

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection[DictRow]]:
        """A connection in one read-only snapshot, whose statements end in time."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
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


def _values(measure: str) -> Composed:
    """Times and values of a measure in a span of one terminal, the newest."""
    if litres := VOLUME.fullmatch(measure):
        return SQL(
            "SELECT time, litres AS value FROM fuel WHERE terminal = %(name)s AND sensor = {sensor}"
            " AND time >= %(since)s AND time < %(until)s ORDER BY time DESC LIMIT %(limit)s"
        ).format(sensor=int(litres[1]))
    return SQL("""SELECT r.time, {value} AS value
        FROM (SELECT * FROM {records} r ORDER BY time DESC LIMIT %(limit)s) r
        JOIN layout l ON l.id = r.layout""").format(
        value=CORE.get(measure, SQL("nullif(r.measures[array_position(l.names, %(measure)s)], 'NaN')")),
        records=RECORDS,
    )


def _without_id(row: DictRow) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "id"}


def _record(row: DictRow) -> Record:
    measures = {n: v for n, v in zip(row["names"], row["measures"], strict=True) if math.isfinite(v)}
    measures |= json.loads(row["extra"] or "{}", parse_int=_integer)
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
        measures=measures,
        named=reading.named(row["protocol"], row["model"], measures),
    )


def _integer(digits: str) -> int | str:
    """Exact; one that Python refuses to read, lest it takes all day, stays text."""
    return int(digits) if len(digits) <= MAX_DIGITS else digits


def _told(value: float) -> float | None:
    return value if math.isfinite(value) else None
