"""Calibration tables of fuel-level sensors: from code to litres, in versions, each with the time from which it holds.

At an instant the version with the latest `since` up to it holds; of several with one `since` the highest, which
supersedes the others. None is ever changed or removed. The view `fuel` reads records through them, so a corrected table
corrects what was measured before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import isfinite
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import tuple_row

from gateway.errors import CalibrationError
from protocols.measures import FUEL_LEVELS

LEAST, MOST = 2, 200  # points of a table
FEW = 20  # as makers of sensors advise at least
SENSORS = 9999  # the highest number of a sensor
BOUND = 1e9  # of codes and litres; the view leaves out what is beyond

_TERMINAL = "SELECT id FROM terminal WHERE identity = %s FOR NO KEY UPDATE"  # one save at a time
_SAVE = (
    "INSERT INTO calibration (terminal, sensor, version, since, codes, litres)"
    " SELECT %(id)s, %(sensor)s, coalesce(max(version), 0) + 1, %(since)s, %(codes)s::float8[], %(litres)s::float8[]"
    " FROM calibration WHERE terminal = %(id)s AND sensor = %(sensor)s RETURNING version"
)
_TABLES = """
SELECT t.identity, c.sensor, c.version, c.since, c.codes, c.litres, c.superseded
FROM (SELECT *, version < max(version) OVER (PARTITION BY terminal, sensor, since) AS superseded FROM calibration) c
JOIN terminal t ON t.id = c.terminal
WHERE t.identity = %(terminal)s AND (%(sensor)s::int IS NULL OR c.sensor = %(sensor)s)
      AND (%(every)s OR NOT c.superseded)
ORDER BY c.sensor, c.since, c.version
"""


class Point(NamedTuple):
    """A sensor's code, dimensionless, and the litres that were in the tank at it."""

    code: float
    litres: float


@dataclass(frozen=True, slots=True)
class Table:
    """A version of a sensor's table; `points` rise in both columns. Superseded: another one has the same `since`."""

    terminal: str
    sensor: int
    version: int
    since: datetime
    points: tuple[Point, ...]
    superseded: bool = False

    def litres(self, code: float) -> float | None:
        """Linear between the points; None beyond them, as the view `fuel` has it."""
        after = bisect_right(self.points, code, key=lambda point: point.code)
        if not after:
            return None
        low = self.points[after - 1]
        if code == low.code:
            return low.litres
        if after == len(self.points):
            return None
        high = self.points[after]
        return low.litres + (code - low.code) * (high.litres - low.litres) / (high.code - low.code)


async def save(
    connection: AsyncConnection[Any], terminal: str, sensor: int, points: Sequence[Point], since: datetime
) -> int:
    """Keep a table as a new version, which supersedes one with the same `since`; returns its number.

    Raises
    ------
    CalibrationError
        If the points do not rise, are too few, too many or no numbers, or there is no such terminal; with all that is
        wrong. Nothing is kept then.
    """
    wrong = [what for _, what in problems(points)]
    if not 1 <= sensor <= SENSORS:
        wrong.append(f"sensor {sensor}: sensors are numbered from 1 to {SENSORS}")
    if since.tzinfo is None:
        wrong.append("the time from which it holds has no offset")
    if wrong:
        raise CalibrationError("; ".join(wrong))
    async with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        found = await (await cursor.execute(_TERMINAL, (terminal,))).fetchone()
        if found is None:
            raise CalibrationError(f"terminal {terminal!r} is not registered: dozor terminal add")
        values = {
            "id": found[0],
            "sensor": sensor,
            "since": since,
            "codes": [float(point.code) for point in points],
            "litres": [float(point.litres) for point in points],
        }
        row = await (await cursor.execute(_SAVE, values)).fetchone()
    assert row is not None  # noqa: S101  # an aggregate gives one row
    return int(row[0])


async def tables(
    connection: AsyncConnection[Any], terminal: str, sensor: int | None = None, *, every: bool = False
) -> list[Table]:
    """The tables of a terminal that hold, each from its `since` to the next one's, by sensor and time.

    `every` gives the superseded ones too, each before what superseded it.
    """
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_TABLES, {"terminal": terminal, "sensor": sensor, "every": every})
        return [
            Table(identity, number, version, since, tuple(map(Point, codes, litres)), superseded)
            for identity, number, version, since, codes, litres, superseded in await cursor.fetchall()
        ]


def holding(found: Sequence[Table], sensor: int, at: datetime) -> Table | None:
    """Which of them holds for a sensor at an instant."""
    its = [table for table in found if table.sensor == sensor and table.since <= at and not table.superseded]
    return max(its, key=lambda table: table.since, default=None)


def volumes(measures: Mapping[str, Any], found: Sequence[Table], at: datetime) -> dict[str, float]:
    """`fuel.volume.N` of a record of that time, in litres, for each sensor with a table that holds."""
    told = {}
    for sensor in sorted({table.sensor for table in found}):
        table = holding(found, sensor, at)
        values = (measures.get(name.replace("N", str(sensor))) for name in FUEL_LEVELS)
        code = next((value for value in values if type(value) in (int, float)), None)
        litres = table.litres(code) if table is not None and code is not None else None
        if litres is not None:
            told[f"fuel.volume.{sensor}"] = round(litres, 2)
    return told


def problems(points: Sequence[Point]) -> Iterator[tuple[int | None, str]]:
    """What is wrong with the points of a table: the index of the point, or None, and the problem."""
    for place, point in enumerate(points):
        for name, value in (("code", point.code), ("litres", point.litres)):
            if not (isfinite(value) and 0 <= value < BOUND):
                yield place, f"{name} {value:g} is no number from 0 to {BOUND:g}"
    for place, (before, point) in enumerate(pairwise(points), 1):
        for name, low, high in (("code", before.code, point.code), ("litres", before.litres, point.litres)):
            if high <= low:
                yield place, f"{name} {high:g} does not rise above {low:g}"
    if not LEAST <= len(points) <= MOST:
        yield None, f"{len(points)} points: a table has {LEAST} to {MOST}"


def hints(points: Sequence[Point], highest: float) -> Iterator[str]:
    """What is worth a look in a table that can be taken; `highest` is the range of sensors, raw."""
    if points[-1].code > highest:
        yield f"code {points[-1].code:g} is above {highest:g}, the highest of a sensor (watch.fuel.range)"
    if len(points) < FEW:
        yield f"{len(points)} points: with {FEW} and more the tank's shape is told well"
    if points[0].litres > 0:
        yield f"it begins at {points[0].litres:g} l: below code {points[0].code:g} nothing will be told"
