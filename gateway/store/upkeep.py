"""What the store needs from time to time: old rows let go, closed weeks counted. Never in a hurry, never in the way.

Telemetry goes by `store.retention`: whole partitions (`gateway.store.retention`) and, by when it came, what lies
outside them. The rest goes by the ages of `store.keep`, in short transactions of a few rows each. Frames that wait for
their terminal to be registered were acknowledged: they are telemetry to be, so they stay at least as long as that does.

Of several services on one store one does it, whichever comes first in a round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import psycopg
import structlog

from gateway.configuration.settings import Store
from gateway.store.counts import count_settled
from gateway.store.feed import prune
from gateway.store.retention import LOCK_TIMEOUT, Released, release
from gateway.store.session import fit

_log = structlog.get_logger()
PERIOD = 3600.0  # s between rounds
AGAIN = 60.0  # s, where somebody's lock or the store was in the way
SLICE = 2000  # rows in one transaction: some ten milliseconds
_PAUSE = 0.05  # s between slices: the disk is others' too

# table: which rows are too old; each by an index of its own, in its order.
_CONNECTION: LiteralString = "closed_at IS NOT NULL AND closed_at < %s ORDER BY closed_at"
_RECEIVED: LiteralString = "received < %s ORDER BY received"
_FINISHED: LiteralString = "finished_at < %s ORDER BY finished_at"
_OUTBOX: LiteralString = (
    "state <> 'pending' AND coalesce(sent_at, not_before) < %s ORDER BY coalesce(sent_at, not_before)"
)
_REFUSED: LiteralString = "reason <> 'unregistered' AND received < %s ORDER BY received"
_WAITING: LiteralString = "reason = 'unregistered' AND received < %s ORDER BY received"


class Upkeep:
    """Rounds of upkeep; `settings` gives the store's as they are now."""

    def __init__(self, dsn: str, settings: Callable[[], Store]) -> None:
        self._dsn = dsn
        self._settings = settings
        self._asked = asyncio.Event()

    def wake(self) -> None:
        """Other settings may count: look now."""
        self._asked.set()

    async def run(self) -> None:
        """A round at once, then each hour, sooner where something was in the way; ends by cancellation."""
        while True:
            self._asked.clear()
            pause = AGAIN
            try:
                waiting = await self.round()
                pause = AGAIN if waiting else PERIOD
            except (psycopg.Error, OSError) as error:
                _log.warning("store not looked after", error=str(error).strip(), retry_in=AGAIN)
            except Exception:  # a bug: terminals are served on
                _log.exception("store not looked after", retry_in=AGAIN)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._asked.wait()

    async def round(self) -> list[str]:
        """Whatever is due; returns what could not be done for somebody's lock.

        Raises
        ------
        psycopg.Error
            If the store is away.
        """
        link = await psycopg.AsyncConnection.connect(
            fit(self._dsn, lock_timeout=LOCK_TIMEOUT),
            autocommit=True,
            connect_timeout=5,
            application_name="dozor upkeep",
        )
        try:
            cursor = await link.execute("SELECT pg_try_advisory_lock(hashtext('dozor upkeep')), clock_timestamp()")
            row = await cursor.fetchone()
            if row is None or not row[0]:  # another service is at it
                return []
            # Of two clocks the one behind: one that was set ahead must not cost a week of records.
            return await self._look_after(link, self._settings(), min(row[1], datetime.now(UTC)))
        finally:
            await link.close()

    async def _look_after(self, link: psycopg.AsyncConnection, store: Store, now: datetime) -> list[str]:
        before = None if store.retention is None else now - timedelta(seconds=store.retention)
        try:
            released = await release(link, before)
        except psycopg.Error as error:  # a right that is missing, say: the rest is looked after all the same
            if link.broken:
                raise
            _log.warning("retention not looked after", error=str(error).strip(), retry_in=AGAIN)
            released = Released(waiting=["record"])
        else:
            _tell(released)
        for table, rows, kept in (
            ("record_outside", _RECEIVED, store.retention),
            ("connection", _CONNECTION, store.keep.connection),
            ("message", _RECEIVED, store.keep.message),
            ("command", _FINISHED, store.keep.message),
            ("outbox", _OUTBOX, store.keep.outbox),
            ("quarantine", _REFUSED, store.keep.quarantine),
            ("quarantine", _WAITING, None if store.retention is None else max(store.retention, store.keep.quarantine)),
        ):
            if kept is not None:
                gone = await _prune(link, table, rows, now - timedelta(seconds=kept))
                if gone:
                    _log.info("old rows let go", table=table, rows=gone)
        await prune(link)  # by whom nobody follows any more; else those who do have it done already
        with suppress(psycopg.errors.LockNotAvailable):  # counted live until then
            await count_settled(link, now)
        return released.waiting


def _tell(released: Released) -> None:
    if released.dropped:
        _log.info("retention", dropped=released.dropped)
    if released.waiting:
        _log.warning(
            "retention waits for a lock: somebody reads what is to go", partitions=released.waiting, retry_in=AGAIN
        )


async def _prune(link: psycopg.AsyncConnection, table: LiteralString, rows: LiteralString, before: datetime) -> int:
    """Delete the rows, oldest first, a slice a transaction; one that somebody holds is left for the next round."""
    gone = 0
    while True:
        cursor = await link.execute(
            f"DELETE FROM {table} WHERE ctid = ANY (ARRAY("  # noqa: S608  # names and texts of ours
            f"SELECT ctid FROM {table} WHERE {rows} LIMIT {SLICE} FOR UPDATE SKIP LOCKED))",
            (before,),
        )
        gone += cursor.rowcount
        if cursor.rowcount < SLICE:
            return gone
        await asyncio.sleep(_PAUSE)
