"""`dozor journal verify`, and what `dozor terminal retire` does to tickets, on a real store."""

import asyncio

import psycopg
import pytest

from gateway.cli import main
from tests.ticketing.desk_parts import add_terminal, done, fetch, pool_of, raise_one
from ticketing.tickets.store import TicketStore


@pytest.fixture
def worked(postgres_dsn, monkeypatch):
    """A store with a ticket that was worked on; its number."""
    monkeypatch.setenv("DOZOR_STORE__DSN", postgres_dsn)

    async def work():
        async with pool_of(postgres_dsn) as pool:
            number = (await raise_one(pool, await add_terminal(pool, "350000000000001"))).number
            for action in ("take", "note"):
                await done(TicketStore(pool), action, number, "anna", "words")
            return number

    return asyncio.run(work())


def test_a_chain_that_fits_is_said_and_one_that_was_changed_is_named(worked, postgres_dsn, capsys):
    assert main(["journal", "verify"]) == 0
    assert capsys.readouterr().out == "1 ticket: every entry fits\n"
    assert main(["journal", "verify", worked]) == 0
    assert main(["journal", "verify", "DZ-10027"]) == 2
    assert main(["journal", "verify", "nonsense"]) == 2
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE journal DISABLE TRIGGER USER")
        connection.execute('UPDATE journal SET data = \'{"from": "eve"}\' WHERE seq = 2')
    capsys.readouterr()
    assert main(["journal", "verify", worked]) == 1
    assert f"{worked}: entry 2 does not fit" in capsys.readouterr().out


def test_a_terminal_that_is_retired_takes_its_tickets_along(worked, postgres_dsn, capsys):
    assert main(["terminal", "retire", "350000000000001"]) == 0
    assert f"ticket {worked} withdrawn" in capsys.readouterr().out

    async def look():
        async with pool_of(postgres_dsn) as pool:
            return await fetch(pool, "SELECT state, ended, consent_at FROM ticket")

    assert asyncio.run(look()) == [("closed", "scrapped", None)]
