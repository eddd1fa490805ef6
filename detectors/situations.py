"""In which situation a terminal fell silent, and how long it was silent in such a one before.

    state      what its last contact said: moving · ignition on · just stopped · stopped · asleep
    situation  the state; in motion, with the ignition on and just stopped also the time of day, four hours each (UTC)

*Asleep* is whose last contact, at rest, came after two hours of silence: it wakes to report, and sleeps on. *Just
stopped* is who was active less than two hours before. A contact that tells nothing (a ping) leaves the state as it was.

Of each situation the longest silence of each of the last four weeks is kept, and of each state the last eight gaps. A
week in which the terminal was not heard at all does not count as one: a vehicle that stood for a month knows its weeks.
Days on which those like it rest (`cohorts`) are no part of a silence of a day and more, unless it is a sleeper's.
A silence for which there was a ticket is learned like any other until somebody says that it was a fault: then what was
known before it stands again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.columns import NEVER, Int64s
from detectors.detector import Column, View
from detectors.gaps import Codes, Floats, Rows, decode_gaps, encode_gaps, runs

STATES = ("moving", "ignition on", "just stopped", "stopped", "asleep")
MOVING, IDLING, JUST_STOPPED, STOPPED, ASLEEP = range(len(STATES))
BLOCKS = 6
BLOCK = 4 * 3600 * 1_000_000  # µs
JUST = 2 * 3600 * 1_000_000  # µs after it was last active: until then it may drive on at any moment
SLEEP = 2 * 3600 * 1_000_000  # µs of silence, then a contact at rest: it woke only to report
WEEK = 7 * 86_400 * 1_000_000  # µs
WEEKS = 4  # what happens once a month is known, what happened in another season is not
RECENT = 8  # gaps of a state: their median follows a new setting within five
AGAIN = 3  # as many of these are no accident
WOKEN = 16  # gaps of a sleeper after which its own longest is known
HOLE = 2.5 * 3600.0  # s: what is no longer is a hole in coverage, met at any time of the day; longer ones are nights
NIGHT = 20 * 3600.0  # s: what is no longer holds no day of rest
LEAST_LEFT = 3600.0  # s of such a silence that remain

SITUATIONS = 3 * BLOCKS + 2
_FIRST = np.array([0, BLOCKS, 2 * BLOCKS, 3 * BLOCKS, 3 * BLOCKS + 1])  # a state's first situation
_NONE = 255
_HOLE = encode_gaps(np.array([HOLE]))[0]
_DAY = 86_400 * 1_000_000  # µs

Rested: TypeAlias = Callable[[Rows, Int64s, Int64s], Floats]  # rows, since, until (µs) -> seconds of days of rest

COLUMNS = (
    Column("first", np.int64, wall=True),  # µs of its first contact
    Column("active", np.int64, wall=True),  # µs of its last contact in motion or with the ignition on
    Column(
        "worked", np.uint32
    ),  # days on which it was active: the lowest bit is that of `active`, the next the day before
    Column("cohort", np.uint16, kept=False),  # see `cohorts`
    Column("begun", np.int64, wall=True),  # µs, the present week's begin
    Column("longest", np.uint16, (SITUATIONS, WEEKS)),  # coded; 0: never in it
    Column("recent", np.uint16, (len(STATES), RECENT)),  # coded, one ring a state
    Column("count", np.uint16, (len(STATES),)),  # gaps ever
    Column("place", np.uint8, (len(STATES),)),  # next place in the ring
    Column("week", np.uint8),  # where in `longest` the present week is
    Column("posture", np.uint8),  # 0 at rest, 1 ignition on, 2 moving
    Column("state", np.uint8, fill=STOPPED),  # at the last contact
    Column("failed", np.bool_),  # whether the silence that lasts now was too long
    # The last silence that was too long, until somebody says what it was: its situation, its code and the one before.
    Column("lesson", np.uint8, fill=_NONE),
    Column("lesson_code", np.uint16, (2,)),
)


def postures(ignition: NDArray[np.int8], motion: NDArray[np.int8]) -> NDArray[np.int8]:
    """2 moving, 1 ignition on, 0 at rest, -1 not told, out of `ignition` (-1, 0 on, 1 off) and `motion` (-1, 0, 1)."""
    told: NDArray[np.int8] = np.where(motion < 0, -1, 0).astype(np.int8)
    told[ignition == 1] = 0
    told[ignition == 0] = 1
    told[motion == 1] = 2
    return told


def situation_of(state: NDArray[np.integer], received: Int64s) -> Rows:
    """The situation of contacts in these states at these instants, µs."""
    found: Rows = _FIRST[state] + np.where(state <= JUST_STOPPED, received // BLOCK % BLOCKS, 0)
    return found


def situations_of(state: int) -> slice:
    """Where a state's situations are."""
    first = int(_FIRST[state])
    return slice(first, first + (BLOCKS if state <= JUST_STOPPED else 1))


