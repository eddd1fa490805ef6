"""A request with a key is done once, whatever comes again, at once, later, or after a crash."""

import asyncio
from datetime import timedelta

import pytest

from tests.ticketing.desk_parts import Clock, execute, fetch, pool_of
from ticketing.core.errors import ConflictError
from ticketing.core.idempotency import EXPIRY, LEASE, Answer, BusyKeyError, Idempotency, done

REQUEST = b"POST /api/x\n{}"


def run(dsn, scenario):
    async def main():
        async with pool_of(dsn) as pool:
            await execute(pool, "DELETE FROM idempotency")
            clock = Clock()
            await scenario(pool, Idempotency(pool, clock=clock), clock)

    asyncio.run(main())


def test_the_same_again_gets_the_same_answer_and_another_is_refused(shared_dsn):
    async def scenario(pool, keys, clock):
        assert await keys.claim("7", "k", REQUEST) is None
        await keys.settle("7", "k", Answer(201, '{"id":1}'))
        assert await keys.claim("7", "k", REQUEST) == Answer(201, '{"id":1}')
        with pytest.raises(ConflictError, match="another request"):
            await keys.claim("7", "k", REQUEST + b" ")
        assert await keys.claim("8", "k", REQUEST) is None  # somebody else's key

    run(shared_dsn, scenario)


def test_a_hundred_at_once_are_one(shared_dsn):
    async def scenario(pool, keys, clock):
        async def one():
            try:
                return await keys.claim("7", "k", REQUEST)
            except BusyKeyError:
                return "busy"

        answers = await asyncio.gather(*(one() for _ in range(100)))
        assert sorted(map(str, answers)) == ["None"] + ["busy"] * 99

    run(shared_dsn, scenario)


def test_what_failed_here_may_be_done_again(shared_dsn):
    async def scenario(pool, keys, clock):
        assert await keys.claim("7", "k", REQUEST) is None
        await keys.release("7", "k")
        assert await keys.claim("7", "k", REQUEST) is None

    run(shared_dsn, scenario)


def test_a_claim_that_a_crash_left_lapses_but_only_for_the_same_request(shared_dsn):
    async def scenario(pool, keys, clock):
        assert await keys.claim("7", "k", REQUEST) is None
        clock.now += LEASE.total_seconds() - 1
        with pytest.raises(BusyKeyError):
            await keys.claim("7", "k", REQUEST)
        clock.now += 1
        with pytest.raises(ConflictError, match="another request"):
            await keys.claim("7", "k", b"else")
        assert await keys.claim("7", "k", REQUEST) is None
        with pytest.raises(BusyKeyError):
            await keys.claim("7", "k", REQUEST)

    run(shared_dsn, scenario)


def test_what_was_done_before_the_crash_is_not_done_again(shared_dsn):
    async def scenario(pool, keys, clock):
        assert await keys.claim("7", "k", REQUEST) is None
        async with pool.connection() as connection:
            await done(connection)
        clock.now += (LEASE + timedelta(seconds=1)).total_seconds()
        with pytest.raises(ConflictError, match="was done"):
            await keys.claim("7", "k", REQUEST)
        await keys.release("7", "k")  # it failed after its commit
        with pytest.raises(ConflictError, match="was done"):
            await keys.claim("7", "k", REQUEST)

    run(shared_dsn, scenario)


def test_done_goes_with_its_transaction_and_is_nothing_without_a_key(shared_dsn):
    async def scenario(pool, keys, clock):
        async with pool.connection() as connection:
            await done(connection)
        assert await keys.claim("7", "k", REQUEST) is None
        async with pool.connection() as connection, connection.transaction(force_rollback=True):
            await done(connection)
        assert await fetch(pool, "SELECT status FROM idempotency") == [(None,)]
        await keys.settle("7", "k", Answer(200, "{}"))
        async with pool.connection() as connection:
            await done(connection)  # of the next request, which has no key
        assert await fetch(pool, "SELECT status FROM idempotency") == [(200,)]

    run(shared_dsn, scenario)


def test_answers_expire(shared_dsn):
    async def scenario(pool, keys, clock):
        assert await keys.claim("7", "k", REQUEST) is None
        await keys.settle("7", "k", Answer(201, "{}"))
        clock.now += EXPIRY.total_seconds()
        assert await keys.claim("7", "other", REQUEST) is None
        assert await fetch(pool, "SELECT key FROM idempotency") == [("other",)]

    run(shared_dsn, scenario)
