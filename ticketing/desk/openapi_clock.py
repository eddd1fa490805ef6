"""The schema of a ticket's clock: what `dozor clock --json --at` prints, and the ticket's side of it."""

from __future__ import annotations

from typing import Any

from ticketing.clocks.history import Verdict
from ticketing.working_time.budgets import Fires, Kind

_TEXT: dict[str, Any] = {"type": "string"}
_NUMBER: dict[str, Any] = {"type": "number"}
_WHOLE: dict[str, Any] = {"type": "integer"}
_INSTANT: dict[str, Any] = {"type": "string", "format": "date-time", "description": "with the offset of `time_zone`"}


def clock_schemas() -> dict[str, Any]:
    """Schemas by name; keys that are not required are left out where they say nothing."""
    budget = _object({"kind": _one_of(Kind), "minutes": _NUMBER, "days": _WHOLE}, optional=("minutes", "days"))
    interval = _object(
        {
            "from": _INSTANT,
            "to": _INSTANT,
            "counted_minutes": _NUMBER,
            "counted_days": _WHOLE,
            "why": _TEXT,
            "span": _TEXT,
            "text": _TEXT,
        },
        optional=("counted_minutes", "counted_days", "why"),
    )
    at = _object(
        {"instant": _INSTANT, "counted_minutes": _NUMBER, "fired": {"type": "boolean"}}, optional=("counted_minutes",)
    )
    breach = _object({"clock": _TEXT, "policy": _TEXT, "cycle": _WHOLE, "due": _INSTANT, "explained": _TEXT})
    texts = _object(
        {
            "rule": _TEXT,
            "start": _TEXT,
            "due": {"type": "array", "items": _TEXT},
            "stand": _TEXT,
            "stopped": _or_null(_TEXT),
        }
    )
    clock = _object(
        {
            "policy": _TEXT,
            "clock": _TEXT,
            "start": _INSTANT,
            "due": _or_null(_INSTANT),
            "budget": budget,
            "calendar": _or_null(_TEXT),
            "time_zone": _TEXT,
            "fires": _one_of(Fires),
            "policy_version": _WHOLE,
            "calendar_version": _or_null(_TEXT),
            "intervals": {"type": "array", "items": interval},
            "provisional": {"type": "boolean"},
            "at": at,
            "cycle": {"type": "integer", "description": "1 from the opening; each reopening begins the next"},
            "verdict": {"type": "string", "enum": [*map(str, Verdict), "unknown"]},
            "stopped": _or_null(_INSTANT),
            "breaches": {"type": "array", "items": breach},
            "problem": {"type": "string", "description": "why no due time can be told"},
            "texts": texts,
            "earlier": {"type": "array", "items": {"$ref": "#/components/schemas/Clock"}},
        },
        optional=("provisional", "at", "problem", "earlier"),
    )
    clock["description"] = (
        "A clock of a ticket: what `dozor clock --json` prints, how it stands now (or when it stopped), and the same "
        "in words. `earlier` holds the cycles before a reopening."
    )
    return {"Clock": clock}


def _object(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _one_of(words: type[Kind] | type[Fires]) -> dict[str, Any]:
    return {"type": "string", "enum": [str(word) for word in words]}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}
