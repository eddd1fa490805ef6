"""All clocks of a ticket, by the presets: what applies, starts, stops, pauses, starts anew, and is never cleared."""

import json
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest

from ticketing import policies
from ticketing.clocks.applying import clocks_of
from ticketing.clocks.history import Verdict
from ticketing.clocks.several import read_all, rules_of
from ticketing.clocks.steps import Entry, Step, steps_of
from ticketing.model.states import Action
from ticketing.policies.warranty import in_warranty

OPENED = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)  # Tuesday; noon in Moscow and Minsk, 17:00 in Shanghai
POLICIES = {name: policies.get(name) for name in policies.PRESETS}
RULES = {name: rules_of(policy) for name, policy in POLICIES.items()}
OPENING = ("request-received", "ticket-opened", "public-message")


def at(minutes, **more):
    return OPENED + timedelta(minutes=minutes, **more)


def opening(*events, **data):
    return Step(OPENED, "new", frozenset((*OPENING, *events)), data)


def step(minutes, state="in_work", *events, **data):
    return Step(at(minutes), state, frozenset(events), data)


def clocks(policy, *steps, now, plan=None, recorded=()):
    return read_all(
        POLICIES[policy], plan, [opening(), *steps] if not steps or steps[0].at > OPENED else steps, at(now),
        recorded=recorded, rules=RULES[policy],
    )  # fmt: skip


def verdicts(found):
    return {clock.name: clock.verdict for clock in found.clocks}


def due(found, name):
    return (found.get(name).due - OPENED) / timedelta(minutes=1)


@pytest.mark.parametrize(
    ("policy", "plan", "priority", "warranty", "expected"),
    [
        ("integrator-standard", None, 3, True, ("reaction-remote", "reaction-on-site")),
        ("support-procedure", "priority", 3, True, ("reaction-priority",)),
        ("support-procedure", "standard", 1, True, ("reaction-standard",)),
        ("support-procedure", None, 3, True, ("reaction-basic",)),
        ("support-procedure", "gone", 3, True, ("reaction-basic",)),
        ("dealer-desk", None, 3, True, ("official-letter", "outage-letter")),
        ("carrier-helpdesk", None, 2, True, ("localisation", "update", "call-back", "swap-2")),
        ("after-sales", None, 1, True, ("reply", "reaction", "urgent", "loan-unit", "outer-bound")),
        ("after-sales", None, 1, False, ("reply", "urgent", "reaction-after-warranty", "loan-unit", "outer-bound")),
        ("after-sales", None, 3, False, ("reply", "loan-unit", "outer-bound")),
        ("after-sales", None, 4, True, ("reply", "loan-unit", "outer-bound")),
    ],
)
def test_which_clocks_a_ticket_has(policy, plan, priority, warranty, expected):
    assert clocks_of(POLICIES[policy], plan, priority, in_warranty=warranty) == expected


def test_a_stored_policy_of_before_has_its_one_clock():
    stored = {**POLICIES["after-sales"].as_json()}
    del stored["format"]
    assert clocks_of(policies.of_stored(stored), None, 1) == ("reply",)
    assert policies.of_stored(POLICIES["after-sales"].as_json()).file == POLICIES["after-sales"].file


def test_two_promises_are_kept_and_broken_each_by_itself():
    found = clocks("after-sales", opening(priority=2), step(45, "in_work", "human-action"), now=130)
    assert verdicts(found) == {
        "reply": "breached", "reaction": "breached", "severe": "breached", "outer-bound": "met",
    }  # fmt: skip
    assert [(breach.clock, breach.due - OPENED) for breach in found.breaches] == [
        ("reply", timedelta(minutes=10)), ("reaction", timedelta(minutes=30)), ("severe", timedelta(hours=2)),
    ]  # fmt: skip
    assert found.due_clock == "severe"
    assert found.verdict == "breached"


def test_the_strictest_running_clock_is_due_first():
    one = opening(priority=1)
    assert clocks("after-sales", one, now=5).due_clock == "reply"
    later = clocks("after-sales", one, step(8, "in_work", "human-action"), now=9)
    assert (later.due_clock, later.due, later.verdict) == ("urgent", at(60), "running")
    held = clocks("after-sales", one, step(8, "waiting_client", "human-action"), now=9)
    assert (held.due_clock, held.due, held.runs, held.verdict) == (None, None, True, "paused")
    fixed = clocks("after-sales", one, step(8, "awaiting_consent", "human-action", "fault-fixed"), now=9)
    assert (fixed.due, fixed.runs, fixed.verdict) == (None, False, "met")


