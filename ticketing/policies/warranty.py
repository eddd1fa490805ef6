"""Whether a warranty still lasts, and what a visit and parts cost. Pure.

A warranty begins with the day of acceptance, which is not counted, and lasts to the end of the same day of a later year
in the policy's zone: accepted on 10 March 2025, a year ends with 10 March 2026. From 29 February it ends with the 28th.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple

from ticketing.policies import Policy
from ticketing.working_time.hours import parse_days

UNKNOWN = "quote"  # the price where nobody knows when the warranty began


class Price(NamedTuple):
    """`visit` and `parts` are words of the policy file; `warranty` None: nobody knows. `why` is a code.

    `in-warranty` · `after-warranty` · `acceptance-unknown`, with `+service-city` where the visit's price is the city's.
    `until` is the warranty's last day.
    """

    visit: str
    parts: str
    warranty: bool | None
    why: str
    until: date | None

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "until": None if self.until is None else self.until.isoformat()}


def last_day(accepted_at: date, years: int) -> date:
    """The last day of a term of whole years from the acceptance."""
    try:
        return accepted_at.replace(year=accepted_at.year + years)
    except ValueError:
        return accepted_at.replace(year=accepted_at.year + years, day=28)


def in_warranty(policy: Policy, accepted_at: date, at: datetime) -> bool:
    """Whether what was accepted on a day is in warranty at an instant."""
    return at.astimezone(policy.zone).date() <= last_day(accepted_at, policy.file.price.warranty_years)


def price(
    policy: Policy,
    at: datetime,
    *,
    accepted_at: date | None,
    service_city: str | None = None,
    site: str | None = None,
    visit_at: datetime | None = None,
) -> Price:
    """What the client pays for a fault reported at `at`.

    Parameters
    ----------
    service_city : of the client's contract. `site` : where the vehicle stands, its parts parted by commas.
    visit_at : when the visit begins; None: as if on one of the city's days.
    """
    table = policy.file.price
    covered = None if accepted_at is None else in_warranty(policy, accepted_at, at)
    until = None if accepted_at is None else last_day(accepted_at, table.warranty_years)
    if covered is None:
        visit, parts, why = UNKNOWN, UNKNOWN, "acceptance-unknown"
    elif covered:
        visit, parts, why = table.visit, table.parts, "in-warranty"
    else:
        visit, parts, why = table.visit_after, table.parts_after, "after-warranty"
    if table.visit_in_city is not None and table.visit_in_city != visit and in_city(service_city, site):
        day = None if visit_at is None else visit_at.astimezone(policy.zone).weekday()
        if day is None or day in parse_days(table.city_days):
            visit, why = table.visit_in_city, f"{why}+service-city"
    return Price(visit, parts, covered, why, until)


def in_city(service_city: str | None, site: str | None) -> bool:
    """Whether a site lies in the contract's city: one of its parts is that name."""
    if not service_city or not site:
        return False
    return service_city.strip().casefold() in {part.strip().casefold() for part in site.split(",")}
