"""Range partitions of `record`, a week each, where TimescaleDB is not there to keep chunks.

What there is comes from the catalogue's bounds, not from names: a partition made by hand (another name, other bounds,
DEFAULT, divided further) covers what its bounds say, and what is made here fills what is left of a week.
"""

from __future__ import annotations

import time as clock
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, LiteralString, NamedTuple, TypeVar

import numpy as np
import psycopg
import structlog
from numpy.typing import NDArray
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier, Literal

from protocols.records import Int64s

_log = structlog.get_logger()
T = TypeVar("T", int, Int64s)
WEEK = 7 * 86_400_000_000  # µs
_MONDAY = 4 * 86_400_000_000  # 1970-01-05, the first Monday of Unix time
PAST = 3 * 365 * 86_400_000_000 + 86_400_000_000  # three years, one of them a leap year
AHEAD = 2 * 86_400_000_000
_LOCK_TIMEOUT = "1s"  # ATTACH waits behind an ANALYZE of `record`, say; a batch cannot wait as long as that may take
_LOOK_AGAIN = 600.0  # s after which a partition that could not be made is tried again
_EVER = 2**62  # µs: MINVALUE and MAXVALUE

# The server reads its own text: neither DateStyle nor TimeZone of the session matter. No range: all is covered.
_BOUNDS: LiteralString = r"""
SELECT c.oid::int8, n.nspname, c.relname, c.relkind::text, i.inhdetachpending, b.told = 'DEFAULT',
       extract(epoch FROM substring(b.told FROM $$FROM \('([^']*)'\)$$)::timestamptz)::float8,
       extract(epoch FROM substring(b.told FROM $$TO \('([^']*)'\)$$)::timestamptz)::float8
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS told) b
WHERE i.inhparent = 'record'::regclass
"""


def week_of(time: T) -> T:
    """Start of the week (Monday, UTC) of an instant, or of each, µs."""
    return (time - _MONDAY) // WEEK * WEEK + _MONDAY


class Partition(NamedTuple):
    """One partition of `record` as the catalogue has it; bounds are µs, `low` inside, `high` not."""

    oid: int
    schema: str
    name: str
    kind: str  # of pg_class: r a table, p divided further, f on another server
    pending: bool  # a DETACH CONCURRENTLY of it was begun: rows no longer find it, its range is still taken
    default: bool
    low: int
    high: int

    @property
    def sql(self) -> Identifier:
        """Its name in a statement."""
        return Identifier(self.schema, self.name)


async def is_native(link: psycopg.AsyncConnection) -> bool:
    """Whether `record` is divided by PostgreSQL itself."""
    cursor = await link.execute("SELECT relkind::text FROM pg_class WHERE oid = 'record'::regclass")
    row = await cursor.fetchone()
    return row is not None and row[0] == "p"


async def read_partitions(link: psycopg.AsyncConnection[Any]) -> list[Partition]:
    """The partitions of `record`, oldest first."""
    cursor = link.cursor(row_factory=tuple_row)
    await cursor.execute(_BOUNDS)
    found = [
        Partition._make((*named, _instant(low, -_EVER), _instant(high, _EVER)))
        for *named, low, high in await cursor.fetchall()
    ]
    return sorted(found, key=lambda partition: partition.low)


def _instant(seconds: float | None, otherwise: int) -> int:
    if seconds is None or not -_EVER / 1e6 < seconds < _EVER / 1e6:
        return otherwise
    return round(seconds * 1e6)


