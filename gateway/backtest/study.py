"""One question: what would have been ticketed under these settings, over this source, in this period?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gateway.backtest.events import Event
from gateway.backtest.intervals import Intervals
from gateway.backtest.run import Backtest
from gateway.backtest.scores import DAY, Truth, summary
from gateway.backtest.tables import GATEWAY, Fault
from gateway.backtest.trace import Slice
from gateway.configuration.settings import Settings
from gateway.errors import BacktestError
from gateway.watch.detecting import detectors_of, mass_rule

LONGEST = 3 * 366 * DAY  # as long as records are kept by weeks; the clock passes all of it


class Source(Protocol):
    """A trace, or the store as one."""

    @property
    def names(self) -> Sequence[str]:
        """Identities of the terminals."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of the columns."""

    def slices(self) -> Iterator[Slice]:
        """Rows in the order of their arrival."""


@dataclass(frozen=True, slots=True)
class Period:
    """Unix seconds. What is before it is learned from; tickets count, and are told, from its beginning."""

    begins: float = float("-inf")
    ends: float = float("inf")


@dataclass(frozen=True, slots=True)
class Result:
    """Events of the period, its figures, and what they were held against.

    Attributes
    ----------
    heard : when each terminal was first heard, by identity; Unix seconds, inf for never.
    period : as it came out: no side of it is open.
    """

    events: list[Event]
    summary: dict[str, Any]
    truth: Truth | None
    heard: Mapping[str, float]
    period: Period


def doubts(
    names: Sequence[str], attributes: Mapping[str, Mapping[str, str]], faults: Sequence[Fault]
) -> tuple[list[Fault], list[str]]:
    """The faults of terminals that there are, and what is odd about the others and about groups, in words."""
    there = set(names)
    kept = [fault for fault in faults if fault.terminal is None or fault.terminal in there]
    told = []
    if len(kept) < len(faults):
        first = next(fault.terminal for fault in faults if fault not in kept)
        told.append(f"{len(faults) - len(kept)} faults are of terminals that are not there, such as {first}: left out")
    held = {(name, value) for its in attributes.values() for name, value in its.items()}
    for by, value in sorted({(str(f.group_by), str(f.group_value)) for f in kept if f.group_by not in (None, GATEWAY)}):
        if (by, value) not in held:
            told.append(f"no terminal has {by} {value}, which the truth has a fault of: give --terminals")
    return kept, told


def study(
    source: Source,
    settings: Settings,
    attributes: Mapping[str, Mapping[str, str]],
    faults: Sequence[Fault] | None,
    period: Period,
    tell: Callable[[Event], None] | None = None,
) -> Result:
    """Run it; `tell` is called with each event of the period as it happens.

    Raises
    ------
    BacktestError
        If the source holds nothing in the period.
    """
    events: list[Event] = []

    def take(event: Event) -> None:
        if event.at >= period.begins:
            events.append(event)
            if tell is not None:
                tell(event)

    run = Backtest(
        source.names,
        attributes,
        list(source.columns),
        detectors_of(settings),
        settings.watch.incidents,
        mass_rule(settings),
        take,
    )
    intervals = Intervals(faults or (), source.names)
    first = last = np.nan
    for rows in source.slices():
        until = int(np.sum(rows["received"] < period.ends * 1e6))
        kept = {name: column[:until] for name, column in rows.items()}
        if not len(kept["received"]):
            break
        first = float(kept["received"][0]) / 1e6 if np.isnan(first) else first
        last = float(kept["received"][-1]) / 1e6
        if last - first > LONGEST:
            raise BacktestError(
                f"it spans {(last - first) / DAY:.0f} days: at most {LONGEST / DAY:.0f}: set --from and --to"
            )
        intervals.note(kept)
        run.feed(kept)
    if np.isnan(last) or last < period.begins:
        raise BacktestError("nothing arrived in the period: see --from and --to, and what the trace or the store holds")
    begins, ends = max(first, period.begins), min(last, period.ends)  # of what is after the last row nothing is known
    run.finish(ends)
    heard = dict(zip(source.names, run.first_heard.tolist(), strict=True))
    truth = None if faults is None else Truth(faults, attributes, intervals.of_all(), begins, ends)
    return Result(events, summary(events, heard, begins, ends, truth), truth, heard, Period(begins, ends))
