"""From verdicts to decisions: what has failed long enough to be an incident, what is good for long enough to end one.

A failing verdict must last `hold` before anything is opened. Recovery counts from the first live record after the
last failing verdict; a failing one starts it anew. A problem that keeps coming back must stay good for longer: from
the third relapse on twice as long each time, up to an hour, so that a loose contact does not write to the client
every few minutes. All durations are listened time: our own absence neither opens nor proves anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.verdicts import Verdict, Verdicts
from gateway.watch.fleet import Int64s
from gateway.watch.gaps import Rows

CALM_RELAPSES = 2  # before the recovery is stretched
LONGEST_RECOVERY = 3600.0  # s, unless `recovery` itself is longer
COMMIT_LAG = 10_000_000  # µs: a record may have arrived that long before the tick that did not know of it yet


@dataclass(slots=True)
class Decisions:
    """What one tick decided about one kind, and what changed in the recovery of open incidents."""

    raised: Rows
    recovered: Rows
    turned_good: Rows
    turned_bad: Rows


class Hysteresis:
    """State of one kind of incident for the whole fleet.

    Attributes
    ----------
    verdict : int8, the last verdicts.
    failing_since : float64, listened seconds; NaN = not failing.
    open : bool, whether there is an open incident.
    good_since, good_wall : float64, listened and Unix seconds of the first live record of a recovery; NaN.
    failed_at : int64, µs since the Unix epoch of the last failing verdict of an open incident.
    flaps : uint16, relapses of the open incident.
    """

    def __init__(self, kind: str, *, hold: float, recovery: float, proof: Iterable[Verdict]) -> None:
        self.kind = kind
        self.hold = hold
        self.recovery = recovery
        self._proof = np.isin(np.arange(len(Verdict)), [int(verdict) for verdict in proof])
        self._clock = -np.inf  # of the tick before
        self.verdict = np.zeros(0, np.int8)
        self.failing_since = np.zeros(0, np.float64)
        self.open = np.zeros(0, np.bool_)
        self.good_since = np.zeros(0, np.float64)
        self.good_wall = np.zeros(0, np.float64)
        self.failed_at = np.zeros(0, np.int64)
        self.flaps = np.zeros(0, np.uint16)

    def judge(self, verdict: Verdicts, clock: float, now: float, live: Int64s, heard: NDArray[np.float64]) -> Decisions:
        """Take the verdicts of one tick.

        Parameters
        ----------
        verdict : int8 array, shape (n,)
        clock, now : listened and Unix seconds.
        live : int64 array, shape (n,), µs of each terminal's last live record.
        heard : float64 array, shape (n,), listened seconds of each terminal's last frame.
        """
        self._reserve(len(verdict))
        n = len(verdict)
        failing = verdict == Verdict.FAIL
        changed = np.flatnonzero(verdict != self.verdict[:n])
        if len(changed):
            stopped = changed[~failing[changed]]
            started = changed[failing[changed]]
            self.failing_since[stopped] = np.nan
            self.failing_since[started] = clock
            self.verdict[changed] = verdict[changed]
        waiting = np.flatnonzero(failing & ~self.open[:n])
        raised = waiting[clock - self.failing_since[waiting] >= self.hold]

        rows = np.flatnonzero(self.open[:n])
        bad = rows[failing[rows]]
        self.failed_at[bad] = round(now * 1e6)
        turned_bad = bad[~np.isnan(self.good_since[bad])]
        self.good_since[turned_bad] = self.good_wall[turned_bad] = np.nan
        rest = rows[~failing[rows]]
        late = live[rest] > self.failed_at[rest] - COMMIT_LAG
        turned_good = rest[np.isnan(self.good_since[rest]) & late]
        # Never before the last tick, which may have failed.
        self.good_since[turned_good] = np.clip(heard[turned_good], self._clock, clock)
        self._clock = clock
        self.good_wall[turned_good] = live[turned_good] / 1e6
        due = clock - self.good_since[rest] >= self.required(rest)
        recovered = rest[due & self._proof[verdict[rest]]]
        return Decisions(raised, recovered, turned_good, turned_bad)

    def required(self, rows: Rows) -> NDArray[np.float64]:
        """Seconds each open incident must look good."""
        stretch = 2.0 ** np.minimum(np.maximum(self.flaps[rows].astype(np.float64) - CALM_RELAPSES, 0.0), 32.0)
        longest = max(self.recovery, LONGEST_RECOVERY)
        required: NDArray[np.float64] = np.minimum(self.recovery * stretch, longest)
        return required

    def opened(self, row: int, now: float, flaps: int) -> None:
        """There is an open incident now."""
        self._reserve(row + 1)
        self.open[row] = True
        self.flaps[row] = min(flaps, 65_535)
        self.failed_at[row] = round(now * 1e6)
        self.good_since[row] = self.good_wall[row] = np.nan

    def resume(self, row: int, failed: float, good: tuple[float, float] | None, flaps: int) -> None:
        """An incident that was open before the restart; `good` is since when it recovers: listened, Unix seconds."""
        self.opened(row, failed, flaps)
        if good is not None:
            self.good_since[row], self.good_wall[row] = good

    def closed(self, row: int) -> None:
        """Its incident is over."""
        self.open[row] = False
        self.good_since[row] = self.good_wall[row] = np.nan

    def shift(self, seconds: float) -> None:
        """The wall clock was set."""
        self.failed_at[self.failed_at != 0] += round(seconds * 1e6)
        self.good_wall += seconds

    def _reserve(self, rows: int) -> None:
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
            ("failed_at", 0),
            ("flaps", 0),
        ):
            old: NDArray[np.generic] = getattr(self, name)
            setattr(self, name, np.append(old, np.full(more, fill, old.dtype)))
