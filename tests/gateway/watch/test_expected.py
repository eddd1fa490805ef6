"""Silence by situation: weeks of contacts on a virtual clock, told to the fleet as the receiving side tells them."""

import msgspec
import numpy as np
import pytest

from detectors.expected import Expected
from detectors.gaps import encode_gaps
from detectors.silence import Silence
from detectors.situations import ASLEEP, IDLING, JUST_STOPPED, MOVING, STOPPED, situation_of, situations_of
from detectors.verdicts import Verdict
from gateway.watch.columns import plain
from gateway.watch.fleet import Fleet
from gateway.watch.listening import Beat, Listening
from protocols.records import IGNITION_KNOWN, IGNITION_ON
from protocols.records import MOVING as MOVES

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
MONDAY = 1_772_409_600.0  # 2026-03-02 00:00 UTC
OFF, ON, DRIVES = IGNITION_KNOWN, IGNITION_KNOWN | IGNITION_ON, IGNITION_KNOWN | IGNITION_ON | MOVES
UNWIRED = 0


class Life:
    """A fleet whose terminals live from `MONDAY` on; times are seconds since then."""

    def __init__(self, **rule):
        self.detector = Silence(expected=Expected(**rule))
        self.fleet = Fleet(Listening(), (self.detector,))
        self.outages = []

    @property
    def view(self):
        return self.fleet.view("silence")

    def hear(self, terminal, times, flags=OFF, *, frames=False, late=0.0):
        """Contacts, each with one record; `frames`: without any (pings). `late`: the record is so old."""
        times = np.atleast_1d(np.asarray(times, np.float64))
        at = np.round((MONDAY + times) * 1e6).astype(np.int64)
        rows = np.full(len(at), terminal, np.int32)
        none = np.zeros(0, np.int64)
        own = at - round(late * 1e6)
        told = (none.astype(np.int32), none, none) if frames else (rows, own, at)
        self.fleet.apply(plain(rows, at, *told, np.full(len(told[0]), flags, np.int16)))
        return self

    def at(self, seconds):
        """The clock is there, and whoever is due has been judged."""
        self.fleet.listening.load(msgspec.json.encode(Beat(MONDAY + seconds, 0.0, self.outages)))
        self.fleet.judge()
        return self

    def verdict(self, terminal=1):
        return Verdict(int(self.fleet.verdicts("silence")[terminal]))

    def limit(self, terminal=1):
        return self.detector.explain(self.view, terminal).numbers["limit_s"]

    def state(self, terminal=1):
        return int(self.view["state"][terminal])


def days(first, last, begin, end, every):
    """From `begin` to `end` o'clock of each of these days."""
    return np.concatenate([np.arange(d * DAY + begin * HOUR, d * DAY + end * HOUR, every) for d in range(first, last)])


def van(weeks=4, **rule):
    """Drives from 8 to 17 o'clock, every minute, and then stands with a report an hour."""
    life = Life(**rule)
    for day in range(7 * weeks):
        life.hear(1, days(day, day + 1, 8, 17, MINUTE), DRIVES)
        life.hear(1, np.arange(day * DAY + 17 * HOUR, (day + 1) * DAY + 8 * HOUR, HOUR), OFF)
    return life


def noon(count, **rule):
    """Drives for half an hour at noon, and then says nothing until the next."""
    life = Life(**rule)
    for day in range(count):
        life.hear(1, day * DAY + 12 * HOUR + np.arange(30) * MINUTE, DRIVES)
        life.hear(1, day * DAY + 12.5 * HOUR, OFF)
    return life


def sleeper(every=DAY, count=20, missed=(), **rule):
    life = Life(**rule)
    life.hear(1, [n * every for n in range(count) if n not in missed], UNWIRED)
    return life


def test_the_state_follows_what_contacts_say():
    life = Life()
    life.hear(1, [0, 60], DRIVES)
    assert life.state() == MOVING
    life.hear(1, 120, ON)
    assert life.state() == IDLING
    life.hear(1, [180, 7200], OFF)
    assert life.state() == JUST_STOPPED
    life.hear(1, 10_800, OFF)
    assert life.state() == STOPPED
    life.hear(1, 10_830, frames=True)  # a ping tells nothing
    assert life.state() == STOPPED
    life.hear(1, 10_800 + 3 * HOUR, OFF)
    assert life.state() == ASLEEP
    life.hear(1, 10_860 + 3 * HOUR, UNWIRED | MOVES)  # movement alone will do
    assert life.state() == MOVING