def gaps(week: int, bounds: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of the week no bounds cover, in order."""
    left, at = [], week
    for low, high in sorted(bounds):
        if high <= at:
            continue
        if low >= week + WEEK:
            break
        if low > at:
            left.append((at, low))
        at = high
    if at < week + WEEK:
        left.append((at, week + WEEK))
    return left


class Partitions:
    """Which weeks rows find a partition for; makes those that are missing."""

    def __init__(self) -> None:
        self._bounds: list[tuple[int, int]] = []
        self._known: set[int] = set()  # weeks covered whole
        self._refused: dict[int, float] = {}  # weeks that cannot be had, and until when that is believed (monotonic)
        self.native = True

    async def load(self, link: psycopg.AsyncConnection) -> None:
        """Learn how `record` is divided and what there is."""
        native = await is_native(link)
        found = await read_partitions(link) if native else []
        if any(p.default for p in found) and (-_EVER, _EVER) not in self._bounds:
            _log.warning(
                "record has a DEFAULT partition: no weeks are made, and retention cannot let go of what is in it"
            )
        self._learn(found)
        self._refused = {}
        self.native = native

    def _learn(self, found: list[Partition]) -> None:
        self._bounds = [(p.low, p.high) for p in found if not p.pending]
        self._known = set()

    def missing(self, time: Int64s) -> list[int]:
        """Weeks of `time` that have no partition yet, or not for all of their days."""
        if not self.native or not len(time):
            return []
        first = week_of(int(time.min()))
        if first == week_of(int(time.max())):
            weeks = [] if first in self._known else [first]
        else:
            weeks = sorted(set(np.unique(week_of(time)).tolist()) - self._known)
        return [week for week in weeks if not self._covered(week)] if weeks else weeks

    def _covered(self, week: int) -> bool:
        """Whether nothing is to be made: the week has its partition, or cannot have it for now."""
        if week in self._refused:
            if self._refused[week] > clock.monotonic():
                return True
            del self._refused[week]
        if gaps(week, self._bounds):
            return False
        self._known.add(week)
        return True

    def homeless(self, time: Int64s) -> NDArray[np.bool_] | None:
        """Which instants lie in weeks whose partition could not be made; None: none do."""
        return np.isin(week_of(time), list(self._refused)) if self._refused else None

    async def make(self, link: psycopg.AsyncConnection, weeks: list[int]) -> None:
        """Make partitions, each week in a transaction of its own; another process may have been quicker.

        A week that cannot be had is told and left for a while: see `homeless`.

        Raises
        ------
        psycopg.Error
            If the store is away.
        """
        for week in weeks:
            try:
                await self._make(link, week)
            except psycopg.Error as error:
                # Wrong object, constraint, name or right, or a lock that somebody holds: other weeks are no worse off.
                if (error.sqlstate or "")[:2] not in ("0A", "23", "42", "55"):
                    raise
                self._refused[week] = clock.monotonic() + _LOOK_AGAIN
                _log.warning(
                    "no partition for a week, its records go to record_outside",
                    week=f"{moment(week):%Y-%m-%d}",
                    error=str(error).strip(),
                )

    async def _make(self, link: psycopg.AsyncConnection, week: int) -> None:
        async with link.transaction():
            await link.execute(SQL("SET LOCAL lock_timeout = {}").format(Literal(_LOCK_TIMEOUT)))
            await link.execute("SELECT pg_advisory_xact_lock(hashtext('dozor partitions'))")
            found = await read_partitions(link)
            for low, high in gaps(week, [(p.low, p.high) for p in found if not p.pending]):
                start = moment(low)
                name = Identifier(f"record_{start:%Y%m%d}" if low == week else f"record_{start:%Y%m%d_%H%M%S%f}")
                # Made apart and attached: the parent's readers and writers are not locked out.
                await link.execute(SQL("CREATE TABLE {} (LIKE record INCLUDING ALL)").format(name))
                await link.execute(
                    SQL("ALTER TABLE record ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                        name, Literal(f"{start}"), Literal(f"{moment(high)}")
                    )
                )
            made = await read_partitions(link)
        self._learn(made)


def moment(instant: int) -> datetime:
    """With its offset, so that the session's time zone does not matter."""
    return datetime.fromtimestamp(instant // 1_000_000, UTC).replace(microsecond=instant % 1_000_000)
