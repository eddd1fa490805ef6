"""How far calendars are known: the metric's value, and who is warned when."""

import asyncio
from datetime import UTC, datetime
from importlib import resources
from zoneinfo import ZoneInfo

import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest

from gateway.metrics import Callback
from gateway.service.calendar_watch import calendar_metrics, warn, watch_calendars
from tests.ticketing.desk_parts import add_terminal, execute, pool_of, raise_one
from ticketing.incidents import Incidents
from ticketing.working_time import calendars


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
        assert warn(datetime(now, 6, 1, tzinfo=UTC), [*calendars.COUNTRIES, "none"]) == len(missing)
    assert {entry["log_level"] for entry in logs} <= {"warning"}
    assert {entry["reason"].split(":")[0].removeprefix("calendar ") for entry in logs} == missing
    assert all(str(now + 1) in entry["reason"] for entry in logs)


def test_calendars_in_use_are_those_of_the_policy_in_force_and_of_open_tickets(postgres_dsn, tmp_path):
    shown = (resources.files("ticketing.policies") / "support-procedure.toml").read_text(encoding="utf-8")
    own = tmp_path / "own.toml"
    own.write_text(
        shown.replace('calendar = "RU"', 'calendar = "KZ"').replace('name = "support-procedure"', 'name = "own"')
    )

    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            later = Incidents(pool, policy="integrator-standard")
            before = await later.calendars()
            terminal = await add_terminal(pool, "860000000000001")
            raised = await raise_one(pool, terminal, incidents=Incidents(pool, policy=str(own)))
            during = await later.calendars()
            await execute(
                pool, "UPDATE ticket SET state = 'closed', closed_at = now() WHERE number = %s", raised.number
            )
            return before, during, await later.calendars()

    assert asyncio.run(scenario()) == (["RU"], ["KZ", "RU"], ["RU"])


def test_what_nobody_uses_is_not_warned_of(monkeypatch):
    async def scenario():
        with structlog.testing.capture_logs() as logs:
            watching = asyncio.create_task(watch_calendars(used))
            await asyncio.wait_for(asked.wait(), 5)
            await asyncio.sleep(0)
            watching.cancel()
        return [entry["reason"].split(":")[0] for entry in logs]

    async def used():
        asked.set()
        return ["BY"]

    asked = asyncio.Event()
    monkeypatch.setattr("gateway.service.calendar_watch.utc_now", lambda: datetime(2026, 6, 1, tzinfo=UTC))
    assert asyncio.run(scenario()) == ["calendar BY"]
