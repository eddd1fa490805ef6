"""How good a run was: its events beside the truth.

    false    a ticket of silence that opens or relapses outside any truth of its terminal or of its group, and not
             within `AFTERMATH` of the end of a group's
    found    a ticket of the fault's kind that opens or relapses within its interval, or `changed`: what an open one
             means; delay counts from the fault's beginning
    counts   a fault that begins within the period and of which at least two reports were lost
    mass     a group's fault that got exactly one ticket about many and at most `BESIDE` of single members
    purity   of the members attached to such tickets, the share that the group's fault hit

Rates are per 1 000 terminal-days, from a terminal's first contact on; false ones per days without a fault of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from gateway.backtest.events import Event
from gateway.backtest.tables import GATEWAY, Fault

AFTERMATH = 15 * 60.0  # s: a fleet needs minutes to come back after an outage
BESIDE = 2
LOST = 2  # reports
DAY = 86_400.0
SILENCE = "silence"
_MANY = ("mass-silence", "platform")
_TICKET = ("opened", "relapsed")


@dataclass(frozen=True, slots=True)
class Found:
    """One fault that counts: `at` is when it was ticketed, None if never; `interval` its terminal's own, s or NaN.

    `zone` and `confidence` are as the ticket named them.
    """

    fault: Fault
    at: float | None
    zone: str | None
    interval: float
    confidence: float = 0.0

    @property
    def delay(self) -> float:
        """Seconds; NaN if it was missed."""
        return np.nan if self.at is None else self.at - self.fault.begins


@dataclass(slots=True)
class Truth:
    """The truth about a fleet over a period of Unix seconds.

    Attributes
    ----------
    attributes : of each terminal by identity, so that a group's members are known.
    intervals : own interval of a fault's terminal, s.
    """

    faults: Sequence[Fault]
    attributes: Mapping[str, Mapping[str, str]]
    intervals: Mapping[Fault, float]
    begins: float
    ends: float
    _own: dict[str, list[Fault]] = field(init=False)
    _groups: list[Fault] = field(init=False)

    def __post_init__(self) -> None:
        self._own = {}
        for fault in self.faults:
            if fault.terminal is not None:
                self._own.setdefault(fault.terminal, []).append(fault)
        self._groups = [fault for fault in self.faults if fault.terminal is None and fault.group_by != GATEWAY]

    def of_group(self, fault: Fault, terminal: str) -> bool:
        """Whether a group's fault hit this terminal."""
        return self.attributes.get(terminal, {}).get(str(fault.group_by)) == fault.group_value

    def is_false(self, event: Event) -> bool:
        """Whether an event is a false ticket."""
        if event.event not in _TICKET or event.kind != SILENCE or event.terminal is None:
            return False
        own = self._own.get(event.terminal, ())
        if any(fault.begins <= event.at <= fault.ends for fault in own):
            return False
        return not any(
            fault.begins <= event.at <= fault.ends + AFTERMATH and self.of_group(fault, event.terminal)
            for fault in self._groups
        )

    def found(self, events: Iterable[Event]) -> list[Found]:
        """Each fault of a terminal that counts, and what became of it."""
        told: dict[tuple[str, str], list[Event]] = {}
        for event in events:
            if event.terminal is not None and event.event in (*_TICKET, "changed"):
                told.setdefault((event.terminal, event.kind), []).append(event)
        results = []
        for fault in (fault for its in self._own.values() for fault in its):
            interval = self.intervals.get(fault, np.nan)
            ends = min(fault.ends, self.ends)
            if not self.begins <= fault.begins < self.ends or ends - fault.begins < LOST * interval:
                continue
            its = told.get((str(fault.terminal), fault.kind), ())
            first = next((event for event in its if fault.begins <= event.at <= ends), None)
            if first is None:
                results.append(Found(fault, None, None, interval))
            else:
                results.append(Found(fault, first.at, first.zone, interval, first.zone_confidence))
        return results

    def faulty_days(self, first_heard: Mapping[str, float]) -> float:
        """Terminal-days of the period in which a terminal had a fault of its own."""
        seconds = 0.0
        for terminal, faults in self._own.items():
            since = max(self.begins, first_heard.get(terminal, np.inf))
            reach = since
            for fault in sorted(faults, key=lambda fault: fault.begins):
                begin, end = max(fault.begins, reach), min(fault.ends, self.ends)
                seconds += max(0.0, end - begin)
                reach = max(reach, end)
        return seconds / DAY

    def mass(self, events: Sequence[Event]) -> dict[str, Any]:
        """How groups' faults were told."""
        groups = [fault for fault in self._groups if self.begins <= fault.begins < self.ends]
        parents = [e for e in events if e.kind in _MANY and e.event in (*_TICKET, "platform")]
        one, right, attached = 0, 0, 0
        for fault in groups:

            def during(event: Event, fault: Fault = fault) -> bool:
                return fault.begins <= event.at <= fault.ends + AFTERMATH

            many = {event.incident for event in parents if during(event) and _about(event, fault)}
            single = {
                event.terminal
                for event in events
                if event.event in _TICKET and event.kind == SILENCE and event.terminal is not None and during(event)
                and self.of_group(fault, event.terminal) and not self._has_own(event)
            }  # fmt: skip
            one += len(many) == 1 and len(single) <= BESIDE
            members = [
                e.terminal
                for e in events
                if e.event == "attached" and e.parent in many and e.terminal is not None and during(e)
            ]
            attached += len(members)
            right += sum(self.of_group(fault, terminal) for terminal in members)
        return {
            "injected": len(groups),
            "one_ticket": one,
            "members_purity": round(right / attached, 4) if attached else None,
        }

    def _has_own(self, event: Event) -> bool:
        return any(f.begins <= event.at <= f.ends for f in self._own.get(str(event.terminal), ()))


