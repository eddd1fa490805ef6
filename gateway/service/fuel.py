"""Refuellings and drains out of stored readings: one terminal's fuel-level sensors over a span.

The store gives a bounded number of rows, some at a time, and what is made of them is computed beside the loop:
receiving comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Composed, Identifier, Literal

from detectors.fuel import CODES, NAMES, SENSORS
from detectors.fuel_events import FuelEvent as Step
from detectors.fuel_events import FuelSeries, fuel_events
from gateway.store.calibrations import Table, holding
from ticketing.kit.ports import FuelEvent

MOST = 50_000  # records, the newest: a month of one a minute
AT_ONCE = 500  # rows taken from the store before others have the loop: some milliseconds
_STATUS = "fuel.status.{}"


class Readings(NamedTuple):
    """`time` µs since the Unix epoch, sorted; `moving`; levels and statuses raw, shape (n, `SENSORS`)."""

    time: NDArray[np.int64]
    moving: NDArray[np.bool_]
    level: NDArray[np.float64]
    status: NDArray[np.float64]
    truncated: bool


async def read(
    connection: AsyncConnection[Any], terminal: int, records: Composed, since: datetime, until: datetime
) -> Readings:
    """The readings of a span, within a transaction; `records` selects it, as for all of one terminal's."""
    rows: list[tuple[Any, ...]] = []
    async with connection.cursor(name="fuel", row_factory=tuple_row) as cursor:
        await cursor.execute(_statement(records), {"terminal": terminal, "since": since, "until": until, "most": MOST})
        while found := await cursor.fetchmany(AT_ONCE):
            rows += found
    rows.reverse()
    columns = np.array(rows, np.float64).reshape(len(rows), 2 + 2 * SENSORS)
    return Readings(
        np.rint(columns[:, 0]).astype(np.int64),
        columns[:, 1] > 0,
        columns[:, 2 : 2 + SENSORS],
        columns[:, 2 + SENSORS :],
        len(rows) == MOST,
    )


async def events(readings: Readings, top: float, calibrated: Sequence[Table]) -> list[FuelEvent]:
    """Those of every sensor in order of time; `top` is the highest level that sensors tell, raw.

    Their levels are litres where a table holds and knows both, else shares of `top`.
    """
    return await asyncio.to_thread(_events, readings, top, calibrated)


def _events(readings: Readings, top: float, calibrated: Sequence[Table]) -> list[FuelEvent]:
    found: list[tuple[Step, int]] = []
    for sensor in range(SENSORS):
        level, status = readings.level[:, sensor], readings.status[:, sensor]
        told = ~(np.isnan(level) & np.isnan(status))
        with np.errstate(invalid="ignore"):
            error = (level < 0) | (level >= CODES) | (level > top) | (np.isnan(level) & ~np.isnan(status))
        series = FuelSeries(readings.time[told], level[told] / top, error[told], readings.moving[told])
        found += [(step, sensor + 1) for step in fuel_events(series)]
    found.sort(key=lambda each: (each[0].at, each[1]))
    return [_event(step, sensor, top, calibrated) for step, sensor in found]


def _event(step: Step, sensor: int, top: float, calibrated: Sequence[Table]) -> FuelEvent:
    at = datetime.fromtimestamp(step.at / 1e6, UTC)
    table = holding(calibrated, sensor, at)
    litres = [table.litres(level * top) if table is not None else None for level in (step.before, step.after)]
    known = [round(value, 2) for value in litres if value is not None]
    unit = "l" if len(known) == 2 else "share"
    before, after = known if unit == "l" else (round(step.before, 4), round(step.after, 4))
    return FuelEvent(
        at=at, sensor=sensor, kind=str(step.kind), before=before, after=after, unit=unit, reason=step.reason
    )


def _statement(records: Composed) -> Composed:
    """Where in a layout a sensor's measures lie is looked up once a layout, not once a record."""
    places, values, every = [], [], []
    for kind, names_of in (("level", NAMES), ("status", tuple((_STATUS.format(n + 1),) for n in range(SENSORS)))):
        for number, names in enumerate(names_of):
            its = []
            for choice, name in enumerate(names):
                column = Identifier(f"{kind}{number}_{choice}")
                places.append(SQL("array_position(names, {}) AS {}").format(Literal(name), column))
                its.append(SQL("nullif(r.measures[l.{}], 'NaN')").format(column))
                every.append(Literal(name))
            values.append(SQL("coalesce({})").format(SQL(", ").join(its)))
    return SQL(
        "WITH l AS MATERIALIZED (SELECT id, {places} FROM layout WHERE names && ARRAY[{every}]::text[])"
        " SELECT (extract(epoch FROM r.time) * 1000000)::float8, (r.flags & 8)::float8, {values}"
        " FROM {records} r JOIN l ON l.id = r.layout ORDER BY r.time DESC LIMIT %(most)s"
    ).format(places=SQL(", ").join(places), every=SQL(", ").join(every), values=SQL(", ").join(values), records=records)
