"""Stored policies of earlier releases, brought to today's format.

Before format 2 a ticket had one clock, the policy's `ticket_clock`; the rest was checked and kept, and ruled nothing.
Names of then become those of now; what has none any more is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LETTERS = {
    "ticket-opened": "ack",
    "work-started": "work_started",
    "clarification-needed": "question",
    "update-due": "progress",
    "eta-known": "eta",
    "eta-passed": "delay",
    "recovered": "recovered",
    "closed": "closed",
    "official-answer": "official",
    "service-unavailable": "outage",
    "service-restored": "outage_end",
    "deferred": "deferral",
}
_DEFERRALS = {
    "not-reproducible": "not_reproducible",
    "not-enough-data": "no_data",
    "requirements-broken": "misuse",
    "out-of-scope": "out_of_scope",
}
_STATES = {"visit_planned": "visit"}


def upgraded(content: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data that today's format accepts; what is of today already is unchanged."""
    found = dict(content)
    if "format" in found:
        return found
    found["format"] = 1
    found["clock"] = [
        {**clock, "pauses_in": [_STATES.get(state, state) for state in clock.get("pauses_in", ())]}
        for clock in found.get("clock", ())
    ]
    found["letter"] = [
        {"kind": _LETTERS[letter["trigger"]], "to": letter["to"], "requirements": letter.get("requirements", [])}
        for letter in found.get("letter", ())
        if letter.get("trigger") in _LETTERS
    ]
    found["deferral"] = [
        {**deferral, "code": _DEFERRALS.get(deferral["code"], deferral["code"])}
        for deferral in found.get("deferral", ())
    ]
    return found
