"""The nights in which archives may be asked again: spans of wall time in one zone, every day. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from ticketing.core.db import utc
from ticketing.policies import Policy
from ticketing.working_time.hours import parse_hours
from ticketing.working_time.time_zones import DAY, MINUTE, Zone, instant, zone

HORIZON = timedelta(days=366)  # nobody is told of later nights
_AHEAD = 4  # days laid out: a clock change may skip one night


class Nights:
    """The windows of a policy; each is [begin, end)."""

    def __init__(self, window: str, place: Zone) -> None:
        """Raises `ClockInputError` for hours that are none."""
        self._hours = parse_hours(window)
        self._zone = place
        self._known: tuple[int, list[tuple[int, int]]] | None = None

    @classmethod
    def of(cls, policy: Policy) -> Nights:
        """Those that a policy allows."""
        return cls(policy.file.reloads.window, zone(policy.file.working_time.time_zone))

    def around(self, at: datetime) -> tuple[datetime, datetime]:
        """The night that `at` lies in, else the next one."""
        now = instant(at)
        begin, end = next(night for night in self._nights(self._zone.wall(now) // DAY) if night[1] > now)
        return self._moment(begin), self._moment(end)

    def open(self, at: datetime) -> bool:
        """Whether `at` lies in one."""
        return self.around(at)[0] <= at

    def walk(self, at: datetime, work: timedelta) -> tuple[datetime, datetime]:
        """When work that may begin at `at` begins and ends, if nights alone count; it ends within `HORIZON`."""
        begin, end = self.around(at)
        began = at = max(at, begin)
        while end - at < work:
            if at - began > HORIZON:
                return began, began + HORIZON
            work -= end - at
            before = end
            begin, end = self.around(before)
            at = max(before, begin)
        return began, at + work

    def _nights(self, day: int) -> list[tuple[int, int]]:
        """Those of some days around one, joined where they touch."""
        if self._known is None or self._known[0] != day:
            spans = sorted(
                span
                for each in range(day - 1, day + _AHEAD)
                for opening, closing in self._hours
                for span in self._zone.instants(each * DAY + opening * MINUTE, each * DAY + closing * MINUTE)
            )
            joined: list[tuple[int, int]] = []
            for begin, end in spans:
                if joined and begin <= joined[-1][1]:
                    joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
                else:
                    joined.append((begin, end))
            self._known = (day, joined)
        return self._known[1]

    def _moment(self, at: int) -> datetime:
        return utc(self._zone.moment(at))
