"""When is it due, and why: working, real and working-days clocks over a calendar, with pauses.

Pure: rule, start, pauses and an instant in; due time and explanation out. No database, no wall clock.

- working: what lies inside working time and outside pauses, as it really elapses;
- real: what lies outside pauses, at any hour;
- working-days: whole worked days after the date of the start; due is the closing time of the last.

Due is the earliest instant at which the counted time equals the budget. Every answer comes from one list of spans, from
the start to due: what is used, what is left, and when a share of the budget is reached are read from the same list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from ticketing.policies import Policy
from ticketing.working_time import calendars
from ticketing.working_time.budgets import WARN_AT, Budget, Fires, Kind, minutes
from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.hours import SEARCHED_YEARS, WorkingTime, parse_days, parse_hours, working_time
from ticketing.working_time.time_zones import Zone, instant, zone

Pause = tuple[int, int | None]
"""Instants [from, to); to None: still open."""


@dataclass(frozen=True, eq=False)
class Rule:
    """Everything a clock needs but its start: what is promised, in which calendar, zone and hours."""

    policy: str
    policy_version: int
    clock: str
    budget: Budget
    fires: Fires
    work: WorkingTime
    warn_at: tuple[int, ...] = WARN_AT

    @property
    def zone(self) -> Zone:
        return self.work.zone

    @cached_property
    def header(self) -> dict[str, Any]:
        """The part of the JSON object that no start changes."""
        real = self.budget.kind is Kind.REAL
        return {
            "budget": self.budget.as_json(),
            "calendar": None if real else self.work.calendar.name,
            "time_zone": self.zone.key,
            "fires": str(self.fires),
            "policy_version": self.policy_version,
            "calendar_version": None if real else self.work.calendar.version,
        }


def rule(
    policy: Policy,
    clock: str,
    *,
    calendar: str | calendars.Calendar | None = None,
    time_zone: str | None = None,
    hours: str | None = None,
    days: str | None = None,
    budget: str | None = None,
) -> Rule:
    """The rule of a policy's clock, with the given parts replaced.

    A calendar by name replaces the day table and, without `time_zone`, sets that calendar's own zone; the policy's own
    calendar by name changes nothing. A `Calendar` object is one version of the policy's: only the day table changes.

    Raises
    ------
    ClockInputError
        For a clock the policy does not have, or a part that cannot be used.
    """
    terms = policy.clock(clock)
    base = policy.working_time
    table, place = base.calendar, base.zone
    if isinstance(calendar, calendars.Calendar):
        table = calendar
    elif calendar is not None and calendar != table.name:
        table = calendars.shipped(calendar)
        place = zone(table.zone)
    if time_zone is not None:
        place = zone(time_zone)
    spans = base.hours if hours is None else parse_hours(hours)
    weekdays = base.weekdays if days is None else parse_days(days)
    work = working_time(table, place, spans, weekdays)
    amount = terms.budget if budget is None else Budget.parse(budget, terms.budget.kind)
    return Rule(policy.name, policy.version, clock, amount, terms.fires, work, terms.warn_at)


class Span(NamedTuple):
    """Instants [begin, end) and what of the budget they used: microseconds, or days (0 or 1)."""

    begin: int
    end: int
    counted: int
    why: str


@dataclass(frozen=True, eq=False)
class ClockResult:
    """One clock, answered. Instants are microseconds since the epoch; `due` and others give datetimes.

    `due_at` None: an open pause holds the clock. `spans` go from the start to due (or to the open pause) without holes.
    """

    rule: Rule
    start_at: int
    due_at: int | None
    spans: Sequence[Span]
    provisional: bool = False
    paused_from: int | None = None

    @property
    def start(self) -> datetime:
        return self.rule.zone.moment(self.start_at)

    @property
    def due(self) -> datetime | None:
        return None if self.due_at is None else self.rule.zone.moment(self.due_at)

    def used_at(self, at: int) -> int:
        """Budget used from the start to an instant: microseconds, or whole days for a working-days clock."""
        if self.rule.budget.kind is Kind.WORKING_DAYS:
            used = sum(span.counted for span in self.spans if span.end <= at)
        else:
            used = sum(min(span.end, at) - span.begin for span in self.spans if span.counted and span.begin < at)
        return min(used, self.rule.budget.amount)

    def used(self, at: datetime) -> timedelta | int:
        """What is used at `at`: a duration, or days for a working-days clock."""
        return self._amount(self.used_at(instant(at)))

    def left(self, at: datetime) -> timedelta | int:
        """What is left at `at`, never below zero."""
        return self._amount(self.rule.budget.amount - self.used_at(instant(at)))

    def fired_at(self, at: int) -> bool:
        """Whether the clock is breached at an instant (or, for `fires` at, its task exists)."""
        if self.due_at is None:
            return False
        return at >= self.due_at if self.rule.fires is Fires.AT else at > self.due_at

    def fired(self, at: datetime) -> bool:
        return self.fired_at(instant(at))

    def reached_at(self, percent: int) -> int | None:
        """The earliest instant at which `percent` of the budget is used; None if the open pause comes first.

        Days are whole: half of three days is reached at the close of the second.
        """
        if not 0 < percent <= 100:
            raise ClockInputError("percent", f"{percent} is outside 0 to 100", "Ask for a share above 0, up to 100")
        return self._used_up(-(-self.rule.budget.amount * percent // 100))

    def thirds(self) -> list[datetime]:
        """When a third, two thirds and all of the budget are used; those after an open pause are left out."""
        moments = (self._used_up(-(-self.rule.budget.amount * share // 3)) for share in (1, 2, 3))
        return [self.rule.zone.moment(at) for at in moments if at is not None]

    def _used_up(self, need: int) -> int | None:
        used = 0
        for span in self.spans:
            if span.counted and used + span.counted >= need:
                whole_day = self.rule.budget.kind is Kind.WORKING_DAYS
                return span.end if whole_day else span.begin + need - used
            used += span.counted
        return None

    def reached(self, percent: int) -> datetime | None:
        at = self.reached_at(percent)
        return None if at is None else self.rule.zone.moment(at)

    def warnings(self) -> list[tuple[int, datetime]]:
        """The policy's warning shares with the instant at which each is reached, in order."""
        found = ((percent, self.reached(percent)) for percent in self.rule.warn_at)
        return [(percent, moment) for percent, moment in found if moment is not None]

    def as_json(self, at: datetime | int | None = None) -> dict[str, Any]:
        """The public object of `dozor clock --json`; `at` adds how the clock stands at that instant."""
        iso = self.rule.zone.iso
        header = self.rule.header
        by_days = self.rule.budget.kind is Kind.WORKING_DAYS
        intervals: list[dict[str, Any]] = []
        for begin, end, counted, why in self.spans:
            interval: dict[str, Any] = {"from": iso(begin), "to": iso(end)}
            if by_days:
                interval["counted_days"] = counted
            else:
                interval["counted_minutes"] = minutes(counted)
            if why:
                interval["why"] = why
            intervals.append(interval)
        answer: dict[str, Any] = {
            "policy": self.rule.policy,
            "clock": self.rule.clock,
            "start": iso(self.start_at),
            "due": None if self.due_at is None else iso(self.due_at),
            **header,
            "intervals": intervals,
        }
        if self.provisional:
            answer["provisional"] = True
        if at is not None:
            moment = at if isinstance(at, int) else instant(at)
            stand: dict[str, Any] = {"instant": iso(moment)}
            if not by_days:
                stand["counted_minutes"] = minutes(self.used_at(moment))
            stand["fired"] = self.fired_at(moment)
            answer["at"] = stand
        return answer

    def _amount(self, used: int) -> timedelta | int:
        return used if self.rule.budget.kind is Kind.WORKING_DAYS else timedelta(microseconds=used)


