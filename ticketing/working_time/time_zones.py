"""Wall time and instants of one time zone, exact to the microsecond.

An instant is an `int`: microseconds since 1970-01-01T00:00:00Z. A wall reading is an `int` too: the microseconds that a
clock on the wall shows since 1970-01-01T00:00. A local clock change makes readings that never occur (skipped) or occur
twice (repeated); everything here is defined by readings, so both come out right without special cases elsewhere.

Zones come from the `tzdata` package, which is pinned, and from the system only for a name that the package lacks: an
old system table would otherwise move deadlines (Kazakhstan left UTC+6 on 2024-03-01).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tzdata

from ticketing.working_time.errors import ClockInputError

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # only for arithmetic on wall readings
_MICROSECOND = timedelta(microseconds=1)
_KEY = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_SHIPPED = Path(tzdata.__file__).parent / "zoneinfo"
_CACHED_TEXTS = 50_000  # boundaries of working days recur, starts and ends do not: bound the table of texts

Piece = tuple[int, int, int]
"""Instants [begin, end) during which the zone keeps one offset (microseconds east of UTC)."""


def instant(moment: datetime) -> int:
    """Microseconds since the epoch of an aware datetime."""
    if moment.tzinfo is None:
        raise ClockInputError("instant", f"{moment.isoformat()} has no zone", "Give it a tzinfo")
    return (moment - EPOCH) // _MICROSECOND


def _load(key: str) -> ZoneInfo:
    if not _KEY.fullmatch(key):
        raise ZoneInfoNotFoundError(key)
    shipped = _SHIPPED.joinpath(*key.split("/"))
    if shipped.is_file():
        with shipped.open("rb") as file:
            return ZoneInfo.from_file(file, key=key)
    return ZoneInfo(key)


class Zone:
    """One IANA zone with a table of its offsets, filled day by day as it is asked."""

    def __init__(self, key: str) -> None:
        try:
            self._info = _load(key)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ClockInputError(
                "time_zone", f"unknown time zone {key!r}", "Use an IANA name such as Europe/Moscow or UTC"
            ) from error
        self.key = key
        self._days: dict[int, tuple[Piece, ...]] = {}
        self._texts: dict[int, str] = {}

    def __repr__(self) -> str:
        return f"Zone({self.key!r})"

    @property
    def info(self) -> ZoneInfo:
        """The zone as `datetime` wants it."""
        return self._info

    def offset(self, at: int) -> int:
        """Microseconds east of UTC at the instant."""
        for _, end, offset in self._day(at // DAY):
            if at < end:
                return offset
        raise AssertionError("a day's pieces cover the day")

    def wall(self, at: int) -> int:
        """What the wall clock shows at the instant."""
        return at + self.offset(at)

    def pieces(self, begin: int, end: int) -> list[Piece]:
        """Offsets over the whole UTC days that touch [begin, end), neighbours with one offset joined."""
        joined: list[Piece] = []
        for day in range(begin // DAY, -(-end // DAY)):
            for piece in self._day(day):
                if joined and joined[-1][2] == piece[2]:
                    joined[-1] = (joined[-1][0], piece[1], piece[2])
                else:
                    joined.append(piece)
        return joined

    def steady(self, begin: int, end: int) -> int | None:
        """The offset if it is the same a day around readings [begin, end], else None."""
        pieces = self.pieces(begin - DAY, end + DAY)
        return pieces[0][2] if len(pieces) == 1 else None

    def first_at_or_after(self, reading: int) -> int:
        """The earliest instant whose reading is not before `reading`."""
        for begin, end, offset in self.pieces(reading - DAY, reading + DAY + DAY):
            if end + offset > reading:
                return max(begin, reading - offset)
        raise AssertionError("offsets are below a day")

    def from_wall(self, reading: int) -> int | None:
        """The instant that shows `reading`, the first of two; None if a clock change skips it."""
        for begin, end, offset in self.pieces(reading - DAY, reading + DAY + DAY):
            if begin <= reading - offset < end:
                return reading - offset
        return None

    def instants(self, begin: int, end: int) -> list[tuple[int, int]]:
        """All instants whose reading lies in [begin, end): usually one interval, two around a repeated hour."""
        found: list[tuple[int, int]] = []
        for first, last, offset in self.pieces(begin - DAY, end + DAY):
            low, high = max(begin - offset, first), min(end - offset, last)
            if low < high:
                if found and found[-1][1] == low:
                    found[-1] = (found[-1][0], high)
                else:
                    found.append((low, high))
        return found

    def moment(self, at: int) -> datetime:
        """The instant as an aware datetime of this zone."""
        return (EPOCH + timedelta(microseconds=at)).astimezone(self._info)

    def iso(self, at: int) -> str:
        """ISO 8601 with the zone's offset at that instant; fractions only where there are any."""
        text = self._texts.get(at)
        if text is None:
            if len(self._texts) >= _CACHED_TEXTS:
                self._texts.clear()
            offset = self.offset(at)
            reading = _NAIVE_EPOCH + timedelta(microseconds=at + offset)
            text = self._texts[at] = reading.isoformat() + _offset_text(offset)
        return text

    def _day(self, day: int) -> tuple[Piece, ...]:
        pieces = self._days.get(day)
        if pieces is None:
            pieces = self._days[day] = self._find(day * DAY, (day + 1) * DAY)
        return pieces

    def _find(self, begin: int, end: int) -> tuple[Piece, ...]:
        """Offsets within one UTC day; no zone changes twice within one."""
        before, after = self._ask(begin), self._ask(end)
        if before == after:
            return ((begin, end, before),)
        low, high = begin // SECOND, end // SECOND
        while high - low > 1:
            middle = (low + high) // 2
            if self._ask(middle * SECOND) == before:
                low = middle
            else:
                high = middle
        return tuple(p for p in ((begin, high * SECOND, before), (high * SECOND, end, after)) if p[0] < p[1])

    def _ask(self, at: int) -> int:
        offset = (EPOCH + timedelta(microseconds=at)).astimezone(self._info).utcoffset()
        return 0 if offset is None else offset // _MICROSECOND


@lru_cache(maxsize=2048)
def _offset_text(offset: int) -> str:
    return datetime(2000, 1, 1, tzinfo=timezone(timedelta(microseconds=offset))).isoformat()[19:]


@lru_cache(maxsize=700)
def zone(key: str) -> Zone:
    """The zone of an IANA name; unknown names raise `ClockInputError`."""
    return Zone(key)
