"""What arrived, as columns: one value a record by name, and what lies in each contact.

A *contact* is one arrival of one terminal: a frame with whatever records it held. It is the unit in which detectors
summarise: `fold` makes of a column of records one value a contact.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.gaps import Rows, runs

Array: TypeAlias = NDArray[Any]
Int64s: TypeAlias = NDArray[np.int64]
Indices: TypeAlias = NDArray[np.intp]

LIVE_WITHIN = 15 * 60 * 1_000_000  # µs between a record's own time and its arrival
NEVER = 0  # µs: nothing arrived in 1970
_FAR = 1 << 61  # µs


@dataclass(frozen=True)
class Contacts:
    """Arrays, shape (n,), sorted by terminal, then arrival in µs.

    `own` is the newest time that a record of now in it tells, µs as the terminal told it; `NEVER`: none was of now.
    """

    terminal: Rows
    received: Int64s
    own: Int64s

    def __len__(self) -> int:
        return len(self.terminal)

    @property
    def live(self) -> NDArray[np.bool_]:
        """Whether a record in each was of now."""
        live: NDArray[np.bool_] = self.own != NEVER
        return live

    @cached_property
    def runs(self) -> tuple[Indices, Indices]:
        """Where each terminal's contacts begin, and how many they are."""
        return runs(self.terminal)

    @cached_property
    def rows(self) -> Rows:
        """Each terminal once."""
        return self.terminal[self.runs[0]]

    @cached_property
    def last(self) -> Indices:
        """Where each terminal's last contact is."""
        starts, sizes = self.runs
        return starts + sizes - 1

    def late(self, before: Int64s) -> NDArray[np.bool_]:
        """Which are of now, but older than what one that arrived earlier told: they say nothing of the state now.

        `before` has for each of `rows` the newest time told before these contacts.
        """
        sizes = self.runs[1]
        newest = self.own
        if ((newest[1:] < newest[:-1]) & (self.terminal[1:] == self.terminal[:-1])).any():  # seldom
            segment = np.repeat(np.arange(len(sizes)) * len(self), sizes)
            order = np.argsort(newest, kind="stable")
            rank = np.empty_like(order)
            rank[order] = np.arange(len(self))
            newest = newest[order[np.maximum.accumulate(segment + rank) - segment]]
        late: NDArray[np.bool_] = self.live & (self.own < np.maximum(newest, np.repeat(before, sizes)))
        return late

    def __getitem__(self, chosen: Any) -> Contacts:
        return Contacts(self.terminal[chosen], self.received[chosen], self.own[chosen])


