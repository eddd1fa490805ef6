"""When a new ticket's first clock runs out: `integrator-standard`, 4 working hours (S0-5).

Monday to Friday, 09:00 to 18:00, Moscow time, no holidays. The other policies, holidays and pauses come with
the clock engine; until then a policy it does not have is refused.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from ticketing.errors import TicketingError

POLICY = "integrator-standard"
BUDGET = timedelta(hours=4)
ZONE = ZoneInfo("Europe/Moscow")  # without daylight saving since 2014: wall time is elapsed time
OPENING, CLOSING = time(9), time(18)
SATURDAY = 5


class UnknownPolicyError(TicketingError):
    """No clock of that policy is known."""


def due_at(opened_at: datetime, policy: str = POLICY) -> datetime:
    """Return the earliest instant at which the counted time since `opened_at` equals the budget.

    Parameters
    ----------
    opened_at : aware datetime

    Returns
    -------
    aware datetime, in the zone of `opened_at`; used up exactly at closing time is due at that closing time
    """
    if policy != POLICY:
        raise UnknownPolicyError(f"policy {policy} is not in this version: only {POLICY} is")
    left = BUDGET
    at = opened_at.astimezone(ZONE)
    while True:
        opening = datetime.combine(at, OPENING, ZONE)
        closing = datetime.combine(at, CLOSING, ZONE)
        if at.weekday() < SATURDAY and at < closing:
            start = max(at, opening)
            if left <= closing - start:
                return (start + left).astimezone(opened_at.tzinfo)
            left -= closing - start
        at = datetime.combine(at + timedelta(days=1), time(), ZONE)
