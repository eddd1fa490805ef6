"""A cursor over real batches: nothing left out, nothing out of order, whatever is in flight and wherever it stops."""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import datetime
from typing import Any

import psycopg
import pytest

from gateway.egress import following as module
from gateway.egress.following import Follower, LostError, Page
from gateway.store.copy import EPOCH
from gateway.store.cursors import BEGINNING, NOW, consumers, ensure, forget, reset
from tests.gateway.egress.world import following, link_to, store_of
from tests.gateway.store.test_writer import DAY, Store, job, record
from tests.gateway.store.test_writer import NOW as STARTED
from tests.gateway.store.world import World

Sent = list[tuple[int, int]]


def sent(page: Page, count: int | None = None) -> Sent:
    keys = page.keys[: len(page.keys) if count is None else count]
    return [(int(k["terminal"]), int(k["time"]) + EPOCH - (STARTED - DAY)) for k in keys]


async def done(follower: Follower, page: Page, count: int | None = None) -> Sent:
    """The first `count` are done with; what they were."""
    count = len(page.keys) if count is None else count
    await follower.move(page, 0, count)
    return sent(page, count)


async def all_of(follower: Follower, most: int = 500) -> Sent:
    found: Sent = []
    while (page := await follower.page(most)) is not None:
        found += await done(follower, page)
    return found


async def first_of(store: Store, link: psycopg.AsyncConnection[Any], name: str, at: int) -> int:
    """A terminal is registered, and its first record is stored; the number of its row."""
    await link.execute("INSERT INTO terminal (identity) VALUES (%s)", (name,))
    row = await (await link.execute("SELECT id FROM terminal WHERE identity = %s", (name,))).fetchone()
    assert row is not None
    store.writer._registry[name] = row[0]  # type: ignore[index]
    told = job([record(row[0], at)])
    told.identities = [(name, "teltonika")]
    told.rows.terminal[:] = 0
    await store.writer.write(store.link, told, STARTED)
    return int(row[0])


def of_terminals(found: Sent) -> dict[int, list[int]]:
    order: dict[int, list[int]] = {}
    for terminal, at in found:
        order.setdefault(terminal, []).append(at)
    return order


def test_a_cursor_stops_anywhere_and_goes_on_there(postgres_dsn: str) -> None:
    async def test() -> None:
        random_ = random.Random(1)
        async with store_of(postgres_dsn) as store, link_to(postgres_dsn) as link:
            await ensure(link, [("a", NOW)])
            expected: Sent = []
            for number in range(40):
                size = random_.randrange(1, 9)
                rows = [(random_.randrange(1, 6), number * 100 + n) for n in range(size)]
                await store.write(*(record(terminal, at) for terminal, at in rows))
                expected += rows
            found: Sent = []
            for _ in range(1000):
                if len(found) >= len(expected):
                    break
                async with following(postgres_dsn) as follower:  # a new life each time
                    for _ in range(random_.randrange(1, 4)):
                        page = await follower.page(random_.randrange(1, 12))
                        if page is None:
                            break
                        count = random_.randrange(len(page.keys) + 1)
                        found += await done(follower, page, count)
                        if random_.random() < 0.2:
                            await follower.prune()
            assert found == expected
            async with following(postgres_dsn) as follower:
                assert await follower.page() is None
                assert follower.oldest is None
                await follower.prune()
            assert store.query("SELECT count(*) FROM egress_batch") == [(0,)]
            assert [(c.sent, c.waiting) for c in await consumers(link)] == [(len(expected), 0)]

    asyncio.run(test())


def test_a_batch_in_flight_is_not_left_out_by_those_that_commit_before_it(postgres_dsn: str) -> None:
    """Several processes, whose commits overtake one another at random."""

    async def worker(terminals: tuple[int, int], stop: asyncio.Event, seed: int) -> dict[int, list[int]]:
        random_ = random.Random(seed)
        stored: dict[int, list[int]] = {terminal: [] for terminal in terminals}
        at = 0
        async with store_of(postgres_dsn) as store, contextlib.AsyncExitStack() as stack:
            if seed % 2:  # slow: within a transaction that stays open for a while
                store.writer.telling = True
            while not stop.is_set():
                at += 10
                rows = [(terminal, at + n) for n in range(3) for terminal in terminals]
                if seed % 2:
                    async with store.link.transaction():
                        await store.link.execute("SELECT egress_begin()")
                        await asyncio.sleep(random_.random() / 20)
                        await store.write(*(record(t, n) for t, n in rows), record(terminals[0], at - 5000))
                        await asyncio.sleep(random_.random() / 5)
                    stored[terminals[0]].append(at - 5000)
                else:
                    await store.write(*(record(t, n) for t, n in rows))
                for terminal, moment in rows:
                    stored[terminal].append(moment)
            del stack
        return stored

    async def test() -> None:
        stop = asyncio.Event()
        async with link_to(postgres_dsn) as link:
            await ensure(link, [("a", NOW)])
        working = [asyncio.create_task(worker((2 * n + 1, 2 * n + 2), stop, n)) for n in range(6)]
        found: Sent = []
        async with following(postgres_dsn) as follower:
            begun = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() - begun < 3:
                page = await follower.page(50)
                if page is None:
                    await asyncio.sleep(0.005)
                else:
                    found += await done(follower, page)
            stop.set()
            stored: dict[int, list[int]] = {}
            for task in working:
                stored |= await task
            found += await all_of(follower)
        assert len(found) == len(set(found)) == sum(map(len, stored.values()))
        order = of_terminals(found)
        for terminal, moments in stored.items():
            assert sorted(order[terminal]) == sorted(moments)
            live = [moment for moment in order[terminal] if moment > 0]
            assert live == sorted(live), "in the order in which they were stored"

    asyncio.run(test())


