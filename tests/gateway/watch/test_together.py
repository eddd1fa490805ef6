"""Those that fall silent together, over a real store and in virtual time: one ticket, members, give-back, restarts."""

import asyncio

import numpy as np
import pytest
from psycopg import OperationalError

from detectors.mass import OUTAGE, MassRule
from detectors.silence import SilenceRule
from tests.gateway.watch.world import World
from tests.ticketing.desk_parts import add_terminal, done, execute, fetch, pool_of
from ticketing.core.outbox import Target
from ticketing.incidents.decisions import Reason, Step

RULE = MassRule(settle=5.0)
N = 24


def play(dsn, scenario, *, count=N, lost=12, mass=RULE, **options):
    """A fleet of `count`, of which the first `lost` use operator Nord, the rest Süd; all report every ten seconds."""

    async def run():
        async with pool_of(dsn) as pool:
            rows = []
            for place in range(count):
                operator = "Nord" if place < lost else "Süd"
                rows.append(await add_terminal(pool, f"t{place}", name=f"Truck {place}", operator=operator))
            world = await World(pool, mass=mass, targets=[Target("webhook", "u")], **options).start()
            world.rows = rows
            world.reporting = dict.fromkeys(rows, 10)
            await world.pass_time(120)
            return await scenario(world, rows[:lost])

    return asyncio.run(run())


def fall_silent(world, rows):
    for row in rows:
        world.reporting.pop(row, None)


def speak(world, rows):
    world.reporting |= dict.fromkeys(rows, 10)


async def groups(world):
    """(kind, state, group's name, members that are open) of each group, oldest first."""
    return await fetch(
        world.pool,
        "SELECT g.kind, g.state, g.group_by || ' ' || g.group_value, (SELECT count(*) FROM incident m WHERE m.parent"
        " = g.id AND m.state = 'open') FROM incident g WHERE g.terminal IS NULL ORDER BY g.id",
    )


def test_an_operator_s_outage_is_one_ticket_and_those_who_stay_out_get_their_own(postgres_dsn):
    async def scenario(world, lost):
        fall_silent(world, lost)
        await world.pass_time(400)
        open_ = await groups(world), await world.tickets(), world.patrol.together.stage.members
        told = world.patrol.explain("silence", lost[3])
        (parent,) = (await world.store.incidents(kind="mass-silence")).items
        first = await world.store.incident(parent.id), await world.store.explain(parent.id)
        member = (await world.store.incidents(terminal="t3")).items[0]
        of_member = await world.store.explain(member.id)
        speak(world, lost[2:])
        await world.pass_time(50)
        over = await groups(world), await world.tickets()
        counted = world.patrol.explain("silence", lost[0])
        await world.pass_time(120)  # their limit of a minute, and the hold, from the return on
        alone = await world.tickets()
        await world.pass_time(300)
        last = await world.store.incident(parent.id)
        ticket = await world.store.get(parent.ticket)
        owed = await fetch(world.pool, "SELECT count(*), count(DISTINCT ticket) FROM outbox")
        left = dict(world.patrol.together.groups), dict(world.patrol.together._group_of)
        return open_, told, first, member, of_member, over, counted, alone, last, ticket, owed, left

    open_, told, first, member, of_member, over, counted, alone, last, ticket, owed, left = play(postgres_dsn, scenario)
    assert open_ == ([("mass-silence", "open", "operator Nord", 12)], [("new", "mass-silence", ["opened"])], 12)
    assert told.reason.endswith("; with operator Nord")
    detail, explained = first
    assert (detail.terminal, detail.group.by, detail.group.value, detail.members_count) == (
        None,
        "operator",
        "Nord",
        12,
    )
    assert (detail.zone, detail.zone_confidence) == ("sim-operator", 1.0)
    assert {m.terminal: (m.kind, m.state, m.back_at) for m in detail.members} == {
        f"t{n}": ("silence", "open", None) for n in range(12)
    }
    assert (detail.detected_at - detail.opened_at).total_seconds() < -20
    decision = explained.numbers
    assert (decision["silent"], decision["expected"], decision["share"], decision["by"]) == (12, 12, 1.0, "operator")
    assert decision["score"] > decision["needed"]
    assert decision["explanations"][0]["value"] == "Nord"
    assert detail.evidence["decision"] == decision
    assert (member.parent, member.ticket, member.kind, member.state) == (detail.id, None, "silence", "open")
    assert (of_member.parent, of_member.numbers) == (detail.id, decision)
    # Given back as soon as half of them are heard again; nobody is blamed for the outage's own length.
    assert over[0] == [("mass-silence", "closed", "operator Nord", 12)]
    assert over[1] == [("awaiting_consent", "mass-silence", ["opened", "recovered"])]
    assert "counted from the return of operator Nord" in counted.reason
    assert alone == [
        ("awaiting_consent", "mass-silence", ["opened", "recovered", "detached", "detached"]),
        ("new", "silence", ["opened"]),
        ("new", "silence", ["opened"]),
    ]
    assert {m.terminal: m.back_at is not None for m in last.members} == {f"t{n}": n >= 2 for n in range(12)}
    assert all(m.state == "closed" for m in last.members)
    assert ticket.title.startswith("Mass silence: operator Nord: 12 of 12 terminals that should report fell silent")
    assert "heard again: " in ticket.journal[1].text
    left_to = sorted(entry.text.partition(": ")[0] for entry in ticket.journal[2:])
    assert left_to == ["t0 still fails (silence)", "t1 still fails (silence)"]
    assert ticket.evidence["members"] == [{"kind": "silence", "joined": 12, "failing": 0, "back": 10, "given_back": 2}]
    assert owed == [(3, 3)]
    assert left == ({}, {})


