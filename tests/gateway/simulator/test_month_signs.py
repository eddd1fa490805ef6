"""What faults of a month show: each sign now and then, of the well too, and never so that a sign is the cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.zones import Case, sample
from gateway.backtest.tables import read_terminals, read_truth
from gateway.backtest.trace import Ending, Kind, Trace
from gateway.simulator.month.build import Month, write_month

DAYS, TERMINALS = 10, 150


class Sick:
    """Ten days in which every terminal gets a fault; read whole."""

    def __init__(self, folder: Path) -> None:
        trace, truth, table = folder / "m.npz", folder / "t.csv", folder / "k.csv"
        self.month: Month = write_month(DAYS, TERMINALS, 7, trace=trace, truth=truth, table=table, faulty=3.0)
        opened = Trace(trace)
        parts = list(opened.slices())
        self.names = opened.names
        self.rows = {name: np.concatenate([part[name] for part in parts]) for name in opened.columns}
        self.known = read_terminals(table)
        self.begins = {fault.terminal: fault.begins for fault in read_truth(truth) if fault.terminal is not None}
        starts = np.array([self.begins.get(name, np.inf) for name in self.names])
        terminal = self.rows["terminal"]
        self.after = self.rows["received"] / 1e6 - np.where(terminal < 0, np.inf, starts[terminal])  # s since its fault

    def of_protocol(self, name: str) -> NDArray[np.bool_]:
        speaks = np.array([self.known[each]["protocol"] == name for each in self.names])
        told: NDArray[np.bool_] = speaks[self.rows["terminal"]] & (self.rows["terminal"] >= 0)
        return told


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Sick:
    return Sick(tmp_path_factory.mktemp("sick"))


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return sample(8, TERMINALS)


def test_each_end_of_a_connection_tells_what_it_brought(sick: Sick) -> None:
    rows, closed = sick.rows, sick.rows["kind"] == Kind.DISCONNECTED
    for name in ("frames", "malformed", "ended"):
        assert not np.isnan(rows[f"connection.{name}"][closed]).any()
        assert np.isnan(rows[f"connection.{name}"][~closed]).all()
    ended = rows["connection.ended"][closed]
    assert set(np.unique(ended)) == {Ending.IN_ORDER, Ending.LOST, Ending.TIMED_OUT, Ending.REPLACED}
    order = np.lexsort((np.arange(len(rows["kind"])), rows["terminal"]))
    ways = order[np.isin(rows["kind"][order], [Kind.CONNECTED, Kind.DISCONNECTED])]
    same = rows["terminal"][ways[1:]] == rows["terminal"][ways[:-1]]
    ends = rows["kind"][ways] == Kind.DISCONNECTED
    assert (ends[1:] & ends[:-1] & same).sum() == 0  # an end follows a beginning


def test_protocols_tell_what_they_can(sick: Sick) -> None:
    record = sick.rows["kind"] == Kind.RECORD
    for measure, protocol in (
        ("power.battery", "teltonika"), ("power.backup", "omnicomm"), ("case.open", "omnicomm"), ("event", "omnicomm"),
        ("unit.id", "omnicomm"),
    ):  # fmt: skip
        told = ~np.isnan(sick.rows[measure])
        np.testing.assert_array_equal(told, record & sick.of_protocol(protocol))


def test_signs_are_of_the_sick_and_now_and_then_of_the_well(sick: Sick) -> None:
    rows, near = sick.rows, (sick.after > -86_400) & (sick.after < 0)
    well = (sick.after < -86_400) & (rows["terminal"] >= 0)
    with np.errstate(invalid="ignore"):
        signs = {
            "supply gone": rows["voltage"] < 1.5,
            "restart": rows["event"] == 3,
            "weak signal": rows["gsm.signal"] <= 20,
            "damaged": rows["connection.malformed"] > 0,
            "reset": rows["connection.ended"] == Ending.LOST,
        }
    for name, seen in signs.items():
        carried = ~np.isnan(rows["connection.ended"]) if name in ("damaged", "reset") else rows["kind"] == Kind.RECORD
        sick_share, well_share = seen[near & carried].mean(), seen[well & carried].mean()
        assert sick_share > 0, name
        assert well_share < 0.2, name
        if name != "restart":  # four terminals of a hundred, in thirty days
            assert well_share > 0, name
    late = (sick.after > 0) & (rows["connection.frames"] == 0)
    assert late.any()


def test_no_cause_can_be_read_off(cases: list[Case]) -> None:
    """Each zone has faults that nothing told of, and none is named right always."""
    for zone in ("wiring-power", "terminal", "sim-operator", "network-path"):
        its = [case for case in cases if case.zone == zone]
        assert any(not case.told for case in its), zone
        assert any(case.named.zone != zone for case in its), zone
    assert not any(case.told for case in cases if case.zone == "sim-operator")
    for alike in (("faded", "dipped", "halved"), ("empty", "empty once"), ("cut", "cut at rest", "sagged"), ("reset",)):
        assert len({case.zone for case in cases if set(alike) & set(case.signs)}) > 1, alike


def test_where_something_told_the_zone_is_named_right(cases: list[Case]) -> None:
    told: Any = [case.named.zone == case.zone for case in cases if case.told]
    untold: Any = [case.named.zone == case.zone for case in cases if not case.told]
    assert len(told) > 0.35 * len(cases)
    assert np.mean(told) >= 0.85
    assert np.mean(told) > np.mean(untold)
    unknown = np.mean([case.named.zone == "unknown" for case in cases])
    assert unknown <= 0.1


def test_a_confidence_is_a_share_of_right_names(cases: list[Case]) -> None:
    sure = [case.named.zone == case.zone for case in cases if case.named.confidence >= 0.8]
    unsure = [case.named.zone == case.zone for case in cases if case.named.confidence < 0.6]
    assert np.mean(sure) >= 0.85
    assert np.mean(unsure) <= 0.65