def test_what_tells_nothing_leaves_the_state_also_of_a_terminal_whose_clock_is_wrong():
    life = Life().hear(1, [0, 60, 120], DRIVES, late=30 * DAY)  # learned from all its frames
    life.hear(1, 180, frames=True)
    assert (life.state(), life.view["contact"][1]) == (MOVING, round((MONDAY + 180) * 1e6))


def test_a_situation_has_blocks_of_the_day_until_the_vehicle_stands():
    at = np.array([MONDAY, MONDAY + 4 * HOUR, MONDAY + 23 * HOUR]) * 1e6
    found = [situation_of(np.full(3, state), at.astype(np.int64)).tolist() for state in range(5)]
    assert [len(set(its)) for its in found] == [3, 3, 3, 1, 1]
    every = [list(range(*situations_of(state).indices(100))) for state in range(5)]
    assert sorted(number for its in every for number in its) == list(range(20))
    assert all(set(its) <= set(whole) for its, whole in zip(found, every, strict=True))


def test_overdue_comes_within_two_intervals_and_the_ticket_much_later():
    life = van(weeks=3)
    life.hear(1, np.arange(21 * DAY + 8 * HOUR, 21 * DAY + 10 * HOUR, MINUTE), DRIVES)
    last = 21 * DAY + 10 * HOUR - MINUTE
    assert life.at(last + 100).verdict() == Verdict.GOOD
    assert life.at(last + 110).verdict() == Verdict.SUSPECT
    assert life.at(last + 54 * MINUTE).verdict() == Verdict.SUSPECT
    assert life.at(last + 56 * MINUTE).verdict() == Verdict.FAIL


def test_standing_it_may_be_silent_for_longer_than_in_motion():
    life = van(weeks=3)
    last = 21 * DAY + 7 * HOUR
    assert life.at(last + 1.7 * HOUR).verdict() == Verdict.GOOD
    assert life.at(last + 1.8 * HOUR).verdict() == Verdict.SUSPECT
    assert life.at(last + 3.9 * HOUR).verdict() == Verdict.SUSPECT
    assert life.at(last + 4.1 * HOUR).verdict() == Verdict.FAIL


def test_a_hole_that_is_usual_at_that_time_of_day_is_none():
    life = Life()
    for day in range(21):
        drive = days(day, day + 1, 8, 17, MINUTE)
        hole = (drive > day * DAY + 13 * HOUR) & (drive < day * DAY + 14 * HOUR)
        life.hear(1, drive[~hole], DRIVES).hear(1, np.arange(17, 31) * HOUR + day * DAY, OFF)
    before = life.at(21 * DAY).view
    assert before["longest"][1].max() > 0
    life.hear(1, days(21, 22, 8, 13, MINUTE), DRIVES)
    assert life.at(21 * DAY + 14.2 * HOUR).limit() == pytest.approx(1.3 * HOUR * np.sqrt(28 / 21.2), rel=0.05)
    assert life.verdict() == Verdict.SUSPECT


def test_one_wake_up_that_is_lost_is_luck_and_the_second_a_fault():
    life = sleeper(count=28, missed=(9,))
    assert life.state() == ASLEEP
    last = 27 * DAY
    assert life.at(last + 1.7 * DAY).verdict() == Verdict.GOOD
    assert life.at(last + 1.8 * DAY).verdict() == Verdict.SUSPECT  # within two intervals
    assert life.at(last + 2.1 * DAY).verdict() == Verdict.SUSPECT
    assert life.at(last + 2.3 * DAY).verdict() == Verdict.FAIL  # within three


def test_a_sleeper_that_is_driven_now_and_then_has_no_schedule():
    life = sleeper(every=6 * HOUR, count=112)
    alone = life.limit()
    life.hear(1, 28 * DAY + np.arange(30) * MINUTE, DRIVES)
    life.hear(1, 28 * DAY + np.arange(6, 48, 6) * HOUR, UNWIRED)
    assert alone == pytest.approx(2.2 * 6 * HOUR, rel=0.01)
    assert life.state() == ASLEEP
    life.hear(1, 30 * DAY + 12 * HOUR, UNWIRED)
    assert life.limit() > 1.4 * 18 * HOUR


