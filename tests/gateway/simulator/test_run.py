"""Whole fleets over real sockets: what was acknowledged is what the other side decoded, value by value."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gateway.simulator.run import FleetRun, expected_row
from gateway.simulator.scenario import FaultPlan, Intervals, LinkLoss, NoFix, Profiles, Scenario
from gateway.simulator.truth import Truth
from tests.gateway.simulator.gateway_double import GatewayDouble

QUICK = Intervals(moving=0.2, idling=0.25, parked=0.3, sleeping=0.5)
NAMES = ("teltonika", "omnicomm", "wialon-ips")


def run_fleet(scenario: Scenario, double: GatewayDouble, seconds: float, *, udp: bool = False) -> FleetRun:
    async def go() -> FleetRun:
        targets = {name: await double.listen(name) for name in NAMES}
        if udp:
            targets = {"teltonika": await double.listen_udp()}
        run = FleetRun(scenario, targets, truth=Truth(keep_records=True))
        run.start()
        await asyncio.sleep(seconds)
        await run.stop(drain=3)
        double.close()
        await asyncio.sleep(0.05)
        return run

    return asyncio.run(go())


def close(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and abs(a - b) < 1e-9)


def compare(run: FleetRun, double: GatewayDouble) -> None:
    """Every acknowledged record is a row, every row was sent, and they agree."""
    rows = {(row["terminal"], row["time"]): row for row in double.distinct_rows()}
    assert len(rows) == len(double.distinct_rows())
    sent = {}
    for record in run.truth.records:
        if record.sends:
            expected = expected_row(record)
            sent[expected["terminal"], expected["time"]] = (record, expected)
    assert set(rows) <= set(sent), "rows that were never sent"
    acked = {key for key, (record, _) in sent.items() if record.acked}
    assert acked <= set(rows), "acknowledged and not stored"
    for key in rows:
        row, (_, expected) = rows[key], sent[key]
        for name in ("altitude", "speed", "course", "satellites", "valid"):
            assert row[name] == expected[name], (name, row, expected)
        assert close(row["lat"], expected["lat"])
        assert close(row["lon"], expected["lon"])
        assert expected["archive"] in (None, row["archive"])
        assert expected["measures"].items() <= row["measures"].items(), (row, expected)


def test_a_mixed_fleet_is_stored_value_by_value() -> None:
    double = GatewayDouble()
    no_fix = NoFix(share=0.5, every=1.0, length=1.0)
    run = run_fleet(Scenario(seed=7, terminals=60, intervals=QUICK, ramp=0.5, no_fix=no_fix), double, 2)
    truth = run.truth
    assert truth.violations == []
    assert double.malformed == []
    assert truth.total("logins") == 60
    assert truth.total("records_acked") == truth.total("records_sent") > 400
    assert truth.total("frames_resent") == 0
    assert {row["archive"] for row in double.rows} == {True, False}
    assert {row["valid"] for row in double.rows} == {True, False}
    compare(run, double)
    for index, link in enumerate(run.links):
        spec = link.terminal.spec
        if spec.protocol == "teltonika":
            assert double.identified[spec.identity].firmware == run.firmware[index]
            assert double.identified[spec.identity].model == spec.model
        elif spec.protocol == "omnicomm":
            assert double.identified[spec.identity].firmware == run.firmware[index]
        else:
            told = [r["measures"] for r in double.rows if r["terminal"] == spec.identity]
            assert {m["param.fw"] for m in told if "param.fw" in m} == {run.firmware[index]}
            assert {m["param.hw"] for m in told if "param.hw" in m} == {spec.model}


def test_lost_links_resend_and_lose_nothing() -> None:
    double = GatewayDouble()
    scenario = Scenario(
        seed=3, terminals=30, intervals=QUICK, ramp=0.2, window=3, link_loss=LinkLoss(every=0.8, length=0.3)
    )
    run = run_fleet(scenario, double, 2.6)
    assert run.truth.violations == []
    assert run.truth.total("connections") > 40
    assert run.truth.total("records_acked") > 300
    compare(run, double)


@pytest.mark.parametrize("window", [1, 4])
def test_several_records_in_a_frame_and_several_frames_in_flight(window: int) -> None:
    double = GatewayDouble()
    scenario = Scenario(
        seed=5, terminals=12, intervals=Intervals(moving=0.02, idling=0.02, parked=0.02, sleeping=0.02),
        frame_records=8, window=window, ramp=0.1,
    )  # fmt: skip
    run = run_fleet(scenario, double, 1.5)
    assert run.truth.violations == []
    assert run.truth.total("records_acked") >= 5 * run.truth.total("frames_acked")
    compare(run, double)


def test_udp_terminals_check_the_echo() -> None:
    double = GatewayDouble()
    scenario = Scenario(seed=2, terminals=10, mix={"teltonika": 1}, transport="udp", intervals=QUICK, ramp=0.1)
    run = run_fleet(scenario, double, 1.2, udp=True)
    assert run.truth.violations == []
    assert run.truth.total("records_acked") > 50
    compare(run, double)


def wrong_ack(name: str, count: int, ack: bytes) -> bytes:
    """Each third ack lets the terminal erase something else than it sent."""
    if count % 3:
        return ack
    if name == "teltonika":
        return (int.from_bytes(ack, "big") + 1).to_bytes(4, "big")
    if name == "omnicomm":
        return ack + ack
    if name == "udp":
        return ack[:-1] + bytes([ack[-1] + 1])
    return ack.replace(b"#1\r\n", b"#-1\r\n") if b"#AD#" in ack else b"#AB#999\r\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_ack_is_a_violation_and_erases_nothing(name: str) -> None:
    double = GatewayDouble(misbehave=wrong_ack)
    run = run_fleet(Scenario(seed=4, terminals=6, mix={name: 1}, intervals=QUICK, ramp=0.1), double, 1.5)
    assert run.truth.violation_count >= 6
    assert {v.terminal for v in run.truth.violations} <= {spec.identity for spec in run.fleet}
    assert run.truth.total("records_acked") > 20
    # an ack before its record was sent, or of another record, would break this
    compare(run, double)


def test_wrong_udp_answers_are_not_taken_for_acks() -> None:
    double = GatewayDouble(misbehave=wrong_ack)
    scenario = Scenario(seed=2, terminals=4, mix={"teltonika": 1}, transport="udp", intervals=QUICK, ramp=0.1)
    run = run_fleet(scenario, double, 1.2, udp=True)
    assert run.truth.total("late_answers") > 0
    assert run.truth.total("records_acked") < run.truth.total("records_made")
    compare(run, double)


def test_faults_are_labelled_and_silence_is_silent() -> None:
    double = GatewayDouble()
    scenario = Scenario(
        seed=9,
        terminals=30,
        intervals=QUICK,
        ramp=0.2,
        profiles=Profiles(driving=1, idling=1, parked=1, sleeping=0),
        fault=[
            FaultPlan(kind="silence", count=6, at=0.8, spread=0.3, until=1.8),
            FaultPlan(kind="silence", count=3, at=0.8, mode="power"),
            FaultPlan(kind="firmware", count=5),
        ],
    )
    run = run_fleet(scenario, double, 2.6)
    faults = run.truth.faults
    assert Counter(fault.kind for fault in faults) == {"silence": 9, "firmware": 5}
    assert len({fault.terminal for fault in faults}) == 14
    assert run.truth.violations == []
    for fault in faults:
        if fault.kind == "silence":
            times = [row["received"] for row in double.rows if row["terminal"] == fault.terminal]
            assert any(t < fault.injected_at for t in times)
            # its last frame may just have left
            assert not any(fault.injected_at + 0.3 < t < (fault.ended_at or 1e12) for t in times)
            assert fault.ended_at is None or times[-1] > fault.ended_at
    compare(run, double)
    again = FleetRun(scenario, dict.fromkeys(NAMES, "127.0.0.1:1"))
    assert again.planned == run.planned
    assert again.firmware == run.firmware
    assert again.fleet == run.fleet