class Columns:
    """Frames and their records. ``columns[name]`` is one value a record.

    Always there: `terminal`, `received` and `time` (µs; of one clock, the arrival where the terminal told no time) and
    `newest`, whether a record is the newest of its contact, of now if any there is. All others are made by `more` when
    they are first asked for: `own`, the time as the terminal's clock has it (µs), `ignition` (-1 not told, 0 off, 1
    on), `moving`, `valid`, `archive`, `event`, `lat`, `lon`, `altitude`, `speed`, `course`, `satellites`, and any
    measure by its name (float64, NaN = not told; that named `event` is `event.number`). `link` is one value a frame:
    which connection brought it, 0 = not known.
    """

    def __init__(
        self,
        frame_terminal: NDArray[np.integer],
        frame_received: Int64s,
        terminal: NDArray[np.integer],
        received: Int64s,
        time: Int64s,
        more: Callable[[str], Array],
        measures: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        """Arrays of the accepted frames, shape (n,), and of the records in them, shape (m,), in any order.

        A record's arrival is its frame's; `time` is `bounded`. `measures` names those that any of the records tells.
        """
        self._frames = frame_terminal, frame_received
        self._more = more
        self._measures = measures
        self._told: dict[str, Array] = {}  # what detectors ask for, each of them again
        self._made: dict[str, Array] = {
            "terminal": terminal,
            "received": received,
            "time": time,
        }

    def __getitem__(self, name: str) -> Array:
        column = self._made.get(name)
        if column is None:
            column = self._made[name] = self._newest() if name == "newest" else self._more(name)
        return column

    def __len__(self) -> int:
        return len(self._made["terminal"])

    @cached_property
    def contacts(self) -> Contacts:
        """The contacts; summaries have one element for each."""
        terminal, received, _ = self._unsorted
        order, firsts = self._order
        own = self.fold(np.maximum, np.where(self._live, self["own"], NEVER), nothing=NEVER)
        return Contacts(terminal[order][firsts], received[order][firsts], own)

    def fold(self, ufunc: np.ufunc, values: Array, nothing: Any) -> Array:
        """One value a contact: `ufunc` over those of its records.

        Parameters
        ----------
        values : array, shape (m,)
            One a record.
        nothing : what a frame without a record has; leaves any value as it is under `ufunc`
            (`np.fmax` and NaN, `np.add` and 0).
        """
        frames = len(self._frames[0])
        if len(values):
            told = ufunc.reduceat(values, self._runs[0])
            if not self._unsorted[2]:
                told = np.concatenate([np.full(frames, nothing, told.dtype), told])
        else:
            told = np.full(frames, nothing, values.dtype)
        order, firsts = self._order
        told = told[order]
        return told if len(firsts) == len(told) else ufunc.reduceat(told, firsts)

    @cached_property
    def measures(self) -> Collection[str]:
        """Names of the measures that any record tells: who needs another need not ask."""
        return self._measures()

    @cached_property
    def latest(self) -> Indices:
        """Of each contact its newest record; -1 where it brought none."""
        return self.fold(np.maximum, np.where(self["newest"], np.arange(len(self)), -1), -1)

    def told(self, name: str, nothing: Any = np.nan) -> Array:
        """What each contact's newest record says; `nothing` where it brought none."""
        if not len(self):
            return np.full(len(self.contacts), nothing)
        values = self._told.get(name)
        if values is None:
            values = self._told[name] = self[name][self.latest]
        return values if self._all_brought else np.where(self.latest < 0, nothing, values)

    @cached_property
    def _all_brought(self) -> bool:
        return bool((self.latest >= 0).all())

    def of_frames(self, name: str) -> Array:
        """A column of frames as one value a contact: the greatest."""
        values = self[name]
        _, _, aligned = self._unsorted
        if len(self) and not aligned:
            values = np.concatenate([values, np.zeros(len(self._runs[0]), values.dtype)])
        order, firsts = self._order
        values = values[order]
        return values if len(firsts) == len(values) else np.maximum.reduceat(values, firsts)

    # The records of a frame lie together: they are reduced before anything is sorted.

    @cached_property
    def _runs(self) -> tuple[Indices, Indices]:
        return runs(self["terminal"], self["received"])

    @cached_property
    def _unsorted(self) -> tuple[Rows, Int64s, bool]:
        """Terminal and arrival of frames and runs of records; whether runs are the frames, in the same order."""
        terminal, received = self._frames
        if not len(self):
            return terminal.astype(np.int64), received, False
        starts, _ = self._runs
        heads, at = self["terminal"][starts], self["received"][starts]
        if np.array_equal(heads, terminal) and np.array_equal(at, received):
            return terminal.astype(np.int64), received, True
        return np.concatenate([terminal, heads]).astype(np.int64), np.concatenate([received, at]), False

    @cached_property
    def _order(self) -> tuple[Indices, Indices]:
        """The order by terminal and arrival, and where in it each contact begins."""
        terminal, received, _ = self._unsorted
        order = by_terminal(terminal, received)
        return order, runs(terminal[order], received[order])[0]

    def _newest(self) -> Array:
        if not len(self):
            return np.zeros(0, np.bool_)
        starts, lengths = self._runs
        rank = np.where(self._live, self["time"], self["time"] - 2 * _FAR)
        best = np.maximum.reduceat(rank, starts)
        order, firsts = self._order
        if len(firsts) < len(order):  # frames that arrived together, or are told beside their records
            contact = np.empty_like(order)
            contact[order] = np.repeat(np.arange(len(firsts)), np.diff(firsts, append=len(order)))
            best = self.fold(np.maximum, rank, -3 * _FAR)[contact[-len(starts) :]]
        newest: Array = rank == np.repeat(best, lengths)
        return newest

    @cached_property
    def _live(self) -> NDArray[np.bool_]:
        live: NDArray[np.bool_] = np.abs(self["received"] - self["time"]) <= LIVE_WITHIN
        return live


def bounded(time: Int64s) -> Int64s:
    """What a record claims, so that its distance to any arrival is an int64."""
    claimed: Int64s = np.minimum(np.maximum(time, -_FAR), _FAR)
    return claimed


def by_terminal(terminal: Rows, received: Int64s) -> Indices:
    """The order by terminal, then arrival; equal ones in any."""
    if not len(terminal):
        return np.zeros(0, np.intp)
    first = int(received.min())
    bits = (int(received.max()) - first).bit_length()  # arrivals of a batch lie close together: both fit one number
    if int(terminal.max()).bit_length() + bits < 63 and int(terminal.min()) >= 0:
        return np.argsort((terminal << bits) | (received - first))
    return np.lexsort((received, terminal))


def distinct(parts: Sequence[Rows]) -> Rows:
    """Each number once, in order; `np.unique` takes four times as long."""
    ordered = np.sort(np.concatenate(parts))
    return ordered[runs(ordered)[0]]
