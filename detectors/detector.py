"""What a detector is: one object that says what it reads, what it keeps of a terminal, and what it answers.

    reduce     a batch's columns → its summary, one element a contact     where frames are received
    absorb     contacts and summary → its own columns of the fleet        where the fleet is watched
    identify   what the registry says of terminals → its own columns
    judge      its columns, now → verdicts, and when each may change by itself
    explain    one terminal's verdict in words and numbers; evidence, priority and zone of its ticket

A terminal is judged again when it was heard, when the registry told something new, or when its time to look has come;
so a fleet at rest costs nothing. What a detector keeps lies in columns that others store, grow and restore.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from detectors.columns import Array, Columns, Contacts, Int64s
from detectors.gaps import Floats, Rows
from detectors.verdicts import Explanation, Verdict, Verdicts

Summary: TypeAlias = Mapping[str, Array]  # by name, one element a contact
# Of some terminals: `model`, `firmware`, and, where it is known, `operator`, `customer`, `site`, `region`, `protocol`,
# `stage`, `firmware_target`.
Registered: TypeAlias = Mapping[str, Sequence[str | None]]


@dataclass(frozen=True, slots=True)
class Column:
    """One value, or array of `shape`, a terminal.

    Attributes
    ----------
    fill : what a terminal has of which nothing is known.
    wall : µs since the Unix epoch, which move along when the wall clock is set; `NEVER` stays.
    kept : whether snapshots hold it. One that is not kept follows from `identify`, and is filled anew when another
        detector takes over from this one.
    """

    name: str
    dtype: DTypeLike
    shape: tuple[int, ...] = ()
    fill: float = 0
    wall: bool = False
    kept: bool = True


@dataclass(slots=True)
class View:
    """The fleet as one detector sees it: arrays over rows of the terminal table, and two clocks.

    Attributes
    ----------
    received, live : int64, µs since the Unix epoch: when the last frame was accepted, and the newest time that a live
        record told; `NEVER`.
    heard : float64, listened seconds of the last accepted frame; NaN = never.
    clock, now : listened and Unix seconds.
    undisturbed : Unix seconds since which nothing but time passed: a gap that began before is no terminal's rhythm.
    news : in `absorb`, of each of `contacts.rows` whether a live record told a time newer than any before.
    columns : the detector's own; ``view[name]``.
    """

    received: Int64s
    live: Int64s
    heard: Floats
    clock: float = np.nan
    now: float = np.nan
    undisturbed: float = -np.inf
    news: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    columns: Mapping[str, Array] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]


class Before(NamedTuple):
    """Of each terminal that was heard, as of before: its last arrival, the newest time a live record told (µs)."""

    received: Int64s
    live: Int64s


class Judged(NamedTuple):
    """Verdicts (int8), and listened seconds at which each may change by itself (float64; inf = never)."""

    verdicts: Verdicts
    look: Floats


class Zone(NamedTuple):
    """Where a fault probably lies, with a confidence of 0 to 1, the reason in words, and what spoke for and against."""

    zone: str
    confidence: float
    reason: str
    spoke_for: tuple[str, ...] = ()
    spoke_against: tuple[str, ...] = ()


UNKNOWN_ZONE = Zone("unknown", 0.0, "this detector names none")


class Connected(NamedTuple):
    """One of a terminal's last connections.

    `later` : whether it was opened after the last record. `frames`, `malformed` : how many. `ended` : why, in words;
    empty while it is open.
    """

    later: bool
    frames: int
    malformed: int
    ended: str


@dataclass(frozen=True, slots=True)
class Past:
    """A terminal before the fault.

    Attributes
    ----------
    measure : the named measure of its last records, oldest first; NaN = not told. Beside the measures `ignition`,
        `moving` and `valid` (0 or 1), `satellites` and `speed`.
    malformed : int64, damaged frames of its last connections, newest first.
    connections : the same connections, newest first.
    verdicts : what other detectors said of it, by kind: `good`, `suspect` …
    """

    measure: Callable[[str], Floats]
    malformed: NDArray[np.int64]
    connections: Sequence[Connected] = ()
    verdicts: Mapping[str, str] = field(default_factory=dict)


class Detector(ABC):
    """Base of all. `kind` is also the incident's, `words` what pages call it."""

    kind: ClassVar[str]
    words: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]] = ()
    summary: ClassVar[Mapping[str, DTypeLike]] = {}
    proof: ClassVar[frozenset[Verdict]] = frozenset({Verdict.GOOD})  # what proves that a fault is over
    heeds_contacts: ClassVar[bool] = True  # whether being heard may change its verdict
    sparse: ClassVar[bool] = False  # zeros in its summary say nothing: a batch of nothing else is not told of it

    @staticmethod
    def reduce(columns: Columns) -> Summary:  # noqa: ARG004  # whoever needs none gives none
        """A batch's summary: an array for each name in `summary`, with one element for each of `columns.contacts`.

        Pure, the same under any settings: receiving processes call it, which know no detector's state. One that is
        sparse may leave out what the batch does not tell at all.
        """
        return {}

    def absorb(  # noqa: B027  # not every detector learns
        self, view: View, contacts: Contacts, before: Before, summary: Summary
    ) -> Rows | None:
        """Contacts become state; `before` has one element for each of `contacts.rows`.

        The view's `received`, `live` and `heard` know of them already. Who does not heed contacts returns the rows
        whose verdict may have changed, to be judged at the next tick.
        """

    def identify(  # noqa: B027  # nor does the registry matter to each
        self, view: View, rows: Rows, registered: Registered
    ) -> None:
        """What the registry says of these terminals, now that it may have changed."""

    @abstractmethod
    def judge(self, view: View, rows: Rows) -> Judged:
        """Verdicts of these terminals."""

    @abstractmethod
    def explain(self, view: View, row: int) -> Explanation:
        """Why one terminal's verdict is what it is, as of `view.clock`."""

    def expected_next(self, view: View, rows: Rows) -> Floats:
        """Listened seconds by which each of these terminals is usually heard again; NaN where nobody knows."""
        return np.full(len(rows), np.nan)

    def meaning(self, view: View, rows: Rows) -> Int64s:
        """What an open incident of each means, not below 0; another number while it fails is news for its ticket."""
        return np.zeros(len(rows), np.int64)

    def teach(self, view: View, row: int, *, normal: bool) -> bool:
        """Somebody says whether what one terminal's last ticket was about is normal; False: it changes nothing."""
        return False

    def evidence(self, view: View, row: int, terminal: Mapping[str, Any]) -> Mapping[str, Any]:
        """What any ticket about this terminal shows of this matter; `terminal` is its row of the registry."""
        return {}

    def priority(self, explanation: Explanation) -> int:
        """Of its ticket: 1 (first) to 4."""
        return 3

    def zone(self, explanation: Explanation, past: Past) -> Zone:
        """Where the fault probably lies."""
        return UNKNOWN_ZONE


def switched_off(detector: Detector) -> Detector:
    """One of its kind, with its columns, that takes note of nothing and knows nothing."""
    its = type(detector)

    class Off(its):  # type: ignore[misc,valid-type]
        def absorb(self, view: View, contacts: Contacts, before: Before, summary: Summary) -> None:
            return None

        def judge(self, view: View, rows: Rows) -> Judged:
            return Judged(np.zeros(len(rows), np.int8), np.full(len(rows), np.inf))

        def explain(self, view: View, row: int) -> Explanation:
            return Explanation(Verdict.UNKNOWN, "switched off by the configuration")

        def evidence(self, view: View, row: int, terminal: Mapping[str, Any]) -> Mapping[str, Any]:
            return {}

    return Off()
