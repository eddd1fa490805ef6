"""Whom to ask for firmware: once in six hours, at each connection while it fails, ever more seldom without answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.receive import asking as module
from gateway.receive.asking import Asking, pause_after
from gateway.store.pools import Pool

HOUR, DAY = 3600.0, 86_400.0
CATALOGUE = """
[[release]]
model = "FMB920"
version = "1.0"
released = 2025-01-01
[[release]]
model = "FMB920"
version = "2.0"
released = 2025-02-01
"""


class Conversation:
    """One connection of a terminal."""

    def __init__(self, row: int) -> None:
        self.row = row
        self.told: list[str] = []
        self.settled = asyncio.Event()

    def ask_version(self) -> None:
        self.told.append("ask")
        self.settled.set()

    def ask_not(self, *, later: bool) -> None:
        self.told.append("later" if later else "no")


class World:
    """A store with terminals 1 to 500, and processes that ask."""

    def __init__(self, dsn: str, pool: Pool, catalogue: Path) -> None:
        self.dsn, self.pool, self.catalogue = dsn, pool, catalogue

    def process(self) -> Asking:
        asking = Asking(self.pool)
        asking.configure(self.catalogue, on=True)
        return asking

    async def connects(self, asking: Asking, row: int = 1) -> bool:
        """Whether it is asked on a new connection."""
        conversation = Conversation(row)
        asking.wish(conversation)
        await asking._round()
        assert conversation.told in (["ask"], ["no"])
        asking.forget(conversation)
        return conversation.told == ["ask"]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as link:
            cursor = link.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def passes(self, seconds: float) -> None:
        self.query(f"UPDATE version_ask SET asked_at = asked_at - {seconds} * interval '1 second'")


@pytest.fixture
def run(postgres_dsn: str, tmp_path: Path) -> Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]:
    catalogue = tmp_path / "releases.toml"
    catalogue.write_text(CATALOGUE)

    def go(act: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def inner() -> None:
            async with (
                asyncio.timeout(30),
                Pool(postgres_dsn, min_size=1, max_size=2, open=False, kwargs={"autocommit": True}) as pool,
            ):
                world = World(postgres_dsn, pool, catalogue)
                world.query(
                    "INSERT INTO terminal (identity, model) SELECT 'T' || n, 'FMB920' FROM generate_series(1, 500) n"
                )
                await act(world)

        asyncio.run(inner())

    return go


def test_how_long_to_wait() -> None:
    assert [pause_after(n, failing=False) for n in (0, 1, 2, 3, 9)] == [6 * HOUR, 6 * HOUR, DAY, 7 * DAY, 7 * DAY]
    assert [pause_after(n, failing=True) for n in (0, 1, 2)] == [0.0, 6 * HOUR, DAY]


def test_once_in_six_hours_whoever_asks(run: Any) -> None:
    async def act(world: World) -> None:
        one, other = world.process(), world.process()
        assert await world.connects(one)
        one.answered(1)
        for asking in (one, other, world.process()):  # another worker, the service after a restart
            assert not await world.connects(asking)
        world.passes(6 * HOUR - 60)
        assert not await world.connects(other)
        world.passes(60)
        assert await world.connects(other)
        assert await world.connects(other, row=2), "each by itself"

    run(act)


def test_who_does_not_answer_is_asked_ever_more_seldom(run: Any) -> None:
    async def act(world: World) -> None:
        asking = world.process()
        assert await world.connects(asking)
        for pause in (6 * HOUR, DAY, 7 * DAY, 7 * DAY):
            world.passes(pause - 60)
            assert not await world.connects(asking)
            world.passes(60)
            assert await world.connects(world.process()), "a restart forgets nothing"
        asking.answered(1)
        await asking._round()
        world.passes(6 * HOUR)
        assert await world.connects(asking), "who answers is one that answers"

    run(act)


def test_while_its_firmware_fails_at_each_connection(run: Any) -> None:
    async def act(world: World) -> None:
        asking = world.process()
        assert await world.connects(asking)
        asking.answered(1)
        world.query("UPDATE terminal SET firmware = '1.0', model_told = 'FMB920' WHERE id = 1")
        for _ in range(3):
            assert await world.connects(asking)
            asking.answered(1)
        world.query("UPDATE terminal SET firmware = '2.0' WHERE id = 1")
        assert not await world.connects(asking)
        world.query("UPDATE terminal SET firmware = '1.0' WHERE id = 1")
        assert await world.connects(asking)
        assert not await world.connects(asking), "that was not answered"
        asking.answered(1)
        world.catalogue.write_text(CATALOGUE.replace("2025-02", "2024-02"))
        asking.configure(world.catalogue, on=True)
        assert not await world.connects(asking), "by the catalogue of now it is the newest"
        world.catalogue.write_text("nonsense")
        asking.configure(world.catalogue, on=True)
        assert not await world.connects(asking), "the one before holds"
        asking.configure(None, on=True)
        assert not await world.connects(asking)

    run(act)


def test_a_clock_that_was_ahead_keeps_nobody_from_being_asked(run: Any) -> None:
    async def act(world: World) -> None:
        asking = world.process()
        assert await world.connects(asking)
        world.passes(-DAY)
        assert await world.connects(asking)
        assert not await world.connects(asking)

    run(act)


def test_two_processes_do_not_ask_at_the_same_moment(run: Any) -> None:
    async def act(world: World) -> None:
        for again in (False, True):
            claims = []
            async with world.pool.connection() as one, world.pool.connection() as other:
                first = await world.process()._claim(one, [1]) if not again else set()
                if again:
                    world.passes(6 * HOUR)
                    async with one.transaction():
                        first = await world.process()._claim(one, [1])
                        late = asyncio.create_task(world.process()._claim(other, [1]))  # waits for the row
                        await asyncio.sleep(0.05)
                    claims.append(await late)
                else:
                    claims.append(await world.process()._claim(other, [1]))
            assert first == {1}
            assert claims == [set()]

    run(act)


def test_switched_off_and_on(run: Any) -> None:
    async def act(world: World) -> None:
        asking = world.process()
        conversation = Conversation(1)
        asking.wish(conversation)
        asking.configure(None, on=False)
        await asking._round()
        assert conversation.told == ["later"]
        asking.configure(None, on=True)
        asking.wish(conversation)
        await asking._round()
        assert conversation.told == ["later", "ask"]
        assert world.query("SELECT terminal, unanswered FROM version_ask") == [(1, 1)]

    run(act)


def test_a_returning_fleet_is_asked_little_by_little(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 50)
    pauses: list[float] = []

    async def act(world: World) -> None:
        asking = world.process()
        fleet = [Conversation(row) for row in range(1, 501)]
        for conversation in fleet:
            asking.wish(conversation)
        sleep = asyncio.sleep

        async def short(seconds: float) -> None:
            pauses.append(seconds)
            await sleep(0)

        monkeypatch.setattr("gateway.receive.asking.asyncio.sleep", short)
        running = asyncio.create_task(asking.run())
        for conversation in fleet:
            await asyncio.wait_for(conversation.settled.wait(), 5)
        running.cancel()
        assert sum(pauses) >= 450 / 400
        assert max(pauses) <= 50 / 400

    run(act)


def test_without_a_store_wishes_wait_and_leave_with_their_connections(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.1)
    monkeypatch.setattr(module, "_AGAIN", 0.05)

    async def act(world: World) -> None:
        asking = world.process()
        stays, leaves = Conversation(1), Conversation(2)
        with psycopg.connect(world.dsn) as lock:
            lock.execute("LOCK TABLE version_ask IN ACCESS EXCLUSIVE MODE")
            asking.wish(stays)
            asking.wish(leaves)
            running = asyncio.create_task(asking.run())
            await asyncio.sleep(0.3)
            asking.forget(leaves)
            lock.commit()
        await asyncio.wait_for(stays.settled.wait(), 5)
        running.cancel()
        assert (stays.told, leaves.told) == (["ask"], [])
        assert world.query("SELECT terminal FROM version_ask") == [(1,)]
        assert not asking._wishes

    run(act)
