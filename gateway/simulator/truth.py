"""The truth about a simulated fleet: what was sent, what was acknowledged, what was broken on purpose.

A record counts as acknowledged when its terminal was told to erase it. `Violation` is a word of the server that
would have made a terminal erase something else than it sent, or that no terminal can read.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from protocols.terminals import SentRecord
from ticketing.core import moments

_MAX_VIOLATIONS = 1000  # one wrong server repeats itself; the rest is only counted
_MAX_LATENCIES = 500_000  # the latest ones; 2 MB


@dataclass(frozen=True, slots=True)
class Violation:
    """A wrong word of the server; `at` Unix seconds."""

    terminal: str
    at: float
    what: str


@dataclass(slots=True)
class Fault:
    """A fault that was put in; `injected_at` Unix seconds, `ended_at` when it was taken back."""

    kind: str
    terminal: str
    injected_at: float
    detail: str = ""
    ended_at: float | None = None

    def as_json(self) -> dict[str, Any]:
        """For JSON: times as ISO text."""
        return {
            "kind": self.kind,
            "terminal": self.terminal,
            "injected_at": iso(self.injected_at),
            "detail": self.detail,
            "ended_at": iso(self.ended_at) if self.ended_at is not None else None,
        }


def iso(seconds: float) -> str:
    """Unix seconds → ISO text in UTC with milliseconds."""
    return moments.iso(datetime.fromtimestamp(seconds, UTC))


@dataclass(slots=True)
class Truth:
    """Counts always, single records only with `keep_records` (some 700 bytes each)."""

    keep_records: bool = False
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    records: list[SentRecord] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    violation_count: int = 0
    faults: list[Fault] = field(default_factory=list)
    latencies: array[float] = field(default_factory=lambda: array("f"))
    _next_latency: int = 0

    def count(self, protocol: str, what: str, by: int = 1) -> None:
        """Add to one of the counts."""
        self.counts[protocol, what] += by

    def total(self, what: str) -> int:
        """A count over all protocols."""
        return sum(value for (_, name), value in self.counts.items() if name == what)

    def made(self, record: SentRecord) -> None:
        """A terminal recorded something."""
        self.counts[record.spec.protocol, "records_made"] += 1
        if self.keep_records:
            self.records.append(record)

    def violation(self, terminal: str, at: float, what: str) -> None:
        """The server said something wrong."""
        self.violation_count += 1
        if len(self.violations) < _MAX_VIOLATIONS:
            self.violations.append(Violation(terminal, at, what))

    def acknowledged_after(self, seconds: float) -> None:
        """One frame's time from its last byte handed to the socket to its ack read."""
        if len(self.latencies) < _MAX_LATENCIES:
            self.latencies.append(seconds)
        else:
            self.latencies[self._next_latency] = seconds
            self._next_latency = (self._next_latency + 1) % _MAX_LATENCIES

    def latency_ms(self, share: float) -> float | None:
        """The quantile `share` of the ack times in milliseconds; None before the first ack."""
        if not self.latencies:
            return None
        ordered = sorted(self.latencies)
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 3)

    def summary(self) -> dict[str, Any]:
        """One JSON object of what was sent and acknowledged."""
        names = (
            "connections",
            "logins",
            "logins_refused",
            "frames_sent",
            "frames_resent",
            "frames_acked",
            "records_made",
            "records_sent",
            "records_acked",
            "records_dropped",
            "commands_heard",
            "commands_answered",
        )
        protocols = sorted({protocol for protocol, _ in self.counts})
        return {
            **{name: self.total(name) for name in names},
            "protocols": {p: {name: self.counts[p, name] for name in names} for p in protocols},
            "ack_p50_ms": self.latency_ms(0.50),
            "ack_p99_ms": self.latency_ms(0.99),
            "violations": self.violation_count,
            "violation_examples": [
                {"terminal": v.terminal, "at": iso(v.at), "what": v.what} for v in self.violations[:10]
            ],
            "faults": [fault.as_json() for fault in self.faults],
        }
