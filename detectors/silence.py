"""Which terminals have been silent for longer than their own rhythm explains.

A terminal's interval is the median of its last gaps between accepted frames, learned apart for ignition off and
for ignition on or unknown: a parked vehicle reports by the hour, a moving one by the second.

    limit = clamp(after × interval, floor, ceiling)      ceiling until enough gaps are learned
    fail when age > limit, suspect when age > 2/3 limit, unknown when never heard

Age is time in which the gateway listened: its own outage silences nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.verdicts import Explanation, Verdict, Verdicts

Floats: TypeAlias = NDArray[np.float64]

KIND = "silence"
SUSPECT_SHARE = 2 / 3  # of the limit


@dataclass(frozen=True, slots=True)
class SilenceRule:
    """How much silence is too much.

    Attributes
    ----------
    after : learned intervals that may pass.
    floor, ceiling : seconds; the limit lies between them.
    learn : gaps before a learned interval counts.
    """

    after: float = 3.0
    floor: float = 300.0
    ceiling: float = 86_400.0
    learn: int = 8

    def limits(self, interval: Floats, gaps: NDArray[np.integer]) -> Floats:
        """Seconds of silence each terminal may keep.

        Parameters
        ----------
        interval : float64 array, shape (n,)
            Learned interval in seconds; NaN where there is none.
        gaps : integer array, shape (n,)
            How many gaps it was learned from, ever.

        Returns
        -------
        float64 array, shape (n,)
        """
        known = (gaps >= self.learn) & ~np.isnan(interval)
        with np.errstate(invalid="ignore"):
            limit = np.minimum(np.maximum(self.after * interval, self.floor), self.ceiling)
        return np.where(known, limit, self.ceiling)


def judge_silence(age: Floats, limit: Floats) -> Verdicts:
    """Judge each terminal's silence.

    Parameters
    ----------
    age : float64 array, shape (n,)
        Seconds since the last accepted frame in which the gateway listened; NaN = never heard.
    limit : float64 array, shape (n,)
        Seconds, from `SilenceRule.limits`.

    Returns
    -------
    int8 array of `Verdict`, shape (n,)

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if age.shape != limit.shape:
        raise ValueError(f"shapes differ: {age.shape} and {limit.shape}")
    # Verdicts are consecutive numbers and a comparison with NaN is false: their sum is the verdict, with no
    # masked assignment (which costs ten times as much over a million rows).
    verdict = (age >= -np.inf).view(np.int8) * np.int8(Verdict.GOOD)
    verdict += age > SUSPECT_SHARE * limit
    verdict += age > limit
    return verdict


def explain_silence(
    age: float, limit: float, interval: float, gaps: int, *, ignition_off: bool, rule: SilenceRule
) -> Explanation:
    """Put one terminal's verdict into words and numbers; arguments as in `judge_silence` and `SilenceRule.limits`."""
    verdict = Verdict(int(judge_silence(np.array([age]), np.array([limit]))[0]))
    learned = gaps >= rule.learn and not np.isnan(interval)
    if verdict == Verdict.UNKNOWN:
        reason = "never heard"
    elif verdict == Verdict.GOOD:
        reason = f"heard {spell(age)} ago, may be silent for {spell(limit)}"
    else:
        reason = f"silent for {spell(age)}, limit {spell(limit)}"
        reason += f", usually heard every {spell(interval)}" if learned else f" ({gaps} of {rule.learn} gaps learned)"
    return Explanation(
        verdict,
        reason,
        {
            "age_s": None if np.isnan(age) else round(age, 3),
            "limit_s": round(limit, 3),
            "interval_s": round(interval, 3) if learned else None,
            "gaps": gaps,
            "ignition": "off" if ignition_off else "on or unknown",
            "after": rule.after,
            "floor_s": rule.floor,
            "ceiling_s": rule.ceiling,
        },
    )


def spell(seconds: float) -> str:
    """A duration as people say it: two units at most."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, below, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
