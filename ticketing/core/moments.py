"""The wall clock, and an instant as JSON and as a place has it."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo


def utc_now() -> datetime:
    """The wall clock; tests hand in their own."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """UTC with milliseconds: `2026-11-21T10:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_time(moment: datetime, zone: tzinfo) -> datetime:
    """`moment` in `zone`; in UTC on the first and the last day of time, which a terminal's clock may show."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment.astimezone(UTC)
