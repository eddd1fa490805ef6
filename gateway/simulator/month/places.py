"""Where a vehicle is, and which stretches of its road have no network: it goes to and fro on one line."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from gateway.simulator.month.activity import State, Timeline
from gateway.simulator.month.facts import DAY, HOLE_HIT
from gateway.simulator.month.vehicle import Vehicle
from gateway.simulator.month.world import Spans

Floats = NDArray[np.float64]
_METRES = 111_320.0  # of a degree of latitude


class Course:
    """The way of one vehicle: metres driven as a function of time."""

    def __init__(self, vehicle: Vehicle, line: Timeline) -> None:
        moving = line.state == State.MOVING
        self._vehicle = vehicle
        self.begin, self.end = line.begin[moving], line.end[moving]
        self.length = vehicle.road.km * 1000
        speed = np.full(len(self.begin), vehicle.facts.speed)
        if vehicle.kind != "long-haul":
            speed = self._home_by_night(speed)
        self.speed = speed
        self.until = np.cumsum((self.end - self.begin) * speed)
        self.since = self.until - (self.end - self.begin) * speed

    def _home_by_night(self, speed: Floats) -> Floats:
        """Whole rounds a day: it sleeps where it began."""
        _, which = np.unique(self.begin // DAY, return_inverse=True)
        driven = np.bincount(which, (self.end - self.begin) * speed)
        rounds = np.maximum(np.rint(driven / (2 * self.length)), 1.0)
        scaled: Floats = speed * (rounds * 2 * self.length / np.maximum(driven, 1.0))[which]
        return np.clip(scaled, 0.3 * speed, 2.0 * speed)

    def driven(self, moments: Floats) -> Floats:
        """Metres since the start."""
        if not len(self.begin):
            return np.zeros(len(moments))
        at = np.searchsorted(self.begin, moments, "right") - 1
        first = np.maximum(at, 0)
        metres: Floats = (
            self.since[first]
            + np.minimum(moments - self.begin[first], self.end[first] - self.begin[first]) * self.speed[first]
        )
        return np.where(at < 0, 0.0, metres)

    def place(self, moments: Floats) -> tuple[Floats, Floats]:
        """Latitude and longitude, degrees."""
        metres = self.driven(moments)
        along = self.length - np.abs(metres % (2 * self.length) - self.length)
        aside = np.sin(along / 2000.0) * min(300.0, self.length / 10)
        _, lat, lon, _ = self._vehicle.site
        heading = self._vehicle.heading
        north = along * np.cos(heading) + aside * np.sin(heading)
        east = along * np.sin(heading) - aside * np.cos(heading)
        return lat + north / _METRES, lon + east / (_METRES * np.cos(np.radians(lat)))

    def holes(self, rng: Generator) -> Spans:
        """When it drives through a stretch without network; at a stop there is a mast."""
        stretches = self._vehicle.road.holes.get(self._vehicle.operator, np.zeros((0, 2))) * 1000
        if not len(stretches) or not len(self.until):
            return np.zeros((0, 2))
        laps = np.arange(int(self.until[-1] // (2 * self.length)) + 1)[:, None] * 2 * self.length
        begin = np.concatenate([laps + stretches[:, 0], laps + 2 * self.length - stretches[:, 1]], axis=1).ravel()
        end = np.concatenate([laps + stretches[:, 1], laps + 2 * self.length - stretches[:, 0]], axis=1).ravel()
        met = rng.random(len(begin)) < HOLE_HIT
        found = []
        for a, b in zip(begin[met].tolist(), end[met].tolist(), strict=True):
            first, last = np.searchsorted(self.until, [a, b], "left")
            for leg in range(int(first), min(int(last), len(self.until) - 1) + 1):
                enters = self.begin[leg] + max(a - self.since[leg], 0.0) / self.speed[leg]
                leaves = self.begin[leg] + min(b - self.since[leg], self.until[leg] - self.since[leg]) / self.speed[leg]
                if leaves > enters:
                    found.append((float(enters), float(leaves)))
        return np.array(sorted(found), np.float64).reshape(-1, 2)
