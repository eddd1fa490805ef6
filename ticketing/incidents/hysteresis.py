"""From verdicts to findings: what has failed long enough to be an incident, what is good for long enough to end one.

Asked before `rules`, of the whole fleet at once, and as pure: verdicts and clocks in, rows out. What it names as
`raised` goes to `decide`, as `recovered` to `recover`.

A failing verdict must last `hold` before anything is opened. Recovery counts from the first live record that is newer,
by its own time, than every one known when the verdict failed last; a failing one starts it anew. What the black box
brings of the time before, and what is sent again, proves nothing. A problem that keeps coming back must stay good for
longer: from the third relapse on twice as long each time, up to an hour, so that a loose contact does not write to the
client every few minutes. All durations are listened time: our own absence neither opens nor proves anything.

Where a terminal's clock is wrong no record is ever live. One whose records are all off by a constant proves by them
that it is back, in three times the time (`STEADY_STRETCH`): a black box is off by less and less as it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.verdicts import Verdict, Verdicts

Int64s: TypeAlias = NDArray[np.int64]
Rows: TypeAlias = NDArray[np.int64]

_NOBODY: Rows = np.zeros(0, np.int64)

CALM_RELAPSES = 2  # before the recovery is stretched
STEADY_STRETCH = 3.0
NEVER = 0  # µs
LONGEST_RECOVERY = 3600.0  # s, unless `recovery` itself is longer


@dataclass(slots=True)
class Decisions:
    """What one tick decided about one kind, and what changed in the recovery of open incidents."""

    raised: Rows
    recovered: Rows
    turned_good: Rows
    turned_bad: Rows
    changed: Rows = field(default_factory=lambda: np.zeros(0, np.int64))  # open ones that mean something else now


class Hysteresis:
    """State of one kind of incident for the whole fleet.

    Attributes
    ----------
    verdict : int8, the last verdicts.
    failing_since : float64, listened seconds; NaN = not failing.
    open : bool, whether there is an open incident.
    good_since, good_wall : float64, listened and Unix seconds of the first live record of a recovery; NaN.
    known : int64, µs, the newest time that a live record had told when the verdict failed last.
    flaps : uint16, relapses of the open incident.
    busy : whether any fails or is open.
    slow : bool, whether the recovery is proven by records that are off by a constant.
    """

    def __init__(self, kind: str, *, hold: float, recovery: float, proof: Iterable[Verdict]) -> None:
        self.kind = kind
        self.hold = hold
        self.recovery = recovery
        self._proof = np.isin(np.arange(len(Verdict)), [int(verdict) for verdict in proof])
        self._clock = -np.inf  # of the tick before
        self.busy = False
        self.verdict = np.zeros(0, np.int8)
        self.failing_since = np.zeros(0, np.float64)
        self.open = np.zeros(0, np.bool_)
        self.good_since = np.zeros(0, np.float64)
        self.good_wall = np.zeros(0, np.float64)
        self.known = np.zeros(0, np.int64)
        self.flaps = np.zeros(0, np.uint16)
        self.slow = np.zeros(0, np.bool_)

    def judge(
        self,
        verdict: Verdicts,
        clock: float,
        received: Int64s,
        live: Int64s,
        heard: NDArray[np.float64],
        steady: Callable[[Rows], Int64s] | None = None,
    ) -> Decisions:
        """Take the verdicts of one tick.

        Parameters
        ----------
        verdict : int8 array, shape (n,)
        clock : listened seconds.
        received : int64 array, shape (n,), µs of each terminal's last frame, by the wall clock.
        live : int64 array, shape (n,), µs, the newest time that a live record of each terminal told.
        heard : float64 array, shape (n,), listened seconds of each terminal's last frame.
        steady : of terminals, µs since when all that each tells is off by one constant, `NEVER` where that is not so;
            None: it proves nothing of this kind.
        """
        self.reserve(len(verdict))
        n = len(verdict)
        failing = verdict == Verdict.FAIL
        changed = np.flatnonzero(verdict != self.verdict[:n])
        if not len(changed) and not self.busy:
            return self.pass_by(clock)
        if len(changed):
            stopped = changed[~failing[changed]]
            started = changed[failing[changed]]
            self.failing_since[stopped] = np.nan
            self.failing_since[started] = clock
            self.verdict[changed] = verdict[changed]
        failed = np.flatnonzero(failing)
        self.known[failed] = live[failed]
        waiting = failed[~self.open[failed]]
        raised = waiting[clock - self.failing_since[waiting] >= self.hold]

        rows = np.flatnonzero(self.open[:n])
        self.busy = bool(len(failed) or len(rows))
        bad = rows[failing[rows]]
        turned_bad = bad[~np.isnan(self.good_since[bad])]
        self.good_since[turned_bad] = self.good_wall[turned_bad] = np.nan
        rest = rows[~failing[rows]]
        news = live[rest] > self.known[rest]
        constant = self._off_by_a_constant(rest, steady)
        self.slow[rest[news]] = False
        # A constant that broke off begins anew: its proof does too.
        broken = rest[self.slow[rest] & ~constant]
        self.good_since[broken] = self.good_wall[broken] = np.nan
        self.slow[broken] = False
        turned_bad = np.concatenate([turned_bad, broken])
        unproven = np.isnan(self.good_since[rest])
        self.slow[rest[unproven & ~news & constant]] = True
        turned_good = rest[unproven & (news | constant)]
        # Never before the last tick, which may have failed.
        self.good_since[turned_good] = np.clip(heard[turned_good], self._clock, clock)
        self._clock = clock
        self.good_wall[turned_good] = received[turned_good] / 1e6
        due = clock - self.good_since[rest] >= self._needed(rest)
        recovered = rest[due & self._proof[verdict[rest]]]
        return Decisions(raised, recovered, turned_good, turned_bad)

    def pass_by(self, clock: float) -> Decisions:
        """A tick at which nothing fails, is open, or was judged anew."""
        self._clock = clock
        return Decisions(_NOBODY, _NOBODY, _NOBODY, _NOBODY)

    def due(self) -> float:
        """Listened seconds at which time alone decides the next one, if its verdict stays; inf: none."""
        if not self.busy:
            return np.inf
        waiting = np.flatnonzero((self.verdict == Verdict.FAIL) & ~self.open)
        rows = np.flatnonzero(self.open & ~np.isnan(self.good_since))
        rows = rows[self._proof[self.verdict[rows]]]
        return min(
            float(self.failing_since[waiting].min(initial=np.inf)) + self.hold,
            float((self.good_since[rows] + self._needed(rows)).min(initial=np.inf)),
        )

    def _off_by_a_constant(self, rows: Rows, steady: Callable[[Rows], Int64s] | None) -> NDArray[np.bool_]:
        """Whether each may prove its recovery by a constant, one that did not begin after the proof."""
        if steady is None or not len(rows):
            return np.zeros(len(rows), np.bool_)
        since, begun = steady(rows), self.good_wall[rows]
        with np.errstate(invalid="ignore"):
            may: NDArray[np.bool_] = (since != NEVER) & ~(since / 1e6 > begun)
        return may

    def required(self, rows: Rows) -> NDArray[np.float64]:
        """Seconds each open incident must look good."""
        stretch = 2.0 ** np.minimum(np.maximum(self.flaps[rows].astype(np.float64) - CALM_RELAPSES, 0.0), 32.0)
        longest = max(self.recovery, LONGEST_RECOVERY)
        required: NDArray[np.float64] = np.minimum(self.recovery * stretch, longest)
        return required

    def _needed(self, rows: Rows) -> NDArray[np.float64]:
        """The same, with what a proof by a constant takes longer."""
        return self.required(rows) * np.where(self.slow[rows], STEADY_STRETCH, 1.0)

    def opened(self, row: int, flaps: int) -> None:
        """There is an open incident now."""
        self.reserve(row + 1)
        self.open[row] = self.busy = True
        self.flaps[row] = min(flaps, 65_535)
        self.good_since[row] = self.good_wall[row] = np.nan
        self.slow[row] = False

    def resume(self, row: int, known: int, good: tuple[float, float] | None, flaps: int) -> None:
        """An incident that was open before the restart; `good` is since when it recovers: listened, Unix seconds."""
        self.opened(row, flaps)
        self.known[row] = known
        if good is not None:
            self.good_since[row], self.good_wall[row] = good

    def attached(self, rows: Rows, known: Int64s) -> None:
        """Members of a group, which have not failed by themselves: what is newer than `known` is proof."""
        self.reserve(int(rows.max(initial=-1)) + 1)
        self.open[rows] = self.busy = True
        self.flaps[rows] = 0
        self.slow[rows] = False
        self.good_since[rows] = self.good_wall[rows] = np.nan
        self.known[rows] = known

    def closed(self, row: int) -> None:
        """Its incident is over."""
        self.open[row] = False
        self.good_since[row] = self.good_wall[row] = np.nan

    def shift(self, seconds: float, now: float) -> None:
        """The wall clock was set, to `now`; terminals' own clocks were not."""
        np.minimum(self.known, round(now * 1e6), out=self.known)
        self.good_wall += seconds

    def reserve(self, rows: int) -> None:
        """Make room for terminals up to `rows - 1`."""
        have = len(self.verdict)
        if rows <= have:
            return
        more = max(rows, 2 * have, 1024) - have
        for name, fill in (
            ("verdict", 0),
            ("failing_since", np.nan),
            ("open", False),
            ("good_since", np.nan),
            ("good_wall", np.nan),
            ("known", 0),
            ("flaps", 0),
            ("slow", False),
        ):
            old: NDArray[np.generic] = getattr(self, name)
            setattr(self, name, np.append(old, np.full(more, fill, old.dtype)))
