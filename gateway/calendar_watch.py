"""How far the working calendars are known: a metric, and a warning while the coming year is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from ticketing import calendars

_log = structlog.get_logger()
_REMIND = 86_400.0  # s between warnings


def calendar_metrics() -> Iterator[Metric]:
    """Until when each shipped calendar is decreed; `none` knows no limit and is not among them."""
    known = GaugeMetricFamily(
        "dozor_calendar_known_until_seconds", "Until when the working calendar is known", labels=["calendar"]
    )
    for calendar, until in calendars.known_until().items():
        known.add_metric([calendar], until)
    yield known


def warn(now: datetime) -> int:
    """Log one warning for each calendar whose coming year is missing; returns how many."""
    missing = calendars.missing_years(now)
    for text in missing:
        _log.warning("calendar ends", reason=text)
    return len(missing)


async def watch_calendars() -> None:
    """Warn now and once a day, until cancelled."""
    while True:
        warn(datetime.now(UTC))
        await asyncio.sleep(_REMIND)
