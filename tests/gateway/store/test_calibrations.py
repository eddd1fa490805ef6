"""Calibration tables and the view `fuel`: the table that held at a record's time, corrected ones, odd records."""

from __future__ import annotations

import asyncio
import json
import math
import random
import uuid
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from detectors.fuel import NAMES
from gateway.errors import CalibrationError
from gateway.store.calibrations import Point, Table, hints, holding, save, tables

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
# A tank measured in eight steps, from a maker's own instructions.
TANK = [Point(n * 1.0, 40.0 * k) for k, n in enumerate((0, 263, 548, 836, 1121, 1404, 1688, 1969, 2251))]


class World:
    """A terminal of its own in a store that others use too, and records that are put in by name."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.link = psycopg.connect(dsn, autocommit=True)
        self.number = 0
        self.name = uuid.uuid4().hex
        self.terminal = self.one("INSERT INTO terminal (identity) VALUES (%s) RETURNING id", self.name)

    def one(self, sql: str, *values: object) -> Any:
        row = self.link.execute(sql.encode(), values).fetchone()
        assert row is not None
        return row[0]

    def rows(self, sql: str, *values: object) -> list[Any]:
        return self.link.execute(sql.encode(), values).fetchall()

    def record(self, at: datetime, measures: dict[str, float], extra: str | None = None) -> None:
        layout = self.one(
            "INSERT INTO layout (names, terminal) VALUES (%s, 0)"
            " ON CONFLICT (layout_digest(names)) DO UPDATE SET names = layout.names RETURNING id",
            list(measures),
        )
        self.number += 1
        self.link.execute(
            "INSERT INTO record_outside VALUES (%s, %s, %s, 0, 0, 0, 0, 0, 0, 0, %s, %s, %s, %s)",
            (self.terminal, at, at, layout, self.number, [float(v) for v in measures.values()], extra),
        )

    def fuel(self, columns: str = "sensor, code, litres, temperature, status") -> list[Any]:
        return self.rows(f"SELECT {columns} FROM fuel WHERE terminal = %s ORDER BY time, sensor", self.name)

    def run(self, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[Any]]) -> Any:
        async def inside() -> Any:
            async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as link:
                return await work(link)

        return asyncio.run(inside())

    def save(self, points: list[Point], since: datetime, sensor: int = 1, terminal: str = "") -> int:
        return int(self.run(lambda link: save(link, terminal or self.name, sensor, points, since)))

    def tables(self, sensor: int | None = None, **every: bool) -> list[Table]:
        found: list[Table] = self.run(lambda link: tables(link, self.name, sensor, **every))
        return found


@pytest.fixture
def world(shared_dsn: str) -> Iterator[World]:
    world = World(shared_dsn)
    yield world
    world.link.close()


def test_litres_are_linear_between_the_points_and_unknown_beyond_them(world: World) -> None:
    world.save(TANK, NOW - DAY)
    for minute, code in enumerate((1873, 0, 263, 2251, 2252, 65530, -1, 1404)):
        world.record(NOW + timedelta(minutes=minute), {"fuel.level.1": code})
    litres = [row[0] for row in world.fuel("litres")]
    assert [value if value is None else round(value, 2) for value in litres] == [
        266.33, 0, 40, 320, None, None, None, 200,
    ]  # fmt: skip


def test_each_record_is_read_by_the_table_that_held_at_its_time(world: World) -> None:
    days = [NOW + n * DAY for n in range(4)]
    for day in days:
        world.record(day, {"fuel.level.1": 100.0, "fuel.level.2": 100.0})
    first, second, other = ([Point(0, 0), Point(200, top)] for top in (200.0, 400.0, 20.0))
    assert world.save(first, days[1]) == 1
    assert world.save(second, days[3]) == 2
    assert world.save(other, days[2], sensor=2) == 1
    assert world.fuel("sensor, litres") == [
        (1, None), (2, None), (1, 100), (2, None), (1, 100), (2, 10), (1, 200), (2, 10),
    ]  # fmt: skip


def test_a_corrected_table_corrects_history_and_the_wrong_one_is_kept(world: World) -> None:
    world.record(NOW, {"fuel.level.1": 50.0})
    world.save([Point(0, 0), Point(100, 100)], NOW - DAY)
    assert world.fuel("litres") == [(50,)]
    assert world.save([Point(0, 0), Point(100, 300)], NOW - DAY) == 2
    assert world.fuel("litres") == [(150,)]
    assert [(t.version, t.superseded) for t in world.tables(1, every=True)] == [(1, True), (2, False)]
    (held,) = world.tables()
    assert (held.version, held.points[-1]) == (2, Point(100, 300))
    assert held.since == NOW - DAY


def test_the_view_and_the_table_compute_the_same(world: World) -> None:
    dice = random.Random(7)
    for sensor in range(1, 21):
        count = dice.randint(2, 200)
        codes = sorted(dice.sample(range(4096), count))
        litres = sorted(dice.sample(range(100_000), count))
        since = NOW - DAY * dice.randint(-1, 2)
        world.save([Point(c, v / 100) for c, v in zip(codes, litres, strict=True)], since, sensor)
    for minute in range(60):
        told = {f"fuel.level.{n}": dice.choice([dice.randint(0, 4095), dice.uniform(0, 4095)]) for n in range(1, 21)}
        world.record(NOW + timedelta(minutes=minute), told)
    found = world.tables()
    assert len(found) == 20
    known = 0
    for sensor, at, code, litres in world.fuel("sensor, time, code, litres"):
        table = holding(found, sensor, at)
        ours = None if table is None else table.litres(code)
        assert ours == litres if ours is None or litres is None else math.isclose(ours, litres, abs_tol=1e-9)
        known += litres is not None
    assert known > 500


def test_a_sensor_is_the_same_whatever_its_level_is_called(world: World) -> None:
    for n in range(1, 5):
        world.save([Point(0, 0), Point(100, 100 * n)], NOW - DAY, sensor=n)
    for sensor, names in enumerate(NAMES, 1):
        for name in names:
            world.record(NOW + timedelta(minutes=world.number), {name: 50.0})
            assert world.fuel("sensor, litres")[-1] == (sensor, 50.0 * sensor)
        told = {name: 10.0 + place for place, name in enumerate(names)}
        world.record(NOW + timedelta(minutes=world.number), dict(reversed(told.items())))
        assert world.fuel("code")[-1] == (10,)  # the first of its names counts, wherever it stands
        world.record(NOW + timedelta(minutes=world.number), {**told, names[0]: math.nan})
        assert world.fuel("code")[-1] == (11,)


@pytest.mark.parametrize("name", ["fuel.temperature.2", "ble.lls.temperature.2", "param.lls2t"])
def test_temperature_and_status_come_with_the_level(world: World, name: str) -> None:
    world.record(NOW, {"fuel.level.2": 7, name: -12.5, "fuel.status.2": 3, "fuel.status.1": 65530})
    assert world.fuel() == [(1, None, None, None, 65530), (2, 7, None, -12.5, 3)]


def test_what_is_in_json_counts_where_the_layout_had_no_room(world: World) -> None:
    world.save([Point(0, 0), Point(100, 300)], NOW - DAY)
    world.record(NOW, {}, json.dumps({"fuel.level.1": 50, "fuel.status.1": 0, "driver.key": "ab"}))
    world.record(NOW + DAY, {"fuel.level.1": 10}, json.dumps({"driver.key": "ab"}))
    assert world.fuel() == [(1, 50, 150, None, 0), (1, 10, 30, None, None)]


@pytest.mark.parametrize("value", ["1e400", "-1e400", "1e-400", "1e300", '"50"', "null", "true", "[1]"])
@pytest.mark.parametrize("name", ["fuel.level.1", "fuel.temperature.1", "fuel.status.1"])
def test_no_value_of_a_stranger_breaks_the_view(world: World, name: str, value: str) -> None:
    world.record(NOW, {}, f'{{"{name}": {value}, "fuel.level.2": 1}}')
    for number in (math.inf, -math.inf, 1e300, math.nan):
        world.record(NOW + timedelta(minutes=world.number), {name: number, "fuel.level.2": 1})
    rows = world.fuel("sensor, code, temperature, status")
    assert rows.count((2, 1, None, None)) == 5
    assert all(value in (None, 0) for sensor, *values in rows if sensor == 1 for value in values)


@pytest.mark.parametrize(
    "name",
    ["fuel.level.0", "fuel.level.01", "fuel.level.99999999999", "fuel.level.1t", "fuel.levels.1", "fuel.level.1.2",
     "param.lls", "param.rs485_1t", "xfuel.level.1", "fuel.level.1\n"],
)  # fmt: skip
def test_what_is_no_sensor_s_is_left_out(world: World, name: str) -> None:
    world.record(NOW, {name: 5})
    assert world.fuel() == []


@pytest.mark.parametrize(
    ("points", "told"),
    [
        ([(0, 0)], "1 points: a table has 2 to 200"),
        ([(n, n) for n in range(201)], "201 points: a table has 2 to 200"),
        ([(0, 0), (5, 5), (5, 6)], "code 5 does not rise above 5"),
        ([(0, 0), (5, 5), (6, 5)], "litres 5 does not rise above 5"),
        ([(0, 0), (5, math.nan)], "litres nan is no number"),
        ([(0, 0), (math.inf, 1)], "code inf is no number"),
        ([(-1, 0), (5, 1)], "code -1 is no number"),
        ([(3, 4), (2, 3)], "code 2 does not rise above 3; litres 3 does not rise above 4"),
    ],
)
def test_a_table_that_cannot_be_is_refused_with_all_that_is_wrong(
    world: World, points: list[tuple[float, float]], told: str
) -> None:
    with pytest.raises(CalibrationError, match=told.replace("(", r"\(")):
        world.save([Point(*point) for point in points], NOW)
    assert world.tables(every=True) == []


def test_a_sensor_or_a_terminal_that_cannot_be(world: World) -> None:
    for sensor in (0, -1, 10_000):
        with pytest.raises(CalibrationError, match="numbered from 1"):
            world.save(TANK, NOW, sensor)
    with pytest.raises(CalibrationError, match="dozor terminal add"):
        world.save(TANK, NOW, terminal="B")
    with pytest.raises(CalibrationError, match="no offset"):
        world.save(TANK, NOW.replace(tzinfo=None))


def test_two_who_save_at_once_both_keep_theirs(world: World) -> None:
    async def both() -> list[int]:
        async def one(top: float) -> int:
            async with await psycopg.AsyncConnection.connect(world.dsn, autocommit=True) as link:
                return await save(link, world.name, 1, [Point(0, 0), Point(1, top)], NOW)

        return await asyncio.gather(*(one(1.0 + n) for n in range(8)))

    assert sorted(asyncio.run(both())) == list(range(1, 9))
    assert len(world.tables(every=True)) == 8
    assert [table.version for table in world.tables()] == [8]


def test_what_is_worth_a_look_is_said() -> None:
    assert [*hints(TANK, 4095)] == ["9 points: with 20 and more the tank's shape is told well"]
    odd = [Point(100 + 300 * n, 5 + n) for n in range(20)]
    assert [what.split(":")[0].split(" is ")[0] for what in hints(odd, 4095)] == ["code 5800", "it begins at 5 l"]