def test_another_plan_or_priority_keeps_what_was_counted():
    raised = clocks("after-sales", opening(priority=2), step(50, "new", priority=1), now=55)
    assert due(raised, "urgent") == 60
    assert raised.get("severe") is None
    late = clocks("after-sales", opening(priority=2), step(90, "new", priority=1), now=91)
    (urgent,) = [clock for clock in late.clocks if clock.name == "urgent"]
    assert (due(late, "urgent"), urgent.verdict) == (90, "breached")  # broken by the change, not before it
    swap = [opening("hardware-fault-found", priority=2), step(180, "in_work", priority=3)]
    found = clocks("carrier-helpdesk", *swap, now=181)
    # Three of sixteen hours are used at 15:00 in Minsk; three more that day, nine the next, one on Thursday.
    assert due(found, "swap-3") == 180 + 180 + 15 * 60 + 540 + 15 * 60 + 60
    plan = clocks("support-procedure", opening(), step(60, "new", plan="priority"), now=61)
    assert due(plan, "reaction-priority") == 120


def test_a_clock_that_a_level_adds_counts_from_the_request_and_one_that_it_takes_away_is_forgotten():
    raised = clocks("after-sales", opening(priority=3), step(5, "new", priority=1), now=6)
    assert due(raised, "reaction") == 30
    assert verdicts(clocks("after-sales", opening(priority=1), step(5, "new", priority=3), now=6)) == {
        "reply": "running", "outer-bound": "running",
    }  # fmt: skip
    acted = step(4, "in_work", "human-action")
    assert clocks("after-sales", opening(priority=3), acted, step(5, priority=1), now=6).get("reaction") is None
    broken = [opening(priority=1), step(65, "new", priority=3)]
    kept = clocks("after-sales", *broken, now=66)
    assert kept.get("urgent").verdict == "breached"
    assert not kept.get("urgent").runs
    back = clocks("after-sales", *broken, step(70, "new", priority=1), now=71)
    assert back.get("urgent").verdict == "breached"
    assert back.get("urgent").runs


def test_after_warranty_another_reaction_is_promised():
    inside, outside = opening(priority=1, accepted_at="2025-03-03"), opening(priority=1, accepted_at="2025-03-02")
    assert clocks("after-sales", inside, now=1).get("reaction") is not None
    found = clocks("after-sales", outside, now=1)
    assert found.get("reaction") is None
    assert due(found, "reaction-after-warranty") == 60


def test_warranty_lasts_to_the_end_of_its_last_day_in_the_policys_zone():
    policy, place = POLICIES["after-sales"], ZoneInfo("Asia/Shanghai")
    accepted = date(2024, 2, 29)
    assert in_warranty(policy, accepted, datetime(2025, 2, 28, 23, 59, 59, tzinfo=place))
    assert not in_warranty(policy, accepted, datetime(2025, 3, 1, 0, 0, tzinfo=place))
    assert in_warranty(policy, date(2025, 3, 10), datetime(2026, 3, 10, 15, 59, tzinfo=UTC))
    assert not in_warranty(policy, date(2025, 3, 10), datetime(2026, 3, 10, 16, 0, tzinfo=UTC))


def test_each_public_word_begins_the_promise_of_news_anew():
    found = clocks(
        "carrier-helpdesk", step(30, "in_work", "public-message"), step(100, "in_work", "public-message"),
        step(150, "waiting_client", "public-message"), step(400, "in_work"), now=440,
    )  # fmt: skip
    update = found.get("update")
    assert [(stand.number, stand.verdict) for stand in update.stands] == [
        (1, Verdict.MET), (2, Verdict.BREACHED), (3, Verdict.MET), (4, Verdict.RUNNING),
    ]  # fmt: skip
    assert due(found, "update") == 460
    closed = step(450, "closed", "ticket-closed")
    quiet = clocks("carrier-helpdesk", step(30, "in_work"), closed, step(460, "closed", "public-message"), now=900)
    assert [stand.number for stand in quiet.get("update").stands] == [1]


def test_events_start_what_the_opening_does_not():
    idle = clocks("integrator-standard", now=60)
    assert verdicts(idle) == {"reaction-remote": "running"}
    visit = clocks(
        "integrator-standard", step(60, "visit", "visit-needed", "human-action"), step(300, "visit", "visit-agreed"),
        now=301,
    )  # fmt: skip
    assert verdicts(visit) == {"reaction-remote": "met", "reaction-on-site": "met"}
    assert clocks("dealer-desk", now=10).clocks == ()
    letter = clocks("dealer-desk", opening("official-request-received"), now=10)
    assert letter.due == datetime(2026, 3, 6, 15, 0, tzinfo=UTC)  # the close of the third working day
    sent = clocks("dealer-desk", opening("official-request-received"), step(99, "in_work", "letter-sent"), now=100)
    assert verdicts(sent) == {"official-letter": "met"}
    called = clocks("carrier-helpdesk", opening("call-back-asked"), step(31, "in_work", "call-made"), now=32)
    assert called.get("call-back").verdict == "breached"


