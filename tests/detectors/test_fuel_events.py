"""Drains told from what a sick sensor sees, over vehicles whose truth is known; and what must never raise."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.fuel_events import FuelSeries, fuel_events
from tests.detectors.fuel_world import FAULTS, vehicle

NEAR = 1800.0  # s by which an event may be told beside its truth


def met(events, truth, kind=None):
    """Events that fall within a truth's time."""
    return [
        e for e in events if truth.at - NEAR <= e.at / 1e6 <= truth.until + NEAR and (kind is None or e.kind == kind)
    ]


def scores(seeds):
    told, missed, false, sick = Counter(), [], [], Counter()
    for seed in seeds:
        series, truths = vehicle(seed)
        events = fuel_events(series)
        for truth in truths:
            told[truth.kind] += 1
            if met(events, truth, truth.kind):
                told[truth.kind, "right"] += 1
            else:
                missed.append((seed, truth, met(events, truth)))
        false += [(seed, e) for e in events if not any(met([e], truth, truth.kind) for truth in truths)]
        for fault in FAULTS:
            series, truths = vehicle(seed, fault=fault)
            events = fuel_events(series)
            sick[fault] += 1
            sick[fault, "drain"] += any(e.kind == "drain" for e in events)
    return told, missed, false, sick


def test_drains_are_told_from_what_a_sick_sensor_sees():
    told, missed, false, sick = scores(range(1, 61))
    sick_all, sick_drains = sum(sick[fault] for fault in FAULTS), sum(sick[fault, "drain"] for fault in FAULTS)
    right = told["drain", "right"] + sick_all - sick_drains
    shown = (told, sick, missed[:5], false[:5])
    assert told["drain"] >= 40
    assert right / (told["drain"] + sick_all) >= 0.99, shown
    assert told["drain", "right"] / told["drain"] >= 0.97, shown
    assert told["refuelling", "right"] / told["refuelling"] >= 0.97, shown
    assert len(false) <= 0.02 * 60, shown


def series(level, *, moving=None, every=60.0, error=None):
    level = np.asarray(level, np.float64)
    time = np.round((1_800_000_000 + every * np.arange(len(level))) * 1e6).astype(np.int64)
    none = np.zeros(len(level), np.bool_)
    return FuelSeries(time, level, none if error is None else error, none if moving is None else moving)


def test_a_refuelling_and_a_drain_with_their_levels_and_times():
    tank = [0.3] * 20 + [0.3 + 0.05 * n for n in range(1, 12)] + [0.85] * 30 + [0.8, 0.7, 0.65] + [0.6] * 30
    up, down = fuel_events(series(tank))
    assert (up.kind, down.kind) == ("refuelling", "drain")
    assert (up.before, up.after) == pytest.approx((0.3, 0.85), abs=0.01)
    assert (down.before, down.after) == pytest.approx((0.85, 0.6), abs=0.01)
    assert up.at / 1e6 == pytest.approx(1_800_000_000 + 19 * 60, abs=180)
    assert down.at / 1e6 == pytest.approx(1_800_000_000 + 60 * 60, abs=120)


def test_what_is_burnt_is_no_drain():
    drive = np.linspace(0.9, 0.2, 300)
    assert fuel_events(series(drive, moving=np.ones(300, np.bool_))) == []


def test_too_few_levels_are_no_series():
    assert fuel_events(series([])) == []
    assert fuel_events(series([0.5] * 5 + [0.1] * 4)) == []
    with pytest.raises(ValueError, match="shapes differ"):
        fuel_events(FuelSeries(np.zeros(3, np.int64), np.zeros(2), np.zeros(3, np.bool_), np.zeros(3, np.bool_)))


@pytest.mark.parametrize(
    ("reason", "level", "options"),
    [
        ("errors? beside", [0.8] * 20 + [np.nan] * 3 + [0.5] * 20, {"error": np.abs(np.arange(43) - 21) < 2}),
        ("nothing at all", [0.8] * 20 + [0.0] * 20, {}),
        ("drove all through", [0.8] * 20 + [0.5] * 20, {"moving": np.ones(40, np.bool_)}),
        ("faster than fuel", [0.9] * 20 + [0.2] * 20, {}),
        ("came back", [0.8] * 20 + [0.6] * 20 + [0.8] * 20, {}),
    ],
)  # fmt: skip
def test_why_a_drop_is_the_sensors(reason, level, options):

    first = fuel_events(series(level, **options))[0]
    assert first.kind == "sensor"
    assert re.search(reason, first.reason)


_LEVEL = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(0, 1), st.just(0.5))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(_LEVEL, st.booleans(), st.booleans(), st.integers(0, 10**10)), max_size=80))
def test_any_series_gives_events_in_order_within_its_time(told):
    level, error, moving, gaps = (np.array(column) for column in zip(*told, strict=True)) if told else ([], [], [], [])
    time = np.cumsum(np.asarray(gaps, np.int64)) + 1_800_000_000_000_000
    events = fuel_events(
        FuelSeries(time, np.asarray(level, np.float64), np.asarray(error, np.bool_), np.asarray(moving, np.bool_))
    )
    assert [e.at for e in events] == sorted(e.at for e in events)
    for event in events:
        assert time[0] <= event.at <= time[-1]
        assert 0 <= event.before <= 1
        assert 0 <= event.after <= 1
