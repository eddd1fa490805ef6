"""COPY through libpq: large ones, what the server refuses, connections that end in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from gateway.store.copying import copy_in
from gateway.store.writer import is_away

COPY = b"COPY pairs FROM STDIN"


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[psycopg.AsyncConnection]:
    link = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    try:
        await link.execute("CREATE TEMP TABLE pairs (a int PRIMARY KEY, b text)")
        yield link
    finally:
        await link.close()


@pytest.fixture
def run(postgres_dsn: str) -> Callable[[Callable[[psycopg.AsyncConnection], Coroutine[Any, Any, None]]], None]:
    def start(test: Callable[[psycopg.AsyncConnection], Coroutine[Any, Any, None]]) -> None:
        async def inside() -> None:
            async with connected(postgres_dsn) as link:
                await test(link)

        asyncio.run(inside())

    return start


async def count(link: psycopg.AsyncConnection) -> int:
    row = await (await link.execute("SELECT count(*) FROM pairs")).fetchone()
    assert row is not None
    return int(row[0])


def test_what_it_returns_from_is_committed(run: Any) -> None:
    async def test(link: psycopg.AsyncConnection) -> None:
        await copy_in(link, COPY, b"1\tone\n2\ttwo\n")
        assert link.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        large = b"".join(b"%d\t%s\n" % (n, b"x" * 100) for n in range(10, 100_010))  # far more than a socket takes
        await copy_in(link, COPY, large)
        assert await count(link) == 100_002
        await copy_in(link, COPY, b"")
        assert await count(link) == 100_002

    run(test)


def test_in_a_transaction_it_is_part_of_it(run: Any) -> None:
    async def test(link: psycopg.AsyncConnection) -> None:
        async with link.transaction(force_rollback=True):
            await copy_in(link, COPY, b"1\tone\n")
            assert await count(link) == 1
        assert await count(link) == 0

    run(test)


def test_what_the_server_refuses_is_told_and_the_connection_goes_on(run: Any) -> None:
    async def test(link: psycopg.AsyncConnection) -> None:
        await copy_in(link, COPY, b"1\tone\n")
        with pytest.raises(psycopg.errors.UniqueViolation):
            await copy_in(link, COPY, b"2\ttwo\n1\tagain\n" + b"".join(b"%d\t\n" % n for n in range(10, 200_000)))
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            await copy_in(link, COPY, b"no number\t\n")
        with pytest.raises(psycopg.errors.UndefinedTable) as refused:
            await copy_in(link, b"COPY nothing FROM STDIN", b"1\n")
        assert is_away(refused.value)  # of the statement, not of its rows: nothing is to blame among them
        assert await count(link) == 1
        await copy_in(link, COPY, b"3\tthree\n")
        assert await count(link) == 2

    run(test)


@pytest.mark.parametrize("size", [1, 1 << 22])
def test_a_server_that_goes_away_is_away(run: Any, postgres_dsn: str, size: int) -> None:
    async def test(link: psycopg.AsyncConnection) -> None:
        async with await psycopg.AsyncConnection.connect(postgres_dsn, autocommit=True) as other:
            await other.execute("SELECT pg_terminate_backend(%s)", (link.info.backend_pid,))
        with pytest.raises(psycopg.Error) as lost:
            await copy_in(link, COPY, b"1\t" + b"x" * size + b"\n")
        assert is_away(lost.value)
        with pytest.raises(psycopg.OperationalError):
            await copy_in(link, COPY, b"1\tone\n")

    run(test)


def test_cancelled_halfway_it_closes_the_connection_at_once(run: Any, postgres_dsn: str) -> None:
    async def test(link: psycopg.AsyncConnection) -> None:
        async with await psycopg.AsyncConnection.connect(postgres_dsn) as other:
            await link.execute("DROP TABLE IF EXISTS shared_pairs")
            await link.execute("CREATE TABLE shared_pairs (a int)")
            await other.execute("LOCK shared_pairs")
            task = asyncio.create_task(copy_in(link, b"COPY shared_pairs FROM STDIN", b"1\n"))
            done, _ = await asyncio.wait({task}, timeout=0.2)
            assert not done
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=0.2)
            assert task.cancelled()
            assert link.closed
            with pytest.raises(psycopg.OperationalError):
                await link.execute("SELECT 1")

    run(test)
