"""When a term of a policy ends: `3d` of working days, `4h` of working or real time. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from ticketing.clocks.walk import Rule, run
from ticketing.policies import Policy
from ticketing.working_time.budgets import Budget, Fires, Kind
from ticketing.working_time.hours import WorkingTime
from ticketing.working_time.time_zones import instant


def ends(policy: Policy, text: str, kind: str, begin: datetime, work: WorkingTime | None = None) -> datetime:
    """The end of a term, in UTC.

    Parameters
    ----------
    text : `90m`, `8h`; for working days `3d`
    work : the policy's working time in one version of its calendar; None: the newest

    Raises
    ------
    ClockInputError
        If the term cannot be read, or the calendar does not know a day that it needs.
    """
    budget = Budget.parse(text, Kind(kind))
    rule = Rule(policy.name, policy.version, "term", budget, Fires.AFTER, work or policy.working_time, ())
    due = run(rule, instant(begin)).due
    if due is None:
        raise AssertionError("a term without a pause ends")
    return due.astimezone(UTC)
