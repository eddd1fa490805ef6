"""Telemetry as the desk reads it: real partitions, values as stored, and only the partitions that are needed."""

import asyncio
import math
import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gateway.service.reader import PostgresReader
from gateway.store.partitions import Partitions
from tests.ticketing.desk.parts import LAYOUT, add_connection, add_records, add_terminal
from tests.ticketing.desk_parts import execute, pool_of
from ticketing.core.paging import BadCursorError
from ticketing.kit.ports import TerminalQuery

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def run(dsn, work):
    async def main():
        async with pool_of(dsn) as pool:
            return await work(pool, PostgresReader(pool, now=lambda: NOW))

    return asyncio.run(main())


def test_positions_series_and_the_last_record(postgres_dsn):
    async def work(pool, reader):
        terminal = await add_terminal(pool, "A", protocol="teltonika", model="set", model_told="told")
        other = await add_terminal(pool, "B")
        times = await add_records(pool, terminal, 600, end=NOW, step=60)
        await add_records(pool, other, 5, end=NOW, step=60, lat=10)
        day = {"since": NOW - timedelta(hours=5), "until": NOW + timedelta(seconds=1)}
        positions = await reader.positions("A", **day, limit=100)
        assert [p.time for p in positions] == times[-100:]
        assert all(p.lat > 50 for p in positions)
        assert await reader.first_time("A", **day) == times[-301]
        points = await reader.series("A", "power.external", **day, points=10)
        assert 10 <= len(points) <= 11
        assert all(p.low <= p.value <= p.high for p in points)
        exact = await reader.series("A", "fuel.level.1", since=times[-1], until=NOW + timedelta(seconds=1))
        assert [(p.time, p.value) for p in exact] == [(times[-1], 2400 - 3 * 599)]
        odd = await reader.series("A", "param.odd name", **day)  # NaN in every other record
        assert {p.value for p in odd} == {7.0}
        assert len(await reader.series("A", "speed", **day)) > 200
        assert await reader.series("A", "no such", **day) == []
        assert await reader.measures("A", **day) == ["speed", "altitude", "satellites", *sorted(LAYOUT)]
        last = await reader.last_record("A")
        assert (last.time, last.valid, last.archive, last.satellites) == (times[-1], True, False, 11)
        assert last.measures["ignition"] == 1
        assert "param.odd name" not in last.measures
        found = await reader.terminal("A")
        assert (found.records, found.last_seen, found.model) == (600, times[-1] + timedelta(seconds=1), "told")
        for nobody in ("C", ""):
            assert await reader.terminal(nobody) is None
            assert await reader.last_record(nobody) is None
            assert await reader.positions(nobody, **day) == []

    run(postgres_dsn, work)


def test_an_upload_of_the_black_box_changes_no_present_state(postgres_dsn):
    async def work(pool, reader):
        terminal = await add_terminal(pool, "A")
        times = await add_records(pool, terminal, 3, end=NOW, lat=10)
        before = await reader.terminal("A"), await reader.last_record("A")
        await add_records(pool, terminal, 50, end=NOW - timedelta(days=3), lat=60)
        async with pool.connection() as connection:  # it arrives now
            await connection.execute("UPDATE record SET received = %s, flags = 17 WHERE lat >= 60", (NOW,))
        after = await reader.terminal("A"), await reader.last_record("A")
        assert after[1] == before[1]
        assert (after[0].last_seen, after[0].firmware, after[0].model) == (
            before[0].last_seen, before[0].firmware, before[0].model,
        )  # fmt: skip
        day = {"since": NOW - timedelta(days=5), "until": NOW + timedelta(seconds=1)}
        assert [p.time for p in await reader.positions("A", **day, limit=3)] == times

    run(postgres_dsn, work)


