"""How far the working calendars are known: a metric, and a warning while the coming year of one in use is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from psycopg import Error
from psycopg_pool import PoolTimeout

from ticketing.core.moments import utc_now
from ticketing.working_time import calendars

_log = structlog.get_logger()
_REMIND = 86_400.0  # s between warnings
_AGAIN = 60.0  # s before it is asked again what is in use


def calendar_metrics() -> Iterator[Metric]:
    """Until when each shipped calendar is decreed; `none` knows no limit and is not among them."""
    known = GaugeMetricFamily(
        "dozor_calendar_known_until_seconds", "Until when the working calendar is known", labels=["calendar"]
    )
    for calendar, until in calendars.known_until().items():
        known.add_metric([calendar], until)
    yield known


def warn(now: datetime, used: Iterable[str]) -> int:
    """Log one warning for each calendar of `used` whose coming year is missing; returns how many."""
    missing = calendars.missing_years(now, used)
    for text in missing:
        _log.warning("calendar ends", reason=text)
    return len(missing)


async def watch_calendars(used: Callable[[], Awaitable[Iterable[str]]]) -> None:
    """Warn now and once a day, until cancelled; `used` tells which calendars are in use at the time."""
    while True:
        try:
            warn(utc_now(), await used())
        except (Error, PoolTimeout, OSError):  # the store is away, and that is told elsewhere
            await asyncio.sleep(_AGAIN)
        else:
            await asyncio.sleep(_REMIND)
