"""What the desk shows of a terminal's silence: when it is expected, whether it is overdue, when a ticket comes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from detectors.silence import Silence
from gateway.watch.fleet import Fleet
from ticketing.kit.ports import Rhythm


def outlook_of(fleet: Fleet, row: int) -> dict[str, Any]:
    """Fields of `Terminal`; none where the fleet does not know the terminal."""
    silence = fleet.detectors.get(Silence.kind)
    if not isinstance(silence, Silence) or row >= fleet.rows:
        return {}
    found, now = silence.outlook(fleet.view(Silence.kind), row), fleet.listening.now

    def moment(seconds: float | None) -> datetime | None:
        return None if seconds is None else datetime.fromtimestamp(now + seconds, UTC)

    late = found.overdue and found.expected_in is not None
    return {
        "expected_next": moment(found.expected_in),
        "overdue": found.overdue,
        "overdue_s": round(max(-(found.expected_in or 0.0), 0.0), 3) if late else None,
        "ticket_at": moment(found.ticket_in),
        "regime": found.regime or None,
        "rhythm": {state: Rhythm(its.interval_s, its.quantile_s, its.gaps) for state, its in found.rhythm.items()},
    }
