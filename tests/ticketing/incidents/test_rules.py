"""The rules over plain data: each reason once, and what holds whatever happens."""

import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from detectors.verdicts import Explanation, Finding, Verdict
from tests.ticketing.incidents.book import Book
from ticketing.incidents.decisions import Decision, Group, Known, Limiter, Members, Reason, Step, View
from ticketing.incidents.rules import decide, inhibit, recover, review
from ticketing.model.kinds import STORM
from ticketing.model.states import Action, State

NOW = 1_795_000_000.0
DAY = 86_400.0
FREE, FULL, UNLIMITED = Limiter(2, 1), Limiter(2, 2), Limiter(0)
OPEN_STORM = Group(7, True, State.NEW)
FORMER = Known(False, 3, NOW - 500, parent=7)
OVER = Members(failing=1, joined=2, joined_at=NOW - 60)


def finding(terminal=1, kind="silence", until=NOW):
    return Finding(kind, terminal, until - 30, until, Explanation(Verdict.FAIL, "silent"))


@pytest.mark.parametrize(
    ("view", "decision"),
    [
        (View(FREE), Decision(Step.OPEN, Reason.FIRST)),
        (View(UNLIMITED), Decision(Step.OPEN, Reason.FIRST)),
        (View(FULL), Decision(Step.ATTACH, Reason.RATE, None, Step.OPEN)),
        (View(FULL, storm=OPEN_STORM), Decision(Step.ATTACH, Reason.RATE, 7)),
        (View(FREE, storm=OPEN_STORM), Decision(Step.OPEN, Reason.FIRST)),
        (
            View(FULL, storm=Group(7, False, State.AWAITING_CONSENT)),
            Decision(Step.ATTACH, Reason.RATE, 7, Step.RELAPSE),
        ),
        (View(FULL, storm=Group(7, False, State.CLOSED)), Decision(Step.ATTACH, Reason.RATE, None, Step.OPEN)),
        # What is open stands, whatever the rate.
        (View(FULL, Known(True, ticket_state=State.NEW)), Decision(Step.STANDING, Reason.OPEN_ALREADY)),
        (
            View(FREE, Known(True, parent=7), OPEN_STORM, Members(1, 2, NOW - 59)),
            Decision(Step.STANDING, Reason.GROWING, 7),
        ),
        (View(FREE, Known(True, parent=7), OPEN_STORM, OVER), Decision(Step.DETACH, Reason.CALM, 7)),
        (View(FULL, Known(True, parent=7), OPEN_STORM, OVER), Decision(Step.STANDING, Reason.NO_ROOM, 7)),
        # Who left a storm: back to it while it is open, else as if there had been none.
        (View(FREE, FORMER, OPEN_STORM), Decision(Step.ATTACH, Reason.REJOINED, 7)),
        (View(FREE, FORMER, Group(7, False, State.AWAITING_CONSENT)), Decision(Step.OPEN, Reason.FIRST)),
        (View(FREE, FORMER, Group(8, True, State.NEW)), Decision(Step.OPEN, Reason.FIRST)),
        # The old number: while consent is awaited and for seven days, whatever the rate.
        (View(FULL, Known(False, ticket_state=State.AWAITING_CONSENT)), Decision(Step.RELAPSE, Reason.AGAIN)),
        (View(FULL, Known(False, 0, 0, None, State.CLOSED, NOW - 7 * DAY)), Decision(Step.RELAPSE, Reason.AGAIN)),
        (View(FREE, Known(False, 0, 0, None, State.CLOSED, NOW - 7 * DAY - 1)), Decision(Step.OPEN, Reason.FIRST)),
        # Seen good later than what is judged; under a clock that was ahead it counts for nothing.
        (
            View(FREE, Known(False, 0, NOW + 1, None, State.AWAITING_CONSENT)),
            Decision(Step.STALE, Reason.SEEN_GOOD),
        ),
        (
            View(FREE, Known(False, 0, NOW + 3600, None, State.AWAITING_CONSENT)),
            Decision(Step.RELAPSE, Reason.AGAIN),
        ),
    ],
)
def test_what_becomes_of_a_finding(view, decision):
    assert decide(view, finding(), NOW) == decision


@pytest.mark.parametrize(
    ("known", "decision"),
    [
        (None, Decision(Step.STANDING, Reason.NOTHING_OPEN)),
        (Known(False), Decision(Step.STANDING, Reason.NOTHING_OPEN)),
        (Known(True, ticket_state=State.NEW), Decision(Step.RECOVER, Reason.PROVEN)),
        (Known(True, parent=7), Decision(Step.RECOVER, Reason.LEFT, 7)),
    ],
)
def test_what_a_recovery_ends(known, decision):
    assert recover(known) == decision


