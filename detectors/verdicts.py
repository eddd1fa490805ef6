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
