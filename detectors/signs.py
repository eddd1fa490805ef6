"""What many signs make of a terminal: no verdict of a single sample, and none that flutters.

`Streaks` take a sign from each contact, good or bad, and count how many of a kind came in a row, and since when:

    fail      `fail_after` bad ones in a row, over at least `lasting`
    good      `good_after` good ones in a row; until then what failed still fails
    suspect   bad ones in a row that are not enough, two at least

`Buckets` take events that are normal now and then: each adds one, and `most` of them leak away within `window`.

    fail      `most` are in it
    good      it is empty again
    suspect   half of `most`

Both are a few bytes a terminal, in columns of whoever uses them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.columns import NEVER, Array, Int64s
from detectors.detector import Column, Judged, View
from detectors.gaps import Floats, Rows, runs
from detectors.verdicts import Verdict, spell

Signs = NDArray[np.int8]

NOTHING, GOOD = 0, 1  # signs; whatever is greater is bad, and which one is remembered
_MANY = 255
# By verdict, in how many seconds to look whether a live record came: nothing tells of it.
_UNHEARD = 60.0
_LOOK = np.array([_UNHEARD, np.inf, 2.0, 2.0])
_FULL = 2  # times `most` that a bucket holds: so it is empty again within two windows, whatever came

STREAK = (
    Column("since", np.int64, wall=True),  # µs of the first of those in a row
    Column("count", np.uint8),  # how many that are
    # All else in one byte, since each place of a terminal among a million costs a cache line: verdict, whether the last
    # sign was bad, the last bad sign, one bit for whoever uses it, and whether there ever was a sign.
    Column("mark", np.uint8),
)
STATE, BAD, OWN, TOLD = 0b11, 0b100, 0b100_0000, 0b1000_0000
_WHY, _MOST_SIGN = 3, 7  # by how many bits the last bad sign is moved, and the greatest there may be
BUCKET = (
    Column("level", np.float32),  # as of `at`
    Column("at", np.int64, wall=True),  # µs of the last event
    Column("state", np.uint8),
)


def several(columns: tuple[Column, ...], count: int) -> tuple[Column, ...]:
    """The same columns for each of `count` things of a terminal."""
    return tuple(replace(column, shape=(count,)) for column in columns)


def prefixed(columns: tuple[Column, ...], prefix: str) -> tuple[Column, ...]:
    """The same columns under other names, for who has two of a kind."""
    return tuple(replace(column, name=prefix + column.name) for column in columns)


def renamed_columns(view: Mapping[str, Array], prefix: str) -> Mapping[str, Array]:
    """Those columns under their own names again."""
    return {name.removeprefix(prefix): array for name, array in view.items() if name.startswith(prefix)}


def previous(terminal: Rows, values: Array, stored: Array) -> Array:
    """What each terminal said one contact earlier; of its first here what is `stored` of it. Sorted by terminal."""
    before = np.empty_like(values)
    before[1:] = values[:-1]
    starts, _ = runs(terminal)
    before[starts] = stored[terminal[starts]]
    return before


@dataclass(frozen=True, slots=True)
class Streaks:
    """How many in a row make a verdict.

    Attributes
    ----------
    fail_after, good_after : contacts.
    lasting : seconds from the first bad one to the last; several: by the number of the last bad sign.
    """

    fail_after: int = 3
    lasting: float | Sequence[float] = 0.0
    good_after: int = 2

    def take(self, view: Mapping[str, Array], terminal: Rows, received: Int64s, sign: Signs) -> Rows:
        """Take signs, sorted by terminal and then arrival; returns the rows of those that gave any.

        Parameters
        ----------
        view : the columns of `STREAK`, of one dimension.
        """
        told: Rows = np.flatnonzero(sign)
        if len(told) and len(told) < len(sign):
            terminal, received, sign = terminal[told], received[told], sign[told]
        loud = _loud(terminal, sign, view["mark"])
        if not len(loud):
            return loud
        if len(loud) < len(sign):
            terminal, received, sign = terminal[loud], received[loud], sign[loud]
        bad = sign > GOOD
        starts, sizes = runs(terminal, bad)
        firsts, parts = runs(terminal[starts])  # of each terminal its first run
        last = firsts + parts - 1
        rows: Rows = terminal[starts[last]]
        begin, size = starts[last], sizes[last]
        end = begin + size - 1
        its = bad[end]
        before = view["mark"][rows]
        # A terminal whose signs are all of one kind goes on where it was.
        continued = (parts == 1) & (((before & BAD) > 0) == its) & ((before & TOLD) > 0)
        count = np.minimum(size + np.where(continued, view["count"][rows], 0), _MANY)
        since = np.where(continued, view["since"][rows], received[begin])
        why = np.where(its, sign[end], (before >> _WHY) & _MOST_SIGN).astype(np.uint8)
        needed = np.asarray(self.lasting, np.float64)
        lasted = received[end] - since >= (needed[why] if needed.ndim else needed) * 1e6
        state = np.where(its & (count > 1), np.uint8(Verdict.SUSPECT), np.uint8(Verdict.GOOD))
        state[((before & STATE) == Verdict.FAIL) & (its | (count < self.good_after))] = Verdict.FAIL
        state[its & (count >= self.fail_after) & lasted] = Verdict.FAIL
        view["count"][rows] = count
        view["since"][rows] = since
        view["mark"][rows] = TOLD | (before & OWN) | why << _WHY | its.astype(np.uint8) * np.uint8(BAD) | state
        return rows


def _loud(terminal: Rows, sign: Signs, marks: NDArray[np.uint8]) -> Rows:
    """Signs of terminals of which any changes anything: a good one more of who is well does not."""
    if not sign.any():
        return np.zeros(0, np.intp)
    quiet = (sign == GOOD) & ((marks[terminal] & (TOLD | BAD | STATE)) == TOLD | Verdict.GOOD)
    if quiet.all():
        return np.zeros(0, np.intp)
    starts, sizes = runs(terminal)
    loud: Rows = np.flatnonzero(np.repeat(~np.logical_and.reduceat(quiet, starts), sizes))
    return loud


def verdict_of(view: View, row: int) -> Verdict:
    """The verdict of one terminal's streak."""
    return Verdict(int(view["mark"][row]) & STATE)


