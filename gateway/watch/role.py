"""The watch as a role of the service: fleet state fed by commits, the patrol, tickets and what is owed to channels.

One service of a store holds it (`gateway.service.tenure`). It begins with what the store knows; while it stands by, it
keeps no state, and what its own terminals report is told to the holder.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from psycopg import Error
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from detectors.detector import Detector
from gateway.configuration.settings import Settings
from gateway.parts import Supervisor
from gateway.receive.pipeline import Accepted
from gateway.watch.contacts import Told
from gateway.watch.counted import command_metrics, ticket_metrics
from gateway.watch.desk_work import DeskWork, Probes
from gateway.watch.detecting import detectors_of, mass_rule
from gateway.watch.elsewhere import CheckedIncidents
from gateway.watch.fleet import Fleet
from gateway.watch.listening import Listening
from gateway.watch.measured import watch_metrics
from gateway.watch.patrol import Patrol
from ticketing.commands import count_commands
from ticketing.core.outbox import Channel, Outbox
from ticketing.letters.courier import Courier
from ticketing.letters.post import Post
from ticketing.mail.judge import Judge
from ticketing.model.kinds import COMMON, STORM
from ticketing.tickets.office import NoPost, Office
from ticketing.tickets.store import Counts, TicketStore

_log = structlog.get_logger()
_KINDS = (STORM, *COMMON)  # of groups
_COUNT_PERIOD = 5.0  # s between counts of tickets for the metrics


class WatchRole:
    """Everything behind the commit.

    Attributes
    ----------
    active : whether this service keeps the fleet's state and judges it.
    fleet, patrol : of this tenure; empty while standing by.
    """

    def __init__(
        self,
        settings: Settings,
        pool: AsyncConnectionPool,
        owed: list[Channel],
        supervisor: Supervisor,
        listening: Callable[[], bool],
        courier: Courier | None = None,
        judge: Callable[[Office], Judge | None] = lambda _office: None,
    ) -> None:
        """`listening` tells whether the gateway accepts and commits at this moment."""
        self._settings = settings
        self._listening = listening
        self._pool = pool
        self._supervisor = supervisor
        self._detectors = detectors_of(settings)
        self._counts: Counts | None = None
        self._held: list[Accepted | Told] | None = None  # what was heard while the state is being restored
        self._pending: dict[str, int] = {}
        self._commands: Mapping[tuple[str, str], int] = {}
        self.active = False
        self.outbox = Outbox(pool, owed)
        self.office = Office(
            policy=settings.desk.policy, targets=self.outbox.targets, probe=Probes(pool, lambda: self.patrol)
        )
        self.desk = DeskWork(pool, self.office, None, judge(self.office))
        self.carry_by(courier, owed=courier is not None)
        self.tickets = TicketStore(pool, office=self.office)
        self.shared: Callable[[], bool] = lambda: False  # whether other services store records too
        self.incidents = CheckedIncidents(
            pool,
            office=self.office,
            tickets_per_minute=settings.watch.incidents.tickets_per_minute,
            fleet=lambda: self.fleet,
            shared=lambda: self.shared(),
        )
        self.forget()

    def forget(self) -> None:
        """Stand by: another service's watch goes on from here, and ours would be out of date at once."""
        watch = self._settings.watch
        self.active = False
        self.fleet = Fleet(Listening(), self._detectors)
        self.patrol = Patrol(
            self._pool,
            self.fleet,
            self.incidents,
            hold=watch.incidents.hold,
            recovery=watch.incidents.recovery,
            mass=mass_rule(self._settings),
            on_opened=self.outbox.wake,
        )

    def committed(self, batch: Accepted) -> None:
        """Take note of a committed batch; unregistered terminals have no state."""
        if self._held is not None:
            self._held.append(batch)
        elif self.active:
            self.fleet.note(batch)

    def heard(self, told: Told) -> None:
        """Take note of what another process committed."""
        if self._held is not None:
            self._held.append(told)
        elif self.active:
            self.fleet.hear(told)

    def carry_by(self, courier: Courier | None, *, owed: bool) -> None:
        """Let letters go by `courier` from now on; without a way out (`owed` false) none come to be owed."""
        self.desk.courier = courier
        self.office.post = Post() if owed else NoPost()

    def reconfigure(self, settings: Settings, detectors: Iterable[Detector], owed: list[Channel]) -> None:
        """Take over changed thresholds, catalogue and channels; nothing learned is forgotten."""
        self._settings, self._detectors = settings, tuple(detectors)
        incidents = settings.watch.incidents
        self.patrol.reconfigure(
            self._detectors, hold=incidents.hold, recovery=incidents.recovery, mass=mass_rule(settings)
        )
        self.outbox.replace(owed)
        self.incidents.tell(self.outbox.targets)
        self.incidents.limit(incidents.tickets_per_minute)

    async def begin(self) -> None:
        """Restore what the store knows, as at a start. What is committed meanwhile is noted after that."""
        self.forget()
        self._held = []
        try:
            await self.patrol.start(time.time(), time.monotonic())
            for told in self._held:
                if isinstance(told, Told):
                    self.fleet.hear(told)
                else:
                    self.fleet.note(told)
            self.active = True
        finally:
            self._held = None

    async def watch(self) -> None:
        """Judge the fleet until cancelled; in memory only."""
        await self._supervisor.keep("watch", partial(self.patrol.watch, self._listening))

    async def work(self) -> None:
        """Everything that must be done by one service alone, until cancelled."""
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            **self.patrol.work(),
            "delivery": partial(self.outbox.run, self._supervisor.keep),
            "counts": self._count,
            "engine": self.desk.run,
            "letters": self.desk.carry,
            "mail": self.desk.judge_mail,
        }
        await self._supervisor.together(parts)

    async def stop(self) -> None:
        """Keep what was learned; when no more frames are accepted."""
        if self.active:
            await self.patrol.stop(time.time())

    async def _count(self) -> None:
        while True:
            try:
                self._counts = await self.tickets.counts()
                self._pending = await self.outbox.pending()
                self._commands = await count_commands(self._pool)
            except (Error, PoolTimeout, OSError) as error:
                _log.warning("tickets not counted", error=str(error).strip())
            await asyncio.sleep(_COUNT_PERIOD)

    def metrics(self) -> Iterator[Metric]:
        """Verdicts, incidents, tickets and what is owed; only who watches knows them."""
        if not self.active:
            return
        verdicts = GaugeMetricFamily("dozor_terminals", "Terminals by verdict", labels=["detector", "verdict"])
        for detector, counted in self.patrol.counts().items():
            for verdict, count in counted.items():
                verdicts.add_metric([detector, verdict], count)
        yield verdicts
        patrol = self.patrol
        yield from watch_metrics(patrol.ticks, patrol.together.stage.members, listens=patrol.listens)
        if self._counts is not None:
            yield from ticket_metrics(self._counts, (*self.patrol.kinds, *_KINDS), self.incidents.clocks)
        yield command_metrics(self._commands)
        refused = CounterMetricFamily(
            "dozor_incidents_refused", "Incidents that could not be written, by attempt", labels=["kind"]
        )
        for kind in dict.fromkeys((*self.patrol.kinds, *_KINDS)):
            refused.add_metric([kind], self.patrol.refused.get(kind, 0))
        yield refused
        pending = GaugeMetricFamily("dozor_outbox_pending", "Messages not yet delivered", labels=["channel"])
        failed = CounterMetricFamily("dozor_outbox_failed", "Deliveries that were not taken", labels=["channel"])
        for channel in ("email", "webhook", "notify"):
            pending.add_metric([channel], self._pending.get(channel, 0))
            failed.add_metric([channel], self.outbox.failed.get(channel, 0))
        yield pending
        yield failed
        items = CounterMetricFamily(
            "dozor_items_failed", "Single items that met an unforeseen error and were put off", labels=["kind"]
        )
        items.add_metric(["clock"], self.desk.failed)
        items.add_metric(["message"], self.outbox.unforeseen)
        yield items
        yield from self.desk.metrics()
