"""One round over the fleet, without a store: columns → detectors → verdicts → what is to be raised or recovered.

The service does it each second (`patrol`), a backtest on its own clock; both take what it says to the rules of
`ticketing.incidents`. When the gateway itself did not listen (store away, loop stalled, clock set), every verdict is
unknown until it does again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from detectors.clock import Clock
from detectors.columns import Int64s
from detectors.detector import Detector
from detectors.gaps import Rows
from detectors.mass import MassRule
from detectors.verdicts import Explanation, Finding, Verdict, spell
from gateway.watch.fleet import Fleet
from gateway.watch.meanings import Meanings
from gateway.watch.together import KIND, Together
from ticketing.incidents.hysteresis import Decisions, Hysteresis

_NOBODY: Rows = np.zeros(0, np.int64)


class Round:
    """Attributes
    ----------
    watched : what has failed or been good for how long, by detector's kind.
    together : who fell silent together. Its members are neither raised nor recovered with the others:
    back, left : those of them that recovered, and those that still fail though their group is heard again; rows.
    now : Unix seconds of the last tick.
    """

    def __init__(self, fleet: Fleet, *, hold: float, recovery: float, mass: MassRule | None = None) -> None:
        self.fleet = fleet
        self.watched = {
            kind: Hysteresis(kind, hold=hold, recovery=recovery, proof=detector.proof)
            for kind, detector in fleet.detectors.items()
        }
        self._meanings = {kind: Meanings() for kind in fleet.detectors}
        self.together = Together(fleet, self.watched[KIND], mass or MassRule())
        self.back: Rows = np.zeros(0, np.int64)
        self.left: list[int] = []
        self.now = np.nan

    @property
    def trusted(self) -> bool:
        """Whether the gateway believes its own ears."""
        return self.fleet.listening.trusted

    @property
    def listens(self) -> bool:
        """Whether terminals that are silent are so by themselves, as far as we can tell."""
        stage = self.together.stage
        return self.trusted and not stage.doubts and not stage.quiet(self.fleet.listening.clock)

    def reconfigure(
        self, detectors: Iterable[Detector], *, hold: float, recovery: float, mass: MassRule | None = None
    ) -> None:
        """Take over changed settings without forgetting anything."""
        self.fleet.reconfigure(detectors)
        self.together.stage.rule = mass or self.together.stage.rule
        for watched in self.watched.values():
            watched.hold, watched.recovery = hold, recovery

    def tick(self, now: float, monotonic: float, *, listening: bool = True) -> Mapping[str, Decisions]:
        """Judge the fleet; what is to be decided, by detector's kind, nothing while we do not trust our ears.

        Parameters
        ----------
        now : Unix seconds.
        monotonic : seconds of a clock that is never set, the same as before.
        listening : whether frames were accepted and committed since the last tick.
        """
        fleet = self.fleet
        fleet.flush()  # before the clock may be found to have been set
        fleet.listening.advance(now, monotonic, listening=listening)
        jump = fleet.listening.jump
        if jump:
            fleet.shift(jump)
            self.together.shift(jump)
            for watched in self.watched.values():
                watched.shift(jump, fleet.listening.now)
        before, self.now = self.now, now
        if not self.trusted:
            self.together.deaf(now if np.isnan(before) else before + jump)
            return {}
        fleet.judge()
        self.together.look(now)
        n, clock = fleet.rows, fleet.listening.clock
        decided = {}
        for kind, watched in self.watched.items():
            if not watched.busy and not len(fleet.judged[kind]) and not self._meanings[kind]:
                decided[kind] = watched.pass_by(clock)
                continue
            verdicts = fleet.verdicts(kind)
            decided[kind] = watched.judge(
                verdicts, clock, fleet.received[:n], fleet.live[:n], fleet.heard[:n], self._steady(kind)
            )
            rows = np.flatnonzero(watched.open[:n]) if watched.busy else _NOBODY
            decided[kind].changed = self._meanings[kind].changed(
                rows,
                verdicts[rows] == Verdict.FAIL,
                fleet.judged[kind],
                partial(fleet.meaning, kind),
                clock,
            )
        silent = decided[KIND]
        silent.raised = self.together.raise_alone(silent.raised)
        silent.recovered, self.back = self.together.split(silent.recovered)
        silent.changed, _ = self.together.split(silent.changed)  # a member has no ticket for which it were news
        self.left = self.together.left()
        return decided

    def told(self, kind: str, row: int) -> None:
        """What is different about an open incident was written down."""
        self._meanings[kind].tell(row, self.fleet.listening.clock)

    def _steady(self, kind: str) -> Callable[[Rows], Int64s] | None:
        """What proves the end of a silence beside live records."""
        detector = self.fleet.detectors.get(Clock.kind)
        if kind != KIND or not isinstance(detector, Clock):
            return None
        return partial(detector.steady, self.fleet.view(Clock.kind))

    def due(self) -> float:
        """Listened seconds at which time alone may change something; inf: never."""
        return min(self.fleet.due(), self.together.due(), *(watched.due() for watched in self.watched.values()))

    def explain(self, kind: str, row: int) -> Explanation:
        """Why one terminal's verdict is what it is, as of now."""
        if not self.trusted or row >= self.fleet.rows:
            return Explanation(
                Verdict.UNKNOWN, "the gateway itself did not listen" if not self.trusted else "never heard"
            )
        explanation = self.fleet.detectors[kind].explain(self.fleet.view(kind), row)
        shared = self.together.told(row) if kind == KIND else None
        return explanation if shared is None else replace(explanation, reason=f"{explanation.reason}; {shared}")

    def finding(self, kind: str, row: int, *, member: bool = False) -> Finding | None:
        """What fails now; of what is open already only a `member` that its group gives back."""
        watched = self.watched[kind]
        explanation = self.explain(kind, row)
        if explanation.verdict != Verdict.FAIL or (watched.open[row] and not member):
            return None
        lasted = self.fleet.listening.clock - float(watched.failing_since[row])
        return Finding(kind, row, self.now - max(lasted, 0.0), self.now, explanation)

    def proof(self, kind: str, row: int) -> tuple[float, str] | None:
        """Since when an open incident is good (Unix seconds), and that in words; None: it is not."""
        watched = self.watched[kind]
        since = float(watched.good_wall[row])
        if not watched.open[row] or np.isnan(since):
            return None
        good_for = self.fleet.listening.clock - float(watched.good_since[row])
        reason = self.explain(kind, row).reason
        told = "record, off by a constant as its clock is" if watched.slow[row] else "live record"
        return since, f"recovered: {reason}; good for {spell(good_for)} since its first {told}"
