"""Incidents, tickets and their promises, and commands as metrics: what the store counted a few seconds ago."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from protocols.registry import PROTOCOLS, no_commands
from ticketing.commands import STATES
from ticketing.tickets.store import Counts


def ticket_metrics(told: Counts, kinds: Iterable[str], clocks: Iterable[str]) -> Iterator[Metric]:
    """Each of `kinds` and of `clocks` has its sample from the beginning, so that the first increase is seen."""
    kinds = tuple(kinds)
    for family, name, text, label, names, values in (
        (GaugeMetricFamily, "dozor_incidents_open", "Open incidents", "kind", kinds, told.incidents_open),
        (GaugeMetricFamily, "dozor_tickets_open", "Tickets that are not closed", "kind", kinds, told.tickets_open),
        (CounterMetricFamily, "dozor_tickets_opened", "Tickets opened, ever", "kind", kinds, told.tickets_opened),
        (GaugeMetricFamily, "dozor_tickets", "Tickets by state", "state", (), told.tickets_by_state),
        (CounterMetricFamily, "dozor_ticket_breaches", "Promises broken, ever", "clock", clocks, told.breaches),
    ):
        metric = family(name, text, labels=[label])
        for value in dict.fromkeys((*names, *sorted(values))):
            metric.add_metric([value], values.get(value, 0))
        yield metric
    yield GaugeMetricFamily("dozor_tickets_overdue", "Open tickets whose clock runs beyond its due time", told.overdue)
    yield GaugeMetricFamily("dozor_tickets_unowned", "Open tickets that nobody has", told.unowned)
    yield GaugeMetricFamily(
        "dozor_clock_overdue_seconds", "How late the look at a ticket's clock is", told.clock_lateness
    )


def command_metrics(told: Mapping[tuple[str, str], int]) -> Metric:
    """Commands that ever came into each state; protocols that have them show all states from the beginning."""
    metric = CounterMetricFamily("dozor_commands", "Commands to terminals, ever", labels=["protocol", "state"])
    able = [(name, state) for name in PROTOCOLS if not no_commands(name) for state in STATES]
    for protocol, state in dict.fromkeys((*able, *sorted(told))):
        metric.add_metric([protocol or "unknown", state], told.get((protocol, state), 0))
    return metric