def test_what_came_before_is_sent_terminal_by_terminal_and_then_what_came_since(
    either_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAGE", 7)

    async def test() -> None:
        async with store_of(either_dsn) as store, link_to(either_dsn) as link:
            for at in range(0, 30, 2):
                await store.write(*(record(terminal, at + n) for terminal in (1, 3, 5) for n in (0, 1)))
            await store.write(record(3, -7), record(5, 30 * DAY))  # late, and dated ahead
            await link.execute(
                "UPDATE record SET received = received + interval '1 minute' WHERE terminal = 3 AND "
                "time < (SELECT min(time) FROM record WHERE terminal = 1)"
            )
            await ensure(link, [("a", BEGINNING)])
            await store.write(record(1, 100), record(7, 100))
            found: Sent = []
            while True:
                async with following(either_dsn, "a", BEGINNING) as follower:
                    assert follower.oldest is not None
                    page = await follower.page()
                    if page is not None and len(page.keys) == 2:  # those told
                        break
                    assert page is not None
                    if len(page.keys) > 3:
                        await follower.move(page, 0, 3)
                        found += sent(page, 3)
                        page = await follower.page()
                        assert page is not None
                    found += await done(follower, page)
            found += sent(page)
            order = of_terminals(found)
            # What was stored while the history was sent may come twice, never out of order.
            first = {terminal: list(dict.fromkeys(moments)) for terminal, moments in order.items()}
            assert first == {
                1: [*range(30), 100],
                3: [*range(30), -7],
                5: [*range(30), 30 * DAY],
                7: [100],
            }
            assert [terminal for terminal, _ in found[:30]] == [1] * 30

    asyncio.run(test())


def test_only_the_terminals_that_are_wanted(postgres_dsn: str) -> None:
    async def test() -> None:
        async with store_of(postgres_dsn) as store, link_to(postgres_dsn) as link:
            await store.write(*(record(terminal, 0) for terminal in range(1, 8)))
            await ensure(link, [("a", BEGINNING), ("b", NOW)])
            await store.write(*(record(terminal, n) for n in (1, 2) for terminal in range(1, 8)))
            await store.write(record(1, 3), record(2, 3))
            async with following(postgres_dsn, "a", BEGINNING, "T2", "T5", "T99") as follower:
                first = {t: list(dict.fromkeys(at)) for t, at in of_terminals(await all_of(follower, 2)).items()}
                assert first == {2: [0, 1, 2, 3], 5: [0, 1, 2]}
            async with following(postgres_dsn, "b", NOW, "T99") as follower:
                assert await all_of(follower) == []
                number = await first_of(store, link, "T99", 4)
                assert await all_of(follower) == [(number, 4)]

    asyncio.run(test())


@pytest.mark.parametrize("start", [NOW, BEGINNING])
def test_a_terminal_that_is_registered_while_a_page_is_made_loses_nothing(postgres_dsn: str, start: str) -> None:
    """Whatever comes between any two statements of the follower: its first record stands in that page or the next."""

    async def test() -> None:
        async with store_of(postgres_dsn) as store, link_to(postgres_dsn) as link:
            await ensure(link, [("a", start)])
            names = [f"late {number}" for number in range(8)]
            async with following(postgres_dsn, "a", start, *names) as follower:
                assert await all_of(follower) == []
                expected: Sent = []
                for number, name in enumerate(names):
                    plain, left = follower._link.execute, number

                    async def execute(
                        *args: Any, plain: Any = plain, number: int = number, name: str = name, **more: Any
                    ) -> Any:
                        nonlocal left
                        left -= 1
                        if left == -1:  # before this statement: another one each time
                            follower._link.execute = plain  # type: ignore[method-assign]
                            expected.append((await first_of(store, link, name, number), number))
                        return await plain(*args, **more)

                    follower._link.execute = execute  # type: ignore[method-assign]
                    found: Sent = []
                    for _ in range(10):
                        if (page := await follower.page()) is not None:
                            found += await done(follower, page)
                        if found:
                            break
                    follower._link.execute = plain  # type: ignore[method-assign]
                    assert found == expected[-1:], f"before statement {number}"
                assert len(expected) == len(names)

    asyncio.run(test())


def test_one_of_several_holds_a_cursor_and_another_takes_it_when_that_one_is_gone(postgres_dsn: str) -> None:
    async def test() -> None:
        async with store_of(postgres_dsn) as store, link_to(postgres_dsn) as link:
            await ensure(link, [("a", NOW)])
            await store.write(record(1, 1), record(1, 2))
            other = await module.connect(postgres_dsn)
            second = Follower(other, "a", NOW, ())
            async with following(postgres_dsn) as first:
                assert not await second.take()
                assert second.oldest is not None, "who stands by sees what waits"
                assert (await consumers(link))[0].held
                page = await first.page()
                assert page is not None
                await done(first, page, 1)
            for _ in range(100):
                if await second.take():
                    break
                await asyncio.sleep(0.02)
            assert await all_of(second) == [(1, 2)]
            await other.close()

    asyncio.run(test())


def test_who_is_overtaken_by_a_reset_or_forgotten_moves_nothing_more(postgres_dsn: str) -> None:
    async def test() -> None:
        async with store_of(postgres_dsn) as store, link_to(postgres_dsn) as link:
            await ensure(link, [("a", NOW)])
            await store.write(record(1, 1))
            async with following(postgres_dsn) as follower:
                page = await follower.page()
                assert page is not None
                await reset(link, "a", BEGINNING)
                with pytest.raises(LostError):
                    await done(follower, page)
                with pytest.raises(LostError):
                    await follower.look()
            async with following(postgres_dsn, "a", BEGINNING) as follower:
                assert await all_of(follower) == [(1, 1)]
                await forget(link, "a")
                with pytest.raises(LostError):
                    await follower.look()
                assert await follower.take(), "it is configured still: made anew"

    asyncio.run(test())


def test_what_retention_dropped_is_missing_and_told(postgres_dsn: str) -> None:
    async def test(world: World) -> None:
        async with store_of(postgres_dsn) as store, link_to(postgres_dsn) as link:
            await ensure(link, [("a", NOW)])
            await store.write(record(1, -30 * DAY), record(1, 1))
            await asyncio.to_thread(world.round, module_week())
            async with following(postgres_dsn) as follower:
                page = await follower.page()
                assert page is not None
                payloads = await follower.payloads.read(page.keys)
                gone = [payload is None for payload in payloads]
                assert sorted(gone) == [False, True]
                await follower.move(page, 0, 2, lost=1)
            consumer = (await consumers(link))[0]
            assert (consumer.sent, consumer.lost) == (1, 1)

    def module_week() -> Any:
        from datetime import timedelta

        return timedelta(weeks=2)

    world = World(postgres_dsn)
    try:
        asyncio.run(test(world))
    finally:
        world.link.close()


def test_what_was_set_aside_comes_again_later_and_later(postgres_dsn: str) -> None:
    async def test() -> None:
        async with store_of(postgres_dsn) as store, link_to(postgres_dsn) as link:
            await ensure(link, [("a", NOW)])
            await store.write(record(1, 1), record(2, 2), record(3, 3))
            async with following(postgres_dsn) as follower:
                page = await follower.page()
                assert page is not None
                key = page.keys[1].tobytes()
                await follower.move(page, 0, 3, refused=[(key, "0x95")], takers={1, 3})
                assert follower.aside == 1
                assert not len(await follower.offered_again()), "not at once"
                due: list[datetime] = []
                for _ in range(14):
                    await link.execute("UPDATE egress_aside SET next_at = now() - interval '1 second'")
                    assert (await follower.offered_again()).tobytes() == key
                    await follower.settle([], [(key, "0x95")], sent=0, lost=0)
                    row = await (await link.execute("SELECT next_at - now() FROM egress_aside")).fetchone()
                    assert row is not None
                    due.append(row[0])
                waits = [round(wait.total_seconds() / 60) for wait in due]  # type: ignore[attr-defined]
                assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1440, 1440, 1440, 1440]
                await follower.settle([key], [], sent=1, lost=0)
                assert follower.aside == 0
            async with following(postgres_dsn) as follower:
                assert (follower.aside, follower.takers) == (0, {1, 3})
            assert (await consumers(link))[0].sent == 3

    asyncio.run(test())


def test_a_connection_that_is_lost_lets_go_of_the_cursor(postgres_dsn: str) -> None:
    async def test() -> None:
        async with link_to(postgres_dsn) as link:
            await ensure(link, [("a", NOW)])
            async with following(postgres_dsn) as follower:
                await link.execute("SELECT pg_terminate_backend(%s)", (follower._link.info.backend_pid,))
                with pytest.raises(psycopg.Error):
                    await follower.page()
            async with following(postgres_dsn) as follower:
                assert await follower.page() is None

    asyncio.run(test())
