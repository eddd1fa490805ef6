import asyncio
import time
from datetime import UTC, datetime

import numpy as np
import pytest

from detectors.firmware import Catalogue, Mark, Release
from detectors.silence import SilenceRule
from gateway.watch.fleet import Fleet
from gateway.watch.listening import Listening
from gateway.watch.patrol import Patrol
from tests.gateway.watch.world import World
from tests.ticketing.desk_parts import MONDAY, add_terminal, execute, fetch, pool_of


def play(dsn, scenario, **options):
    async def run():
        async with pool_of(dsn) as pool:
            terminal = await add_terminal(pool, "860000000000001", name="Truck 12", protocol="teltonika")
            world = await World(pool, **options).start()
            return await scenario(world, terminal)

    return asyncio.run(run())


def test_a_silent_terminal_gets_one_ticket_after_limit_and_hold(postgres_dsn):
    async def scenario(world, terminal):
        world.reporting = {terminal: 10}
        await world.pass_time(120)
        assert world.verdict(terminal) == "good"
        world.reporting = {}
        await world.pass_time(41)
        assert world.verdict(terminal) == "suspect"  # above two thirds of 60 s
        await world.pass_time(20)
        assert world.verdict(terminal) == "fail"
        await world.pass_time(29)
        assert await world.tickets() == []
        await world.pass_time(1)
        assert await world.tickets() == [("new", "silence", ["opened"])]
        await world.pass_time(600)
        assert world.patrol.counts()["silence"] == {"unknown": 0, "good": 0, "suspect": 0, "fail": 1}
        page = await world.store.list()
        incidents = await world.store.incidents()
        return await world.store.get(page.items[0].number), page.total, incidents.items

    ticket, total, incidents = play(postgres_dsn, scenario)
    assert total == 1
    assert ticket.title == "Truck 12: silent for 1 min 31 s, limit 1 min, usually heard every 10 s"
    assert ticket.opened_at == datetime.fromtimestamp(MONDAY + 211, UTC)
    assert ticket.due_at == datetime(2026, 11, 16, 14, 3, 31, tzinfo=UTC)
    assert ticket.evidence["verdict"]["limit_s"] == 60.0
    assert ticket.evidence["verdict"]["age_s"] == 91.0
    assert ticket.evidence["verdict"]["interval_s"] == pytest.approx(10.0, rel=1e-3)
    assert ticket.evidence["rhythm"]["ignition_on_or_unknown"]["gaps"] == 11
    assert ticket.evidence["firmware"]["reason"] == "there is no catalogue"
    assert ticket.evidence["terminal"]["identity"] == "860000000000001"
    (incident,) = incidents
    assert (incident.state, incident.ticket, incident.kind) == ("open", ticket.number, "silence")
    assert incident.detected_at == datetime.fromtimestamp(MONDAY + 181, UTC)


def test_a_failing_verdict_shorter_than_the_hold_opens_nothing(postgres_dsn):
    async def scenario(world, terminal):
        world.reporting = {terminal: 10}
        await world.pass_time(100)
        world.reporting = {terminal: 85}  # fails for 24 s each time, then speaks
        fails = 0
        for _ in range(40):
            await world.pass_time(17)
            fails += world.verdict(terminal) == "fail"
            assert world.patrol.fleet.interval[terminal, 0] < 86
        return fails, await world.tickets()

    fails, tickets = play(postgres_dsn, scenario, rule=SilenceRule(after=1e-9, floor=60.0, ceiling=60.0))
    assert fails > 3
    assert tickets == []


def test_recovery_is_seen_from_live_records_and_awaits_consent(postgres_dsn):
    async def scenario(world, terminal):
        world.reporting = {terminal: 10}
        await world.pass_time(100)
        world.reporting = {}
        await world.pass_time(100)
        assert [state for state, _, _ in await world.tickets()] == ["new"]
        # The black box speaks: a sign of life, no recovery.
        for _ in range(40):
            world.frame(terminal, own_time=world.now - 3600)
            await world.pass_time(10)
        assert world.verdict(terminal) == "good"
        assert [state for state, _, _ in await world.tickets()] == ["new"]
        world.reporting = {terminal: 10}
        await world.pass_time(10 + 299)
        assert [state for state, _, _ in await world.tickets()] == ["new"]
        await world.pass_time(2)
        assert [actions for _, _, actions in await world.tickets()] == [["opened", "recovered"]]
        return await world.tickets(), (await world.store.incidents()).items

    tickets, incidents = play(postgres_dsn, scenario)
    assert tickets[0][0] == "awaiting_consent"
    assert incidents[0].state == "closed"


