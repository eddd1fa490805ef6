"""Which levels there are, which one a new ticket has, and what another one needs. Pure.

The client's own level is kept apart and counts from the first second; only a re-grading moves the other one.
"""

from __future__ import annotations

from typing import NamedTuple

from ticketing.policies import Policy

LEVELS = (1, 2, 3, 4)  # of a policy that has no table of its own
ORDINARY = 3
MANAGERS = frozenset({"manager", "admin"})


class Regrade(NamedTuple):
    """Whether another level may be set: `refusal` says why not. `shown`: the client is told, with the reason."""

    refusal: str | None
    shown: bool = False


def levels(policy: Policy) -> tuple[int, ...]:
    """The policy's levels, the most urgent first."""
    return tuple(sorted(table.level for table in policy.file.priority)) or LEVELS


def first(policy: Policy, wanted: int | None) -> int:
    """The level of a new ticket: the client's, if the policy has it, else the nearest; without one the ordinary."""
    asked = ORDINARY if wanted is None else wanted
    return min(levels(policy), key=lambda level: (abs(level - asked), level))


def regrade(policy: Policy, *, to: int, client: int | None, role: str, reason: str | None) -> Regrade:
    """Whether `role` may set the level `to`.

    Parameters
    ----------
    client : the level that the client named, if any; going back to it needs nothing.
    """
    rule = policy.file.priority_rule
    if to not in levels(policy):
        return Regrade(f"{policy.name} has no level {to}: it has {', '.join(map(str, levels(policy)))}")
    if to == client:
        return Regrade(None)
    if rule.regrade == "manager" and role not in MANAGERS:
        return Regrade("another priority needs a manager")
    given = bool(reason and reason.strip())
    shown = rule.regrade == "reason-shown-to-client"
    if not given and (shown or client is not None):
        whose = "another priority than the client's needs a reason"
        return Regrade(f"{whose}, which the client is shown" if shown else whose)
    return Regrade(None, shown)
