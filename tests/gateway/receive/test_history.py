"""Facts beside the records: kept until they are written, the newest wins, each instance's connections are its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog

from gateway.receive import history as module
from gateway.receive.history import History
from gateway.receive.instance import instance_name
from gateway.receive.terminals import NO_ROW, PENDING, Terminals
from gateway.store.pools import Pool


class World:
    """A store, and processes that write their histories into it."""

    def __init__(self, dsn: str, pool: Pool) -> None:
        self.dsn, self.pool = dsn, pool
        self.wall = 1_700_000_000.0

    def history(self, instance: str = "one", worker: int = 0) -> History:
        return History(self.pool, Terminals(self.pool, "accept"), instance, worker, clock=lambda: self.wall)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as link:
            return link.execute(sql.encode()).fetchall()


def run(dsn: str, act: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def go() -> None:
        async with (
            asyncio.timeout(30),
            Pool(dsn, min_size=1, max_size=2, open=False, kwargs={"autocommit": True}) as pool,
            pool.connection() as link,
        ):
            await link.execute("INSERT INTO terminal (identity) VALUES ('a'), ('b'), ('c')")
            await act(World(dsn, pool))

    asyncio.run(go())


def test_what_is_told_while_a_flush_fails_is_not_undone(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.3)

    async def act(world: World) -> None:
        history = world.history()
        history.told(1, firmware="old", model="FMB920")
        with psycopg.connect(world.dsn) as lock:
            lock.execute("LOCK TABLE terminal IN EXCLUSIVE MODE")
            flushing = asyncio.create_task(history.flush())
            while not world.query("SELECT FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110  # the server alone knows
                await asyncio.sleep(0.01)
            history.told(1, firmware="new")
            assert await flushing is False
        assert await history.flush() is True
        assert world.query("SELECT firmware, model_told FROM terminal WHERE id = 1") == [("new", "FMB920")]

    run(postgres_dsn, act)


def test_what_could_not_be_written_is_written_later(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.2)

    async def act(world: World) -> None:
        history = world.history()
        with psycopg.connect(world.dsn) as lock, structlog.testing.capture_logs() as lines:
            lock.execute("LOCK TABLE connection, terminal IN EXCLUSIVE MODE")
            numbers = [history.opened("a", "teltonika", f"192.0.2.{n}:1", 100.0 + n) for n in range(3)]
            history.told(2, firmware="1.0")
            for _ in range(2):
                assert await history.flush() is False
            history.closed(numbers[0], 200.0, 5, 1, "idle timeout")
            assert await history.flush() is False
            lock.commit()
            assert await history.flush() is True
        found = "SELECT id, address, frames, reason FROM connection ORDER BY id"
        assert world.query(found) == [
            (numbers[0], "192.0.2.0:1", 5, "idle timeout"),
            (numbers[1], "192.0.2.1:1", 0, None),
            (numbers[2], "192.0.2.2:1", 0, None),
        ]
        assert world.query("SELECT firmware FROM terminal WHERE id = 2") == [("1.0",)]
        told = [line["event"] for line in lines]
        assert told == ["history not written: it waits", "history written again"], "once, not at each attempt"

    run(postgres_dsn, act)


def test_an_answer_that_was_lost_stops_nothing(postgres_dsn: str) -> None:
    """It was committed, and is written again."""

    async def act(world: World) -> None:
        history = world.history()
        history.opened("a", "teltonika", "192.0.2.1:1", 100.0)
        opened = history._opened.waiting.copy()
        assert await history.flush()
        history._opened.give_back(opened)
        history.opened("b", "teltonika", "192.0.2.2:1", 100.0)
        with structlog.testing.capture_logs() as lines:
            assert await history.flush()
        assert not lines
        assert world.query("SELECT terminal FROM connection ORDER BY id") == [("a",), ("b",)]

    run(postgres_dsn, act)


def test_no_end_is_written_before_its_beginning(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLICE", 2)

    async def act(world: World) -> None:
        history = world.history()
        numbers = [history.opened("a", "teltonika", "192.0.2.1:1", 100.0) for _ in range(7)]
        for number in reversed(numbers):
            history.closed(number, 200.0, 5, 1, "idle timeout")
        assert await history.flush()
        assert world.query("SELECT count(*) FROM connection WHERE closed_at IS NOT NULL") == [(7,)]

    run(postgres_dsn, act)


def test_what_waits_is_bounded_and_the_oldest_goes(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BOUND", 10)

    async def act(world: World) -> None:
        history = world.history()
        for n in range(25):
            history.opened("a", "teltonika", f"192.0.2.1:{n}", 100.0)
        taken = history._opened.take()
        for n in range(25, 30):
            history.opened("a", "teltonika", f"192.0.2.1:{n}", 100.0)
        history._opened.give_back(taken)
        history._tell("away")
        with structlog.testing.capture_logs() as lines:
            assert await history.flush()
        assert [int(address.rpartition(":")[2]) for (address,) in world.query(
            "SELECT address FROM connection ORDER BY id"
        )] == list(range(20, 30))  # fmt: skip
        assert lines[-1]["dropped"] == 20

    run(postgres_dsn, act)


def test_one_fact_that_the_store_refuses_holds_up_no_other(postgres_dsn: str) -> None:
    async def act(world: World) -> None:
        history = world.history()
        for n in range(9):
            history.opened("a", "teltonika", "\0" if n == 4 else f"192.0.2.{n}:1", 100.0)
        history.told(1, firmware="1.0")
        with structlog.testing.capture_logs() as lines:
            assert await history.flush()
            assert await history.flush()
        assert world.query("SELECT count(*) FROM connection") == [(8,)]
        assert world.query("SELECT firmware FROM terminal WHERE id = 1") == [("1.0",)]
        assert [line["event"] for line in lines] == ["the store refuses a fact of the history"]

    run(postgres_dsn, act)


def test_the_newest_wins_whoever_writes_last(postgres_dsn: str) -> None:
    async def act(world: World) -> None:
        slow, quick = world.history("one"), world.history("two")
        slow.told(1, firmware="1.0", model="old")
        world.wall += 10
        quick.told(1, firmware="2.0")
        assert await quick.flush()
        assert await slow.flush()
        assert world.query("SELECT firmware, model_told FROM terminal WHERE id = 1") == [("2.0", "old")]
        world.wall += 10
        slow.told(1, firmware="1.0")  # it says so again: now it is the newest
        assert await slow.flush()
        assert world.query("SELECT firmware FROM terminal WHERE id = 1") == [("1.0",)]

    run(postgres_dsn, act)


@pytest.mark.parametrize("flushed", [True, False], ids=["stored", "still waiting"])
def test_what_an_old_record_tells_never_overrides_a_newer_one(postgres_dsn: str, flushed: bool) -> None:
    async def act(world: World) -> None:
        history, now = world.history(), world.wall
        history.told(1, now - 60, firmware="2.0", model="new")
        if flushed:
            assert await history.flush()
        history.told(1, now - 7200, firmware="1.0", model="old")  # out of the black box
        history.told(2, now - 7200, firmware="1.0")
        assert await history.flush()
        assert world.query("SELECT firmware, model_told FROM terminal WHERE id < 3 ORDER BY id") == [
            ("2.0", "new"), ("1.0", None),
        ]  # fmt: skip
        history.told(1, now + 86_400, firmware="3.0")  # by a clock that is ahead: it is now at most
        assert await history.flush()
        world.wall += 1
        history.told(1, firmware="4.0")
        assert await history.flush()
        assert world.query("SELECT firmware FROM terminal WHERE id = 1") == [("4.0",)]

    run(postgres_dsn, act)


def test_what_could_not_be_written_stays_newer_than_what_an_old_record_told_meanwhile(postgres_dsn: str) -> None:
    async def act(world: World) -> None:
        history, now = world.history(), world.wall
        history.told(1, firmware="2.0")
        taken = history._told["firmware"].take()
        history.told(1, now - 7200, firmware="1.0")
        history._told["firmware"].give_back(taken)
        assert await history.flush()
        assert world.query("SELECT firmware FROM terminal WHERE id = 1") == [("2.0",)]

    run(postgres_dsn, act)


def test_what_a_cancelled_flush_had_taken_is_written_by_the_last_one(postgres_dsn: str) -> None:
    async def act(world: World) -> None:
        history = world.history()
        history.told(1, firmware="1.0")
        history.opened("a", "teltonika", "192.0.2.1:1", world.wall)
        with psycopg.connect(world.dsn) as lock:
            lock.execute("LOCK TABLE terminal IN EXCLUSIVE MODE")
            running = asyncio.create_task(history.flush())
            while not world.query("SELECT FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110  # the server alone knows
                await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.wait({running})
        assert await history.flush()
        assert world.query("SELECT firmware FROM terminal WHERE id = 1") == [("1.0",)]
        assert world.query("SELECT terminal FROM connection") == [("a",)]

    run(postgres_dsn, act)


def test_what_is_told_again_is_seldom_written(postgres_dsn: str) -> None:
    def at(world: World) -> list[tuple[Any, ...]]:
        return world.query(
            "SELECT firmware, extract(epoch FROM firmware_at)::int, extract(epoch FROM protocol_at)::int FROM terminal"
            " WHERE id = 1"
        )

    async def act(world: World) -> None:
        history, begun = world.history(), int(world.wall)
        for later, firmware, told in ((0, "1.0", 0), (50, "1.0", 0), (61, "1.0", 61), (70, "2.0", 70)):
            world.wall = begun + later
            history.told(1, firmware=firmware, protocol="omnicomm")
            assert await history.flush()
            assert at(world) == [(firmware, begun + told, begun)], "a datagram tells its protocol each time"

    run(postgres_dsn, act)


def test_a_store_that_is_away_is_tried_at_growing_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    written = [True, False, False, False, False, False, True, True]

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def go() -> None:
        history = History(None, Terminals(None, "accept"), "one")  # type: ignore[arg-type]

        async def flush() -> bool:
            if not written:
                raise asyncio.CancelledError
            return written.pop(0)

        monkeypatch.setattr(history, "flush", flush)
        monkeypatch.setattr(module.asyncio, "sleep", sleep)
        with pytest.raises(asyncio.CancelledError):
            await history.run()

    asyncio.run(go())
    assert pauses == [1.0, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 1.0, 1.0]


def test_what_a_terminal_without_a_row_tells_waits_for_its_row(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STRANGERS", 2)

    async def act(world: World) -> None:
        terminals = Terminals(world.pool, "accept")
        history = History(world.pool, terminals, "one", clock=lambda: world.wall)
        for name in ("forgotten", "b", "c"):
            history.told_by(name, NO_ROW, firmware="1.0", model=name, protocol="omnicomm")
        history.told_by("b", PENDING, world.wall - 3600, firmware="0.9")  # out of the black box
        world.wall += 60
        history.told_by("c", PENDING, firmware="2.0", model=None)
        assert await history.flush()
        assert world.query("SELECT 1 FROM terminal WHERE firmware IS NOT NULL") == []
        await terminals.load()
        terminals.rows["forgotten"] = terminals.rows["a"]
        assert await history.flush()
        assert world.query("SELECT identity, firmware, model_told, protocol FROM terminal ORDER BY 1") == [
            ("a", None, None, None),
            ("b", "1.0", "b", "omnicomm"),
            ("c", "2.0", "c", "omnicomm"),
        ]
        history.told(2, world.wall - 30, firmware="1.1")
        assert await history.flush()
        assert world.query("SELECT firmware FROM terminal WHERE id = 2") == [("1.1",)], "it was told before that"

    run(postgres_dsn, act)


def test_what_a_terminal_tells_of_modem_and_card_is_in_its_row(postgres_dsn: str) -> None:
    imei, made_up = "356938035643809", "356938035643800"

    async def act(world: World) -> None:
        history = world.history()
        history.told(1, imei=imei, iccid="89701017034562198421", imsi="250017034562198", operator="25001")
        history.called("b", 2, certain=True)
        history.called(made_up, 2, certain=True)  # what it was called first: an identity never changes
        history.called(imei, 3, certain=False)
        history.called(imei, NO_ROW, certain=False)  # a stranger: kept until it has a row
        assert await history.flush()
        assert world.query("SELECT imei, iccid, imsi, operator_told, operator FROM terminal ORDER BY id") == [
            (imei, "89701017034562198421", "250017034562198", "25001", None),
            (None,) * 5,
            (imei, None, None, None, None),
        ]
        assert history._strangers == {imei: {"imei": (imei, world.wall)}}

    run(postgres_dsn, act)


def test_a_clock_that_was_ahead_keeps_nothing_out(postgres_dsn: str) -> None:
    async def act(world: World) -> None:
        history = world.history()
        world.wall = 4e9
        history.told(1, firmware="1.0")
        assert await history.flush()
        world.wall = 1.7e9
        history.told(1, firmware="2.0")
        assert await history.flush()
        assert world.query("SELECT firmware FROM terminal WHERE id = 1") == [("2.0",)]

    run(postgres_dsn, act)


@pytest.mark.parametrize(
    ("worker", "ended"),
    [(0, {"0", "1", "2", "before"}), (1, {"1"}), (2, {"2"})],
    ids=["the service", "worker 1", "worker 2"],
)
def test_only_ones_own_connections_are_ended_at_a_start(postgres_dsn: str, worker: int, ended: set[str]) -> None:
    async def act(world: World) -> None:
        for number in range(3):
            former = world.history("one", number)
            former.opened(str(number), "teltonika", "192.0.2.1:1", 100.0)
            other = world.history("other", number)
            other.opened(f"other {number}", "teltonika", "192.0.2.1:1", 100.0)
            assert await former.flush()
            assert await other.flush()
        async with world.pool.connection() as link:
            await link.execute(
                "INSERT INTO connection (id, terminal, protocol, address, opened_at) "
                "VALUES (1, 'before', 'teltonika', '192.0.2.1:1', now())"
            )
        await world.history("one", worker).end_open()
        query = "SELECT terminal FROM connection WHERE closed_at IS NOT NULL AND reason = 'gateway stopped'"
        assert {terminal for (terminal,) in world.query(query)} == ended

    run(postgres_dsn, act)


def test_an_instance_keeps_its_name(tmp_path: Path) -> None:
    name = instance_name(tmp_path / "a")
    assert instance_name(tmp_path / "a") == name
    assert instance_name(tmp_path / "b") != name
    (tmp_path / "a" / "instance").write_bytes(b"")
    other = instance_name(tmp_path / "a")
    assert other != name
    assert instance_name(tmp_path / "a") == other
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["instance"]
