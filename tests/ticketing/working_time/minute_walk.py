"""A second, slow clock for the tests: it asks each minute (or second) whether it counts, and adds up.

It shares nothing with the engine: days come straight from the `holidays` library, offsets from `zoneinfo`, and there
are no intervals, only a row of yes and no. What the two have in common is the rules, written down twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

import holidays
import numpy as np

DECREED = {"RU": 2027, "BY": 2026, "KZ": 2026, "CN": 2026}
DAY0 = date(1970, 1, 1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class YearUnknownError(Exception):
    """The walk needs a day of a year that the calendar does not answer for."""


@dataclass(frozen=True)
class Case:
    """Times in whole `unit` seconds since the epoch; hours in minutes; weekdays Monday 0; budget in units or days."""

    calendar: str
    zone: str
    hours: tuple[tuple[int, int], ...]
    weekdays: frozenset[int]
    kind: str
    budget: int
    start: int
    pauses: tuple[tuple[int, int | None], ...] = ()
    unit: int = 60


@cache
def library(country: str):
    return holidays.country_holidays(country, years=range(2024, 2031), language="en_US")


def moved(label: str) -> bool:
    return "substituted" in label or "(observed" in label


def public(country: str, day: date) -> bool:
    label = library(country).get(day)
    return label is not None and any(not moved(part) for part in label.split("; "))


@cache
def replaced_by(country: str) -> dict[date, date]:
    pairs = {}
    for day, label in library(country).items():
        if "substituted from" in label:
            month, dom, year = label.split("substituted from ")[1].split(")")[0].split("/")
            pairs[date(int(year), int(month), int(dom))] = day
    return pairs


@cache
def day_hours(country: str, hours, weekdays, day: date) -> tuple[tuple[int, int], ...]:
    """The day's hours by the rules, or none."""
    if country == "none":
        return hours if day.weekday() in weekdays else ()
    if day.year < 2024 or day.year > DECREED[country] + 2:
        raise YearUnknownError(f"{country} {day.year}")
    known = day.year <= DECREED[country]
    if public(country, day):
        return ()
    if known and day in library(country):
        return ()
    worked_weekend = known and day in library(country).weekend_workdays
    if not worked_weekend and day.weekday() not in weekdays:
        return ()
    measured = replaced_by(country).get(day) if worked_weekend else day
    if country in ("RU", "BY") and measured is not None and public(country, measured + timedelta(days=1)):
        opening, closing = hours[-1]
        return hours[:-1] if closing - 60 <= opening else (*hours[:-1], (opening, closing - 60))
    return hours


@cache
def place(zone: str) -> ZoneInfo:
    """From the pinned tzdata: a system's table may be years older (2025b gives Havana summer time in 2027)."""
    with resources.files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=zone)


@cache
def offsets(zone: str, quarter: int) -> int:
    """Seconds east of UTC in the quarter of an hour that begins at `quarter` * 900 s."""
    moment = (EPOCH + timedelta(seconds=quarter * 900)).astimezone(place(zone))
    return int(moment.utcoffset().total_seconds())


def readings(case: Case, begin: int, count: int):
    """Wall seconds since 1970 shown at each of `count` units from `begin`."""
    seconds = (begin + np.arange(count, dtype=np.int64)) * case.unit
    quarters = seconds // 900
    first, last = int(quarters[0]), int(quarters[-1])
    table = np.array([offsets(case.zone, quarter) for quarter in range(first, last + 1)], dtype=np.int64)
    return seconds + table[quarters - first]


def working(case: Case, begin: int, count: int):
    """Yes or no for each unit, and the day its shift belongs to; -1 for a day nobody knows."""
    wall = readings(case, begin, count)
    days, within = wall // 86400, wall % 86400 // 60
    answer = np.zeros(count, dtype=bool)
    shift = days.copy()
    unknown = np.zeros(count, dtype=bool)
    overnight = case.hours[-1][1] > 1440
    for day in range(int(days[0]) - 1, int(days[-1]) + 1):
        here, next_day = days == day, days == day + 1
        try:
            hours = day_hours(case.calendar, case.hours, case.weekdays, DAY0 + timedelta(days=day))
        except YearUnknownError:
            unknown |= here
            if overnight:  # whether that shift still runs cannot be known
                unknown |= next_day & (within < case.hours[-1][1] - 1440)
            continue
        for opening, closing in hours:
            answer |= here & (within >= opening) & (within < closing)
            if closing > 1440:
                late = next_day & (within < closing - 1440)
                answer |= late
                shift[late] = day
    return answer, shift, unknown


def paused(case: Case, begin: int, count: int):
    units = begin + np.arange(count, dtype=np.int64)
    answer = np.zeros(count, dtype=bool)
    for first, last in case.pauses:
        answer |= (units >= first) & ((units < last) if last is not None else True)
    return answer


def open_from(case: Case) -> int | None:
    starts = [max(first, case.start) for first, last in case.pauses if last is None]
    return min(starts, default=None)


def walk(case: Case) -> int | None:
    """Due in units since the epoch, None if an open pause holds the clock; `YearUnknownError` where nobody knows."""
    if case.kind == "working-days":
        return walk_days(case)
    counted, at, step = 0, case.start, 4 * 86400 // case.unit
    held = open_from(case)
    while held is None or at < held:
        count = step if held is None else min(step, held - at)
        if case.kind == "real":
            good, unknown = np.ones(count, dtype=bool), np.zeros(count, dtype=bool)
        else:
            good, _, unknown = working(case, at, count)
        stopped = paused(case, at, count)
        good &= ~stopped
        total = counted + np.cumsum(good)
        reached = np.flatnonzero(total >= case.budget)
        bad = np.flatnonzero(unknown & ~stopped)
        if bad.size and (not reached.size or bad[0] < reached[0]):
            raise YearUnknownError
        if reached.size:
            return at + int(reached[0]) + 1
        counted, at = int(total[-1]), at + count
    return None


def walk_days(case: Case) -> int | None:
    """Each date after the start's: is any of its working minutes paused? Due is the end of the last minute."""
    first = int(readings(case, case.start, 1)[0] // 86400)
    day_hours(case.calendar, case.hours, case.weekdays, DAY0 + timedelta(days=first))
    held = open_from(case)
    left, day = case.budget, first
    while True:
        day += 1
        begin, count = (day - 1) * 86400 // case.unit, 4 * 86400 // case.unit
        if held is not None and readings(case, held, 1)[0] <= day * 86400:
            return None  # this day is paused from its first minute, and so are all later ones
        if not day_hours(case.calendar, case.hours, case.weekdays, DAY0 + timedelta(days=day)):
            continue
        good, shift, _ = working(case, begin, count)
        mine = good & (shift == day)
        if not mine.any() or (mine & paused(case, begin, count)).any():
            continue
        left -= 1
        if left == 0:
            return begin + int(np.flatnonzero(mine)[-1]) + 1
