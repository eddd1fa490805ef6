"""What the walk beside the store meets too seldom."""

from detectors.verdicts import Explanation, Finding, Verdict
from ticketing.incidents.decisions import Limiter, Members, Reason, Step
from ticketing.incidents.ledger import Ledger
from ticketing.model.kinds import STORM
from ticketing.model.states import State

NOW = 1_795_000_000.0


def fails(ledger, terminal, at):
    found = Finding("silence", terminal, at - 30, at, Explanation(Verdict.FAIL, "silent"))
    return ledger.raise_finding(found, at)


def test_a_storm_that_comes_back_counts_those_who_joined_since():
    ledger = Ledger(per_minute=1)
    assert [fails(ledger, terminal, NOW).decision.step for terminal in (1, 2, 3)] == [
        Step.OPEN, Step.ATTACH, Step.ATTACH,
    ]  # fmt: skip
    storm = ledger.latest(STORM, None)
    assert ledger.members(storm) == Members(2, 2, NOW)
    for terminal in (1, 2, 3):
        assert ledger.recover("silence", terminal, NOW + 100).terminal == terminal
    assert ledger.review(NOW + 101) == []
    assert (storm.open, storm.ticket.state) == (False, State.AWAITING_CONSENT)
    fails(ledger, 4, NOW + 1000)
    again = fails(ledger, 5, NOW + 1000)
    assert (again.decision.reason, again.decision.storm) == (Reason.RATE, Step.RELAPSE)
    assert again.incident.parent is storm
    assert ledger.members(storm) == Members(1, 1, NOW + 1000)


def test_a_minute_forgets_who_asked_before_it():
    ledger = Ledger(per_minute=5)
    for number in range(3):
        fails(ledger, number, NOW + 30 * number)
    assert [ledger.limiter(NOW + at) for at in (60, 61, 91, 200)] == [Limiter(5, n) for n in (2, 2, 1, 0)]
    assert len(ledger._asked) == 0


def test_who_leaves_a_storm_keeps_its_relapses_under_a_number_of_its_own():
    ledger = Ledger(per_minute=1)
    for terminal in (1, 2, 3):
        fails(ledger, terminal, NOW)
    ledger.recover("silence", 3, NOW + 30)
    assert ledger.review(NOW + 59) == []
    assert ledger.review(NOW + 61) == [("silence", 2)]
    left = fails(ledger, 2, NOW + 61)
    assert (left.decision.step, left.left) == (Step.DETACH, ledger.latest(STORM, None))
    assert left.incident.ticket is not None
    assert left.incident.parent is None
    assert fails(ledger, 2, NOW + 62).decision.step == Step.STANDING
