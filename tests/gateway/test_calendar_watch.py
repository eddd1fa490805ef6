"""How far calendars are known: the metric's value, and who is warned when."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest

from gateway.calendar_watch import calendar_metrics, warn
from gateway.metrics import Callback
from ticketing import calendars


def test_every_shipped_calendar_has_its_end():
    registry = CollectorRegistry()
    registry.register(Callback(calendar_metrics))
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    told = {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}
    assert set(told) == {"RU", "BY", "KZ", "CN"}
    for name, until in told.items():
        country = calendars.COUNTRIES[name]
        midnight = datetime(country.last_decreed_year + 1, 1, 1, tzinfo=ZoneInfo(country.zone))
        assert until == midnight.timestamp() == calendars.shipped(name).known_until()


@pytest.mark.parametrize(
    ("now", "missing"), [(2025, set()), (2026, {"BY", "KZ", "CN"}), (2027, {"RU", "BY", "KZ", "CN"})]
)
def test_the_coming_year_is_missed_in_the_log(now, missing):
    with structlog.testing.capture_logs() as logs:
        assert warn(datetime(now, 6, 1, tzinfo=UTC)) == len(missing)
    assert {entry["log_level"] for entry in logs} <= {"warning"}
    assert {entry["reason"].split(":")[0].removeprefix("calendar ") for entry in logs} == missing
    assert all(str(now + 1) in entry["reason"] for entry in logs)
