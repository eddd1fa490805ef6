"""A role that hangs takes no connection from the others: the service from outside, while a table is locked."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from gateway.store.pools import Bounds, make_pool
from protocols.teltonika.declaration import CODEC_8, avl_frame, avl_record, login
from tests.gateway.wire import Link, no_exception, wait_for
from tests.harness import ServiceProcess, running_service


@contextmanager
def locked(service: ServiceProcess, table: str) -> Iterator[None]:
    """Nobody reads or writes the table."""
    with psycopg.connect(service.dsn) as link:
        link.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield


def ask(service: ServiceProcess, path: str, token: str) -> tuple[int, str, float]:
    """Status, body and seconds of a request to the desk."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.ports['desk']}{path}", headers={"Authorization": f"Bearer {token}"}
    )
    begun = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode(), time.monotonic() - begun
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), time.monotonic() - begun


def acknowledged(service: ServiceProcess, imei: str) -> float:
    """Seconds from a new terminal's connection to the ack of its first frame."""
    begun = time.monotonic()
    with Link(service, "teltonika") as link:
        assert link.send(login(imei)).read(1) == b"\x01"
        record = avl_record(timestamp=int(time.time() * 1000), latitude=10_000_000, satellites=7)
        assert link.send(avl_frame(CODEC_8, [record])).read(4) == b"\x00\x00\x00\x01"
    return time.monotonic() - begun


@pytest.mark.timing
def test_a_locked_ticket_table_keeps_nobody_else_waiting() -> None:
    with running_service(DOZOR_WATCH__FIRMWARE__ASK="false") as service:
        service.command("user", "add", "olga", "--role", "admin", "--password-stdin", text="a good password\n")
        token = service.command("user", "token", "olga").stdout.strip()
        assert ask(service, "/api/tickets", token)[0] == 200
        with locked(service, "ticket"):
            waits = []
            for number in range(8):  # more than the desk has connections
                assert service.get("/readyz")[0] == 200
                waits.append(acknowledged(service, f"3569380356430{number:02}"))
                asking = [asyncio.to_thread(ask, service, "/api/tickets", token) for _ in range(4)]

                async def all_of(asking: list = asking) -> list:  # type: ignore[type-arg]
                    return await asyncio.gather(*asking)

                if number < 2:
                    for status, body, seconds in asyncio.run(all_of()):
                        assert (status, seconds < 4.0) == (503, True), (status, seconds)
                        assert "store" in json.loads(body)["error"]
                else:
                    for question in asking:
                        question.close()
            page = ask(service, "/tickets", token)
            assert page[0] == 503
            assert "<html" in page[1]
            wait_for(lambda: "the engine waits for the store" in service.log.read_text(), 15)
            wait_for(lambda: "tickets not counted" in service.log.read_text(), 15)
            waits.append(acknowledged(service, "356938035643099"))
            assert max(waits) < 1.0, waits
        wait_for(lambda: ask(service, "/api/tickets", token)[0] == 200, 5)
        assert service.metric("dozor_part_failures_total") == 0
        no_exception(service)
        # As many as the documentation promises; the embedded server has a hundred.
        (count,) = service.query(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'dozor%'"
        )[0]
        assert int(str(count)) <= 22


def test_what_a_pool_bounds(postgres_dsn: str) -> None:
    async def scenario() -> None:
        bounds = Bounds(size=1, wait=0.1, lock=0.1, statement=0.2, idle=0.3)
        async with make_pool(postgres_dsn, "dozor test", bounds) as pool:
            async with pool.connection() as link:
                with pytest.raises(psycopg.errors.QueryCanceled):
                    await link.execute("SELECT pg_sleep(5)")
                other = await psycopg.AsyncConnection.connect(postgres_dsn)
                await other.execute("LOCK TABLE ticket")
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    await link.execute("SELECT FROM ticket")
                await other.close()
                with pytest.raises(psycopg.OperationalError):  # nobody gives it back in time
                    async with pool.connection():
                        pass

            async def dawdle() -> None:
                async with pool.connection() as link, link.transaction():
                    await link.execute("SELECT 1")
                    await asyncio.sleep(0.6)
                    await link.execute("SELECT 1")

            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
                await dawdle()
            async with pool.connection() as link:
                await link.execute("SELECT 1")

    asyncio.run(scenario())


def test_who_waits_for_a_connection_can_be_cancelled_in_any_moment(shared_dsn: str) -> None:
    """Also in the moment the connection comes, which is swallowed below Python 3.12: a stop would wait for ever."""

    async def scenario() -> None:
        pool = make_pool(shared_dsn, "test", Bounds(size=1, wait=5.0, lock=1.0, statement=1.0, idle=5.0))
        async with pool:

            async def work() -> None:
                async with pool.connection():
                    await asyncio.sleep(30)

            for turns in range(12):
                held = await pool.getconn()
                working = asyncio.create_task(work())
                for _ in range(20):  # it waits
                    await asyncio.sleep(0)
                await pool.putconn(held)
                for _ in range(turns):
                    await asyncio.sleep(0)
                working.cancel()
                done, _ = await asyncio.wait({working}, timeout=2)
                working.cancel()
                assert done, turns
                assert working.cancelled()
                async with pool.connection(timeout=2) as link:
                    await link.execute("SELECT 1")

    asyncio.run(scenario())
