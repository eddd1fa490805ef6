"""The picture of false tickets against delay: a small month, two settings, every kind of vehicle."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import detection
from gateway.backtest.tables import beside
from gateway.simulator.month.build import write_month


@pytest.mark.soak
def test_a_month_under_two_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, truth = tmp_path / "m.npz", tmp_path / "t.csv"
    write_month(2, 40, 3, trace=trace, truth=truth, table=beside(trace))
    rows = detection.measure(trace, truth, "watch.silence.after", ["3", "100"], float("-inf"))
    often, seldom = (row["kinds"] for row in rows)
    assert set(often) == {detection.ALL, *(often.keys() - {detection.ALL})} > {"van", "long-haul"}
    days = {kind: its["terminal_days"] for kind, its in often.items()}
    assert days[detection.ALL] == pytest.approx(sum(days.values()) / 2, rel=1e-3)
    false = [kinds[detection.ALL]["false_per_1000_terminal_days"] for kinds in (often, seldom)]
    assert false[0] > 2 * false[1]
    told = detection.table("watch.silence.after", rows)
    assert f"{false[0]:>7}" in told
    drawn = ET.fromstring(detection.picture("watch.silence.after", rows, "a < b"))
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == len(often)
    assert capsys.readouterr().out == ""
