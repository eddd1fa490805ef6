"""One transaction per batch: records by COPY, quarantine and messages beside them.

Rows newer than their terminal's newest stored one cannot be resends and go by plain COPY; the others go through a
staging table and `ON CONFLICT DO NOTHING`. A plain COPY that hits a duplicate after all is repeated through staging.
A batch that the store refuses for its contents is split until the culprit is alone; that one goes to quarantine.
"""

from __future__ import annotations

import time as clock
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import psycopg
from numpy.typing import NDArray

from gateway.store.copy import COLUMNS, Rows, encode, pieces
from gateway.store.copying import copy_in
from gateway.store.evidence import (
    KEEP_MESSAGES,
    KEEP_QUARANTINE,
    STAGING,
    Kept,
    message_pieces,
    quarantine_pieces,
)
from gateway.store.feed import NOT_TOLD, TELL_FRESH, begin, is_on, keys_of
from gateway.store.layouts import Layouts
from gateway.store.newest import ask_newest
from gateway.store.partitions import AHEAD, PAST, Partitions
from gateway.store.session import fit
from protocols.records import Batch, BatchBuilder, Int64s, MeasureGroup

__all__ = ["Job", "Kept", "Outcome", "UnknownTerminalError", "Writer", "is_away", "no_rows"]

_NOBODY = -1
_UNKNOWN = np.iinfo(np.int64).max
_FEW_GROUPS = 32  # are encoded in a millisecond
# What a machine that vanished had in flight ends within half a minute: until then consumers wait for it.
_VANISHED = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
LOCK_WAIT = 3.0  # s for what another transaction holds: less than a drain's patience, since no frame is to blame for it


@dataclass(slots=True)
class Job:
    """What one transaction stores. `sources[i]` is what frame `i` becomes if its records are refused.

    `rows.terminal` is an index into `identities`, each with its protocol: it is the writer that knows the table's rows.
    """

    rows: Rows
    identities: Sequence[tuple[str, str]] = ()
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
    rows: NDArray[np.int32] | None = None  # of the table, of each of the job's identities, where they were looked for

    def __iadd__(self, other: Outcome) -> Outcome:
        self.stored += other.stored
        self.duplicate += other.duplicate
        self.refused += other.refused
        return self


class UnknownTerminalError(Exception):
    """A job is of a terminal that the registry does not know, nor takes."""


