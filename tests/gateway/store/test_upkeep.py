"""Upkeep against a real PostgreSQL: what goes, what is spared, and that nobody who writes is held up meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from gateway.configuration.settings import Store
from gateway.store import upkeep as module
from gateway.store.retention import MARK
from gateway.store.upkeep import Upkeep
from tests.gateway.store.world import DAY, KEEP, RECORD, WEEKS, World, names, reading


@pytest.fixture
def world(postgres_dsn: str) -> Iterator[World]:
    found = World(postgres_dsn)
    with closing(found.link):
        yield found


def test_a_week_goes_when_it_is_wholly_too_old_and_never_before(world: World) -> None:
    end = WEEKS[0] + timedelta(weeks=1)
    assert world.release(end - timedelta(microseconds=1)).dropped == []
    assert world.tables() == names(WEEKS)
    assert world.release(end).dropped == names(WEEKS[:1])
    assert world.tables() == names(WEEKS[1:])
    assert world.rows("SELECT count(*) FROM record") == [3]
    assert world.release(None).dropped == []


def test_a_round_spares_what_retention_spares(world: World) -> None:
    now = datetime.now(UTC)
    over = now - (WEEKS[1] + timedelta(weeks=1))  # for how long the second week has been over
    assert world.round(over + timedelta(hours=1)) == []
    assert world.tables() == names(WEEKS[1:])
    world.round(over - timedelta(hours=1))
    assert world.tables() == names(WEEKS[2:])


def test_what_lies_outside_goes_by_when_it_came(world: World) -> None:
    now = datetime.now(UTC)
    for number, age in enumerate((0, 29.9, 30.1, 400)):
        received = now - timedelta(days=age)
        world.record(datetime(1980, 1, 6, tzinfo=UTC), table="record_outside", received=received, number=number)
    world.round()
    assert world.rows("SELECT count(*) FROM record_outside") == [4]
    world.round(30 * DAY)
    assert world.rows("SELECT fingerprint FROM record_outside ORDER BY 1") == [0, 1]


def test_a_clock_set_ahead_costs_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + 3650 * DAY

    monkeypatch.setattr(module, "datetime", Ahead)
    world.round(30 * DAY)
    assert set(names(WEEKS[2:])) <= set(world.tables())


def test_a_clock_of_the_store_set_ahead_costs_nothing(world: World) -> None:
    world.link.execute(
        "CREATE SCHEMA ahead; CREATE FUNCTION ahead.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
        " $$ SELECT pg_catalog.clock_timestamp() + interval '10 years' $$"
    )
    settings = Store(dsn="", retention=(30 * DAY).total_seconds(), keep=KEEP)
    dsn = f"{world.dsn} options='-c search_path=ahead,public,pg_catalog'"
    asyncio.run(Upkeep(dsn, lambda: settings).round())
    assert set(names(WEEKS[2:])) <= set(world.tables())


def test_writing_goes_on_while_readers_hold_what_is_to_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT", "400ms")
    old = names(WEEKS[:1])[0]
    retention = datetime.now(UTC) - WEEKS[1]
    count = itertools.count(10)

    async def writing(stop: asyncio.Event) -> list[float]:
        waits = []
        link = await psycopg.AsyncConnection.connect(world.dsn, autocommit=True)
        async with link:
            for number in count:
                begun = time.perf_counter()
                await link.execute(RECORD.format("record").encode(), (WEEKS[-1], WEEKS[-1], number))
                waits.append(time.perf_counter() - begun)
                if stop.is_set():
                    break
                await asyncio.sleep(0.005)
        return waits

    async def rounds() -> tuple[list[str], list[float]]:
        stop = asyncio.Event()
        writer = asyncio.create_task(writing(stop))
        settings = Store(dsn="", retention=retention.total_seconds(), keep=KEEP)
        waiting = await Upkeep(world.dsn, lambda: settings).round()
        stop.set()
        return waiting, await writer

    with reading(world.dsn, old), reading(world.dsn, "record"):
        for _ in range(2):  # begun, then to be finalised
            waiting, waits = asyncio.run(rounds())
            assert waiting == [old]
            assert len(waits) > 20
            assert max(waits) < 0.3, sorted(waits)[-5:]
        assert old in world.tables()
        assert old not in world.partitions()
    assert world.round(retention) == []
    assert world.tables() == names(WEEKS[1:])


def test_an_interrupted_detach_is_finished_whatever_the_settings_are_now(world: World) -> None:
    old = names(WEEKS[:1])[0]
    with reading(world.dsn, "record"):
        assert world.release(WEEKS[1]).waiting == [old]
        assert world.rows("SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == [1]
    assert world.round() == []
    assert world.tables() == names(WEEKS[1:])
    # Killed between DETACH and DROP.
    old = names(WEEKS[1:2])[0]
    world.link.execute(f"COMMENT ON TABLE {old} IS '{MARK}'".encode())
    world.link.execute(f"ALTER TABLE record DETACH PARTITION {old}".encode())
    world.round()
    assert world.tables() == names(WEEKS[2:])
    # Killed before DETACH, and retention was taken back: whoever detaches it by hand keeps it.
    old = names(WEEKS[2:3])[0]
    world.link.execute(f"COMMENT ON TABLE {old} IS '{MARK}'".encode())
    world.round()
    world.link.execute(f"ALTER TABLE record DETACH PARTITION {old}".encode())
    world.round()
    assert old in world.tables()


def test_what_was_detached_by_hand_stays(world: World) -> None:
    old = names(WEEKS[:1])[0]
    world.link.execute(f"ALTER TABLE record DETACH PARTITION {old}".encode())
    world.round(7 * DAY)
    assert old in world.tables()
    # A DETACH of a young one that somebody interrupted: made whole, and kept.
    young = names(WEEKS)[3]
    world.link.execute("SET lock_timeout = '100ms'")
    with reading(world.dsn, "record"), pytest.raises(psycopg.errors.LockNotAvailable):
        world.link.execute(f"ALTER TABLE record DETACH PARTITION {young} CONCURRENTLY".encode())
    world.round(7 * DAY)
    assert young in world.tables()
    assert young not in world.partitions()


def test_beside_a_default_partition(world: World) -> None:
    world.link.execute("CREATE TABLE rest (LIKE record INCLUDING ALL)")
    world.link.execute("ALTER TABLE record ATTACH PARTITION rest DEFAULT")
    world.record(WEEKS[0] - 700 * DAY)
    old = names(WEEKS[:1])[0]
    with reading(world.dsn, "record"):
        begun = time.monotonic()
        assert world.release(WEEKS[1]).waiting == [old]
        assert time.monotonic() - begun < 1.0
    assert world.release(WEEKS[1]).dropped == [old]
    assert world.rows("SELECT count(*) FROM rest") == [1]


def test_one_service_at_a_time(world: World) -> None:
    world.link.execute("SELECT pg_advisory_lock(hashtext('dozor upkeep'))")
    world.round(7 * DAY)
    assert world.tables() == names(WEEKS)
    world.link.execute("SELECT pg_advisory_unlock_all()")
    world.round(7 * DAY)
    assert world.tables() != names(WEEKS)


def test_what_is_no_telemetry_goes_by_its_age(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 3)
    world.link.execute(
        """
        CREATE TEMP TABLE age AS SELECT n, now() - n * interval '5 hours' AS at FROM generate_series(0, 9) n;
        INSERT INTO connection (id, terminal, protocol, address, opened_at, closed_at)
            SELECT n, 'T', 'teltonika', '', at, at FROM age
            UNION ALL SELECT 100 + n, 'T', 'teltonika', '', at, NULL FROM age;
        INSERT INTO message (received, terminal, protocol, kind, digest, data)
            SELECT at, 'T', 'teltonika', 'answer', n::text::bytea, '' FROM age;
        INSERT INTO quarantine (received, terminal, protocol, reason, digest, data)
            SELECT at, 'T', 'teltonika', 'store', n::text::bytea, ''::bytea FROM age
            UNION ALL SELECT at, 'T', 'teltonika', 'unregistered', ('u' || n)::bytea, ''::bytea FROM age;
        INSERT INTO terminal (identity) VALUES ('T');
        INSERT INTO ticket (number, terminal, kind, state, title, zone, priority, opened_at, policy)
            VALUES ('1', 1, 'silence', 'new', '', '', 1, now(), '');
        INSERT INTO command (terminal, protocol, text, repeat, state, created_by, expires_at, finished_at)
            SELECT 1, 'teltonika', 'getver', false, 'done', 'anna', at, at FROM age
            UNION ALL SELECT 1, 'teltonika', 'getver', false, 'sent', 'anna', now() + interval '1 d', NULL FROM age;
        INSERT INTO outbox (id, dedupe_key, channel, target, ticket, event, body, state, created_at, not_before,
                            sent_at)
            SELECT gen_random_uuid(), s || n, 'email', '', t.id, 'ticket.opened', '{}', s, at, at,
                   CASE WHEN s = 'sent' THEN at END
            FROM age, ticket t, unnest(ARRAY['pending', 'sent', 'failed']) s;
        """
    )
    counts = (
        "SELECT (SELECT count(*) FROM connection WHERE closed_at IS NOT NULL),"
        " (SELECT count(*) FROM connection WHERE closed_at IS NULL),"
        " (SELECT count(*) FROM message),"
        " (SELECT count(*) FROM command WHERE state = 'done'),"
        " (SELECT count(*) FROM command WHERE state = 'sent'),"
        " (SELECT count(*) FROM quarantine WHERE reason = 'store'),"
        " (SELECT count(*) FROM quarantine WHERE reason <> 'store'),"
        " (SELECT count(*) FROM outbox WHERE state = 'pending'),"
        " (SELECT count(*) FROM outbox WHERE state = 'sent'),"
        " (SELECT count(*) FROM outbox WHERE state = 'failed')"
    )
    # A row that somebody holds is passed over, and goes next time.
    with psycopg.connect(world.dsn) as holder:
        holder.execute("SELECT FROM message WHERE digest = '9' FOR UPDATE")
        world.round()
        assert world.rows(counts) == [(5, 10, 6, 5, 10, 5, 10, 10, 5, 5)]
    world.round(timedelta(hours=36))  # longer than that: it is telemetry to be
    assert world.rows(counts) == [(5, 10, 5, 5, 10, 5, 8, 10, 5, 5)]
    world.round(timedelta(hours=2))  # shorter than quarantine is kept: what waits for its terminal goes with the rest
    assert world.rows(counts) == [(5, 10, 5, 5, 10, 5, 5, 10, 5, 5)]


def test_other_settings_count_at_once(world: World) -> None:
    """Set while running, which no round knew of: the loop is there, and is woken."""
    settings = Store(dsn="", retention=None, keep=KEEP)

    async def scenario() -> None:
        nonlocal settings
        upkeep = Upkeep(world.dsn, lambda: settings)
        running = asyncio.create_task(upkeep.run())
        for _ in range(200):  # the first round is over when it has counted the settled weeks
            await asyncio.sleep(0.02)
            if world.rows("SELECT count(*) FROM record_counted") == [3]:
                break
        assert world.tables() == names(WEEKS)
        settings = Store(dsn="", retention=7 * 86400.0, keep=KEEP)
        upkeep.wake()
        for _ in range(200):
            await asyncio.sleep(0.02)
            if world.tables() == names(WEEKS[3:]):
                break
        running.cancel()

    asyncio.run(scenario())
    assert world.tables() == names(WEEKS[3:])


def test_what_retention_may_not_do_keeps_nothing_else_from_being_looked_after(world: World) -> None:
    world.link.execute(
        "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'must be owner' USING ERRCODE = 'insufficient_privilege'; END $$;"
        " CREATE EVENT TRIGGER no ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION no();"
        " INSERT INTO message (received, terminal, protocol, kind, digest, data)"
        " VALUES (now() - interval '2 days', 'T', 'teltonika', 'answer', 'd', '')"
    )
    assert world.round(7 * DAY) == ["record"], "and it is tried again soon"
    assert world.rows("SELECT count(*) FROM message") == [0]
    assert world.tables() == names(WEEKS)
    world.link.execute("DROP EVENT TRIGGER no")
    assert world.round(7 * DAY) == []
    assert world.tables() == names(WEEKS[3:])