def test_a_failing_verdict_starts_the_recovery_anew(postgres_dsn):
    async def scenario(world, terminal):
        world.reporting = {terminal: 10}
        await world.pass_time(100)
        world.reporting = {}
        await world.pass_time(100)
        for _ in range(4):
            world.reporting = {terminal: 10}
            await world.pass_time(200)
            world.reporting = {}
            await world.pass_time(70)
            assert world.verdict(terminal) == "fail"
            marks = await fetch(world.pool, "SELECT last_good_at IS NULL, last_bad_at FROM incident")
            assert marks[0][0]
        assert len(await world.tickets()) == 1
        assert (await world.tickets())[0][2] == ["opened"]
        world.reporting = {terminal: 10}
        await world.pass_time(310)
        return await world.tickets()

    assert play(postgres_dsn, scenario)[0][2] == ["opened", "recovered"]


def test_a_relapse_takes_the_same_number_back_to_work(postgres_dsn):
    async def scenario(world, terminal):
        async def relapse():
            world.reporting = {}
            await world.pass_time(100)
            world.reporting = {terminal: 10}
            await world.pass_time(315)

        world.reporting = {terminal: 10}
        await world.pass_time(100)
        await relapse()
        number = (await world.store.list()).items[0].number
        await world.store.consent(number, "anna", "by phone")
        await world.store.close(number, "anna")
        world.reporting = {}
        await world.pass_time(100)
        states = [state for state, _, _ in await world.tickets()]
        world.reporting = {terminal: 10}
        await world.pass_time(315)
        await relapse()
        # The third relapse stretches the proof: twice as long.
        await relapse()
        third = (await world.tickets())[0][0]
        await world.pass_time(300)
        return states, third, await world.tickets()

    states, third, tickets = play(postgres_dsn, scenario)
    assert states == ["in_work"]
    assert third == "in_work"
    assert tickets == [
        (
            "awaiting_consent",
            "silence",
            ["opened", "recovered", "consent", "close"] + ["relapsed", "recovered"] * 3,
        )
    ]


def test_terminals_are_not_blamed_for_our_own_absence(postgres_dsn):
    async def scenario(world, terminal):
        world.reporting = {terminal: 10}
        await world.pass_time(100)
        world.listening = False  # the store is away for an hour
        await world.pass_time(3600)
        assert world.verdict(terminal) == "unknown"
        assert world.patrol.counts()["silence"]["unknown"] == 1
        world.listening = True
        world.reporting = {}
        await world.pass_time(55)
        assert world.verdict(terminal) in ("good", "suspect")
        world.clock.now += 900  # the loop stalls
        await world.pass_time(1)
        assert world.verdict(terminal) == "unknown"
        await world.pass_time(2)
        assert world.verdict(terminal) in ("good", "suspect")
        await world.pass_time(31)
        return await world.tickets(), await world.pass_time(5), await world.tickets()

    before, _, after = play(postgres_dsn, scenario)
    assert before == []
    assert after == [("new", "silence", ["opened"])]  # it really is silent


@pytest.mark.parametrize("saved", [True, False], ids=["snapshot", "crash"])
def test_a_restart_neither_forgets_nor_invents(postgres_dsn, saved):
    async def scenario(world, terminal):
        other = await add_terminal(world.pool, "860000000000002")
        world.reporting = {terminal: 10, other: 10}
        await world.pass_time(100)
        await world.restart()
        world.reporting = {other: 10}
        await world.pass_time(50)
        await world.restart(down=7200, saved=saved)
        assert world.patrol.fleet.limit[terminal] == 60.0
        await world.pass_time(5)
        assert world.verdict(other) != "fail"
        world.reporting = {other: 10}
        await world.pass_time(200)
        assert [kind for _, kind, _ in await world.tickets()] == ["silence"]
        # Restarted while it recovers: the proof goes on.
        world.reporting = {terminal: 10, other: 10}
        await world.pass_time(200)
        await world.restart(down=3600)
        await world.pass_time(50)
        between = await world.tickets()
        await world.pass_time(65)
        return (
            between,
            await world.tickets(),
            await fetch(world.pool, "SELECT identity FROM terminal t JOIN ticket k ON k.terminal = t.id"),
        )

    between, tickets, whose = play(postgres_dsn, scenario)
    assert between[0][2] == ["opened"]
    assert tickets == [("awaiting_consent", "silence", ["opened", "recovered"])]
    assert whose == [("860000000000001",)]