def test_paper_is_late_from_the_day_it_came():
    found = clocks("integrator-standard", opening(received_at=at(-120).isoformat()), now=0)
    assert due(found, "reaction-remote") == 120


def test_a_diagnosis_is_made_once():
    steps = [opening("diagnosis"), step(60, "in_work", "loan-unit-given"), step(70, "in_work", "diagnosis")]
    found = clocks("after-sales", *steps, now=500)
    assert [stand.verdict for stand in found.get("loan-unit").stands] == [Verdict.MET]
    again = [*steps, step(80, "closed", "ticket-closed"), step(90, "in_work", "reopened", "diagnosis")]
    assert len(clocks("after-sales", *again, now=100).get("loan-unit").stands) == 2


def test_what_is_promised_at_an_instant_fires_at_it():
    found = clocks("after-sales", opening("diagnosis"), now=120)
    assert found.get("loan-unit").verdict == "breached"
    assert clocks("after-sales", opening("diagnosis"), now=119).get("loan-unit").verdict == "running"
    told = step(10, "in_work", "public-message", "human-action", eta=at(100).isoformat())
    assert clocks("integrator-standard", told, now=99).get("eta").verdict == "running"
    passed = clocks("integrator-standard", told, now=100)
    assert (passed.get("eta").verdict, passed.next_check(at(99))) == ("breached", at(100))
    assert passed.due is None  # nobody but the clocks of plan and priority make it due
    again = clocks("integrator-standard", told, step(50, eta=at(200)), now=150)
    assert [stand.verdict for stand in again.get("eta").stands] == [Verdict.MET, Verdict.RUNNING]
    said = clocks("integrator-standard", told, step(50, eta=at(100)), step(100, eta=at(100)), now=100)
    assert [stand.verdict for stand in said.get("eta").stands] == [Verdict.BREACHED]
    fixed = clocks("integrator-standard", told, step(60, "awaiting_consent", "fault-fixed"), now=500)
    assert fixed.get("eta").verdict == "met"


def test_reopening_begins_new_cycles_and_keeps_the_old_verdicts():
    life = [step(500, "in_work", "human-action"), step(600, "closed", "ticket-closed")]
    found = clocks("integrator-standard", *life, step(1440, "in_work", "relapsed"), now=1441)
    clock = found.get("reaction-remote")
    assert [(stand.number, stand.verdict) for stand in clock.stands] == [(1, Verdict.BREACHED), (2, Verdict.RUNNING)]
    assert due(found, "reaction-remote") == 1440 + 240
    assert (found.verdict, len(found.breaches)) == ("running", 1)


def test_what_is_waited_for_after_the_reaction_moves_nothing():
    found = clocks("integrator-standard", step(60, "waiting_client", "human-action"), now=90)
    assert (found.get("reaction-remote").verdict, due(found, "reaction-remote")) == ("met", 240)


def test_a_pause_goes_on_in_what_starts_during_it():
    waiting = step(10, "waiting_client", "human-action")
    found = clocks("integrator-standard", waiting, step(20, "waiting_client", "visit-needed"), now=30)
    assert (found.get("reaction-on-site").verdict, found.get("reaction-on-site").due) == ("paused", None)


def test_a_merged_ticket_holds_no_clock_but_what_was_broken():
    assert clocks("after-sales", step(5, "closed", "merged"), now=600).clocks == ()
    broken = clocks("after-sales", step(11, "closed", "merged"), now=600)
    assert verdicts(broken) == {"reply": "breached"}
    assert (broken.runs, broken.next_check(at(600))) == (False, None)


def test_a_breach_on_record_never_vanishes():
    found = clocks("after-sales", now=11)
    mended = clocks("after-sales", step(5, "in_work", "human-action"), now=12, recorded=found.breaches)
    assert mended.breaches == found.breaches
    assert mended.get("reply").verdict == "breached"
    odd = [breach._replace(cycle=7) for breach in found.breaches]
    kept = clocks("after-sales", step(5, "in_work", "human-action"), now=12, recorded=odd)
    assert (kept.breaches, kept.lost) == (tuple(odd), tuple(odd))


