"""The engine against a second clock that asks every minute: `minute_walk`."""

import os
import random
from datetime import UTC, date, datetime, timedelta

import pytest

from tests.ticketing.working_time.minute_walk import DAY0, DECREED, Case, YearUnknownError, walk
from ticketing import policies
from ticketing.clocks import walk as clocks
from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.hours import parse_days, parse_hours

CASES = 20_000 if os.environ.get("DOZOR_SOAK") == "1" else 3_000
PARTS = 10

HOURS = (
    "09:00-18:00", "09:00-18:00", "09:00-13:00,14:00-18:00", "08:30-17:15", "22:00-06:00", "00:00-24:00", "20:00-24:00",
    "06:00-09:00,10:00-10:45,17:30-18:15", "23:00-01:00", "09:00-09:00", "02:30-01:00", "00:30-02:30,03:00-23:30",
)  # fmt: skip
DAYS = ("Mon-Fri", "Mon-Fri", "Mon-Sun", "Mon-Sat", "Sun", "Mon,Wed,Fri", "Tue-Thu,Sat", "Sat-Sun")
ZONES = (
    "Europe/Moscow", "Europe/Minsk", "Asia/Almaty", "Asia/Shanghai", "UTC", "Europe/Berlin", "America/New_York",
    "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu", "Africa/Casablanca", "Asia/Beirut", "Pacific/Chatham",
    "Pacific/Apia", "Asia/Yekaterinburg", "America/Havana",
)  # fmt: skip
# Local clock changes and turns of the year, where mistakes live; starts are drawn near them as often as anywhere.
HOT = (
    "2024-02-29T18:00", "2024-03-31T00:30", "2024-10-27T00:30", "2025-03-30T00:30", "2025-10-26T00:30",
    "2026-03-29T00:30", "2026-10-25T00:30", "2024-11-03T05:00", "2025-03-09T06:00", "2025-04-05T15:00",
    "2025-10-04T15:00", "2024-12-31T20:00", "2025-10-31T14:00", "2026-04-24T14:00", "2026-02-13T09:00",
    "2026-12-31T12:00", "2028-12-30T12:00", "2025-11-02T05:00",
)  # fmt: skip


def draw(pick: random.Random) -> tuple[dict, Case, clocks.Rule]:
    policy = policies.get(pick.choice(policies.PRESETS))
    clock = pick.choice(list(policy.clocks))
    options: dict[str, str] = {}
    if pick.random() < 0.6:
        options["calendar"] = pick.choice(("RU", "BY", "KZ", "CN", "none"))
    if pick.random() < 0.5:
        options["time_zone"] = pick.choice(ZONES)
    if pick.random() < 0.6:
        options["hours"] = pick.choice(HOURS)
    if pick.random() < 0.4:
        options["days"] = pick.choice(DAYS)
    kind = policy.clocks[clock].budget.kind
    by_second = kind != "working-days" and pick.random() < 0.1
    if kind == "working-days":
        options["budget"] = f"{pick.choice((1, 1, 2, 3, 5, 9))}d"
    elif by_second or pick.random() < 0.7:
        options["budget"] = f"{pick.choice((1, 15, 59, 60, 61, 240, 480)) if by_second else pick.randint(1, 3000)}m"
    rule = clocks.rule(policy, clock, **options)
    unit = 1 if by_second else 60
    if pick.random() < 0.5:
        base = datetime.fromisoformat(pick.choice(HOT)).replace(tzinfo=UTC)
        moment = base + timedelta(minutes=pick.randint(-1500, 1500))
    else:
        moment = datetime(2024, 1, 2, tzinfo=UTC) + timedelta(minutes=pick.randint(0, 1826 * 1440))
    start = int(moment.timestamp()) // unit + (pick.randint(0, 59) if by_second else 0)
    pauses = []
    for _ in range(pick.choice((0, 0, 1, 1, 2, 4))):
        begin = start + pick.randint(-2000, 8000) * 60 // unit
        length = pick.choice((0, 1, 45, 480, 1440, 2880, 9000))
        open_end = pick.random() < 0.08
        pauses.append((begin, None if open_end else begin + pick.randint(0, length) * 60 // unit))
    budget = rule.budget.amount if kind == "working-days" else rule.budget.amount // 1_000_000 // unit
    work = rule.work
    case = Case(work.calendar.name, work.zone.key, work.hours, work.weekdays, kind, budget, start, tuple(pauses), unit)
    assert parse_hours(options.get("hours", "09:00-18:00")) == work.hours
    assert parse_days(options.get("days", "Mon-Fri")) == work.weekdays
    return options, case, rule


@pytest.mark.parametrize("part", range(PARTS))
def test_engine_agrees_with_the_minute_walk(part):
    pick = random.Random(20_251_101 + part)
    held = unknown = 0
    for _ in range(CASES // PARTS):
        options, case, rule = draw(pick)
        scale = case.unit * 1_000_000
        pauses = [(a * scale, None if b is None else b * scale) for a, b in case.pauses]
        try:
            expected = walk(case)
        except YearUnknownError:
            unknown += 1
            with pytest.raises(ClockInputError, match="does not know the year"):
                clocks.run(rule, case.start * scale, pauses)
            continue
        result = clocks.run(rule, case.start * scale, pauses)
        assert result.due_at == (None if expected is None else expected * scale), (options, case)
        held += expected is None
        check_spans(result)
        check_provisional(case, result)
    assert held
    assert unknown or CASES < 3_000


def check_spans(result: clocks.ClockResult) -> None:
    """Intervals lie in order from start to due without holes, add up to the budget, and the last one ends at due."""
    at = result.start_at
    for span in result.spans:
        assert span.begin == at
        assert span.end > span.begin
        assert span.counted or span.why
        if span.counted and result.rule.budget.kind != "working-days":
            assert span.counted == span.end - span.begin
        at = span.end
    total = sum(span.counted for span in result.spans)
    if result.due_at is None:
        assert at == result.paused_from
        assert total < result.rule.budget.amount
    else:
        assert at == result.due_at
        assert result.spans[-1].counted
        assert total == result.rule.budget.amount
        assert result.used_at(result.due_at) == result.rule.budget.amount


def check_provisional(case: Case, result: clocks.ClockResult) -> None:
    """For hours inside one day the last date used tells; real clocks and `none` are never provisional."""
    if case.kind == "real" or case.calendar == "none":
        assert not result.provisional
        return
    if case.hours[-1][1] > 1440 or case.kind == "working-days":
        return
    last = result.due_at if result.due_at is not None else result.paused_from
    if last == result.start_at:
        return
    day = DAY0 + timedelta(days=result.rule.zone.wall(last - 1) // 86_400_000_000)
    first = DAY0 + timedelta(days=result.rule.zone.wall(result.start_at) // 86_400_000_000)
    assert isinstance(day, date)
    decreed = DECREED[case.calendar]
    if first.year > decreed and not case.pauses:
        assert result.provisional
    elif day.year <= decreed:
        assert not result.provisional
