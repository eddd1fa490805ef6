"""Which firmware is too old, or known to be bad.

    critical, broken   its own release carries the mark: fails at once
    stale              a later release without a mark has been out for longer than the days of grace: fails
    grace              a later release is out, but not for that long: suspect
    current            nothing later without a mark: good
    unknown            model or version not told, or not in the catalogue

"Later" means a later day of release; grace runs from the later release's day (00:00 UTC).

Where a version is wanted, the terminal's own target, else its customer's, else its model's, that one is compared
instead of later releases: another one fails when the target has been wanted for longer than the grace, from its
`since`. The terminal's own has no such day; it is wanted since its release, or at once where the catalogue does not
list it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from detectors.detector import Column, Detector, Judged, Past, Registered, View, Zone
from detectors.gaps import Rows
from detectors.verdicts import Explanation, Verdict, Verdicts

DAY = 86_400.0
WANTED_MOST = 1000  # releases numbered for their targets: judged within some milliseconds
JUDGED_FOR = 60.0  # s: only the passing of days changes a release's verdict


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
class Target:
    """The version that terminals of a model are to carry; `customer` None: those of all customers without their own."""

    model: str
    version: str
    since: date
    customer: str | None = None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Releases by model, and what is wanted. `grace_days` is how long an outdated version is tolerated."""

    grace_days: float
    models: Mapping[str, Sequence[Release]]
    targets: Sequence[Target] = ()

    def wanted(self, model: str | None, customer: str | None, own: str | None) -> Wanted | None:
        """The target of such a terminal, `own` being what the registry has as its; None: there is none."""
        if own is not None:
            release = next((r for r in self.models.get(model or "", ()) if r.version == own), None)
            return Wanted(own, None if release is None else release.released, "this terminal")
        its = [target for target in self.targets if target.model == model]
        for whose in dict.fromkeys((customer, None)):
            found = next((target for target in its if target.customer == whose), None)
            if found is not None:
                return Wanted(
                    found.version, found.since, f"customer {whose}" if whose is not None else f"model {model}"
                )
        return None


class Wanted(NamedTuple):
    """A version, since which day, and for whom."""

    version: str
    since: date | None
    whom: str


_Kind: TypeAlias = tuple[str | None, str | None, Wanted | None]


def judge_firmware(
    model: str | None, version: str | None, catalogue: Catalogue, now: float, wanted: Wanted | None = None
) -> Explanation:
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
    if wanted is not None:
        return _compared(model, version, wanted, catalogue, now, numbers)
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


def _compared(
    model: str | None,
    version: str,
    wanted: Wanted,
    catalogue: Catalogue,
    now: float,
    numbers: dict[str, float | int | str | None],
) -> Explanation:
    """With what is wanted; a marked version fails whatever is."""
    own = next((r for r in catalogue.models.get(model or "", ()) if r.version == version), None)
    since = None if wanted.since is None else wanted.since.isoformat()
    numbers |= {"target": wanted.version, "target_of": wanted.whom, "target_since": since}
    numbers["mark"] = None if own is None else own.mark
    advice = f"update to {wanted.version}, the target of {wanted.whom}"
    if own is not None and own.mark is not None:
        return Explanation(Verdict.FAIL, f"firmware {version} is marked {own.mark}; {advice}", numbers)
    if version == wanted.version:
        return Explanation(Verdict.GOOD, f"firmware {version} is the target of {wanted.whom}", numbers)
    age = np.inf if wanted.since is None else (now - _midnight(wanted.since)) / DAY
    if age < 0:
        return Explanation(Verdict.GOOD, f"firmware {version} may stay until {since}; then {advice}", numbers)
    if age <= catalogue.grace_days:
        return Explanation(
            Verdict.SUSPECT, f"firmware {version} is not wanted since {since}, in grace; {advice}", numbers
        )
    lasts = "" if since is None else f" since {since}"
    return Explanation(Verdict.FAIL, f"firmware {version} is not what is wanted{lasts}; {advice}", numbers)


