"""Whom to ask for the firmware version, and when.

    first data ack → wish → the store is asked when it was asked last, and what it told → claim → asked → answered

A terminal is asked once per connection and at most once in 6 h; while its firmware fails by the catalogue at each
connection, since it may have been updated meanwhile. One that leaves asks unanswered is asked ever more seldom,
whatever its firmware. Who was asked when lies in the store: so it holds over restarts, for all workers and services,
and costs no memory a terminal. Claims are made in batches and asks are paced, lest a fleet that comes back after a
restart is asked, and answers, all at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from detectors.firmware import Catalogue, judge_firmware
from detectors.verdicts import Verdict
from gateway.configuration.catalogue import CatalogueError, read_catalogue

_log = structlog.get_logger()

SELDOM = 6 * 3600.0  # s between two asks of one terminal
BACKING_OFF = (SELDOM, 86_400.0, 7 * 86_400.0)  # s after one, two, three and more asks that were not answered
_AT_ONCE = 200  # terminals that one query is about
_PER_SECOND = 400.0  # asks: a hundred thousand terminals within some minutes
_TIMEOUT = 5.0  # s for the store
_AGAIN = 2.0  # s before the store is tried again
_BOUND = 100_000  # answers that wait for the store; without theirs a terminal is asked more seldom

_READ = (
    "SELECT t.id, coalesce(t.model_told, t.model, 'protocol:' || t.protocol), t.firmware, "
    "to_jsonb(t) ->> 'customer', to_jsonb(t) ->> 'firmware_target', v.asked_at, v.unanswered, "
    "extract(epoch FROM now() - v.asked_at)::float8 "
    "FROM terminal t LEFT JOIN version_ask v ON v.terminal = t.id WHERE t.id = ANY(%s::int4[])"
)
# Another process may have asked in between: then its claim stands.
_FIRST = (
    "INSERT INTO version_ask (terminal, asked_at, unanswered) SELECT i, now(), 1 FROM unnest(%s::int4[]) AS u(i) "
    "ON CONFLICT (terminal) DO NOTHING RETURNING terminal"
)
_ANEW = (
    "UPDATE version_ask v SET asked_at = now(), unanswered = least(v.unanswered + 1, 1000) "
    "FROM unnest(%s::int4[], %s::timestamptz[]) AS u(i, a) WHERE v.terminal = i AND v.asked_at = a RETURNING v.terminal"
)
_ANSWERED = (
    "INSERT INTO version_ask (terminal, asked_at, unanswered) "
    "SELECT id, now(), 0 FROM terminal WHERE id = ANY(%s::int4[]) ORDER BY id "
    "ON CONFLICT (terminal) DO UPDATE SET asked_at = excluded.asked_at, unanswered = 0"
)


class Asker(Protocol):
    """A conversation whose terminal might be asked."""

    row: int

    def ask_version(self) -> None:
        """Ask, as soon as no frame is unanswered."""

    def ask_not(self, *, later: bool) -> None:
        """Do not ask; `later`: it may wish again."""


def pause_after(unanswered: int, *, failing: bool) -> float:
    """Seconds after an ask before the next one may follow; `unanswered` asks in a row had no answer."""
    if unanswered:
        return BACKING_OFF[min(unanswered, len(BACKING_OFF)) - 1]
    return 0.0 if failing else SELDOM


class Asking:
    """Decides for the conversations of a process.

    Attributes
    ----------
    on : whether terminals are asked at all.
    """

    def __init__(self, pool: AsyncConnectionPool, clock: Callable[[], float] = time.time) -> None:
        self._pool = pool
        self._clock = clock
        self._wishes: dict[Asker, None] = {}
        self._answers: dict[int, None] = {}
        self._something = asyncio.Event()
        self._file: Path | None = None
        self._read = True  # `_file`
        self._catalogue: Catalogue | None = None
        self.on = False

    def configure(self, file: Path | None, *, on: bool) -> None:
        """Take other settings; the catalogue is read again."""
        self.on, self._file, self._read = on, file, False
        if not on:
            wishes, self._wishes = self._wishes, {}
            for asker in wishes:
                asker.ask_not(later=True)

    def wish(self, asker: Asker) -> None:
        """Its first frame is acknowledged: ask it if it is time."""
        self._wishes[asker] = None
        self._something.set()

    def forget(self, asker: Asker) -> None:
        """It is over."""
        self._wishes.pop(asker, None)

    def answered(self, row: int) -> None:
        """It told its version, asked or unasked."""
        if row >= 0 and self.on:
            while len(self._answers) >= _BOUND:
                del self._answers[next(iter(self._answers))]
            self._answers[row] = None
            self._something.set()

    async def run(self) -> None:
        """Decide until cancelled."""
        while True:
            await self._something.wait()
            pause = 0.0
            try:
                async with asyncio.timeout(_TIMEOUT):
                    pause = await self._round() / _PER_SECOND
            except (psycopg.Error, PoolTimeout, OSError, TimeoutError) as error:
                _log.debug("nobody is asked for a version: no store", error=str(error).strip())
                pause = _AGAIN
            if not self._wishes and not self._answers:
                self._something.clear()
            await asyncio.sleep(pause)

    async def _round(self) -> int:
        """Ask whose time it is among the first that wait; returns how many."""
        if not self._read:
            await self._read_catalogue()
        # Of two conversations of one terminal the newer one is there.
        askers = {asker.row: asker for asker in list(self._wishes)[:_AT_ONCE]}
        answers = list(self._answers)[:_AT_ONCE]
        if not askers and not answers:
            return 0
        async with self._pool.connection() as link, link.transaction():
            if answers:  # first: who has answered is no longer backing off
                await link.execute(_ANSWERED, (answers,))
            claimed = await self._claim(link, list(askers))
        for row in answers:
            self._answers.pop(row, None)
        for row, asker in askers.items():
            if asker in self._wishes:  # neither over nor switched off meanwhile
                del self._wishes[asker]
                if row in claimed:
                    asker.ask_version()
                else:
                    asker.ask_not(later=False)
        return len(claimed)

    async def _claim(self, link: psycopg.AsyncConnection, rows: Sequence[int]) -> set[int]:
        """Those to be asked now; in the store they are as of now."""
        first: list[int] = []
        anew: list[tuple[int, datetime]] = []
        cursor = await link.execute(_READ, (list(rows),))
        for row, model, firmware, customer, target, asked_at, unanswered, ago in await cursor.fetchall():
            if asked_at is None:
                first.append(row)
            elif not 0 <= ago < pause_after(unanswered, failing=self._fails(model, firmware, customer, target)):
                anew.append((row, asked_at))  # or the clock was set: a time to come keeps nobody
        claimed: set[int] = set()
        if first:
            claimed.update(row for (row,) in await (await link.execute(_FIRST, (sorted(first),))).fetchall())
        if anew:
            columns = [list(column) for column in zip(*anew, strict=True)]
            claimed.update(row for (row,) in await (await link.execute(_ANEW, columns)).fetchall())
        return claimed

    def _fails(self, model: str | None, firmware: str | None, customer: str | None, target: str | None) -> bool:
        catalogue = self._catalogue
        if catalogue is None:
            return False
        wanted = catalogue.wanted(model, customer, target)
        return judge_firmware(model, firmware, catalogue, self._clock(), wanted).verdict == Verdict.FAIL

    async def _read_catalogue(self) -> None:
        """A file that became unreadable after the service had read it leaves the catalogue as it was."""
        self._read, file = True, self._file
        try:
            self._catalogue = await asyncio.to_thread(read_catalogue, file) if file is not None else None
        except CatalogueError as error:
            _log.warning("catalogue not read: terminals are asked by the one before", error=str(error))
