"""A batch as plain rows in the wire's order, so that tests compare values and not columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from protocols.records import Batch


def rows_of(batch: Batch) -> list[dict[str, Any]]:
    """One dict per record; NaN becomes None; numbers, texts and long integers share `measures`."""
    measures: list[dict[str, Any]] = [{} for _ in range(len(batch))]
    for group in batch.groups:
        for row, values in zip(group.rows.tolist(), group.values.tolist(), strict=True):
            measures[row] |= {n: v for n, v in zip(group.names, values, strict=True) if v == v}
    for row, extra in batch.extra.items():
        measures[row] |= extra
    digits = np.broadcast_to(batch.time_digits, len(batch)).tolist()
    rows = []
    for row in np.lexsort((batch.position, batch.frame)).tolist():
        told = {
            name: None if np.isnan(getattr(batch, name)[row]) else float(getattr(batch, name)[row])
            for name in ("lat", "lon", "altitude", "speed", "course")
        }
        whole = {
            name: int(getattr(batch, name)[row])
            for name in ("frame", "position", "time", "satellites", "flags", "fingerprint")
        }
        rows.append({**told, **whole, "digits": digits[row], "measures": measures[row]})
    return rows
