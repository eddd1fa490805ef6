"""Days of rest that are found from what vehicles do: weeks of a customer's work on a virtual clock."""

import numpy as np
import pytest

from detectors.cohorts import MOST, RECOUNT
from detectors.verdicts import Verdict
from tests.gateway.watch.test_expected import DAY, DRIVES, HOUR, MINUTE, OFF, Life

WORKERS = 8
FRIDAY = 18  # the third; the Monday after it is a holiday
TUESDAY = FRIDAY + 4


def fleet(*, customer="digger", others=0, until=FRIDAY):
    """Terminal 1 and its like work from 8 to 17 o'clock on working days, and are switched off in between.

    `others` work every day, for somebody else.
    """
    life = Life()
    everybody = range(1, 1 + WORKERS + others)
    customers = [customer] * WORKERS + ["bus"] * others
    life.fleet.identify(list(everybody), {"customer": customers, "stage": [None] * len(customers)})
    for day in range(until + 1):
        life.at(day * DAY)
        working = day % 7 < 5 and day != FRIDAY + 3
        for terminal in everybody:
            if working or terminal > WORKERS:
                # Not all at the same minute.
                times = day * DAY + 8 * HOUR + np.arange(0, 9 * HOUR, 20 * MINUTE) + terminal * 10 * MINUTE
                life.hear(terminal, times[:-1], DRIVES).hear(terminal, times[-1], OFF)
    return life


def test_a_holiday_is_found_from_the_others_and_ends_when_they_are_at_work():
    life = fleet(until=TUESDAY - 1)
    assert life.at((TUESDAY - 1) * DAY + 20 * HOUR).verdict() != Verdict.FAIL
    early = life.at(TUESDAY * DAY + 6 * HOUR)
    assert early.verdict() != Verdict.FAIL
    numbers = early.detector.explain(early.view, 1).numbers
    without = early.detector.expected.allowed(early.view, np.array([1]))
    assert numbers["limit_s"] == pytest.approx(float(without.limit[0]) + numbers["rested_s"], abs=0.01)
    for day in (TUESDAY, TUESDAY + 1):
        for terminal in range(2, 1 + WORKERS):
            life.at(day * DAY + 8 * HOUR)
            life.hear(terminal, day * DAY + 8 * HOUR + np.arange(0, 9 * HOUR, 20 * MINUTE), DRIVES)
    said = life.at((TUESDAY + 1) * DAY + 18 * HOUR).detector.explain(life.view, 1)
    assert life.verdict() == said.verdict == Verdict.FAIL
    assert "with 3 d of days on which those like it rest" in said.reason


@pytest.mark.parametrize(("customer", "others", "rests"), [("digger", 20, True), (None, 0, True), (None, 20, False)])
def test_who_is_of_no_customer_is_measured_by_everybody(customer, others, rests):
    life = fleet(customer=customer, others=others, until=FRIDAY + 3)
    life.at((FRIDAY + 3) * DAY + 23 * HOUR)
    now = np.array([round(life.view.now * 1e6)])
    found = life.detector.cohorts.rested(life.view, np.array([1]), life.view.received[[1]], now)
    assert found[0] == pytest.approx(2 * DAY + 23 * HOUR if rests else 0.0)


def test_a_weekend_is_no_part_of_what_it_learns():
    one, other = fleet(until=14), fleet(until=14, customer=None, others=20)
    longest = [float(life.detector.explain(life.view, 1).numbers["longest_s"]) for life in (one, other)]
    # The first knows its nights. The other is the first at work on Monday: until most are, that day is one of rest too.
    assert longest == pytest.approx([15 * HOUR, 7 * HOUR + 2 * DAY], abs=0.5 * HOUR)


def test_a_customer_that_is_gone_for_good_is_granted_so_many_days_and_no_more():
    life = fleet(until=FRIDAY)
    base = float(life.detector.expected.allowed(life.view, np.array([1])).limit[0])
    last = float(life.view.received[1]) / 1e6 - life.view.now + FRIDAY * DAY
    life.at(last + base + MOST - HOUR)
    assert life.verdict() != Verdict.FAIL
    life.at(last + base + MOST + HOUR)
    assert life.verdict() == Verdict.FAIL


def test_while_they_rest_it_is_looked_at_again_within_half_an_hour():
    life = fleet(until=FRIDAY + 2)
    base = float(life.detector.expected.allowed(life.view, np.array([1])).limit[0])
    last = float(life.view.received[1]) / 1e6 - life.view.now + (FRIDAY + 2) * DAY
    life.at(last + base + HOUR)
    judged = life.detector.judge(life.view, np.array([1]))
    assert judged.verdicts[0] != Verdict.FAIL
    assert judged.look[0] == pytest.approx(life.view.clock + RECOUNT)


def test_days_of_rest_before_an_outage_was_excused_are_no_part_of_its_age():
    life = fleet(until=FRIDAY + 2)
    life.at((FRIDAY + 3) * DAY + HOUR).fleet.excuse(np.array([1]))
    base = float(life.detector.expected.allowed(life.view, np.array([1])).limit[0])
    for day in (FRIDAY + 3, FRIDAY + 4, FRIDAY + 5):  # who is alone with its fault
        for terminal in range(2, 1 + WORKERS):
            life.at(day * DAY + 8 * HOUR)
            life.hear(terminal, day * DAY + 8 * HOUR + np.arange(0, 9 * HOUR, 20 * MINUTE), DRIVES)
    life.at((FRIDAY + 3) * DAY + base + 2 * HOUR)
    assert life.detector.explain(life.view, 1).numbers["rested_s"] < DAY
    assert life.at((FRIDAY + 5) * DAY + 18 * HOUR).verdict() == Verdict.FAIL


def test_counts_follow_from_the_columns_and_survive_what_a_clock_does():
    life = fleet(until=FRIDAY + 3)
    life.at((FRIDAY + 3) * DAY + 12 * HOUR)

    def rested():
        now = np.array([round(life.view.now * 1e6)])
        return float(life.detector.cohorts.rested(life.view, np.array([1]), life.view.received[[1]], now)[0])

    before = rested()
    assert before == pytest.approx(2.5 * DAY)
    life.at((FRIDAY - 9) * DAY)  # set back by days, and forth again
    assert rested() == 0.0
    life.at((FRIDAY + 3) * DAY + 12 * HOUR)
    assert rested() == before
    life.at((FRIDAY + 300) * DAY)  # nothing of so long ago is known
    assert rested() == 0.0


@pytest.mark.parametrize("seed", range(2))
def test_any_history_gives_rest_in_bounds(seed):
    rng = np.random.default_rng(seed)
    life = Life()
    life.fleet.identify(list(range(1, 40)), {"customer": [str(n) for n in rng.integers(0, 3, 39)]})
    for day in range(40):
        life.at(day * DAY + rng.uniform(0, 0.5) * DAY)
        for terminal in rng.choice(np.arange(1, 40), rng.integers(0, 39), replace=False):
            life.hear(int(terminal), day * DAY + rng.uniform(0.5, 1) * DAY, DRIVES)
    life.at(40 * DAY)
    rows = np.flatnonzero(life.fleet.exists[: life.fleet.rows] & (life.view.received[: life.fleet.rows] > 0))
    since = life.view.received[rows]
    until = np.full(len(rows), round(life.view.now * 1e6))
    found = life.detector.cohorts.rested(life.view, rows, since, until)
    assert ((found >= 0) & (found <= MOST)).all()
    assert (found <= np.maximum((until - since) / 1e6, 0)).all()
    backwards = life.detector.cohorts.rested(life.view, rows, until, since)
    assert (backwards == 0).all()
