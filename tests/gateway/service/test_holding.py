"""Who holds the watch, step by step: two services in one process, over a real server, and what is asked of each."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec
import psycopg
import pytest
import structlog

from gateway.errors import SchemaError
from gateway.service import tenure as module
from gateway.service.telling import CHANNEL
from gateway.service.tenure import Holder, Tenure, _within
from tests.ticketing.desk_parts import execute, pool_of

QUICK = {"PING": 0.05, "PATIENCE": 2.0, "GRACE": 2.0, "ENDING": 0.3, "FAREWELL": 0.5}


class Watch:
    """What is watched, as a list of what was asked; `work` may be made to fail or to hang at its end."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.restores: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.fails = asyncio.Event()
        self.hangs = False
        self.at: dict[str, float] = {}

    def say(self, what: str) -> None:
        self.said.append(what)
        self.at[what] = time.monotonic()

    async def begin(self) -> None:
        self.say("begin")
        if self.restores is not None:
            await self.restores()

    async def watch(self) -> None:
        self.say("watch")
        try:
            await asyncio.Event().wait()
        finally:
            self.say("watched")

    async def work(self) -> None:
        self.say("work")
        try:
            await self.fails.wait()
            raise RuntimeError("a bug")
        finally:
            self.say("worked")
            while self.hangs:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)

    async def stop(self) -> None:
        self.say("stop")

    def forget(self) -> None:
        self.say("forget")


class Telling:
    """Notices that wait, until they are taken."""

    def __init__(self) -> None:
        self.on = False
        self.waiting: list[str] = []

    def begin(self) -> bool:
        begun, self.on = not self.on, True
        return begun

    def end(self) -> None:
        self.on = False

    def take(self) -> list[list[str]]:
        taken, self.waiting = self.waiting, []
        return [taken] if taken else []


class Hearing:
    """What others told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def hear(self, notice: str) -> None:
        self.heard.append(notice)


class Service:
    """A tenure and what is around it."""

    def __init__(self, dsn: str, name: str) -> None:
        self.watch, self.telling, self.hearing = Watch(), Telling(), Hearing()
        self.failed: list[str] = []
        self.tenure = Tenure(dsn, name, self.watch, self.telling, self.hearing, self.failed.append)  # type: ignore[arg-type]
        self.running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.tenure.open()
        self.running = asyncio.create_task(self.tenure.run())

    async def halt(self) -> None:
        """It runs no more; what `close` does is not done."""
        if self.running is not None:
            self.running.cancel()
            await asyncio.wait({self.running})

    async def end(self) -> None:
        await self.halt()
        self.watch.hangs = False
        await self.tenure.close()


class World:
    """A store, and services on it."""

    def __init__(self, dsn: str, pool: Any) -> None:
        self.dsn, self.pool = dsn, pool
        self.services: list[Service] = []

    async def service(self, name: str, *, start: bool = True) -> Service:
        service = Service(self.dsn, name)
        self.services.append(service)
        if start:
            await service.start()
        return service

    async def holder(self) -> Holder | None:
        async with self.pool.connection() as link:
            cursor = await link.execute("SELECT value FROM gateway_state WHERE key = 'watch.holder'")
            row = await cursor.fetchone()
        return msgspec.json.decode(bytes(row[0]), type=Holder) if row else None

    async def kill(self, service: Service) -> None:
        """The server ends that service's session."""
        assert service.tenure._link is not None
        pid = service.tenure._link.info.backend_pid
        await execute(self.pool, "SELECT pg_terminate_backend(%s)", pid)


async def until(condition: Callable[[], bool], within: float = 8.0) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110  # what is waited for knows no event
            await asyncio.sleep(0.01)


