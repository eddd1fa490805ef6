"""The fleet's state: one row of numpy arrays per terminal, by its id in table `terminal`.

A committed batch touches its own rows only; a million terminals take some 130 MB. What is learned of a terminal:
when it was last heard (on the listening clock), when a record was last live, and its rhythm, which is the median of
its last gaps, apart for ignition off and for on or unknown.

The rhythm is that of live frames. A frame of old records from the black box is a sign of life, but comes as fast
as the line takes it: learned as rhythm, one upload would make a parked vehicle "silent" minutes later. A terminal
none of whose records is ever live has its clock wrong, and is learned from all its frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.silence import SilenceRule
from gateway.watch.contacts import contacts
from gateway.watch.gaps import RING, Rows, decode_gaps, encode_gaps, medians, runs
from gateway.watch.listening import Listening

Int64s: TypeAlias = NDArray[np.int64]
Int32s: TypeAlias = NDArray[np.int32]

CLOCK_TRUSTED_FOR = 7 * 86_400 * 1_000_000  # µs after a live record: then the terminal's clock is no longer believed
CHUNK = 8192  # rows of one piece of a snapshot
UNSETTLED = 1 << 18  # rows whose medians are due, counted per batch: beyond it nobody asked for a long while
NOTED = 8192  # frames and records that wait for one `flush`: from there on it costs half a microsecond a frame
NEVER = 0  # µs: nothing arrived in 1970

# What a batch changes of a terminal and a tick does not scan lies together: a batch's terminals lie anywhere among a
# million, so each place costs a cache line from memory, and a column of its own for each would cost ten.
_TOGETHER = np.dtype(
    [
        ("received", np.int64), ("contact", np.int64), ("live", np.int64), ("gaps", np.uint16, (2, RING)),
        ("interval", np.float32, (2,)), ("learned", np.uint16, (2,)), ("slot", np.uint8, (2,)), ("off", np.uint8),
    ],
    align=True,
)  # fmt: skip

# What a snapshot keeps; the rest follows from it.
KEPT = ("heard", "received", "contact", "live", "gaps", "slot", "learned", "interval", "off", "exists")


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What was learned of one terminal in one ignition state; seconds."""

    interval: float
    gaps: int
    recent: list[float]


