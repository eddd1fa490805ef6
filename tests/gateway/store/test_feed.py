"""Which records were stored is told to consumers, whatever way they took, and to nobody where there is none."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import numpy as np
import psycopg
import pytest

from gateway.store import cursors
from gateway.store.copy import EPOCH
from gateway.store.cursors import BEGINNING, NOW, consumers, ensure, forget, reset
from gateway.store.feed import KEY, is_on, prune
from gateway.store.writer import Kept, Writer
from tests.gateway.egress.world import link_to, store_of
from tests.gateway.store.test_writer import DAY, Store, job, record
from tests.gateway.store.test_writer import NOW as STARTED


def told(store: Store) -> list[list[tuple[int, int]]]:
    """Of each transaction (terminal, time - a day ago) in order."""
    found: dict[int, list[tuple[int, int]]] = {}
    for number, keys in store.query("SELECT number, keys FROM egress_batch ORDER BY number, part"):
        for key in np.frombuffer(keys, KEY):
            at = int(key["time"]) + EPOCH - (STARTED - DAY)
            found.setdefault(number, []).append((int(key["terminal"]), at))
    return list(found.values())


def together(batches: list[list[tuple[int, int]]]) -> list[tuple[int, int]]:
    return [key for batch in batches for key in batch]


def test_nobody_is_told_where_nobody_follows(either_dsn: str) -> None:
    async def test() -> None:
        async with store_of(either_dsn) as store:
            await store.write(record(1, 1), record(2, 2))
            await store.write(record(1, 1), record(2, 3))
            assert told(store) == []
            assert not await is_on(store.link)

    asyncio.run(test())


def test_a_writer_that_has_not_heard_of_consumers_hears_of_them_before_it_stores_anything(either_dsn: str) -> None:
    async def test() -> None:
        async with (
            store_of(either_dsn) as plain,
            store_of(either_dsn) as staged,
            store_of(either_dsn) as outside,
            link_to(either_dsn) as link,
        ):
            await plain.write(record(1, 1))
            await ensure(link, [("a", NOW)])
            await plain.write(record(1, 2), record(2, 1))
            await staged.write(record(1, 0), record(1, 2, fingerprint=9))
            await outside.write(record(3, 5 * DAY))
            assert told(plain) == [[(1, 2), (2, 1)], [(1, 0), (1, 2)], [(3, 5 * DAY)]]
            assert plain.query("SELECT count(*) FROM telemetry") == [(6,)]

    asyncio.run(test())


def test_every_way_that_a_record_takes_is_told_and_a_resend_is_not(either_dsn: str) -> None:
    async def test() -> None:
        async with store_of(either_dsn) as store, link_to(either_dsn) as link:
            await ensure(link, [("a", NOW)])
            await store.write(record(1, 10), record(2, 10), record(1, 11))
            # Resent, late, dated ahead and new ones in one transaction, with a quarantined frame.
            mixed = [record(1, 10), record(1, 5), record(2, 5 * DAY), record(2, 11)]
            await store.write(*mixed, quarantined=[Kept("T9", "teltonika", STARTED, b"raw", "structure")])
            await store.write(record(1, 10), record(2, 11))
            await store.write(*mixed)
            assert told(store) == [[(1, 10), (2, 10), (1, 11)], [(2, 11), (1, 5), (2, 5 * DAY)]]
            outcome = await store.writer.rewrite(store.link, job([record(1, 12), record(1, 11)]), STARTED)
            assert outcome.stored.sum() == 1
            assert told(store)[2:] == [[(1, 12)]]

    asyncio.run(test())


def test_the_order_told_is_that_of_arrival(postgres_dsn: str) -> None:
    async def test() -> None:
        async with store_of(postgres_dsn) as store, link_to(postgres_dsn) as link:
            await ensure(link, [("a", NOW)])
            await store.write(record(1, 3, frame=2), record(1, 1, frame=0), record(2, 7, frame=1))
            assert told(store) == [[(1, 1), (2, 7), (1, 3)]]

    asyncio.run(test())


def test_what_the_store_refuses_is_not_told(postgres_dsn: str) -> None:
    async def test() -> None:
        async with store_of(postgres_dsn) as store, link_to(postgres_dsn) as link:
            await link.execute("ALTER TABLE record ADD CHECK (fingerprint <> 13)")
            await ensure(link, [("a", NOW)])
            outcome = await store.write(record(1, 1), record(1, 2, fingerprint=13), record(2, 3))
            assert outcome.refused == [1]
            assert sorted(together(told(store))) == [(1, 1), (2, 3)]

    asyncio.run(test())


def test_two_batches_of_one_process_tell_each_their_own_while_it_learns_of_a_consumer(postgres_dsn: str) -> None:
    async def test() -> None:
        async with store_of(postgres_dsn) as store, link_to(postgres_dsn) as link:
            second = await Writer.open(postgres_dsn)
            try:
                for round_ in range(10):
                    at = round_ * 100
                    await ensure(link, [("a", NOW)])
                    await asyncio.gather(
                        *(
                            store.writer.write(each, job([record(terminal, at + 1), record(terminal, at)]), STARTED)
                            for each, terminal in ((store.link, 1), (second, 2))
                        )
                    )
                    assert sorted(together(told(store))) == sorted((t, at + n) for t in (1, 2) for n in (0, 1))
                    await forget(link, "a")
                    await prune(link)
                    store.writer.telling = False
            finally:
                await second.close()

    asyncio.run(test())


def test_below_the_oldest_in_flight_everything_can_be_seen(either_dsn: str) -> None:
    """A batch that commits after later ones holds the number back; one that is given up does not."""

    async def settled(link: psycopg.AsyncConnection[Any]) -> int:
        row = await (await link.execute("SELECT egress_settled()")).fetchone()
        assert row is not None
        return int(row[0])

    async def test() -> None:
        async with store_of(either_dsn) as store, link_to(either_dsn) as slow, link_to(either_dsn) as link:
            dead = await psycopg.AsyncConnection.connect(either_dsn, autocommit=True)
            await ensure(link, [("a", NOW)])
            await store.write(record(1, 1))
            before = await settled(link)
            async with slow.transaction():
                await slow.execute("SELECT egress_begin()")
                mine = (await (await slow.execute("SELECT currval('egress_number')")).fetchone())[0]
                await store.write(record(2, 1))
                assert before <= await settled(link) < mine
                await dead.execute("BEGIN")
                await dead.execute("SELECT egress_begin()")
                await store.write(record(3, 1))
                assert await settled(link) < mine
                await slow.execute("INSERT INTO egress_batch (part, keys) VALUES (0, '')")
            assert mine <= await settled(link) < mine + 2, "now the other one holds it back"
            await link.execute("SELECT pg_terminate_backend(%s)", (dead.info.backend_pid,))
            for _ in range(100):
                if await settled(link) == mine + 3:
                    break
                await asyncio.sleep(0.05)
            assert await settled(link) == mine + 3
            await dead.close()
            numbers = [n for (n,) in store.query("SELECT number FROM egress_batch ORDER BY number")]
            assert numbers == [before, mine, mine + 1, mine + 3]

    asyncio.run(test())


@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
def test_beginning_and_now_divide_what_is_stored_without_gap_while_writers_are_at_work(
    postgres_dsn: str, again: bool
) -> None:
    """Everything is in history or told, whenever a consumer comes."""

    async def write_on(store: Store, terminal: int, stop: asyncio.Event) -> int:
        at = 0
        while not stop.is_set():
            await store.write(record(terminal, at), record(terminal, at + 1))
            at += 2
        return at

    async def test() -> None:
        stop = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            stores = [await stack.enter_async_context(store_of(postgres_dsn)) for _ in range(3)]
            link = await stack.enter_async_context(link_to(postgres_dsn))
            if again:  # what the first one brought is there; nobody tells any more
                await ensure(link, [("a", NOW)])
                await forget(link, "a")
            writing = [asyncio.create_task(write_on(s, n, stop)) for n, s in enumerate(stores, 1)]
            await asyncio.sleep(0.2)
            async with link.transaction():  # `ensure`, and what history is at that moment
                await ensure(link, [("a", BEGINNING)])
                history = {
                    tuple(row)
                    for row in await (await link.execute("SELECT terminal, fingerprint, time FROM record")).fetchall()
                }
            await asyncio.sleep(0.2)
            stop.set()
            written = sum([await task for task in writing])
            after = together(told(stores[0]))
            assert len(set(after)) == len(after)
            assert 0 < len(history) < written
            assert len(history) + len(after) == written

    asyncio.run(test())


def test_consumers_come_and_go(postgres_dsn: str) -> None:
    async def test() -> None:
        async with store_of(postgres_dsn) as store, link_to(postgres_dsn) as link:
            assert not await forget(link, "a")
            assert not await reset(link, "a", NOW)
            assert not await is_on(link)
            await ensure(link, [("a", NOW), ("b", BEGINNING)])
            await store.write(record(1, 1))
            await ensure(link, [("a", BEGINNING)])  # it is there: nothing changes
            a, b = await consumers(link)
            assert (a.name, a.history, a.waiting, b.name, b.history) == ("a", False, 1, "b", True)
            await prune(link)
            assert len(told(store)) == 1
            assert await reset(link, "a", NOW)
            assert [c.waiting for c in await consumers(link)] == [0, 1]
            await prune(link)
            assert len(told(store)) == 1, "the other still needs it"
            assert await forget(link, "b")
            await prune(link)
            assert told(store) == []
            assert await is_on(link)
            assert await forget(link, "a")
            assert not await is_on(link)
            await store.write(record(1, 2))  # it tells until it looks again, and nobody keeps it
            assert await prune(link) == 1
            await store.writer.prepare(store.link)
            await store.write(record(1, 3))
            assert told(store) == []

    asyncio.run(test())


def test_somebody_who_holds_the_records_does_not_hold_up_the_writers_for_long(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cursors, "_LOCK_TIMEOUT", "200ms")

    async def test() -> None:
        async with store_of(postgres_dsn) as store, link_to(postgres_dsn) as link, link_to(postgres_dsn) as other:
            async with other.transaction():
                await other.execute("LOCK TABLE record IN ROW EXCLUSIVE MODE")
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    await ensure(link, [("a", NOW)])
                await store.write(record(1, 1))
            await ensure(link, [("a", NOW)])
            await store.write(record(1, 2))
            assert told(store) == [[(1, 2)]]

    asyncio.run(test())


def test_a_statement_by_hand_that_does_not_tell_is_refused_with_the_remedy(postgres_dsn: str) -> None:
    async def test() -> None:
        async with store_of(postgres_dsn) as store, link_to(postgres_dsn) as link:
            await store.write(record(1, 1))
            await ensure(link, [("a", NOW)])
            copy = b"INSERT INTO record_outside SELECT * FROM record"
            with pytest.raises(psycopg.Error, match="egress") as refused:
                await link.execute(copy)
            assert refused.value.diag.message_hint is not None
            assert "egress_begin" in refused.value.diag.message_hint
            async with link.transaction():
                await link.execute("SELECT egress_begin()")
                await link.execute(copy)

    asyncio.run(test())