def test_members_who_may_be_silent_for_longer_do_not_recover_by_that(postgres_dsn):
    async def scenario(world, lost):
        fall_silent(world, lost)
        await world.pass_time(500)
        joined = await fetch(world.pool, "SELECT count(*) FROM incident WHERE parent IS NOT NULL")
        return await groups(world), joined, world.verdict(lost[0])

    found, joined, verdict = play(
        postgres_dsn, scenario, rule=SilenceRule(after=3.0, floor=3600.0, ceiling=7200.0, learn=8)
    )
    assert found == [("mass-silence", "open", "operator Nord", 12)]
    assert joined == [(12,)]  # once each
    assert verdict == "good"


def test_terminals_out_of_use_are_no_group(postgres_dsn):
    async def scenario(world, lost):
        await execute(world.pool, "UPDATE terminal SET stage = 'season' WHERE operator = 'Nord'")
        await world.patrol._learn_of_terminals()
        await world.pass_time(1)
        fall_silent(world, lost)
        await world.pass_time(200)
        return await groups(world), await world.tickets()

    assert play(postgres_dsn, scenario) == ([], [])


def test_a_member_that_has_a_ticket_of_its_own_already_keeps_it(postgres_dsn):
    async def scenario(world, lost):
        fall_silent(world, lost[:1])
        await world.pass_time(150)
        before = await world.tickets()
        fall_silent(world, lost)
        await world.pass_time(200)
        return before, await world.tickets(), await groups(world)

    before, after, found = play(postgres_dsn, scenario)
    assert [kind for _, kind, _ in before] == ["silence"]
    assert [kind for _, kind, _ in after] == ["silence", "mass-silence"]
    assert found == [("mass-silence", "open", "operator Nord", 11)]


def test_members_do_not_use_up_the_tickets_of_a_minute(postgres_dsn):
    async def scenario(world, lost):
        fall_silent(world, lost)
        fall_silent(world, world.rows[-2:])  # and two of the others, by themselves
        await world.pass_time(200)
        return await world.tickets()

    rule = SilenceRule(after=3.0, floor=20.0, ceiling=3600.0, learn=8)  # they fail within the minute
    tickets = play(postgres_dsn, scenario, tickets_per_minute=2, rule=rule)
    assert sorted(kind for _, kind, _ in tickets) == ["mass-silence", "silence", "silence"]