def due(
    policy: Policy,
    clock: str,
    start: datetime,
    *,
    pauses: Iterable[tuple[datetime, datetime | None]] = (),
    calendar: str | calendars.Calendar | None = None,
    time_zone: str | None = None,
    hours: str | None = None,
    days: str | None = None,
    budget: str | None = None,
) -> ClockResult:
    """When `clock` of `policy`, started at `start`, is due, and why.

    Parameters
    ----------
    start : aware datetime
    pauses : pairs of aware datetimes [from, to); to None: the pause is still open
    calendar, time_zone, hours, days, budget : replace a part of the policy, see `rule`

    Raises
    ------
    ClockInputError
        If a part cannot be used, or the walk would leave the years that the calendar knows.
    """
    parts = rule(policy, clock, calendar=calendar, time_zone=time_zone, hours=hours, days=days, budget=budget)
    closed = [(instant(a), None if b is None else instant(b)) for a, b in pauses]
    return run(parts, instant(start), closed)


def run(parts: Rule, start: int, pauses: Iterable[Pause] = ()) -> ClockResult:
    """The walk itself, on instants."""
    union = unite(pauses, start)
    try:
        match parts.budget.kind:
            case Kind.REAL:
                return _run_real(parts, start, union)
            case Kind.WORKING:
                return _run_working(parts, start, union)
            case Kind.WORKING_DAYS:
                return _run_days(parts, start, union)
    except OverflowError as error:
        raise ClockInputError(
            "budget", "the clock would run beyond the year 9999", "Take a smaller budget or an earlier start"
        ) from error


