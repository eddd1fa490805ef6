"""What the tests of every protocol share: feeding a session in pieces, and reading a batch row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from protocols.records import Batch, Event, Login, Session

CUTS = (1, 3, 1 << 20)


def feed(session: Session, data: bytes, step: int = 1 << 20, *, now: float = 0.0, close: bool = True) -> list[Event]:
    """Every event of `data` given in pieces of `step` bytes; logins are accepted."""
    events: list[Event] = []
    for at in range(0, len(data), step):
        pending = list(session.receive_data(data[at : at + step], now))
        while pending:
            events += pending
            pending = list(session.accept(now)) if any(isinstance(e, Login) for e in pending) else []
    if close:
        events += session.end_of_stream()
    return events


def rows(batch: Batch) -> list[dict[str, Any]]:
    """The records in wire order, NaN as None, measures of groups and `extra` together."""
    measures: list[dict[str, Any]] = [{} for _ in range(len(batch))]
    for group in batch.groups:
        for row, values in zip(group.rows.tolist(), group.values.tolist(), strict=True):
            for name, value in zip(group.names, values, strict=True):
                if not math.isnan(value):
                    assert name not in measures[row], f"{name} twice"
                    measures[row][name] = value
    for row, extra in batch.extra.items():
        assert not measures[row].keys() & extra.keys()
        measures[row].update(extra)
    found = [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in (
                (name, getattr(batch, name)[row].item())
                for name in (
                    ["frame", "position", "time", "lat", "lon", "altitude", "speed", "course", "satellites", "flags"]
                )
            )
        }
        | {"measures": measures[row]}
        for row in range(len(batch))
    ]
    return sorted(found, key=lambda r: (r["frame"], r["position"]))


def of_kind(events: Sequence[Event], kind: type) -> list[Any]:
    """Only the events of one kind."""
    return [event for event in events if isinstance(event, kind)]
