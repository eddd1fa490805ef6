"""The watch's own work as metrics: how long its ticks take, whether it believes its ears, who is silent together."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)  # s; 50 ms is what a million terminals may take


class Ticks:
    """Durations, counted by bound."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def took(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds

    def metric(self) -> Metric:
        """As a histogram."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return HistogramMetricFamily(
            "dozor_watch_tick_seconds", "Duration of one look at the whole fleet", buckets=buckets, sum_value=self._sum
        )


def watch_metrics(ticks: Ticks, members: int, *, listens: bool) -> Iterator[Metric]:
    """What the watch says of itself."""
    yield ticks.metric()
    yield GaugeMetricFamily(
        "dozor_mass_silence_members", "Terminals in groups that are silent together, of whatever kind", float(members)
    )
    yield GaugeMetricFamily("dozor_listening", "0 while the gateway doubts its own ears", float(listens))