def test_what_was_committed_after_the_snapshot_is_read_back(postgres_dsn):
    async def scenario(world, terminal):
        world.reporting = {terminal: 10}
        await world.pass_time(100)
        await world.restart()  # the last snapshot
        await execute(world.pool, "INSERT INTO layout (names, terminal) VALUES ('{}', %s)", terminal)
        start = datetime.fromtimestamp(world.now - 86_400, UTC)
        end = start.replace(year=2027)
        await execute(
            world.pool,
            f"CREATE TABLE record_test PARTITION OF record FOR VALUES FROM ('{start}') TO ('{end}')",
        )
        for i in range(1, 6):
            at = datetime.fromtimestamp(world.now + 10 * i, UTC)
            await execute(
                world.pool,
                "INSERT INTO record VALUES (%s, %s, %s, 'NaN', 'NaN', 'NaN', 'NaN', 'NaN', -1, 6, 1, %s, '{}', NULL)",
                terminal,
                at,
                at,
                i,
            )
        before = world.patrol.fleet.received[terminal]
        learned = world.patrol.fleet.learned[terminal, 0]
        world.clock.now += 52
        await world.restart(saved=False)
        fleet = world.patrol.fleet
        with_snapshot = (fleet.received[terminal] - before, fleet.learned[terminal, 0] - learned)
        # Without any state at all: the records alone tell.
        await execute(world.pool, "DELETE FROM gateway_state")
        world.clock.now += 86_400
        await world.restart(saved=False)
        await world.pass_time(3)
        return with_snapshot, world.patrol.fleet.learned[terminal, 0], world.verdict(terminal)

    (received, learned), alone, verdict = play(postgres_dsn, scenario)
    assert received == 50_000_000
    assert learned >= 4
    assert alone == 4
    assert verdict == "good"


CATALOGUE = Catalogue(
    30,
    {
        "FMB920": [
            Release("1.0", datetime(2026, 1, 1, tzinfo=UTC).date()),
            Release("2.0", datetime(2026, 6, 1, tzinfo=UTC).date()),
            Release("1.5", datetime(2026, 3, 1, tzinfo=UTC).date(), Mark.CRITICAL),
        ]
    },
)


def test_stale_firmware_is_ticketed_and_recovers_with_the_update(postgres_dsn):
    async def scenario(world, terminal):
        world.reporting = {terminal: 10}
        await execute(world.pool, "UPDATE terminal SET model_told = 'FMB920', firmware = '1.0'")
        await world.patrol._releases.refresh(world.pool, world.patrol.fleet)
        await world.pass_time(10)
        assert world.verdict(terminal, "firmware") == "fail"
        await world.pass_time(30)
        number = (await world.store.list(kind="firmware")).items[0].number
        ticket = await world.store.get(number)
        await execute(world.pool, "UPDATE terminal SET firmware = '2.0'")
        assert await world.patrol._releases.refresh(world.pool, world.patrol.fleet) == 1
        await world.pass_time(295)
        before = await world.tickets()
        await world.pass_time(20)
        return ticket, before, await world.tickets(), world.patrol.explain("firmware", terminal)

    ticket, before, tickets, explained = play(postgres_dsn, scenario, catalogue=CATALOGUE)
    assert ticket.title == "Truck 12: firmware 1.0 is stale: 2.0 has been out for 168 days; update to 2.0"
    assert (ticket.zone, ticket.priority) == ("firmware", 3)
    assert ticket.evidence["firmware"]["recommended"] == "2.0"
    assert before == [("new", "firmware", ["opened"])]
    assert tickets == [("awaiting_consent", "firmware", ["opened", "recovered"])]
    assert explained.reason == "firmware 2.0 is current"