def unite(pauses: Iterable[Pause], start: int) -> list[Pause]:
    """The union of pauses after `start`, in order, empty ones dropped.

    Raises
    ------
    ClockInputError
        If a pause ends before it begins.
    """
    given = list(pauses)
    if not given:
        return given
    cut: list[Pause] = []
    for begin, end in given:
        if end is not None and end < begin:
            raise ClockInputError("pause", "it ends before it begins", "Write FROM..TO with FROM first")
        if end is None or end > max(begin, start):
            cut.append((max(begin, start), end))
    cut.sort(key=lambda pause: pause[0])
    united: list[Pause] = []
    for begin, end in cut:
        if united:
            last_begin, last_end = united[-1]
            if last_end is None:
                break
            if begin <= last_end:
                united[-1] = (last_begin, None if end is None else max(end, last_end))
                continue
        united.append((begin, end))
    return united


PAUSED = "pause"


def _add(spans: list[Span], begin: int, end: int, counted: int, why: str) -> None:
    """Append, joining what touches and says the same."""
    if spans:
        last = spans[-1]
        if last.end == begin and last.why == why and (last.counted > 0) is (counted > 0):
            spans[-1] = Span(last.begin, end, last.counted + counted, why)
            return
    spans.append(Span(begin, end, counted, why))


def _run_real(parts: Rule, start: int, pauses: list[Pause]) -> ClockResult:
    spans: list[Span] = []
    left, at = parts.budget.amount, start
    for begin, end in pauses:
        if begin - at >= left:
            break
        if begin > at:
            _add(spans, at, begin, begin - at, "")
            left -= begin - at
        if end is None:
            return ClockResult(parts, start, None, spans, paused_from=begin)
        _add(spans, begin, end, 0, PAUSED)
        at = end
    _add(spans, at, at + left, left, "")
    parts.zone.iso(at + left)  # beyond the year 9999 this overflows here, where it becomes a clear error
    return ClockResult(parts, start, at + left, spans)


def _run_working(parts: Rule, start: int, pauses: list[Pause]) -> ClockResult:
    spans: list[Span] = []
    left, at, following, provisional = parts.budget.amount, start, 0, False
    for plan in parts.work.plans(start):
        if plan.segments[-1].end <= at:
            continue
        for _, end, counts, why in plan.segments:
            while at < end:
                stop = end
                if following < len(pauses):
                    begin, resumed = pauses[following]
                    if begin <= at:
                        if resumed is None:
                            return ClockResult(parts, start, None, spans, provisional, paused_from=begin)
                        _add(spans, at, resumed, 0, PAUSED)
                        at, following = resumed, following + 1
                        continue
                    stop = min(end, begin)
                provisional = provisional or plan.provisional
                if not counts:
                    _add(spans, at, stop, 0, why)
                elif stop - at >= left:
                    _add(spans, at, at + left, left, why)
                    return ClockResult(parts, start, at + left, spans, provisional)
                else:
                    _add(spans, at, stop, stop - at, why)
                    left -= stop - at
                at = stop
    raise _never(parts)


def _run_days(parts: Rule, start: int, pauses: list[Pause]) -> ClockResult:
    work = parts.work
    first = work.date_of(start) + 1
    spans: list[Span] = []
    work.plan(first - 1)  # the day of the start must be known too
    at, left, provisional = start, parts.budget.amount, work.plan(first - 1).provisional
    begin = work.begin_of(first)
    if at < begin:
        _add(spans, at, begin, 0, "the day of the start is not counted")
        at = begin
    held = pauses[-1][0] if pauses and pauses[-1][1] is None else None
    for day in range(first, first + SEARCHED_YEARS * 366):
        if held is not None and held <= max(at, work.begin_of(day)):
            # Nothing later can count, so nothing later is asked: those years may be unknown.
            return ClockResult(parts, start, None, _until(spans, held), provisional, paused_from=held)
        plan = work.plan(day)
        opening, closing = (plan.work[0][0], plan.work[-1][1]) if plan.work else (None, None)
        paused = any(a < e and (b is None or b > s) for s, e in plan.work for a, b in pauses)
        provisional = provisional or plan.provisional
        for a, b, _, why in plan.segments:
            if opening is None or closing is None or b <= opening or a >= closing:
                if b > at:
                    _add(spans, max(a, at), b, 0, why)
                    at = b
            elif at < closing:
                counted = 0 if paused else 1
                spans.append(Span(opening, closing, counted, "paused, the day is not counted" if paused else plan.why))
                at, left = closing, left - counted
                if left == 0:
                    return ClockResult(parts, start, at, spans, provisional)
    raise _never(parts)


def _until(spans: list[Span], at: int) -> list[Span]:
    """Spans up to an instant; those that count end before it."""
    return [span._replace(end=min(span.end, at)) for span in spans if span.begin < at]


def _never(parts: Rule) -> ClockInputError:
    return ClockInputError(
        "budget",
        f"it is not used up within {SEARCHED_YEARS} years of {parts.work!r}",
        "Take a smaller budget, or longer hours",
    )


def strictest(results: Iterable[ClockResult]) -> ClockResult | None:
    """The earliest due of several clocks on one ticket (requirement S4-40); held clocks are never the strictest."""
    running = [result for result in results if result.due_at is not None]
    return min(running, key=lambda result: (result.due_at, result.rule.clock), default=None)
