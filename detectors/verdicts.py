"""What detectors answer: a verdict per terminal, and the finding made of one that fails.

"Unknown" is an answer: a terminal never heard, a version no catalogue lists, a time in which the gateway
itself did not listen. It is 0, so that fresh arrays hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Verdicts: TypeAlias = NDArray[np.int8]
Number: TypeAlias = float | int | str | None


class Verdict(IntEnum):
    """A detector's answer about one terminal; an int8 in arrays."""

    UNKNOWN = 0
    GOOD = 1
    SUSPECT = 2
    FAIL = 3

    @property
    def label(self) -> str:
        """The word used in the API and the metrics."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a verdict is what it is: a reason in words and the numbers behind it."""

    verdict: Verdict
    reason: str
    numbers: Mapping[str, Number] = field(default_factory=dict)

    def told(self) -> dict[str, Number]:
        """As a ticket shows it."""
        return {"verdict": self.verdict.label, "reason": self.reason, **self.numbers}


@dataclass(frozen=True, slots=True)
class Finding:
    """A failing verdict about one terminal, with what explains it.

    Attributes
    ----------
    kind : the detector, which is also the incident's kind.
    terminal : row of the terminal table.
    detected_at : Unix seconds; when the verdict began to fail.
    observed_until : Unix seconds; the end of the time it judges. What was heard later makes it stale.
    """

    kind: str
    terminal: int
    detected_at: float
    observed_until: float
    explanation: Explanation


def count_verdicts(verdicts: Verdicts) -> dict[str, int]:
    """How many terminals have each verdict; every verdict has a key."""
    counts = np.bincount(verdicts.view(np.uint8), minlength=len(Verdict))
    return {verdict.label: int(counts[verdict]) for verdict in Verdict}


def spell(seconds: float, *, fine: bool = True) -> str:
    """A duration as people say it, two units at most: `3 d 4 h`, `12 min 30 s`, `9.5 s`.

    Not `fine`: whole units that have passed, so that a running one only counts up: `12 min`, `9 s`, `30 d`.
    """
    if fine and seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds) if fine else int(seconds)
    for size, unit, below, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            if not fine and (unit == "min" or whole >= 30 * 86_400):
                rest = 0
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
