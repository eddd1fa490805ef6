"""Which clocks a ticket has, and from when to when: its policy's, by plan, priority and warranty.

A clock that no plan and no priority names belongs to every ticket; the others to those of their level.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from ticketing.clocks.steps import Step
from ticketing.policies import Policy, warranty

ETA = "eta"
ORDINARY = 3  # the priority of a ticket that says none


class Change(NamedTuple):
    """From `at` on the ticket has these clocks."""

    at: datetime
    clocks: tuple[str, ...]


class Segment(NamedTuple):
    """From `at` on the clock has this name; `silent`: it counts, but no promise is in force."""

    at: datetime
    name: str
    silent: bool = False


@dataclass
class Track:
    """One clock through all changes. `ends`: the change, or the merge, that took it away."""

    segments: list[Segment]
    ends: datetime | None = None

    @property
    def name(self) -> str:
        return self.segments[-1].name

    @property
    def names(self) -> frozenset[str]:
        return frozenset(segment.name for segment in self.segments)

    def in_force(self, at: datetime) -> tuple[str, bool]:
        """Its name at an instant, and whether it is silent."""
        _, name, silent = next((found for found in reversed(self.segments) if found.at <= at), self.segments[0])
        return name, silent


def clocks_of(policy: Policy, plan: str | None, priority: int, *, in_warranty: bool = True) -> tuple[str, ...]:
    """The clocks of a ticket, in the policy's order.

    A plan is told by its name or its level; one that the policy does not have is its lowest, a priority the nearest.
    """
    file = policy.file
    if file.before:
        return () if file.ticket_clock is None else (file.ticket_clock,)
    levelled = {
        name for names in (*(p.clocks for p in file.plan), *(p.clocks for p in file.priority)) for name in names
    }
    chosen = {clock.name for clock in file.clock if clock.name not in levelled}
    if file.plan:
        named = next((table for table in file.plan if plan in (table.name, str(table.level))), None)
        chosen.update((named or max(file.plan, key=lambda table: table.level)).clocks)
    if file.priority:
        nearest = min(file.priority, key=lambda table: (abs(table.level - priority), table.level))
        chosen.update(nearest.clocks)
    for clock in file.clock:
        if clock.replaces is not None:
            chosen.discard(clock.name)
            if not in_warranty and clock.replaces in chosen:
                chosen.discard(clock.replaces)
                chosen.add(clock.name)
    return tuple(clock.name for clock in file.clock if clock.name in chosen)


def changes_of(
    policy: Policy, plan: str | None, steps: Sequence[Step], priorities: Sequence[tuple[datetime, int]]
) -> list[Change]:
    """The ticket's clocks from its opening on, and each time when they are others."""
    opening = steps[0]
    levels = list(priorities) or [
        (step.at, level) for step in steps if isinstance(level := step.data.get("priority"), int)
    ]
    plans = [(step.at, name) for step in steps if (name := step.data.get("plan")) and step is not opening]
    told = opening.data.get("plan")
    warranted = _warranted(policy, opening)
    found: list[Change] = []
    for at in sorted({opening.at, *(at for at, _ in levels), *(at for at, _ in plans)}):
        if at < opening.at:
            continue
        # Of several at one instant the most urgent holds, in whatever order they come.
        level = _latest(levels, at)
        named = _latest(plans, at)
        clocks = clocks_of(
            policy,
            plan or told if named is None else str(named),
            ORDINARY if level is None else level,
            in_warranty=warranted,
        )
        if not found or found[-1].clocks != clocks:
            found.append(Change(at, clocks))
    return found


def _latest(values: Iterable[tuple[datetime, Any]], at: datetime) -> Any:
    known = [(moment, value) for moment, value in values if moment <= at]
    if not known:
        return None
    last = max(moment for moment, _ in known)
    return min(value for moment, value in known if moment == last)


def _warranted(policy: Policy, opening: Step) -> bool:
    """Whether the warranty lasted when the ticket was opened; where nobody knows when it began it does."""
    begun = opening.data.get("accepted_at")
    if not begun:
        return True
    day = begun if isinstance(begun, date) else date.fromisoformat(str(begun))
    return warranty.in_warranty(policy, day, opening.at)


def tracks_of(policy: Policy, changes: Sequence[Change], merged: datetime | None) -> list[Track]:
    """The clocks that there ever were, those of now in the policy's order."""
    tables = {clock.name: clock for clock in policy.file.clock}

    def family(name: str) -> tuple[str, frozenset[str], bool]:
        table = tables[name]
        return table.starts, frozenset(table.stops), table.kind == "working-days"

    opening = changes[0]
    tracks = [Track([Segment(opening.at, name)]) for name in opening.clocks]
    for change in changes[1:]:
        entering = [name for name in change.clocks if all(track.ends or track.name != name for track in tracks)]
        leaving = [track for track in tracks if track.ends is None and track.name not in change.clocks]
        for track in leaving:
            other = next((name for name in entering if family(name) == family(track.name)), None)
            if other is None:
                track.ends = change.at
            else:
                entering.remove(other)
                track.segments.append(Segment(change.at, other))
        for name in entering:
            gone = [track for track in tracks if track.ends is not None and family(track.name) == family(name)]
            back = next((track for track in gone if track.name == name), gone[0] if gone else None)
            if back is None:
                tracks.append(Track([Segment(opening.at, name, silent=True), Segment(change.at, name)]))
            else:
                back.segments += [
                    Segment(back.ends or change.at, back.name, silent=True),
                    Segment(change.at, name),
                ]
                back.ends = None
    for track in tracks:
        if merged is not None and (track.ends is None or track.ends > merged):
            track.ends = merged
    order = {clock.name: place for place, clock in enumerate(policy.file.clock)}
    return sorted(tracks, key=lambda track: order[track.name])
