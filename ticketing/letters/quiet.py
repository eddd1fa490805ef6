"""Quiet hours: when a letter that nobody typed may reach somebody."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.time_zones import zone

_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


def awake(at: datetime, quiet_hours: str, place: str) -> datetime:
    """The first instant from `at` on that is not quiet; `at` itself where it is not, or no hours are known.

    Parameters
    ----------
    quiet_hours : local, such as ``22:00-07:00``; the end itself is awake. What cannot be read, or spans nothing, is
        none: a letter too early beats one that never comes.
    place : IANA name; one that is not known counts as UTC.
    """
    found = _SPAN.fullmatch(quiet_hours.strip())
    if found is None:
        return at
    hour, minute, end_hour, end_minute = (int(part) for part in found.groups())
    begin, end = time(hour, minute), time(end_hour, end_minute)
    try:
        here = zone(place).info if place else UTC
    except ClockInputError:
        here = UTC
    local = at.astimezone(here)
    reading = local.time()
    quiet = begin <= reading < end if begin < end else (reading >= begin or reading < end) and begin != end
    if not quiet:
        return at
    day = local.date() + timedelta(days=1 if begin > end and reading >= begin else 0)
    # In the hour that a clock change leaves out the reading is carried over it by the way through UTC.
    return max(at, datetime.combine(day, end, here).astimezone(UTC))