@pytest.mark.parametrize("saved", [True, False], ids=["snapshot", "crash"])
def test_a_restart_in_the_middle_changes_nothing(postgres_dsn, saved):
    async def scenario(world, lost):
        fall_silent(world, lost)
        await world.pass_time(200)
        await world.restart()
        middle = world.patrol.together.stage.members
        await world.pass_time(100)
        await world.restart(down=30, saved=saved)
        speak(world, lost[1:])
        await world.pass_time(60)
        over = await groups(world)
        await world.restart(saved=saved)  # over, with members left
        await world.pass_time(400)
        return middle, over, await groups(world), await world.tickets(), dict(world.patrol.together.groups)

    middle, over, after, tickets, left = play(postgres_dsn, scenario)
    assert middle == 12
    assert over == [("mass-silence", "closed", "operator Nord", 12)]
    assert after == [("mass-silence", "closed", "operator Nord", 0)]
    assert [(kind, actions) for _, kind, actions in tickets] == [
        ("mass-silence", ["opened", "recovered", "detached"]),
        ("silence", ["opened"]),
    ]
    assert left == {}


def test_a_group_silent_again_is_the_old_number_until_that_is_closed(postgres_dsn):
    async def scenario(world, lost):
        for closed in (False, True):
            fall_silent(world, lost)
            await world.pass_time(200)
            speak(world, lost)
            await world.pass_time(400)
            if not closed:
                continue
            (number,) = (await fetch(world.pool, "SELECT number FROM ticket"))[0]
            for action in ("consent", "close"):
                await done(world.store, action, number, "anna", "the operator says so")
        fall_silent(world, lost)
        await world.pass_time(200)
        return await world.tickets(), await groups(world)

    tickets, found = play(postgres_dsn, scenario)
    assert tickets == [
        ("closed", "mass-silence", ["opened", "recovered", "relapsed", "recovered", "consent", "close"]),
        ("new", "mass-silence", ["opened"]),
    ]
    assert [(state, members) for _, state, _, members in found] == [("closed", 0), ("open", 12)]


def test_a_store_that_is_away_delays_the_group_and_nothing_else(postgres_dsn, monkeypatch):
    async def scenario(world, lost):
        incidents = world.patrol._groups._incidents
        right, tried = incidents.open, []

        async def away(*given):
            tried.append(given)
            raise OperationalError("the store is away")

        fall_silent(world, lost)
        incidents.open = away
        with pytest.raises(OperationalError):
            await world.pass_time(200)
        nothing = await world.tickets()
        incidents.open = right
        await world.pass_time(100)
        return len(tried), nothing, await groups(world), await world.tickets()

    tried, nothing, found, tickets = play(postgres_dsn, scenario)
    assert tried == 1
    assert nothing == []
    assert found == [("mass-silence", "open", "operator Nord", 12)]
    assert [kind for _, kind, _ in tickets] == ["mass-silence"]


@pytest.mark.parametrize(("heard", "found"), [(5, "mass-silence"), (6, None)])
def test_those_whom_another_service_heard_are_no_group(postgres_dsn, heard, found):
    """What it told us got lost; the store knows better."""

    async def scenario(world, lost):
        asked = []

        async def heard_elsewhere(terminals):
            asked.append(sorted(terminals))
            return heard

        world.patrol._incidents.heard_elsewhere = heard_elsewhere
        fall_silent(world, lost)
        await world.pass_time(45)
        middle = await world.tickets(), dict(world.patrol.together.groups), dict(world.patrol.together._group_of)
        taken = world.patrol._watched["silence"].open[lost].any()
        return asked, lost, middle, taken

    asked, lost, (tickets, groups_, members), taken = play(postgres_dsn, scenario)
    assert asked[0] == lost
    assert [kind for _, kind, _ in tickets] == ([found] if found else [])
    assert (bool(groups_), bool(members), bool(taken)) == (bool(found),) * 3


