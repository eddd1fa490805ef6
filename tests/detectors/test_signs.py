import numpy as np
import pytest

from detectors.signs import BUCKET, STATE, STREAK, Buckets, Streaks, previous, why_of
from detectors.verdicts import Verdict

SECOND = 1_000_000
WELL, BAD, WORSE = 1, 2, 3


def columns(kinds, rows=4):
    return {column.name: np.full(rows, column.fill, column.dtype) for column in kinds}


class Streak:
    def __init__(self, rule=None):
        self.rule = rule or Streaks(fail_after=3, lasting=10.0, good_after=2)
        self.view = columns(STREAK)
        self.at = 100 * SECOND

    def take(self, *signs, every=5, together=False, terminal=1):
        instants = []
        for sign in signs:
            self.at += every * SECOND
            instants.append(self.at)
            if not together:
                self.rule.take(self.view, np.array([terminal]), np.array([self.at]), np.array([sign], np.int8))
        if together:
            self.rule.take(self.view, np.full(len(signs), terminal), np.array(instants), np.array(signs, np.int8))
        return Verdict(int(self.view["mark"][terminal]) & STATE).label


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "in one batch"])
def test_as_many_in_a_row_over_as_long_fail(together):
    assert Streak().take(BAD, BAD, BAD, together=together) == "fail"
    assert Streak().take(BAD, BAD, together=together) == "suspect"
    assert Streak().take(BAD, BAD, BAD, every=2, together=together) == "suspect"  # not long enough
    assert Streak().take(BAD, BAD, WELL, BAD, BAD, together=together) == "suspect"
    assert Streak().take(BAD, 0, BAD, 0, 0, BAD, together=together) == "fail"  # what says nothing is no good sign


def test_one_sample_is_nothing_however_old():
    streak = Streak()
    assert streak.take(WELL, BAD) == "good"
    assert streak.take(0, every=100_000) == "good"
    assert Streak().take(BAD) == "good"


def test_what_failed_is_good_after_several_good_ones_and_not_before():
    streak = Streak()
    assert streak.take(BAD, BAD, BAD) == "fail"
    assert streak.take(WELL) == "fail"
    assert streak.take(BAD) == "fail"
    assert streak.take(WELL) == "fail"
    assert streak.take(WELL) == "good"
    assert streak.take(BAD, BAD) == "suspect"


def test_the_last_bad_sign_is_remembered_and_may_need_longer():
    streak = Streak(Streaks(fail_after=2, lasting=[0, 0, 10.0, 100.0]))
    assert streak.take(BAD, WORSE, WORSE, WORSE) == "suspect"
    assert why_of(streak.view["mark"][1]) == WORSE
    assert streak.take(BAD) == "fail"
    streak.take(WELL)
    assert why_of(streak.view["mark"][1]) == BAD


def test_terminals_of_one_batch_do_not_mix():
    rule, view = Streaks(fail_after=2), columns(STREAK)
    terminal, sign = np.array([0, 0, 1, 1, 3]), np.array([BAD, BAD, WELL, BAD, 0], np.int8)
    rows = rule.take(view, terminal, np.arange(5) * SECOND, sign)
    assert rows.tolist() == [0, 1]
    assert (view["mark"] & STATE).tolist() == [Verdict.FAIL, Verdict.GOOD, 0, 0]
    assert view["since"][:2].tolist() == [0, 3 * SECOND]


def test_counts_stay_within_their_byte():
    streak = Streak()
    streak.take(*[BAD] * 400, together=True)
    assert streak.take(*[BAD] * 400) == "fail"
    assert streak.view["count"][1] == 255


def events(rule, view, *instants, terminal=2):
    at = np.array(instants, np.int64) * SECOND
    rule.take(view, np.full(len(at), terminal), at)
    return Verdict(int(view["state"][terminal])).label


def test_a_bucket_fails_when_full_and_is_good_when_empty():
    rule, view = Buckets(most=4, window=100.0), columns(BUCKET)
    assert events(rule, view, 1000) == "good"
    assert events(rule, view, 1000) == "suspect"
    assert events(rule, view, 1001, 1001, 1001) == "fail"
    level = rule.level(view, np.array([2]), 1001.0)[0]
    assert 4 < level <= 5
    state, wait = rule.settle(view, np.array([2]), 1050.0)
    assert state[0] == Verdict.FAIL  # it leaks, and is not empty
    assert 60 < wait[0] < 80
    state, wait = rule.settle(view, np.array([2]), 1050.0 + wait[0])
    assert (state[0], wait[0]) == (Verdict.GOOD, np.inf)


def test_events_far_apart_never_fill_it_and_many_at_once_leak_in_bounded_time():
    rule, view = Buckets(most=4, window=100.0), columns(BUCKET)
    assert {events(rule, view, at) for at in range(1000, 5000, 30)} == {"good"}
    events(rule, view, *[6000] * 100_000)
    state, wait = rule.settle(view, np.array([2]), 6000.0)
    assert state[0] == Verdict.FAIL
    assert wait[0] <= 2 * 100 + 1


def test_what_was_said_one_contact_earlier():
    terminal, values = np.array([1, 1, 1, 3]), np.array([5, 6, 7, 8])
    assert previous(terminal, values, np.array([0, 11, 0, 33])).tolist() == [11, 5, 6, 33]


def test_a_good_sign_more_changes_nothing_and_is_skipped():
    streak = Streak()
    streak.take(WELL)
    before = {name: array.copy() for name, array in streak.view.items()}
    rows = streak.rule.take(streak.view, np.array([1]), np.array([10**15]), np.array([WELL], np.int8))
    assert len(rows) == 0
    assert all((streak.view[name] == before[name]).all() for name in before)
    at = np.array([1, 2]) * 10**15
    rows = streak.rule.take(streak.view, np.array([1, 1]), at, np.array([BAD, WELL], np.int8))
    assert rows.tolist() == [1]  # the good one ends the bad one before it
    assert streak.take(BAD, BAD) == "suspect"