def why_of(mark: Any) -> Any:
    """The last bad sign of marks, one or an array; 0: there was none."""
    return mark >> _WHY & _MOST_SIGN


def streak_judged(view: View, rows: Rows) -> Judged:
    """Verdicts of streaks, which nothing but contacts change."""
    return Judged((view["mark"][rows] & STATE).astype(np.int8), np.full(len(rows), np.inf))


@dataclass(frozen=True, slots=True)
class Buckets:
    """How many events within how long make a verdict; `window` in seconds."""

    most: int
    window: float

    def take(self, view: Mapping[str, Array], terminal: Rows, received: Int64s) -> Rows:
        """Take events, sorted by terminal and then arrival; returns the rows that had any."""
        if not len(terminal):
            return terminal
        starts, sizes = runs(terminal)
        rows, last = terminal[starts], received[starts + sizes - 1]
        level = self.level(view, rows, last / 1e6) + sizes
        view["level"][rows] = np.minimum(level, self.most * _FULL)
        view["at"][rows] = np.maximum(view["at"][rows], last)
        full = (level >= self.most) | (view["state"][rows] == Verdict.FAIL)
        view["state"][rows] = np.where(
            full, Verdict.FAIL, np.where(2 * level >= max(self.most, 4), Verdict.SUSPECT, Verdict.GOOD)
        )
        return rows

    def level(self, view: Mapping[str, Array], rows: Rows, now: Floats | float) -> Floats:
        """How many are in it at `now`, Unix seconds."""
        passed = np.maximum(now - view["at"][rows] / 1e6, 0.0)
        level: Floats = np.maximum(view["level"][rows] - passed * (self.most / self.window), 0.0)
        return level

    def settle(self, view: Mapping[str, Array], rows: Rows, now: float) -> tuple[NDArray[np.uint8], Floats]:
        """States as of `now`, and in how many seconds each may change without another event."""
        level = self.level(view, rows, now)
        state = view["state"][rows]
        state = np.where((level <= 0) & (state > Verdict.GOOD), np.uint8(Verdict.GOOD), state)
        calmer = (state == Verdict.SUSPECT) & (2 * level < self.most)
        state = np.where(calmer, np.uint8(Verdict.GOOD), state)
        view["state"][rows] = state
        left = np.where(state == Verdict.SUSPECT, level - self.most / 2, level)
        wait = np.maximum(left, 0.0) * (self.window / self.most) + 1.0
        return state, np.where(state > Verdict.GOOD, wait, np.inf)


def presumed(view: View, rows: Rows) -> Judged:
    """Verdicts of one that is told of faults alone: good is who was live since, `known` the newest live time then."""
    state, live = view["state"][rows], view.live[rows]
    fine = (live != NEVER) & ((state == Verdict.UNKNOWN) | (live > view["known"][rows]))
    state = np.where(fine, np.uint8(Verdict.GOOD), state)
    view["state"][rows] = state
    return Judged(state.astype(np.int8), view.clock + _LOOK[state])


def leaky(buckets: Buckets, view: View, rows: Rows, prefix: str = "") -> Judged:
    """Verdicts by a bucket; good is who was ever live, unknown who was not."""
    columns = renamed_columns(view.columns, prefix) if prefix else view.columns
    state, wait = buckets.settle(columns, rows, view.now)
    unheard = (state == Verdict.UNKNOWN) & (view.live[rows] == NEVER)
    verdicts = np.where((state == Verdict.UNKNOWN) & ~unheard, np.uint8(Verdict.GOOD), state).astype(np.int8)
    return Judged(verdicts, view.clock + np.where(unheard, _UNHEARD, wait))


def in_a_row(view: View, row: int) -> str:
    """How many bad contacts of one terminal came in a row, and over how long, in words."""
    if not int(view["mark"][row]) & BAD:
        return f"{int(view['count'][row])} good contacts since"
    lasted = max(view.now - int(view["since"][row]) / 1e6, 0.0)
    return f"{int(view['count'][row])} contacts in a row, for {spell(lasted)}"
