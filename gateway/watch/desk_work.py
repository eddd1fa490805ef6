"""The desk's own work in the service: what time causes, letters, and what the watch knows for pre-checks.

One service of a store does it, the one that watches. Each part has a loop of its own, so that a mail server which hangs
delays no clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Protocol

import structlog
from prometheus_client.core import CounterMetricFamily, Metric
from psycopg import Error
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from detectors.verdicts import Verdict
from ticketing.engine import Engine, modules_of
from ticketing.letters.courier import Courier, Outcome
from ticketing.letters.kinds import KINDS
from ticketing.mail.judge import Judge
from ticketing.mail.verdicts import Kind
from ticketing.tickets.office import CHECKS, Finding, Office

_log = structlog.get_logger()
ENGINE_PERIOD = 1.0  # s between cycles; one with nothing due reads some indexes
LETTER_PERIOD = 1.0  # s between looks for letters that are owed
MAIL_PERIOD = 1.0  # s between looks for mail that is not judged
# Which detectors speak for a pre-check; the worst of them counts.
SPEAK = {"last-packet": ("silence",), "fix": ("gnss",), "ports": ("power", "fuel-sensor"), "firmware": ("firmware",)}
WORDS = {Verdict.GOOD.label: "green", Verdict.FAIL.label: "red", Verdict.SUSPECT.label: "red"}


class Judging(Protocol):
    """What the patrol knows of one terminal."""

    def verdicts_of(self, row: int) -> dict[str, str]: ...


class Probes:
    """Pre-checks from the verdicts of the watch, of terminals by identity."""

    def __init__(self, pool: AsyncConnectionPool, patrol: Callable[[], Judging]) -> None:
        self._pool = pool
        self._patrol = patrol

    async def __call__(self, terminal: str, at: datetime) -> Sequence[Finding]:
        """What each check finds; unknown where no detector can tell."""
        async with self._pool.connection() as connection:
            rows = await connection.execute("SELECT id FROM terminal WHERE identity = %s", (terminal,))
            found = await rows.fetchone()
        verdicts = {} if found is None else self._patrol().verdicts_of(found[0])
        return [Finding(name, _worst(verdicts.get(kind, "") for kind in SPEAK[name])) for name in CHECKS]


def _worst(verdicts: Iterable[str]) -> str:
    told = {WORDS.get(verdict, "unknown") for verdict in verdicts}
    return "red" if "red" in told else "green" if "green" in told else "unknown"


class DeskWork:
    """The engine, and the courier where there is a mail server."""

    def __init__(self, pool: AsyncConnectionPool, office: Office, courier: Courier | None, judge: Judge | None) -> None:
        self._clocks, self._dues = modules_of(pool, office)
        self.engine = Engine((self._clocks, self._dues))
        self.courier = courier
        self.judge = judge

    @property
    def failed(self) -> int:
        """Looks at clocks that ended in an error."""
        return self._clocks.failing.failed

    async def run(self) -> None:
        """Everything that time causes, until cancelled."""
        while True:
            try:
                now = datetime.now(UTC)
                due = await self.engine.next_due()
                if due is not None and due <= now:
                    await self.engine.cycle(now)
            except (Error, PoolTimeout, OSError) as error:
                _log.warning("the engine waits for the store", error=str(error).strip())
            await asyncio.sleep(ENGINE_PERIOD)

    async def carry(self) -> None:
        """Letters, until cancelled."""
        while True:
            try:
                if self.courier is not None:  # a reload may bring one
                    await self.courier.cycle(datetime.now(UTC))
            except (Error, PoolTimeout, OSError) as error:
                _log.warning("letters wait for the store", error=str(error).strip())
            await asyncio.sleep(LETTER_PERIOD)

    async def judge_mail(self) -> None:
        """What came in, until cancelled."""
        while self.judge is not None:
            try:
                await self.judge.cycle(datetime.now(UTC))
            except (Error, PoolTimeout, OSError) as error:
                _log.warning("mail waits for the store", error=str(error).strip())
            await asyncio.sleep(MAIL_PERIOD)
        await asyncio.Event().wait()

    def metrics(self) -> Iterator[Metric]:
        """Letters by kind and what came of them; what could not be judged."""
        letters = CounterMetricFamily("dozor_letters", "Letters by what came of them", labels=["kind", "result"])
        counts = {} if self.courier is None else self.courier.counts
        for kind in KINDS:
            for outcome in Outcome:
                letters.add_metric([kind, str(outcome)], counts.get((kind, str(outcome)), 0))
        yield letters
        mail = CounterMetricFamily("dozor_mail_in", "Mails that were judged", labels=["verdict"])
        judged = {} if self.judge is None else self.judge.judged
        for verdict in Kind:
            mail.add_metric([str(verdict)], judged.get(str(verdict), 0))
        yield mail
        failed = CounterMetricFamily("dozor_engine_failed", "Looks that met an error and were put off", labels=["kind"])
        for name, count in self._dues.failed.items():
            failed.add_metric([name], count)
        yield failed