def test_the_model_told_wins_over_the_one_set_and_unlisted_ones_are_unknown(postgres_dsn):
    async def scenario(world, terminal):
        told = []
        for change in (
            "firmware = '1.5'",
            "model = 'FMB920'",
            "model_told = 'FMB999'",
            "model_told = NULL, firmware = '7'",
        ):
            await execute(world.pool, f"UPDATE terminal SET {change}")
            await world.patrol._releases.refresh(world.pool, world.patrol.fleet)
            await world.pass_time(1)
            told.append(world.verdict(terminal, "firmware"))
        return told

    assert play(postgres_dsn, scenario, catalogue=CATALOGUE) == ["unknown", "fail", "unknown", "unknown"]


def test_a_mass_outage_is_ticketed_row_by_row_once(postgres_dsn):
    async def scenario(world, terminal):
        rows = [terminal] + [await add_terminal(world.pool, f"t{i}") for i in range(60)]
        world.reporting = dict.fromkeys(rows, 10)
        await world.pass_time(100)
        world.reporting = {}
        await world.pass_time(200)
        world.reporting = dict.fromkeys(rows, 10)
        await world.pass_time(320)
        return await world.tickets()

    tickets = play(postgres_dsn, scenario)
    assert tickets == [("awaiting_consent", "silence", ["opened", "recovered"])] * 61


def test_a_store_that_refuses_or_is_away_delays_tickets_and_nothing_else(postgres_dsn):
    async def scenario(world, terminal):
        world.reporting = {terminal: 10}
        await world.pass_time(100)
        world.reporting = {}
        await execute(world.pool, "ALTER TABLE journal RENAME TO journal_away")
        await world.pass_time(130)
        assert world.verdict(terminal) == "fail"
        refused = await fetch(world.pool, "SELECT count(*) FROM ticket")
        await execute(world.pool, "ALTER TABLE journal_away RENAME TO journal")
        await world.pass_time(61)
        return refused, await world.tickets()

    refused, tickets = play(postgres_dsn, scenario)
    assert refused == [(0,)]
    assert tickets == [("new", "silence", ["opened"])]


def test_a_clock_that_is_set_back_confuses_nobody(postgres_dsn):
    async def scenario(world, terminal):
        world.reporting = {terminal: 10}
        await world.pass_time(100)
        monotonic = 0.0
        fleet = world.patrol.fleet

        async def second(*, report):
            nonlocal monotonic
            world.clock.now += 1
            monotonic += 1
            if report:
                world.frame(terminal)
            world.patrol.tick(world.now, MONDAY + 100 + monotonic)
            await world.patrol.settle(world.now)

        for _ in range(5):
            await second(report=True)
        world.clock.now -= 3600
        for _ in range(100):
            await second(report=False)
        assert [state for state, _, _ in await world.tickets()] == ["new"]
        await second(report=True)
        assert fleet.received[terminal] == round(world.now * 1e6)
        for _ in range(305):
            await second(report=True)
        return await world.tickets()

    assert play(postgres_dsn, scenario) == [("awaiting_consent", "silence", ["opened", "recovered"])]


@pytest.mark.timing
def test_a_tick_over_a_million_terminals():
    """Arrays only: the database is touched by changed verdicts alone."""
    fleet = Fleet(Listening(), SilenceRule())
    patrol = Patrol(None, fleet, None, catalogue=CATALOGUE)
    patrol.tick(MONDAY, 0.0)
    fleet.reserve(1_000_001)
    fleet.exists[1:] = True
    rng = np.random.default_rng(3)
    now = MONDAY
    for first in range(1, 1_000_001, 100_000):
        rows = np.arange(first, first + 100_000, dtype=np.int32)
        at = np.full(len(rows), round(now * 1e6), np.int64)
        fleet.apply(rows, at, rows, at, at, np.full(len(rows), 6, np.int16))
    costs = []
    for _ in range(20):
        now += 1
        rows = np.unique(rng.integers(1, 1_000_001, 5000)).astype(np.int32)
        at = np.full(len(rows), round(now * 1e6), np.int64)
        fleet.apply(rows, at, rows, at, at, np.full(len(rows), 6, np.int16))
        started = time.perf_counter()
        patrol.tick(now, now - MONDAY)
        costs.append(time.perf_counter() - started)
    print(f"tick over a million terminals: {np.median(costs) * 1e3:.1f} ms (most {max(costs) * 1e3:.1f} ms)")
    assert patrol.counts()["silence"]["good"] == 1_000_000
    assert np.median(costs) < 0.05
