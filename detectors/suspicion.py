"""Whether so many of a group are late that something is wrong with what they share, and which group explains best.

Of each group it is counted who is late (silent for longer than usual, since a moment ago) and who was heard just now.
Those late are to be surprisingly many beside what is usual for this group at this hour:

    score = expected × KL(share late ‖ usual share)        a bound on the chance of it: exp(-score) (Chernoff)
    suspected if score ≥ ln(groups ÷ ALPHA), and share and number are what the rule asks

The largest score explains best: a group with more in it that is heard scores less, and so does one that holds only a
part of those silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.gaps import Floats
from detectors.groups import KINDS, OURS, Counts, Groups

Flags: TypeAlias = NDArray[np.bool_]

ALPHA = 1e-6  # chance of a false suspicion at one look, over all groups
AS_GOOD = 0.9  # of the best score: as good an explanation
GONE = 0.9  # share that is all of it
_SHOWN = 5  # explanations in the numbers


@dataclass(frozen=True, slots=True)
class Look:
    """Counts of one moment, by group; shape (groups,)."""

    groups: Groups
    late: Counts
    alive: Counts
    usual: Floats
    score: Floats
    needed: float
    suspected: Flags

    @classmethod
    def of(cls, groups: Groups, late: Counts, alive: Counts, usual: Floats, *, share: float, terminals: int) -> Look:
        """Score every group; `share` and `terminals` are the least that are suspected."""
        expected = late + alive
        part = late / np.maximum(expected, 1)
        score = np.where(part > usual, expected * divergence(part, usual), 0.0)
        needed = float(np.log(max(int((expected >= terminals).sum()), 1) / ALPHA))
        suspected = (late >= terminals) & (part >= share) & (score >= needed)
        return cls(groups, late, alive, usual, score, needed, suspected)

    def best(self) -> int:
        """The best explanation of those suspected."""
        names = np.flatnonzero(self.suspected)
        near = names[self.score[names] >= AS_GOOD * self.score[names].max()].tolist()
        order = {group: (self.groups.order(group), -self.score[group]) for group in near}
        if any(self.groups.dimension(group) == "fleet" and self.gone(group) for group in near):
            # Nothing is heard at all: it is us, before it is anybody whom all have in common.
            near = [group for group in near if self.groups.dimension(group) in OURS]
        chosen = min(near, key=order.__getitem__)
        if self.groups.dimension(chosen) in KINDS:
            # Those of one kind at one port: that a port is closed is likelier than that all of a kind end at once.
            ours = [group for group in near if self.groups.dimension(group) in OURS and not self.alive[group]]
            chosen = min(ours, key=order.__getitem__, default=chosen)
        return int(chosen)

    def gone(self, group: int) -> bool:
        """Whether all of a group is silent."""
        return bool(self.late[group] >= GONE * (self.late[group] + self.alive[group]))

    def ours(self, group: int) -> bool:
        """Whether it is gone because we do not hear it."""
        return self.groups.dimension(group) in OURS and self.gone(group)

    def numbers(self, group: int) -> dict[str, Any]:
        """Of one group."""
        by, value = self.groups.name(group)
        late, expected = int(self.late[group]), int(self.late[group] + self.alive[group])
        return {
            "by": by,
            "value": value,
            "silent": late,
            "expected": expected,
            "share": round(late / max(expected, 1), 3),
            "usual_share": round(float(self.usual[group]), 3),
            "score": round(float(self.score[group]), 1),
        }

    def explanations(self) -> list[dict[str, Any]]:
        """The first of those suspected, the best first."""
        order = np.argsort(-np.where(self.suspected, self.score, -1.0), kind="stable")[:_SHOWN]
        return [self.numbers(int(group)) for group in order if self.suspected[group]]


def divergence(share: Floats, usual: Floats) -> Floats:
    """Kullback and Leibler's, of two coins; `usual` is neither 0 nor 1."""
    heads = np.where(share > 0, share * np.log(np.maximum(share, 1e-12) / usual), 0.0)
    tails = np.where(share < 1, (1 - share) * np.log(np.maximum(1 - share, 1e-12) / (1 - usual)), 0.0)
    divergence: Floats = heads + tails
    return divergence


def together(heard: Floats, due: Floats) -> tuple[float, Flags]:
    """The instant at which most of them can have fallen silent: after their last word, before they were late."""
    instants, ends = np.sort(heard), np.sort(due)
    open_then = np.arange(1, len(instants) + 1) - np.searchsorted(ends, instants, side="left")
    last_best = len(open_then) - 1 - int(np.argmax(open_then[::-1]))
    since = float(instants[last_best])
    return since, (heard <= since) & (due >= since)
