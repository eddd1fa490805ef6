"""How fast a month passes: a fifth of it, in seconds of CPU time."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from gateway.backtest.study import Period, study
from gateway.backtest.tables import beside, read_terminals, read_truth
from gateway.backtest.trace import Trace
from gateway.configuration.reading import load
from gateway.simulator.month.build import write_month

MONTH = 180.0  # s that 2 000 terminals may take for thirty days
DAYS = 6
MEMORY = 1 << 30  # bytes


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.timing
def test_two_thousand_terminals(tmp_path: Path) -> None:
    trace, truth = tmp_path / "m.npz", tmp_path / "t.csv"
    write_month(DAYS, 2000, 11, trace=trace, truth=truth, table=beside(trace))
    before = psutil.Process().memory_info().rss
    started = time.process_time()
    result = study(
        Trace(trace), load(None, {}, implicit=False), read_terminals(beside(trace)), read_truth(truth), Period()
    )
    assert result.summary["terminal_days"] > 0.9 * 2000 * DAYS
    assert time.process_time() - started < MONTH * DAYS / 30
    assert psutil.Process().memory_info().rss - before < MEMORY
