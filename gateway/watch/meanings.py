"""Whether what an open incident means has changed since its ticket was told.

A ticket stands open for days. Should its terminal have been back and be gone again meanwhile, or the silence have
become twice too long, then that is news: a fault that began behind an older ticket is not swallowed by it. A loose
contact makes news once an hour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Int64s: TypeAlias = NDArray[np.int64]

QUIET = 3600.0  # s after news of an incident before there is more of it


class Meanings:
    """Of one kind of incident. Arrays over the open ones alone; nothing is known of them after a start."""

    def __init__(self) -> None:
        self._rows: Int64s = np.zeros(0, np.int64)
        self._told: Int64s = np.zeros(0, np.int64)
        self._now: Int64s = np.zeros(0, np.int64)
        self._news: NDArray[np.float64] = np.zeros(0)  # when something was told last

    def __len__(self) -> int:
        """Open incidents at the last look."""
        return len(self._rows)

    def changed(
        self,
        rows: Int64s,
        failing: NDArray[np.bool_],
        judged: Int64s,
        meaning: Callable[[Int64s], Int64s | None],
        clock: float,
    ) -> Int64s:
        """Rows of open incidents that mean something else now, until `tell`.

        Parameters
        ----------
        rows : int64 array, shape (n,), of all open incidents, rising.
        failing : bool array, shape (n,): whether its verdict fails.
        judged : int64 array, rising: whose verdict was looked at since the last call.
        meaning : what incidents of these rows mean; equal numbers mean the same. None: nobody knows now.
        clock : seconds of any clock that goes on.
        """
        if not len(rows) and not len(self._rows):  # the usual case of most kinds
            return rows
        new = ~np.isin(rows, self._rows, assume_unique=True)
        if new.any() or len(rows) != len(self._rows):
            at = np.searchsorted(self._rows, rows[~new])
            told, now = np.full(len(rows), -1, np.int64), np.full(len(rows), -1, np.int64)
            news = np.full(len(rows), -np.inf)
            told[~new], now[~new], news[~new] = self._told[at], self._now[at], self._news[at]
            self._rows, self._told, self._now, self._news = rows, told, now, news
        looked = np.flatnonzero(failing & ((self._told < 0) | np.isin(rows, judged, assume_unique=True)))
        if len(looked) and (means := meaning(rows[looked])) is not None:
            self._now[looked] = means
            first = looked[self._told[looked] < 0]
            self._told[first] = self._now[first]
        differ: Int64s = rows[failing & (self._now != self._told) & (clock - self._news >= QUIET)]
        return differ

    def tell(self, row: int, clock: float) -> None:
        """It was told."""
        at = int(np.searchsorted(self._rows, row))
        if at < len(self._rows) and self._rows[at] == row:
            self._told[at], self._news[at] = self._now[at], clock
