"""Logins that ask the registry: a limited number at a time, first come, first served, nobody forgotten."""

from __future__ import annotations

import asyncio

from gateway.receive.admissions import AT_ONCE, Admissions
from protocols.records import Login


class _Connection:
    """Asks for as long as it is told to; `gone` has nothing to ask any more."""

    def __init__(self, asked: list[_Connection], *, gone: bool = False) -> None:
        self.asked, self.gone = asked, gone
        self.answer = asyncio.Event()

    def ask_registry(self, login: Login) -> asyncio.Task[None] | None:
        self.asked.append(self)
        return None if self.gone else asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        await self.answer.wait()


def _wait(admissions: Admissions, connection: _Connection) -> None:
    admissions.wait(connection, Login("1"))


def test_no_more_than_a_limited_number_asks_at_once() -> None:
    async def go() -> None:
        asked: list[_Connection] = []
        admissions = Admissions()
        connections = [_Connection(asked) for _ in range(3 * AT_ONCE)]
        for connection in connections:
            _wait(admissions, connection)
        assert asked == connections[:AT_ONCE]
        for place, connection in enumerate(connections):
            connection.answer.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert asked == connections[: min(AT_ONCE + place + 1, 3 * AT_ONCE)]

    asyncio.run(go())


def test_one_that_is_cut_off_leaves_its_turn_to_the_next() -> None:
    async def go() -> None:
        asked: list[_Connection] = []
        admissions = Admissions()
        connections = [_Connection(asked) for _ in range(AT_ONCE + 1)]
        for connection in connections:
            _wait(admissions, connection)
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        tasks[0].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert asked == connections

    asyncio.run(go())


def test_those_that_have_nothing_to_ask_hold_up_nobody() -> None:
    async def go() -> None:
        asked: list[_Connection] = []
        admissions = Admissions()
        asking = [_Connection(asked) for _ in range(AT_ONCE)]
        gone = [_Connection(asked, gone=True) for _ in range(5 * AT_ONCE)]
        last = _Connection(asked)
        for connection in (*asking, *gone, last):
            _wait(admissions, connection)
        asking[0].answer.set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert asked == [*asking, *gone, last]

    asyncio.run(go())
