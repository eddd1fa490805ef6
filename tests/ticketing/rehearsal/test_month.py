"""A made-up month of each preset: what must hold of it whatever happened, and that a seed is a month."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter

import msgspec
import pytest
from psycopg_pool import AsyncConnectionPool

from ticketing import policies
from ticketing.clocks.records import load_steps
from ticketing.policies import PRESETS
from ticketing.rehearsal.doing import do_line
from ticketing.rehearsal.invent import invent
from ticketing.rehearsal.world import World

DAYS, VEHICLES = (30, 500) if os.environ.get("DOZOR_SOAK") else (7, 50)


async def play(dsn, policy, seed=1):
    lines = invent(policies.get(policy), days=DAYS, seed=seed, vehicles=VEHICLES, engineers=4)
    async with AsyncConnectionPool(dsn, min_size=1, max_size=4, open=False) as pool:
        world = World(pool, policy=policy, do=do_line)
        try:
            events = [*await world.play(lines), await world.summary()]
            return lines, events, await facts(pool)
        finally:
            world.close()


async def facts(pool):
    async with pool.connection() as connection:
        found = {}
        for name, statement in {
            "unagreed": "SELECT number FROM ticket WHERE state = 'closed' AND consent_at IS NULL"
            " AND ended NOT IN ('merged', 'spam', 'duplicate', 'scrapped', 'withdrawn', 'explained')",
            "deemed": "SELECT t.number, o.contract ->> 'consent' FROM ticket t JOIN organisation o ON o.id ="
            " t.organisation WHERE t.ended = 'deemed'",
            "unexplained": "SELECT clock FROM breach WHERE explained = ''",
            "breaches": "SELECT t.number, b.clock, b.cycle FROM breach b JOIN ticket t ON t.id = b.ticket",
            "twice": "SELECT ticket, kind, n, address, count(*) FROM letter WHERE state = 'sent'"
            " GROUP BY 1, 2, 3, 4 HAVING count(*) > 1",
            "strangers": "SELECT l.address, l.kind FROM letter l LEFT JOIN ticket t ON t.id = l.ticket"
            " WHERE l.state = 'sent' AND NOT EXISTS (SELECT FROM contact c WHERE c.emails @> ARRAY[l.address])"
            " AND l.address IS DISTINCT FROM t.sender",
            "foreign": "SELECT l.address FROM letter l JOIN ticket t ON t.id = l.ticket JOIN contact c"
            " ON c.emails @> ARRAY[l.address] WHERE l.state = 'sent' AND c.organisation <> t.organisation",
            "left": "SELECT module, subject FROM due WHERE attempts > 0",
        }.items():
            found[name] = await (await connection.execute(statement)).fetchall()
        late = []
        rows = await connection.execute("SELECT id, number FROM ticket ORDER BY id")
        for ticket, number in await rows.fetchall():
            rows = await connection.execute("SELECT max(at) FROM journal")
            (now,) = await rows.fetchone()
            read = await load_steps(connection, ticket, now)
            late += [(number, b.clock, b.cycle) for b in read[1].breaches]
        found["late"] = late
    return found


@pytest.mark.parametrize("policy", PRESETS)
def test_a_month_keeps_its_promises_or_says_so(postgres_dsn, policy):
    _, events, found = asyncio.run(play(postgres_dsn, policy))
    assert events[-1]["summary"]["tickets"] > 3
    for empty in ("unagreed", "unexplained", "twice", "strangers", "foreign", "left"):
        assert found[empty] == [], empty
    assert all(consent == "deemed" for _, consent in found["deemed"])
    assert sorted(found["breaches"]) == sorted(found["late"]), "what the clocks say was told, all of it, once"
    told = Counter((e["ticket"], e["clock"], e["due"]) for e in events if e.get("event") == "breach")
    assert set(told.values()) <= {1}


def test_the_same_seed_is_the_same_month_and_another_is_another(postgres_dsn):
    _, events, _ = asyncio.run(play(postgres_dsn, "support-procedure", seed=3))
    once = msgspec.json.encode(events)
    lines = invent(policies.get("support-procedure"), days=DAYS, seed=3, vehicles=VEHICLES, engineers=4)
    again = invent(policies.get("support-procedure"), days=DAYS, seed=3, vehicles=VEHICLES, engineers=4)
    other = invent(policies.get("support-procedure"), days=DAYS, seed=4, vehicles=VEHICLES, engineers=4)
    assert lines == again != other
    assert b'"event":"opened"' in once


@pytest.mark.soak
def test_a_month_of_a_real_fleet_takes_less_than_two_minutes():
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "rehearse", "--policy", "integrator-standard", "--days", "30", "--seed",
         "1", "--vehicles", "500", "--engineers", "20", "--json"],
        capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout.splitlines()[-1])["summary"]["tickets"] > 100
    assert time.monotonic() - begun < 120
