"""Small traces made by hand: who reports when, in seconds after the start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gateway.backtest.events import Event
from gateway.backtest.run import Backtest
from gateway.backtest.trace import Kind
from gateway.configuration.reading import load
from gateway.watch.detecting import detectors_of, mass_rule

START = 1_795_003_200.0  # Wednesday, 18 November 2026, 12:00 UTC
SETTINGS = {"watch.silence.floor": "60", "watch.silence.ceiling": "3600"}


def every(period: float, begin: float, end: float) -> list[float]:
    return np.arange(begin, end, period).tolist()


def trace(
    heard: Mapping[int, Sequence[float]],
    deaf: Iterable[tuple[float, float]] = (),
    own: Mapping[int, Sequence[float]] | None = None,
    ignition: int = 1,
) -> dict[str, Any]:
    """Rows of records: arrivals by terminal; `own` their own times, where they differ."""
    rows = [
        (at, terminal, Kind.RECORD, (own or {}).get(terminal, times)[n])
        for terminal, times in heard.items()
        for n, at in enumerate(times)
    ]
    for begin, end in deaf:
        rows += [(begin, -1, Kind.DEAF, begin), (end, -1, Kind.LISTENING, end)]
    rows.sort(key=lambda row: row[0])
    at, terminal, kind, told = (np.array(column) for column in zip(*rows, strict=True))
    return {
        "terminal": terminal.astype(np.int32),
        "received": np.rint((at + START) * 1e6).astype(np.int64),
        "time": np.rint((told + START) * 1e6).astype(np.int64),
        "kind": kind.astype(np.int8),
        "ignition": np.where(terminal < 0, -1, ignition).astype(np.int8),
    }


def names(count: int) -> list[str]:
    return [f"t{number}" for number in range(count)]


def saved(file: Path, rows: Mapping[str, Any], count: int) -> Path:
    np.savez(file, names=np.array(names(count)), **rows)
    return file


def run(
    rows: Mapping[str, Any], count: int, *, until: float, pieces: int = 1, **changes: str
) -> list[tuple[float, str, Any]]:
    """(seconds after the start, event, terminal) of each event."""
    told = run_whole(rows, count, {}, until=until, pieces=pieces, **changes)
    return [(event.at - START, event.event, event.terminal) for event in told]


def run_whole(
    rows: Mapping[str, Any],
    count: int,
    attributes: Mapping[str, Mapping[str, str]],
    *,
    until: float,
    pieces: int = 1,
    **changes: str,
) -> list[Event]:
    """The events."""
    settings = load(
        None, {}, implicit=False, changes={**SETTINGS, **{k.replace("__", "."): v for k, v in changes.items()}}
    )
    told: list[Event] = []
    backtest = Backtest(
        names(count), attributes, list(rows), detectors_of(settings), settings.watch.incidents, mass_rule(settings),
        told.append,
    )  # fmt: skip
    for part in np.array_split(np.arange(len(rows["terminal"])), pieces):
        backtest.feed({name: column[part] for name, column in rows.items()})
    backtest.finish(START + until)
    return told
