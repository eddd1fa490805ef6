"""Which ticket is worked on next. Pure: facts of a ticket and an instant in, one text to sort by out.

    jump before all · rank: priority, then channel · answered by the client first · deadline or arrival · arrival

- Ageing: after each third of its target a ticket goes up one level, at most to the first. Once the target is used up
  it stands before all that are in time, the longest overdue first and whatever its channel: so nothing starves. A jump
  goes before these too.
- The target is the ticket's strictest running clock; where none runs, a day from its arrival.
- A channel's bonus holds until somebody has acted, or to the end where the policy says `until_satisfied`.
- A ticket that waits for somebody else is not in the queue.

The text is comparable among all tickets of a desk, whatever their policies, and sorts in C order. Kept in a column it
lists a queue by an index:

    ticket.queue_key text COLLATE "C"      null: waiting or closed
    CREATE INDEX ticket_queue ON ticket (queue_key) WHERE queue_key IS NOT NULL
    SELECT … WHERE queue_key > CURSOR AND topic = ANY(…) ORDER BY queue_key LIMIT 50

It changes with an action, and by time at `Place.changes_at` alone: three times at most for one target. Of 100 000
tickets a page of 50 takes 1 to 10 ms, wherever it begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ticketing.model.states import AT_WORK
from ticketing.policies import Policy

LISTED = frozenset(str(state) for state in AT_WORK)
DEFAULT_TARGET = timedelta(hours=24)  # of a ticket that no clock presses: it shall not lie for ever
TOPICS = {
    "support": frozenset({"technical", "letter", "call-back"}),
    "finance": frozenset({"finance"}),
    "warranty": frozenset({"warranty"}),
}
_OVERDUE = 0  # before the first level
_TOP = 9  # the highest bonus
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = 18  # microseconds since 1970 of any year to 9999
_NEVER = "9" * _DIGITS


@dataclass(frozen=True, slots=True)
class Standing:
    """What the order depends on.

    Attributes
    ----------
    arrived : when the request came.
    acted : somebody has acted so that the client saw it.
    resumed : the client has answered, and nobody has acted since.
    due : of the strictest running clock, None where none runs.
    thirds : when a third, two thirds and all of that clock's budget are used, as far as known.
    """

    state: str
    priority: int
    channel: str
    arrived: datetime
    jump: bool = False
    acted: bool = False
    resumed: bool = False
    due: datetime | None = None
    thirds: Sequence[datetime] = ()


class Place(NamedTuple):
    """Where a ticket stands: sort by `key`; `changes_at`: when time alone gives another, None: never."""

    key: str
    changes_at: datetime | None


def place(policy: Policy, standing: Standing, now: datetime) -> Place | None:
    """Where a ticket of `policy` stands at `now`; None: not in the queue."""
    if standing.state not in LISTED:
        return None
    rule = policy.file.queue
    lifts = _lifts(standing) if rule.ageing else ()
    used = sum(1 for at in lifts if at <= now)
    overdue = used >= 3
    level = _OVERDUE if overdue else max(1, min(standing.priority, 99) - used)
    bonus = 0 if overdue else _bonus(policy, standing)
    # Of the overdue those first that should have been done first.
    within = (lifts[2] if overdue else standing.due) if overdue or rule.order == "deadline" else standing.arrived
    key = (
        f"{0 if standing.jump else 1}{level:02d}{_TOP - bonus}{0 if standing.resumed else 1}"
        f"{_NEVER if within is None else _digits(within)}{_digits(standing.arrived)}"
    )
    return Place(key, min((at for at in lifts if at > now), default=None))


def _lifts(standing: Standing) -> tuple[datetime, ...]:
    """The instants at which a third, two thirds and all of the target are used."""
    if standing.due is not None:
        return tuple(standing.thirds)
    return tuple(standing.arrived + DEFAULT_TARGET * share / 3 for share in (1, 2, 3))


def _bonus(policy: Policy, standing: Standing) -> int:
    table = next((table for table in policy.file.channel if table.name == standing.channel), None)
    if table is None or (standing.acted and not table.until_satisfied):
        return 0
    return min(table.rank, _TOP)


def _digits(at: datetime) -> str:
    """Microseconds since 1970, of one width; what is older is as old as 1970."""
    return f"{max(0, (at - _EPOCH) // timedelta(microseconds=1)):0{_DIGITS}d}"
