"""Vehicles: the same seed gives the same fleet and readings, and the readings are plausible."""

from __future__ import annotations

import datetime
import itertools
import math
import tomllib
from collections import Counter

import pytest

from gateway.simulator.faults import GRACE_DAYS, RELEASES, catalogue, plan_faults
from gateway.simulator.fleet import Vehicle, make_fleet
from gateway.simulator.scenario import FaultPlan, Intervals, NoFix, Profiles, Scenario
from protocols.terminals import Reading, luhn

START = 1_795_000_000_000
SCENARIO = Scenario(seed=11, terminals=60, intervals=Intervals(moving=5, idling=10, parked=20, sleeping=120))


def readings(vehicle: Vehicle, until: float) -> list[Reading]:
    found = []
    while vehicle.due < until:
        found.append(vehicle.read(vehicle.due, START))
    return found


def test_the_same_seed_gives_the_same_fleet_and_readings() -> None:
    fleet = make_fleet(SCENARIO)
    assert fleet == make_fleet(SCENARIO)
    assert len({spec.identity for spec in fleet}) == 60
    assert Counter(spec.protocol for spec in fleet) == {"teltonika": 24, "omnicomm": 18, "wialon-ips": 18}
    for spec in fleet[::7]:
        assert readings(Vehicle(spec, SCENARIO), 600) == readings(Vehicle(spec, SCENARIO), 600)
    other = make_fleet(Scenario(seed=12, terminals=60))
    assert {spec.identity for spec in fleet} != {spec.identity for spec in other}


def test_one_protocol_alone_has_the_same_terminals() -> None:
    alone = make_fleet(Scenario(seed=11, terminals=10, mix={"omnicomm": 1}))
    mixed = [spec for spec in make_fleet(SCENARIO) if spec.protocol == "omnicomm"]
    assert [spec.identity for spec in alone] == [spec.identity for spec in mixed[:10]]


def test_imeis_carry_their_check_digit() -> None:
    assert luhn("35693803564380") == "9"
    for spec in make_fleet(SCENARIO):
        if spec.protocol != "omnicomm":
            assert len(spec.identity) == 15
            assert luhn(spec.identity[:14]) == spec.identity[14]


def metres(a: Reading, b: Reading) -> float:
    north = (b.lat - a.lat) / 1e7 * 111_320
    east = (b.lon - a.lon) / 1e7 * 111_320 * math.cos(math.radians(a.lat / 1e7))
    return math.hypot(north, east)


@pytest.mark.parametrize("protocol", ["teltonika", "omnicomm"])
def test_tracks_are_plausible(protocol: str) -> None:
    scenario = Scenario(
        seed=2, terminals=12, mix={protocol: 1}, intervals=SCENARIO.intervals, profiles=Profiles(1, 0, 0, 0)
    )
    moved = 0.0
    for spec in make_fleet(scenario):
        track = readings(Vehicle(spec, scenario), 3000)
        for a, b in itertools.pairwise(track):
            assert b.time > a.time
            seconds = (b.time - a.time) / 1000
            if a.satellites and b.satellites:
                # the last valid fix may be old, so only neighbours with a fix compare
                assert metres(a, b) <= 32 * max(seconds, 1) + 50
                moved += metres(a, b)
            assert 0 <= b.odometer - a.odometer <= 32 * max(seconds, 1) + 2
            assert 0 <= b.speed <= 110
            assert b.changed == (a.ignition != b.ignition)
            assert all(1 <= tank.level <= 4095 for tank in b.fuel)
            assert (b.external > 13_000) if b.ignition else (b.external < 26_000)
    assert moved > 12 * 5_000


def test_no_fix_keeps_the_last_place_and_tells_no_movement() -> None:
    scenario = Scenario(seed=3, terminals=4, intervals=SCENARIO.intervals, no_fix=NoFix(share=1, every=60, length=40))
    lost = [r for spec in make_fleet(scenario) for r in readings(Vehicle(spec, scenario), 900) if r.satellites == 0]
    assert lost
    assert {(r.speed, r.course) for r in lost} == {(0, 0)}


def test_a_backlog_lies_before_the_first_report() -> None:
    vehicle = Vehicle(make_fleet(SCENARIO)[0], SCENARIO)
    first = vehicle.due
    times = vehicle.backlog(30)
    assert len(times) == 30
    assert times == sorted(times)
    assert times[-1] < first
    made = [vehicle.read(at, START) for at in times]
    assert [r.time for r in made] == sorted({r.time for r in made})


def test_faults_touch_all_protocols_and_no_terminal_twice() -> None:
    scenario = Scenario(
        seed=5,
        terminals=60,
        fault=[FaultPlan(kind="silence", count=6, at=10, spread=5), FaultPlan(kind="firmware", count=6)],
    )
    fleet = make_fleet(scenario)
    faults, firmware = plan_faults(scenario, fleet)
    assert (faults, firmware) == plan_faults(scenario, fleet)
    assert Counter(f.kind for f in faults) == {"silence": 6, "firmware": 6}
    assert len({f.terminal for f in faults}) == 12
    for kind in ("silence", "firmware"):
        assert {fleet[f.terminal].protocol for f in faults if f.kind == kind} == {"teltonika", "omnicomm", "wialon-ips"}
    assert all(fleet[f.terminal].profile != "sleeping" for f in faults if f.kind == "silence")
    assert [f.at for f in faults if f.kind == "silence"] == [10, 11, 12, 13, 14, 15]
    spared = {fleet[f.terminal].identity for f in faults}
    again, _ = plan_faults(scenario, fleet, spared)
    assert len(again) == 12
    assert not spared & {fleet[f.terminal].identity for f in again}


def test_the_catalogue_makes_stale_exactly_the_faulty_ones() -> None:
    today = datetime.date(2026, 11, 21)
    releases = tomllib.loads(catalogue(today))
    assert releases["grace_days"] == GRACE_DAYS
    assert len(releases["release"]) == len(RELEASES)

    def stale(model: str, version: str) -> bool:
        (own,) = [r for r in releases["release"] if (r["model"], r["version"]) == (model, version)]
        later = [
            r for r in releases["release"]
            if r["model"] == model and r["released"] > own["released"] and "mark" not in r
            and (today - r["released"]).days > GRACE_DAYS
        ]  # fmt: skip
        return "mark" in own or bool(later)

    scenario = Scenario(seed=5, terminals=60, fault=[FaultPlan(kind="firmware", count=9)])
    fleet = make_fleet(scenario)
    faults, firmware = plan_faults(scenario, fleet)
    expected = {f.terminal for f in faults}
    assert {i for i, spec in enumerate(fleet) if stale(spec.model, firmware[i])} == expected
