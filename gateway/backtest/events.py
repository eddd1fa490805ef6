"""What a backtest tells: one event a decision, in the order of virtual time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.backtest.tables import iso


@dataclass(frozen=True, slots=True)
class Event:
    """`at` is Unix seconds; `terminal` an identity, None of many; `parent` the group's incident of a member."""

    at: float
    event: str  # opened, attached, recovered, relapsed, detached, changed, platform
    kind: str
    terminal: str | None
    incident: int
    parent: int | None = None
    group: Mapping[str, str] | None = None
    members: int = 0
    zone: str = "unknown"
    zone_confidence: float = 0.0
    reason: str = ""

    def as_json(self) -> str:
        """One line."""
        told = {
            "at": iso(self.at),
            "event": self.event,
            "kind": self.kind,
            "terminal": self.terminal,
            "incident": self.incident,
            "parent": self.parent,
            "group": self.group,
            "members": self.members,
            "zone": self.zone,
            "zone_confidence": self.zone_confidence,
            "reason": self.reason,
        }
        return json.dumps(told, separators=(",", ":"), ensure_ascii=False)
