"""Working time: a calendar, hours and weekdays in one zone, laid out as intervals of instants.

An instant is working time when its wall reading lies in one of the day's hours (opening included, closing excluded) and
the day is worked. Hours that pass midnight belong to the day on which they begin. So intervals are cut by wall time and
measured in elapsed time: a shift 22:00-06:00 lasts 7 hours in the spring change and 9 in the autumn one.

Each day is laid out once and kept, with the reason of every gap; walks only read the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache
from typing import NamedTuple

from ticketing.working_time.calendars import Calendar, Hours, Judgement, day_text
from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.time_zones import DAY, MINUTE, Zone

MINUTES_A_DAY = 24 * 60
SHORTER_BY = 60  # minutes by which a short day closes earlier
SEARCHED_YEARS = 200  # a walk that finds too little working time in these is refused instead of going on

_SPAN = re.compile(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)")
_DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EPOCH_DAY = date(1970, 1, 1)

NIGHT = "night"
OUTSIDE = "outside working hours"
BREAK = "break"


def parse_hours(text: str, field: str = "hours") -> Hours:
    """Read `09:00-13:00,14:00-18:00`; a closing not after its opening lies in the next day.

    Raises
    ------
    ClockInputError
        For no hours, a time that no clock shows, 24:00 as opening, or hours that overlap (the next day's included).
    """
    spans: list[tuple[int, int]] = []
    for part in text.split(","):
        match = _SPAN.fullmatch(part.strip())
        if match is None:
            raise ClockInputError(field, f"{part.strip()!r} is no span of hours", "Write 09:00-13:00,14:00-18:00")
        opening, closing = _minutes(match[1], match[2], field), _minutes(match[3], match[4], field)
        if opening == MINUTES_A_DAY:
            raise ClockInputError(field, "24:00 cannot open a day", "24:00 is a closing time; open at 00:00")
        spans.append((opening, closing if closing > opening else closing + MINUTES_A_DAY))
    spans.sort()
    for (opening, closing), (following, _) in zip(spans, [*spans[1:], (spans[0][0] + MINUTES_A_DAY, 0)], strict=True):
        if closing > following:
            raise ClockInputError(
                field,
                f"{text!r}: {_span_text(opening, closing)} overlaps the hours that open at {_time_text(following)}",
                "Give hours that do not overlap",
            )
    return tuple(spans)


def parse_days(text: str, field: str = "days") -> frozenset[int]:
    """Read `Mon-Fri`, `Sun`, `Mon,Wed,Fri` or `Tue-Thu,Sat`; Monday is 0. No day at all is an error."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().lower().partition("-")
        names = (first, last) if dash else (first, first)
        if names[0] not in _DAY_NAMES or names[1] not in _DAY_NAMES:
            problem = f"{part.strip()!r} is no weekday" if part.strip() else "a week without a working day"
            raise ClockInputError(field, problem, "Write days such as Mon-Fri, Sun or Mon,Wed,Fri")
        begin, end = _DAY_NAMES.index(names[0]), _DAY_NAMES.index(names[1])
        found.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(found)


def hours_text(hours: Hours) -> str:
    """The inverse of `parse_hours`."""
    return ",".join(_span_text(*span) for span in hours)


class Segment(NamedTuple):
    """Instants [begin, end) that count or do not; `why` explains a gap, or a worked day that needs it."""

    begin: int
    end: int
    counts: bool
    why: str


class DayPlan(NamedTuple):
    """One day laid out. `segments` cover the day without holes; `work` are the day's own hours, whole."""

    segments: tuple[Segment, ...]
    work: tuple[tuple[int, int], ...]
    why: str
    provisional: bool


class WorkingTime:
    """Working intervals of one calendar in one zone with given hours and weekdays."""

    def __init__(self, calendar: Calendar, place: Zone, hours: Hours, weekdays: frozenset[int]) -> None:
        self.calendar = calendar
        self.zone = place
        self.hours = hours
        self.weekdays = weekdays
        # A day is laid out from its first opening when hours pass midnight, so that no shift is cut in two.
        self._from = hours[0][0] * MINUTE if hours and hours[-1][1] > MINUTES_A_DAY else 0
        self._closed = OUTSIDE if self._from else NIGHT
        self._days: dict[int, DayPlan] = {}
        self._refuse_if_never_worked()
        self._refuse_foreign_hours()

    def __repr__(self) -> str:
        return f"WorkingTime({self.calendar.name}, {self.zone.key}, {hours_text(self.hours)})"

    def day_of(self, at: int) -> int:
        """The day (since 1970-01-01) in whose layout an instant is looked for first."""
        return (self.zone.wall(at) - self._from) // DAY

    def date_of(self, at: int) -> int:
        """The date (days since 1970-01-01) that the wall shows at an instant."""
        return self.zone.wall(at) // DAY

    def begin_of(self, day: int) -> int:
        """The instant from which `day` is laid out."""
        return self.zone.first_at_or_after(day * DAY + self._from)

    def plan(self, day: int) -> DayPlan:
        """The layout of one day; raises `ClockInputError` for a year that the calendar does not know."""
        plan = self._days.get(day)
        if plan is None:
            plan = self._days[day] = self._lay_out(day)
        return plan

    def plans(self, start: int) -> Iterator[DayPlan]:
        """Layouts from the one that holds `start` on, until the search limit."""
        day = self.day_of(start)
        first_year = self.calendar.first_year
        # The shift of 31 December of a year nobody knows matters only while it could still run.
        before_first = first_year is not None and _date(day).year < first_year <= _date(self.date_of(start)).year
        if before_first and self.zone.wall(start) >= day * DAY + self.hours[-1][1] * MINUTE:
            day += 1
            yield DayPlan((Segment(start, self.begin_of(day), False, OUTSIDE),), (), OUTSIDE, False)
        for following in range(day, day + SEARCHED_YEARS * 366):
            yield self.plan(following)

    def _lay_out(self, day: int) -> DayPlan:
        judged = self.calendar.judge(_date(day), self.weekdays)
        begin, end = self.begin_of(day), self.begin_of(day + 1)
        full, hours = self._hours(judged)
        work = self._instants(day, hours)
        steady = self.zone.steady(day * DAY + self._from, (day + 1) * DAY + self._from) is not None
        why, short = judged.why, ""
        if judged.short and judged.working:
            closes = f"closes at {_time_text(hours[-1][1])}" if hours else "does not open"
            short = why = f"{why or day_text(_date(day))}, {closes}: {judged.short}"
        pieces = [(a, b, True, why) for a, b in work]
        if not steady:
            # After a repeated hour the layouts of two days may interlace: take what the day before still has here.
            earlier = self.calendar.judge(_date(day - 1), self.weekdays) if self._knows(day - 1) else None
            if earlier is not None:
                pieces += [(a, b, True, earlier.why) for a, b in self._instants(day - 1, self._hours(earlier)[1])]
        worked = sorted((max(a, begin), min(b, end), c, w) for a, b, c, w in pieces if max(a, begin) < min(b, end))
        cut = self._instants(day, full[-1:]) if short else []
        segments: list[Segment] = []
        at = begin
        for a, b, counts, note in worked:
            if at < a:
                gap = self._closed if not segments else BREAK
                segments.append(Segment(at, a, False, gap if judged.working else judged.why))
            segments.append(Segment(a, b, counts, note))
            at = b
        if at < end:
            segments += self._evening(at, end, judged, short, cut)
        return DayPlan(tuple(segments), tuple(work), why, judged.provisional)

    def _evening(
        self, at: int, end: int, judged: Judgement, short: str, cut: list[tuple[int, int]]
    ) -> Iterator[Segment]:
        """What follows the last closing: the hour a short day lacks, then the night."""
        if not judged.working:
            yield Segment(at, end, False, judged.why)
            return
        closing = min(cut[-1][1], end) if cut else at
        if at < closing:
            yield Segment(at, closing, False, short)
            at = closing
        if at < end:
            yield Segment(at, end, False, self._closed)

    def _hours(self, judged: Judgement) -> tuple[Hours, Hours]:
        """The day's ordinary hours, and those that it really has."""
        if not judged.working:
            return (), ()
        hours = self.hours if judged.hours is None else judged.hours
        if not judged.short:
            return hours, hours
        opening, closing = hours[-1]
        if closing - SHORTER_BY <= opening:
            return hours, hours[:-1]
        return hours, (*hours[:-1], (opening, closing - SHORTER_BY))

    def _instants(self, day: int, hours: Hours) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for opening, closing in hours:
            found += self.zone.instants(day * DAY + opening * MINUTE, day * DAY + closing * MINUTE)
        return found

    def _knows(self, day: int) -> bool:
        first = self.calendar.first_year
        return first is None or _date(day).year >= first

    def _refuse_if_never_worked(self) -> None:
        if not self.hours:
            raise ClockInputError("hours", "there are none", "Give at least one span such as 09:00-18:00")
        if not self.weekdays:
            raise ClockInputError("days", "a week without a working day", "Give at least one day such as Mon-Fri")
        first = date(self.calendar.first_year or 2024, 1, 1)
        last = date((self.calendar.last_decreed_year or 2024) + 1, 1, 1)
        day = first
        while day < last:
            judged = self.calendar.judge(day, self.weekdays)
            if judged.working and self._hours(judged)[1]:
                return
            day += timedelta(days=1)
        raise ClockInputError(
            "calendar",
            f"{self.calendar.name} has no working time from {first.year} to {last.year - 1}",
            "Take back some of its closed days, or widen hours or days",
        )

    def _refuse_foreign_hours(self) -> None:
        """Own hours of one day must fit between the day's beginning and the next one's."""
        first = self._from // MINUTE
        for day, special in self.calendar.special.items():
            if special.hours and (special.hours[0][0] < first or special.hours[-1][1] > first + MINUTES_A_DAY):
                raise ClockInputError(
                    "hours",
                    f"{hours_text(special.hours)} on {day} leave the day, which runs from {_time_text(first)}",
                    "Split them between the two days",
                )


@lru_cache(maxsize=512)
def working_time(calendar: Calendar, place: Zone, hours: Hours, weekdays: frozenset[int]) -> WorkingTime:
    """One `WorkingTime` for each combination, so that a day is laid out once and not once a ticket."""
    return WorkingTime(calendar, place, hours, weekdays)


def _date(day: int) -> date:
    return _EPOCH_DAY + timedelta(days=day)


def _minutes(hour: str, minute: str, field: str) -> int:
    total = int(hour) * 60 + int(minute)
    if int(minute) > 59 or total > MINUTES_A_DAY:
        raise ClockInputError(field, f"no clock shows {hour}:{minute}", "Use 00:00 to 24:00")
    return total


def _time_text(minutes: int) -> str:
    """A closing at midnight reads 24:00, one in the next day its own time."""
    if minutes > MINUTES_A_DAY:
        minutes -= MINUTES_A_DAY
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _span_text(opening: int, closing: int) -> str:
    return f"{_time_text(opening)}-{_time_text(closing)}"