def test_in_its_first_week_it_may_be_silent_for_four_days_unless_its_wake_ups_are_regular():
    life = Life().hear(1, days(0, 5, 8, 17, MINUTE), DRIVES)
    assert life.limit() == 4 * DAY
    assert life.at(5 * DAY).verdict() == Verdict.SUSPECT
    assert "nothing is said" in life.detector.explain(life.view, 1).reason
    assert sleeper(every=6 * HOUR, count=12).limit() == pytest.approx(2.2 * 6 * HOUR, rel=0.01)


def test_who_is_known_for_longer_needs_less_room():
    assert noon(9).limit() == pytest.approx(2 * np.sqrt(28 / 8) * 23.5 * HOUR, rel=0.03)
    assert noon(36).limit() == pytest.approx(2 * 23.5 * HOUR, rel=0.03)
    long = Life()
    long.hear(1, np.arange(12) * 5 * DAY, OFF).hear(1, 55 * DAY + 3600, ON).hear(1, 55 * DAY + 7200, OFF)
    assert long.limit() == pytest.approx(5 * DAY + 42 * HOUR, rel=0.01)  # never by more than that above normal


def test_the_budget_moves_the_limit():
    limits = [noon(36, false_alarms=budget).limit() / (23.5 * HOUR) for budget in (40.0, 10.0, 2.5)]
    assert limits == pytest.approx([1, 2, 4], rel=0.03)
    held = van(weeks=3)
    held.hear(1, days(21, 22, 8, 16, MINUTE), DRIVES)
    assert held.limit() == 55 * MINUTE
    assert van(weeks=1, floor=7 * DAY).limit() == 7 * DAY


def test_dark_in_use_is_no_night_where_it_always_said_a_last_word():
    def dark(flags, *, word):
        life = Life()
        for day in range(21):
            life.hear(1, days(day, day + 1, 8, 17, 5 * MINUTE), flags)
            if word:
                life.hear(1, day * DAY + 17 * HOUR, OFF)  # and sleeps until the morning
        life.hear(1, days(21, 22, 8, 16, 5 * MINUTE), flags)
        return life.limit()

    assert (dark(ON, word=True), dark(DRIVES, word=True)) == (90 * MINUTE, 55 * MINUTE)
    assert min(dark(ON, word=False), dark(DRIVES, word=False)) > 15 * HOUR


def test_a_hole_is_expected_at_any_time_of_the_day_and_a_night_is_not():
    def silent_from(hour, for_):
        life = Life()
        for day in range(21):
            drive = days(day, day + 1, 6, 18, MINUTE)
            hole = (drive > day * DAY + hour * HOUR) & (drive < day * DAY + (hour + for_) * HOUR)
            life.hear(1, drive[~hole], DRIVES)
            life.hear(1, np.arange(18, 29) * HOUR + day * DAY, OFF)
        return life.hear(1, days(21, 22, 6, 9, MINUTE), DRIVES).limit()

    assert silent_from(14, 2.0) == pytest.approx(1.3 * np.sqrt(28 / 21.1) * 2 * HOUR, rel=0.01)
    assert silent_from(14, 3.0) == 55 * MINUTE


def test_what_it_did_since_its_last_record_of_now_is_not_known_where_old_ones_or_pings_came_after_it():
    for told in ({"late": 20 * MINUTE}, {"frames": True}):
        life = van(weeks=3)
        life.hear(1, days(21, 22, 8, 10, MINUTE), DRIVES)
        life.hear(1, 21 * DAY + 10 * HOUR + 10 * MINUTE, OFF, **told)
        assert life.limit() == 55 * MINUTE
        life.hear(1, 21 * DAY + 10 * HOUR + 30 * MINUTE, OFF, **told)
        assert life.limit() == 4 * HOUR


def test_another_period_is_relearned_within_a_few_reports():
    life = van(weeks=3)
    life.hear(1, 21 * DAY + np.arange(1, 5) * 12 * HOUR, OFF)
    assert life.limit() > 12 * HOUR
    assert life.at(23 * DAY + 13 * HOUR).verdict() != Verdict.FAIL


def test_a_month_away_is_one_silence_and_forgets_no_week():
    life = van(weeks=4)
    before = np.sort(life.view["longest"][1].max(axis=1))
    life.hear(1, 56 * DAY, OFF)
    after = life.view["longest"][1]
    assert after.max() == encode_gaps(np.array([28 * DAY - 7 * HOUR]))[0]
    assert (np.sort(after.max(axis=1)) >= before).all()
    held = after.copy()
    life.hear(1, 56 * DAY + np.arange(1, 6) * HOUR, OFF)  # it is back for good: no week is over yet
    assert (life.view["longest"][1] >= held).all()


