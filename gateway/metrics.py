"""What /metrics shows. Counters of the hot path are numpy arrays, read when Prometheus asks.

Names and labels are the public contract. No label grows with the fleet.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway import VERSION
from protocols.records import MALFORMED_REASONS

_log = structlog.get_logger()

ACK_BOUNDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.5, 5.0, 10.0, 30.0)
RECORD_BOUNDS = (1, 4, 16, 64, 256, 1024, 4096, 16384)
REFUSED_REASONS = (
    "limit", "address_limit", "not_allowed", "login_rate", "registration_rate", "record_rate", "tls", "proxy_header",
    "proxy_untrusted", "store", "stopping", "replaced",
)  # fmt: skip
QUARANTINE_REASONS = (
    "unregistered", "structure", "codec", "count", "time", "position", "value", "store", "decoder", "checksum",
    "length", "truncated", "unsupported", "login", "topic", "protocol", "identity", "retained", "other",
)  # fmt: skip
LOGIN_RESULTS = ("accepted", "refused", "quarantined")


class Histogram:
    """A histogram filled by arrays: one call per batch."""

    __slots__ = ("_bounds", "_edges", "_labels", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._edges = list(bounds)
        self._bounds = np.array(bounds)
        self._labels = [f"{bound:g}" if bound != int(bound) else f"{bound:.1f}" for bound in bounds] + ["+Inf"]
        self.counts = np.zeros(len(bounds) + 1, np.int64)
        self.sum = 0.0

    def observe(self, values: NDArray[np.float64]) -> None:
        """Count each value, shape (n,)."""
        self.counts += np.bincount(np.searchsorted(self._bounds, values), minlength=len(self.counts))
        self.sum += float(values.sum())

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect.bisect_left(self._edges, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """(le, cumulative count) as Prometheus has them."""
        return list(zip(self._labels, np.cumsum(self.counts).astype(float).tolist(), strict=True))


class ReceiveMetrics(Collector):
    """Counters of receiving and storing, one array cell per protocol."""

    def __init__(self, protocols: Sequence[str]) -> None:
        n = len(protocols)
        self.protocols = list(protocols)
        self.connections = np.zeros(n, np.int64)
        self.accepted = np.zeros(n, np.int64)
        self.logins = {result: np.zeros(n, np.int64) for result in LOGIN_RESULTS}
        self.frames = np.zeros(n, np.int64)
        self.records = np.zeros(n, np.int64)
        self.duplicates = np.zeros(n, np.int64)
        self.malformed = {reason: np.zeros(n, np.int64) for reason in MALFORMED_REASONS}
        self.quarantined = {reason: np.zeros(n, np.int64) for reason in QUARANTINE_REASONS}
        self.refused = dict.fromkeys(REFUSED_REASONS, 0)
        self.ack = [Histogram(ACK_BOUNDS) for _ in protocols]
        self.commit = Histogram(ACK_BOUNDS)
        self.batch = Histogram(RECORD_BOUNDS)
        self.queue: Callable[[], int] = lambda: 0
        self.store_up: Callable[[], bool] = lambda: False
        self.lines: Callable[[], dict[str, dict[str, int]]] = dict  # requests by port and result

    def count_quarantined(self, protocol: int, reason: str) -> None:
        """One more frame in quarantine; a reason outside the bounded list counts as `other`."""
        self.quarantined.get(reason, self.quarantined["other"])[protocol] += 1

    def _arrays(self) -> list[NDArray[np.int64]]:
        return [
            self.connections, self.accepted, self.frames, self.records, self.duplicates,
            *self.logins.values(), *self.malformed.values(), *self.quarantined.values(),
            *(histogram.counts for histogram in self._histograms()),
        ]  # fmt: skip

    def _histograms(self) -> list[Histogram]:
        return [*self.ack, self.commit, self.batch]

    @property
    def gauges(self) -> int:
        """How many elements of `snapshot`, the first ones, are gauges."""
        return len(self.connections)

    def snapshot(self) -> NDArray[np.float64]:
        """All numbers as one float64 array, for `load`; those of several processes can be added."""
        sums = [histogram.sum for histogram in self._histograms()]
        return np.concatenate([*self._arrays(), np.array([*self.refused.values(), *sums], np.float64)])

    def load(self, snapshot: NDArray[np.float64]) -> None:
        """Show these numbers."""
        at = 0
        for array in self._arrays():
            array[:] = snapshot[at : at + len(array)]
            at += len(array)
        for reason in self.refused:
            self.refused[reason] = int(snapshot[at])
            at += 1
        for histogram in self._histograms():
            histogram.sum = float(snapshot[at])
            at += 1

    def collect(self) -> Iterable[Metric]:
        """Everything as metric families."""
        yield self._per_protocol(GaugeMetricFamily, "dozor_connections", "Open connections", self.connections)
        yield self._per_protocol(
            CounterMetricFamily, "dozor_connections_accepted", "Connections accepted", self.accepted
        )
        yield self._by("dozor_logins", "Logins by result", "result", self.logins)
        yield self._per_protocol(
            CounterMetricFamily, "dozor_frames", "Record-bearing frames that passed their checks", self.frames
        )
        yield self._per_protocol(CounterMetricFamily, "dozor_records", "Records stored", self.records)
        yield self._per_protocol(
            CounterMetricFamily, "dozor_records_duplicate", "Records recognised as resent", self.duplicates
        )
        yield self._by("dozor_frames_malformed", "Damaged frames or runs of unreadable bytes", "reason", self.malformed)
        yield self._by(
            "dozor_frames_quarantined", "Frames stored raw because they cannot be decoded", "reason", self.quarantined
        )
        refused = CounterMetricFamily("dozor_connections_refused", "Connections refused", labels=["reason"])
        for reason, count in self.refused.items():
            refused.add_metric([reason], count)
        yield refused
        ack = HistogramMetricFamily("dozor_ack_seconds", "Frame complete to ack written", labels=["protocol"])
        for name, histogram in zip(self.protocols, self.ack, strict=True):
            ack.add_metric([name], histogram.buckets(), histogram.sum)
        yield ack
        yield _histogram("dozor_commit_seconds", "Duration of a batch's commit in the store", self.commit)
        yield _histogram("dozor_batch_records", "Records in a batch", self.batch)
        yield GaugeMetricFamily("dozor_queue_frames", "Frames waiting for their commit", self.queue())
        yield GaugeMetricFamily("dozor_store_up", "Whether the store answers", float(self.store_up()))
        lines = CounterMetricFamily("dozor_line_requests", "Requests on serial lines", labels=["port", "result"])
        for port, results in self.lines().items():
            for result, count in results.items():
                lines.add_metric([port, result], count)
        yield lines

    def _per_protocol(self, family: Any, name: str, text: str, values: NDArray[np.int64]) -> Metric:
        metric: Metric = family(name, text, labels=["protocol"])
        for protocol, value in zip(self.protocols, values.tolist(), strict=True):
            metric.add_metric([protocol], value)  # type: ignore[attr-defined]  # both families have it
        return metric

    def _by(self, name: str, text: str, label: str, values: dict[str, NDArray[np.int64]]) -> Metric:
        metric = CounterMetricFamily(name, text, labels=["protocol", label])
        for key, counts in values.items():
            for protocol, value in zip(self.protocols, counts.tolist(), strict=True):
                metric.add_metric([protocol, key], value)
        return metric


def add_counts(total: dict[str, dict[str, int]], more: Mapping[str, Mapping[str, int]]) -> None:
    """Add counts by two labels."""
    for one, counts in more.items():
        its = total.setdefault(one, {})
        for other, count in counts.items():
            its[other] = its.get(other, 0) + count


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(name, text, buckets=histogram.buckets(), sum_value=histogram.sum)


class Callback(Collector):
    """Families computed when asked; one that cannot be computed is logged once, and leaves the others alone."""

    def __init__(self, compute: Callable[[], Iterator[Metric]]) -> None:
        self._compute = compute
        self._failing = False

    def collect(self) -> Iterable[Metric]:
        """What the callback yields."""
        try:
            yield from self._compute()
        except Exception:
            if not self._failing:
                _log.exception("a metric cannot be computed")
            self._failing = True
        else:
            self._failing = False


def process_numbers() -> dict[str, float]:
    """Processor time, memory and descriptors of this process, by metric name."""
    families = ProcessCollector(registry=None).collect()
    return {family.name: family.samples[0].value for family in families}


class Processes(Collector):
    """The usual `process_…` metrics of this process and its workers together; the start is this one's."""

    def __init__(self, workers: Callable[[], Iterable[dict[str, float]]]) -> None:
        self._workers = workers
        self._own = ProcessCollector(registry=None)

    def collect(self) -> Iterable[Metric]:
        """Summed families."""
        workers = list(self._workers())
        for family in self._own.collect():
            if family.name != "process_start_time_seconds":
                family.samples = [
                    sample._replace(value=sample.value + sum(worker.get(family.name, 0.0) for worker in workers))
                    for sample in family.samples
                ]
            yield family


def new_registry(workers: Callable[[], Iterable[dict[str, float]]] = lambda: ()) -> CollectorRegistry:
    """A registry with the build's metrics and those of this process, `workers`' (as `process_numbers`) added."""
    registry = CollectorRegistry()
    registry.register(Processes(workers))
    build = Gauge("dozor_build_info", "The version that runs", ["version"], registry=registry)
    build.labels(VERSION).set(1)
    return registry


__all__ = ["Callback", "Counter", "Histogram", "ReceiveMetrics", "add_counts", "new_registry"]
