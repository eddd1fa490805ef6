"""The rhythm of a terminal: the median of its last gaps between live frames, apart for ignition off.

A frame of old records from the black box is a sign of life, but comes as fast as the line takes it: learned as rhythm,
one upload would make a parked vehicle "silent" minutes later. A terminal none of whose records is ever live has its
clock wrong, and is learned from all its frames.

State 0 is ignition on or unknown, 1 is off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.columns import NEVER, Contacts, Int64s
from detectors.detector import Before, Column, View
from detectors.gaps import RING, Floats, Rows, decode_gaps, encode_gaps, medians, runs

CLOCK_TRUSTED_FOR = 7 * 86_400 * 1_000_000  # µs after a live record: then the terminal's clock is no longer believed
LEARNED_MOST = 65_535

COLUMNS = (
    Column("contact", np.int64, wall=True),  # µs of the last frame the rhythm was learned from
    Column("gaps", np.uint16, (2, RING)),  # coded, one ring a state
    Column("interval", np.float32, (2,), fill=np.nan),  # their medians in seconds, as of the last `settle`
    Column("learned", np.uint16, (2,)),  # gaps ever
    Column("slot", np.uint8, (2,)),  # next place in the ring
    Column("off", np.uint8),  # the state now
    Column("gained", np.uint8),  # states, as bits, whose median is due
    Column("twice", np.bool_),  # whether it was ever heard a second time
)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What was learned of one terminal in one state; seconds."""

    interval: float
    gaps: int
    recent: list[float]


def note_again(view: View, contacts: Contacts, before: Before) -> None:
    """Who was heard a second time; `before` has one element for each of `contacts.rows`."""
    received = contacts.received
    newest = received[contacts.last]
    again = (newest > received[contacts.runs[0]]) | ((before.received != NEVER) & (newest > before.received))
    if again.any():
        view["twice"][contacts.rows[again]] = True


def note_contact(view: View, terminal: Rows, received: Int64s) -> None:
    """These were learned from; sorted by terminal, then arrival."""
    starts, sizes = runs(terminal)
    rows = terminal[starts]
    view["contact"][rows] = np.maximum(view["contact"][rows], received[starts + sizes - 1])


def rhythmic(view: View, contacts: Contacts) -> NDArray[np.bool_]:
    """Which contacts tell of a rhythm: live ones, and all of a terminal that has told no live record for a week."""
    _, sizes = contacts.runs
    told: NDArray[np.bool_] = contacts.live | (
        np.repeat(view.live[contacts.rows], sizes) < contacts.received - CLOCK_TRUSTED_FOR
    )
    return told


def settle(view: View, rows: Rows) -> tuple[Floats, NDArray[np.uint16]]:
    """Interval (s; NaN where nothing is learned) and number of gaps of each of these terminals in its present state."""
    gained = view["gained"][rows]
    if gained.any():
        for state in (0, 1):
            due = rows[gained & (1 << state) != 0]
            view["interval"][due, state] = medians(view["gaps"][due, state], view["learned"][due, state])
        view["gained"][rows[gained != 0]] = 0
    off = view["off"][rows]
    return view["interval"][rows, off].astype(np.float64), view["learned"][rows, off]


def rhythm(view: View, row: int, state: int) -> Rhythm:
    """What was learned of one terminal in one state, with its last gaps, oldest first."""
    settle(view, np.array([row]))
    learned = int(view["learned"][row, state])
    filled = min(learned, RING)
    ring = decode_gaps(np.roll(view["gaps"][row, state], -int(view["slot"][row, state])))[RING - filled :]
    return Rhythm(float(view["interval"][row, state]), learned, [round(float(gap), 3) for gap in ring])


def learn(view: View, terminal: Rows, received: Int64s, ignition: NDArray[np.int8]) -> None:
    """Take note of gaps between contacts, sorted by terminal, then arrival; medians follow at `settle`.

    To be followed by `note_contact`.

    `ignition` has one element for each: -1 not told, 0 on, 1 off.
    """
    starts, sizes = runs(terminal)
    ends = starts + sizes - 1
    rows = terminal[starts]
    off, contact = view["off"][rows], view["contact"][rows]
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
    view["off"][rows[newer]] = after[ends[newer]]
    counted = (since > NEVER) & (received > since) & (since >= view.undisturbed * 1e6)
    if counted.all():
        _insert(view, terminal, before, (received - since) / 1e6)
    elif counted.any():
        _insert(view, terminal[counted], before[counted], (received[counted] - since[counted]) / 1e6)


def _insert(view: View, terminal: Rows, state: NDArray[np.int8], gap: Floats) -> None:
    key = terminal * 2 + state
    order = np.argsort(key, kind="stable")
    key, codes = key[order], encode_gaps(gap[order])
    starts, sizes = runs(key)
    rank = np.arange(len(key)) - np.repeat(starts, sizes)
    row, its = key >> 1, key & 1
    kept = rank >= np.repeat(sizes, sizes) - RING  # one place is written once
    slot, learned = view["slot"], view["learned"]
    place = (slot[row, its] + rank) % RING
    view["gaps"][row[kept], its[kept], place[kept]] = codes[kept]
    row, its = row[starts], its[starts]
    slot[row, its] = (slot[row, its] + sizes) % RING
    learned[row, its] = np.minimum(learned[row, its] + sizes, LEARNED_MOST)
    for state_ in (0, 1):  # a terminal may stand in `row` once for each
        rows = row[its == state_]
        view["gained"][rows] |= 1 << state_