def test_once_it_stands_it_has_the_longest_of_its_whole_life():
    life = Life().hear(1, np.arange(-20, 0) * 3 * HOUR, OFF)  # and has slept
    for day in range(20):  # goes dark on the move, every evening
        life.hear(1, days(day, day + 1, 8, 18, 5 * MINUTE), DRIVES)
    life.hear(1, 20 * DAY + 8 * HOUR + np.arange(3) * MINUTE, DRIVES).hear(
        1, 20 * DAY + 9 * HOUR + np.arange(3) * MINUTE, OFF
    )
    assert life.state() == JUST_STOPPED
    assert life.limit() == pytest.approx(2 * np.sqrt(28 / 22.9) * 14 * HOUR, rel=0.03)


def test_an_engineers_word_takes_back_what_a_fault_taught_and_keeps_what_was_normal():
    def silent_for_days():
        life = van(weeks=3)
        life.hear(1, days(21, 22, 8, 12, MINUTE), DRIVES)
        assert life.at(24 * DAY).verdict() == Verdict.FAIL
        return life.hear(1, 24 * DAY + np.arange(5) * MINUTE, OFF)

    situation = situation_of(np.array([MOVING]), np.array([round((MONDAY + 21 * DAY + 11 * HOUR) * 1e6)]))[0]
    fault, normal = silent_for_days(), silent_for_days()
    learned = fault.view["longest"][1, situation].max()
    assert learned == normal.view["longest"][1, situation].max() > encode_gaps(np.array([2 * DAY]))[0]
    fault.fleet.dirty["silence"][:] = False
    fault.fleet.judge()
    assert fault.fleet.teach("silence", 1, normal=False)
    fault.fleet.judge()
    assert 1 in fault.fleet.judged["silence"], "its limit is another now"
    assert fault.fleet.dirty["silence"][0]  # a snapshot will know
    assert normal.fleet.teach("silence", 1, normal=True)
    assert fault.view["longest"][1, situation].max() < encode_gaps(np.array([2 * MINUTE]))[0]
    assert normal.view["longest"][1, situation].max() == learned
    assert not fault.fleet.teach("silence", 1, normal=False)  # said once
    assert not fault.fleet.teach("silence", 99, normal=False)


def test_old_records_are_a_sign_of_life_and_no_situation():
    life = van(weeks=3)
    life.hear(1, days(21, 22, 8, 10, MINUTE), DRIVES)
    held = life.view["longest"][1].copy()
    assert life.at(21 * DAY + 11.5 * HOUR).verdict() == Verdict.FAIL
    life.hear(1, 21 * DAY + 11.6 * HOUR + np.arange(20.0), OFF, late=7 * DAY)
    assert life.at(21 * DAY + 11.7 * HOUR).verdict() != Verdict.FAIL
    assert life.state() == MOVING
    np.testing.assert_array_equal(life.view["longest"][1], held)


def test_our_own_absence_ages_nobody_and_teaches_nothing():
    life = van(weeks=3)
    life.hear(1, days(21, 22, 8, 10, MINUTE), DRIVES)
    held = life.view["longest"][1].copy()
    life.outages.append((MONDAY + 21 * DAY + 10 * HOUR, MONDAY + 21 * DAY + 14 * HOUR))
    assert life.at(21 * DAY + 14 * HOUR + 30).verdict() == Verdict.GOOD
    life.hear(1, 21 * DAY + 14 * HOUR + 40, DRIVES)
    np.testing.assert_array_equal(life.view["longest"][1], held)


@pytest.mark.parametrize(("outage", "fails"), [(10 * MINUTE, True), (2 * HOUR, False)])
@pytest.mark.parametrize("whose", ["operator", "ours"])
def test_who_was_in_motion_when_an_outage_began_may_have_stopped_in_it(whose, outage, fails):
    """An hour after it is back nobody knows whether it still drives: it has as long as one that stands."""
    life = van(weeks=3)
    begun = 21 * DAY + 10 * HOUR
    life.hear(1, days(21, 22, 8, 10, MINUTE), DRIVES)
    if whose == "ours":
        life.outages.append((MONDAY + begun, MONDAY + begun + outage))
    life.at(begun + outage)
    if whose == "operator":
        life.fleet.excuse(np.array([1]))
    life.at(begun + outage + 70 * MINUTE)
    assert (life.verdict() == Verdict.FAIL) == fails
    assert life.detector.explain(life.view, 1).reason.count("out of reach for a while since") == (not fails)
    assert life.at(begun + outage + 3 * DAY).verdict() == Verdict.FAIL
    life.hear(1, begun + outage + 3 * DAY, DRIVES).at(begun + outage + 3 * DAY + HOUR)  # what was is over
    assert "out of reach" not in life.detector.explain(life.view, 1).reason