@pytest.mark.parametrize(
    ("members", "limiter", "step", "reason", "count"),
    [
        (Members(0, 900, NOW), FREE, Step.RECOVER, Reason.ALL_GOOD, 0),
        (Members(1, 900, NOW - 59), FREE, Step.STANDING, Reason.GROWING, 0),
        (Members(1, 900, NOW - 60), FREE, Step.DETACH, Reason.CALM, 1),
        (Members(2, 900, NOW - 60), FREE, Step.DETACH, Reason.CALM, 1),  # no more than there is room for
        (Members(3, 900, NOW - 60), FREE, Step.STANDING, Reason.MANY_BAD, 0),  # more than a minute may have
        (Members(2, 3, NOW - 60), FREE, Step.STANDING, Reason.MANY_BAD, 0),  # more than half
        (Members(2, 4, NOW - 60), FULL, Step.STANDING, Reason.NO_ROOM, 0),
        (Members(900, 900, NOW), UNLIMITED, Step.DETACH, Reason.CALM, 900),  # the limit was taken away
        (Members(1, 2, NOW + 3600), FREE, Step.DETACH, Reason.CALM, 1),  # joined under a clock that was ahead
    ],
)
def test_when_a_storm_is_over(members, limiter, step, reason, count):
    assert review(7, members, limiter, NOW) == Decision(step, reason, 7, count=count)


def test_what_is_not_even_looked_at():
    assert inhibit(NOW, listening=True) is None
    assert inhibit(NOW, listening=False) == Decision(Step.HOLD, Reason.DEAF)
    assert inhibit(NOW, listening=True, refused_until=NOW + 1) == Decision(Step.HOLD, Reason.REFUSED)
    assert inhibit(NOW, listening=True, refused_until=NOW) is None


class Fleet(RuleBasedStateMachine):
    """Terminals fail and recover in any order while people work on the tickets and time passes."""

    def __init__(self):
        super().__init__()
        self.book = Book(per_minute=3)
        self.now = NOW
        self.failing = set()

    @rule(seconds=st.sampled_from([1, 7, 30, 59, 60, 61, 600, 7 * DAY]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(terminals=st.sets(st.integers(1, 12), min_size=1), kind=st.sampled_from(["silence", "silence", "power"]))
    def they_fail(self, terminals, kind):
        for terminal in sorted(terminals):
            # Judged a tick later than whatever was seen good before.
            self.now += 0.001
            decision = self.book.raise_finding(finding(terminal, kind, self.now), self.now).decision
            assert decision.step not in (Step.STALE, Step.HOLD)
            self.failing.add((kind, terminal))

    @precondition(lambda self: self.failing)
    @rule(data=st.data())
    def they_recover(self, data):
        for kind, terminal in sorted(data.draw(st.sets(st.sampled_from(sorted(self.failing)), min_size=1))):
            assert self.book.recover(kind, terminal, self.now) is not None
            self.failing.discard((kind, terminal))

    @rule()
    def the_storm_is_reviewed(self):
        for kind, terminal in self.book.review(self.now):
            assert (kind, terminal) in self.failing
            decision = self.book.raise_finding(finding(terminal, kind, self.now), self.now).decision
            assert decision.step == Step.DETACH

    @rule(data=st.data())
    def people_work(self, data):
        if self.book.tickets:
            ticket = data.draw(st.sampled_from(self.book.tickets))
            for action in data.draw(st.lists(st.sampled_from([Action.TAKE, Action.ASK, Action.CONSENT, Action.CLOSE]))):
                self.book.act(ticket, action, "anna", self.now)

    @invariant()
    def what_fails_and_nothing_else_has_one_open_incident(self):
        held = [(i.kind, i.terminal) for i in self.book.incidents if i.open and i.terminal is not None]
        assert sorted(held) == sorted(self.failing)

    @invariant()
    def each_is_worked_on_in_one_place(self):
        for incident in self.book.incidents:
            assert (incident.ticket is None) == (incident.parent is not None)
            if incident.open and incident.parent is not None:
                assert incident.parent.open
            if incident.ticket is not None and incident.open:
                assert incident.ticket.state in (State.NEW, State.IN_WORK, State.WAITING_CLIENT)
        for ticket in self.book.tickets:
            open_ones = [i for i in self.book.incidents if i.ticket is ticket and i.open]
            assert bool(open_ones) == (ticket.state not in (State.AWAITING_CONSENT, State.CLOSED))

    @invariant()
    def one_storm_at_a_time(self):
        assert sum(i.open for i in self.book.incidents if i.kind == STORM) <= 1

    @invariant()
    def no_minute_has_more_tickets_than_it_may(self):
        opened = [t.opened_at for t in self.book.tickets if t.kind != STORM]
        assert all(sum(at - 60 < other <= at for other in opened) <= self.book.per_minute for at in opened)

    def teardown(self):
        """When all is good, all ends by itself; when the limit goes, everybody left has a ticket of their own."""
        self.now += 61
        self.book.per_minute = 0
        self.the_storm_is_reviewed()
        assert all(i.ticket is not None for i in self.book.incidents if i.open)
        for kind, terminal in sorted(self.failing):
            assert self.book.recover(kind, terminal, self.now) is not None
        self.book.review(self.now)
        assert not any(i.open for i in self.book.incidents)


EXAMPLES = 2000 if os.environ.get("DOZOR_SOAK") else 60
Fleet.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=25, deadline=None)
TestFleet = Fleet.TestCase
