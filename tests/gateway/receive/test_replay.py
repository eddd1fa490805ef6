"""Frames out of quarantine: those of the registered, in order, each once, and gone only when they are in the store."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.receive import replay as module
from gateway.receive.replay import Replay, Replays
from protocols.records import Frame, Reply
from protocols.registry import PROTOCOLS, protocol
from tests.ticketing.desk_parts import execute, fetch, pool_of

AHEAD = 1000.0  # s by which the wall clock is ahead of the loop's, here


class Pipeline:
    """What it is given, and whether it can be stored: `away` from so many frames on."""

    def __init__(self) -> None:
        self.given: list[tuple[str, int, bytes, int, int, float]] = []
        self.barriers = 0
        self.away = 1 << 30
        self.at_barrier: Callable[[], Awaitable[object]] | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def put(self, source: Replay, item: Frame | Reply, now: float) -> None:
        assert (source.waits, source.registered) == (False, True), "its answer was given long ago, and it is decoded"
        if isinstance(item, Frame):
            self.given.append((source.terminal, source.protocol, item.data, item.records, item.variant, now))
        task = asyncio.get_running_loop().create_task(self._later(source, item))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _later(self, source: Replay, item: Frame | Reply) -> None:
        if isinstance(item, Reply):
            self.barriers += 1
            act, self.at_barrier = self.at_barrier, None
            if act is not None:
                await act()
        if len(self.given) >= self.away:
            source.abandoned()
        else:
            source.committed([item])


class World:
    """A registry with `a` and `b`, and a quarantine."""

    def __init__(self, pool: Any, *, shared: bool) -> None:
        self.pool, self.pipeline = pool, Pipeline()
        wire = [protocol(name) for name in PROTOCOLS]
        self.numbers = {its.name: number for number, its in enumerate(wire)}
        self.replays = Replays(pool, self.pipeline, wire, lambda: AHEAD, shared=shared)  # type: ignore[arg-type]

    async def keep(self, terminal: str, data: bytes, **other: Any) -> None:
        row = {"protocol": "teltonika", "variant": 0, "received": 5000.0, "reason": "unregistered", **other}
        await execute(
            self.pool,
            "INSERT INTO quarantine (terminal, protocol, variant, received, reason, data, digest) "
            "VALUES (%s, %s, %s, to_timestamp(%s), %s, %s, %s)",
            terminal, row["protocol"], row["variant"], row["received"], row["reason"], data,
            hashlib.sha256(terminal.encode() + data).digest(),
        )  # fmt: skip

    async def left(self) -> list[bytes]:
        return [bytes(row[0]) for row in await fetch(self.pool, "SELECT data FROM quarantine ORDER BY id")]

    def data(self) -> list[bytes]:
        return [given[2] for given in self.pipeline.given]


@pytest.fixture
def play(shared_dsn: str) -> Callable[..., None]:
    def run(act: Callable[[World], Awaitable[None]], *, shared: bool = False) -> None:
        async def go() -> None:
            async with asyncio.timeout(30), pool_of(shared_dsn) as pool:
                await execute(pool, "DELETE FROM quarantine")
                await execute(pool, "INSERT INTO terminal (identity) VALUES ('a'), ('b') ON CONFLICT DO NOTHING")
                await act(World(pool, shared=shared))

        asyncio.run(go())

    return run


def test_those_of_the_registered_go_in_order_and_are_gone(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 2)

    async def act(world: World) -> None:
        for n in range(5):
            await world.keep("a", b"a%d" % n)
            await world.keep("b", b"b%d" % n)
            await world.keep("stranger", b"s%d" % n)
        await world.keep("a", b"damaged", reason="structure")
        await world.keep("a", b"of a newer version", protocol="morse")
        await world.replays.release("a")
        assert world.data() == [b"a%d" % n for n in range(5)]
        await world.replays.release(None)
        assert world.data()[5:] == [b"b%d" % n for n in range(5)]
        assert await world.left() == [*(b"s%d" % n for n in range(5)), b"damaged", b"of a newer version"]

    play(act)


def test_each_goes_as_it_came(play: Any) -> None:
    async def act(world: World) -> None:
        await world.keep("a", b"x" * 400, variant=3, received=7777.25, protocol="omnicomm")
        await world.keep("b", b"y")
        await world.replays.release(None)
        assert world.pipeline.given == [
            ("a", world.numbers["omnicomm"], b"x" * 400, 10, 3, 7777.25 - AHEAD),
            ("b", world.numbers["teltonika"], b"y", 1, 0, 5000.0 - AHEAD),
        ]

    play(act)


def test_what_was_not_stored_stays(play: Any) -> None:
    async def act(world: World) -> None:
        for n in range(4):
            await world.keep("a", b"a%d" % n)
        world.pipeline.away = 3
        await world.replays.release("a")
        assert await world.left() == [b"a2", b"a3"]
        world.pipeline.away = 1 << 30
        await world.replays.release("a")
        assert await world.left() == []

    play(act)


def test_what_is_on_its_way_into_quarantine_is_waited_for(play: Any) -> None:
    """It was taken before its terminal was registered, and is behind nothing that comes after it."""

    async def act(world: World) -> None:
        await world.keep("a", b"first")

        async def arrives() -> None:
            await world.keep("a", b"second")

        world.pipeline.at_barrier = arrives
        await world.replays.release("a")
        assert (world.data(), world.pipeline.barriers) == ([b"first", b"second"], 1)
        assert await world.left() == []

    play(act)


@pytest.mark.parametrize("shared", [True, False])
def test_a_second_look_follows_where_others_take_frames_too(
    play: Any, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    monkeypatch.setattr(module, "_LATE", 0.02)

    async def act(world: World) -> None:
        looks: list[str | None] = []

        async def look(terminal: str | None) -> None:
            looks.append(terminal)

        monkeypatch.setattr(world.replays, "release", look)
        for _ in range(5):
            world.replays.release_late()
        assert looks == []
        await asyncio.sleep(0.1)
        assert looks == ([None] if shared else []), "one for all that asked"
        world.replays.release_late()
        await asyncio.sleep(0)
        late = world.replays._late
        world.replays.release_late()
        assert world.replays._late is late, "one at a time"
        await asyncio.sleep(0.15)
        assert len(looks) == (3 if shared else 0), "who asks during the wait is looked for once more"

    play(act, shared=shared)


def test_a_replay_that_nobody_waits_for_any_more_is_no_error() -> None:
    """What waits for a commit may be cancelled before it comes: the commit's other frames must not suffer from that."""

    async def wait(replay: Replay) -> bool:
        return await replay.stored

    async def inside() -> None:
        replay = Replay(0, "356938035643809")
        waiting = asyncio.create_task(wait(replay))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        replay.committed([])
        replay.abandoned()
        assert replay.stored.cancelled()
        kept = Replay(0, "356938035643809")
        kept.committed([])
        assert await kept.stored
        lost = Replay(0, "356938035643809")
        lost.abandoned()
        assert not await lost.stored

    asyncio.run(inside())
