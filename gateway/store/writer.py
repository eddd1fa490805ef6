"""One transaction per batch: records by COPY, quarantine and messages beside them.

Rows newer than their terminal's newest stored one cannot be resends and go by plain COPY; the others go through a
staging table and `ON CONFLICT DO NOTHING`. A plain COPY that hits a duplicate after all is repeated through staging.
A batch that the store refuses for its contents is split until the culprit is alone; that one goes to quarantine.
"""

from __future__ import annotations

import hashlib
import time as clock
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import psycopg
from numpy.typing import NDArray

from gateway.store.copy import COLUMNS, Rows, encode
from gateway.store.copying import copy_in
from gateway.store.layouts import Layouts
from gateway.store.partitions import AHEAD, PAST, Partitions
from protocols.records import Batch, BatchBuilder, Int64s, MeasureGroup

_UNKNOWN = np.iinfo(np.int64).max
_NEVER = np.iinfo(np.int64).min


@dataclass(slots=True)
class Kept:
    """Raw bytes for quarantine, or a message; `received` is µs since the Unix epoch."""

    terminal: str
    protocol: str
    received: int
    data: bytes
    reason: str = ""
    variant: int = 0
    text: str | None = None


@dataclass(slots=True)
class Job:
    """What one transaction stores. `sources[i]` is what frame `i` becomes if its records are refused."""

    rows: Rows
    sources: Sequence[Kept] = ()
    quarantined: list[Kept] = field(default_factory=list)
    messages: list[Kept] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """What became of a job: records per protocol number, frames that the store refused; `kept`: it is in the store."""

    stored: NDArray[np.int64]
    duplicate: NDArray[np.int64]
    refused: list[int] = field(default_factory=list)
    kept: bool = True

    def __iadd__(self, other: Outcome) -> Outcome:
        self.stored += other.stored
        self.duplicate += other.duplicate
        self.refused += other.refused
        return self