def learn_situations(
    view: View,
    terminal: Rows,
    received: Int64s,
    contact: Int64s,
    ignition: NDArray[np.int8],
    motion: NDArray[np.int8],
    rested: Rested,
) -> None:
    """Take note of contacts, sorted by terminal, then arrival; `ignition` and `motion` as in `postures`.

    `contact` has for each terminal the last contact, µs, that was learned from before these.
    """
    starts, sizes = runs(terminal)
    rows, ends = terminal[starts], starts + sizes - 1
    since = np.empty_like(received)
    since[1:] = received[:-1]
    since[starts] = contact
    since = np.maximum(since, np.repeat(contact, sizes))  # a drained spool may bring what came before
    before = view["state"][rows]
    state = _follow(view, rows, starts, sizes, received, since, postures(ignition, motion))
    # A gap belongs to the state in which it began: that is the state whose limit applied to it.
    began = np.empty_like(state)
    began[1:] = state[:-1]
    began[starts] = before
    newer = received[ends] > contact
    view["state"][rows[newer]] = state[ends[newer]]
    fresh = view["first"][rows] == NEVER
    if fresh.any():
        view["first"][rows[fresh]] = view["begun"][rows[fresh]] = received[starts[fresh]]
    _turn(view, rows, received[ends])
    counted = (since > NEVER) & (received > since) & (since >= view.undisturbed * 1e6)
    lasted = (received - since) / 1e6
    codes = normal = np.maximum(encode_gaps(lasted), 1)
    long = np.flatnonzero(counted & (lasted >= NIGHT) & (began != ASLEEP))
    if len(long):
        normal = codes.copy()
        left = lasted[long] - rested(terminal[long], since[long], received[long])
        normal[long] = encode_gaps(np.maximum(left, LEAST_LEFT))
    situation = situation_of(began, since)
    failed = view["failed"][rows]
    if failed.any():
        at = starts[failed & counted[starts]]
        _note_lesson(view, terminal[at], situation[at], normal[at])
        view["failed"][rows] = False
    if not counted.all():
        terminal, began, situation = terminal[counted], began[counted], situation[counted]
        codes, normal = codes[counted], normal[counted]
    if len(terminal):
        _keep_recent(view, terminal, began, codes)
        _keep_longest(view, terminal, situation, normal)


def teach(view: View, row: int, *, normal: bool) -> bool:
    """Somebody says what a terminal's last silence that was too long has been; False: nothing is waiting for it."""
    situation = int(view["lesson"][row])
    if situation == _NONE:
        return False
    code, before = (int(value) for value in view["lesson_code"][row])
    weeks = view["longest"][row, situation]
    if normal:
        place = int(view["week"][row])  # from now on: it is known for as long as anything that is learned today
        weeks[place] = max(int(weeks[place]), code)
    else:
        weeks[weeks == code] = before
    view["lesson"][row] = _NONE
    return True


