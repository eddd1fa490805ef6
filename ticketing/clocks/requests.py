"""Clock questions as text: the same fields for the command line and for a line of a batch.

Instants are ISO 8601; without an offset they are wall time in the clock's zone, of two equal readings the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from ticketing import policies
from ticketing.clocks import walk as clocks
from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.time_zones import Zone, instant

TEXT_FIELDS = ("policy", "clock", "start", "calendar", "time_zone", "hours", "days", "budget", "at")
REQUIRED = ("policy", "clock", "start")
FIELDS = (*TEXT_FIELDS, "pauses")

_HAS_TIME = re.compile(r"[0-9W-]+[Tt ][0-9]{2}")


def answer(fields: Mapping[str, object]) -> tuple[clocks.ClockResult, int | None]:
    """The answer to one question, and the instant of `at` if it was asked.

    `fields` holds text under the names in `TEXT_FIELDS` and a list of `FROM..TO` under `pauses`; None means not given.

    Raises
    ------
    ClockInputError
        Naming the field and the remedy.
    """
    texts: dict[str, str | None] = dict.fromkeys(TEXT_FIELDS)
    pauses: Sequence[str] = ()
    for name, value in fields.items():
        if value is None:
            continue
        if name == "pauses":
            if not isinstance(value, list) or not all(isinstance(pause, str) for pause in value):
                raise ClockInputError("pauses", "it is no list of texts", 'Write ["FROM..TO", "FROM.."]')
            pauses = value
        elif name not in texts:
            raise ClockInputError(name, "unknown field", f"Known fields: {', '.join(FIELDS)}")
        elif not isinstance(value, str):
            raise ClockInputError(name, f"{value!r} is no text", "Write it in quotes, as on the command line")
        else:
            texts[name] = value
    for name in REQUIRED:
        if texts[name] is None:
            raise ClockInputError(name, "it is missing", f"Give at least {', '.join(REQUIRED)}")
    parts = _rule(
        str(texts["policy"]),
        str(texts["clock"]),
        texts["calendar"],
        texts["time_zone"],
        texts["hours"],
        texts["days"],
        texts["budget"],
    )
    start = parse_instant(str(texts["start"]), parts.zone, "start")
    spans = [parse_pause(text, parts.zone) for text in pauses]
    at = None if texts["at"] is None else parse_instant(texts["at"], parts.zone, "at")
    return clocks.run(parts, start, spans), at


@lru_cache(maxsize=1024)
def _rule(
    policy: str,
    clock: str,
    calendar: str | None,
    time_zone: str | None,
    hours: str | None,
    days: str | None,
    budget: str | None,
) -> clocks.Rule:
    return clocks.rule(
        policies.get(policy), clock, calendar=calendar, time_zone=time_zone, hours=hours, days=days, budget=budget
    )


def parse_instant(text: str, zone: Zone, field: str) -> int:
    """Microseconds since the epoch of ISO 8601 text; without an offset the reading of `zone`."""
    text = text.strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ClockInputError(field, f"{text!r} is no instant ({error})", "Write 2025-10-31T17:00:00+03:00") from error
    if not _HAS_TIME.match(text):
        raise ClockInputError(field, f"{text!r} has no time of day", "Write 2025-10-31T17:00:00+03:00")
    try:
        if moment.tzinfo is not None:
            at = instant(moment)
        else:
            found = zone.from_wall(instant(moment.replace(tzinfo=UTC)))
            if found is None:
                raise ClockInputError(
                    field,
                    f"{text!r} does not exist in {zone.key}: the local clock skips it",
                    "Take a time outside the change, or write the offset",
                )
            at = found
        zone.iso(at)
    except OverflowError as error:
        raise ClockInputError(field, f"{text!r} is too near the ends of time", "Take years 2 to 9998") from error
    return at


def parse_pause(text: str, zone: Zone) -> clocks.Pause:
    """Read `FROM..TO`, or `FROM..` for a pause that is still open."""
    begin_text, dots, end_text = text.partition("..")
    if not dots or not begin_text.strip():
        raise ClockInputError("pause", f"{text!r} is no pause", "Write FROM..TO, or FROM.. while it is open")
    begin = parse_instant(begin_text, zone, "pause")
    if not end_text.strip():
        return begin, None
    end = parse_instant(end_text, zone, "pause")
    if end < begin:
        raise ClockInputError("pause", f"{text!r} ends before it begins", "Write FROM..TO with FROM first")
    return begin, end
