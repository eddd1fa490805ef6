"""What is due is done once, some at a time; what fails is put off alone; a store that is away leaves all of it."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
import structlog
from psycopg_pool import PoolTimeout

from gateway.watch.agenda import AT_ONCE, REFUSED, Agenda, is_away


class Doing:
    """Acts that are counted; those of `failing` raise."""

    def __init__(self) -> None:
        self.done: list[tuple[int, float]] = []
        self.failing: dict[int, Exception] = {}
        self.at_once = self.most = 0

    def __call__(self, row: int):
        async def act(now: float) -> None:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            await asyncio.sleep(0)
            self.at_once -= 1
            if row in self.failing:
                raise self.failing[row]
            self.done.append((row, now))

        return act


def settle(agenda: Agenda, now: float) -> int:
    return asyncio.run(agenda.settle(now))


def test_what_is_due_is_done_once_and_some_at_a_time() -> None:
    agenda, doing = Agenda(), Doing()
    for row in (*range(11), 3, 4):
        agenda.put(("silence", row), doing(row), 100.0)
    agenda.put(("firmware", 3), doing(30), 100.0)
    assert settle(agenda, 101.0) == 12
    assert doing.done == [(row, 101.0) for row in (*range(11), 30)]
    assert doing.most == AT_ONCE
    assert settle(agenda, 102.0) == 0


def test_what_fails_is_put_off_alone_and_told() -> None:
    agenda, doing = Agenda(), Doing()
    doing.failing[2] = RuntimeError("no")
    for row in range(5):
        agenda.put(("silence", row), doing(row), 100.0)
    with structlog.testing.capture_logs() as lines:
        assert settle(agenda, 100.0) == 5
    assert [line["event"] for line in lines] == ["incident refused"]
    assert (lines[0]["kind"], lines[0]["terminal"], lines[0]["error"]) == ("silence", 2, "RuntimeError: no")
    assert [row for row, _ in doing.done] == [0, 1, 3, 4]
    assert agenda.refused == {"silence": 1}
    doing.failing.clear()
    agenda.put(("silence", 2), doing(2), 100.0 + REFUSED - 1)
    asyncio.run(agenda.attempt(("silence", 2), doing(2), 100.0 + REFUSED - 1))
    assert settle(agenda, 100.0 + REFUSED - 1) == 0  # it is held
    agenda.put(("silence", 2), doing(2), 100.0 + REFUSED)
    assert settle(agenda, 100.0 + REFUSED) == 1


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_what_failed_is_held_as_long_when_the_clock_is_set(jump: float) -> None:
    agenda, doing = Agenda(), Doing()
    doing.failing[1] = RuntimeError("no")
    agenda.put(("silence", 1), doing(1), 10_000.0)
    settle(agenda, 10_000.0)
    doing.failing.clear()
    agenda.shift(jump)
    now = 10_000.0 + jump
    agenda.put(("silence", 1), doing(1), now + REFUSED - 1)
    assert settle(agenda, now + REFUSED - 1) == 0
    agenda.put(("silence", 1), doing(1), now + REFUSED + 1)
    assert settle(agenda, now + REFUSED + 1) == 1


def test_a_store_that_is_away_leaves_all_that_is_not_done() -> None:
    agenda, doing = Agenda(), Doing()
    doing.failing[1] = psycopg.OperationalError("away")
    for row in range(6):
        agenda.put(("silence", row), doing(row), 100.0)
    with pytest.raises(psycopg.OperationalError, match="away"):
        settle(agenda, 100.0)
    assert [row for row, _ in doing.done] == [0, 2, 3]
    assert agenda.refused == {}
    doing.failing.clear()
    assert settle(agenda, 101.0) == 3
    assert doing.done[3:] == [(1, 101.0), (4, 101.0), (5, 101.0)]


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (PoolTimeout("none free"), True),
        (psycopg.OperationalError("connection lost"), True),
        (psycopg.errors.ConnectionFailure(), True),
        (psycopg.errors.TooManyConnections(), True),
        (psycopg.errors.DiskFull(), True),
        (psycopg.errors.AdminShutdown(), True),
        (psycopg.errors.LockNotAvailable(), False),
        (psycopg.errors.DeadlockDetected(), False),
        (psycopg.errors.QueryCanceled(), False),
        (psycopg.errors.UniqueViolation(), False),
        (RuntimeError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_store_that_is_away_is_told_from_one_that_refuses(error: Exception, away: bool) -> None:
    assert is_away(error) is away
