import asyncio
import time
from datetime import UTC, datetime

import numpy as np
import pytest
import structlog
from psycopg import OperationalError

from detectors.detector import Detector, Judged
from detectors.expected import Expected
from detectors.firmware import Catalogue, Firmware, Mark, Release
from detectors.mass import RECONNECT, MassRule
from detectors.silence import Silence, SilenceRule
from detectors.verdicts import Explanation, Verdict
from gateway.watch import patrol
from gateway.watch.columns import plain
from gateway.watch.fleet import Fleet
from gateway.watch.listening import Listening
from gateway.watch.patrol import Patrol
from tests.gateway.watch.world import World, limit
from tests.ticketing.desk_parts import MONDAY, add_terminal, done, execute, fetch, pool_of


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

    with structlog.testing.capture_logs() as logs:
        ticket, total, incidents = play(postgres_dsn, scenario)
    told = [entry for entry in logs if entry["event"] == "ticket opened"]
    assert [(entry["number"], entry["terminal"]) for entry in told] == [(ticket.number, "860000000000001")]
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
            assert world.patrol.fleet.view("silence")["interval"][terminal, 0] < 86
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
        assert [state for state, _, _ in await world.tickets()] == ["recovering"]
        await world.pass_time(2)
        assert [actions for _, _, actions in await world.tickets()] == [["opened", "recovering", "recovered"]]
        return await world.tickets(), (await world.store.incidents()).items

    tickets, incidents = play(postgres_dsn, scenario)
    assert tickets[0][0] == "awaiting_consent"
    assert incidents[0].state == "closed"


@pytest.mark.parametrize("kind", ["archive", "resent", "older", "newer"])
def test_only_a_record_newer_than_those_known_when_it_failed_proves_recovery(postgres_dsn, kind):
    """With limits so short that records of before the silence have only just arrived."""

    async def scenario(world, terminal):
        world.reporting = {terminal: 1}
        await world.pass_time(10)
        last = world.now
        world.reporting = {}
        await world.pass_time(10)
        assert [state for state, _, _ in await world.tickets()] == ["new"]
        failed = world.patrol.fleet.live.copy()
        for second in range(9):
            told = {"archive": world.now - 3600, "resent": last, "older": last - 9 + second, "newer": last + 0.001}
            world.frame(terminal, own_time=told[kind])
            await world.pass_time(1)
        assert world.verdict(terminal) == "good"
        assert (world.patrol.fleet.live[terminal] > failed[terminal]) == (kind == "newer")
        states = [state for state, _, _ in await world.tickets()]
        assert states == (["awaiting_consent"] if kind == "newer" else ["new"])
        world.reporting = {terminal: 1}
        await world.pass_time(6)
        return await world.tickets()

    tickets = play(postgres_dsn, scenario, rule=SilenceRule(after=3, floor=6, ceiling=20, learn=3), hold=2, recovery=4)
    assert [state for state, _, _ in tickets] == ["awaiting_consent"]


@pytest.mark.parametrize("told", ["archive", "resent"])
def test_a_restart_makes_no_proof_of_what_came_before_the_fault(postgres_dsn, told):
    async def scenario(world, terminal):
        world.reporting = {terminal: 1}
        await world.pass_time(10)
        last = world.now
        world.reporting = {}
        await world.pass_time(10)
        assert [state for state, _, _ in await world.tickets()] == ["new"]
        await world.restart()
        for _ in range(9):
            world.frame(terminal, own_time=last if told == "resent" else world.now - 3600)
            await world.pass_time(1)
        assert [state for state, _, _ in await world.tickets()] == ["new"]
        world.reporting = {terminal: 1}
        await world.pass_time(6)
        return await world.tickets()

    tickets = play(postgres_dsn, scenario, rule=SilenceRule(after=3, floor=6, ceiling=20, learn=3), hold=2, recovery=4)
    assert [state for state, _, _ in tickets] == ["awaiting_consent"]


