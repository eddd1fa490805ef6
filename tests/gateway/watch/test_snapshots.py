"""What could not be kept is kept the next time: snapshots, marks, what the registry told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import numpy as np
import psycopg
import pytest

from detectors.firmware import Catalogue, Firmware, Release
from detectors.silence import Silence
from gateway.watch import snapshots
from gateway.watch.columns import plain
from gateway.watch.fleet import CHUNK, Fleet
from gateway.watch.listening import Listening
from tests.gateway.store import world as store_world
from tests.gateway.watch.world import World, assert_same_state, state_of
from tests.ticketing.desk_parts import MONDAY, add_terminal, execute, fetch, pool_of

MICROS = round(MONDAY * 1e6)
ROWS = np.array([1, 5, CHUNK + 3], np.int32)


class Interrupted:
    """A pool over a real one; `happen` is called before each statement, with its number from 1."""

    def __init__(self, pool, happen):
        self._pool = pool
        self._happen = happen
        self._number = 0

    @asynccontextmanager
    async def connection(self):
        async with self._pool.connection() as connection:
            execute = connection.execute

            async def counted(*args, **kwargs):
                self._number += 1
                self._happen(self._number)
                return await execute(*args, **kwargs)

            connection.execute = counted
            try:
                yield connection
            finally:
                del connection.execute


def fleet_at(now=MONDAY):
    listening = Listening()
    listening.advance(now, now)
    return Fleet(listening, [Silence(), Firmware(None)])


def hear(fleet, rows, second):
    at = np.full(len(rows), MICROS + second * 1_000_000)
    fleet.apply(plain(rows, at, rows, at, at, np.full(len(rows), 6, np.int16)))


@pytest.mark.parametrize("error", [psycopg.OperationalError("away"), asyncio.CancelledError()], ids=["away", "ended"])
@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_a_snapshot_that_failed_is_saved_whole_the_next_time(postgres_dsn, at, error):
    async def run():
        async with pool_of(postgres_dsn) as pool:
            fleet = fleet_at()
            hear(fleet, ROWS, 1)
            assert await snapshots.save(pool, fleet, MONDAY) == 4
            hear(fleet, ROWS, 2)

            def happen(number):
                if number == at:
                    raise error

            with pytest.raises(type(error)):
                await snapshots.save(Interrupted(pool, happen), fleet, MONDAY)
            before = fleet_at()
            await snapshots.load(pool, before)
            assert before.received[5] == MICROS + 1_000_000  # nothing of it, not the half
            assert await snapshots.save(pool, fleet, MONDAY) == 4
            restored = fleet_at()
            await snapshots.load(pool, restored)
            assert_same_state(fleet, restored)
            assert await snapshots.save(pool, fleet, MONDAY) == 0

    asyncio.run(run())


@pytest.mark.parametrize("at", [1, 2, 3, 6])
def test_what_is_heard_while_a_snapshot_is_written_is_in_the_next(postgres_dsn, at):
    async def run():
        async with pool_of(postgres_dsn) as pool:
            fleet = fleet_at()
            hear(fleet, ROWS, 1)
            far = np.array([1, 3 * CHUNK], np.int32)  # one that is known, and one for which there is no room yet

            def happen(number):
                if number == at:
                    hear(fleet, far, 2)

            await snapshots.save(Interrupted(pool, happen), fleet, MONDAY)
            assert await snapshots.save(pool, fleet, MONDAY) >= 2
            restored = fleet_at()
            await snapshots.load(pool, restored)
            assert_same_state(fleet, restored)

    asyncio.run(run())


def test_a_piece_that_knows_of_more_terminals_than_the_snapshot_is_read_by_its_own_length(postgres_dsn):
    async def run():
        async with pool_of(postgres_dsn) as pool:
            fleet = fleet_at()
            hear(fleet, ROWS, 1)
            known = fleet.rows
            more = np.arange(ROWS[2], ROWS[2] + 50, dtype=np.int32)

            def happen(number):
                if number == 3:  # the second pieces are taken after the first one is written
                    hear(fleet, more, 2)

            await snapshots.save(Interrupted(pool, happen), fleet, MONDAY)
            restored = fleet_at()
            await snapshots.load(pool, restored)
            assert restored.rows == known < fleet.rows
            for key, its in state_of(fleet).items():
                last = state_of(restored)[key][ROWS[2]]
                np.testing.assert_array_equal(last, its[ROWS[2]], err_msg=str(key))

    asyncio.run(run())


def test_after_the_clock_was_set_the_whole_fleet_is_kept_with_it_or_nothing(postgres_dsn):
    async def run():
        async with pool_of(postgres_dsn) as pool:
            await add_terminal(pool, "860000000000001")
            world = await World(pool).start()
            patrol = world.patrol
            world.frame(1)
            await patrol._beat()
            await snapshots.save(pool, patrol.fleet, world.now)
            patrol.tick(world.now + 1, world.now + 1)
            patrol.tick(world.now + 3602, world.now + 2)
            await execute(pool, "ALTER TABLE gateway_state RENAME TO gateway_state_away")
            with pytest.raises(psycopg.Error):
                await patrol._beat()
            await execute(pool, "ALTER TABLE gateway_state_away RENAME TO gateway_state")
            await patrol._beat()
            world.clock.now += 3603
            received = int(patrol.fleet.received[1])
            await world.restart(saved=False)
            assert world.patrol.fleet.received[1] == received == round((MONDAY + 3600) * 1e6)

    asyncio.run(run())


def test_what_an_incident_looked_like_is_told_again_when_it_was_not_taken(postgres_dsn):
    async def run():
        async with pool_of(postgres_dsn) as pool:
            terminal = await add_terminal(pool, "860000000000001")
            world = await World(pool).start()
            world.reporting = {terminal: 10}
            await world.pass_time(100)
            world.reporting = {}
            await world.pass_time(100)
            await execute(pool, "ALTER TABLE incident RENAME TO incident_away")
            world.clock.now += 1
            world.frame(terminal)
            world.patrol.tick(world.now, world.now)
            good = world.now
            await world.patrol.settle(good)
            await execute(pool, "ALTER TABLE incident_away RENAME TO incident")
            await world.patrol.settle(good + 61)  # what was refused is held for a minute
            return good, await fetch(pool, "SELECT extract(epoch FROM last_good_at)::float8 FROM incident")

    good, told = asyncio.run(run())
    assert told == [(good,)]


def test_what_the_registry_told_half_is_told_whole_the_next_time(postgres_dsn, monkeypatch):
    monkeypatch.setattr("gateway.watch.registered.READ_AT_ONCE", 1)
    catalogue = Catalogue(30, {"m": [Release("1", np.datetime64("2026-01-01").astype(object))]})

    async def run():
        async with pool_of(postgres_dsn) as pool:
            rows = [await add_terminal(pool, f"t{i}", model="m", firmware="1") for i in range(3)]
            world = await World(pool, catalogue=catalogue).start()
            fleet, registered = world.patrol.fleet, world.patrol._registered
            fleet.reconfigure(fleet.detectors.values())
            identify, calls = fleet.identify, 0

            def fail(*told):
                nonlocal calls
                calls += 1
                if calls == 2:
                    raise psycopg.OperationalError("away")
                identify(*told)

            fleet.identify = fail
            with pytest.raises(psycopg.OperationalError):
                await registered.refresh(pool, fleet)
            fleet.identify = identify
            # Changes are dated; these are older than what the next look overlaps.
            await execute(pool, "UPDATE terminal SET changed_at = now() - interval '1 day'")
            assert await registered.refresh(pool, fleet) == 3
            assert await registered.refresh(pool, fleet) == 0
            await world.pass_time(1)
            return [world.verdict(row, "firmware") for row in rows]

    assert asyncio.run(run()) == ["good"] * 3


def test_what_was_committed_about_the_time_of_a_snapshot_is_read_again_and_nothing_older(postgres_dsn):
    store = store_world.World(postgres_dsn)
    store.link.execute("DELETE FROM record")
    moment = store_world.MONDAY + 2 * store_world.DAY
    for number, age in enumerate((2.0, 60.0)):
        store.record(moment - timedelta(seconds=age), number=number)
    store.link.close()

    async def run():
        async with pool_of(postgres_dsn) as pool:
            await add_terminal(pool, "t")
            now = moment.timestamp()
            await snapshots.save(pool, fleet_at(), now)
            restored = fleet_at()
            as_of = await snapshots.load(pool, restored)
            assert await snapshots.catch_up(pool, restored, as_of, now) == 1
            assert restored.received[1] == round((now - 2.0) * 1e6)

    asyncio.run(run())


class Former(Silence):
    """As it was before terminals' days of work were kept."""

    columns = tuple(column for column in Silence.columns if column.name != "worked")


def test_a_snapshot_of_fewer_columns_is_read_and_the_others_start_fresh(postgres_dsn):
    async def run():
        async with pool_of(postgres_dsn) as pool:
            former = Fleet(fleet_at().listening, [Former(), Firmware(None)])
            former.reserve(int(ROWS.max()) + 1)
            former.exists[ROWS] = True
            held = former.view("silence")
            held["longest"][ROWS] = np.arange(80).reshape(20, 4)
            held["lesson_code"][ROWS] = 7
            for dirty in former.dirty.values():
                dirty[:] = True
            await snapshots.save(pool, former, MONDAY)
            now = fleet_at()
            assert await snapshots.load(pool, now) is not None
            for column in Former.columns:
                rows = slice(int(ROWS.max()) + 1)
                np.testing.assert_array_equal(now.view("silence")[column.name][rows], held[column.name][rows])
            assert not now.view("silence")["worked"].any()
            now.view("silence")["worked"][ROWS] = 5
            await snapshots.save(pool, now, MONDAY)  # whole, as it is laid out now
            again = fleet_at()
            await snapshots.load(pool, again)
            assert_same_state(again, now)

    asyncio.run(run())
