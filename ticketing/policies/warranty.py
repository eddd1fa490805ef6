"""Whether a warranty still lasts. Pure.

It begins with the day of acceptance, which is not counted, and lasts to the end of the same day of a later year, in the
policy's zone: accepted on 10 March 2025, a year ends with 10 March 2026. From 29 February it ends with the 28th.
"""

from __future__ import annotations

from datetime import date, datetime

from ticketing.policies import Policy

YEARS = 1  # S4-7


def last_day(accepted_at: date, years: int = YEARS) -> date:
    """The last day of a term of years from the acceptance."""
    try:
        return accepted_at.replace(year=accepted_at.year + years)
    except ValueError:
        return accepted_at.replace(year=accepted_at.year + years, day=28)


def in_warranty(policy: Policy, accepted_at: date, at: datetime) -> bool:
    """Whether what was accepted on a day is in warranty at an instant."""
    return at.astimezone(policy.zone).date() <= last_day(accepted_at)