def test_what_was_not_told_is_none(postgres_dsn):
    async def work(pool, reader):
        terminal = await add_terminal(pool, "A")
        await add_records(pool, terminal, 3, end=NOW)
        async with pool.connection() as connection:
            await connection.execute(
                """UPDATE record SET lat = 'NaN', lon = 'NaN', altitude = 'NaN', speed = 'NaN', course = 'NaN',
                          satellites = -1, flags = 16, extra = '{"vin": "x", "big": 9007199254740993}',
                          measures[1] = 'Infinity', measures[2] = 1e300"""
            )
        last = await reader.last_record("A")
        assert (last.lat, last.lon, last.altitude, last.speed, last.course, last.satellites) == (None,) * 6
        assert (last.valid, last.archive) == (False, True)
        assert last.measures["vin"] == "x"
        assert last.measures["big"] == 9007199254740993
        assert "power.external" not in last.measures
        day = {"since": NOW - timedelta(hours=1), "until": NOW + timedelta(seconds=1)}
        assert await reader.positions("A", **day) == []
        for measure in ("speed", "altitude", "satellites", "power.external", "gsm.signal"):
            assert await reader.series("A", measure, **day) == []

    run(postgres_dsn, work)


def test_records_outside_are_found_too(postgres_dsn):
    async def work(pool, reader):
        terminal = await add_terminal(pool, "A")
        await add_records(pool, terminal, 1, end=NOW)
        async with pool.connection() as connection:
            await connection.execute("INSERT INTO record_outside SELECT * FROM record")
            await connection.execute("UPDATE record_outside SET time = '1980-01-06T00:00:00Z'")
            await connection.execute("DELETE FROM record")
        assert (await reader.last_record("A")).time == datetime(1980, 1, 6, tzinfo=UTC)
        assert (await reader.terminal("A")).records == 1

    run(postgres_dsn, work)


def test_search_pages_and_connections(postgres_dsn):
    async def work(pool, reader):
        for n in range(5):
            await add_terminal(pool, f"T%{n}", name=f"Bus_{n}")
        assert [t.terminal for t in (await reader.terminals(TerminalQuery(search="t%3"))).items] == ["T%3"]
        assert (await reader.terminals(TerminalQuery(search="%%"))).total == 0
        assert (await reader.terminals(TerminalQuery(search="BUS_"))).total == 5
        first = await reader.terminals(limit=4)
        assert [t.terminal for t in (await reader.terminals(limit=4, cursor=first.next)).items] == ["T%4"]
        await add_connection(pool, "T%1", NOW - timedelta(hours=3), NOW - timedelta(hours=2))
        await add_connection(pool, "T%1", NOW - timedelta(hours=1))
        found = await reader.terminal("T%1")
        assert found.connected
        assert found.last_contact == NOW - timedelta(hours=1)
        assert found.last_seen is None

        async def counted(identity):
            return {int((NOW - timedelta(hours=age)).timestamp() * 1e6): (70, 7) for age in (1, 3)}

        told = await PostgresReader(pool, counted=counted).connections("T%1")
        assert [(c.frames, c.malformed) for c in told.items] == [(70, 7), (1234, 2)]  # only the open one's
        connections = await reader.connections("T%1")
        assert [c.closed_at for c in connections.items] == [None, NOW - timedelta(hours=2)]
        for wrong in ("x", "", "-", "LTE"):
            with pytest.raises(BadCursorError):
                await reader.connections("T%1", cursor=wrong)
        assert (await reader.fleet()).connected == 1

    run(postgres_dsn, work)


def test_only_the_partitions_of_the_span_are_touched(postgres_dsn):
    """Three years of weeks: a page over one day must not open them all."""

    async def work(pool, reader):
        terminal = await add_terminal(pool, "A")
        await add_records(pool, terminal, 50, end=NOW, step=600)
        partitions = Partitions()
        weeks = [int((NOW - timedelta(weeks=n)).timestamp() * 1e6) for n in range(150)]
        async with pool.connection() as connection:
            await connection.set_autocommit(True)
            await partitions.load(connection)
            await partitions.make(connection, partitions.missing(np.array(weeks)))
            await connection.set_autocommit(False)
            rows = await connection.execute(
                """EXPLAIN SELECT time FROM (SELECT time FROM record WHERE terminal = %(t)s AND time >= %(s)s
                   AND time < %(u)s UNION ALL SELECT time FROM record_outside WHERE terminal = %(t)s
                   AND time >= %(s)s AND time < %(u)s) r ORDER BY time DESC LIMIT 500""",
                {"t": terminal, "s": NOW - timedelta(days=1), "u": NOW},
            )
            plan = "\n".join(row[0] for row in await rows.fetchall())
        assert plan.count("on record_2") <= 2
        assert "Seq Scan" not in plan
        found = await reader.terminals()
        positions = await reader.positions("A", since=NOW - timedelta(days=1), until=NOW)
        assert (found.items[0].records, len(positions)) == (50, 49)

    run(postgres_dsn, work)


