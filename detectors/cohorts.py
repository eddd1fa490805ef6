"""On which days those like a terminal rest: weekends and holidays are found from what vehicles do, not asked.

Those like it are its customer's terminals; all there are where it has no customer, or one with fewer than `LEAST` at
work. A day (UTC) is one of rest while fewer than `SHARE` of those who usually are have been in motion or had the
ignition on: usually is the second best of the seven days before. So each day is one of rest until they have come to
work, and what is known of one gets no less as it goes on.

Of each terminal 32 days are kept, one bit each, by `situations`; here is only what is counted of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.columns import Int64s
from detectors.detector import View
from detectors.gaps import Floats, Rows

DAY = 86_400_000_000  # µs
DAYS = 32  # bits a terminal
BEFORE = 7  # days that tell what is usual
SHARE = 0.6  # 0.5 to 0.7 do as well
LEAST = 5  # at work on a usual day: of fewer, one that fails would look like a day of rest
MOST = 5 * 86_400.0  # s of rest in one silence: a long weekend and the next. A customer may be gone for good
RECOUNT = 1800.0  # s
_EVERYBODY = 0
_NUMBERS = 65_535  # customers that are told apart


class Cohorts:
    """Counts, by customer, of those at work on each of the last days. All of it follows from the fleet's columns."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._today = -1
        self._at = -np.inf  # Unix seconds of the last count
        self._counts: Int64s = np.zeros((1, DAYS), np.int64)  # by number; column k: k days ago

    def number(self, customer: str | None) -> int:
        """Of a customer, for column `cohort`; 0: of everybody."""
        if customer is None or (customer not in self._numbers and len(self._numbers) >= _NUMBERS):
            return _EVERYBODY
        return self._numbers.setdefault(customer, len(self._numbers) + 1)

    def rested(self, view: View, rows: Rows, since: Int64s, until: Int64s) -> Floats:
        """Seconds of days of rest in each silence of these terminals, as of now.

        `since` and `until` are µs since the Unix epoch, one for each of `rows`. The day on which it began is none.
        """
        if not np.isfinite(view.now):
            return np.zeros(len(rows))
        self._count(view)
        cohorts, its = np.unique(view["cohort"][rows], return_inverse=True)
        rest = self._rest(cohorts)
        first = np.clip(self._today - since // DAY, 0, rest.shape[1])  # days ago, as is the last
        last = np.clip(self._today - until // DAY, 0, rest.shape[1] - 1)
        before = np.cumsum(np.pad(rest, ((0, 0), (1, 0))), axis=1)  # days of rest among the last k
        whole = np.where(first > last + 1, before[its, first] - before[its, np.minimum(last + 1, first)], 0)
        begun = np.where((first > last) & rest[its, last], np.clip(until - (self._today - last) * DAY, 0, DAY), 0)
        rested: Floats = np.minimum((whole * DAY + begun) / 1e6, MOST)
        return rested

    def _rest(self, cohorts: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which days were of rest, shape (cohorts, days ago)."""
        everybody = self._counts.sum(axis=0, keepdims=True)
        counts = np.where((cohorts == _EVERYBODY)[:, None], everybody, self._counts[cohorts])
        rest, enough = _below_usual(counts)
        return np.where(enough, rest, _below_usual(everybody)[0])

    def _count(self, view: View) -> None:
        """Today again and again, all days where the clock was set back or none is known."""
        today = int(view.now // 86_400)
        size = len(self._numbers) + 1
        if len(self._counts) < size:
            self._counts = np.pad(self._counts, ((0, size - len(self._counts)), (0, 0)))
        if today == self._today and 0 <= view.now - self._at < RECOUNT:
            return
        passed = today - self._today if self._today >= 0 else DAYS
        again = passed + 1 if 0 <= passed < DAYS else DAYS  # columns: a day that is over is counted once more
        if 0 < passed < DAYS:
            self._counts = np.pad(self._counts[:, :-passed], ((0, 0), (passed, 0)))
        rows = np.flatnonzero(view["active"] >= (today - again + 1) * DAY)
        cohort, days = view["cohort"][rows], np.ones(len(rows), np.uint32)  # the lowest bit is today's
        if again > 1:
            since = np.clip(today - view["active"][rows] // DAY, 0, DAYS - 1)
            days = view["worked"][rows] << since.astype(np.uint32)
        for ago in range(again):
            at_work = cohort[days & np.uint32(1 << ago) > 0]
            self._counts[:, ago] = np.bincount(at_work, minlength=len(self._counts))[: len(self._counts)]
        self._today, self._at = today, view.now


def _below_usual(counts: Int64s) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each day that has `BEFORE` before it: whether it is one of rest; and whether enough are usually at work."""
    days = np.lib.stride_tricks.sliding_window_view(counts[:, 1:], BEFORE, axis=1)
    usually = np.partition(days, BEFORE - 2, axis=2)[:, :, BEFORE - 2]
    enough = usually >= LEAST
    return enough & (counts[:, : usually.shape[1]] < SHARE * usually), enough