def test_switched_off_and_on_while_everything_runs(postgres_dsn):
    async def scenario(world, lost):
        def reconfigure(rule):
            world.patrol.reconfigure(world.detectors, hold=30, recovery=300, mass=rule)

        fall_silent(world, lost)
        await world.pass_time(60)
        found = await groups(world)
        reconfigure(MassRule(enabled=False))
        await world.pass_time(10)
        off = await groups(world)
        await world.pass_time(150)
        alone = await world.tickets()
        speak(world, lost)
        await world.pass_time(400)
        reconfigure(RULE)
        await world.pass_time(30)
        fall_silent(world, lost)
        await world.pass_time(100)
        return found, off, alone, await groups(world)

    found, off, alone, again = play(postgres_dsn, scenario)
    assert found == [("mass-silence", "open", "operator Nord", 12)]
    assert off == [("mass-silence", "closed", "operator Nord", 12)]
    assert sorted(kind for _, kind, _ in alone) == ["mass-silence"] + ["silence"] * 12
    assert again == [("mass-silence", "open", "operator Nord", 12)]


def test_a_listener_that_nobody_reaches_is_ours_for_45_minutes_and_nobody_s_ticket(postgres_dsn):
    async def scenario(world, _lost):
        # Every other terminal came by one port, whatever its operator.
        for place in range(N):
            port = ("teltonika:5027", "omnicomm:9977")[place % 2]
            await execute(
                world.pool,
                "INSERT INTO connection (id, terminal, protocol, address, listener, opened_at) VALUES"
                " (%s, %s, 'teltonika', %s, %s, now())",
                place + 1,
                f"t{place}",
                f"10.{place}.0.9:4000",
                port,
            )
        await world.patrol._learn_of_terminals()
        gone = world.rows[::2]
        fall_silent(world, gone)
        await world.pass_time(45 * 60)
        during = await groups(world), await world.tickets(), world.patrol.listens
        speak(world, gone)
        await world.pass_time(400)
        return during, await groups(world), await world.tickets(), world.patrol.listens

    during, after, tickets, listens = play(postgres_dsn, scenario)
    assert during == (
        [("platform", "open", "listener teltonika:5027", 12)],
        [("new", "platform", ["opened"])],
        False,
    )
    assert after == [("platform", "closed", "listener teltonika:5027", 0)]
    assert tickets == [("awaiting_consent", "platform", ["opened", "recovered"])]
    assert listens


def test_who_told_no_model_is_of_a_protocol_and_of_no_model(postgres_dsn):
    """Those of one protocol that fall silent together are behind a port of ours, not "of a model" called after it."""

    async def scenario(world, _lost):
        await execute(world.pool, "UPDATE terminal SET protocol = 'omnicomm' WHERE id %% 2 = 0")
        told, *gone = [row for row in world.rows if row % 2 == 0]
        await execute(world.pool, "UPDATE terminal SET model = 'Profi' WHERE id = %s", told)  # and is heard
        await world.patrol._learn_of_terminals()
        fall_silent(world, gone)
        await world.pass_time(300)
        return await groups(world)

    assert play(postgres_dsn, scenario) == [("platform", "open", "protocol omnicomm", 11)]


@pytest.mark.parametrize("how", ["store", "restart"])
def test_our_own_outage_is_one_platform_incident_and_nobody_s_ticket(postgres_dsn, how):
    async def scenario(world, _lost):
        if how == "store":
            world.listening = False
            await world.pass_time(45 * 60)
            world.listening = True
        else:
            await world.restart(down=45 * 60)
        listens = world.patrol.listens
        world.reporting = {}
        for place, row in enumerate(world.rows):  # they come back one after the other
            speak(world, [row])
            await world.pass_time(5 if place % 2 else 2)
        await world.pass_time(400)
        told = await fetch(
            world.pool, "SELECT title, extract(epoch FROM i.opened_at - i.detected_at)::int FROM ticket t, incident i"
        )
        return listens, await groups(world), await world.tickets(), world.patrol.listens, told

    listens, found, tickets, after, ((title, lasted),) = play(postgres_dsn, scenario)
    assert title.startswith("Platform: the gateway did not listen: for 45 min")
    assert lasted == pytest.approx(2700, abs=10)
    assert found == [("platform", "closed", "gateway absence", 0)]
    assert tickets == [("awaiting_consent", "platform", ["opened", "recovered"])]
    assert (listens, after) == (False, True)