@pytest.mark.parametrize("seed", range(3))
def test_any_span_holds_what_a_plain_loop_finds(shared_dsn, seed):
    """Bounds, order, limits and what counts as told, over records within partitions and outside them."""
    chance = random.Random(seed)
    begin = NOW - timedelta(days=20)

    async def work(pool, reader):
        identity = f"loop{seed}"
        terminal = await add_terminal(pool, identity, protocol="teltonika")
        values = [[chance.choice([math.nan, 0.0, 12.5, -3.0, 1e16, math.inf])] for _ in range(60)]
        times = await add_records(pool, terminal, 60, end=NOW, step=26_000, layout=("adc.1",), measures=values)
        rows = []
        for time, (value,) in zip(times, values, strict=True):
            row = {
                "time": time,
                "lat": chance.choice([55.0, -90.0, 90.5, math.nan, 1e9]),
                "lon": chance.choice([37.0, 180.0, -181.0, math.nan]),
                "speed": chance.choice([0.0, 61.5, math.nan]),
                "valid": chance.random() < 0.7,
                "adc.1": value,
            }
            rows.append(row)
            await execute(
                pool,
                "UPDATE record SET lat = %s, lon = %s, speed = %s, flags = %s WHERE terminal = %s AND time = %s",
                *(row["lat"], row["lon"], row["speed"], 1 if row["valid"] else 0, terminal, time),
            )
        await execute(
            pool,
            "WITH gone AS (DELETE FROM record WHERE terminal = %s AND fingerprint %% 4 = 0 RETURNING *)"
            " INSERT INTO record_outside SELECT * FROM gone",
            terminal,
        )
        for _ in range(25):
            since = begin + timedelta(seconds=chance.randrange(20 * 86_400))
            until = since + timedelta(seconds=chance.randrange(1, 12 * 86_400))
            if chance.random() < 0.3:  # exactly at a record: the beginning counts, the end does not
                since, until = sorted((chance.choice(times), until))
            inside = [row for row in rows if since <= row["time"] < until]
            limit = chance.choice([1, 3, 500])
            places = [row for row in inside if row["valid"] and -90 <= row["lat"] <= 90 and -180 <= row["lon"] <= 180]
            found = await reader.positions(identity, since=since, until=until, limit=limit)
            assert [(p.time, p.lat, p.lon) for p in found] == [
                (row["time"], row["lat"], row["lon"]) for row in places[-limit:]
            ]
            assert [p.speed for p in found] == [
                None if math.isnan(row["speed"]) else row["speed"] for row in places[-limit:]
            ]
            first = await reader.first_time(identity, since=since, until=until)
            assert first == (inside[0]["time"] if inside else None)
            for measure in ("adc.1", "speed"):
                told = [row for row in inside if abs(row[measure]) < 1e15]  # NaN is never smaller
                points = await reader.series(identity, measure, since=since, until=until, points=10_000)
                assert [p.time for p in points] == [row["time"] for row in told]
                assert [p.value for p in points] == pytest.approx([row[measure] for row in told])
                if told:
                    few = await reader.series(identity, measure, since=since, until=until, points=3)
                    assert len(few) <= 4
                    assert min(p.low for p in few) == min(row[measure] for row in told)
                    assert max(p.high for p in few) == max(row[measure] for row in told)
            names = await reader.measures(identity, since=since, until=until)
            assert names == ["speed", "altitude", "satellites", *(["adc.1"] if inside else [])]
        last = await reader.last_record(identity)
        assert last.time == times[-1]
        assert ("adc.1" in last.measures) is math.isfinite(values[-1][0])

    run(shared_dsn, work)
