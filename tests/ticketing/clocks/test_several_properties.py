"""All clocks of a ticket against a slow reading of the same rules, and properties that hold for every life."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ticketing.clocks import ticket_walk
from ticketing import policies
from ticketing.clocks.several import read_all, rules_of
from ticketing.clocks.steps import Step
from ticketing.clocks.ticket import UNKNOWN
from ticketing.working_time.time_zones import MINUTE, instant

BEGINNINGS = [
    datetime(2026, 3, 5, 13, 0, tzinfo=UTC),  # a Thursday: a long weekend in Russia and Belarus follows
    datetime(2026, 4, 24, 6, 30, tzinfo=UTC),  # Belarus works on the Saturday
    datetime(2026, 10, 1, 8, 0, tzinfo=UTC),
]
NAMES = ("integrator-standard", "support-procedure", "carrier-helpdesk", "after-sales")
POLICIES = {name: policies.get(name) for name in NAMES}
RULES = {name: rules_of(policy) for name, policy in POLICIES.items()}
EVENTS = {
    "integrator-standard": ["visit-needed", "visit-agreed"],
    "support-procedure": ["human-action"],
    "carrier-helpdesk": ["hardware-fault-found", "unit-replaced", "zone-localised", "call-back-asked", "call-made"],
    "after-sales": ["diagnosis", "loan-unit-given", "fault-fixed"],
}
STATES = ["new", "in_work", "in_work", "waiting_client", "waiting_vendor", "visit", "deferred", "awaiting_consent"]
OPENING = frozenset({"request-received", "ticket-opened", "public-message"})


@st.composite
def lives(draw, longest=400):
    """A policy, a plan, the opening's minute since 1970, and steps of some days; no two levels at one minute."""
    name = draw(st.sampled_from(NAMES))
    begin = instant(draw(st.sampled_from(BEGINNINGS))) // MINUTE
    words = ["human-action", "public-message", *EVENTS[name]]
    levels = [table.level for table in POLICIES[name].file.priority]
    plans = [table.name for table in POLICIES[name].file.plan]
    first = draw(st.sampled_from(levels)) if levels else None
    plan = draw(st.sampled_from(plans)) if plans else None
    steps = [ticket_walk.Step(0, "new", OPENING | draw(st.frozensets(st.sampled_from(words), max_size=1)), first)]
    minute = 0
    for _ in range(draw(st.integers(0, 8))):
        gap = draw(st.sampled_from([0, 5, 10, 60, 240]) | st.integers(1, longest))
        minute += gap
        state = draw(st.sampled_from([*STATES, "closed"]))
        events = draw(st.frozensets(st.sampled_from(words), max_size=2))
        priority = draw(st.none() | st.sampled_from(levels)) if levels and gap else None
        another = draw(st.none() | st.sampled_from(plans)) if plans and gap else None
        steps.append(ticket_walk.Step(minute, state, events, priority, another))
    now = minute + draw(st.sampled_from([0, 1, 60]) | st.integers(0, 600))
    return name, plan, begin, steps, now


def moment(begin, minute):
    return datetime.fromtimestamp((begin + minute) * 60, UTC)


def real(begin, steps):
    found = []
    for step in steps:
        data = {"priority": step.priority, "plan": step.plan}
        told = {key: value for key, value in data.items() if value is not None}
        found.append(Step(moment(begin, step.minute), step.state, step.events, told))
    return found


def clocks_of(life, now=None, recorded=()):
    name, plan, begin, steps, until = life
    return read_all(
        POLICIES[name], plan, real(begin, steps), moment(begin, until if now is None else now), recorded=recorded,
        rules=RULES[name],
    )  # fmt: skip


@given(lives())
@settings(max_examples=120, deadline=None)
def test_every_life_is_read_as_minute_by_minute(life):
    name, plan, begin, steps, now = life
    policy = POLICIES[name]
    expected = ticket_walk.read(policy, plan, steps, begin, now)
    found = clocks_of(life)
    seen = {frozenset(ticket_walk.slot_of(clock.name)): clock for clock in found.clocks}
    assert seen.keys() == expected.keys()
    for slot, clock in seen.items():
        assert clock.verdict != UNKNOWN, clock.problem
        at_end, cycles = expected[slot]
        assert clock.name == at_end
        assert [stand.number for stand in clock.stands] == [cycle.number for cycle in cycles]
        for stand, cycle in zip(clock.stands, cycles, strict=True):
            paused = steps[-1].state in policy.clock(clock.name).table.pauses_in
            assert stand.verdict == ticket_walk.verdict(cycle, paused=paused), (clock.name, stand.number)
            assert {breach.clock for breach in stand.breaches} == cycle.broken
            stopped = None if stand.stopped is None else instant(stand.stopped) // MINUTE - begin
            assert stopped == cycle.stopped
            assert stand.result.start_at // MINUTE - begin == cycle.start
            if cycle.stopped is None and cycle.due is not None:
                assert stand.result.due_at // MINUTE - begin == cycle.due


