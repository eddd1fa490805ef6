"""What is wrong with the policy and the plan that an organisation is to have."""

from __future__ import annotations

from ticketing import policies
from ticketing.core.errors import Problem
from ticketing.working_time.errors import ClockInputError, PolicyError


def problems(policy: str | None, plan: str | None, *, own: str) -> list[Problem]:
    """All that is wrong; `own` is the desk's policy, which holds where `policy` is None."""
    reference = policy or own
    try:
        found = policies.resolve(own) if policy is None else _named(policy, own)
    except (ClockInputError, PolicyError) as error:
        return [Problem("policy", str(error), f"name one of {', '.join(_names(own))}, or null for the desk's own")]
    if plan is None:
        return []
    plans = {str(each.level): each.name for each in found.file.plan}
    if plan in plans or plan in plans.values():
        return []
    if not plans:
        return [Problem("plan", f"{reference} has no plans", "leave it out")]
    known = ", ".join(f"{level} ({name})" for level, name in plans.items())
    return [Problem("plan", f"{reference} has no plan {plan!r}", f"give one of {known}, or null for the lowest")]


def _named(policy: str, own: str) -> policies.Policy:
    """A shipped policy, or the desk's own; files are for the operator's configuration alone."""
    mine = policies.resolve(own)
    if policy in (own, mine.name, mine.reference):
        return mine
    return policies.get(policy)


def _names(own: str) -> list[str]:
    return sorted({policies.resolve(own).name, *(each.name for each in policies.book().list())})