def test_a_clock_that_is_set_moves_what_was_learned_along():
    life, other = sleeper(count=28), sleeper(count=28)
    other.at(27 * DAY + HOUR).fleet.shift(3600.0)
    assert other.limit() == pytest.approx(life.limit())
    assert other.view["first"][1] == life.view["first"][1] + 3_600_000_000


def test_heard_once_or_never_or_not_in_use_is_unknown():
    life = Life().hear(1, 0.0).hear(2, [0.0, 60.0])
    life.fleet.identify([1, 2, 3], {"stage": ["in_use", "season", None]})
    life.at(30 * DAY)
    assert [life.verdict(row) for row in (1, 2, 3)] == [Verdict.UNKNOWN] * 3
    assert life.detector.explain(life.view, 2).numbers == {"stage": "season"}
    assert life.detector.outlook(life.view, 2).ticket_in is None
    life.fleet.identify([2], {"stage": ["in_use"]})
    assert life.at(30 * DAY + 1).verdict(2) == Verdict.FAIL


def test_a_ticket_changes_its_meaning_when_it_was_back_and_when_twice_the_limit_has_passed():
    life = van(weeks=3)
    life.hear(1, days(21, 22, 8, 10, MINUTE), DRIVES)
    last = 21 * DAY + 10 * HOUR - MINUTE
    row = np.array([1])
    first = life.at(last + HOUR).detector.meaning(life.view, row)
    assert life.at(last + 1.5 * HOUR).detector.meaning(life.view, row) == first
    assert life.at(last + 2 * HOUR).detector.meaning(life.view, row) != first
    life.hear(1, last + 2.5 * HOUR, DRIVES)
    assert life.at(last + 3.6 * HOUR).detector.meaning(life.view, row) not in (first, first + 1)


def test_the_outlook_says_when_and_the_explanation_why():
    life = van(weeks=3)
    life.at(21 * DAY + 7 * HOUR + 600)
    outlook = life.detector.outlook(life.view, 1)
    assert outlook.expected_in == pytest.approx(50 * MINUTE, rel=0.01)
    assert (outlook.overdue, outlook.regime) == (False, "stopped")
    assert outlook.ticket_in == pytest.approx(4 * HOUR - 600, rel=0.01)
    assert set(outlook.rhythm) == {"moving", "just stopped", "stopped"}
    assert outlook.rhythm["moving"].interval_s == pytest.approx(60, rel=0.01)
    life.at(21 * DAY + 14 * HOUR)
    said = life.detector.explain(life.view, 1)
    assert said.reason == (
        "silent for 7 h, stopped when last heard, then usually heard every 1 h; silent for up to 1 h before, limit 4 h"
    )
    assert {"age_s", "limit_s", "interval_s", "longest_s", "room", "situation", "known_days"} <= set(said.numbers)


@pytest.mark.parametrize("seed", range(2))
def test_any_history_gives_limits_in_bounds_and_looks_that_come(seed):
    rng = np.random.default_rng(seed)
    life = Life()
    for terminal in range(1, 30):
        count = int(rng.integers(1, 60))
        times = np.sort(np.cumsum(rng.choice([0.0, 1e-6, 30, 3600, 86_400, 2e6], count)) + rng.random(count))
        for time in times:
            life.hear(terminal, time, int(rng.integers(0, 16)), frames=rng.random() < 0.2, late=rng.choice([0, 1e5]))
    now = 20 * DAY
    life.at(now)
    rows = np.flatnonzero(life.fleet.exists[: life.fleet.rows])
    allowed = life.detector.expected.allowed(life.view, rows)
    assert (allowed.limit >= 55 * MINUTE).all()
    assert np.isfinite(allowed.limit).all()
    judged = life.detector.judge(life.view, rows)
    fresh = judged.verdicts != Verdict.UNKNOWN
    assert (judged.look[fresh] > life.view.clock).all()
    for row in rows:
        assert life.detector.explain(life.view, int(row)).verdict == judged.verdicts[rows == row][0]
        life.detector.outlook(life.view, int(row))
