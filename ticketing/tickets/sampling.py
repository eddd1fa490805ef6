"""Months of what people write to clients: of each a sample is looked at once it is over (`quality.reviews`).

A month is `2026-03`, in the zone of the desk's policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import LiteralString

from ticketing.core.db import Connection
from ticketing.tickets import dues
from ticketing.tickets.office import Office

MODULE = "reviews"
SUBJECT = 0  # there is one sample for the whole desk
LOCK: LiteralString = "SELECT FROM due WHERE module = 'reviews' AND subject = %s FOR UPDATE SKIP LOCKED"


def month_of(at: datetime, zone: tzinfo) -> str:
    """The month that an instant lies in."""
    return f"{at.astimezone(zone):%Y-%m}"


def bounds(month: str, zone: tzinfo) -> tuple[datetime, datetime]:
    """The first instants of the month and of the one after it."""
    year, number = map(int, month.split("-"))
    return _first(year, number, zone), _first(year + number // 12, number % 12 + 1, zone)


def months(first: str, last: str) -> Iterator[str]:
    """Each from the first to the last, both included."""
    while first <= last:
        yield first
        year, number = map(int, first.split("-"))
        first = f"{year + number // 12:04}-{number % 12 + 1:02}"


async def expect(connection: Connection, office: Office, at: datetime) -> None:
    """Something was written at `at`: when the month is over, a sample is drawn."""
    zone = office.terms.policy.zone
    await dues.expect(connection, MODULE, SUBJECT, bounds(month_of(at, zone), zone)[1])


def _first(year: int, number: int, zone: tzinfo) -> datetime:
    return datetime(year, number, 1, tzinfo=zone).astimezone(UTC)