def _about(event: Event, fault: Fault) -> bool:
    """Whether a ticket about many may be about this group; one that names no group may be about any."""
    return event.group is None or (event.group.get("by"), event.group.get("value")) == (
        fault.group_by,
        fault.group_value,
    )


def summary(
    events: Sequence[Event], first_heard: Mapping[str, float], begins: float, ends: float, truth: Truth | None
) -> dict[str, Any]:
    """The figures of a run over a period of Unix seconds; `first_heard` by terminal, inf for never."""
    days = sum(max(0.0, ends - max(begins, first)) for first in first_heard.values()) / DAY
    tickets = Counter(event.kind for event in events if event.event in ("opened", "platform"))
    told: dict[str, Any] = {
        "terminal_days": round(days, 3),
        "tickets": dict(sorted(tickets.items())),
        "tickets_per_1000_terminal_days": _rate(tickets.total(), days),
    }
    if truth is None:
        return told
    found = truth.found(events)
    delays = np.array([each.delay for each in found if each.at is not None])
    own = np.array([each.delay / each.interval for each in found if each.at is not None and each.interval > 0])
    right = [each.zone == each.fault.zone for each in found if each.at is not None]
    false = sum(truth.is_false(event) for event in events)
    return told | {
        "false_per_1000_terminal_days": _rate(false, days - truth.faulty_days(first_heard)),
        "missed": sum(each.at is None for each in found),
        "detect_s": _quantiles(delays),
        "detect_intervals": _quantiles(own),
        "mass": truth.mass(events),
        "zones_right": round(sum(right) / len(right), 4) if right else None,
    }


BANDS = (0.0, 0.4, 0.6, 0.8, 1.0)  # of confidence
NO_FAULT = ("unknown", "expected")  # zones that name none


def zones_named(found: Iterable[Found]) -> dict[str, dict[str, int]]:
    """Of the faults ticketed, by their zone, how often each zone was named; the most frequent first."""
    told: dict[str, Counter[str]] = {}
    for each in found:
        if each.at is not None:
            told.setdefault(each.fault.zone, Counter())[str(each.zone)] += 1
    return {zone: dict(counts.most_common()) for zone, counts in sorted(told.items())}


def zones_right_by_confidence(found: Iterable[Found]) -> dict[tuple[float, float], tuple[int, int]]:
    """Of the zones named with a confidence in each of `BANDS`: how many were right, of how many.

    A confidence is that of the place, given that it is a fault: what names none (`NO_FAULT`) is left out.
    """
    named = [each for each in found if each.at is not None and each.zone not in NO_FAULT]
    told = {}
    for low, high in pairwise(BANDS):
        its = [each for each in named if low <= each.confidence and (each.confidence < high or high == BANDS[-1])]
        told[low, high] = (sum(each.zone == each.fault.zone for each in its), len(its))
    return told


def _rate(count: int, days: float) -> float | None:
    return round(1000 * count / days, 3) if days > 0 else None


def _quantiles(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float | None]:
    if not len(values):
        return {"p50": None, "p95": None}
    return {"p50": round(float(np.quantile(values, 0.5)), 3), "p95": round(float(np.quantile(values, 0.95)), 3)}