class Writer:
    """Writes jobs; shared by the connections of one process. Its methods need a connection in autocommit mode."""

    def __init__(
        self, protocols: int, registry: Mapping[str, int], resolve: Callable[[str, str], Awaitable[int]]
    ) -> None:
        """`registry` maps identities to rows, `resolve` finds or makes that of identity and protocol; < 0: no."""
        self._protocols = protocols
        self._registry = registry
        self._resolve = resolve
        self.layouts = Layouts()
        self.partitions = Partitions()
        self.telling = False  # which records a batch stored is told, for consumers (`gateway.store.feed`)
        self._newest: Int64s = np.empty(
            0, np.int64
        )  # per terminal: no lower than its newest inside; _UNKNOWN: not asked
        self._outside: Int64s = np.empty(0, np.int64)  # per terminal: oldest stored outside that can come again inside

    async def prepare(self, link: psycopg.AsyncConnection) -> None:
        """Load what is cached."""
        await self.layouts.load(link)
        await self.partitions.load(link)
        self.telling = await is_on(link)
        now = clock.time_ns() // 1000
        await self.partitions.make(link, self.partitions.missing(np.array([now, now + 7 * 86_400_000_000])))

    @staticmethod
    async def open(dsn: str) -> psycopg.AsyncConnection:
        """A connection fit for `write`."""
        link = await psycopg.AsyncConnection.connect(
            fit(dsn, lock_timeout=f"{LOCK_WAIT * 1000:.0f}", **_VANISHED),
            autocommit=True,
            connect_timeout=5,
            application_name="dozor writer",
        )
        try:
            # A commit that returns before it is on disk would make an ack of it a lie.
            await link.execute(
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
            for name in ("staged", "staged_outside"):
                await link.execute(f"CREATE TEMP TABLE {name} (LIKE record) ON COMMIT DELETE ROWS")
            for statement in STAGING:
                await link.execute(statement)
        except BaseException:  # given up, say because a table is locked
            await link.close()
            raise
        return link

    @staticmethod
    async def answers(link: psycopg.AsyncConnection) -> None:
        """Ask the store whether it would write now, in an instant.

        Raises
        ------
        psycopg.Error
            If it would not: it is away, or somebody holds what a batch is written to.
        """
        async with link.transaction():
            await link.execute("LOCK TABLE record, record_outside, quarantine, message IN ROW EXCLUSIVE MODE NOWAIT")

    async def write(self, link: psycopg.AsyncConnection, job: Job, now: int) -> Outcome:
        """Store `job` durably; returns after the commit.

        Raises
        ------
        psycopg.OperationalError
            If the store is away or its answer is unknown: repeating the job is safe.
        UnknownTerminalError
            If one of its terminals is not to be registered.
        """
        job, found = await self._at_rows(job)
        outcome = await self._write(link, job, now)
        outcome.rows = found
        return outcome

    async def _write(self, link: psycopg.AsyncConnection, job: Job, now: int) -> Outcome:
        plain, outside = await self._divide(link, job.rows, now)
        try:
            return await self._transact(link, job, plain, outside)
        except (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected, psycopg.errors.CheckViolation):
            return await self._careful(link, job, outside, now)
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
        return await self._rewrite(link, (await self._at_rows(job))[0], now)

    async def _at_rows(self, job: Job) -> tuple[Job, NDArray[np.int32] | None]:
        """The job with rows of the table in place of indices into its identities, and the row of each of these."""
        if not len(job.rows):
            return job, None
        registry = self._registry
        try:
            found = [registry[identity] for identity, _ in job.identities]
        except KeyError:  # somebody is new; who only has something in quarantine stays so
            stored = set(job.rows.terminal.tolist())
            found = []
            for place, (identity, protocol) in enumerate(job.identities):
                row = registry.get(identity, _NOBODY)
                if row == _NOBODY and place in stored:
                    row = await self._resolve(identity, protocol)
                    if row < 0:
                        raise UnknownTerminalError(identity) from None
                found.append(row)
        each = np.array(found, np.int32)
        rows = replace(job.rows, terminal=each[job.rows.terminal])
        return Job(rows, job.identities, job.sources, job.quarantined, job.messages), each

    async def _rewrite(self, link: psycopg.AsyncConnection, job: Job, now: int) -> Outcome:
        _, outside = await self._divide(link, job.rows, now)
        return await self._careful(link, job, outside, now)

    async def _careful(self, link: psycopg.AsyncConnection, job: Job, outside: NDArray[np.bool_], now: int) -> Outcome:
        """Everything through staging."""
        staged = np.zeros(len(job.rows), np.bool_)
        try:
            try:
                return await self._transact(link, job, staged, outside)
            except psycopg.errors.DeadlockDetected:  # the other side won; its rows are there now
                return await self._transact(link, job, staged, outside)
            except psycopg.errors.CheckViolation:  # a partition is gone that was here: retention's doing, or by hand
                await self.partitions.load(link)
                _, outside = await self._divide(link, job.rows, now)
                return await self._transact(link, job, staged, outside)
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
        outside = (time < now - PAST) | (time > now + AHEAD)
        missing = self.partitions.missing(time[~outside])
        if missing:
            await self.partitions.make(link, missing)
        homeless = self.partitions.homeless(time)
        if homeless is not None:
            outside |= homeless
        newest = self._newest[terminal]
        unknown = (newest == _UNKNOWN) & ~outside
        if np.count_nonzero(unknown):
            for told in await ask_newest(link, terminal[unknown], time[unknown], now):
                self._newest[told.terminal] = told.newest
                if told.outside is not None:
                    self._outside[told.terminal] = min(told.outside, self._outside[told.terminal])
            newest = self._newest[terminal]
        plain = (time > newest) & (time < self._outside[terminal])
        if np.count_nonzero(outside):
            plain &= ~outside
            again = outside & (time > now - PAST)  # their time comes, or their week gets its partition
            np.minimum.at(self._outside, terminal[again], time[again])
        if np.count_nonzero(plain):
            ordered = np.sort(terminal)
            if np.count_nonzero(ordered[1:] == ordered[:-1]):
                order = np.lexsort((time, terminal))
                same = (np.diff(terminal[order]) == 0) & (np.diff(time[order]) == 0)
                if same.any():  # two records of one instant: perhaps one record twice
                    plain[order[1:][same]] = False
                    plain[order[:-1][same]] = False
            np.maximum.at(self._newest, terminal[plain], time[plain])
        return plain, outside

    async def _transact(
        self, link: psycopg.AsyncConnection, job: Job, plain: NDArray[np.bool_], outside: NDArray[np.bool_]
    ) -> Outcome:
        try:
            return await self._store(link, job, plain, outside)
        except psycopg.Error as error:
            if error.sqlstate != NOT_TOLD:
                raise
            self.telling = True  # somebody follows since lately
            return await self._store(link, job, plain, outside)

    async def _store(
        self, link: psycopg.AsyncConnection, job: Job, plain: NDArray[np.bool_], outside: NDArray[np.bool_]
    ) -> Outcome:
        rows, telling = job.rows, self.telling  # once: another batch may learn of consumers meanwhile
        layouts = self.layouts.known(rows.batch)
        rows.layouts = layouts if layouts is not None else await self.layouts.resolve(link, rows.batch, rows.terminal)
        protocol = rows.protocol
        if np.count_nonzero(plain) == len(plain) and not job.quarantined and not job.messages:
            if len(rows):  # one statement is its own transaction
                await self._copy(link, "record", _stream(rows), begin(keys_of(rows)) if telling else "")
            return Outcome(np.bincount(protocol, minlength=self._protocols), np.zeros(self._protocols, np.int64))
        stored = np.bincount(protocol[plain], minlength=self._protocols).astype(np.int64)
        async with link.transaction():
            if telling and len(rows):
                await link.execute(begin(keys_of(rows, plain) if plain.any() else None).encode())
            if plain.any():
                await self._copy(link, "record", _stream(rows, plain))
            staged = ~plain
            if staged.any():
                inserted = await self._through_staging(link, rows, staged & ~outside, staged & outside, telling)
                by_terminal = dict(zip(rows.terminal.tolist(), protocol.tolist(), strict=True))
                for terminal, count in inserted:
                    stored[by_terminal[terminal]] += count
            await self._keep(link, job)
        return Outcome(stored, np.bincount(protocol, minlength=self._protocols) - stored)

    async def _copy(
        self, link: psycopg.AsyncConnection, table: str, data: bytes | Iterable[bytes], first: str = ""
    ) -> None:
        """`first` is a statement before it, in the same transaction and in one go to the server."""
        copy = f"COPY {table} ({COLUMNS}) FROM STDIN (FORMAT binary)"
        await copy_in(link, (f"{first}; {copy}" if first else copy).encode(), data)

    async def _through_staging(
        self,
        link: psycopg.AsyncConnection,
        rows: Rows,
        inside: NDArray[np.bool_],
        outside: NDArray[np.bool_],
        telling: bool,
    ) -> list[tuple[int, int]]:
        """Insert what is not there yet; (terminal, how many) of what was."""
        inserted: list[tuple[int, int]] = []
        for part, table, chosen, other in (
            (1, "record", inside, "record_outside"),
            (2, "record_outside", outside, "record"),
        ):
            if not chosen.any():
                continue
            staging = "staged" if table == "record" else "staged_outside"
            await self._copy(link, staging, _stream(rows, chosen))
            returned = "terminal, time, fingerprint" if telling else "terminal"
            told = f", {TELL_FRESH.format(part=part)}" if telling else ""
            # Sorted, so that two transactions take their keys in one order. The other table is asked too: a record
            # dated ahead may have been outside when it came first.
            cursor = await link.execute(
                f"WITH fresh AS (INSERT INTO {table} ({COLUMNS}) "  # noqa: S608  # names of ours
                f"SELECT DISTINCT ON (terminal, time, fingerprint) {COLUMNS} FROM {staging} s WHERE NOT EXISTS ("
                f"SELECT FROM {other} o WHERE o.terminal = s.terminal AND o.time = s.time "
                f"AND o.fingerprint = s.fingerprint) ORDER BY terminal, time, fingerprint "
                f"ON CONFLICT DO NOTHING RETURNING {returned}){told} "
                f"SELECT terminal, count(*) FROM fresh GROUP BY terminal"
            )
            inserted += await cursor.fetchall()
        return inserted

    async def _keep(self, link: psycopg.AsyncConnection, job: Job) -> None:
        for table, statement, kept, pieces_of in (
            ("staged_quarantine", KEEP_QUARANTINE, job.quarantined, quarantine_pieces),
            ("staged_message", KEEP_MESSAGES, job.messages, message_pieces),
        ):
            if kept:
                await copy_in(link, f"COPY {table} FROM STDIN (FORMAT binary)".encode(), pieces_of(kept))
                await link.execute(statement)

    async def _split(self, link: psycopg.AsyncConnection, job: Job, now: int) -> Outcome:
        """The store refuses the contents: halve by frames until the culprit is alone, then quarantine it."""
        frames = np.unique(job.rows.batch.frame)
        rest = Job(_select(job.rows, np.zeros(len(job.rows), np.bool_)), job.identities, job.sources)
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
        outcome = await self._rewrite(link, rest, now)
        outcome += await self._rewrite(link, Job(_select(job.rows, ~first), job.identities, job.sources), now)
        return outcome


def _stream(rows: Rows, chosen: NDArray[np.bool_] | None = None) -> bytes | Iterable[bytes]:
    """For COPY: whole, or in pieces where texts or many layouts make it dear."""
    if rows.batch.extra or len(rows.batch.groups) > _FEW_GROUPS:
        return pieces(rows, chosen)
    return encode(rows, chosen)


def is_away(error: psycopg.Error) -> bool:
    """Whether the store, not the contents, is the reason: repeating the job may help.

    psycopg counts class 54, a limit that the contents exceed, among the operational errors. A server that takes no
    writes (a standby, say) is no operational error, but no frame is to blame for it either.
    """
    state = error.sqlstate or ""
    if isinstance(error, psycopg.OperationalError):
        return not state.startswith("54")
    return state.startswith(("25", "42"))


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