def test_warnings_and_the_next_look():
    found = clocks("after-sales", opening(priority=2), now=8)
    assert [(w.clock, w.percent, w.at) for w in found.warnings(at(8))] == [("reply", 50, at(5)), ("reply", 75, at(7.5))]
    assert found.next_check(at(8)) == at(10)
    assert found.next_check(at(10)) == at(10, microseconds=1)
    assert found.next_check(at(10, microseconds=1)) == at(15)
    answered = clocks("after-sales", opening(priority=2), step(9, "in_work", "human-action"), now=10)
    assert answered.warnings(at(10)) == []
    assert answered.next_check(at(10)) == at(60)


def test_an_unknown_year_spoils_no_other_clock():
    late = OPENED.replace(year=2035)
    steps = [Step(late, "new", frozenset((*OPENING, "hardware-fault-found")), {"priority": 3})]
    found = read_all(POLICIES["carrier-helpdesk"], None, steps, late, rules=RULES["carrier-helpdesk"])
    assert "2035" in found.get("swap-3").problem
    assert found.get("update").due == late + timedelta(hours=1)
    assert found.as_json(late)[2]["problem"] == found.get("swap-3").problem


def test_the_answer_is_json_with_the_reason_of_every_pause():
    steps = [opening(priority=1), step(20, "waiting_client", "public-message"), step(40, "in_work")]
    found = json.loads(json.dumps(clocks("after-sales", *steps, now=50).as_json(at(50))))
    assert [clock["clock"] for clock in found] == ["reply", "reaction", "urgent", "outer-bound"]
    urgent = found[2]
    assert {"cycle", "verdict", "stopped", "breaches", "earlier", "due", "intervals", "texts"} <= urgent.keys()
    pauses = [span["text"] for span in urgent["intervals"] if span.get("why") == "pause"]
    assert pauses == ["does not count: pause, waiting for the client"]


def test_entries_of_before_say_by_their_actions_what_happened():
    def old(minutes, action, state, version=1, **data):
        return Entry(at(minutes), action, state, version, data)

    entries = [
        old(0, Action.OPENED, "new"),
        old(9, Action.NOTE, "new"),
        old(10, Action.ASK, "waiting_client"),
        old(20, Action.RECOVERED, "awaiting_consent"),
        old(30, Action.CLOSE, "closed"),
        old(40, Action.RELAPSED, "in_work"),
        old(50, Action.NOTE, "in_work"),
        old(60, Action.REPLY, "in_work", 2, events=["public-message"]),
    ]
    found = [sorted(step.events) for step in steps_of(entries, localised=True)]
    assert found[0] == ["request-received", "ticket-opened", "zone-localised"]
    assert found[1] == []
    assert "human-action" in found[2]
    assert found[3] == ["fault-fixed", "service-restored"]
    assert {"ticket-closed", "human-action"} <= set(found[4])
    assert found[5:] == [["reopened"], ["human-action"], ["public-message"]]


@pytest.mark.parametrize(
    ("pauses_in", "system", "verdict"),
    [
        ("waiting_vendor", "maker", "paused"),
        ("waiting_vendor", "development", "paused"),
        ("with_development", "development", "paused"),
        ("with_development", "maker", "running"),
    ],
)
def test_the_own_development_is_a_vendor_that_can_be_told_apart(pauses_in, system, verdict):
    file = POLICIES["after-sales"].file
    tables = [msgspec.structs.replace(table, pauses_in=[pauses_in]) for table in file.clock]
    policy = policies.Policy(msgspec.structs.replace(file, clock=tables))
    waiting = step(5, "waiting_vendor", system=system, case="7")
    found = read_all(policy, None, [opening(), waiting, step(6, "waiting_vendor")], at(8))
    assert found.get("reply").verdict == verdict
    back = read_all(policy, None, [opening(), waiting, step(20, "in_work")], at(21))
    assert due(back, "outer-bound") == 24 * 60 + (15 if verdict == "paused" else 0)


def test_a_level_that_is_left_and_taken_again_breaks_nothing_meanwhile():
    life = [opening(priority=1), step(5, "new", priority=3), step(65, "new", priority=1)]
    found = clocks("after-sales", *life, now=65)
    assert (due(found, "reaction"), found.get("reaction").verdict) == (65, "running")
    assert due(found, "urgent") == 65
    between = clocks("after-sales", opening(priority=2), step(60, priority=3), step(121, priority=1), now=122)
    assert [breach.clock for breach in between.breaches] == ["reply", "reaction", "urgent"]


def test_a_cycle_that_begins_while_the_ticket_waits_is_held():
    again = [step(5, "closed", "ticket-closed"), step(5, "waiting_client", "reopened")]
    found = clocks("integrator-standard", *again, now=5)
    assert (found.get("reaction-remote").verdict, found.due) == ("paused", None)


def test_a_plan_is_named_or_numbered():
    assert clocks_of(POLICIES["support-procedure"], "1", 3) == ("reaction-priority",)
