"""Incidents and tickets of before groups, under this version."""

import asyncio
import uuid

import psycopg
import pytest

from gateway.store import migrate as migrating
from tests.ticketing.desk_parts import MONDAY, Clock, fetch, finding, pool_of
from ticketing.incidents import Incidents
from ticketing.incidents.decisions import Reason
from ticketing.tickets.clock_watch import watch_clocks
from ticketing.tickets.store import TicketStore

OLD = """
INSERT INTO terminal (identity) VALUES ('a'), ('b');
INSERT INTO ticket (number, terminal, kind, state, title, zone, priority, opened_at, due_at, policy, closed_at)
    VALUES ('DZ-1', 1, 'silence', 'new', 'x', 'unknown', 2, '2026-11-16 09:00Z', '2026-11-16 13:00Z', 'p', NULL),
           ('DZ-2', 2, 'silence', 'closed', 'x', 'unknown', 2, '2026-11-16 09:00Z', NULL, 'p', '2026-11-16 09:30Z');
INSERT INTO incident (terminal, kind, state, ticket, opened_at, detected_at, last_bad_at, last_good_at, closed_at,
                      zone, zone_confidence)
    VALUES (1, 'silence', 'open', 1, '2026-11-16 09:00Z', '2026-11-16 09:00Z', '2026-11-16 09:00Z', NULL, NULL,
            'unknown', 0),
           (2, 'silence', 'closed', 2, '2026-11-16 09:00Z', '2026-11-16 09:00Z', '2026-11-16 09:00Z',
            '2026-11-16 09:10Z', '2026-11-16 09:15Z', 'unknown', 0);
"""


@pytest.fixture
def empty_dsn(postgres_server):
    name = f"t{uuid.uuid4().hex}"
    maintenance = postgres_server.dsn.replace("dbname=dozor", "dbname=postgres")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield postgres_server.dsn.replace("dbname=dozor", f"dbname={name}")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_store_of_before_is_taken_over(empty_dsn, monkeypatch):
    every = migrating.migrations()
    with monkeypatch.context() as before:
        before.setattr(migrating, "migrations", lambda: [entry for entry in every if entry[0] < 10])
        migrating.migrate(empty_dsn)
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(OLD)
    migrating.migrate(empty_dsn)

    async def scenario():
        async with pool_of(empty_dsn) as pool:
            await watch_clocks(pool, Clock(MONDAY)())
            incidents, decisions = Incidents(pool), []
            for terminal in (1, 2):
                found = finding(terminal, MONDAY)
                raised = await incidents.raise_finding(found, MONDAY, lambda _: never(), lambda: True)
                decisions.append((raised.decision.reason, raised.number))
            listed = (await TicketStore(pool).incidents()).items
            return decisions, listed, await fetch(pool, "SELECT number, verdict, state FROM ticket ORDER BY id")

    async def never():
        return None

    decisions, listed, tickets = asyncio.run(scenario())
    assert decisions == [(Reason.OPEN_ALREADY, "DZ-1"), (Reason.AGAIN, "DZ-2")]
    assert [(i.terminal, i.ticket, i.parent, i.members_count) for i in listed] == [
        ("b", "DZ-2", None, 0),
        ("a", "DZ-1", None, 0),
    ]
    assert tickets == [("DZ-1", None, "new"), ("DZ-2", None, "new")]
