"""A constant offset proves a recovery, in three times the time, and only while it lasts."""

import numpy as np

from detectors.verdicts import Verdict
from ticketing.incidents.hysteresis import NEVER, STEADY_STRETCH, Hysteresis

SECOND = 1_000_000


class One:
    """One terminal, whose clock is wrong: no record of it is ever live."""

    def __init__(self, recovery=10.0):
        self.hysteresis = Hysteresis("silence", hold=0.0, recovery=recovery, proof={Verdict.GOOD})
        self.at, self.since = 1000, NEVER
        self.tick(Verdict.FAIL, heard=False)
        self.hysteresis.opened(0, 0)

    def tick(self, verdict=Verdict.GOOD, *, steady=True, live=0, heard=True):
        self.at += 1
        received = np.array([(self.at if heard else 1) * SECOND])
        decisions = self.hysteresis.judge(
            np.array([verdict], np.int8), float(self.at), received, np.array([live]), np.array([float(self.at)]),
            (lambda rows: np.full(len(rows), self.since)) if steady else None,
        )  # fmt: skip
        return len(decisions.recovered) > 0

    def recovered_after(self, **tick):
        return next((n for n in range(1, 100) if self.tick(**tick)), None)


def test_it_takes_three_times_as_long():
    one = One()
    assert one.recovered_after(steady=False) is None
    one.since = 900 * SECOND
    assert one.recovered_after() == 10 * STEADY_STRETCH + 1


def test_a_live_record_is_quicker():
    one = One()
    one.since = 900 * SECOND
    for _ in range(5):
        assert not one.tick()
    assert one.recovered_after(live=5) <= 10


def test_one_that_breaks_off_or_begins_anew_proves_nothing_so_far():
    for change in (NEVER, None):
        one = One()
        one.since = 900 * SECOND
        for _ in range(25):
            assert not one.tick()
        one.since = NEVER if change == NEVER else one.at * SECOND
        assert not one.tick()
        one.since = one.at * SECOND
        assert one.recovered_after() >= 10 * STEADY_STRETCH - 1
