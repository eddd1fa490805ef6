"""Partitions of `record` that people made: read from their bounds, completed where they leave something out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.store import partitions as module
from gateway.store.partitions import WEEK, Partitions, gaps, read_partitions, week_of

NOW = int(time.time()) * 1_000_000
THIS = week_of(NOW)
OLD = THIS - 20 * WEEK


def text(instant: int) -> str:
    return str(datetime.fromtimestamp(instant / 1e6, UTC))


@pytest.fixture
def run(postgres_dsn: str) -> Callable[..., Any]:
    def start(work: Callable[[psycopg.AsyncConnection], Coroutine[Any, Any, Any]], options: str = "") -> Any:
        async def inside() -> Any:
            link = await psycopg.AsyncConnection.connect(postgres_dsn, autocommit=True, options=options)
            async with link:
                return await work(link)

        return asyncio.run(inside())

    return start


async def by_hand(link: psycopg.AsyncConnection, name: str, bounds: str, more: str = "") -> None:
    await link.execute(f"CREATE TABLE {name} PARTITION OF record {bounds} {more}".encode())


async def bounds(link: psycopg.AsyncConnection) -> list[tuple[str, int, int]]:
    return [(p.name, p.low, p.high) for p in await read_partitions(link)]


async def loaded(link: psycopg.AsyncConnection) -> Partitions:
    partitions = Partitions()
    await partitions.load(link)
    return partitions


def test_another_name_and_other_bounds(run: Any) -> None:
    async def work(link: psycopg.AsyncConnection) -> None:
        middle = OLD + 3 * 86_400_000_000  # ends on a Thursday
        await by_hand(link, '"Archive 2026"', f"FOR VALUES FROM ('{text(OLD - 3 * WEEK)}') TO ('{text(middle)}')")
        await by_hand(link, "ancient", f"FOR VALUES FROM (MINVALUE) TO ('{text(OLD - 10 * WEEK)}')")
        partitions = await loaded(link)
        assert partitions.missing(np.array([OLD - WEEK, OLD - 3 * WEEK, OLD - 99 * WEEK])) == []
        assert partitions.missing(np.array([OLD - WEEK, OLD, OLD + WEEK])) == [OLD, OLD + WEEK]
        await partitions.make(link, [OLD, OLD + WEEK])
        assert partitions.missing(np.array([OLD, OLD + WEEK])) == []
        assert (await bounds(link))[2:4] == [
            (f"record_{datetime.fromtimestamp(middle / 1e6, UTC):%Y%m%d_%H%M%S%f}", middle, OLD + WEEK),
            (f"record_{datetime.fromtimestamp(OLD / 1e6 + 7 * 86400, UTC):%Y%m%d}", OLD + WEEK, OLD + 2 * WEEK),
        ]
        await partitions.make(link, [OLD, OLD + WEEK])  # as another process would
        assert len(await bounds(link)) == 4

    run(work)


def test_default_and_divided_further(run: Any) -> None:
    async def work(link: psycopg.AsyncConnection) -> None:
        week = f"FOR VALUES FROM ('{text(OLD)}') TO ('{text(OLD + WEEK)}')"
        await by_hand(link, "halves", week, "PARTITION BY HASH (terminal)")
        partitions = await loaded(link)
        assert partitions.missing(np.array([OLD])) == []
        await by_hand(link, "rest", "DEFAULT")
        with capture_logs() as logs:
            await partitions.load(link)
            await partitions.load(link)
        assert len([line for line in logs if "DEFAULT" in line["event"]]) == 1
        assert partitions.missing(np.array([OLD, OLD + 5 * WEEK, THIS])) == []

    run(work)


@pytest.mark.parametrize("options", ["-c timezone=Asia/Vladivostok -c datestyle=SQL,DMY", "-c timezone=Europe/London"])
def test_weeks_are_those_of_utc_whatever_the_session_has_set(run: Any, options: str) -> None:
    async def work(link: psycopg.AsyncConnection) -> None:
        partitions = await loaded(link)
        weeks = [THIS - n * WEEK for n in (0, 20, 40)]  # summer and winter
        await partitions.make(link, weeks)
        assert sorted(low for _, low, high in await bounds(link) if high - low == WEEK) == sorted(weeks)
        assert (await loaded(link)).missing(np.array(weeks)) == []

    run(work, options)


def test_a_name_that_is_taken_is_told_and_tried_again(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(link: psycopg.AsyncConnection) -> None:
        name = f"record_{datetime.fromtimestamp(OLD / 1e6, UTC):%Y%m%d}"
        await link.execute(f"CREATE TABLE {name} (a int)".encode())
        partitions = await loaded(link)
        with capture_logs() as logs:
            await partitions.make(link, [OLD, OLD + WEEK])
        assert [line["week"] for line in logs] == [text(OLD)[:10]]
        homeless = partitions.homeless(np.array([OLD, OLD + WEEK, OLD + WEEK - 1]))
        assert homeless is not None
        assert homeless.tolist() == [True, False, True]
        assert partitions.missing(np.array([OLD, OLD + WEEK])) == []  # not with every batch
        await link.execute(f"DROP TABLE {name}".encode())
        later = time.monotonic() + module._LOOK_AGAIN + 1
        monkeypatch.setattr(module.clock, "monotonic", lambda: later)
        assert partitions.missing(np.array([OLD])) == [OLD]
        await partitions.make(link, [OLD])
        assert partitions.homeless(np.array([OLD])) is None

    run(work)


def test_made_at_once_while_somebody_reads(run: Any, postgres_dsn: str) -> None:
    async def work(link: psycopg.AsyncConnection) -> None:
        partitions = await loaded(link)
        await partitions.make(link, [OLD - WEEK])
        with psycopg.connect(postgres_dsn) as reader, psycopg.connect(postgres_dsn) as writer:
            reader.execute("SELECT count(*) FROM record")
            writer.execute("DELETE FROM record WHERE terminal = 0")
            begun = time.monotonic()
            await partitions.make(link, [OLD])
            assert time.monotonic() - begun < 0.8
            assert partitions.homeless(np.array([OLD])) is None
        # Behind somebody who changes the table it is not waited for long.
        with psycopg.connect(postgres_dsn) as other:
            other.execute("LOCK TABLE record IN SHARE UPDATE EXCLUSIVE MODE")
            begun = time.monotonic()
            await partitions.make(link, [OLD + WEEK])
            assert time.monotonic() - begun < 1.8
            assert partitions.homeless(np.array([OLD + WEEK])) is not None

    monkey = pytest.MonkeyPatch()
    monkey.setattr(module, "_LOCK_TIMEOUT", "200ms")
    try:
        run(work)
    finally:
        monkey.undo()


@given(st.lists(st.tuples(st.integers(-20, 40), st.integers(1, 20)), max_size=6))
def test_gaps_are_what_no_bounds_cover(told: list[tuple[int, int]]) -> None:
    """Against a look at each hundredth of the week."""
    step = WEEK // 20
    spans = [(low * step, (low + length) * step) for low, length in told]
    covered = {n for n in range(20) for low, high in spans if low <= n * step < high}
    left = {n for n in range(20) for low, high in gaps(0, spans) if low <= n * step < high}
    assert covered | left == set(range(20))
    assert not covered & left
    assert timedelta(microseconds=sum(high - low for low, high in gaps(0, spans))) == timedelta(
        microseconds=len(left) * step
    )


def test_a_week_whose_partition_is_being_let_go_is_told_and_its_rows_have_a_place(run: Any, postgres_dsn: str) -> None:
    """Its range is still taken: nothing can be made, and a batch must not try for ever."""

    async def work(link: psycopg.AsyncConnection) -> None:
        partitions = await loaded(link)
        await partitions.make(link, [OLD])
        name = f"record_{datetime.fromtimestamp(OLD / 1e6, UTC):%Y%m%d}"
        await link.execute("SET lock_timeout = '200ms'")
        with psycopg.connect(postgres_dsn) as reader:
            reader.execute("SELECT count(*) FROM record")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await link.execute(f"ALTER TABLE record DETACH PARTITION {name} CONCURRENTLY".encode())
        partitions = await loaded(link)
        assert partitions.missing(np.array([OLD])) == [OLD]
        with capture_logs() as logs:
            await partitions.make(link, [OLD])
        assert [line["week"] for line in logs] == [text(OLD)[:10]]
        homeless = partitions.homeless(np.array([OLD]))
        assert homeless is not None
        assert homeless.all()
        assert partitions.missing(np.array([OLD])) == []

    run(work)
