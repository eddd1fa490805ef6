"""A mixed month: the same of the same seed, with what real fleets do in it, and a truth that holds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.backtest.tables import Fault, read_terminals, read_truth
from gateway.backtest.trace import Kind, Trace
from gateway.cli import main
from gateway.simulator.month import facts
from gateway.simulator.month.build import write_month

PAGE = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")
DAYS, TERMINALS = 12, 150


class Whole:
    """A month, read whole."""

    def __init__(self, folder: Path, seed: int, terminals: int = TERMINALS, days: int = DAYS) -> None:
        self.files = [folder / f"{seed}.npz", folder / f"{seed}.csv", folder / f"{seed}.terminals.csv"]
        self.month = write_month(days, terminals, seed, trace=self.files[0], truth=self.files[1], table=self.files[2])
        trace = Trace(self.files[0])
        parts = list(trace.slices())
        self.names = trace.names
        self.rows = {name: np.concatenate([part[name] for part in parts]) for name in trace.columns}
        self.truth = read_truth(self.files[1])
        self.known = read_terminals(self.files[2])

    def of(self, name: str) -> dict[str, NDArray[Any]]:
        own = (self.rows["terminal"] == self.names.index(name)) & (self.rows["kind"] < Kind.CONNECTED)
        return {column: values[own] for column, values in self.rows.items()}

    def heard(self, name: str) -> NDArray[np.float64]:
        return self.of(name)["received"] / 1e6

    def kind(self, name: str) -> str:
        return self.known[name]["name"].split()[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(tmp_path_factory.mktemp("month"), 5)


def test_same_seed_same_month(tmp_path: Path) -> None:
    first, again, other = (Whole(tmp_path / name, seed, 30, 3) for name, seed in _folders(tmp_path))
    for name, values in first.rows.items():
        np.testing.assert_array_equal(values, again.rows[name])
    assert (first.truth, first.known) == (again.truth, again.known)
    assert len(first.rows["received"]) != len(other.rows["received"])


def _folders(tmp_path: Path) -> list[tuple[str, int]]:
    made = [("a", 3), ("b", 3), ("c", 4)]
    for name, _ in made:
        (tmp_path / name).mkdir()
    return made


def test_every_kind_of_vehicle_and_of_row_is_there(whole: Whole) -> None:
    assert {whole.kind(name) for name in whole.names} == set(facts.KINDS)
    assert set(np.unique(whole.rows["kind"])) == set(Kind)
    assert len(whole.names) == whole.month.terminals == TERMINALS
    assert len(whole.rows["received"]) == whole.month.rows
    assert {its["operator"] for its in whole.known.values()} == set(facts.OPERATORS)
    unwired = np.mean(
        [(whole.of(name)["ignition"] == -1).all() for name in whole.names if whole.kind(name) != "trailer"]
    )
    assert 0.03 < unwired < 0.45


def test_rhythms_are_those_of_the_kinds(whole: Whole) -> None:
    def gaps(kind: str) -> NDArray[np.float64]:
        return np.concatenate([np.diff(whole.heard(name)) for name in whole.names if whole.kind(name) == kind])

    assert 11 * 3600 < np.median(gaps("trailer")) < 25 * 3600
    assert 14 < np.median(gaps("bus")) < 31
    assert 20 < np.median(gaps("van")) < 46
    # Mornings after a night without a battery, and after a weekend of it.
    dark = gaps("excavator")
    assert ((dark > 11 * 3600) & (dark < 20 * 3600)).any()
    assert (dark > 60 * 3600).any()


def test_holes_lie_at_places_and_what_was_recorded_there_comes_afterwards_in_a_burst(whole: Whole) -> None:
    lorries = [name for name in whole.names if whole.kind(name) == "long-haul"]
    archive = [whole.of(name) for name in lorries]
    share = np.mean(np.concatenate([rows["archive"][rows["kind"] == Kind.RECORD] for rows in archive]))
    assert 0.02 < share < 0.35
    late = np.concatenate([(rows["received"] - rows["time"])[rows["archive"] == 1] / 1e6 for rows in archive])
    assert np.median(late) > 300
    # Where one of them was silent while it moved, another of its road was too, or it itself on another pass.
    cells: dict[tuple[float, float], int] = {}
    for rows in archive:
        waited = (rows["archive"] == 1) & (rows["moving"] == 1)
        places = set(
            zip(np.round(rows["lat"][waited], 1).tolist(), np.round(rows["lon"][waited], 1).tolist(), strict=True)
        )
        for place in places:
            cells[place] = cells.get(place, 0) + 1
    assert max(cells.values()) > 1


def test_a_fault_that_lasts_is_silence(whole: Whole) -> None:
    own = [fault for fault in whole.truth if fault.terminal is not None]
    assert own
    for fault in own:
        heard = whole.heard(str(fault.terminal))
        within = ((heard > fault.begins + 180) & (heard < fault.ends - 1)).sum()
        if fault.zone == "wiring-power":
            assert within == 0
        assert within < 0.2 * len(heard) + 200  # an antenna is heard near a mast
        assert (heard < fault.begins).any()


def test_an_outage_silences_its_group_and_nobody_else(whole: Whole) -> None:
    outage = next(fault for fault in whole.truth if fault.group_by == "operator")
    firewall = next(fault for fault in whole.truth if fault.group_by == "protocol")
    for fault in (outage, firewall):
        inside = _during(whole, fault)
        members = np.array([whole.known[name][str(fault.group_by)] == fault.group_value for name in whole.names])
        assert inside[~members].any()
        assert inside[members].mean() < 0.1 if fault is outage else not inside[members].any()


def _during(whole: Whole, fault: Fault) -> NDArray[np.bool_]:
    """Who was heard in it, but for what was on its way."""
    received = whole.rows["received"] / 1e6
    span = (received > fault.begins + 180) & (received < fault.ends) & (whole.rows["kind"] < Kind.CONNECTED)
    return np.isin(np.arange(len(whole.names)), whole.rows["terminal"][span])


def test_while_we_do_not_listen_nothing_arrives(whole: Whole) -> None:
    own = whole.rows["terminal"] == -1
    kinds, at = whole.rows["kind"][own], whole.rows["received"][own]
    assert kinds[0] == Kind.LISTENING
    ours = [fault for fault in whole.truth if fault.group_by == "gateway"]
    assert (kinds == Kind.DEAF).sum() == len(ours) > 1
    for begin in at[kinds == Kind.DEAF]:
        end = at[(at > begin) & (kinds == Kind.LISTENING)][0]
        between = (whole.rows["received"] >= begin) & (whole.rows["received"] <= end) & ~own
        assert not between.any()


def test_every_number_has_its_reason_in_the_page_and_is_used() -> None:
    numbers = {name for name in vars(facts) if name.isupper()} - {
        "KINDS",
        "MINUTE",
        "HOUR",
        "DAY",
        "ZONE",
        "START",
        "UTC",
    }
    assert {name for name in numbers if f"`{name}`" not in PAGE} == set()
    rows = re.findall(
        r"^\| `([a-z-]+)` \| ([\d.]+) \| (\d+) (s|min|h) \|.*?\| ([\d.]+) \| [^|]* h \| ([\d.]+) \| (\d+) \|",
        PAGE,
        re.M,
    )
    assert {row[0] for row in rows} == set(facts.KINDS)
    for kind, share, moving, unit, sleeps, switched, kmh in rows:
        its = facts.KINDS[kind]
        seconds = int(moving) * {"s": 1, "min": 60, "h": 3600}[unit]
        assert (float(share), seconds, float(sleeps), float(switched)) == (
            its.share,
            its.moving,
            its.sleeps,
            its.switched,
        )
        assert int(kmh) == round(its.speed * 3.6)


def test_the_command_writes_three_files_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "--trace", str(tmp_path / "m.npz"), "--truth", str(tmp_path / "t.csv"), "--days", "2"]
    assert main([*words, "--terminals", "12", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["terminals"] == 12
    assert told["rows"] == Trace(tmp_path / "m.npz").rows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.npz", "m.terminals.csv", "t.csv"]
    for wrong, said in (
        ([*words, "--target", "127.0.0.1:1"], "--target has no meaning with --trace"),
        (words[:3] + words[5:], "--truth is missing"),
        (["simulate", "--days", "2"], "--days and --terminals-csv belong to --trace"),
        ([*words, "--seed", "-1"], "--seed -1: give 0 or more"),
    ):
        assert main(wrong) == 2
        assert said in capsys.readouterr().err
    assert main([*words[:2], str(tmp_path / "none" / "m.npz"), *words[3:]]) == 2
    assert "cannot be written to: No such file or directory" in capsys.readouterr().err
