"""What to expect of a terminal: its next contact, when silence becomes a ticket, and its rhythm in each state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from detectors.detector import View
from detectors.gaps import decode_gaps
from detectors.situations import STATES, situations_of, usual


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Of one state, in seconds: the median of the last gaps, the longest silence of four weeks; gaps counted ever."""

    interval_s: float | None
    quantile_s: float | None
    gaps: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """Seconds from now, below 0 when passed; None = nobody knows.

    Attributes
    ----------
    expected_in : the next contact.
    overdue : whether it is late enough to be shown.
    ticket_in : when silence becomes a ticket; None also where none is opened.
    regime : the state at the last contact, or the stage of one that is not in use; empty where it was never heard.
    rhythm : by state, those that it was in.
    """

    expected_in: float | None = None
    overdue: bool = False
    ticket_in: float | None = None
    regime: str = ""
    rhythm: Mapping[str, Rhythm] = field(default_factory=dict)


def rhythms(view: View, row: int) -> dict[str, Rhythm]:
    """What is known of each state that the terminal was in."""
    states = np.arange(len(STATES))
    middles, _, counts = usual(view, np.full(len(STATES), row), states)
    found = {}
    for state, name in enumerate(STATES):
        if not counts[state]:
            continue
        code = int(view["longest"][row][situations_of(state)].max())
        found[name] = Rhythm(
            float(f"{middles[state]:.4g}"),
            float(f"{decode_gaps(np.array([code], np.uint16))[0]:.4g}") if code else None,
            int(counts[state]),
        )
    return found
