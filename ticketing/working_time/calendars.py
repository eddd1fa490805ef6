"""Which days are worked: the calendars RU, BY, KZ, CN and none, their versions, and how far each is known.

A `Calendar` is plain data: the days that differ from the weekday list, and the years for which a government has decreed
them. It is built from the `holidays` library once, can be written to JSON and read back, and never changes: an edit
makes a new version and leaves the old one to the tickets that took it.

Rules (requirement S1-23 and the official five-day week):
1. a public holiday or a day off moved to this date is not worked;
2. a weekend day declared working is worked, and has the length of the day it stands for;
3. otherwise the weekday list decides.
RU and BY: a worked day that directly touches a public holiday closes one hour earlier. A moved day off is no public
holiday: it shortens nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.time_zones import DAY, SECOND, zone

PROVISIONAL_YEARS = 2  # after the last decreed year: statutory holidays only, and the answer says so

Hours = tuple[tuple[int, int], ...]
"""Opening and closing in minutes after midnight, in order; a closing above 1440 lies in the next day."""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


class Country(NamedTuple):
    """Our own table of a country: the library answers for undecreed years as if it knew them."""

    zone: str
    first_year: int
    last_decreed_year: int
    short_days: bool


# last_decreed_year: raise it only with the decree at hand and the year's sum checked (docs/calendars.md).
COUNTRIES: Mapping[str, Country] = MappingProxyType(
    {
        "RU": Country("Europe/Moscow", 2024, 2027, short_days=True),
        "BY": Country("Europe/Minsk", 2024, 2026, short_days=True),
        "KZ": Country("Asia/Almaty", 2024, 2026, short_days=False),
        "CN": Country("Asia/Shanghai", 2024, 2026, short_days=False),
    }
)
NAMES = (*COUNTRIES, "none")


class DayKind(StrEnum):
    HOLIDAY = "holiday"  # public holiday: closed, and the day before may be short
    MOVED = "moved"  # day off moved here: closed, shortens nothing
    WORKED = "worked"  # a weekend day declared working
    CLOSED = "closed"  # own exception: closed
    OPEN = "open"  # own exception: worked, with its own hours if given


@dataclass(frozen=True, slots=True)
class SpecialDay:
    """A date that the weekday list does not decide. `other` is the day it was moved from or stands for."""

    kind: DayKind
    name: str = ""
    other: date | None = None
    hours: Hours | None = None


class Judgement(NamedTuple):
    """What a calendar says of one date; `why` is said to people."""

    working: bool
    why: str
    short: str  # why the day closes an hour earlier; empty: it does not
    hours: Hours | None
    provisional: bool


def day_text(day: date) -> str:
    """`Saturday 1 November`."""
    return f"{WEEKDAYS[day.weekday()]} {day.day} {MONTHS[day.month - 1]}"


@dataclass(frozen=True, eq=False)
class Calendar:
    """One version of a calendar. `first_year` and `last_decreed_year` None: it knows no limit."""

    name: str
    zone: str
    special: Mapping[date, SpecialDay] = field(default_factory=dict)
    short_days: bool = False
    first_year: int | None = None
    last_decreed_year: int | None = None

    @property
    def last_year(self) -> int | None:
        """The last year that gets an answer at all, provisional ones included."""
        return None if self.last_decreed_year is None else self.last_decreed_year + PROVISIONAL_YEARS

    @cached_property
    def version(self) -> str:
        """Digest of the content: two calendars with one version answer alike, whatever library built them."""
        text = json.dumps(self._content(), sort_keys=True, ensure_ascii=False)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def judge(self, day: date, weekdays: frozenset[int]) -> Judgement:
        """Decide one date; `weekdays` are the worked ones, Monday 0.

        Raises
        ------
        ClockInputError
            If the date lies in a year that this calendar does not answer for.
        """
        provisional = self._check(day.year)
        special = self.special.get(day)
        text = day_text(day)
        if special is None:
            if day.weekday() in weekdays:
                return Judgement(True, "", self._short(day), None, provisional)
            return Judgement(
                False, f"{text}, {'weekend' if day.weekday() > 4 else 'not a working weekday'}", "", None, provisional
            )
        match special.kind:
            case DayKind.HOLIDAY:
                return Judgement(False, f"{text}, holiday: {special.name}", "", None, provisional)
            case DayKind.MOVED if special.other is not None:
                why = f"{text}, day off moved from {day_text(special.other)}"
                return Judgement(False, why, "", None, provisional)
            case DayKind.MOVED:
                return Judgement(False, f"{text}, day off in lieu of a holiday: {special.name}", "", None, provisional)
            case DayKind.CLOSED:
                return Judgement(False, f"{text}, closed: {special.name}", "", None, provisional)
            case DayKind.OPEN:
                why = f"{text}, worked: {special.name}"
                short = self._short(day) if special.hours is None else ""
                return Judgement(True, why, short, special.hours, provisional)
            case DayKind.WORKED if special.other is not None:
                why = f"{text}, worked instead of {day_text(special.other)}"
                return Judgement(True, why, self._short(special.other), None, provisional)
            case DayKind.WORKED:
                return Judgement(True, f"{text}, declared working", "", None, provisional)

    def edited(self, changes: Mapping[date, SpecialDay | None]) -> Calendar:
        """A new version with own additions and exceptions; None takes a special day back to the weekday list."""
        special = dict(self.special)
        for day, change in changes.items():
            if change is None:
                special.pop(day, None)
            else:
                special[day] = change
        return replace(self, special=MappingProxyType(special))

    def known_until(self) -> float | None:
        """Unix seconds at which the last decreed year ends in the calendar's own zone; None without a limit."""
        if self.last_decreed_year is None:
            return None
        days = (date(self.last_decreed_year + 1, 1, 1) - date(1970, 1, 1)).days
        return zone(self.zone).first_at_or_after(days * DAY) / SECOND

    def as_json(self) -> dict[str, Any]:
        """The whole version, to be stored with the tickets that use it."""
        return {"version": self.version, **self._content()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Calendar:
        """Read back what `as_json` wrote; a stored version that does not match its content is refused."""
        special = {
            date.fromisoformat(day): SpecialDay(
                DayKind(entry["kind"]),
                entry.get("name", ""),
                date.fromisoformat(entry["other"]) if entry.get("other") else None,
                tuple((int(a), int(b)) for a, b in entry["hours"]) if entry.get("hours") else None,
            )
            for day, entry in stored["special"].items()
        }
        calendar = cls(
            stored["name"],
            stored["zone"],
            MappingProxyType(special),
            stored["short_days"],
            stored["first_year"],
            stored["last_decreed_year"],
        )
        if "version" in stored and stored["version"] != calendar.version:
            raise ClockInputError(
                "calendar", f"version {stored['version']} does not match its content", "Restore it from a backup"
            )
        return calendar

    def _content(self) -> dict[str, Any]:
        special: dict[str, dict[str, Any]] = {}
        for day in sorted(self.special):
            entry = self.special[day]
            special[day.isoformat()] = {
                "kind": str(entry.kind),
                "name": entry.name,
                "other": entry.other.isoformat() if entry.other else None,
                "hours": [list(span) for span in entry.hours] if entry.hours else None,
            }
        return {
            "name": self.name,
            "zone": self.zone,
            "short_days": self.short_days,
            "first_year": self.first_year,
            "last_decreed_year": self.last_decreed_year,
            "special": special,
        }

    def _check(self, year: int) -> bool:
        """Whether the year is provisional; raises beyond what the calendar answers for."""
        if self.first_year is None or self.last_decreed_year is None:
            return False
        if self.first_year <= year <= self.last_decreed_year:
            return False
        if self.last_decreed_year < year <= self.last_decreed_year + PROVISIONAL_YEARS:
            return True
        known = f"{self.first_year} to {self.last_decreed_year}"
        raise ClockInputError(
            "calendar",
            f"{self.name} does not know the year {year} (decreed: {known}, provisional to {self.last_year})",
            "Take dates inside these years or --calendar none",
        )

    def _short(self, day: date) -> str:
        if not self.short_days:
            return ""
        following = self.special.get(day + timedelta(days=1))
        if following is None or following.kind is not DayKind.HOLIDAY:
            return ""
        return f"day before a holiday ({following.name})"


_SUBSTITUTED = re.compile(r"substituted from (\d\d)/(\d\d)/(\d{4})")


def _is_moved(name: str) -> bool:
    """Names the library marks "(observed)", "(observed, estimated)" or "substituted" are moved days off."""
    return "(observed" in name or "substituted" in name


def _country(name: str) -> Calendar:
    from holidays import country_holidays  # 0.3 s to import: only a command that needs a country pays for it

    table = COUNTRIES[name]
    last = table.last_decreed_year + PROVISIONAL_YEARS
    # One year more: 31 December is short if 1 January is a holiday.
    found = country_holidays(name, years=range(table.first_year, last + 2), language="en_US")
    special: dict[date, SpecialDay] = {}
    stands_for: dict[date, date] = {}
    for day, label in sorted(found.items()):
        names = label.split("; ")
        public = [part for part in names if not _is_moved(part)]
        if public:
            special[day] = SpecialDay(DayKind.HOLIDAY, "; ".join(public))
        elif day.year <= table.last_decreed_year:
            match = _SUBSTITUTED.search(label)
            if match:
                other = date(int(match[3]), int(match[1]), int(match[2]))
                special[day] = SpecialDay(DayKind.MOVED, label, other)
                stands_for[other] = day
            else:
                special[day] = SpecialDay(DayKind.MOVED, names[0].partition(" (observed")[0])
    for day in sorted(found.weekend_workdays):
        holiday = day in special and special[day].kind is DayKind.HOLIDAY
        if table.first_year <= day.year <= table.last_decreed_year and not holiday:
            special[day] = SpecialDay(DayKind.WORKED, "", stands_for.get(day))
    return Calendar(
        name, table.zone, MappingProxyType(special), table.short_days, table.first_year, table.last_decreed_year
    )


def known_name(name: str) -> str:
    """The name itself; unknown ones raise `ClockInputError`. Builds nothing."""
    if name not in NAMES:
        raise ClockInputError("calendar", f"unknown calendar {name!r}", f"Use one of {', '.join(NAMES)}")
    return name


@lru_cache(maxsize=16)
def shipped(name: str) -> Calendar:
    """The calendar of this release; unknown names raise `ClockInputError`."""
    return Calendar("none", "UTC") if known_name(name) == "none" else _country(name)


def known_until(names: Iterable[str] = COUNTRIES) -> dict[str, float]:
    """Unix seconds until which each calendar is decreed, for `dozor_calendar_known_until_seconds{calendar}`.

    Reads our own table only, so a scrape never imports or expands anything.
    """
    known: dict[str, float] = {}
    for name in names:
        table = COUNTRIES.get(name)
        if table is not None:
            days = (date(table.last_decreed_year + 1, 1, 1) - date(1970, 1, 1)).days
            known[name] = zone(table.zone).first_at_or_after(days * DAY) / SECOND
    return known


def missing_years(now: datetime, names: Iterable[str] = COUNTRIES) -> list[str]:
    """One warning for each calendar whose coming year is not decreed in our table; empty: all is well."""
    warnings: list[str] = []
    coming = now.astimezone(UTC).year + 1
    for name in names:
        table = COUNTRIES.get(name)
        if table is not None and table.last_decreed_year < coming:
            warnings.append(
                f"calendar {name}: the year {coming} is missing (known until the end of {table.last_decreed_year}); "
                f"answers for it hold statutory holidays only. Install a release that has it, see docs/calendars.md"
            )
    return warnings
