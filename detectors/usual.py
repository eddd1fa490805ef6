"""How much of a group is usually silent at this hour of the day, so that a fleet that goes to sleep is no outage.

Of each group and hour of the day (UTC): the mean share, and the largest that was seen on two different days: once is an
outage, twice is a habit. Both fade, half in a week, and an hour that is new to a group starts from a prior which lets
only a large group be suspected. The mean learns nothing of a group that is suspected.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from io import BytesIO
from typing import TypeAlias
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from detectors.gaps import Floats

Counts: TypeAlias = NDArray[np.int64]

HOURS = 24
PERIOD = 60.0  # s between two looks
FADING = 1 - 1 / 600  # of one look: what was seen ten days of this hour ago counts a third
PRIOR, WEIGHT = 0.2, 30.0  # a share that nobody has seen yet, and how many terminals' looks it is worth
LEAST, MOST = 0.02, 0.95  # looks a minute apart are not independent: never more sure than this
SOME = 2  # terminals that may always be silent by themselves: no peak
ENOUGH = 30.0  # looks before an hour's mean is believed
_SUMS = ("late", "expected", "alive", "looks", "peak", "day", "habit")  # `day` of `peak`; `habit` is another day's


def hour_of(now: float) -> int:
    """The hour of the day, UTC."""
    return int(now // 3600) % HOURS


class Usual:
    """What was learned, by group and hour. Groups too small to be suspected take no room."""

    def __init__(self) -> None:
        self._slot = np.full(0, -1, np.int64)  # of each group; -1: none
        self._sums = {name: np.zeros((0, HOURS), np.float32) for name in _SUMS}
        self._used = 0

    def shares(self, groups: int, hour: int) -> Floats:
        """The share of each group that is usually silent at this hour, shape (groups,)."""
        self._reserve(groups)
        slot = self._slot[:groups]
        shares = np.full(groups, PRIOR)
        known = np.flatnonzero(slot >= 0)
        late, expected, habit = (self._sums[name][slot[known], hour] for name in ("late", "expected", "habit"))
        shares[known] = np.maximum((late + PRIOR * WEIGHT) / (expected + WEIGHT), habit)
        clipped: Floats = np.clip(shares, LEAST, MOST)
        return clipped

    def alive(self, group: int, hour: int) -> float:
        """How many of a group are usually heard at this hour within the last minute; inf where that is not known."""
        if group >= len(self._slot) or self._slot[group] < 0:
            return np.inf
        slot = self._slot[group]
        looks = float(self._sums["looks"][slot, hour])
        return float(self._sums["alive"][slot, hour]) / looks if looks >= ENOUGH else np.inf

    def learn(self, late: Counts, alive: Counts, now: float, least: int, calm: NDArray[np.bool_]) -> None:
        """Take note of one look, of all groups: how many are late and how many were heard.

        `least` terminals count; `calm` are groups that nobody suspects. `now` is Unix seconds.
        """
        hour, day = hour_of(now), now // 86_400
        self._reserve(len(late))
        expected = late + alive
        large = np.flatnonzero(expected >= least)
        fresh = large[self._slot[large] < 0]
        self._slot[fresh] = np.arange(self._used, self._used + len(fresh))
        self._used += len(fresh)
        if self._used > len(self._sums["late"]):
            for name, old in self._sums.items():
                self._sums[name] = np.concatenate([old, np.zeros((self._used, HOURS), np.float32)])
        known = np.flatnonzero(self._slot[: len(late)] >= 0)
        slot = self._slot[known]
        top = np.where(expected[known] >= least, np.maximum(late[known] - SOME, 0) / np.maximum(expected[known], 1), 0)
        peak, habit = (self._sums[name][slot, hour] * FADING for name in ("peak", "habit"))
        other = self._sums["day"][slot, hour] != day
        higher = top > peak
        self._sums["habit"][slot, hour] = np.where(other, np.maximum(habit, np.minimum(top, peak)), habit)
        self._sums["peak"][slot, hour] = np.maximum(peak, top)
        self._sums["day"][slot, hour] = np.where(higher, day, self._sums["day"][slot, hour])
        quiet = known[calm[known]]
        slot = self._slot[quiet]
        for name, seen in (("late", late), ("expected", expected), ("alive", alive), ("looks", np.ones_like(late))):
            self._sums[name][slot, hour] = self._sums[name][slot, hour] * FADING + seen[quiet]

    def dump(self, name: Callable[[int], tuple[str, str]]) -> bytes:
        """All of it, by the groups' names."""
        known = np.flatnonzero(self._slot >= 0)
        names = [name(int(group)) for group in known]
        out = BytesIO()
        held = {
            "by": np.array([by for by, _ in names], np.str_),
            "value": np.array([value for _, value in names], np.str_),
            **{key: sums[self._slot[known]] for key, sums in self._sums.items()},
        }
        np.savez_compressed(out, allow_pickle=False, **held)
        return out.getvalue()

    def load(self, data: bytes, find: Callable[[str, str], int]) -> None:
        """What `dump` gave, in place of what is known.

        Raises
        ------
        ValueError
            If it is not that.
        """
        try:
            with np.load(BytesIO(data), allow_pickle=False) as held:
                groups = [find(str(by), str(value)) for by, value in zip(held["by"], held["value"], strict=True)]
                sums = {key: held[key].astype(np.float32) for key in _SUMS}
        except (KeyError, OSError, EOFError, BadZipFile, AttributeError, zlib.error) as error:
            raise ValueError(f"not what was kept: {error}") from error
        if any(array.shape != (len(groups), HOURS) for array in sums.values()):
            raise ValueError("shapes differ")
        self._slot = np.full(max(groups, default=0) + 1, -1, np.int64)
        self._slot[groups] = np.arange(len(groups))
        self._sums, self._used = sums, len(groups)

    def _reserve(self, groups: int) -> None:
        if groups > len(self._slot):
            more = max(groups, 2 * len(self._slot)) - len(self._slot)
            self._slot = np.append(self._slot, np.full(more, -1, np.int64))
