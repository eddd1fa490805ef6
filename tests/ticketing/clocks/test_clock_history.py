"""A clock over a ticket's life: what is kept, what starts anew, what is never cleared."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketing import policies
from ticketing.clocks import walk as clocks
from ticketing.clocks.history import Breach, Event, Verdict, What, follow
from ticketing.clocks.words import explain
from ticketing.working_time import calendars
from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.hours import working_time

MOSCOW = ZoneInfo("Europe/Moscow")
URALS = ZoneInfo("Asia/Yekaterinburg")
PROCEDURE = policies.get("support-procedure")
BASIC = clocks.rule(PROCEDURE, "reaction-basic")
STANDARD = clocks.rule(PROCEDURE, "reaction-standard")
PRIORITY = clocks.rule(PROCEDURE, "reaction-priority")
REMOTE = clocks.rule(policies.get("integrator-standard"), "reaction-remote")
LETTER = clocks.rule(policies.get("dealer-desk"), "official-letter")
OUTAGE = clocks.rule(policies.get("dealer-desk"), "outage-letter")
LATER = datetime(2025, 12, 1, tzinfo=MOSCOW)


def at(day, hour, minute=0, zone=URALS):
    """Tuesday 14 October 2025 is an ordinary day of an ordinary week."""
    return datetime(2025, 10, day, hour, minute, tzinfo=zone)


def test_a_plan_change_keeps_what_was_counted():
    events = [Event(at(14, 9), What.START, BASIC), Event(at(14, 12), What.SWITCH, STANDARD)]
    (cycle,) = follow(events, at(14, 13))
    assert cycle.due == at(14, 17)  # three of eight hours were used before the change
    assert cycle.verdict is Verdict.RUNNING
    assert sum(span.counted for span in cycle.result.spans) == STANDARD.budget.amount
    assert cycle.result.used(at(14, 13)) == timedelta(hours=4)


def test_a_smaller_budget_breaks_nothing_before_the_change():
    events = [Event(at(14, 9), What.START, BASIC), Event(at(14, 15), What.SWITCH, PRIORITY)]
    (cycle,) = follow(events, at(14, 15))
    assert cycle.due == at(14, 15)
    assert cycle.verdict is Verdict.RUNNING
    (cycle,) = follow(events, at(14, 15, 1))
    assert cycle.verdict is Verdict.BREACHED
    assert cycle.breaches[0].policy == "support-procedure@1/reaction-priority"


def test_a_breach_before_the_change_stays():
    events = [
        Event(at(14, 9), What.START, PRIORITY),
        Event(at(14, 12), What.SWITCH, BASIC),
        Event(at(14, 13), What.STOP),
    ]
    (cycle,) = follow(events, LATER)
    assert cycle.verdict is Verdict.BREACHED
    (breach,) = cycle.breaches
    assert breach.due == at(14, 11)
    assert "reaction-priority" in breach.explained
    assert "breached" in breach.explained


def test_a_recorded_breach_outlives_a_pause_entered_afterwards():
    events = [Event(at(14, 9), What.START, PRIORITY)]
    (cycle,) = follow(events, at(14, 12))
    assert cycle.verdict is Verdict.BREACHED
    stored = [Breach.from_json(breach.as_json()) for breach in cycle.breaches]
    late = [*events, Event(at(14, 10), What.PAUSE, cause="waiting_client")]
    assert follow(late, at(14, 12))[0].verdict is Verdict.PAUSED
    (kept,) = follow(late, at(14, 12), stored)
    assert kept.verdict is Verdict.BREACHED
    assert kept.breaches == cycle.breaches


def test_paused_means_no_breach():
    events = [Event(at(14, 9), What.START, PRIORITY), Event(at(14, 10), What.PAUSE, cause="waiting_client")]
    (cycle,) = follow(events, LATER)
    assert (cycle.verdict, cycle.due, cycle.breaches) == (Verdict.PAUSED, None, ())
    events.append(Event(at(15, 10), What.RESUME, cause="waiting_client"))
    (cycle,) = follow(events, at(15, 10, 30))
    assert (cycle.verdict, cycle.due) == (Verdict.RUNNING, at(15, 11))


def test_causes_pause_and_resume_each_by_itself():
    events = [
        Event(at(14, 9), What.START, PRIORITY),
        Event(at(14, 10), What.PAUSE, cause="waiting_client"),
        Event(at(14, 11), What.PAUSE, cause="deferred"),
        Event(at(14, 12), What.RESUME, cause="waiting_client"),
        Event(at(14, 13), What.RESUME, cause="deferred"),
        Event(at(14, 16), What.RESUME, cause="deferred"),
    ]
    assert follow(events, at(14, 13))[0].due == at(14, 14)


def test_reopening_is_a_new_cycle_and_keeps_the_old_verdict():
    events = [
        Event(at(14, 9), What.START, PRIORITY),
        Event(at(14, 12), What.STOP),
        Event(at(15, 9), What.REOPEN),
        Event(at(15, 10), What.STOP),
    ]
    first, second = follow(events, LATER)
    assert (first.number, first.verdict, first.stopped) == (1, Verdict.BREACHED, at(14, 12))
    assert (second.number, second.verdict, second.due) == (2, Verdict.MET, at(15, 11))
    assert [breach.cycle for breach in first.breaches + second.breaches] == [1]


def test_a_stop_ends_what_was_paused():
    events = [
        Event(at(14, 9), What.START, PRIORITY),
        Event(at(14, 10), What.PAUSE, cause="waiting_client"),
        Event(at(14, 12), What.STOP),
        Event(at(15, 9), What.REOPEN, STANDARD),
    ]
    first, second = follow(events, at(15, 10))
    assert first.verdict is Verdict.MET
    assert (second.verdict, second.due) == (Verdict.RUNNING, at(15, 17))


def test_each_message_restarts_the_promise_of_news():
    update = clocks.rule(policies.get("carrier-helpdesk"), "update")
    events = [
        Event(at(14, 9), What.START, update),
        Event(at(14, 9, 40), What.RESTART),
        Event(at(14, 11), What.RESTART),
        Event(at(14, 11, 30), What.STOP),
    ]
    assert [cycle.verdict for cycle in follow(events, LATER)] == [Verdict.MET, Verdict.BREACHED, Verdict.MET]


def test_stopping_at_due_is_in_time():
    events = [Event(at(14, 9), What.START, PRIORITY), Event(at(14, 11), What.STOP)]
    assert follow(events, LATER)[0].verdict is Verdict.MET
    events[1] = Event(at(14, 11) + timedelta(microseconds=1), What.STOP)
    assert follow(events, LATER)[0].verdict is Verdict.BREACHED


def test_working_and_real_legs_add_up():
    events = [Event(at(14, 17, zone=MOSCOW), What.START, REMOTE), Event(at(15, 10, zone=MOSCOW), What.SWITCH, OUTAGE)]
    (cycle,) = follow(events, at(15, 10, zone=MOSCOW))
    assert cycle.due == at(15, 10, zone=MOSCOW)  # two working hours were used of sixty minutes
    events = [Event(at(14, 17, 30, MOSCOW), What.START, REMOTE), Event(at(14, 18, zone=MOSCOW), What.SWITCH, OUTAGE)]
    assert follow(events, at(14, 18, zone=MOSCOW))[0].due == at(14, 18, 30, MOSCOW)


def test_a_pause_across_the_change_counts_once():
    events = [
        Event(at(14, 9), What.START, BASIC),
        Event(at(14, 10), What.PAUSE, cause="waiting_client"),
        Event(at(14, 12), What.SWITCH, STANDARD),
        Event(at(14, 13), What.RESUME, cause="waiting_client"),
    ]
    (cycle,) = follow(events, at(14, 14))
    assert cycle.due == at(15, 11)  # one hour before the pause, five after it, two the next day
    spans = cycle.result.spans
    assert all(one.end == two.begin for one, two in pairwise(spans))


def test_days_under_way_at_a_change_are_not_lost():
    five = clocks.rule(policies.get("dealer-desk"), "official-letter", budget="5d")
    start, change = at(13, 10, zone=MOSCOW), at(15, 12, zone=MOSCOW)
    (cycle,) = follow([Event(start, What.START, LETTER), Event(change, What.SWITCH, five)], change)
    assert cycle.due == at(20, 18, zone=MOSCOW)  # the 14th, then 15, 16, 17 and 20 October
    assert sum(span.counted for span in cycle.result.spans) == 5
    two = clocks.rule(policies.get("dealer-desk"), "official-letter", budget="1d")
    (cycle,) = follow([Event(start, What.START, LETTER), Event(change, What.SWITCH, two)], change)
    assert cycle.due == change


def test_days_and_hours_do_not_mix():
    events = [Event(at(14, 9), What.START, LETTER), Event(at(15, 9), What.SWITCH, REMOTE)]
    with pytest.raises(ClockInputError, match="in days"):
        follow(events, LATER)


@pytest.mark.parametrize("what", [What.START, What.SWITCH])
def test_a_rule_is_needed(what):
    with pytest.raises(ClockInputError, match=r"^rule: "):
        follow([Event(at(14, 9), what)], LATER)


def test_events_to_come_are_not_known_yet():
    events = [Event(at(14, 9), What.START, PRIORITY), Event(at(14, 12), What.STOP)]
    assert follow(events, at(14, 10))[0].verdict is Verdict.RUNNING
    assert follow(events, at(14, 8)) == ()


def test_warnings_stop_with_the_clock():
    events = [Event(at(14, 9), What.START, PRIORITY), Event(at(14, 10, 15), What.STOP)]
    assert follow(events, LATER)[0].warnings() == [(50, at(14, 10))]


def on_calendar(rule, calendar):
    work = rule.work
    return replace(rule, work=working_time(calendar, work.zone, work.hours, work.weekdays))


def test_a_calendar_edit_applies_forward_and_old_tickets_keep_theirs():
    old = REMOTE.work.calendar
    day = datetime(2025, 10, 15).date()
    new = old.edited({day: calendars.SpecialDay(calendars.DayKind.CLOSED, "move of the office")})
    assert new.version != old.version
    start = Event(at(14, 17, zone=MOSCOW), What.START, REMOTE)
    assert follow([start], at(14, 17, zone=MOSCOW))[0].due == at(15, 12, zone=MOSCOW)
    forward = Event(at(14, 17, 30, MOSCOW), What.SWITCH, on_calendar(REMOTE, new))
    (cycle,) = follow([start, forward], at(14, 18, zone=MOSCOW))
    assert cycle.due == at(16, 12, zone=MOSCOW)
    assert "closed: move of the office" in explain(cycle.result)


MOMENTS = [at(14, 9) + timedelta(minutes=30 * step) for step in range(30)]
EVENTS = st.lists(
    st.one_of(
        st.builds(Event, st.sampled_from(MOMENTS), st.sampled_from([What.STOP, What.REOPEN, What.RESTART])),
        st.builds(
            Event, st.sampled_from(MOMENTS), st.just(What.SWITCH), st.sampled_from([BASIC, STANDARD, PRIORITY, OUTAGE])
        ),
        st.builds(
            Event,
            st.sampled_from(MOMENTS),
            st.sampled_from([What.PAUSE, What.RESUME]),
            st.none(),
            st.sampled_from(["waiting_client", "deferred"]),
        ),
    ),
    max_size=9,
)


@given(st.data(), EVENTS)
@settings(max_examples=150, deadline=None)
def test_the_order_of_events_at_one_instant_changes_nothing(data, events):
    events = [Event(at(14, 8), What.START, STANDARD), *events]
    shuffled = data.draw(st.permutations(events))

    def seen(found):
        cycles = follow(found, at(16, 9))
        return [(c.number, c.verdict, c.due, c.stopped, c.breaches, tuple(c.result.spans)) for c in cycles]

    assert seen(events) == seen(shuffled)
    for cycle in follow(events, at(16, 9)):
        assert all(span.begin < span.end for span in cycle.result.spans)
        assert all(one.end <= two.begin for one, two in pairwise(cycle.result.spans))
