"""The contract's `record` object: what `dozor decode` prints and consumers are sent."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from protocols.records import ARCHIVE, EXACT_INTEGER, SATELLITES_UNKNOWN, TIME_UNKNOWN, VALID, Batch

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def record_objects(batch: Batch) -> list[tuple[int, int, dict[str, Any]]]:
    """(frame, position, the contract's `record` object) of every row, in wire order."""
    measures: list[dict[str, Any]] = [{} for _ in range(len(batch))]
    for group in batch.groups:
        for row, values in zip(group.rows.tolist(), group.values.tolist(), strict=True):
            measures[row].update(
                {name: plain(value) for name, value in zip(group.names, values, strict=True) if not math.isnan(value)}
            )
    for row, extra in batch.extra.items():
        measures[row].update({name: plain(value) for name, value in extra.items()})
    digits = np.broadcast_to(batch.time_digits, len(batch)).tolist()
    return [
        (
            int(batch.frame[row]),
            int(batch.position[row]),
            {
                "event": "record",
                "time": iso(int(batch.time[row]), digits[row]),
                "lat": plain(float(batch.lat[row])),
                "lon": plain(float(batch.lon[row])),
                "altitude": plain(float(str(batch.altitude[row]))),  # str: the shortest digits of a float4
                "speed": plain(float(str(batch.speed[row]))),
                "course": plain(float(str(batch.course[row]))),
                "satellites": None if batch.satellites[row] == SATELLITES_UNKNOWN else int(batch.satellites[row]),
                "valid": bool(batch.flags[row] & VALID),
                "archive": bool(batch.flags[row] & ARCHIVE),
                "measures": measures[row],
            },
        )
        for row in np.lexsort((batch.position, batch.frame)).tolist()
    ]


def plain(value: Any) -> Any:
    """A value as JSON has it: no number is null, whole numbers are integers, others have their shortest digits."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        if value.is_integer() and abs(value) <= EXACT_INTEGER:
            return int(value)
    return value


def iso(microseconds: int, digits: int) -> str | None:
    """UTC with as many fractional digits as the wire has; None for a time that was not told."""
    if microseconds == TIME_UNKNOWN:
        return None
    seconds, rest = divmod(microseconds, 1_000_000)
    whole = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    whole = whole.rjust(19, "0")  # strftime does not pad years before 1000
    return f"{whole}.{f'{rest:06d}'[:digits]}Z" if digits else f"{whole}Z"