def due_of(found):
    return {clock.name: clock.stands[-1].result.due_at for clock in found.clocks if clock.stands}


@given(lives(), st.data())
@settings(max_examples=60, deadline=None)
def test_waiting_never_makes_anything_due_earlier(life, data):
    """The same life, but one span of it spent waiting for the client."""
    name, plan, begin, steps, now = life
    place = data.draw(st.integers(0, len(steps) - 1))
    if steps[place].state in ("closed",) or any(step.state == "closed" for step in steps):
        return
    waited = [*steps]
    waited[place] = ticket_walk.Step(
        steps[place].minute, "waiting_client", steps[place].events, steps[place].priority, steps[place].plan
    )
    one, two = clocks_of(life), clocks_of((name, plan, begin, waited, now))
    pausing = [clock for clock in POLICIES[name].file.clock if "waiting_client" in clock.pauses_in]
    before, after = due_of(one), due_of(two)
    for clock in pausing:
        # A state that pauses already may be left for one that pauses as well: then nothing moves.
        if steps[place].state in clock.pauses_in or clock.name not in before or clock.name not in after:
            continue
        if before[clock.name] is None:
            assert after[clock.name] is None
        else:
            assert after[clock.name] is None or after[clock.name] >= before[clock.name]


def facts(breaches):
    return {(breach.clock, breach.cycle, breach.policy, breach.due) for breach in breaches}


@given(lives())
@settings(max_examples=60, deadline=None)
def test_a_breach_never_vanishes(life):
    """Not as the life goes on, and not from the record when the journal is read with other words in it."""
    _, _, begin, steps, now = life
    told = set()
    for minute in sorted({*(step.minute for step in steps), now}):
        known = [step for step in steps if step.minute <= minute]
        found = facts(clocks_of((life[0], life[1], begin, known, minute)).breaches)
        assert told <= found
        told = found
    whole = clocks_of(life)
    calm = clocks_of((life[0], life[1], begin, steps[:1], 0), recorded=whole.breaches)
    assert facts(calm.breaches) >= facts(whole.breaches)


@given(lives(), st.data())
@settings(max_examples=60, deadline=None)
def test_the_order_of_what_happens_at_one_instant_changes_nothing(life, data):
    name, plan, begin, steps, now = life
    minutes = sorted({step.minute for step in steps})
    last = {minute: [step for step in steps if step.minute == minute][-1].state for minute in minutes}
    alike = [ticket_walk.Step(s.minute, last[s.minute], s.events, s.priority, s.plan) for s in steps]
    other = sorted(data.draw(st.permutations(alike)), key=lambda step: step.minute)
    split = []
    for step in other:  # the events of one step, each in its own
        split += [ticket_walk.Step(step.minute, step.state, frozenset({event})) for event in sorted(step.events)[1:]]
        split.append(
            ticket_walk.Step(step.minute, step.state, frozenset(sorted(step.events)[:1]), step.priority, step.plan)
        )

    def seen(these):
        found = clocks_of((name, plan, begin, these, now))
        return [
            (clock.name, [(s.number, s.verdict, s.stopped, s.breaches, tuple(s.result.spans)) for s in clock.stands])
            for clock in found.clocks
        ]

    assert seen(alike) == seen(other) == seen(split)


@given(lives())
@settings(max_examples=40, deadline=None)
def test_nothing_is_told_between_two_looks(life):
    """From one look to the next that was announced, no warning and no breach comes."""
    name, plan, begin, steps, now = life
    found = clocks_of(life)
    at = moment(begin, now)
    following = found.next_check(at)
    if following is None:
        return
    just_before = following - timedelta(microseconds=1)
    later = read_all(POLICIES[name], plan, real(begin, steps), just_before, rules=RULES[name])
    assert facts(later.breaches) == facts(found.breaches)
    assert later.warnings(just_before) == found.warnings(at)
    then = read_all(POLICIES[name], plan, real(begin, steps), following, rules=RULES[name])
    assert (facts(then.breaches), then.warnings(following)) != (facts(found.breaches), found.warnings(at))


@given(lives())
@settings(max_examples=30, deadline=None)
def test_spans_have_no_holes(life):
    for clock in clocks_of(life).clocks:
        for stand in clock.stands:
            assert all(one.end == two.begin for one, two in pairwise(stand.result.spans))
