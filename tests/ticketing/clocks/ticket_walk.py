"""A second, slow reading of a ticket's clocks for the tests: minute by minute, one row of yes and no.

It shares nothing with the engine but the policy's tables: no legs, no events of a clock, no spans. What the two have in
common is the rules, written down twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from tests.ticketing.working_time.minute_walk import Case, working

# Clocks of which a ticket has one at a time: another level's takes over what was counted.
SLOTS = [
    {"reaction-basic", "reaction-standard", "reaction-priority"},
    {"urgent", "severe"},
    {"swap-1", "swap-2", "swap-3", "swap-4"},
]
OPENING = {"request-received", "ticket-opened"}
ONCE = {"diagnosis", "hardware-fault-found"}


@dataclass
class Step:
    """`minute` after the opening, the state after it, events, and another priority or plan."""

    minute: int
    state: str
    events: frozenset[str] = frozenset()
    priority: int | None = None
    plan: str | None = None


@dataclass
class Cycle:
    number: int
    start: int
    used: int = 0
    due: int | None = None
    stopped: int | None = None
    kept: bool = False  # was ever in force
    broken: set[str] = field(default_factory=set)


def slot_of(name):
    return next((slot for slot in SLOTS if name in slot), {name})


def names_at(policy, plan, priority):
    """The clocks of a level, by the tables."""
    file = policy.file
    of_levels = {name for table in [*file.plan, *file.priority] for name in table.clocks}
    found = [clock.name for clock in file.clock if clock.name not in of_levels and not clock.replaces]
    for table in file.plan:
        if table.name == plan:
            found += table.clocks
    for table in file.priority:
        if table.level == priority:
            found += table.clocks
    return found


@cache
def counted(zone, calendar, begin, count):
    """Whether each minute is working time, Monday to Friday from nine to six."""
    case = Case(calendar, zone, ((540, 1080),), frozenset(range(5)), "working", 1, begin)
    return working(case, begin, count)[0]


def read(policy, plan, steps, begin, now):
    """Slots with their cycles: {frozenset of names: (name at the end, [Cycle])}, of a ticket opened at minute `begin`.

    Verdicts are those at `now`, minutes after the opening; nobody's warranty has ended.
    """
    length = now + 1
    rule = policy.file.working_time
    day = counted(rule.time_zone, rule.calendar, begin, 16_000)[:length]
    levels = _levels(policy, plan, steps, length)
    every = [clock.name for clock in policy.file.clock if not clock.replaces]
    slots = {frozenset(slot_of(name)) for name in every}
    found = {}
    for slot in slots:
        in_force = [next((name for name in names if name in slot), None) for names in levels]
        known = [name for name in in_force if name]
        if known:
            cycles = _follow(policy, _filled(in_force), in_force, steps, day, now)
            if cycles is not None:
                found[slot] = (known[-1], cycles)
    return found


def _levels(policy, plan, steps, length):
    found, priority = [], None
    by_minute = {}
    for step in steps:
        by_minute.setdefault(step.minute, []).append(step)
    for minute in range(length):
        here = by_minute.get(minute, [])
        asked = [step.priority for step in here if step.priority is not None]
        if here or not found:
            priority = min(asked) if asked else priority
            plan = next((step.plan for step in reversed(here) if step.plan), plan)
            names = names_at(policy, plan, priority)
        found.append(names)
    return found


def _filled(in_force):
    """The clock that counts: the one in force, else the last that was, else the first that will be."""
    last = next(name for name in in_force if name)
    found = []
    for name in in_force:
        last = name or last
        found.append(last)
    return found


def _follow(policy, counting, in_force, steps, day, now):
    tables = {clock.name: clock for clock in policy.file.clock}
    budgets = {name: terms.budget.amount // 60_000_000 for name, terms in policy.clocks.items()}
    left_at = next((m + 1 for m in range(now, -1, -1) if in_force[m]), 0) if in_force[now] is None else None
    cycles: list[Cycle] = []
    running: Cycle | None = None
    state, begun, once = steps[0].state, False, False
    by_minute = {}
    for step in steps:
        by_minute.setdefault(step.minute, []).append(step)

    def judge(minute):
        """Before anything of this minute happens: is the running promise broken by now?"""
        if running is None or running.due is None or not in_force[minute - 1]:
            return
        name = counting[minute - 1]
        if minute > running.due or (minute == running.due and tables[name].fires == "at"):
            running.broken.add(name)

    for minute in range(now + 1):
        name = counting[minute]
        same = minute and (name, in_force[minute]) == (counting[minute - 1], in_force[minute - 1])
        if running is None and same and minute not in by_minute and minute != left_at:
            continue
        judge(minute)
        if left_at is not None and minute == left_at:
            if running is not None:
                running.stopped = minute
            break
        table = tables[name]
        if running is not None and minute and not same:
            # Another rule, or the same in force again: due is what is left, and no earlier than the change.
            running.due = minute if running.used >= budgets[name] else None
        closed = reopened = False
        events = set()
        for step in by_minute.get(minute, []):
            closed |= step.state == "closed" != state
            reopened |= state == "closed" != step.state
            state = step.state
            events |= step.events
        closed |= "ticket-closed" in events
        reopened |= "reopened" in events
        open_now = state != "closed"
        starts = table.starts in events and open_now
        once = once and not reopened
        if starts and table.starts in ONCE:
            starts, once = not once, True
        if running is not None and open_now and events & set(table.restarts):
            running.stopped = minute
            running = Cycle(len(cycles) + 1, minute)
            cycles.append(running)
        elif running is None and starts:
            running = Cycle(len(cycles) + 1, minute)
            cycles.append(running)
            begun = True
        if running is not None and in_force[minute]:
            running.kept = True
        if running is not None and (closed or events & set(table.stops)):
            running.stopped = minute
            running = None
        if reopened and begun and running is None and table.starts in OPENING | {"public-message"}:
            running = Cycle(len(cycles) + 1, minute, kept=bool(in_force[minute]))
            cycles.append(running)
        if running is None or minute == now:
            continue
        holds = state in table.pauses_in
        if not holds and (table.kind == "real" or day[minute]):
            running.used += 1
            if running.used >= budgets[name] and running.due is None:
                running.due = minute + 1
    if not begun:
        return None
    cycles = [cycle for cycle in cycles if cycle.kept]
    if left_at is not None and not any(cycle.broken for cycle in cycles):
        return None
    return cycles or None


def verdict(cycle, *, paused):
    if cycle.broken:
        return "breached"
    if cycle.stopped is not None:
        return "met"
    return "paused" if paused else "running"