BACK = ["recovering", "relapsed"]  # a live record, and silence before the recovery was proven


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
        # It was back, and is gone again: told once, though it happened four times.
        assert (await world.tickets())[0][2] == ["opened", *BACK, "changed", *BACK * 3]
        world.reporting = {terminal: 10}
        await world.pass_time(310)
        return await world.tickets()

    assert play(postgres_dsn, scenario)[0][2] == ["opened", *BACK, "changed", *BACK * 3, "recovering", "recovered"]


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
        await done(world.store, "take", number, "anna")
        await done(world.store, "consent", number, "anna", "by phone")
        await done(world.store, "close", number, "anna")
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
    assert third == "recovering"
    assert tickets == [
        (
            "awaiting_consent",
            "silence",
            ["opened", "recovering", "recovered", "take", "consent", "close"]
            + ["relapsed", "recovering", "recovered"] * 3,
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
        await world.pass_time(RECONNECT - 3)  # its limit passes, and it may be on its way back
        assert world.verdict(terminal) == "fail"
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
        assert limit(world.patrol.fleet, terminal) == 60.0
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
    assert between[0][2] == ["opened", "recovering"]
    assert tickets == [("awaiting_consent", "silence", ["opened", "recovering", "recovered"])]
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
        learned = world.patrol.fleet.view("silence")["learned"][terminal, 0]
        world.clock.now += 52
        await world.restart(saved=False)
        fleet = world.patrol.fleet
        with_snapshot = (fleet.received[terminal] - before, fleet.view("silence")["learned"][terminal, 0] - learned)
        # Without any state at all: the records alone tell.
        await execute(world.pool, "DELETE FROM gateway_state")
        world.clock.now += 86_400
        await world.restart(saved=False)
        await world.pass_time(3)
        return with_snapshot, world.patrol.fleet.view("silence")["learned"][terminal, 0], world.verdict(terminal)

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
        await world.patrol._registered.refresh(world.pool, world.patrol.fleet)
        await world.pass_time(10)
        assert world.verdict(terminal, "firmware") == "fail"
        await world.pass_time(30)
        number = (await world.store.list(kind="firmware")).items[0].number
        ticket = await world.store.get(number)
        await execute(world.pool, "UPDATE terminal SET firmware = '2.0'")
        assert await world.patrol._registered.refresh(world.pool, world.patrol.fleet) == 1
        assert await world.patrol._registered.refresh(world.pool, world.patrol.fleet) == 0, "told once"
        await world.pass_time(295)
        before = await world.tickets()
        await world.pass_time(20)
        return ticket, before, await world.tickets(), world.patrol.explain("firmware", terminal)

    ticket, before, tickets, explained = play(postgres_dsn, scenario, catalogue=CATALOGUE)
    assert ticket.title == "Truck 12: firmware 1.0 is stale: 2.0 has been out for 168 days; update to 2.0"
    assert (ticket.zone, ticket.priority) == ("terminal", 3)
    assert ticket.evidence["firmware"]["recommended"] == "2.0"
    assert before == [("recovering", "firmware", ["opened", "recovering"])]
    assert tickets == [("awaiting_consent", "firmware", ["opened", "recovering", "recovered"])]
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
            await world.patrol._registered.refresh(world.pool, world.patrol.fleet)
            await world.pass_time(1)
            told.append(world.verdict(terminal, "firmware"))
        return told

    assert play(postgres_dsn, scenario, catalogue=CATALOGUE) == ["unknown", "fail", "unknown", "unknown"]


def test_as_many_tickets_a_minute_as_are_allowed_and_a_storm_for_the_rest(postgres_dsn):
    async def scenario(world, terminal):
        rows = [terminal] + [await add_terminal(world.pool, f"t{i}") for i in range(90)]
        world.reporting = dict.fromkeys(rows, 10)
        await world.pass_time(100)
        world.reporting = {}
        await world.pass_time(200)
        world.reporting = dict.fromkeys(rows, 10)
        await world.pass_time(320)
        return await world.tickets()

    tickets = play(postgres_dsn, scenario, mass=MassRule(enabled=False))
    assert tickets[:60] == [("awaiting_consent", "silence", ["opened", "recovering", "recovered"])] * 60
    # A group recovers as one, once all of it are proven to be back.
    assert tickets[60:] == [("awaiting_consent", "storm", ["opened", "recovered"])]


def test_a_storm_outlives_a_restart_and_gives_back_who_stays_behind(postgres_dsn):
    async def scenario(world, terminal):
        rows = [terminal] + [await add_terminal(world.pool, f"t{i}") for i in range(1, 6)]
        world.reporting = dict.fromkeys(rows, 10)
        await world.pass_time(100)
        world.reporting = {}
        await world.pass_time(95)
        at_once = await world.tickets()
        await world.restart()
        await world.pass_time(100)
        after_restart = await world.tickets()
        members = await fetch(world.pool, "SELECT terminal FROM incident WHERE parent IS NOT NULL ORDER BY id")
        back = [terminal for (terminal,) in members][:3]
        world.reporting = dict.fromkeys(back, 10)
        await world.pass_time(330)
        return at_once, after_restart, members, await world.tickets(), dict(world.patrol.refused)

    at_once, after_restart, members, tickets, refused = play(postgres_dsn, scenario, tickets_per_minute=2)
    new = ("new", "silence", ["opened"])
    assert at_once == after_restart == [new, new, ("new", "storm", ["opened"])]
    assert len(members) == 4
    assert tickets == [new, new, ("awaiting_consent", "storm", ["opened", "detached", "recovered"]), new]
    assert refused == {}


def test_a_store_that_refuses_or_is_away_delays_tickets_and_nothing_else(postgres_dsn):
    async def scenario(world, terminal):
        world.reporting = {terminal: 10}
        await world.pass_time(100)
        world.reporting = {}
        await execute(world.pool, "ALTER TABLE journal RENAME TO journal_away")
        await world.pass_time(130)
        assert world.verdict(terminal) == "fail"
        refused = await fetch(world.pool, "SELECT count(*) FROM ticket")
        # 130 s, of which it was to be opened in the last 40: asked once, not every second.
        attempts = [dict(world.patrol.refused)]
        await world.pass_time(60)
        attempts.append(dict(world.patrol.refused))
        await execute(world.pool, "ALTER TABLE journal_away RENAME TO journal")
        await world.pass_time(61)
        return refused, attempts, await world.tickets()

    refused, attempts, tickets = play(postgres_dsn, scenario)
    assert refused == [(0,)]
    assert attempts == [{"silence": 1}, {"silence": 2}]
    assert tickets == [("new", "silence", ["opened"])]


class Touchy(Detector):
    """Everybody fails, and one of them cannot even be told about."""

    kind = "touchy"
    words = "Touchy"
    sore = None

    def judge(self, view, rows):
        return Judged(np.full(len(rows), Verdict.FAIL, np.int8), np.full(len(rows), np.inf))

    def explain(self, view, row):
        return Explanation(Verdict.FAIL, "it hurts")

    def evidence(self, view, row, terminal):
        if row == self.sore:
            raise LookupError("nobody thought of this")
        return {}


@pytest.mark.parametrize("cause", ["evidence", "refused", "timeout"])
def test_one_bad_item_blocks_only_itself(postgres_dsn, cause):
    touchy = Touchy()

    async def scenario(world, terminal):
        rows = [terminal] + [await add_terminal(world.pool, f"t{i}") for i in range(6)]
        bad = rows[2]
        if cause == "evidence":
            touchy.sore = bad
        else:
            # What the store says of this one alone: a plain refusal, or that it took too long.
            code = {"refused": "check_violation", "timeout": "query_canceled"}[cause]
            await execute(
                world.pool,
                "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                f" IF NEW.terminal = {bad} THEN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END IF;"
                " RETURN NEW; END $$",
            )
            await execute(world.pool, "CREATE TRIGGER no BEFORE INSERT ON ticket FOR EACH ROW EXECUTE FUNCTION no()")
        world.reporting = dict.fromkeys(rows, 10)
        await world.pass_time(150)
        return rows, bad, await fetch(world.pool, "SELECT terminal FROM ticket"), dict(world.patrol.refused)

    rows, bad, tickets, refused = play(postgres_dsn, scenario, also=[touchy])
    assert {terminal for (terminal,) in tickets} == set(rows) - {bad}
    assert refused == {"touchy": 2}


def test_a_store_that_is_away_keeps_what_is_due(postgres_dsn):
    """Nothing is refused, nothing forgotten: a shutdown is nobody's fault but the store's."""

    async def scenario(world, terminal):
        world.reporting = {terminal: 10}
        await world.pass_time(100)
        world.reporting = {}
        await execute(
            world.pool,
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'shutting down' USING ERRCODE = 'admin_shutdown'; END $$",
        )
        await execute(world.pool, "CREATE TRIGGER no BEFORE INSERT ON ticket FOR EACH ROW EXECUTE FUNCTION no()")
        await world.pass_time(80)
        with pytest.raises(OperationalError):
            await world.pass_time(20)
        await execute(world.pool, "DROP TRIGGER no ON ticket")
        await world.pass_time(1)
        return dict(world.patrol.refused), await world.tickets()

    refused, tickets = play(postgres_dsn, scenario)
    assert refused == {}
    assert tickets == [("new", "silence", ["opened"])]


def test_a_finding_whose_case_cannot_be_built_blocks_only_itself(postgres_dsn, monkeypatch, capsys):
    async def scenario(world, terminal):
        others = [await add_terminal(world.pool, f"t{i}") for i in range(6)]
        built = patrol.build_case

        async def build(connection, finding, *arguments):
            if finding.terminal == terminal:
                raise ValueError("a case that cannot be built")
            return await built(connection, finding, *arguments)

        monkeypatch.setattr(patrol, "build_case", build)
        world.reporting = dict.fromkeys([terminal, *others], 10)
        await world.pass_time(100)
        world.reporting = {}
        await world.pass_time(150)
        without = await fetch(world.pool, "SELECT terminal FROM ticket ORDER BY terminal")
        monkeypatch.undo()
        await world.pass_time(61)
        return without == [(row,) for row in others], len(await world.tickets())

    assert play(postgres_dsn, scenario) == (True, 7)
    assert 1 <= capsys.readouterr().out.count("incident refused") <= 3  # put off for a minute each time


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

    assert play(postgres_dsn, scenario) == [("awaiting_consent", "silence", ["opened", "recovering", "recovered"])]


@pytest.mark.timing
@pytest.mark.parametrize("expected", [None, Expected()])
def test_a_tick_over_a_million_terminals(expected):
    """Arrays only: the database is touched by changed verdicts alone."""
    fleet = Fleet(Listening(), [Silence(SilenceRule(), expected), Firmware(CATALOGUE)])
    patrol = Patrol(None, fleet, None)
    patrol.tick(MONDAY, 0.0)
    fleet.reserve(1_000_001)
    fleet.exists[1:] = True
    rng = np.random.default_rng(3)
    now = MONDAY
    for first in (*range(1, 1_000_001, 100_000),) * 2:
        now += 0.5
        rows = np.arange(first, first + 100_000, dtype=np.int32)
        at = np.full(len(rows), round(now * 1e6), np.int64)
        fleet.apply(plain(rows, at, rows, at, at, np.full(len(rows), 6, np.int16)))
    costs = []
    for _ in range(20):
        now += 1
        rows = np.unique(rng.integers(1, 1_000_001, 5000)).astype(np.int32)
        at = np.full(len(rows), round(now * 1e6), np.int64)
        fleet.apply(plain(rows, at, rows, at, at, np.full(len(rows), 6, np.int16)))
        started = time.perf_counter()
        patrol.tick(now, now - MONDAY)
        costs.append(time.perf_counter() - started)
    print(f"tick over a million terminals: {np.median(costs) * 1e3:.1f} ms (most {max(costs) * 1e3:.1f} ms)")
    counts = patrol.counts()["silence"]
    assert counts["good"] + (counts["suspect"] if expected else 0) == 1_000_000
    assert np.median(costs) < 0.05


def test_a_terminal_out_of_use_gets_no_ticket_for_silence_until_its_stage_ends(postgres_dsn):
    async def scenario(world, terminal):
        world.reporting = {terminal: 10}
        await world.pass_time(120)
        await execute(world.pool, "UPDATE terminal SET stage = 'workshop', stage_until = now() + interval '1 hour'")
        refresh = world.patrol._registered.refresh
        await refresh(world.pool, world.patrol.fleet)
        world.reporting = {}
        await world.pass_time(200)
        verdict, why = world.verdict(terminal), world.patrol.explain("silence", terminal)
        nothing = await world.tickets()
        # It ends by itself: nobody writes anything then.
        await execute(world.pool, "UPDATE terminal SET stage_until = now() - interval '1 second'")
        await execute(world.pool, "UPDATE terminal SET changed_at = now() - interval '1 day'")
        await refresh(world.pool, world.patrol.fleet)
        await world.pass_time(60)
        return verdict, why, nothing, await world.tickets()

    verdict, why, nothing, tickets = play(postgres_dsn, scenario)
    assert (verdict, why.reason, why.numbers) == (
        "unknown",
        "stage: workshop, its silence means nothing",
        {"stage": "workshop"},
    )
    assert nothing == []
    assert [kind for _, kind, _ in tickets] == ["silence"]
