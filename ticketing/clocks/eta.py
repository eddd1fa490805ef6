"""The promised repair time: by when one must be named, what it may rest on, and when it passes. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from ticketing.clocks.terms import ends
from ticketing.policies import Policy
from ticketing.working_time.hours import WorkingTime

BASES = ("history", "vendor", "plan")


def mandatory_by(
    policy: Policy, in_work_since: datetime, *, eta: datetime | None = None, work: WorkingTime | None = None
) -> datetime | None:
    """By when a ticket in work must have a repair time; None: never.

    `eta`: the one that it has; a new one is owed only when that has passed, and its term begins then.
    """
    rule = policy.file.eta
    if rule is None:
        return None
    begin = in_work_since if eta is None else max(in_work_since, eta)
    return ends(policy, rule.mandatory_within, rule.kind, begin, work)


def refusal(policy: Policy, basis: str) -> str | None:
    """Why a repair time may not rest on this; None: it may."""
    bases = BASES if policy.file.eta is None else policy.file.eta.basis
    return None if basis in bases else f"{policy.name} promises no repair time by {basis!r}: {', '.join(bases)}"


def expires(eta: datetime | None, *, settled: bool) -> datetime | None:
    """When the client must hear that it takes longer: *at* the promised instant, unless it works again by then."""
    return None if eta is None or settled else eta.astimezone(UTC)
