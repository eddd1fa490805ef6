"""What workers tell the watch: soon, in pieces, and in bounded memory while nobody listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from gateway.receive.pipeline import Accepted
from gateway.store.copy import Rows
from gateway.watch.contacts import Told, unpack
from gateway.watch.detecting import DETECTORS
from gateway.workers import summaries as module
from gateway.workers.summaries import Summaries
from protocols.records import BatchBuilder

NOW = 1_800_000_000_000_000  # µs


class World:
    """Where contacts go; `full`: nobody takes any."""

    def __init__(self) -> None:
        self.full = False
        self.sent: list[Told] = []
        self.summaries = Summaries(self.send, lambda: self.full)

    def send(self, packed: dict[str, bytes]) -> None:
        assert not self.full
        self.sent.append(unpack(packed, DETECTORS))

    def terminals(self) -> list[int]:
        return [int(terminal) for told in self.sent for terminal in told.contacts.terminal]


def batch(terminals: Any, second: int) -> Accepted:
    """A frame of each with a live record."""
    rows = np.array(terminals, np.int32)
    at = np.full(len(rows), NOW + second * 1_000_000)
    builder = BatchBuilder()
    for place in range(len(rows)):
        builder.add(frame=place, position=0, time=int(at[0]), fingerprint=place)
    return Accepted(rows, at, Rows(builder.build(), rows, at, at, np.zeros(len(at), np.int8), []), 0)


def play(act: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def go() -> None:
        async with asyncio.timeout(20):
            await act(World())

    asyncio.run(go())


def test_batches_of_a_moment_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PERIOD", 0.03)

    async def act(world: World) -> None:
        for second in range(3):
            world.summaries.committed(batch([1, 2], second))
        assert world.sent == []
        await asyncio.sleep(0.1)
        assert world.terminals() == [1, 1, 1, 2, 2, 2]
        assert len(world.sent) == 1
        world.summaries.committed(batch([3], 4))
        await asyncio.sleep(0.1)
        assert len(world.sent) == 2

    play(act)


def test_many_are_told_at_once_and_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 40)
    monkeypatch.setattr(module, "_PIECE", 8)

    async def act(world: World) -> None:
        world.summaries.committed(batch(range(19), 0))
        assert world.sent == []
        world.summaries.committed(batch(range(19, 21), 1))
        assert [len(told) for told in world.sent] == [8, 8, 5]
        assert world.terminals() == list(range(21))

    play(act)


def test_while_nobody_listens_only_the_newest_of_each_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 2000)

    async def act(world: World) -> None:
        world.full = True
        for second in range(200):
            world.summaries.committed(batch(range(10), second))
            world.summaries.flush()
            assert world.summaries._size == sum(part.nbytes for part in world.summaries._held)
            assert world.summaries._size <= 2 * 2000 + 10 * 21
        world.summaries.committed(batch([99], 300))
        world.summaries.flush()
        assert world.sent == []
        world.full = False
        world.summaries.flush()
        newest = {
            int(t): int(at)
            for told in world.sent
            for t, at in zip(told.contacts.terminal, told.contacts.received, strict=True)
        }
        assert newest == {**dict.fromkeys(range(10), NOW + 199_000_000), 99: NOW + 300_000_000}
        assert (world.summaries._held, world.summaries._size) == ([], 0)

    play(act)


def test_a_fleet_larger_than_the_bound_is_not_merged_at_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 100)
    merged: list[int] = []
    merge = module.merge
    monkeypatch.setattr(module, "merge", lambda *given: merged.append(1) or merge(*given))

    async def act(world: World) -> None:
        world.full = True
        for second in range(60):
            world.summaries.committed(batch(range(50), second))
            world.summaries.flush()
        assert 1 <= len(merged) < 60
        world.full = False
        world.summaries.flush()
        assert sorted(set(world.terminals())) == list(range(50))

    play(act)


def test_who_stops_listening_in_the_middle_gets_the_rest_later() -> None:
    async def act(world: World) -> None:
        world.full = True
        for second in range(3):
            world.summaries.committed(batch([second], second))
            world.summaries.flush()
        world.full = False
        send = world.send

        def once(packed: dict[str, bytes]) -> None:
            send(packed)
            world.full = True

        world.summaries._send = once
        world.summaries.flush()
        assert world.terminals() == [0]
        for _ in range(2):
            world.full = False
            world.summaries.flush()
        assert world.terminals() == [0, 1, 2]

    play(act)
