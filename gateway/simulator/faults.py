"""Which terminal gets which fault, and when; and what firmware each one runs. A pure function of the seed."""

from __future__ import annotations

import datetime
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gateway.simulator.scenario import FaultPlan, Scenario
from protocols.registry import PROTOCOLS, terminals
from protocols.terminals import TerminalSpec


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """`at`, `until`: seconds after the start (`until` 0 = for good; firmware is there from the first connection)."""

    kind: str
    terminal: int
    at: float
    until: float
    mode: str


@dataclass(frozen=True, slots=True)
class Release:
    """A line of the catalogue; `age` in days before today."""

    model: str
    version: str
    age: int
    mark: str = ""


# Of each model: one superseded long ago, one critical, one broken, the present one, and one too new for its
# predecessor to be stale yet (younger than the grace of 30 days).
GRACE_DAYS = 30
RELEASES = tuple(
    Release(model, version, age, mark)
    for name in PROTOCOLS
    for model, versions in terminals(name)["tcp"].models.items()
    for version, age, mark in zip(versions, (700, 400, 370, 150, 9), ("", "critical", "broken", "", ""), strict=True)
)
_BY_MARK = {"outdated": 0, "critical": 1, "broken": 2}


def _versions(model: str) -> list[str]:
    return [release.version for release in RELEASES if release.model == model]


def catalogue(today: datetime.date) -> str:
    """The catalogue file (TOML) that goes with the fleets made here."""
    lines = [f"grace_days = {GRACE_DAYS}"]
    for release in RELEASES:
        day = today - datetime.timedelta(days=release.age)
        lines += [
            "",
            "[[release]]",
            f'model = "{release.model}"',
            f'version = "{release.version}"',
            f"released = {day}",
        ]
        if release.mark:
            lines.append(f'mark = "{release.mark}"')
    return "\n".join(lines) + "\n"


def _victims(plan: FaultPlan, fleet: Sequence[TerminalSpec], taken: set[int], rng: random.Random) -> list[int]:
    if plan.terminals:
        return [index for index in plan.terminals if index < len(fleet)]
    able = [
        i
        for i, spec in enumerate(fleet)
        if i not in taken and (plan.kind == "firmware" or spec.profile in plan.profiles)
    ]
    # By turns from each protocol, so that a small number of faults still touches all of them.
    rng.shuffle(able)
    by_protocol: dict[str, list[int]] = {}
    for index in able:
        by_protocol.setdefault(fleet[index].protocol, []).append(index)
    turns: list[int] = []
    while any(by_protocol.values()):
        turns += [queue.pop() for queue in by_protocol.values() if queue]
    return turns[: plan.count]


def plan_faults(
    scenario: Scenario, fleet: Sequence[TerminalSpec], exclude: Collection[str] = ()
) -> tuple[list[PlannedFault], list[str]]:
    """The faults of a scenario and the firmware of each terminal.

    By drawing no terminal gets two faults, and none of `exclude` (identities) gets any.
    """
    rng = random.Random(f"{scenario.seed}/faults")  # noqa: S311 - seeded on purpose
    faults: list[PlannedFault] = []
    taken = {index for index, spec in enumerate(fleet) if spec.identity in exclude}
    firmware = []
    for spec in fleet:
        versions = _versions(spec.model)
        firmware.append(versions[4] if rng.random() < 0.2 else versions[3])
    for plan in scenario.fault:
        victims = _victims(plan, fleet, taken, rng)
        taken.update(victims)
        for place, index in enumerate(victims):
            if plan.kind == "firmware":
                mark = ("outdated", "critical", "broken", "outdated")[place % 4] if plan.mark == "mixed" else plan.mark
                firmware[index] = _versions(fleet[index].model)[_BY_MARK[mark]]
                faults.append(PlannedFault("firmware", index, 0.0, 0.0, mark))
            else:
                mode = ("power", "hang", "power", "modem")[place % 4] if plan.mode == "mixed" else plan.mode
                at = plan.at + (plan.spread * place / max(1, len(victims) - 1))
                faults.append(PlannedFault("silence", index, at, plan.until, mode))
    return faults, firmware
