"""Instants as people write them where one that is mistaken would count for months."""

from __future__ import annotations

from datetime import UTC, date, datetime, time


def day_or_instant(text: str) -> datetime:
    """A day, which begins at midnight UTC, or an instant, which has its offset; in UTC.

    Raises
    ------
    ValueError
        If it is neither: of a time without an offset nobody knows whose it is.
    """
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        told = datetime.fromisoformat(text)
    if told.tzinfo is None:
        raise ValueError("an instant without its offset")
    try:
        return told.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of range") from error
