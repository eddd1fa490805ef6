"""When time alone decides the next one, and that a quiet fleet stays what it is."""

import numpy as np

from detectors.verdicts import Verdict
from ticketing.incidents.hysteresis import Hysteresis

GOOD, SUSPECT, FAIL, UNKNOWN = Verdict.GOOD, Verdict.SUSPECT, Verdict.FAIL, Verdict.UNKNOWN
LIVE = np.array([1_000_000, 2_000_000, 3_000_000])


def judged(watched, verdicts, clock, *, live=LIVE, heard=0.0):
    return watched.judge(
        np.array(verdicts, np.int8), clock, np.full(3, round(clock * 1e6)), np.asarray(live), np.full(3, heard)
    )


def new():
    return Hysteresis("silence", hold=30.0, recovery=300.0, proof={GOOD})


def rows(decisions):
    return [
        its.tolist() for its in (decisions.raised, decisions.recovered, decisions.turned_good, decisions.turned_bad)
    ]


def test_a_quiet_fleet_has_nothing_due():
    watched = new()
    assert watched.due() == np.inf
    for clock in (1.0, 2.0, 3.0):
        assert rows(judged(watched, [GOOD, UNKNOWN, SUSPECT], clock)) == [[], [], [], []]
        assert watched.due() == np.inf


def test_the_end_of_a_hold_and_of_a_recovery():
    watched = new()
    judged(watched, [GOOD, GOOD, GOOD], 90.0)
    judged(watched, [GOOD, FAIL, GOOD], 100.0)
    judged(watched, [FAIL, FAIL, GOOD], 110.0)
    assert watched.due() == 130.0
    assert rows(judged(watched, [FAIL, FAIL, GOOD], 130.0)) == [[1], [], [], []]
    watched.opened(1, 0)
    assert watched.due() == 140.0
    # Row 0 is good by itself; row 1 tells something newer, and recovers from then on.
    later = LIVE + np.array([0, 1, 0])
    assert rows(judged(watched, [GOOD, GOOD, GOOD], 135.0, live=later, heard=133.0)) == [[], [], [1], []]
    assert watched.due() == 433.0
    # While it is no proof, time alone ends nothing.
    assert rows(judged(watched, [GOOD, SUSPECT, GOOD], 440.0, live=later)) == [[], [], [], []]
    assert watched.due() == np.inf
    assert rows(judged(watched, [GOOD, GOOD, GOOD], 450.0, live=later)) == [[], [1], [], []]
    watched.closed(1)
    judged(watched, [GOOD, GOOD, GOOD], 451.0, live=later)
    assert watched.due() == np.inf


def test_one_that_keeps_coming_back_is_due_later():
    watched = new()
    judged(watched, [GOOD, FAIL, GOOD], 100.0)
    watched.opened(1, 4)
    judged(watched, [GOOD, GOOD, GOOD], 110.0, live=LIVE + np.array([0, 1, 0]), heard=110.0)
    assert watched.due() == 110.0 + 300 * 2**2


def test_what_is_open_after_a_restart_is_not_taken_for_quiet():
    watched = new()
    watched.resume(1, int(LIVE[1]), None, 0)
    told = judged(watched, [GOOD, GOOD, GOOD], 10.0, live=LIVE + np.array([0, 5, 0]), heard=10.0)
    assert rows(told) == [[], [], [1], []]
    assert watched.due() == 310.0