def test_a_short_absence_is_nobody_s_business(postgres_dsn):
    async def scenario(world, _lost):
        await world.restart(down=OUTAGE - 10)
        await world.pass_time(400)
        return await groups(world), await world.tickets()

    assert play(postgres_dsn, scenario) == ([], [])


def test_a_thousand_members_are_written_and_recover_in_few_statements(postgres_dsn, monkeypatch):
    monkeypatch.setattr("gateway.watch.group_carrying.MEMBERS_AT_ONCE", 400)

    async def scenario(world, lost):
        counted = []
        incidents = world.patrol._groups._incidents
        for name in ("join", "recovered"):
            right = getattr(incidents, name)

            async def counting(*given, right=right, name=name):
                counted.append(name)
                return await right(*given)

            setattr(incidents, name, counting)
        fall_silent(world, lost)
        await world.pass_time(60)
        found = await groups(world)
        speak(world, lost)
        await world.pass_time(330)
        return found, counted, await groups(world), await world.tickets()

    found, counted, after, tickets = play(postgres_dsn, scenario, count=1200, lost=1000)
    assert found == [("mass-silence", "open", "operator Nord", 1000)]
    assert counted.count("join") == 2
    assert counted.count("recovered") < 12
    assert after == [("mass-silence", "closed", "operator Nord", 0)]
    assert tickets == [("awaiting_consent", "mass-silence", ["opened", "recovered"])]


def test_what_is_usual_is_kept_over_a_restart_and_what_cannot_be_read_is_learned_anew(postgres_dsn):
    async def scenario(world, _lost):
        together = world.patrol.together
        late = np.zeros(len(together.stage.groups), np.int64)
        alive = np.full(len(late), 20)
        for _ in range(40):
            together.stage.usual.learn(late, alive, world.now, 5, np.ones(len(late), bool))
        await world.patrol._groups.save()
        await world.restart()
        hour = int(world.now // 3600) % 24
        nord = world.patrol.together.stage.groups.find("operator", "Nord")
        kept = world.patrol.together.stage.usual.alive(nord, hour)
        await execute(world.pool, "UPDATE gateway_state SET value = '\\x00' WHERE key = 'mass'")
        await world.restart()
        nord = world.patrol.together.stage.groups.find("operator", "Nord")
        return kept, world.patrol.together.stage.usual.alive(nord, hour)

    kept, anew = play(postgres_dsn, scenario)
    assert kept == pytest.approx(20, rel=0.1)
    assert anew == np.inf


def test_the_rules_of_members():
    from detectors.verdicts import Explanation, Finding, Verdict
    from ticketing.incidents.decisions import Known, Limiter, View
    from ticketing.incidents.rules import decide, inhibit

    finding = Finding("silence", 1, 0.0, 10.0, Explanation(Verdict.FAIL, ""))
    for is_open, expected in ((True, (Step.STANDING, Reason.SHARED)), (False, (Step.DETACH, Reason.STAYED))):
        known = Known(open=True, parent=7, parent_kind="mass-silence", parent_open=is_open)
        decision = decide(View(Limiter(60), known), finding, 20.0)
        assert (decision.step, decision.reason, decision.parent) == (*expected, 7)
    for waits in ("forming", "reconnecting"):
        held = inhibit(0.0, listening=True, waits=waits)
        assert (held.step, held.reason) == (Step.HOLD, Reason(waits))
    assert inhibit(0.0, listening=True) is None
