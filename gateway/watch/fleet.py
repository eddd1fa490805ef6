"""The fleet's state: one row of numpy arrays per terminal, by its id in table `terminal`.

Here is what is known of every terminal: whether there is such a one, when it was last heard and last live. What a
detector keeps besides lies in columns that it names; the fleet stores, grows, restores and hands them out. A committed
batch touches its own rows only, and a tick judges only whom something happened to, or whose time to look has come.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import structlog
from numpy.typing import NDArray

from detectors.columns import NEVER, Columns, Contacts, Int64s
from detectors.detector import Before, Column, Detector, Judged, Registered, View
from detectors.gaps import Rows
from detectors.verdicts import Verdict, Verdicts
from gateway.receive.pipeline import Accepted
from gateway.watch.columns import columns_of
from gateway.watch.contacts import Told, merge, summarise
from gateway.watch.listening import Listening

_log = structlog.get_logger()

Array: TypeAlias = NDArray[Any]

CHUNK = 8192  # rows of one piece of a snapshot
AT_ONCE = 250_000  # terminals whose time has come (after a start, all) that one tick judges
NOTED = 8192  # frames and records that wait for one `flush`: from there on more at once is no cheaper
FEW, OFTEN = 512, 0.1  # and where they come slowly, so many after so many s: nobody's ack waits for thousands
ALL = "contact"  # the set of columns that is no detector's
CONTACT = (
    Column("received", np.int64, wall=True),
    Column("live", np.int64),
    Column("heard", np.float64, fill=np.nan),
    Column("exists", np.bool_),
)


class Fleet:
    """State of all terminals.

    Attributes (arrays over rows; those beyond `rows` are spare)
    ----------
    detectors : by kind; `reconfigure` replaces them, each by one of its kind.
    generation : how often that has happened; what the registry told of terminals is to be told again after it.
    received, live : int64, µs since the Unix epoch: when the last frame was accepted, and the newest time that a live
        record told, by the terminal's clock; `NEVER`
    heard : float64, listened seconds of the last accepted frame; NaN = never
    exists : bool, whether there is such a terminal
    heard_anew : rows that were heard between the last two times that the fleet was judged
    judged : by kind, the rows that the last `judge` looked at, rising
    dirty : by set of columns, which pieces of `CHUNK` rows changed since they were last saved
    """

    def __init__(self, listening: Listening, detectors: Iterable[Detector], capacity: int = 1024) -> None:
        self.listening = listening
        self.detectors: Mapping[str, Detector] = {detector.kind: detector for detector in detectors}
        self._sparse = frozenset(kind for kind, detector in self.detectors.items() if detector.sparse)
        self.generation = 0
        self.rows = 0
        self.sets: dict[str, tuple[Column, ...]] = {ALL: CONTACT}
        self.sets |= {kind: detector.columns for kind, detector in self.detectors.items()}
        self.dirty = {name: np.zeros(0, np.bool_) for name in self.sets}
        self._noted: list[Accepted] = []
        self._told: list[Told] = []
        self._waiting = 0
        self._flushed = time.monotonic()
        self._broken: set[tuple[str, str]] = set()
        # What a batch changes of a terminal lies together: its terminals lie anywhere among a million, so each place
        # costs a cache line from memory, and a column of its own for each would cost ten. What belongs to a detector
        # that does not heed each contact lies apart from that: it is seldom touched, and would only keep it from being
        # dense.
        self._together: dict[str, Array] = {
            group: np.zeros(0, self._together_type(group)) for group in dict.fromkeys(map(self._group, self.sets))
        }
        self._apart: dict[tuple[str, str], Array] = {}
        self._touched = np.zeros(0, np.bool_)  # rows heard since they were last judged
        self.heard_anew: Rows = np.zeros(0, np.int64)
        self._verdicts: dict[str, Verdicts] = {kind: np.zeros(0, np.int8) for kind in self.detectors}
        self.judged: dict[str, Int64s] = {kind: np.zeros(0, np.int64) for kind in self.detectors}
        self._look: dict[str, NDArray[np.float64]] = {kind: np.zeros(0) for kind in self.detectors}
        self._soonest = dict.fromkeys(self.detectors, -np.inf)  # no time of `_look` is before it
        self._grow(capacity)

    # -- what is there ------------------------------------------------------------------------------------------

    def column(self, name: str, column: str) -> Array:
        """A column of a set: of `ALL`, or of a detector by its kind."""
        apart = self._apart.get((name, column))
        return self._together[self._group(name)][f"{name}.{column}"] if apart is None else apart

    def view(self, kind: str) -> View:
        """The fleet as this detector sees it now."""
        view = self._views[kind]
        listening = self.listening
        view.clock, view.now, view.undisturbed = listening.clock, listening.now, listening.undisturbed_since
        return view

    def verdicts(self, kind: str) -> Verdicts:
        """A detector's last verdicts, shape (rows,)."""
        return self._verdicts[kind][: self.rows]

    def verdicts_of(self, row: int) -> dict[str, str]:
        """One terminal's last verdicts by kind, as the API words them; nothing of one that is not known."""
        if row >= self.rows:
            return {}
        return {kind: Verdict(int(its[row])).label for kind, its in self._verdicts.items()}

    def reserve(self, rows: int) -> None:
        """Make room for terminals up to id `rows - 1`."""
        if rows > len(self._touched):
            self._grow(max(rows, 2 * len(self._touched)))
        self.rows = max(self.rows, rows)

    # -- what comes in ------------------------------------------------------------------------------------------

    def note(self, batch: Accepted) -> None:
        """Take note of a committed batch, at the next `flush`: small batches are cheap together, not one by one.

        Its arrays must not change afterwards.
        """
        self._noted.append(batch)
        self._wait(len(batch.frame_terminal) + len(batch.rows))

    def hear(self, told: Told) -> None:
        """Take note of what another process told of its batches, at the next `flush`."""
        self._told.append(told)
        self._wait(len(told))

    def _wait(self, count: int) -> None:
        self._waiting += count
        if self._waiting >= NOTED or (self._waiting >= FEW and time.monotonic() - self._flushed >= OFTEN):
            self.flush()

    def flush(self) -> None:
        """Apply what was noted. Whoever reads the arrays calls it first."""
        noted, self._noted = self._noted, []
        told, self._told, self._waiting = self._told, [], 0
        self._flushed = time.monotonic()
        if noted:
            told.append(summarise(columns_of(noted), map(type, self.detectors.values())))
        # Stamps are of the clock that nobody sets; from here on they are of the wall clock as it was last read.
        anchor = round(self.listening.anchor * 1e6)
        for whole in merge(told, self._sparse):
            contacts = whole.contacts
            self.absorb(Told(Contacts(contacts.terminal, contacts.received + anchor, contacts.own), whole.summaries))

    def apply(self, columns: Columns) -> None:
        """Take note of records whose instants are of the wall clock as it was last read."""
        self.absorb(summarise(columns, map(type, self.detectors.values())))

    def absorb(self, told: Told) -> None:
        """Contacts and summaries become state."""
        contacts = told.contacts
        if not len(contacts):
            return
        rows = contacts.rows
        self.reserve(int(rows[-1]) + 1)
        newest = contacts.received[contacts.last]
        own = np.maximum.reduceat(contacts.own, contacts.runs[0])
        before = Before(self.received[rows], self.live[rows])
        self.exists[rows] = True
        self.received[rows] = np.maximum(before.received, newest)
        self.heard[rows] = np.fmax(self.heard[rows], self.listening.listened(newest / 1e6))
        news = own > before.live
        self.live[rows] = np.maximum(before.live, own)
        chunks = rows // CHUNK
        self.dirty[ALL][chunks] = True
        fresh = rows[before.received == NEVER]
        if len(fresh):
            for kind in self._look:
                self._look_at(kind, fresh)
        for kind, summary in told.summaries.items():
            detector = self.detectors.get(kind)
            if detector is None:  # one that another release has
                continue
            view = self.view(kind)
            view.news = news
            try:
                changed = detector.absorb(view, contacts, before, summary)
            except Exception:  # a bug in one detector costs the others nothing
                self._failed(kind, "absorb")
            else:
                self._broken.discard((kind, "absorb"))
                if changed is not None and len(changed):
                    self._look_at(kind, changed)
            self.dirty[kind][chunks] = True
        self._touched[rows] = True

    def identify(self, rows: Sequence[int], registered: Registered) -> None:
        """These terminals exist, and the registry says this of them."""
        if not rows:
            return
        self.reserve(max(rows) + 1)
        at = np.array(rows, np.int64)
        fresh = at[~self.exists[at]]
        self.exists[at] = True
        self.dirty[ALL][fresh // CHUNK] = True
        for kind, detector in self.detectors.items():
            try:
                detector.identify(self.view(kind), at, registered)
            except Exception:
                self._failed(kind, "identify")
            else:
                self._broken.discard((kind, "identify"))
            self._look_at(kind, at)

    def reconfigure(self, detectors: Iterable[Detector]) -> None:
        """Other detectors of the same kinds, in one step; what was learned is kept, the whole fleet is judged anew."""
        replaced = {detector.kind: detector for detector in detectors}
        if replaced.keys() != self.detectors.keys():
            raise ValueError(f"kinds differ: {sorted(replaced)} and {sorted(self.detectors)}")
        self.detectors = replaced
        self.generation += 1
        for name, columns in self.sets.items():
            for column in columns:
                if not column.kept:
                    self._apart[name, column.name].fill(column.fill)
        self.look_again()

    def expected_next(self, kind: str, rows: Rows) -> NDArray[np.float64]:
        """By when each is usually heard again, as this detector knows it; listened seconds, NaN where it does not."""
        try:
            expected = self.detectors[kind].expected_next(self.view(kind), rows)
        except Exception:
            self._failed(kind, "expected_next")
            return np.full(len(rows), np.nan)
        self._broken.discard((kind, "expected_next"))
        return expected

    def excuse(self, rows: Rows) -> None:
        """These were silent for a reason that is over: what lasts is counted from now."""
        self.heard[rows] = np.fmax(self.heard[rows], self.listening.clock)
        self.dirty[ALL][rows // CHUNK] = True
        for kind in self._look:
            self._look_at(kind, rows)

    def look_again(self) -> None:
        """Have every terminal judged at the next tick."""
        for kind in self._look:
            self._look_at(kind, slice(self.rows))

    def shift(self, seconds: float) -> None:
        """The wall clock was set, to `listening.now`: what is kept in wall time moves along.

        Terminals' own clocks do not. But a time to come is one that only our wrong clock took for now, and it would
        keep everything that is told until then from being news.
        """
        for name, columns in self.sets.items():
            for column in columns:
                if column.wall:
                    its = self.column(name, column.name)
                    its[its != NEVER] += round(seconds * 1e6)
            self.dirty[name][:] = True
        np.minimum(self.live, round(self.listening.now * 1e6), out=self.live)

    # -- what comes out -----------------------------------------------------------------------------------------

    def judge(self) -> None:
        """Judge whom something happened to, and whose time has come. One detector that fails knows nothing."""
        clock = self.listening.clock
        touched = self._touched[: self.rows]
        self.heard_anew = np.flatnonzero(touched)
        for kind, detector in self.detectors.items():
            look = self._look[kind][: self.rows]
            # Most kinds have nobody to look at most of the time: a million times are read only when one has come.
            come = self._soonest[kind] <= clock
            rows = np.flatnonzero(look <= clock)[:AT_ONCE] if come else np.zeros(0, np.intp)
            if detector.heeds_contacts:
                due = touched.copy()
                due[rows] = True
                rows = np.flatnonzero(due)
            self.judged[kind] = rows
            if not len(rows):
                continue
            try:
                judged = detector.judge(self.view(kind), rows)
            except Exception:
                self._failed(kind, "judge")
                judged = Judged(np.zeros(len(rows), np.int8), np.full(len(rows), -np.inf))
            else:
                self._broken.discard((kind, "judge"))
            self._verdicts[kind][rows] = judged.verdicts
            look[rows] = judged.look
            self._soonest[kind] = float(look.min() if come else min(self._soonest[kind], judged.look.min()))
        touched[:] = False

    def meaning(self, kind: str, rows: Int64s) -> Int64s | None:
        """What open incidents of these terminals mean, see `Detector.meaning`; None where that fails."""
        try:
            return self.detectors[kind].meaning(self.view(kind), rows)
        except Exception:
            self._failed(kind, "meaning")
            return None

    def teach(self, kind: str, row: int, *, normal: bool) -> bool:
        """An engineer's word on what a terminal's last ticket of this kind was about, see `Detector.teach`."""
        if row >= self.rows or not self.detectors[kind].teach(self.view(kind), row, normal=normal):
            return False
        self.dirty[kind][row // CHUNK] = True
        self._look_at(kind, row)
        return True

    def due(self) -> float:
        """Listened seconds at which the first terminal is to be judged for the time alone; inf: none is."""
        return min((float(look[: self.rows].min(initial=np.inf)) for look in self._look.values()), default=np.inf)

    def _look_at(self, kind: str, rows: Any) -> None:
        """Have these judged at the next tick."""
        self._look[kind][rows] = self._soonest[kind] = -np.inf

    def _failed(self, kind: str, step: str) -> None:
        """A bug in a detector: told once until it works again."""
        if (kind, step) not in self._broken:
            self._broken.add((kind, step))
            _log.exception("a detector failed", detector=kind, step=step)

    # -- room ---------------------------------------------------------------------------------------------------

    def _group(self, name: str) -> str:
        """With which others the columns of a set lie."""
        detector = self.detectors.get(name)
        return ALL if detector is None or detector.heeds_contacts else name

    def _together_type(self, group: str) -> np.dtype[Any]:
        fields: list[Any] = []
        for name, columns in self.sets.items():
            if self._group(name) != group:
                continue
            its = [column for column in columns if self._lies_together(name, column)]
            its.sort(key=lambda column: -np.dtype(column.dtype).itemsize)  # no holes between them
            fields += [(f"{name}.{column.name}", column.dtype, column.shape) for column in its]
        return np.dtype(fields, align=True)

    @staticmethod
    def _lies_together(name: str, column: Column) -> bool:
        """What is looked at over the whole fleet, or changed by the registry alone, does not."""
        return column.kept and (name, column.name) != (ALL, "exists")

    def _grow(self, capacity: int) -> None:
        capacity = -(-capacity // CHUNK) * CHUNK
        together = {group: np.zeros(capacity, its.dtype) for group, its in self._together.items()}
        for name, columns in self.sets.items():
            for column in columns:
                if self._lies_together(name, column):
                    if column.fill != 0:
                        together[self._group(name)][f"{name}.{column.name}"] = column.fill
                else:
                    old = self._apart.get((name, column.name), np.zeros((0, *column.shape), column.dtype))
                    self._apart[name, column.name] = _longer(old, capacity, column.fill)
        for group, its in self._together.items():
            together[group][: len(its)] = its
        self._together = together
        self._touched = _longer(self._touched, capacity)
        for kind in self.detectors:
            self._verdicts[kind] = _longer(self._verdicts[kind], capacity)
            self._look[kind] = _longer(self._look[kind], capacity, np.inf)
        for name, dirty in self.dirty.items():
            self.dirty[name] = _longer(dirty, capacity // CHUNK)
        self.received: Int64s = self.column(ALL, "received")
        self.live: Int64s = self.column(ALL, "live")
        self.heard: NDArray[np.float64] = self.column(ALL, "heard")
        self.exists: NDArray[np.bool_] = self.column(ALL, "exists")
        self._views = {
            kind: View(
                self.received,
                self.live,
                self.heard,
                columns={column.name: self.column(kind, column.name) for column in detector.columns},
            )
            for kind, detector in self.detectors.items()
        }


def _longer(old: Array, size: int, fill: float = 0) -> Array:
    new = np.full((size, *old.shape[1:]), fill, old.dtype)
    new[: len(old)] = old
    return new
