"""A clock's answer in words: what counts, and every gap with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ticketing.calendars import MONTHS, WEEKDAYS
from ticketing.worktime import hours_text
from ticketing.zones import HOUR, MINUTE, SECOND, Zone

if TYPE_CHECKING:
    from ticketing.clocks import ClockResult, Rule

_SHORT_DAYS = tuple(name[:3] for name in WEEKDAYS)


def duration_text(amount: int) -> str:
    """Microseconds as `3 h 20 min 5 s`."""
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


def moment_text(zone: Zone, at: int) -> str:
    """`Friday 31 October 2025, 17:00 (+03:00)`."""
    moment = zone.moment(at)
    offset = zone.iso(at)[len(moment.replace(tzinfo=None).isoformat()) :]
    day = f"{WEEKDAYS[moment.weekday()]} {moment.day} {MONTHS[moment.month - 1]} {moment.year}"
    return f"{day}, {_time(zone, at)} ({offset})"


def explain(result: ClockResult, at: int | None = None) -> str:
    """Several lines for a person; the last line has no break."""
    rule, zone = result.rule, result.rule.zone
    kind, amount = rule.budget.kind, rule.budget.amount
    lines = [
        f"{rule.policy}, clock {rule.clock}: {budget_text(kind, amount)}. {_measured(rule)}",
        f"Start: {moment_text(zone, result.start_at)}",
    ]
    if result.due_at is None:
        since = "" if result.paused_from is None else f" since {moment_text(zone, result.paused_from)}"
        lines.append(f"Due:   not yet known, an open pause holds the clock{since}")
    else:
        lines.append(f"Due:   {moment_text(zone, result.due_at)}")
        lines.append(
            "       What is promised exists at that instant."
            if rule.fires == "at"
            else "       An event at that very instant is still in time; the clock is breached only after it."
        )
    if result.provisional:
        lines.append("       Provisional: part of this lies in a year whose moved days are not decreed yet.")
    lines.append("")
    spans = [(_span(zone, span.begin, span.end), span) for span in result.spans]
    width = max((len(text) for text, _ in spans), default=0)
    used = 0
    for text, span in spans:
        if span.counted:
            used += span.counted
            note = f"  ({span.why})" if span.why else ""
            lines.append(f"  {text:<{width}}  counts {_count(kind, span.counted)}, {_count(kind, used)} so far{note}")
        else:
            lines.append(f"  {text:<{width}}  does not count: {span.why}")
    if at is not None:
        lines += ["", _stand(result, at)]
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


def _stand(result: ClockResult, at: int) -> str:
    rule = result.rule
    used = result.used_at(at)
    said = f"At {moment_text(rule.zone, at)}: {_count(rule.budget.kind, used)} used, "
    said += f"{_count(rule.budget.kind, rule.budget.amount - used)} left, "
    if rule.fires == "at":
        return said + ("fired." if result.fired_at(at) else "not fired.")
    return said + ("breached." if result.fired_at(at) else "not breached.")


def _count(kind: str, amount: int) -> str:
    return f"{amount} day{'' if amount == 1 else 's'}" if kind == "working-days" else duration_text(amount)


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
