"""How long the gateway itself has listened: the clock on which a terminal's silence is counted.

    listened(t) = t - what passed before t without us listening

It stands still while the service is down, its loop stalls, or nothing can be committed. So "age" on this clock blames
no terminal for our own absence. Kept in the store by a heartbeat: after a `kill -9` the time since the last beat counts
as not listened.

It does not notice a wall clock that is set, because it runs on the clock that nobody sets: `anchor` is what that one is
behind the wall, and stays until the wall is found to have been set. Then it changes here, at a tick and nowhere else,
and all that is kept in wall time moves along. Arrivals come stamped on the clock that nobody sets.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

STALL = 5.0  # s between two ticks of one second: a loop that late has not read its sockets
JUMP = 2.0  # s by which the wall may be off what the other clock says: slewing moves both, setting it the wall alone
OUTAGES_KEPT = 64  # older ones only matter for instants before them, which nobody asks about


class Beat(msgspec.Struct):
    """The clock as stored; instants are Unix seconds."""

    now: float
    base: float
    outages: list[tuple[float, float]]


def decode(data: bytes) -> Beat:
    """What `Listening.dump` wrote.

    Raises
    ------
    msgspec.MsgspecError
        If it is something else.
    """
    return msgspec.json.decode(data, type=Beat)


class Listening:
    """Maps wall time to listened time, both in seconds. `now` is Unix time, `monotonic` any clock that is never set.

    Attributes
    ----------
    trusted : whether the last tick ran in time, with the gateway listening and the clock not set.
    undisturbed_since : wall time since which nothing but time passed: a gap that began before is no terminal's rhythm.
    jump : seconds by which the wall clock was set before the last tick; what is kept in wall time moves along.
    anchor : seconds that turn an instant of the clock that nobody sets into wall time.
    """

    def __init__(self, stall: float = STALL) -> None:
        """`stall`: seconds without a tick after which we have not listened; inf on a clock that cannot stall."""
        self._stall = stall
        self.trusted = False
        self.undisturbed_since = -np.inf
        self.jump = 0.0
        self.anchor = 0.0
        self._now = np.nan
        self._monotonic = np.nan
        self._base = 0.0
        self._outages: list[tuple[float, float]] = []
        self._index()

    @property
    def clock(self) -> float:
        """Listened time at the last tick."""
        before, start, end = self._newest  # looked at many times a tick: the same sum, without arrays
        if self._now < start:
            return float(self.listened(np.array([self._now]))[0])
        return self._now - self._base - (before + min(self._now, end) - start)

    @property
    def now(self) -> float:
        """Wall time of the last tick; NaN before the first."""
        return self._now

    def advance(self, now: float, monotonic: float, *, listening: bool = True) -> None:
        """One tick; `listening` tells whether frames were accepted and committed since the last one."""
        self.jump = 0.0
        if np.isnan(self._now):
            self.undisturbed_since = now
            self.anchor = now - monotonic
        elif np.isnan(self._monotonic):  # resumed: the beat's wall time is all we know
            if now < self._now:
                self._shift(now - self._now)
            self.absent(self._now, now)
            self.anchor = now - monotonic
        else:
            passed = monotonic - self._monotonic
            jump = now - monotonic - self.anchor
            if abs(jump) > JUMP:
                self._shift(jump)
                self.anchor += jump
            now = monotonic + self.anchor  # the wall as it would read had nobody slewed it since
            if abs(jump) > JUMP or passed > self._stall or not listening:
                self.absent(self._now, now)
        self.trusted = listening and (np.isnan(self._now) or self.undisturbed_since < now)
        self._now, self._monotonic = now, monotonic

    def listened(self, wall: Floats) -> Floats:
        """Listened time at instants of wall time; float64 arrays of any one shape."""
        at = np.searchsorted(self._starts, wall, side="right") - 1
        # Index -1, before the first outage, is the last element: one of length and position 0 (`_index`).
        absent = np.where(at < 0, 0.0, self._before[at] + np.minimum(wall, self._ends[at]) - self._from[at])
        result: Floats = wall - self._base - absent
        return result

    def dump(self) -> bytes:
        """The clock's state, for the store."""
        return msgspec.json.encode(Beat(self._now, self._base, self._outages))

    def load(self, data: bytes) -> None:
        """Resume from the last beat; the first `advance` counts the time since as not listened.

        Raises
        ------
        msgspec.MsgspecError
            If `data` is not what `dump` wrote.
        """
        beat = decode(data)
        self._now, self._monotonic, self._base = beat.now, np.nan, beat.base
        self._outages = beat.outages
        self.undisturbed_since = self._outages[-1][1] if self._outages else -np.inf
        self._index()

    def absent(self, start: float, end: float) -> None:
        """Between these instants of wall time nobody listened; the end is not before that of the last absence."""
        if end > start:
            if self._outages and self._outages[-1][1] >= start:
                start = self._outages.pop()[0]
            self._outages.append((start, end))
            while len(self._outages) > OUTAGES_KEPT:
                first = self._outages.pop(0)
                self._base += first[1] - first[0]
        self.undisturbed_since = max(self.undisturbed_since, end)
        self._index()

    def _shift(self, jump: float) -> None:
        """The wall clock was set: move the past along, so that listened time goes on where it was."""
        self.jump = jump
        self._base += jump
        self._now += jump
        self.undisturbed_since += jump
        self._outages = [(start + jump, end + jump) for start, end in self._outages]
        self._index()

    def _index(self) -> None:
        spans = np.array(self._outages, np.float64).reshape(-1, 2)
        lengths = spans[:, 1] - spans[:, 0]
        self._starts = spans[:, 0]
        self._from = np.append(spans[:, 0], 0.0)
        self._ends = np.append(spans[:, 1], 0.0)
        self._before = np.append(np.cumsum(lengths) - lengths, 0.0)
        self._newest = (0.0, 0.0, 0.0)  # what was absent before the last absence; its bounds
        if self._outages:
            self._newest = (float(self._before[-2]), *self._outages[-1])
