"""Counters of several processes as one."""

from __future__ import annotations

import numpy as np
from prometheus_client.exposition import generate_latest

from gateway.metrics import ReceiveMetrics, new_registry, process_numbers

NAMES = ["teltonika", "omnicomm"]


def _counted(seed: int) -> ReceiveMetrics:
    metrics = ReceiveMetrics(NAMES)
    metrics.load(np.arange(len(metrics.snapshot())) * float(seed))
    metrics.ack[1].observe(np.array([0.001, 0.3, 99.0]))
    metrics.refused["limit"] += 1
    return metrics


def _shown(metrics: ReceiveMetrics) -> dict[str, float]:
    found = {}
    for family in metrics.collect():
        for sample in family.samples:
            found[f"{sample.name}{sorted(sample.labels.items())}"] = float(sample.value)
    return found


def test_a_snapshot_is_everything() -> None:
    metrics, copy = _counted(3), ReceiveMetrics(NAMES)
    copy.load(metrics.snapshot())
    assert _shown(copy) == _shown(metrics)
    assert len(_shown(metrics)) > 100


def test_snapshots_add_up() -> None:
    one, other, both = _counted(2), _counted(5), ReceiveMetrics(NAMES)
    both.load(one.snapshot() + other.snapshot())
    shown = [_shown(metrics) for metrics in (one, other, both)]
    for name, total in shown[2].items():
        if not name.startswith(("dozor_queue", "dozor_store_up")):
            assert total == shown[0][name] + shown[1][name], name
    assert one.gauges == len(NAMES)
    np.testing.assert_array_equal(one.snapshot()[: one.gauges], one.connections)


def test_processes_are_summed_but_for_the_start() -> None:
    own = process_numbers()
    worker = {"process_cpu_seconds": 1000.0, "process_open_fds": 50.0, "process_start_time_seconds": 1e12}
    text = generate_latest(new_registry(lambda: [worker, {"process_cpu_seconds": 500.0}])).decode()
    shown = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("process_"))
    assert set(own) == {name.removesuffix("_total") for name in shown}
    assert float(shown["process_cpu_seconds_total"]) >= 1500
    assert float(shown["process_open_fds"]) > 50
    assert float(shown["process_start_time_seconds"]) < 1e12
