"""A clock's answer in words: what counts, and every gap with its reason.

`whole` leaves fractions of a second out: a ticket's instants have them, and nobody reads them.
"""

from __future__ import annotations

from datetime import datetime

from ticketing.clocks.walk import ClockResult, Rule
from ticketing.working_time.calendars import MONTHS, WEEKDAYS
from ticketing.working_time.hours import hours_text
from ticketing.working_time.time_zones import HOUR, MINUTE, SECOND, Zone, instant

_SHORT_DAYS = tuple(name[:3] for name in WEEKDAYS)


def duration_text(amount: int, *, whole: bool = False) -> str:
    """Microseconds as `3 h 20 min 5 s`."""
    if whole and amount >= SECOND:
        amount -= amount % SECOND
    hours, rest = divmod(amount, HOUR)
    minutes, rest = divmod(rest, MINUTE)
    seconds, parts = rest / SECOND, []
    if hours:
        parts.append(f"{hours} h")
    if minutes:
        parts.append(f"{minutes} min")
    if rest:
        parts.append(f"{seconds:g} s")
    return " ".join(parts) or "0 min"


def budget_text(kind: str, amount: int) -> str:
    if kind == "working-days":
        return f"{amount} working day{'' if amount == 1 else 's'}"
    return f"{duration_text(amount)} of {'working' if kind == 'working' else 'real'} time"


def moment_text(zone: Zone, at: int, *, whole: bool = False) -> str:
    """`Friday 31 October 2025, 17:00 (+03:00)`."""
    at = _cut(at, whole)
    moment = zone.moment(at)
    offset = zone.iso(at)[len(moment.replace(tzinfo=None).isoformat()) :]
    day = f"{WEEKDAYS[moment.weekday()]} {moment.day} {MONTHS[moment.month - 1]} {moment.year}"
    return f"{day}, {_time(zone, at)} ({offset})"


def rule_text(rule: Rule) -> str:
    """What is promised, and in which time it is measured."""
    promised = budget_text(rule.budget.kind, rule.budget.amount)
    return f"{rule.policy}, clock {rule.clock}: {promised}. {_measured(rule)}"


def due_texts(result: ClockResult, *, whole: bool = False) -> list[str]:
    """When it is due, then what that means; nothing but the pause where an open one holds the clock."""
    zone = result.rule.zone
    if result.due_at is None:
        since = "" if result.paused_from is None else f" since {moment_text(zone, result.paused_from, whole=whole)}"
        found = [f"not yet known, an open pause holds the clock{since}"]
    else:
        found = [
            moment_text(zone, result.due_at, whole=whole),
            "What is promised exists at that instant."
            if result.rule.fires == "at"
            else "An event at that very instant is still in time; the clock is breached only after it.",
        ]
    if result.provisional:
        found.append("Provisional: part of this lies in a year whose moved days are not decreed yet.")
    return found


def span_texts(result: ClockResult, *, whole: bool = False) -> list[tuple[str, str]]:
    """Each span of the walk: from when to when, and whether it counts, with the reason where there is one."""
    zone, kind = result.rule.zone, result.rule.budget.kind
    found: list[tuple[str, str]] = []
    used = 0
    for span in result.spans:
        if span.counted:
            used += span.counted
            note = f"  ({span.why})" if span.why else ""
            said = f"counts {_count(kind, span.counted, whole)}, {_count(kind, used, whole)} so far{note}"
        else:
            said = f"does not count: {span.why}"
        found.append((_span(zone, _cut(span.begin, whole), _cut(span.end, whole)), said))
    return found


def explain(result: ClockResult, at: datetime | int | None = None) -> str:
    """`ClockResult.as_json` in words, every gap with its reason; several lines, no final line break."""
    at = instant(at) if isinstance(at, datetime) else at
    due, *meaning = due_texts(result)
    lines = [
        rule_text(result.rule),
        f"Start: {moment_text(result.rule.zone, result.start_at)}",
        f"Due:   {due}",
        *(f"       {text}" for text in meaning),
        "",
    ]
    spans = span_texts(result)
    width = max((len(span) for span, _ in spans), default=0)
    lines += [f"  {span:<{width}}  {said}" for span, said in spans]
    if at is not None:
        lines += ["", stand_text(result, at)]
    return "\n".join(lines)


def _measured(rule: Rule) -> str:
    work = rule.work
    if rule.budget.kind == "real":
        return f"Every hour counts, whatever the calendar; times in {rule.zone.key}."
    days = ",".join(_SHORT_DAYS[day] for day in sorted(work.weekdays))
    if days == "Mon,Tue,Wed,Thu,Fri":
        days = "Mon-Fri"
    calendar = "no holidays" if work.calendar.name == "none" else f"calendar {work.calendar.name}"
    return f"Worked {days} {hours_text(work.hours)}, {calendar}, {rule.zone.key}."


def stand_text(result: ClockResult, at: int, *, whole: bool = False) -> str:
    """What is used and left at an instant, and whether the clock is breached by then."""
    rule = result.rule
    used = result.used_at(at)
    said = f"At {moment_text(rule.zone, at, whole=whole)}: {_count(rule.budget.kind, used, whole)} used, "
    said += f"{_count(rule.budget.kind, rule.budget.amount - used, whole)} left, "
    if rule.fires == "at":
        return said + ("fired." if result.fired_at(at) else "not fired.")
    return said + ("breached." if result.fired_at(at) else "not breached.")


def _count(kind: str, amount: int, whole: bool) -> str:
    if kind == "working-days":
        return f"{amount} day{'' if amount == 1 else 's'}"
    return duration_text(amount, whole=whole)


def _cut(at: int, whole: bool) -> int:
    return at - at % SECOND if whole else at


def _span(zone: Zone, begin: int, end: int) -> str:
    first, last = zone.moment(begin), zone.moment(end)
    text = f"{_SHORT_DAYS[first.weekday()]} {first.day} {MONTHS[first.month - 1][:3]} {_time(zone, begin)} - "
    if first.date() != last.date():
        text += f"{_SHORT_DAYS[last.weekday()]} {last.day} {MONTHS[last.month - 1][:3]} "
    text += _time(zone, end)
    if first.utcoffset() != last.utcoffset():
        text += " (the local clock changes)"
    return text


def _time(zone: Zone, at: int) -> str:
    moment = zone.moment(at)
    text = f"{moment:%H:%M}"
    if moment.second or moment.microsecond:
        text += f":{moment:%S}"
    if moment.microsecond:
        text += f".{moment.microsecond:06d}".rstrip("0")
    return text
