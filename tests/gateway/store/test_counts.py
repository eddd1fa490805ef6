"""Records of a terminal, exact whatever happens to partitions that were counted already."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from gateway.store import counts as module
from gateway.store.counts import count_records, count_settled
from tests.gateway.store.world import DAY, WEEKS, World, names, reading

HIDDEN = "UPDATE record_count SET records = records + 1000"  # what only counted partitions can bring to light


@pytest.fixture
def world(postgres_dsn: str) -> Iterator[World]:
    found = World(postgres_dsn)
    with closing(found.link):
        yield found


def settle(world: World) -> int:
    counted: int = world.run(lambda link: count_settled(link, datetime.now(UTC)))
    return counted


def told(world: World, *terminals: int) -> dict[int, int]:
    async def work(link: psycopg.AsyncConnection) -> Any:
        async with link.transaction():
            await link.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return await count_records(link, terminals or (1, 2, 3))

    found: dict[int, int] = world.run(work)
    return found


def true(world: World) -> dict[int, int]:
    both = "(SELECT terminal FROM record UNION ALL SELECT terminal FROM record_outside) r"
    return {1: 0, 2: 0, 3: 0} | dict(world.rows(f"SELECT terminal, count(*) FROM {both} GROUP BY 1"))


def test_closed_weeks_are_counted_once(world: World) -> None:
    assert told(world) == {1: 4, 2: 0, 3: 0}
    assert settle(world) == 3
    assert settle(world) == 0
    assert told(world) == {1: 4, 2: 0, 3: 0}
    world.link.execute(HIDDEN)
    assert told(world) == {1: 3004, 2: 0, 3: 0}  # the count is asked, not the weeks
    assert world.rows("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'record'::regclass") == [0]
    live = names(WEEKS)[-1]  # where nearly everything goes there is no trigger
    assert world.rows(f"SELECT count(*) FROM pg_trigger WHERE tgrelid = '{live}'::regclass") == [0]


def test_what_changes_afterwards_is_told_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    random_ = random.Random(7)
    number = 100
    for step in range(60):
        what = random_.randrange(8)
        week = random_.choice(WEEKS)
        if what <= 3:
            world.record(week + random_.randrange(6) * DAY, number=number)
            world.link.execute("UPDATE record SET terminal = %s WHERE fingerprint = %s", (number % 3 + 1, number))
            number += 1
        elif what == 4:
            world.record(week - 5000 * DAY, table="record_outside", number=number)
            number += 1
        elif what == 5:
            world.link.execute("DELETE FROM record WHERE mod(fingerprint, 7) = %s AND time >= %s", (step % 7, week))
        elif what == 6 and step % 3 == 0:
            world.link.execute(f"TRUNCATE {random_.choice(names(WEEKS))}".encode())
        else:
            monkeypatch.setattr(module, "_NOTED", random_.choice((1, 10_000)))
            settle(world)
        assert told(world) == true(world), (step, what)
    assert number > 120
    world.link.execute("TRUNCATE record")
    world.link.execute("TRUNCATE record_outside")
    assert told(world) == {1: 0, 2: 0, 3: 0}


def test_partitions_that_go_and_come(world: World) -> None:
    settle(world)
    old = names(WEEKS[:1])[0]
    with reading(world.dsn, "record"):
        assert world.release(WEEKS[1]).waiting == [old]
        assert told(world)[1] == 3  # rows in it are not seen any more
    world.release(WEEKS[1])
    assert told(world)[1] == 3
    settle(world)
    assert world.rows("SELECT count(*) FROM record_count") == [2]
    # A late upload makes an old week anew, before all that are counted.
    world.link.execute(f"CREATE TABLE {old} PARTITION OF record FOR VALUES FROM (MINVALUE) TO ('{WEEKS[1]}')".encode())
    for n in range(5):
        world.record(WEEKS[0] + n * DAY, number=n)
    assert told(world)[1] == 8
    assert settle(world) == 1
    assert told(world)[1] == 8


def test_writers_are_not_held_up_by_the_count(world: World) -> None:
    """Somebody writes into an old week: the trigger does not wait for him, and nothing he writes is lost."""
    with psycopg.connect(world.dsn) as writer:
        writer.execute("UPDATE record SET lat = 1 WHERE time < %s", (WEEKS[1],))
        writer.execute("INSERT INTO record SELECT 2, time, received, lat, lon, altitude, speed, course, satellites,"
                       " flags, layout, 9, measures, extra FROM record ORDER BY time LIMIT 1")  # fmt: skip
        with pytest.raises(psycopg.errors.LockNotAvailable):
            settle(world)
        assert told(world)[1] == 4
    assert settle(world) == 3
    assert told(world) == {1: 4, 2: 1, 3: 0}


@pytest.mark.parametrize("before", ["DELETE FROM record_late", "DELETE FROM record_count", "INSERT INTO record_count"])
def test_what_comes_late_while_a_week_is_counted_counts_once(world: World, before: str) -> None:
    """Whatever it came between: it is in the count or noted, never both, never neither."""
    came = []

    async def count(link: psycopg.AsyncConnection) -> int:
        execute = link.execute

        async def between(query: Any, *arguments: Any, **options: Any) -> Any:
            text = query.as_string(link) if hasattr(query, "as_string") else str(query)
            if text.startswith(before) and len(came) < 3:
                came.append(text)
                world.record(WEEKS[len(came) - 1] + 2 * DAY, number=50 + len(came))
            return await execute(query, *arguments, **options)

        link.execute = between  # type: ignore[method-assign]
        return await count_settled(link, datetime.now(UTC))

    assert world.run(count) == len(came) == 3
    assert told(world) == true(world) == {1: 7, 2: 0, 3: 0}
