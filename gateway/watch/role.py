"""The watch as a role of the service: fleet state fed by commits, the patrol, tickets and what is owed to channels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from psycopg import Error
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from detectors import firmware, silence
from detectors.firmware import Catalogue
from detectors.silence import SilenceRule
from gateway.receive.pipeline import Committed
from gateway.settings import Settings
from gateway.watch.catalogue import read_catalogue
from gateway.watch.contacts import columns_of
from gateway.watch.fleet import Fleet
from gateway.watch.listening import Listening
from gateway.watch.patrol import Patrol
from ticketing.clock_watch import watch_clocks
from ticketing.incidents import Incidents
from ticketing.outbox import Channel, Outbox
from ticketing.store import Counts, TicketStore

_log = structlog.get_logger()
_COUNT_PERIOD = 5.0  # s between counts of tickets for the metrics
_CLOCK_PERIOD = 2.0  # s between looks at the clocks of tickets; a round with nothing due reads one index
KINDS = (silence.KIND, firmware.KIND)


def silence_rule(settings: Settings) -> SilenceRule:
    """When a terminal counts as silent."""
    silent = settings.watch.silence
    return SilenceRule(after=silent.after, floor=silent.floor, ceiling=silent.ceiling, learn=silent.learn)


def catalogue(settings: Settings) -> Catalogue | None:
    """The releases that firmware is judged by, if any."""
    file = settings.watch.firmware.catalogue
    return read_catalogue(file) if file else None


class WatchRole:
    """Everything behind the commit."""

    def __init__(self, settings: Settings, pool: AsyncConnectionPool, owed: list[Channel]) -> None:
        watch = settings.watch
        self._pool = pool
        self.fleet = Fleet(Listening(), silence_rule(settings))
        self.outbox = Outbox(pool, owed)
        self.tickets = TicketStore(pool)
        self.incidents = Incidents(pool, policy=settings.desk.policy, targets=self.outbox.targets)
        self.patrol = Patrol(
            pool,
            self.fleet,
            self.incidents,
            hold=watch.incidents.hold,
            recovery=watch.incidents.recovery,
            catalogue=catalogue(settings),
            on_opened=self.outbox.wake,
        )
        self._counts = Counts({}, {}, {})
        self._pending: dict[str, int] = {}

    def committed(self, batch: Committed) -> None:
        """Take note of a committed batch; unregistered terminals have no state."""
        self.fleet.note(*columns_of(batch))

    def reconfigure(self, settings: Settings, releases: Catalogue | None, owed: list[Channel]) -> None:
        """Take over changed thresholds, catalogue and channels; nothing learned is forgotten."""
        incidents = settings.watch.incidents
        self.patrol.reconfigure(
            rule=silence_rule(settings), hold=incidents.hold, recovery=incidents.recovery, catalogue=releases
        )
        self.outbox.replace(owed)
        self.incidents.tell(self.outbox.targets)

    async def start(self) -> None:
        """Restore; before the first frame is accepted."""
        await self.patrol.start(time.time(), time.monotonic())

    async def run(self, listening: Callable[[], bool]) -> None:
        """Watch, deliver and count until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.patrol.run(listening))
            group.create_task(self.outbox.run())
            group.create_task(self._count())
            group.create_task(self._watch_clocks())

    async def stop(self) -> None:
        """Keep what was learned; when no more frames are accepted."""
        await self.patrol.stop(time.time())

    async def _count(self) -> None:
        while True:
            try:
                self._counts = await self.tickets.counts()
                self._pending = await self.outbox.pending()
            except (Error, PoolTimeout, OSError) as error:
                _log.warning("tickets not counted", error=str(error).strip())
            await asyncio.sleep(_COUNT_PERIOD)

    async def _watch_clocks(self) -> None:
        while True:
            try:
                await watch_clocks(self._pool, datetime.now(UTC))
            except (Error, PoolTimeout, OSError) as error:
                _log.warning("clocks not looked at", error=str(error).strip())
            await asyncio.sleep(_CLOCK_PERIOD)

    def metrics(self) -> Iterator[Metric]:
        """Verdicts, incidents, tickets and what is owed."""
        verdicts = GaugeMetricFamily("dozor_terminals", "Terminals by verdict", labels=["detector", "verdict"])
        for detector, counted in self.patrol.counts().items():
            for verdict, count in counted.items():
                verdicts.add_metric([detector, verdict], count)
        yield verdicts
        told = self._counts
        for family, name, text, values in (
            (GaugeMetricFamily, "dozor_incidents_open", "Open incidents", told.incidents_open),
            (GaugeMetricFamily, "dozor_tickets_open", "Tickets that are not closed", told.tickets_open),
            (CounterMetricFamily, "dozor_tickets_opened", "Tickets opened, ever", told.tickets_opened),
        ):
            metric = family(name, text, labels=["kind"])
            for kind in KINDS:
                metric.add_metric([kind], values.get(kind, 0))
            yield metric
        pending = GaugeMetricFamily("dozor_outbox_pending", "Messages not yet delivered", labels=["channel"])
        failed = CounterMetricFamily("dozor_outbox_failed", "Deliveries that were not taken", labels=["channel"])
        for channel in ("email", "webhook"):
            pending.add_metric([channel], self._pending.get(channel, 0))
            failed.add_metric([channel], self.outbox.failed.get(channel, 0))
        yield pending
        yield failed
