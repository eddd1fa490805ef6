"""The watch's round, once a second: columns → detectors → verdicts → decisions → incidents.

`tick` computes and touches no database (`round`); what it decides waits in a list, and `settle` carries it out. So a
slow store delays tickets, never the tick, and terminals are served whatever happens here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

import numpy as np
import structlog
from psycopg import AsyncConnection, Error, OperationalError
from psycopg.rows import TupleRow
from psycopg_pool import PoolTimeout

from detectors.detector import Detector
from detectors.mass import MassRule
from detectors.verdicts import Explanation, Verdict, Verdicts, count_verdicts
from gateway.watch import lessons, snapshots
from gateway.watch.agenda import Agenda
from gateway.watch.evidence import build_case
from gateway.watch.fleet import Fleet
from gateway.watch.group_carrying import GroupCarrying
from gateway.watch.measured import Ticks
from gateway.watch.registered import Registered
from gateway.watch.round import Round
from gateway.watch.together import KIND
from gateway.watch.whereabouts import Operators, Whereabouts
from ticketing.core.db import Pool
from ticketing.incidents import Case, Incidents
from ticketing.incidents.decisions import Step
from ticketing.incidents.groups import GroupIncidents
from ticketing.incidents.hysteresis import Decisions
from ticketing.incidents.rules import inhibit
from ticketing.model.kinds import STORM

log = structlog.get_logger()

TICK = 1.0  # s
SNAPSHOT = 10.0  # s between snapshots; what lies between is read back from the records
BEAT = 2.0  # s between heartbeats: so much of our listening a kill -9 may cost
REFRESH = 2.0  # s between looks at terminals whose firmware or model changed
SHARE = 20  # what takes long (a large fleet) is done for at most one part in so many of the time
LONG = ("snapshot", "terminals")
QUEUE = 2000  # decisions of one kind that wait for the store: some seconds of its work, and bounded
USUAL = 600.0  # s between savings of what is usual of groups
MARKS = -1  # in a key where a terminal's row would stand: the marks of all
MEMBERS = -2  # those that recovered together


class Patrol:
    """Watches one fleet.

    Attributes
    ----------
    fleet : feed it with `fleet.note` after each commit.
    together : who fell silent together.
    ticks : how long each took.
    """

    def __init__(
        self,
        pool: Pool,
        fleet: Fleet,
        incidents: Incidents,
        *,
        hold: float = 30.0,
        recovery: float = 300.0,
        mass: MassRule | None = None,
        on_opened: Callable[[], None] = lambda: None,
    ) -> None:
        self.fleet = fleet
        self._pool = pool
        self._incidents = incidents
        self._on_opened = on_opened
        self._registered = Registered()
        self._round = Round(fleet, hold=hold, recovery=recovery, mass=mass)
        self._watched = self._round.watched
        self._agenda = Agenda()
        self.together = self._round.together
        self._groups = GroupCarrying(
            pool, fleet, self.together, self._agenda, GroupIncidents(pool, incidents), on_opened
        )
        self._whereabouts = Whereabouts()
        self._operators = Operators()
        self.ticks = Ticks()
        self._marks: dict[str, tuple[dict[int, float], dict[int, float]]] = {kind: ({}, {}) for kind in self._watched}
        self._clock_set = False

    # What others ask.

    @property
    def refused(self) -> Mapping[str, int]:
        """Incidents that could not be written though the store was there, by kind: attempts since the start."""
        return self._agenda.refused

    @property
    def trusted(self) -> bool:
        """Whether the gateway believes its own ears."""
        return self._round.trusted

    @property
    def listens(self) -> bool:
        """Whether terminals that are silent are so by themselves, as far as we can tell."""
        return self._round.listens

    @property
    def kinds(self) -> dict[str, str]:
        """The detectors' kinds, and what pages call each."""
        return {kind: detector.words for kind, detector in self.fleet.detectors.items()}

    def counts(self) -> dict[str, dict[str, int]]:
        """Terminals by detector and verdict."""
        exists = self.fleet.exists[: self.fleet.rows]
        return {kind: count_verdicts(verdicts[exists]) for kind, verdicts in self.verdicts().items()}

    def verdicts(self) -> dict[str, Verdicts]:
        """The verdicts of the last tick by detector, one per fleet row."""
        nothing = np.zeros(self.fleet.rows, np.int8)
        return {kind: self.fleet.verdicts(kind) if self.trusted else nothing for kind in self._watched}

    def verdicts_of(self, row: int) -> dict[str, str]:
        """One terminal's verdict by detector, as the API words it."""
        known = self.trusted and row < self.fleet.rows
        return {
            kind: Verdict(int(self.fleet.verdicts(kind)[row])).label if known else "unknown" for kind in self._watched
        }

    def explain(self, kind: str, row: int) -> Explanation:
        """Why one terminal's verdict is what it is, as of now."""
        return self._round.explain(kind, row)

    # The round.

    def reconfigure(
        self, detectors: Iterable[Detector], *, hold: float, recovery: float, mass: MassRule | None = None
    ) -> None:
        """Take over changed settings without forgetting anything."""
        self._round.reconfigure(detectors, hold=hold, recovery=recovery, mass=mass)

    def tick(self, now: float, monotonic: float, *, listening: bool = True) -> None:
        """Judge the fleet.

        Parameters
        ----------
        now : Unix seconds.
        monotonic : seconds of a clock that is never set, the same as at `start`.
        listening : whether frames were accepted and committed since the last tick.
        """
        decided = self._round.tick(now, monotonic, listening=listening)
        jump = self.fleet.listening.jump
        if jump:
            self._clock_set = True
            self._agenda.shift(jump)
        for kind, decisions in decided.items():
            self._decide(kind, decisions, now)
        if decided:
            self._decide_together(now)

    async def settle(self, now: float) -> int:
        """Carry out what the ticks decided; returns how many transactions that were.

        A store that is away leaves everything for the next time.
        """
        for kind in self._marks:
            await self._agenda.attempt((kind, MARKS), partial(self._mark, kind), now)
        done = await self._agenda.settle(now)
        await self._agenda.attempt((STORM, 0), self._review, now)
        return done

    async def start(self, now: float, monotonic: float) -> None:
        """Restore the fleet, the incidents and the clock. To be called before the first frame is accepted."""
        fleet = self.fleet
        as_of = await snapshots.load(self._pool, fleet)
        stopped_at = fleet.listening.now
        await snapshots.catch_up(self._pool, fleet, as_of, now)
        fleet.listening.advance(now, monotonic)
        if fleet.listening.jump:
            fleet.shift(fleet.listening.jump)
        if np.isnan(stopped_at) and fleet.rows:
            # Records, but no heartbeat: the last record is the last we know of ourselves.
            fleet.listening.absent(min(float(fleet.received.max()) / 1e6, now), now)
        await self._learn_of_terminals()
        for incident in await self._incidents.open_incidents():
            watched = self._watched.get(incident.kind)
            if watched is None:
                continue
            self.fleet.reserve(incident.terminal + 1)
            good = None
            if incident.last_good_at is not None:
                # It was seen by the clock as it was before the restart, which may have been ahead.
                since = min(incident.last_good_at + fleet.listening.jump, now)
                good = (float(self.fleet.listening.listened(np.array([since]))[0]), since)
            # It failed, as far as anybody knows, until now: what comes from here on is proof.
            watched.resume(incident.terminal, int(fleet.live[incident.terminal]), good, incident.flaps)
        await self._groups.start()
        if not np.isnan(stopped_at):
            self.together.away(now - stopped_at)

    async def watch(self, listening: Callable[[], bool] = lambda: True) -> None:
        """Judge the fleet each second until cancelled; touches no store.

        `listening` tells whether the gateway accepts and commits at this moment.
        """
        while True:
            begun = time.perf_counter()
            self.tick(time.time(), time.monotonic(), listening=listening())
            self.ticks.took(time.perf_counter() - begun)
            await asyncio.sleep(TICK)

    def work(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What is to run beside `watch` and writes to the store, by name: each until cancelled."""
        return {
            "settle": partial(self._repeat, TICK, "settle", lambda: self.settle(time.time())),
            "heartbeat": partial(self._repeat, BEAT, "heartbeat", self._beat),
            "terminals": partial(self._repeat, REFRESH, "terminals", self._learn_of_terminals),
            "usual": partial(self._repeat, USUAL, "usual", self._groups.save, first=USUAL),
            "snapshot": partial(
                self._repeat, SNAPSHOT, "snapshot", lambda: snapshots.save(self._pool, self.fleet, time.time())
            ),
        }

    async def stop(self, now: float) -> None:
        """Save everything: to be called when no more frames are accepted and `work` has ended."""
        self.fleet.flush()
        await snapshots.save(self._pool, self.fleet, now)
        await self._groups.save()

    async def _beat(self) -> None:
        if self._clock_set:
            # The fleet's instants moved along with the clock: both are kept together, or not at all.
            await snapshots.save(self._pool, self.fleet, time.time())
            self._clock_set = False
        else:
            await snapshots.beat(self._pool, self.fleet)

    async def _learn_of_terminals(self) -> None:
        await self._registered.refresh(self._pool, self.fleet, self.together.registered)
        await self._whereabouts.refresh(self._pool, self.together.connected)
        await self._operators.refresh(self._pool, self.together.roaming)
        await lessons.learn(self._pool, self.fleet)

    async def _repeat(
        self, every: float, what: str, act: Callable[[], Awaitable[object]], *, first: float = 0.0
    ) -> None:
        await asyncio.sleep(first)
        while True:
            started = time.monotonic()
            try:
                await act()
            except (OperationalError, PoolTimeout) as error:
                log.warning("watch waits for the store", what=what, error=type(error).__name__)
            except Error as error:
                log.error("watch refused by the store", what=what, error=str(error))
            took = time.monotonic() - started
            await asyncio.sleep(max(every - took, took * SHARE if what in LONG else 0.0, 0.05))

    # From decisions to incidents.

    def _decide(self, kind: str, decisions: Decisions, now: float) -> None:
        good, bad = self._marks[kind]
        watched = self._watched[kind]
        for row in decisions.turned_good.tolist():
            bad.pop(row, None)
            good[row] = float(watched.good_wall[row])
        for row in decisions.turned_bad.tolist():
            good.pop(row, None)
            bad[row] = now
        # What does not fit now is decided again by the next tick.
        for row in decisions.raised[:QUEUE].tolist():
            self._agenda.put((kind, row), partial(self._raise, kind, row), now)
        for row in decisions.recovered[:QUEUE].tolist():
            self._agenda.put((kind, row), partial(self._recover, kind, row), now)
        for row in decisions.changed[:QUEUE].tolist():
            self._agenda.put((kind, row), partial(self._change, kind, row), now)

    def _decide_together(self, now: float) -> None:
        self._groups.put(now)
        if len(self._round.back):
            self._agenda.put((KIND, MEMBERS), partial(self._groups.members_recovered, self._round.back), now)
        for row in self._round.left[:QUEUE]:
            self._agenda.put((KIND, row), partial(self._raise, KIND, row, member=True), now)

    async def _mark(self, kind: str, _now: float) -> None:
        good, bad = self._marks[kind]
        if not good and not bad:
            return
        told_good, told_bad = dict(good), dict(bad)
        await self._incidents.mark(kind, told_good, told_bad)
        for marks, told in ((good, told_good), (bad, told_bad)):
            for row, at in told.items():
                if marks.get(row) == at:
                    del marks[row]

    async def _review(self, now: float) -> None:
        for kind, row in await self._incidents.review(now):
            self._agenda.put((kind, row), partial(self._raise, kind, row, member=True), now)

    def _verdict_now(self, kind: str, row: int) -> Verdict:
        """Judged afresh: a frame may have been committed since the tick."""
        self.fleet.flush()
        return self.explain(kind, row).verdict

    async def _raise(self, kind: str, row: int, now: float, *, member: bool = False) -> None:
        """Raise what fails; of what is open already only a member that its group gives back."""
        watched = self._watched.get(kind)
        waits = self.together.waits(row) if kind == KIND and not member else None
        if watched is None or inhibit(now, listening=self.trusted, waits=waits) is not None:
            return
        finding = self._round.finding(kind, row, member=member)
        if finding is None:
            return
        cases: list[Case] = []  # of the ticket, if there is one to write

        async def prepare(connection: AsyncConnection[TupleRow]) -> Case:
            cases.append(await build_case(connection, finding, self.fleet))
            return cases[-1]

        raised = await self._incidents.raise_finding(
            finding,
            now,
            prepare,
            lambda: self._verdict_now(kind, row) == Verdict.FAIL,
        )
        if not raised.is_open:
            return
        watched.opened(row, raised.flaps)
        if raised.decision.step == Step.DETACH:
            self.together.released([row])
        if raised.opened:
            self._on_opened()
        told = {
            "number": raised.number,
            "kind": kind,
            "terminal": cases[-1].evidence["terminal"]["identity"] if cases else None,
            "reason": finding.explanation.reason,
        }
        if raised.decision.step in (Step.OPEN, Step.DETACH):
            log.info("ticket opened", **told)
        elif raised.decision.step == Step.RELAPSE:
            log.info("ticket back in work", **told)

    async def _change(self, kind: str, row: int, now: float) -> None:
        if inhibit(now, listening=self.trusted) is not None:
            return
        explanation = self.explain(kind, row)
        if explanation.verdict == Verdict.FAIL:
            number = await self._incidents.change(kind, row, now, explanation.reason)
            self._round.told(kind, row)
            if number is not None:
                log.info("ticket means something else", number=number, kind=kind, reason=explanation.reason)

    async def _recover(self, kind: str, row: int, now: float) -> None:
        watched = self._watched[kind]
        proof = self._round.proof(kind, row)
        if proof is None or inhibit(now, listening=self.trusted) is not None:
            return
        since, text = proof
        recovered = await self._incidents.recover(
            kind,
            row,
            now,
            since,
            text,
            lambda: watched.good_wall[row] == since and self._verdict_now(kind, row) != Verdict.FAIL,
        )
        if recovered is not None:
            watched.closed(row)
            if recovered.number is not None:
                log.info("ticket awaits consent", number=recovered.number, kind=kind)
