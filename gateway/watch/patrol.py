"""The watch's round, once a second: arrays → detectors → verdicts → decisions → incidents.

`tick` computes and touches no database; what it decides waits in a list, and `settle` carries it out. So a slow
store delays tickets, never the tick, and terminals are served whatever happens here. When the gateway itself did not
listen (store away, loop stalled, clock set), every verdict is unknown until it does again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import numpy as np
import structlog
from psycopg import AsyncConnection, Error, OperationalError
from psycopg.rows import TupleRow
from psycopg_pool import PoolTimeout

from detectors import firmware, silence
from detectors.firmware import Catalogue
from detectors.silence import SilenceRule, explain_silence, judge_silence, spell
from detectors.verdicts import Explanation, Finding, Verdict, Verdicts, count_verdicts
from gateway.watch import snapshots
from gateway.watch.evidence import build_case
from gateway.watch.fleet import NEVER, Fleet
from gateway.watch.hysteresis import Decisions, Hysteresis
from gateway.watch.releases import Releases
from ticketing.incidents import Case, Incidents, Outcome
from ticketing.store import Pool

log = structlog.get_logger()

TICK = 1.0  # s
SNAPSHOT = 10.0  # s between snapshots; what lies between is read back from the records
BEAT = 2.0  # s between heartbeats: so much of our listening a kill -9 may cost
REFRESH = 2.0  # s between looks at terminals whose firmware or model changed
SNAPSHOT_SHARE = 20  # a snapshot that takes long (a large fleet) is made at most this share of the time
AT_ONCE = 4  # transactions: a mass outage must not take the pool from the desk
QUEUE = 2000  # decisions of one kind that wait for the store: some seconds of its work, and bounded
BLOCKED = 60.0  # s before a row whose transaction the store refused is tried again


class Patrol:
    """Watches one fleet.

    Attributes
    ----------
    fleet : feed it with `fleet.note` after each commit.
    """

    def __init__(
        self,
        pool: Pool,
        fleet: Fleet,
        incidents: Incidents,
        *,
        hold: float = 30.0,
        recovery: float = 300.0,
        catalogue: Catalogue | None = None,
        on_opened: Callable[[], None] = lambda: None,
    ) -> None:
        self.fleet = fleet
        self._pool = pool
        self._incidents = incidents
        self._on_opened = on_opened
        self._releases = Releases(catalogue)
        self._watched = {
            silence.KIND: Hysteresis(silence.KIND, hold=hold, recovery=recovery, proof=[Verdict.GOOD]),
            # A version in grace is no failure: the update that was asked for has been made.
            firmware.KIND: Hysteresis(
                firmware.KIND, hold=hold, recovery=recovery, proof=[Verdict.GOOD, Verdict.SUSPECT]
            ),
        }
        self._due: dict[tuple[str, int], Callable[[float], Awaitable[None]]] = {}
        self._blocked: dict[tuple[str, int], float] = {}
        self._marks: dict[str, tuple[dict[int, float], dict[int, float]]] = {kind: ({}, {}) for kind in self._watched}
        self._now = np.nan
        self._clock_set = False

    # What others ask.

    @property
    def trusted(self) -> bool:
        """Whether the gateway believes its own ears."""
        return self.fleet.listening.trusted

    def counts(self) -> dict[str, dict[str, int]]:
        """Terminals by detector and verdict."""
        exists = self.fleet.exists[: self.fleet.rows]
        return {kind: count_verdicts(verdicts[exists]) for kind, verdicts in self.verdicts().items()}

    def verdicts(self) -> dict[str, Verdicts]:
        """The verdicts of the last tick by detector, one per fleet row."""
        found = {}
        for kind, watched in self._watched.items():
            verdict = np.zeros(self.fleet.rows, np.int8)
            if self.trusted:
                judged = watched.verdict[: self.fleet.rows]
                verdict[: len(judged)] = judged
            found[kind] = verdict
        return found

    def verdicts_of(self, row: int) -> dict[str, str]:
        """One terminal's verdict by detector, as the API words it."""
        return {
            kind: Verdict(int(watched.verdict[row])).label if self.trusted and row < len(watched.verdict) else "unknown"
            for kind, watched in self._watched.items()
        }

    def explain(self, kind: str, row: int) -> Explanation:
        """Why one terminal's verdict is what it is, as of now."""
        if not self.trusted or row >= self.fleet.rows:
            return Explanation(
                Verdict.UNKNOWN, "the gateway itself did not listen" if not self.trusted else "never heard"
            )
        if kind == firmware.KIND:
            return self._releases.explain(int(self.fleet.release[row]), self._now)
        fleet = self.fleet
        off = int(fleet.off[row])
        return explain_silence(
            fleet.listening.clock - float(fleet.heard[row]),
            float(fleet.limit[row]),
            float(fleet.interval[row, off]),
            int(fleet.learned[row, off]),
            ignition_off=bool(off),
            rule=fleet.rule,
        )

    def rhythm(self, row: int) -> dict[str, Any]:
        """Interval statistics of one terminal, as tickets and pages show them; seconds."""
        fleet = self.fleet
        if row >= fleet.rows:
            return {}
        shown: dict[str, Any] = {
            "limit_s": round(float(fleet.limit[row]), 1),
            "last_frame": _iso(int(fleet.received[row])),
            "last_live_record": _iso(int(fleet.live[row])),
            "ignition": "off" if fleet.off[row] else "on or unknown",
        }
        for state, name in enumerate(("ignition_on_or_unknown", "ignition_off")):
            rhythm = fleet.rhythm(row, state)
            shown[name] = {
                "interval_s": None if np.isnan(rhythm.interval) else float(f"{rhythm.interval:.3g}"),
                "gaps": rhythm.gaps,
                "recent_gaps_s": rhythm.recent,
            }
        return shown

    # The round.

    def reconfigure(self, *, rule: SilenceRule, hold: float, recovery: float, catalogue: Catalogue | None) -> None:
        """Take over changed settings without forgetting anything."""
        self.fleet.refresh_limits(rule)
        for watched in self._watched.values():
            watched.hold, watched.recovery = hold, recovery
        self._releases.replace(catalogue)

    def tick(self, now: float, monotonic: float, *, listening: bool = True) -> None:
        """Judge the fleet.

        Parameters
        ----------
        now : Unix seconds.
        monotonic : seconds of a clock that is never set, the same as at `start`.
        listening : whether frames were accepted and committed since the last tick.
        """
        fleet = self.fleet
        fleet.flush()  # before the clock may be found to have been set
        fleet.listening.advance(now, monotonic, listening=listening)
        jump = fleet.listening.jump
        if jump:
            self._clock_set = True
            fleet.shift(jump)
            for watched in self._watched.values():
                watched.shift(jump)
        self._now = now
        if not fleet.listening.trusted:
            return
        n = fleet.rows
        clock = fleet.listening.clock
        judged = {
            silence.KIND: judge_silence(clock - fleet.heard[:n], fleet.limit[:n]),
            firmware.KIND: self._releases.judge(fleet.release[:n], now),
        }
        for kind, verdict in judged.items():
            decisions = self._watched[kind].judge(verdict, clock, now, fleet.live[:n], fleet.heard[:n])
            self._decide(kind, decisions, now)

    async def settle(self, now: float) -> int:
        """Carry out what the ticks decided; returns how many transactions that were.

        A store that is away leaves everything for the next time.
        """
        done = 0
        for kind, (good, bad) in self._marks.items():
            if good or bad:
                told_good, told_bad = dict(good), dict(bad)
                await self._incidents.mark(kind, told_good, told_bad)
                for marks, told in ((good, told_good), (bad, told_bad)):
                    for row, at in told.items():
                        if marks.get(row) == at:
                            del marks[row]
                done += 1
        while self._due:
            batch = [(key, self._due[key]) for key in list(self._due)[:AT_ONCE]]
            results = await asyncio.gather(*(act(now) for _, act in batch), return_exceptions=True)
            for (key, _), result in zip(batch, results, strict=True):
                if isinstance(result, OperationalError | PoolTimeout):
                    raise result
                self._due.pop(key, None)
                if isinstance(result, Error):
                    self._blocked[key] = now + BLOCKED
                    log.error("incident refused by the store", kind=key[0], terminal=key[1], error=str(result))
                elif isinstance(result, BaseException):
                    raise result
                done += 1
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
        await self._releases.refresh(self._pool, self.fleet)
        for incident in await self._incidents.open_incidents():
            watched = self._watched.get(incident.kind)
            if watched is None:
                continue
            self.fleet.reserve(incident.terminal + 1)
            good = None
            if incident.last_good_at is not None:
                listened = self.fleet.listening.listened(np.array([incident.last_good_at]))
                good = (float(listened[0]), incident.last_good_at)
            # It failed, as far as anybody knows, until we stopped looking.
            failed = now if np.isnan(stopped_at) else min(stopped_at, now)
            watched.resume(incident.terminal, failed, good, incident.flaps)

    async def run(self, listening: Callable[[], bool] = lambda: True) -> None:
        """Watch until cancelled. `listening` tells whether the gateway accepts and commits at this moment."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick_for_ever(listening))
            group.create_task(self._repeat(TICK, "settle", lambda: self.settle(time.time())))
            group.create_task(self._repeat(BEAT, "heartbeat", self._beat))
            group.create_task(
                self._repeat(REFRESH, "terminals", lambda: self._releases.refresh(self._pool, self.fleet))
            )
            group.create_task(
                self._repeat(SNAPSHOT, "snapshot", lambda: snapshots.save(self._pool, self.fleet, time.time()))
            )

    async def stop(self, now: float) -> None:
        """Save everything: to be called when no more frames are accepted and `run` has ended."""
        self.fleet.flush()
        await snapshots.save(self._pool, self.fleet, now)

    async def _tick_for_ever(self, listening: Callable[[], bool]) -> None:
        while True:
            self.tick(time.time(), time.monotonic(), listening=listening())
            await asyncio.sleep(TICK)

    async def _beat(self) -> None:
        if self._clock_set:
            # The fleet's instants moved along with the clock: both are kept together, or not at all.
            await snapshots.save(self._pool, self.fleet, time.time())
            self._clock_set = False
        else:
            await snapshots.beat(self._pool, self.fleet)

    async def _repeat(self, every: float, what: str, act: Callable[[], Awaitable[object]]) -> None:
        while True:
            started = time.monotonic()
            try:
                await act()
            except (OperationalError, PoolTimeout) as error:
                log.warning("watch waits for the store", what=what, error=type(error).__name__)
            except Error as error:
                log.error("watch refused by the store", what=what, error=str(error))
            took = time.monotonic() - started
            await asyncio.sleep(max(every - took, took * SNAPSHOT_SHARE if what == "snapshot" else 0.0, 0.05))

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
            self._put(kind, row, partial(self._raise, kind, row))
        for row in decisions.recovered[:QUEUE].tolist():
            self._put(kind, row, partial(self._recover, kind, row))

    def _put(self, kind: str, row: int, act: Callable[[float], Awaitable[None]]) -> None:
        key = (kind, row)
        if key in self._due or self._blocked.get(key, -np.inf) > self._now:
            return
        self._blocked.pop(key, None)
        self._due[key] = act

    def _verdict_now(self, kind: str, row: int) -> Verdict:
        """Judged afresh: a frame may have been committed since the tick."""
        self.fleet.flush()
        return self.explain(kind, row).verdict

    async def _raise(self, kind: str, row: int, now: float) -> None:
        watched = self._watched[kind]
        explanation = self.explain(kind, row)
        if explanation.verdict != Verdict.FAIL or watched.open[row]:
            return
        lasted = self.fleet.listening.clock - float(watched.failing_since[row])
        finding = Finding(kind, row, self._now - max(lasted, 0.0), self._now, explanation)
        raised = await self._incidents.raise_finding(
            finding,
            now,
            partial(self._case, finding),
            lambda: self._verdict_now(kind, row) == Verdict.FAIL,
        )
        if raised.outcome == Outcome.STALE:
            return
        watched.opened(row, self._now, raised.flaps)
        if raised.outcome == Outcome.OPENED:
            log.info("ticket opened", number=raised.number, kind=kind, reason=explanation.reason)
            self._on_opened()
        elif raised.outcome == Outcome.RELAPSED:
            log.info("ticket back in work", number=raised.number, kind=kind, reason=explanation.reason)

    async def _recover(self, kind: str, row: int, now: float) -> None:
        watched = self._watched[kind]
        since = float(watched.good_wall[row])
        if not watched.open[row] or np.isnan(since):
            return
        good_for = self.fleet.listening.clock - float(watched.good_since[row])
        text = f"recovered: {self.explain(kind, row).reason}; good for {spell(good_for)} since its first live record"
        number = await self._incidents.recover(
            kind,
            row,
            now,
            since,
            text,
            lambda: watched.good_wall[row] == since and self._verdict_now(kind, row) != Verdict.FAIL,
        )
        if number is not None:
            watched.closed(row)
            log.info("ticket awaits consent", number=number, kind=kind)

    async def _case(self, finding: Finding, connection: AsyncConnection[TupleRow]) -> Case:
        return await build_case(connection, finding, self.rhythm(finding.terminal), self._releases)


def _iso(micros: int) -> str | None:
    return None if micros == NEVER else str(np.datetime64(micros, "us")) + "Z"