class Firmware(Detector):
    """The detector: a catalogue, and the numbers its releases have. Without a catalogue every verdict is unknown.

    A terminal keeps the number of its release; what is not listed has none (0), so invented versions cost nothing.
    Where a version is wanted, releases of that model are numbered once for each target, and so are versions that no
    catalogue lists, up to `WANTED_MOST`. The catalogue of a detector never changes: another one is another detector,
    for which numbers are told anew.
    """

    kind = "firmware"
    words = "Firmware"
    columns = (Column("release", np.int32, kept=False),)
    proof = frozenset({Verdict.GOOD, Verdict.SUSPECT})  # in grace is no failure: the update asked for has been made
    heeds_contacts = False

    def __init__(self, catalogue: Catalogue | None) -> None:
        models = {} if catalogue is None else catalogue.models
        self._catalogue = catalogue
        self._kinds: list[_Kind] = [
            (model, release.version, None) for model, releases in models.items() for release in releases
        ]
        self._numbers: dict[_Kind, int] = {kind: number for number, kind in enumerate(self._kinds, 1)}
        self._most = len(self._kinds) + WANTED_MOST
        self._verdicts: Verdicts = np.zeros(len(self._kinds) + 1, np.int8)
        self._judged_at = -np.inf

    def identify(self, view: View, rows: Rows, registered: Registered) -> None:
        """Number the releases, each with what is wanted of it."""
        untold = [None] * len(rows)
        columns = [registered.get(name, untold) for name in ("model", "firmware", "customer", "firmware_target")]
        view["release"][rows] = [self._number(*told) for told in zip(*columns, strict=True)]

    def _number(self, model: str | None, version: str | None, customer: str | None, own: str | None) -> int:
        catalogue = self._catalogue
        wanted = None if catalogue is None or version is None else catalogue.wanted(model, customer, own)
        kind = (model, version, wanted)
        number = self._numbers.get(kind, 0)
        if number == 0 and wanted is not None and len(self._kinds) < self._most:
            self._kinds.append(kind)
            number = self._numbers[kind] = len(self._kinds)
            self._verdicts = np.append(self._verdicts, np.int8(Verdict.UNKNOWN))
            self._judged_at = -np.inf
        return number

    def judge(self, view: View, rows: Rows) -> Judged:
        """Each release once, however many terminals carry it."""
        if self._catalogue is None:
            return Judged(np.zeros(len(rows), np.int8), np.full(len(rows), np.inf))
        if not 0 <= view.now - self._judged_at < JUDGED_FOR:
            for number, (model, version, wanted) in enumerate(self._kinds, 1):
                self._verdicts[number] = judge_firmware(model, version, self._catalogue, view.now, wanted).verdict
            self._judged_at = view.now
        release = view["release"][rows]
        return Judged(self._verdicts[release], np.where(release > 0, view.clock + JUDGED_FOR, np.inf))

    def explain(self, view: View, row: int) -> Explanation:
        """A release's verdict, with its reason."""
        release = int(view["release"][row])
        if release:
            model, version, wanted = self._kinds[release - 1]
            return self.compare(model, version, view.now, wanted)
        if self._catalogue is None:
            return self.compare(None, None, view.now)
        return Explanation(Verdict.UNKNOWN, "version not told, or it or its model is not in the catalogue")

    def compare(self, model: str | None, version: str | None, now: float, wanted: Wanted | None = None) -> Explanation:
        """A version compared with the catalogue."""
        if self._catalogue is None:
            return Explanation(Verdict.UNKNOWN, "there is no catalogue", {"model": model, "version": version})
        return judge_firmware(model, version, self._catalogue, now, wanted)

    def evidence(self, view: View, row: int, terminal: Mapping[str, Any]) -> Mapping[str, Any]:
        """The version beside the catalogue, whatever the ticket is about."""
        release = int(view["release"][row])
        wanted = self._kinds[release - 1][2] if release else None
        return {"firmware": self.compare(terminal["model"], terminal["firmware"], view.now, wanted).told()}

    def priority(self, explanation: Explanation) -> int:
        """Known to be bad before merely old."""
        return 2 if explanation.numbers.get("mark") is not None else 3

    def zone(self, explanation: Explanation, past: Past) -> Zone:
        """The terminal's own program."""
        return Zone("terminal", 1.0, explanation.reason)


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()
