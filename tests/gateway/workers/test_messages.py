"""The pair between service and worker; what waits when the other end is slow; who has which terminal."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import numpy as np
import pytest

from gateway.receive.pipeline import Accepted
from gateway.store.writer import no_rows
from gateway.watch.contacts import Told, unpack
from gateway.watch.detecting import DETECTORS
from gateway.workers import summaries
from gateway.workers.child import Logins
from gateway.workers.messages import Admitted, Heard, Link, LoggedIn, Message, Stop, ToService, ToWorker
from gateway.workers.summaries import Summaries


async def _pair(
    to_service: Callable[[Message], None], to_worker: Callable[[Message], None], room: Callable[[], None] = lambda: None
) -> tuple[Link, Link]:
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    service, worker = Link(ToService, to_service, lambda: None), Link(ToWorker, to_worker, room)
    for link, sock in ((service, ours), (worker, theirs)):
        sock.setblocking(False)
        await loop.create_unix_connection(lambda link=link: link, sock=sock)  # type: ignore[misc]
    return service, worker


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass")


def test_messages_arrive_whole_and_in_order() -> None:
    async def run() -> None:
        heard: list[Message] = []
        told: list[Message] = []
        service, worker = await _pair(heard.append, told.append)
        sent = [Heard({"terminal": bytes(size)}) for size in (0, 1, 70_000, 3_000_000)]
        for message in sent:
            worker.send(message)
        service.send(Admitted(2, [("a", "10.0.0.1:5")]))
        service.send(Stop())
        await _until(lambda: len(heard) == 4 and len(told) == 2)
        assert heard == sent
        assert told == [Admitted(2, [("a", "10.0.0.1:5")]), Stop()]
        worker.close()
        await asyncio.wait_for(service.lost, 5)
        service.send(Stop())  # to nobody
        await asyncio.wait_for(worker.lost, 5)

    asyncio.run(run())


def test_a_full_pair_is_told_and_room_too() -> None:
    async def run() -> None:
        rooms: list[bool] = []
        service, worker = await _pair(lambda _: None, lambda _: None, lambda: rooms.append(True))
        assert service._transport is not None
        service._transport.pause_reading()
        while not worker.full:
            worker.send(Heard({"terminal": bytes(100_000)}))
        assert worker.unsent > 1 << 20
        service._transport.resume_reading()
        await _until(lambda: bool(rooms))
        assert not worker.full
        worker.close()
        await asyncio.wait_for(service.lost, 5)

    asyncio.run(run())


def _batch(terminals: np.ndarray, at: int) -> Accepted:
    return Accepted(terminals.astype(np.int32), np.full(len(terminals), at), no_rows())


def _said(sent: list[dict[str, bytes]]) -> tuple[np.ndarray, np.ndarray]:
    told: list[Told] = [unpack(packed, DETECTORS) for packed in sent]
    return (
        np.concatenate([each.contacts.terminal for each in told]),
        np.concatenate([each.contacts.received for each in told]),
    )


def test_summaries_are_bounded_while_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "KEPT", 14_000)

    async def run() -> None:
        sent: list[dict[str, bytes]] = []
        full = True
        told = Summaries(sent.append, lambda: full)
        for at in range(1, 200):
            told.committed(_batch(np.arange(100), at))
            told.flush()
            assert told._size <= 28_000
        assert sent == []
        full = False
        told.flush()
        terminal, received = _said(sent)
        newest = {int(t): 0 for t in range(100)}
        for row, at in zip(terminal.tolist(), received.tolist(), strict=True):
            newest[row] = max(newest[row], at)
        assert newest == dict.fromkeys(range(100), 199)

    asyncio.run(run())


def test_summaries_leave_by_themselves_and_without_those_that_have_no_row() -> None:
    async def run() -> None:
        sent: list[dict[str, bytes]] = []
        told = Summaries(sent.append, lambda: False)
        told.committed(_batch(np.array([3, -1, -2, 5]), 7))
        await asyncio.sleep(3 * summaries.PERIOD)
        terminal, received = _said(sent)
        assert (terminal.tolist(), received.tolist()) == ([3, 5], [7, 7])

    asyncio.run(run())


def test_logins_at_two_workers_at_once_leave_one() -> None:
    """Whatever the order in which the service hears of them, all workers draw the same conclusion."""

    async def run() -> None:
        said: dict[int, list[Message]] = {1: [], 2: []}

        class Said(Link):
            def __init__(self, number: int) -> None:
                super().__init__(ToWorker, lambda _: None, lambda: None)
                self._number = number

            def send(self, message: Message) -> None:
                said[self._number].append(message)

        workers = {number: Logins(Said(number)) for number in (1, 2)}
        for number, logins in workers.items():
            logins.worker = number
            logins.came("x", f"10.0.0.{number}:1")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert said == {n: [LoggedIn([("x", f"10.0.0.{n}:1")])] for n in (1, 2)}
        order = [(2, [("x", "10.0.0.2:1")]), (1, [("x", "10.0.0.1:1")])]  # as the service heard of them
        closed = {n: [login for who, made in order for login in workers[n].settled(who, made)] for n in (1, 2)}
        assert closed == {1: [], 2: [("x", "10.0.0.1:1")]}
        # Later logins elsewhere are newer than ours.
        assert workers[1].settled(2, [("x", "10.0.0.2:9"), ("y", "10.0.0.2:8")]) == [
            ("x", "10.0.0.2:9"),
            ("y", "10.0.0.2:8"),
        ]

    asyncio.run(run())