def usual(view: View, rows: Rows, state: NDArray[np.integer]) -> tuple[Floats, Floats, NDArray[np.uint16]]:
    """Of the last gaps in these states: the median, the third longest (s; NaN where there are none), and how many ever.

    `state` has one element for each of `rows`.
    """
    count = view["count"][rows, state]
    filled = np.minimum(count, RECENT).astype(np.intp)
    ordered = np.sort(view["recent"][rows, state], axis=1)  # what is empty is 0, and so stands first
    each = np.arange(len(rows))
    middle = decode_gaps(ordered[each, np.minimum(RECENT - filled + filled // 2, RECENT - 1)])
    third = decode_gaps(ordered[each, np.maximum(RECENT - AGAIN, RECENT - filled).clip(0, RECENT - 1)])
    return np.where(filled > 0, middle, np.nan), np.where(filled >= AGAIN, third, np.nan), count


def longest(view: View, rows: Rows, state: NDArray[np.integer], since: Int64s) -> Floats:
    """For how long each was normally silent before in the situation that began at `since` (µs): s, 0 = nothing known.

    The longest of the weeks. In motion or with the ignition on also of the block of the day that is near, and holes of
    any block: where a road has none is no matter of the hour. Who was in that block in one week only borrows the
    state's. Once a vehicle stands, what it said last tells little of how long it will: that is the longest of its whole
    life, whatever its state was. A sleeper has its own, and borrows likewise until it has woken a few times.
    """
    weeks: Codes = view["longest"][rows]
    situation = situation_of(state, since)
    own = weeks[np.arange(len(rows)), situation]
    code = own.max(axis=1)
    life = weeks.max(axis=(1, 2))
    borrows = (state == JUST_STOPPED) | (state == STOPPED) | (view["count"][rows, ASLEEP] < WOKEN)
    active = np.flatnonzero(state <= IDLING)
    if len(active):
        at = since[active]
        block = at // BLOCK % BLOCKS
        near = (block + np.where(at % BLOCK < BLOCK // 2, -1, 1)) % BLOCKS
        first = _FIRST[state[active]]
        cells = weeks[active[:, None], first[:, None] + np.arange(BLOCKS)].reshape(len(active), -1)
        holes = np.where(cells <= _HOLE, cells, 0).max(axis=1)
        often = (own[active] > 0).sum(axis=1) >= 2
        found = np.maximum(np.where(often, code[active], cells.max(axis=1)), weeks[active, first + near].max(axis=1))
        code[active] = np.maximum(found, holes)
    code = np.where(borrows & (state > IDLING), np.maximum(code, life), code)
    code = np.where(code > 0, code, life)
    return np.where(code > 0, decode_gaps(code), 0.0)


def _follow(
    view: View,
    rows: Rows,
    starts: NDArray[np.intp],
    sizes: NDArray[np.intp],
    received: Int64s,
    since: Int64s,
    posture: NDArray[np.int8],
) -> NDArray[np.uint8]:
    """The state after each contact; postures and last activity move on."""
    n, ends = len(received), starts + sizes - 1
    posture[starts] = np.where(posture[starts] < 0, view["posture"][rows], posture[starts])
    each = np.arange(n)
    posture = posture[np.maximum.accumulate(np.where(posture >= 0, each, 0))]
    last = np.maximum.accumulate(np.where(posture > 0, each, -1))
    active = np.where(last >= np.repeat(starts, sizes), received[last], np.repeat(view["active"][rows], sizes))
    slept = (since > NEVER) & (received - since >= SLEEP)
    rest = np.where(slept, ASLEEP, np.where(received - active < JUST, JUST_STOPPED, STOPPED))
    state: NDArray[np.uint8] = np.where(posture == 2, MOVING, np.where(posture == 1, IDLING, rest)).astype(np.uint8)
    view["posture"][rows] = posture[ends]
    _note_work(view, rows, active[ends])
    return state


def _note_work(view: View, rows: Rows, active: Int64s) -> None:
    """These were active last at these instants, µs; of those that come at once the last day counts."""
    before = view["active"][rows]
    view["active"][rows] = active
    later = np.flatnonzero((before < active) & (before < active.max() // _DAY * _DAY))  # not today already: seldom any
    if not len(later):
        return
    rows, passed = rows[later], active[later] // _DAY - before[later] // _DAY
    worked = view["worked"]
    moved = worked[rows] << np.clip(passed, 0, 31).astype(np.uint32)
    worked[rows] = np.where(passed < 32, moved, 0).astype(np.uint32) | np.uint32(1)


def _turn(view: View, rows: Rows, newest: Int64s) -> None:
    """Begin another week for those whose week is over."""
    over = newest - view["begun"][rows] >= WEEK
    if not over.any():
        return
    rows, newest = rows[over], newest[over]
    begun = view["begun"][rows]
    view["begun"][rows] = np.where(newest - begun >= 2 * WEEK, newest, begun + WEEK)
    week = (view["week"][rows] + 1) % WEEKS
    view["week"][rows] = week
    view["longest"][rows, :, week] = 0


def _keep_recent(view: View, terminal: Rows, state: NDArray[np.uint8], codes: Codes) -> None:
    key = terminal * len(STATES) + state
    order = np.argsort(key, kind="stable")
    key, codes = key[order], codes[order]
    starts, sizes = runs(key)
    rank = np.arange(len(key)) - np.repeat(starts, sizes)
    kept = rank >= np.repeat(sizes, sizes) - RECENT  # one place is written once
    row, its = np.divmod(key, len(STATES))
    place = view["place"]
    at = (place[row, its] + rank) % RECENT
    view["recent"][row[kept], its[kept], at[kept]] = codes[kept]
    row, its = row[starts], its[starts]
    place[row, its] = (place[row, its] + sizes) % RECENT
    count = view["count"]
    count[row, its] = np.minimum(count[row, its] + sizes, 65_535)


def _keep_longest(view: View, terminal: Rows, situation: Rows, codes: Codes) -> None:
    week = view["week"][terminal].astype(np.intp)
    longer = np.flatnonzero(codes > view["longest"][terminal, situation, week])
    if not len(longer):
        return
    terminal, situation, codes, week = terminal[longer], situation[longer], codes[longer], week[longer]
    np.maximum.at(view["longest"], (terminal, situation, week), codes)


def _note_lesson(view: View, rows: Rows, situation: Rows, codes: Codes) -> None:
    """These silences were too long; what they teach may have to be taken back."""
    view["lesson"][rows] = situation
    view["lesson_code"][rows, 0] = codes
    view["lesson_code"][rows, 1] = view["longest"][rows, situation, view["week"][rows].astype(np.intp)]