class Writer:
    """Writes jobs; shared by the connections of one process. Its methods need a connection in autocommit mode."""

    def __init__(self, protocols: int) -> None:
        self._protocols = protocols
        self.layouts = Layouts()
        self.partitions = Partitions()
        self._newest: Int64s = np.empty(0, np.int64)  # per terminal: newest stored inside time; _UNKNOWN: not asked
        self._outside: Int64s = np.empty(0, np.int64)  # per terminal: oldest time stored outside, in the future

    async def prepare(self, link: psycopg.AsyncConnection) -> None:
        """Load what is cached."""
        await self.layouts.load(link)
        await self.partitions.load(link)
        now = clock.time_ns() // 1000
        await self.partitions.make(link, self.partitions.missing(np.array([now, now + 7 * 86_400_000_000])))

    @staticmethod
    async def open(dsn: str) -> psycopg.AsyncConnection:
        """A connection fit for `write`."""
        link = await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, connect_timeout=5, application_name="dozor writer", options="-c timezone=UTC"
        )
        # A commit that returns before it is on disk would make an ack of it a lie.
        await link.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        for name in ("staged", "staged_outside"):
            await link.execute(f"CREATE TEMP TABLE {name} (LIKE record) ON COMMIT DELETE ROWS")
        return link

    async def write(self, link: psycopg.AsyncConnection, job: Job, now: int) -> Outcome:
        """Store `job` durably; returns after the commit.

        Raises
        ------
        psycopg.OperationalError
            If the store is away or its answer is unknown: repeating the job is safe.
        """
        plain, outside = await self._divide(link, job.rows, now)
        try:
            return await self._transact(link, job, plain, outside)
        except psycopg.errors.UniqueViolation:
            return await self._careful(link, job, np.zeros(len(job.rows), np.bool_), outside)
        except psycopg.errors.DeadlockDetected:
            return await self._careful(link, job, np.zeros(len(job.rows), np.bool_), outside)
        except psycopg.Error as error:
            if is_away(error):
                raise
            return await self._split(link, job, now)

    def forget(self, terminal: int) -> None:
        """Another process stores records of this terminal: what is known of it is asked anew."""
        if terminal < len(self._newest):
            self._newest[terminal] = _UNKNOWN

    async def rewrite(self, link: psycopg.AsyncConnection, job: Job, now: int) -> Outcome:
        """Store a job whose first answer was lost: everything through staging."""
        _, outside = await self._divide(link, job.rows, now)
        return await self._careful(link, job, np.zeros(len(job.rows), np.bool_), outside)

    async def _careful(
        self, link: psycopg.AsyncConnection, job: Job, plain: NDArray[np.bool_], outside: NDArray[np.bool_]
    ) -> Outcome:
        try:
            return await self._transact(link, job, plain, outside)
        except psycopg.errors.DeadlockDetected:  # the other side won; its rows are there now
            return await self._transact(link, job, plain, outside)
        except psycopg.Error as error:
            if is_away(error):
                raise
            return await self._split(link, job, clock.time_ns() // 1000)

    async def _divide(
        self, link: psycopg.AsyncConnection, rows: Rows, now: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which rows may go by plain COPY, and which lie outside the partitioned range."""
        n = len(rows)
        if not n:
            return np.zeros(0, np.bool_), np.zeros(0, np.bool_)
        terminal, time = rows.terminal, rows.time
        highest = int(terminal.max())
        if highest >= len(self._newest):
            grown = np.full(max(1024, highest * 2 + 1) - len(self._newest), _UNKNOWN)
            self._newest = np.concatenate([self._newest, grown])
            self._outside = np.concatenate([self._outside, grown])
        newest = self._newest[terminal]
        unknown = newest == _UNKNOWN
        if np.count_nonzero(unknown):
            await self._ask_newest(link, np.unique(terminal[unknown]), now)
            newest = self._newest[terminal]
        plain = (time > newest) & (time < self._outside[terminal])
        outside = (time < now - PAST) | (time > now + AHEAD)
        if np.count_nonzero(outside):
            plain &= ~outside
            late = outside & (time > now)
            np.minimum.at(self._outside, terminal[late], time[late])
        if np.count_nonzero(plain):
            ordered = np.sort(terminal)
            if np.count_nonzero(ordered[1:] == ordered[:-1]):
                order = np.lexsort((time, terminal))
                same = (np.diff(terminal[order]) == 0) & (np.diff(time[order]) == 0)
                if same.any():  # two records of one instant: perhaps one record twice
                    plain[order[1:][same]] = False
                    plain[order[:-1][same]] = False
            np.maximum.at(self._newest, terminal[plain], time[plain])
        missing = self.partitions.missing(time[~outside])
        if missing:
            await self.partitions.make(link, missing)
        return plain, outside

    async def _ask_newest(self, link: psycopg.AsyncConnection, terminals: NDArray[np.int32], now: int) -> None:
        cursor = await link.execute(
            "SELECT t, extract(epoch FROM r.time) * 1000000, extract(epoch FROM o.time) * 1000000 "
            "FROM unnest(%s::int[]) AS t "
            "LEFT JOIN LATERAL (SELECT time FROM record WHERE terminal = t ORDER BY time DESC LIMIT 1) r ON true "
            "LEFT JOIN LATERAL (SELECT min(time) AS time FROM record_outside WHERE terminal = t "
            "AND time > to_timestamp(%s)) o ON true",
            (terminals.tolist(), (now - 86_400_000_000) / 1e6),
        )
        for terminal, newest, outside in await cursor.fetchall():
            self._newest[terminal] = _NEVER if newest is None else int(newest)
            self._outside[terminal] = _UNKNOWN if outside is None else int(outside)

    async def _transact(
        self, link: psycopg.AsyncConnection, job: Job, plain: NDArray[np.bool_], outside: NDArray[np.bool_]
    ) -> Outcome:
        rows = job.rows
        layouts = self.layouts.known(rows.batch)
        rows.layouts = layouts if layouts is not None else await self.layouts.resolve(link, rows.batch, rows.terminal)
        protocol = rows.protocol
        if np.count_nonzero(plain) == len(plain) and not job.quarantined and not job.messages:
            if len(rows):
                await self._copy(link, "record", encode(rows))  # one statement is its own transaction
            return Outcome(np.bincount(protocol, minlength=self._protocols), np.zeros(self._protocols, np.int64))
        stored = np.bincount(protocol[plain], minlength=self._protocols).astype(np.int64)
        async with link.transaction():
            if plain.any():
                await self._copy(link, "record", encode(rows, plain))
            staged = ~plain
            if staged.any():
                inserted = await self._through_staging(link, rows, staged & ~outside, staged & outside)
                by_terminal = dict(zip(rows.terminal.tolist(), protocol.tolist(), strict=True))
                for terminal, count in inserted:
                    stored[by_terminal[terminal]] += count
            await self._keep(link, job)
        return Outcome(stored, np.bincount(protocol, minlength=self._protocols) - stored)

    async def _copy(self, link: psycopg.AsyncConnection, table: str, data: bytes) -> None:
        await copy_in(link, f"COPY {table} ({COLUMNS}) FROM STDIN (FORMAT binary)".encode(), data)

    async def _through_staging(
        self,
        link: psycopg.AsyncConnection,
        rows: Rows,
        inside: NDArray[np.bool_],
        outside: NDArray[np.bool_],
    ) -> list[tuple[int, int]]:
        """Insert what is not there yet; (terminal, how many) of what was."""
        inserted: list[tuple[int, int]] = []
        for table, chosen, other in (("record", inside, "record_outside"), ("record_outside", outside, "record")):
            if not chosen.any():
                continue
            staging = "staged" if table == "record" else "staged_outside"
            await self._copy(link, staging, encode(rows, chosen))
            # Sorted, so that two transactions take their keys in one order. The other table is asked too: a record
            # dated ahead may have been outside when it came first.
            cursor = await link.execute(
                f"WITH fresh AS (INSERT INTO {table} ({COLUMNS}) "  # noqa: S608  # names of ours
                f"SELECT DISTINCT ON (terminal, time, fingerprint) {COLUMNS} FROM {staging} s WHERE NOT EXISTS ("
                f"SELECT FROM {other} o WHERE o.terminal = s.terminal AND o.time = s.time "
                f"AND o.fingerprint = s.fingerprint) ORDER BY terminal, time, fingerprint "
                f"ON CONFLICT DO NOTHING RETURNING terminal) SELECT terminal, count(*) FROM fresh GROUP BY terminal"
            )
            inserted += await cursor.fetchall()
        return inserted

    async def _keep(self, link: psycopg.AsyncConnection, job: Job) -> None:
        async with link.cursor() as cursor:
            if job.quarantined:
                await cursor.executemany(
                    "INSERT INTO quarantine (received, terminal, protocol, reason, variant, digest, data) "
                    "VALUES (to_timestamp(%s), %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    [
                        (k.received / 1e6, k.terminal, k.protocol, k.reason, k.variant, _digest(k), k.data)
                        for k in job.quarantined
                    ],
                )
            if job.messages:
                await cursor.executemany(
                    "INSERT INTO message (received, terminal, protocol, kind, body, digest, data) "
                    "VALUES (to_timestamp(%s), %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    [
                        (
                            k.received / 1e6,
                            k.terminal,
                            k.protocol,
                            k.reason,
                            k.text and k.text.replace("\0", ""),
                            _digest(k, k.received),
                            k.data,
                        )
                        for k in job.messages
                    ],
                )

    async def _split(self, link: psycopg.AsyncConnection, job: Job, now: int) -> Outcome:
        """The store refuses the contents: halve by frames until the culprit is alone, then quarantine it."""
        frames = np.unique(job.rows.batch.frame)
        rest = Job(_select(job.rows, np.zeros(len(job.rows), np.bool_)), job.sources)
        rest.quarantined, rest.messages = job.quarantined, job.messages
        if len(frames) == 1:
            culprit = int(frames[0])
            rest.quarantined = [*job.quarantined, replace(job.sources[culprit], reason="store")]
            outcome = await self._transact(link, rest, np.zeros(0, np.bool_), np.zeros(0, np.bool_))
            outcome.refused.append(culprit)
            return outcome
        if len(frames) == 0:
            raise psycopg.OperationalError("the store refuses quarantine and messages")
        first = np.isin(job.rows.batch.frame, frames[: len(frames) // 2])
        rest.rows = _select(job.rows, first)
        outcome = await self.rewrite(link, rest, now)
        outcome += await self.rewrite(link, Job(_select(job.rows, ~first), job.sources), now)
        return outcome


def is_away(error: psycopg.Error) -> bool:
    """Whether the store, not the contents, is the reason: repeating the job may help.

    psycopg counts class 54, a limit that the contents exceed, among the operational errors. A server that takes no
    writes (a standby, say) is no operational error, but no frame is to blame for it either.
    """
    state = error.sqlstate or ""
    if isinstance(error, psycopg.OperationalError):
        return not state.startswith("54")
    return state.startswith(("25", "42"))


def _digest(kept: Kept, received: int = 0) -> bytes:
    """Tells a resend: the same bytes of the same terminal are kept once (messages: once for each arrival)."""
    head = f"{kept.terminal}\0{kept.protocol}\0{kept.reason}\0{received}\0".encode()
    return hashlib.blake2b(head + kept.data, digest_size=16).digest()


def _select(rows: Rows, chosen: NDArray[np.bool_]) -> Rows:
    """A part of the rows, renumbered."""
    batch = rows.batch
    new = np.cumsum(chosen) - 1
    groups = []
    for group in batch.groups:
        wanted = chosen[group.rows]
        if wanted.any():
            groups.append(MeasureGroup(group.names, new[group.rows[wanted]], group.values[wanted]))
    columns = {
        name: getattr(batch, name)[chosen]
        for name in ("frame", "position", "time", "lat", "lon", "altitude", "speed", "course", "satellites", "flags")
    }
    part = Batch(
        **columns,
        fingerprint=batch.fingerprint[chosen],
        groups=groups,
        extra={int(new[row]): told for row, told in batch.extra.items() if chosen[row]},
    )
    return Rows(part, rows.terminal[chosen], rows.received[chosen], rows.time[chosen], rows.protocol[chosen], [])


def no_rows() -> Rows:
    """A job without records."""
    empty = np.zeros(0, np.int64)
    return Rows(BatchBuilder().build(), empty.astype(np.int32), empty, empty, empty.astype(np.int8), [])
