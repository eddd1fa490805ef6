"""Properties that hold for every clock, searched by hypothesis."""

from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ticketing import policies
from ticketing.clocks import walk as clocks
from ticketing.working_time.budgets import Budget
from ticketing.working_time.errors import ClockInputError

MINUTE = 60_000_000
BASE = 1_704_200_400_000_000  # 2024-01-02T13:00Z
STARTS = st.integers(0, 1000 * 1440 * 60).map(lambda second: BASE + second * 1_000_000)
HOURS = st.sampled_from(["09:00-18:00", "09:00-13:00,14:00-18:00", "22:00-06:00", "00:00-24:00", "23:30-00:30"])
DAYS = st.sampled_from(["Mon-Fri", "Mon-Sun", "Sat", "Tue-Thu,Sat"])
ZONES = st.sampled_from(["Europe/Moscow", "Europe/Berlin", "Asia/Almaty", "America/St_Johns", "Australia/Lord_Howe"])
CALENDARS = st.sampled_from(["RU", "BY", "KZ", "CN", "none"])
CLOCKS = st.sampled_from([("integrator-standard", "reaction-remote"), ("dealer-desk", "outage-letter")])


@st.composite
def rules(draw, kinds=CLOCKS):
    policy, clock = draw(kinds)
    return clocks.rule(
        policies.get(policy),
        clock,
        calendar=draw(CALENDARS),
        time_zone=draw(ZONES),
        hours=draw(HOURS),
        days=draw(DAYS),
    )


@st.composite
def pauses_after(draw, start):
    found = []
    for _ in range(draw(st.integers(0, 4))):
        begin = start + draw(st.integers(-3000, 10_000)) * MINUTE
        found.append((begin, begin + draw(st.integers(0, 4000)) * MINUTE))
    return found


def with_budget(rule, amount):
    return replace(rule, budget=Budget(rule.budget.kind, amount))


BUDGETS = st.integers(1, 2400 * 60).map(lambda second: second * 1_000_000)


@given(st.data(), rules(), STARTS, BUDGETS)
@settings(max_examples=150, deadline=None)
def test_a_pause_never_makes_due_earlier(data, rule, start, budget):
    rule = with_budget(rule, budget)
    pauses = data.draw(pauses_after(start))
    more = data.draw(pauses_after(start))
    try:
        one, two = clocks.run(rule, start, pauses), clocks.run(rule, start, [*pauses, *more])
    except ClockInputError:
        assume(False)
    assert two.due_at >= one.due_at
    held = clocks.run(rule, start, [*pauses, (one.due_at, None)])
    assert held.due_at == one.due_at
    assert clocks.run(rule, start, [*pauses, (one.due_at - 1, None)]).due_at is None


@given(st.data(), rules(), STARTS, BUDGETS, BUDGETS)
@settings(max_examples=150, deadline=None)
def test_budgets_add_up(data, rule, start, first, second):
    pauses = data.draw(pauses_after(start))
    try:
        whole = clocks.run(with_budget(rule, first + second), start, pauses)
    except ClockInputError:
        assume(False)
    half = clocks.run(with_budget(rule, first), start, pauses)
    assert clocks.run(with_budget(rule, second), half.due_at, pauses).due_at == whole.due_at


@given(st.data(), rules(), STARTS, BUDGETS)
@settings(max_examples=150, deadline=None)
def test_count_is_the_inverse_of_due(data, rule, start, budget):
    rule = with_budget(rule, budget)
    try:
        result = clocks.run(rule, start, data.draw(pauses_after(start)))
    except ClockInputError:
        assume(False)
    assert result.used_at(result.due_at) == budget
    assert result.used_at(result.due_at - 1) == budget - 1  # the earliest such instant
    assert result.used_at(start) == 0
    assert result.reached_at(100) == result.due_at
    share = result.reached_at(37)
    assert result.used_at(share) == -(-budget * 37 // 100)


@given(st.data(), STARTS, st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_days_add_up_and_pauses_only_delay(data, start, days):
    rule = data.draw(rules(st.just(("dealer-desk", "official-letter"))))
    try:
        whole = clocks.run(with_budget(rule, days + 1), start)
        paused = clocks.run(with_budget(rule, days), start, data.draw(pauses_after(start)))
    except ClockInputError:
        assume(False)
    part = clocks.run(with_budget(rule, days), start)
    assert part.due_at < whole.due_at
    assert paused.due_at >= part.due_at
    assert list(whole.spans[: len(part.spans)]) == list(part.spans)


@given(st.data(), rules(), STARTS)
@settings(max_examples=60, deadline=None)
def test_the_order_of_pauses_changes_nothing(data, rule, start):
    pauses = data.draw(pauses_after(start))
    shuffled = data.draw(st.permutations(pauses))
    try:
        one = clocks.run(rule, start, pauses)
    except ClockInputError:
        assume(False)
    assert one.as_json() == clocks.run(rule, start, shuffled).as_json()
