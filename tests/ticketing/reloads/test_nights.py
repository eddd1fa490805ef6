"""Nights by the wall, and the queue played forward over them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketing import policies
from ticketing.reloads.forecast import SETTLE, USUAL, Rate, Waiting, forecast
from ticketing.reloads.nights import HORIZON, Nights
from ticketing.working_time.time_zones import zone

MOSCOW = Nights("20:00-06:00", zone("Europe/Moscow"))
H = timedelta(hours=1)


def at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("window", "place", "when", "begin", "end"),
    [
        ("20:00-06:00", "Europe/Moscow", "2026-03-02T19:59+03:00", "2026-03-02T20:00+03:00", "2026-03-03T06:00+03:00"),
        ("20:00-06:00", "Europe/Moscow", "2026-03-02T20:00+03:00", "2026-03-02T20:00+03:00", "2026-03-03T06:00+03:00"),
        ("20:00-06:00", "Europe/Moscow", "2026-03-03T05:59+03:00", "2026-03-02T20:00+03:00", "2026-03-03T06:00+03:00"),
        ("20:00-06:00", "Europe/Moscow", "2026-03-03T06:00+03:00", "2026-03-03T20:00+03:00", "2026-03-04T06:00+03:00"),
        ("01:00-05:00", "Asia/Shanghai", "2026-03-02T23:00+08:00", "2026-03-03T01:00+08:00", "2026-03-03T05:00+08:00"),
        # The night of a clock change is shorter, or longer, than the wall says.
        ("22:00-06:00", "Europe/Berlin", "2026-03-28T23:00+01:00", "2026-03-28T22:00+01:00", "2026-03-29T06:00+02:00"),
        ("22:00-06:00", "Europe/Berlin", "2026-10-24T23:00+02:00", "2026-10-24T22:00+02:00", "2026-10-25T06:00+01:00"),
        # Two windows a night; hours that a clock change skips wait for the next day.
        ("20:00-22:00,01:00-04:00", "UTC", "2026-03-02T22:00Z", "2026-03-03T01:00Z", "2026-03-03T04:00Z"),
        ("02:00-03:00", "Europe/Berlin", "2026-03-29T01:00+01:00", "2026-03-30T02:00+02:00", "2026-03-30T03:00+02:00"),
    ],
)  # fmt: skip
def test_a_night_is_the_walls(window, place, when, begin, end):
    assert Nights(window, zone(place)).around(at(when)) == (at(begin), at(end))


def test_a_window_of_the_whole_day_never_closes():
    nights = Nights("00:00-24:00", zone("Europe/Moscow"))
    now = at("2026-03-02T12:00+03:00")
    begin, end = nights.around(now)
    assert begin <= now
    assert end - now > timedelta(days=1)
    assert nights.walk(now, timedelta(days=30)) == (now, now + timedelta(days=30))


def test_work_goes_on_in_the_next_night():
    evening = at("2026-03-02T20:00+03:00")
    assert MOSCOW.walk(at("2026-03-02T12:00+03:00"), 3 * H) == (evening, evening + 3 * H)
    assert MOSCOW.walk(evening, 10 * H) == (evening, evening + 10 * H)
    assert MOSCOW.walk(evening + 9 * H, 3 * H) == (evening + 9 * H, evening + 26 * H)


@given(st.integers(0, 10**7), st.integers(1, 10**6), st.integers(0, 10**6))
def test_no_work_is_done_by_day(start, work, more):
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=start)
    begin, end = MOSCOW.walk(now, timedelta(seconds=work))
    assert begin >= now
    assert MOSCOW.open(begin)
    assert MOSCOW.open(end - timedelta(microseconds=1))
    assert MOSCOW.walk(now, timedelta(seconds=work + more))[1] >= end


def test_all_shipped_policies_have_nights():
    for policy in policies.shipped():
        begin, end = Nights.of(policy).around(at("2026-03-02T12:00+03:00"))
        assert begin > at("2026-03-02T12:00+03:00")
        assert timedelta(0) < end - begin < timedelta(hours=14)


def waiting(number, hours, not_before="2026-03-01T00:00+03:00", *, running=False):
    return Waiting(number, hours * H, at(not_before), running)


def test_first_come_first_served_one_at_a_time():
    noon, evening = at("2026-03-02T12:00+03:00"), at("2026-03-02T20:00+03:00")
    queue = [waiting(1, 4), waiting(2, 5), waiting(3, 2)]
    assert forecast(noon, MOSCOW, queue, 1) == {
        1: (evening, evening + 4 * H),
        2: (evening + 4 * H, evening + 9 * H),
        3: (evening + 9 * H, evening + 25 * H),  # an hour tonight, one tomorrow
    }
    assert forecast(noon, MOSCOW, queue, 2) == {
        1: (evening, evening + 4 * H),
        2: (evening, evening + 5 * H),
        3: (evening + 4 * H, evening + 6 * H),
    }
    assert forecast(noon, MOSCOW, [], 1) == {}


def test_who_was_put_off_holds_nobody_and_keeps_his_place():
    night, tomorrow = at("2026-03-02T21:00+03:00"), at("2026-03-03T20:00+03:00")
    queue = [waiting(1, 2, "2026-03-03T20:00+03:00"), waiting(2, 3), waiting(3, 9)]
    assert forecast(night, MOSCOW, queue, 1) == {
        2: (night, night + 3 * H),
        3: (night + 3 * H, tomorrow + 3 * H),
        1: (tomorrow + 3 * H, tomorrow + 5 * H),
    }
    alone = forecast(night, MOSCOW, queue[:1], 1)
    assert alone == {1: (tomorrow, tomorrow + 2 * H)}


def test_what_runs_goes_first():
    night = at("2026-03-02T21:00+03:00")
    found = forecast(night, MOSCOW, [waiting(1, 2), waiting(2, 1, running=True)], 1)
    assert found == {2: (night, night + H), 1: (night + H, night + 3 * H)}


def test_nobody_is_told_of_nights_that_are_too_far_away():
    """However slow archives were and however short nights are, the queue is played forward in no time."""
    minute = Nights("20:00-20:01", zone("Europe/Moscow"))
    noon = at("2026-03-02T12:00+03:00")
    found = forecast(noon, minute, [waiting(n, 200) for n in range(500)], 1)
    assert list(found) == [0]
    assert found[0][1] - found[0][0] == HORIZON


def test_the_pace_is_learned_from_those_that_are_done():
    day = timedelta(days=1)
    assert Rate.of(0, 0, 0) == Rate.of(10, 10, 2) == Rate(USUAL, False)
    assert Rate().left(day, 0.0).total_seconds() == pytest.approx(SETTLE + 86_400 / 120)
    learned = Rate.of(3 * SETTLE + 3 * 8640, 3 * 86_400, 3)
    assert (learned.pace, learned.measured) == (pytest.approx(0.1), True)
    assert learned.left(day, 0.75).total_seconds() == pytest.approx(SETTLE + 2160)
    assert Rate.of(10**9, 86_400, 9).pace == 1.0, "no slower than the archive was filled"
    assert Rate.of(1, 86_400, 9).left(day, 0.0) == timedelta(seconds=SETTLE)
