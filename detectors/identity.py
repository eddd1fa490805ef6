"""Which identity is used at two places at once.

Two terminals of one identity push each other's connection out, and each tells where it is. A *jump* is a record of now
that lies `distance` or more from the one before it, farther than `speed` would reach, and came over another connection.
A receiver that is lied to jumps as well, but over the connection that it has. It fails while `most` jumps are within
`window`, leaking away as in `signs.Buckets`; one is a terminal that was carried, two the way there and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from detectors.columns import Array, Columns, Contacts
from detectors.detector import Before, Column, Detector, Judged, Past, Summary, View, Zone
from detectors.gaps import Floats, Rows
from detectors.signs import BUCKET, Buckets, leaky, previous
from detectors.verdicts import Explanation, Verdict, spell

STEPS = 90.0  # of a degree: a place is kept to 1.2 km, in 16 bits, where 0 is none
_DEGREE = 111.2  # km, along a meridian
_NONE, _BITS = 0, 0xFFFF


@dataclass(frozen=True, slots=True)
class IdentityRule:
    """How far (km), how fast (km/h), and how often within how many seconds."""

    distance: float = 20.0
    speed: float = 400.0
    most: int = 4
    window: float = 3600.0


class Identity(Detector):
    """The detector."""

    kind = "identity"
    words = "Identity"
    columns = (
        *BUCKET,
        Column("place", np.int64),  # of 16 bits each: latitude and longitude in steps, and the connection; 0: none yet
        Column("other", np.int64),  # the same before the last jump
    )
    summary: ClassVar[Mapping[str, DTypeLike]] = {"lat": np.uint16, "lon": np.uint16, "link": np.uint16}
    sparse = True
    heeds_contacts = False

    def __init__(self, rule: IdentityRule | None = None) -> None:
        self.rule = rule or IdentityRule()
        self._buckets = Buckets(self.rule.most, self.rule.window)

    @staticmethod
    def reduce(columns: Columns) -> Summary:
        """Where each contact's newest record was, if it is of now and valid; over which connection."""
        if not len(columns):
            return {}
        lat, lon = columns.told("lat"), columns.told("lon")
        with np.errstate(invalid="ignore"):
            there = (np.abs(lat) <= 90) & (np.abs(lon) <= 180) & (columns.told("valid", False) != 0)
        there &= columns.contacts.live
        if not there.any():
            return {}
        return {
            "lat": np.where(there, _steps(lat, 90, there), _NONE),
            "lon": np.where(there, _steps(lon, 180, there), _NONE),
            "link": np.where(there, columns.of_frames("link"), 0),
        }

    def absorb(self, view: View, contacts: Contacts, before: Before, summary: Summary) -> Rows:
        """Count jumps."""
        told = np.flatnonzero((summary["lat"] != _NONE) & (summary["link"] != 0))
        if not len(told):
            return told
        terminal, received = contacts.terminal[told], contacts.received[told]
        lat, lon, link = (summary[name][told].astype(np.int64) for name in ("lat", "lon", "link"))
        place = lat | lon << 16 | link << 32
        came_from = previous(terminal, place, view["place"])
        view["place"][terminal] = place  # of several the last stays
        jumped = np.flatnonzero((came_from >> 32 != link) & (came_from != _NONE))
        if len(jumped):
            # When it was there is not kept: since its last contact, or in this batch, it cannot have driven longer.
            since = np.maximum(received[jumped] - before.received[np.searchsorted(contacts.rows, terminal[jumped])], 0)
            apart = _apart(came_from[jumped], place[jumped])
            jumped = jumped[(apart >= self.rule.distance) & (apart > self.rule.speed * since / 3.6e9)]
            view["other"][terminal[jumped]] = came_from[jumped]
        return self._buckets.take(view.columns, terminal[jumped], received[jumped])

    def judge(self, view: View, rows: Rows) -> Judged:
        """By how many jumps are left in the bucket."""
        return leaky(self._buckets, view, rows)

    def explain(self, view: View, row: int) -> Explanation:
        """With the two places."""
        at = np.array([row])
        verdict = Verdict(int(self.judge(view, at).verdicts[0]))
        level = float(self._buckets.level(view.columns, at, view.now)[0])
        place, other = int(view["place"][row]), int(view["other"][row])
        apart = float(_apart(view["place"][at], view["other"][at])[0])
        numbers = {"jumps": round(level, 1), "most": self.rule.most, "window_s": self.rule.window}
        if verdict == Verdict.UNKNOWN:
            return Explanation(verdict, "no record of now yet", numbers)
        if verdict == Verdict.GOOD:
            return Explanation(verdict, "heard from one place at a time", numbers)
        reason = (
            f"heard from two places in turn, {_shown(place)} and {_shown(other)}, {apart:.0f} km apart, over "
            f"connections that replace one another: {level:.0f} jumps, {self.rule.most} within "
            f"{spell(self.rule.window)} are too many"
        )
        return Explanation(verdict, reason, {**numbers, "apart_km": round(apart, 1)})

    def priority(self, explanation: Explanation) -> int:
        """Both vehicles' data are mixed up until it is mended."""
        return 2

    def zone(self, explanation: Explanation, past: Past) -> Zone:
        """Somebody typed or copied it."""
        return Zone("terminal", 0.9, explanation.reason)


def _steps(degrees: Floats, most: int, there: NDArray[np.bool_]) -> Array:
    return np.rint((np.where(there, degrees, 0.0) + most) * STEPS) + 1


def _degrees(place: Array) -> tuple[Floats, Floats]:
    lat, lon = place & _BITS, place >> 16 & _BITS
    return (lat - 1) / STEPS - 90, (lon - 1) / STEPS - 180


def _shown(place: int) -> str:
    lat, lon = _degrees(np.array([place]))
    return f"{lat[0]:.2f} {lon[0]:.2f}"


def _apart(place: Array, other: Array) -> Floats:
    """Kilometres between them, on a flat map at their latitude: enough to tell towns apart."""
    (lat, lon), (other_lat, other_lon) = _degrees(place), _degrees(other)
    east = np.abs(lon - other_lon)
    east = np.minimum(east, 360 - east) * np.cos(np.radians((lat + other_lat) / 2))
    apart: Floats = np.hypot(lat - other_lat, east) * _DEGREE
    return apart
