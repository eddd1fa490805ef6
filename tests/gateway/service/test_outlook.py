"""What the desk is told of a terminal's silence, out of the fleet's arrays."""

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from detectors.expected import Expected
from detectors.firmware import Firmware
from detectors.silence import Silence
from gateway.service.outlook import outlook_of
from gateway.watch.columns import plain
from gateway.watch.fleet import Fleet
from gateway.watch.listening import Beat, Listening

MONDAY = 1_772_409_600.0
DAY = 86_400.0


def fleet_of(*detectors, days=20):
    """Terminal 1 reports every hour, and drives by its speed alone for an hour a day."""
    fleet = Fleet(Listening(), detectors)
    times = MONDAY + np.arange(0, days * DAY, 3600.0)
    at = np.round(times * 1e6).astype(np.int64)
    rows = np.ones(len(at), np.int32)
    speed = np.where(np.arange(len(at)) % 24 == 8, 40.0, 0.0)
    for n in range(len(at)):  # each in its own batch, as they come
        one = slice(n, n + 1)
        told = plain(rows[one], at[one], rows[one], at[one], at[one], np.zeros(1, np.int16), {"speed": speed[one]})
        fleet.apply(told)
    return fleet


def now(fleet, seconds):
    fleet.listening.load(msgspec.json.encode(Beat(MONDAY + seconds, 0.0, [])))
    fleet.judge()
    return outlook_of(fleet, 1)


def moment(seconds):
    return datetime.fromtimestamp(MONDAY + seconds, UTC)


@pytest.mark.parametrize("rule", [Silence(), Silence(expected=Expected())])
def test_instants_are_of_the_wall_clock_and_overdue_counts_from_the_expected_contact(rule):
    fleet = fleet_of(rule)
    last = 20 * DAY - 3600
    early, late = now(fleet, last + 600), now(fleet, last + 9000)
    assert abs(early["expected_next"] - moment(last + 3600)) < timedelta(seconds=10)
    assert early["expected_next"] - late["expected_next"] < timedelta(seconds=1)
    assert (early["overdue"], early["overdue_s"], early["regime"]) == (False, None, "stopped")
    assert late["overdue"]
    assert late["overdue_s"] == pytest.approx(5400, abs=10)
    assert late["ticket_at"] == early["ticket_at"] > moment(last + 9000)
    assert set(late["rhythm"]) == {"moving", "just stopped", "stopped"}  # it moved, by its speed
    assert late["rhythm"]["stopped"].interval_s == pytest.approx(3600, rel=1e-3)


def test_nothing_is_told_of_whom_nobody_knows():
    fleet = fleet_of(Silence(expected=Expected()), days=1)
    fleet.reserve(4)
    assert outlook_of(fleet, 99) == {}
    told = outlook_of(fleet, 3)
    assert (told["expected_next"], told["overdue"], told["ticket_at"], told["regime"]) == (None, False, None, None)
    assert outlook_of(Fleet(Listening(), (Firmware(None),)), 1) == {}
