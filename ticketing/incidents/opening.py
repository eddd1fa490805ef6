"""What a finding's ticket says, and who it is opened by: the watch, under the contract's clause on monitoring."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.verdicts import Finding
from ticketing.clocks.records import UNKNOWN_ZONE
from ticketing.tickets.opening import Draft, Evidence


@dataclass(frozen=True, slots=True)
class Case:
    """A finding with what its ticket will say. `subject` names the terminal in words; priority 1 (first) to 4."""

    finding: Finding
    subject: str
    evidence: Evidence
    priority: int = 3
    zone: str = UNKNOWN_ZONE
    zone_confidence: float = 0.0

    def draft(self) -> Draft:
        """The ticket, for who opens tickets."""
        reason = self.finding.explanation.reason
        return Draft(
            kind=self.finding.kind,
            terminal=self.finding.terminal,
            title=f"{self.subject}: {reason}",
            reason=reason,
            evidence=self.evidence,
            priority=self.priority,
            zone=self.zone,
        )
