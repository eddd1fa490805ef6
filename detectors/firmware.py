"""Which firmware is too old, or known to be bad.

    critical, broken   its own release carries the mark: fails at once
    stale              a later release without a mark has been out for longer than the days of grace: fails
    grace              a later release is out, but not for that long: suspect
    current            nothing later without a mark: good
    unknown            model or version not told, or not in the catalogue

"Later" means a later day of release; grace runs from the later release's day (00:00 UTC).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import StrEnum

from detectors.verdicts import Explanation, Verdict

KIND = "firmware"
DAY = 86_400.0


class Mark(StrEnum):
    """What the catalogue warns of."""

    CRITICAL = "critical"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Release:
    """One release of a model's firmware."""

    version: str
    released: date
    mark: Mark | None = None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Releases by model. `grace_days` is how long an outdated version is tolerated."""

    grace_days: float
    models: Mapping[str, Sequence[Release]]


def judge_firmware(model: str | None, version: str | None, catalogue: Catalogue, now: float) -> Explanation:
    """Compare one version with the catalogue; `now` is Unix time in seconds.

    There are few different pairs of model and version in a fleet, however large: callers judge each pair once.
    """
    numbers: dict[str, float | int | str | None] = {
        "model": model,
        "version": version,
        "grace_days": catalogue.grace_days,
    }
    if version is None:
        return Explanation(Verdict.UNKNOWN, "version not told", numbers)
    releases = catalogue.models.get(model) if model is not None else None
    if releases is None:
        return Explanation(Verdict.UNKNOWN, f"model {model} is not in the catalogue", numbers)
    own = next((release for release in releases if release.version == version), None)
    if own is None:
        return Explanation(Verdict.UNKNOWN, f"version {version} of {model} is not in the catalogue", numbers)
    later = sorted(
        (r for r in releases if r.mark is None and own.released < r.released and _midnight(r.released) <= now),
        key=lambda release: release.released,
    )
    numbers |= {"released": own.released.isoformat(), "mark": own.mark, "later_releases": len(later)}
    if later:
        age = (now - _midnight(later[0].released)) / DAY
        numbers |= {
            "superseded": later[0].released.isoformat(),
            "superseded_days": round(age, 3),
            "recommended": later[-1].version,
        }
    advice = f"; update to {later[-1].version}" if later else ""
    if own.mark is not None:
        return Explanation(Verdict.FAIL, f"firmware {version} is marked {own.mark}{advice}", numbers)
    if not later:
        return Explanation(Verdict.GOOD, f"firmware {version} is current", numbers)
    if age > catalogue.grace_days:
        reason = f"firmware {version} is stale: {later[0].version} has been out for {int(age)} days{advice}"
        return Explanation(Verdict.FAIL, reason, numbers)
    reason = f"firmware {version} is outdated since {later[0].released.isoformat()}, in grace{advice}"
    return Explanation(Verdict.SUSPECT, reason, numbers)


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()
