"""Scenario files: what they may say, and what is told when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.mqtt import Broker
from gateway.simulator.scenario import (
    FaultPlan,
    Scenario,
    ScenarioError,
    load_scenario,
    parse_duration,
    parse_scenario,
    parse_target,
)


def test_an_empty_file_is_the_default_fleet() -> None:
    assert parse_scenario("") == Scenario()


def test_every_part_can_be_set() -> None:
    scenario = parse_scenario(
        """
        seed = 7
        terminals = 40
        duration = "2m"
        mix = {teltonika = 1, wialon-ips = 3}
        intervals = {moving = "1500ms", idling = 2, parked = "5s", sleeping = 20, spread = 0.1}
        archive = {share = 0.5, records = 10}

        [[fault]]
        kind = "silence"
        count = 3
        at = "20s"
        until = "1m"
        mode = "hang"

        [[fault]]
        kind = "firmware"
        terminals = [1, 5]
        mark = "critical"
        """
    )
    assert (scenario.seed, scenario.terminals, scenario.duration) == (7, 40, 120.0)
    assert scenario.mix == {"teltonika": 1, "wialon-ips": 3}
    assert (scenario.intervals.moving, scenario.intervals.parked) == (1.5, 5.0)
    assert scenario.fault == [
        FaultPlan(kind="silence", count=3, at=20.0, until=60.0, mode="hang"),
        FaultPlan(kind="firmware", terminals=[1, 5], mark="critical"),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("terminals = 0", "terminals"),
        ("terminal = 5", "terminal"),
        ("seed = [", "not TOML"),
        ("mix = {smtp = 1}", "mix.smtp"),
        ("mix = {teltonika = 0}", "mix"),
        ("intervals = {moving = -1}", "intervals.moving"),
        ("intervals = {sleeping = 1e-9}", "intervals.sleeping"),
        ('intervals = {moving = "soon"}', "intervals.moving"),
        ("profiles = {driving = 0, idling = 0, parked = 0, sleeping = 0}", "profiles"),
        ('fault = [{kind = "fire"}]', "fault"),
        ('targets = {teltonika = "nowhere"}', "targets.teltonika"),
        ('transport = "udp"', "transport"),
        ('broker = "127.0.0.1:1883"', "broker"),
        ("broker_share = 0.5", "broker"),
        ('targets = {teltonika = "mqtts://h"}', "targets.teltonika"),
        (f'targets = {{teltonika = "h:{"1" * 5000}"}}', "targets.teltonika"),
    ],
)
def test_what_is_wrong_is_named(text: str, told: str) -> None:
    with pytest.raises(ScenarioError) as error:
        parse_scenario(text, "fleet.toml")
    assert str(error.value).startswith("fleet.toml:1: ")
    assert told in str(error.value)


def test_a_missing_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario(tmp_path / "none.toml")


def test_targets_and_durations() -> None:
    assert parse_target("127.0.0.1:5027") == ("127.0.0.1", 5027)
    assert parse_target("[::1]:5027") == ("::1", 5027)
    assert parse_target("mqtt://u:p@h") == Broker("mqtt", "h", 1883, "u", "p")
    assert [parse_duration(t) for t in ("90", "1.5m", "250ms", "2h")] == [90.0, 90.0, 0.25, 7200.0]
    assert parse_target("mqtt-gateway.example:5027") == ("mqtt-gateway.example", 5027), "a host that is called so"
    assert parse_target("mqtt:1883") == ("mqtt", 1883)
    for wrong in ("", "host", "host:", ":1", "host:0", "host:70000", "host:x", "mqtt://", "mqtt:h", "h:" + "1" * 5000):
        with pytest.raises(ScenarioError):
            parse_target(wrong)
    for wrong in ("", "soon", "-1", "nan", "inf"):
        with pytest.raises(ScenarioError):
            parse_duration(wrong)
