"""The countries' tables against published sums, versions, own days, and what is told when a year is missing."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from ticketing.working_time import calendars
from ticketing.working_time import hours as worktime
from ticketing.working_time.calendars import Calendar, DayKind, SpecialDay, shipped
from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.time_zones import DAY, HOUR, MINUTE, instant, zone

WORKWEEK = frozenset(range(5))
PLAIN = worktime.parse_hours("09:00-18:00")


def days_of(year):
    day = date(year, 1, 1)
    while day.year == year:
        yield day
        day += timedelta(days=1)


# Official sums of the five-day week: hours at 8 a day for RU and BY, working days for CN and KZ.
@pytest.mark.parametrize(
    ("country", "year", "days", "hours"),
    [
        ("RU", 2024, 248, 1979), ("RU", 2025, 247, 1972), ("RU", 2026, 247, 1972), ("RU", 2027, 247, 1972),
        ("BY", 2024, 253, 2016), ("BY", 2025, 252, 2007), ("BY", 2026, 254, 2024),
        ("CN", 2024, 251, 2008), ("CN", 2025, 248, 1984), ("CN", 2026, 248, 1984), ("KZ", 2025, 246, 1968),
    ],
)  # fmt: skip
def test_sums_of_a_year(country, year, days, hours):
    judged = [shipped(country).judge(day, WORKWEEK) for day in days_of(year)]
    worked = [entry for entry in judged if entry.working]
    assert len(worked) == days
    assert sum(7 if entry.short else 8 for entry in worked) == hours
    assert not any(entry.provisional for entry in judged)


@pytest.mark.parametrize(
    ("country", "year", "short"),
    [
        ("RU", 2024, "02-22 03-07 05-08 06-11 11-02"),
        ("RU", 2025, "03-07 04-30 06-11 11-01"),
        ("RU", 2026, "04-30 05-08 06-11 11-03"),
        ("BY", 2026, "01-06 04-25 04-30 05-08 07-02 11-06 12-24 12-31"),
        ("KZ", 2025, ""),
        ("CN", 2026, ""),
    ],
)
def test_short_days(country, year, short):
    found = [f"{day:%m-%d}" for day in days_of(year) if shipped(country).judge(day, WORKWEEK).short]
    assert found == short.split()


@pytest.mark.parametrize(
    ("country", "day", "working", "why"),
    [
        ("RU", "2025-11-01", True, "Saturday 1 November, worked instead of Monday 3 November"),
        ("RU", "2025-11-03", False, "Monday 3 November, day off moved from Saturday 1 November"),
        ("RU", "2025-11-04", False, "Tuesday 4 November, holiday: Unity Day"),
        ("RU", "2026-03-09", False, "Monday 9 March, day off in lieu of a holiday: International Women's Day"),
        ("RU", "2025-11-08", False, "Saturday 8 November, weekend"),
        ("RU", "2025-11-05", True, ""),
        ("BY", "2026-04-21", False, "Tuesday 21 April, holiday: Radunitsa (Day of Rejoicing)"),
        ("KZ", "2025-01-05", True, "Sunday 5 January, worked instead of Friday 3 January"),
        ("CN", "2026-02-14", True, "Saturday 14 February, worked instead of Friday 20 February"),
    ],
)
def test_reasons_by_name(country, day, working, why):
    judged = shipped(country).judge(date.fromisoformat(day), WORKWEEK)
    assert (judged.working, judged.why) == (working, why)


def test_weekdays_decide_the_rest():
    assert shipped("none").judge(date(2025, 1, 1), frozenset({2})).working
    judged = shipped("none").judge(date(2025, 1, 2), frozenset({2}))
    assert (judged.working, judged.why) == (False, "Thursday 2 January, not a working weekday")


@pytest.mark.parametrize(("year", "known"), [(2023, False), (2024, True), (2028, True), (2029, False)])
def test_limits(year, known):
    calendar = shipped("BY")
    if known:
        assert calendar.judge(date(year, 6, 1), WORKWEEK).provisional is (year > 2026)
    else:
        with pytest.raises(ClockInputError, match=f"does not know the year {year}"):
            calendar.judge(date(year, 6, 1), WORKWEEK)


def test_versions_are_content_and_survive_storage():
    calendar = shipped("RU")
    stored = json.loads(json.dumps(calendar.as_json()))
    again = Calendar.from_json(stored)
    assert again.version == calendar.version
    assert [again.judge(day, WORKWEEK) for day in days_of(2025)] == [
        calendar.judge(day, WORKWEEK) for day in days_of(2025)
    ]
    stored["special"].pop("2025-11-04")
    with pytest.raises(ClockInputError, match="does not match its content"):
        Calendar.from_json(stored)


def test_own_days_make_a_new_version():
    calendar = shipped("RU")
    edited = calendar.edited(
        {
            date(2025, 10, 15): SpecialDay(DayKind.CLOSED, "stocktaking"),
            date(2025, 10, 18): SpecialDay(DayKind.OPEN, "release", hours=((600, 720),)),
            date(2025, 11, 4): None,
        }
    )
    assert edited.version != calendar.version
    assert Calendar.from_json(edited.as_json()).version == edited.version
    assert edited.judge(date(2025, 10, 15), WORKWEEK).why == "Wednesday 15 October, closed: stocktaking"
    assert edited.judge(date(2025, 11, 4), WORKWEEK).working
    assert not edited.judge(date(2025, 11, 1), WORKWEEK).short  # its holiday is gone
    work = worktime.WorkingTime(edited, zone("Europe/Moscow"), PLAIN, WORKWEEK)
    day = (date(2025, 10, 18) - date(1970, 1, 1)).days
    begin = day * DAY - 3 * HOUR
    assert work.plan(day).work == ((begin + 600 * MINUTE, begin + 720 * MINUTE),)


def test_a_calendar_without_working_time_is_refused():
    closed = {day: SpecialDay(DayKind.CLOSED, "never") for year in (2024, 2025, 2026) for day in days_of(year)}
    with pytest.raises(ClockInputError, match="no working time from 2024 to 2026"):
        worktime.WorkingTime(shipped("BY").edited(closed), zone("Europe/Minsk"), PLAIN, WORKWEEK)
    with pytest.raises(ClockInputError, match="hours"):
        worktime.WorkingTime(shipped("BY"), zone("Europe/Minsk"), (), WORKWEEK)
    with pytest.raises(ClockInputError, match="days"):
        worktime.WorkingTime(shipped("BY"), zone("Europe/Minsk"), PLAIN, frozenset())


def test_own_hours_stay_inside_their_day():
    late = {date(2025, 10, 15): SpecialDay(DayKind.OPEN, "night work", hours=((1320, 1800),))}
    with pytest.raises(ClockInputError, match="leave the day"):
        worktime.WorkingTime(shipped("RU").edited(late), zone("Europe/Moscow"), PLAIN, WORKWEEK)


def test_known_until_for_the_metric():
    known = calendars.known_until()
    assert sorted(known) == ["BY", "CN", "KZ", "RU"]
    assert known["CN"] == datetime(2026, 12, 31, 16, tzinfo=UTC).timestamp()
    assert known["RU"] == datetime(2027, 12, 31, 21, tzinfo=UTC).timestamp()
    assert known["BY"] == shipped("BY").known_until()
    assert shipped("none").known_until() is None
    assert calendars.known_until(["none"]) == {}


def test_warning_when_the_coming_year_is_missing():
    warnings = calendars.missing_years(datetime(2026, 11, 21, tzinfo=UTC))
    assert [text.split(":")[0] for text in warnings] == ["calendar BY", "calendar KZ", "calendar CN"]
    assert "the year 2027 is missing" in warnings[0]
    assert calendars.missing_years(datetime(2026, 11, 21, tzinfo=UTC), ["RU", "none"]) == []
    assert calendars.missing_years(datetime(2025, 11, 21, tzinfo=UTC)) == []


def test_readings_that_never_come_or_come_twice():
    berlin = zone("Europe/Berlin")

    def reading(text):
        return instant(datetime.fromisoformat(text).replace(tzinfo=UTC))

    assert berlin.from_wall(reading("2026-03-29T02:30")) is None
    assert berlin.iso(berlin.first_at_or_after(reading("2026-03-29T02:30"))) == "2026-03-29T03:00:00+02:00"
    assert berlin.iso(berlin.from_wall(reading("2026-10-25T02:30"))) == "2026-10-25T02:30:00+02:00"
    twice = berlin.instants(reading("2026-10-25T02:15"), reading("2026-10-25T02:45"))
    assert [berlin.iso(begin) for begin, _ in twice] == ["2026-10-25T02:15:00+02:00", "2026-10-25T02:15:00+01:00"]
    assert berlin.instants(reading("2026-03-29T02:15"), reading("2026-03-29T02:45")) == []
    with pytest.raises(ClockInputError, match="has no zone"):
        instant(datetime(2026, 3, 29))


@pytest.mark.parametrize("text", ["09:00-13:00,14:00-18:00", "22:00-06:00", "00:00-24:00", "09:00-09:00"])
def test_hours_read_and_write_alike(text):
    assert worktime.hours_text(worktime.parse_hours(text)) == text


@pytest.mark.parametrize(
    ("text", "days"),
    [("Mon-Fri", "01234"), ("Sun", "6"), ("Mon,Wed,Fri", "024"), ("Tue-Thu,Sat", "1235"), ("sat-mon", "056")],
)
def test_days(text, days):
    assert worktime.parse_days(text) == frozenset(map(int, days))