class Fleet:
    """State of all terminals.

    Attributes (arrays over rows; those beyond `rows` are spare)
    ----------
    heard : float64, listened seconds of the last accepted frame; NaN = never
    received, live, contact : int64, µs since the Unix epoch of the last accepted frame, the last live record, and the
        last frame the rhythm was learned from; `NEVER`
    gaps : uint16 (n, 2, RING), coded gaps; state 0 is ignition on or unknown, 1 is off
    slot, learned : uint8 and uint16 (n, 2), next place in the ring, gaps ever
    interval : float32 (n, 2), medians in seconds; NaN
    off : uint8, the ignition state
    limit : float64, seconds of silence it may keep now
    release : int32, index of its firmware in the catalogue; 0 = not listed
    exists : bool, whether there is such a terminal
    """

    def __init__(self, listening: Listening, rule: SilenceRule, capacity: int = 1024) -> None:
        self.listening = listening
        self.rule = rule
        self.rows = 0
        self._noted: list[tuple[NDArray[Any], ...]] = []
        self._waiting = 0
        self._gained: list[Rows] = []  # 2 × row + state of rings that gained a gap since the last `flush`
        self._moved: list[Rows] = []  # rows that were heard since then
        self._unsettled = 0
        self.dirty = np.zeros(0, np.bool_)
        self.heard = np.zeros(0, np.float64)
        self._together = np.zeros(0, _TOGETHER)
        self.exists = np.zeros(0, np.bool_)
        self.limit = np.zeros(0, np.float64)
        self.release = np.zeros(0, np.int32)
        self._grow(capacity)

    def reserve(self, rows: int) -> None:
        """Make room for terminals up to id `rows - 1`."""
        if rows > len(self.heard):
            self._grow(max(rows, 2 * len(self.heard)))
        self.rows = max(self.rows, rows)

    def note(
        self,
        frame_terminal: Int32s,
        frame_received: Int64s,
        record_terminal: Int32s,
        record_time: Int64s,
        record_received: Int64s,
        record_flags: NDArray[np.int16],
    ) -> None:
        """Take note of a committed batch, at the next `flush`: small batches are cheap together, not one by one.

        Arguments as in `apply`; the arrays must not change afterwards.
        """
        self._noted.append(
            (frame_terminal, frame_received, record_terminal, record_time, record_received, record_flags)
        )
        self._waiting += len(frame_terminal) + len(record_terminal)
        if self._waiting >= NOTED:
            self._apply_noted()

    def _apply_noted(self) -> None:
        if self._noted:
            noted, self._noted, self._waiting = self._noted, [], 0
            self.apply(*(np.concatenate(column) for column in zip(*noted, strict=True)))
            if self._unsettled > UNSETTLED:
                self._settle()

    def flush(self) -> None:
        """Apply what was noted; medians and limits of the rows it touched. Whoever reads the arrays calls it first."""
        self._apply_noted()
        self._settle()

    def _settle(self) -> None:
        gained, self._gained = self._gained, []
        moved, self._moved, self._unsettled = self._moved, [], 0
        if gained:
            keys = _distinct(gained)
            row, state = keys >> 1, keys & 1
            self.interval[row, state] = medians(self.gaps[row, state], self.learned[row, state])
        if moved:
            self._limit(_distinct(moved))

    def apply(
        self,
        frame_terminal: Int32s,
        frame_received: Int64s,
        record_terminal: Int32s,
        record_time: Int64s,
        record_received: Int64s,
        record_flags: NDArray[np.int16],
    ) -> None:
        """Take note of a committed batch; `interval` and `limit` follow at the next `flush`, once for many batches.

        Parameters
        ----------
        frame_terminal, frame_received : arrays, shape (n,)
            Terminal rows and arrival (µs since the Unix epoch) of the accepted frames, in any order.
        record_terminal, record_time, record_received, record_flags : arrays, shape (m,)
            The records in them; a record's arrival is its frame's.
        """
        if not len(frame_terminal) and not len(record_terminal):
            return
        met = contacts(frame_terminal, frame_received, record_terminal, record_time, record_received, record_flags)
        terminal, received, live, ignition = met.terminal, met.received, met.live, met.ignition
        starts, sizes = runs(terminal)
        rows = terminal[starts]
        self.reserve(int(rows[-1]) + 1)
        newest = received[starts + sizes - 1]
        lively = np.maximum.reduceat(np.where(live, received, NEVER), starts)
        self.exists[rows] = True
        self.received[rows] = np.maximum(self.received[rows], newest)
        self.heard[rows] = np.fmax(self.heard[rows], self.listening.listened(newest / 1e6))
        lively = np.maximum(self.live[rows], lively)
        self.live[rows] = lively
        rhythmic = live | (np.repeat(lively, sizes) < received - CLOCK_TRUSTED_FOR)
        if rhythmic.all():
            self._learn(terminal, received, ignition)
        elif rhythmic.any():
            self._learn(terminal[rhythmic], received[rhythmic], ignition[rhythmic])
        self._moved.append(rows)
        self._unsettled += len(rows)
        self.dirty[rows // CHUNK] = True

    def identify(self, rows: Sequence[int], releases: Sequence[int]) -> None:
        """These terminals exist, and carry these releases (indices in the catalogue, 0 = not listed)."""
        if rows:
            self.reserve(max(rows) + 1)
            at = np.array(rows, np.int64)
            fresh = at[~self.exists[at]]
            self.exists[at] = True
            self.release[at] = releases
            self._limit(fresh)
            self.dirty[fresh // CHUNK] = True

    def refresh_limits(self, rule: SilenceRule | None = None) -> None:
        """Limits of the whole fleet anew: after a restore, or under another rule."""
        self.rule = rule or self.rule
        self._limit(np.arange(self.rows))

    def shift(self, seconds: float) -> None:
        """The wall clock was set: what is kept in wall time moves along."""
        for column in (self.received, self.contact, self.live):
            column[column != NEVER] += round(seconds * 1e6)
        self.dirty[:] = True

    def rhythm(self, row: int, state: int) -> Rhythm:
        """What was learned of one terminal in one state, with its last gaps, oldest first."""
        filled = min(int(self.learned[row, state]), RING)
        ring = decode_gaps(np.roll(self.gaps[row, state], -int(self.slot[row, state])))[RING - filled :]
        return Rhythm(
            float(self.interval[row, state]), int(self.learned[row, state]), [round(float(gap), 3) for gap in ring]
        )

    def _learn(self, terminal: Rows, received: Int64s, ignition: NDArray[np.int8]) -> None:
        """Gaps between contacts; arguments sorted by terminal, then arrival, without repeats."""
        starts, sizes = runs(terminal)
        ends = starts + sizes - 1
        rows = terminal[starts]
        off, contact = self.off[rows], self.contact[rows]
        # The state after each contact: as told, else as before it.
        after = ignition.astype(np.int8)
        after[starts] = np.where(after[starts] < 0, off, after[starts])
        after = after[np.maximum.accumulate(np.where(after >= 0, np.arange(len(after)), 0))]
        # A gap belongs to the state in which it began: that is the state whose limit applied to it.
        before = np.empty_like(after)
        before[1:] = after[:-1]
        before[starts] = off
        since = np.empty_like(received)
        since[1:] = received[:-1]
        since[starts] = contact
        since = np.maximum(since, np.repeat(contact, sizes))  # a drained spool may bring what came before
        newer = received[ends] > contact
        self.contact[rows[newer]] = received[ends[newer]]
        self.off[rows[newer]] = after[ends[newer]]
        counted = (since > NEVER) & (received > since) & (since >= self.listening.undisturbed_since * 1e6)
        if counted.all():
            self._insert(terminal, before, (received - since) / 1e6)
        elif counted.any():
            self._insert(terminal[counted], before[counted], (received[counted] - since[counted]) / 1e6)

    def _insert(self, terminal: Rows, state: NDArray[np.int8], gap: NDArray[np.float64]) -> None:
        key = terminal * 2 + state
        order = np.argsort(key, kind="stable")
        key, codes = key[order], encode_gaps(gap[order])
        starts, sizes = runs(key)
        rank = np.arange(len(key)) - np.repeat(starts, sizes)
        row, its = key >> 1, key & 1
        kept = rank >= np.repeat(sizes, sizes) - RING  # one place is written once
        place = (self.slot[row, its] + rank) % RING
        self.gaps[row[kept], its[kept], place[kept]] = codes[kept]
        row, its = row[starts], its[starts]
        self.slot[row, its] = (self.slot[row, its] + sizes) % RING
        self.learned[row, its] = np.minimum(self.learned[row, its] + sizes, 65_535)
        self._gained.append(key[starts])

    def _limit(self, rows: Rows) -> None:
        off = self.off[rows]
        self.limit[rows] = self.rule.limits(self.interval[rows, off].astype(np.float64), self.learned[rows, off])

    def _grow(self, capacity: int) -> None:
        capacity = -(-capacity // CHUNK) * CHUNK
        for name in ("heard", "exists", "limit", "release", "_together"):
            old: NDArray[Any] = getattr(self, name)
            new = np.zeros(capacity, old.dtype)
            if name == "heard":
                new.fill(np.nan)
            elif name == "limit":
                new.fill(self.rule.ceiling)
            elif name == "_together":
                new["interval"] = np.nan
            new[: len(old)] = old
            setattr(self, name, new)
        together = self._together
        self.received: Int64s = together["received"]
        self.contact: Int64s = together["contact"]
        self.live: Int64s = together["live"]
        self.gaps: NDArray[np.uint16] = together["gaps"]
        self.slot: NDArray[np.uint8] = together["slot"]
        self.learned: NDArray[np.uint16] = together["learned"]
        self.interval: NDArray[np.float32] = together["interval"]
        self.off: NDArray[np.uint8] = together["off"]
        self.dirty = np.append(self.dirty, np.zeros(capacity // CHUNK - len(self.dirty), np.bool_))


def _distinct(parts: list[Rows]) -> Rows:
    """Each number once, in order; `np.unique` takes four times as long."""
    ordered = np.sort(np.concatenate(parts))
    return ordered[runs(ordered)[0]]