@pytest.fixture
def play(shared_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    for name, value in QUICK.items():
        monkeypatch.setattr(module, name, value)

    def run(act: Callable[[World], Coroutine[Any, Any, None]]) -> list[dict[str, Any]]:
        async def go() -> None:
            async with asyncio.timeout(40), pool_of(shared_dsn) as pool:
                world = World(shared_dsn, pool)
                await execute(pool, "DELETE FROM gateway_state")
                await execute(pool, "DELETE FROM schema_version WHERE number >= 9000")
                try:
                    await act(world)
                finally:
                    for service in world.services:
                        await service.end()

        with structlog.testing.capture_logs() as lines:
            asyncio.run(go())
        return lines

    return run


def test_the_first_watches_at_once_and_keeps_what_it_learned_at_the_end(play: Any) -> None:
    async def act(world: World) -> None:
        one = await world.service("one", start=False)
        await one.tenure.open()
        assert one.tenure.holding, "before a frame is accepted"
        assert one.watch.said == ["begin"]
        assert await world.holder() == Holder("one", 1)
        one.running = asyncio.create_task(one.tenure.run())
        await until(lambda: "work" in one.watch.said)
        await asyncio.sleep(4 * QUICK["PING"])
        assert not one.tenure.shared, "its own locks are nobody else's"
        await one.end()
        assert one.watch.said == ["begin", "watch", "work", "worked", "watched", "stop"]
        assert await world.holder() == Holder("one", 1, ended=True)
        assert not one.tenure.holding

    play(act)


def test_who_stands_by_tells_and_takes_over_at_once_from_one_that_ended(play: Any) -> None:
    async def act(world: World) -> None:
        one, two = await world.service("one"), await world.service("two")
        await until(lambda: two.telling.on)
        assert (one.tenure.holding, two.tenure.holding) == (True, False)
        assert two.watch.said == []
        two.telling.waiting = [f"a notice {n}" for n in range(3)]
        await until(lambda: len(one.hearing.heard) == 3)
        assert one.hearing.heard == ["a notice 0", "a notice 1", "a notice 2"]
        await until(lambda: one.tenure.shared and two.tenure.shared)
        begun = time.monotonic()
        await one.end()
        await until(lambda: two.tenure.holding)
        assert time.monotonic() - begun < QUICK["GRACE"], "it said that it ended"
        assert await world.holder() == Holder("two", 2)
        assert not two.telling.on

    lines = play(act)
    assert [line["event"] for line in lines].count("standing by: another service watches") == 1
    assert "taking the watch over" not in [line["event"] for line in lines]


def test_a_successor_waits_out_one_that_is_gone_without_a_word(play: Any) -> None:
    async def act(world: World) -> None:
        one, two = await world.service("one"), await world.service("two")
        await until(lambda: two.telling.on)
        await one.halt()  # it hangs: only its connection ends
        await world.kill(one)
        gone = time.monotonic()
        await until(lambda: two.tenure.holding)
        assert time.monotonic() - gone > QUICK["GRACE"]
        await until(lambda: two.watch.said[:2] == ["begin", "watch"])
        assert await world.holder() == Holder("two", 2)

    lines = play(act)
    assert [line["before"] for line in lines if line["event"] == "taking the watch over"] == ["one"]


def test_a_start_waits_for_nobody_and_takes_its_own_over_at_once(play: Any) -> None:
    async def act(world: World) -> None:
        await (await world.service("one")).end()
        await execute(world.pool, "UPDATE gateway_state SET value = %s", msgspec.json.encode(Holder("one", 7)))
        other = await world.service("two", start=False)
        begun = time.monotonic()
        await other.tenure.open()
        assert time.monotonic() - begun < QUICK["GRACE"], "terminals come first"
        assert not other.tenure.holding
        assert other.tenure.shared, "somebody else has been here"
        again = await world.service("one")  # the lock was given back
        assert again.tenure.holding
        assert await world.holder() == Holder("one", 8)

    play(act)


def test_a_lost_connection_stops_the_work_and_not_the_watching(play: Any) -> None:
    async def act(world: World) -> None:
        one = await world.service("one")
        await until(lambda: "work" in one.watch.said)
        await world.kill(one)
        await until(lambda: "worked" in one.watch.said)
        await until(lambda: one.watch.said.count("work") == 2)
        assert one.watch.said == ["begin", "watch", "work", "worked", "work"], "nobody watched meanwhile"
        assert one.tenure.holding
        assert await world.holder() == Holder("one", 1)

    lines = play(act)
    assert [line["event"] for line in lines].count("the watch's own connection is lost") == 1


def test_who_finds_another_in_its_place_forgets_and_stands_by(play: Any) -> None:
    async def act(world: World) -> None:
        one = await world.service("one")
        await until(lambda: "work" in one.watch.said)
        lock = await psycopg.AsyncConnection.connect(world.dsn, autocommit=True)
        async with lock:
            waiting = asyncio.create_task(lock.execute("SELECT pg_advisory_lock(%s, 0)", (0x646F7A,)))
            await asyncio.sleep(0.1)
            await world.kill(one)
            await waiting
            await until(lambda: "forget" in one.watch.said)
            assert one.watch.said == ["begin", "watch", "work", "worked", "watched", "forget"]
            assert not one.tenure.holding
            assert one.tenure.shared
            await execute(world.pool, "UPDATE gateway_state SET value = %s", msgspec.json.encode(Holder("x", 5, True)))
        await until(lambda: one.tenure.holding)
        await until(lambda: one.watch.said[6:8] == ["begin", "watch"])  # what another learned is read anew
        assert await world.holder() == Holder("one", 6)

    play(act)


def test_a_server_that_hangs_is_left_in_time(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections live, but nothing is answered."""
    monkeypatch.setattr(module, "PATIENCE", 0.4)

    async def act(world: World) -> None:
        one = await world.service("one")
        await until(lambda: "work" in one.watch.said)
        async with await psycopg.AsyncConnection.connect(world.dsn) as blocker:
            await blocker.execute("LOCK TABLE gateway_state IN ACCESS EXCLUSIVE MODE")
            await world.kill(one)
            begun = time.monotonic()
            await until(lambda: not one.tenure.holding)
            await asyncio.sleep(0.8)
            assert not one.tenure.holding, "the row cannot be read: nothing is begun"
            assert one.watch.at["worked"] - begun < 1.5, "work stops at once"
        await until(lambda: one.tenure.holding)

    play(act)


def test_work_that_does_not_end_holds_up_no_stop(play: Any) -> None:
    async def act(world: World) -> None:
        one = await world.service("one")
        await until(lambda: "work" in one.watch.said)
        one.watch.hangs = True
        working = one.tenure._working
        assert working is not None
        begun = time.monotonic()
        await one.halt()
        await one.tenure.close()
        assert QUICK["ENDING"] <= time.monotonic() - begun < QUICK["ENDING"] + 5
        assert one.watch.said[-1] == "stop"
        one.watch.hangs = False
        working.cancel()
        await asyncio.wait({working})

    play(act)


def test_work_that_ends_by_itself_is_a_failure_that_lets_go_of_the_lock(play: Any) -> None:
    async def act(world: World) -> None:
        one = await world.service("one")
        await until(lambda: "work" in one.watch.said)
        one.watch.fails.set()
        assert one.running is not None
        await asyncio.wait({one.running})
        with pytest.raises(RuntimeError, match="ended by itself"):
            one.running.result()
        assert (one.tenure.holding, one.tenure._link) == (False, None)
        async with world.pool.connection() as link:
            await link.execute("SET LOCAL lock_timeout = '5s'")  # the server takes a moment to see the session end
            await link.execute("SELECT pg_advisory_xact_lock(%s, 0)", (0x646F7A,))

    play(act)


def test_a_watch_that_cannot_begin_is_told_and_tried_again(play: Any) -> None:
    async def act(world: World) -> None:
        one = await world.service("one", start=False)

        async def fails() -> None:
            one.watch.restores = None
            raise ValueError("a snapshot of nonsense")

        one.watch.restores = fails
        await one.start()
        assert (one.tenure.holding, one.tenure._link) == (False, None)
        await until(lambda: one.tenure.holding)
        assert one.watch.said[:2] == ["begin", "begin"]

    lines = play(act)
    assert [line["event"] for line in lines].count("the watch does not begin, and is tried again") == 1


@pytest.mark.parametrize("begun", [False, True])
def test_no_part_is_taken_in_a_store_of_another_schema(play: Any, begun: bool) -> None:
    async def act(world: World) -> None:
        one = await world.service("one", start=begun)
        await execute(world.pool, "INSERT INTO schema_version (number, name) VALUES (9000, 'x')")
        if not begun:
            with pytest.raises(SchemaError, match="9000"):
                await one.tenure.open()
            return
        await world.kill(one)
        assert one.running is not None
        await asyncio.wait({one.running}, timeout=8)
        assert one.running.done()
        assert ["9000" in reason for reason in one.failed] == [True]
        assert not one.tenure.holding

    play(act)


@pytest.mark.parametrize("written", [b"", b"{}", b'{"service":1,"term":"x"}', b"\xff\x00"])
def test_a_row_that_cannot_be_read_is_none(play: Any, written: bytes) -> None:
    async def act(world: World) -> None:
        await execute(
            world.pool,
            "INSERT INTO gateway_state (key, value, saved_at) VALUES ('watch.holder', %s, now())",
            written,
        )
        one = await world.service("one")
        assert one.tenure.holding
        assert await world.holder() == Holder("one", 1)

    play(act)


def test_what_is_told_during_the_restoring_is_heard(play: Any) -> None:
    async def act(world: World) -> None:
        one = await world.service("one", start=False)

        async def restores() -> None:
            await execute(world.pool, "SELECT pg_notify(%s, 'meanwhile')", CHANNEL)

        one.watch.restores = restores
        await one.start()
        await until(lambda: one.hearing.heard == ["meanwhile"])

    play(act)


def test_other_services_are_remembered_for_a_while(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(world: World) -> None:
        one = await world.service("one")
        assert not one.tenure.shared
        two = await world.service("two")
        await until(lambda: one.tenure.shared)
        await two.end()
        assert await world.holder() == Holder("one", 1), "who stood by ends nobody's watch"
        await asyncio.sleep(0.3)
        assert one.tenure.shared, "what it stored may still be news"
        monkeypatch.setattr(module, "SHARED_FOR", 0.1)
        await until(lambda: not one.tenure.shared)

    play(act)


def test_an_answer_that_does_not_come_is_waited_for_no_longer() -> None:
    async def go() -> None:
        never = asyncio.get_running_loop().create_future()
        with pytest.raises(TimeoutError, match="no answer in time"):
            await _within(0.01, never)
        assert never.cancelled()

        async def stubborn() -> int:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            raise ValueError("late, and told to nobody")

        untold: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: untold.append(context))
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            await _within(0.01, stubborn())
        assert time.monotonic() - begun < 1
        await asyncio.sleep(0.01)
        gc.collect()
        assert untold == []

        async def answered() -> int:
            return 7

        assert await _within(1, answered()) == 7
        inner = asyncio.create_task(asyncio.sleep(60))
        outer = asyncio.create_task(_within(60, inner))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        outer.cancel()
        await asyncio.wait({outer, inner}, timeout=1)
        assert outer.cancelled()
        assert inner.cancelled()

    asyncio.run(go())
