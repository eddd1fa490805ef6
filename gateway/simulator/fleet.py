"""Vehicles and their readings, a pure function of the seed.

Nothing here reads a clock: a vehicle is asked for its reading at a planned time (seconds after the start), and
the same seed gives the same readings at the same times however busy the machine is.

States and how they follow one another (a change is reported at once, with the new ignition state, as terminals do)::

    driving ──> idling ──> driving        profile "driving": on the road, with stops
       └──────> parked ──> driving        and now and then parked for a while
    idling · parked · sleeping            the other profiles stay as they are
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from gateway.simulator.scenario import PROFILES, Scenario
from protocols.registry import PROTOCOLS, terminals
from protocols.terminals import FuelReading, Reading, TerminalSpec

# Where depots stand: a fleet in five towns draws readable tracks.
_DEPOTS = (
    (55.7520, 37.6175),
    (54.7348, 55.9579),
    (53.9023, 27.5619),
    (43.2380, 76.9452),
    (51.6615, 39.2003),
)
_METRES_PER_DEGREE = 111_320.0
_ROAM = 12_000.0  # metres from the depot where a vehicle turns back
_FIX_LOST = -1e9


@dataclass(slots=True)
class _Track:
    """Where a vehicle is and how it moves; metres and m/s."""

    depot: tuple[float, float]
    x: float
    y: float
    heading: float
    speed: float = 0.0
    cruise: float = 12.0
    leg: float = 0.0


class Vehicle:
    """One vehicle: `due` says when it wants to report next, `read` gives that report and moves on."""

    def __init__(self, spec: TerminalSpec, scenario: Scenario) -> None:
        # Not for secrets: a seeded generator is the point.
        self._rng = rng = random.Random(f"{scenario.seed}/{spec.protocol}/{spec.index}/vehicle")  # noqa: S311
        self.spec = spec
        self._resolution = terminals(spec.protocol)[spec.transport].resolution
        own = 1 + rng.uniform(-scenario.intervals.spread, scenario.intervals.spread)
        self.interval = {
            "driving": scenario.intervals.moving * own,
            "idling": scenario.intervals.idling * own,
            "parked": scenario.intervals.parked * own,
            "sleeping": scenario.intervals.sleeping * own,
        }
        self.state = spec.profile
        self._track = _Track(
            rng.choice(_DEPOTS),
            rng.uniform(-0.5, 0.5) * _ROAM,
            rng.uniform(-0.5, 0.5) * _ROAM,
            rng.uniform(0, 2 * math.pi),
            cruise=rng.uniform(8, 22),
        )
        self._altitude = rng.uniform(90, 240)
        self._odometer = rng.uniform(2e6, 4e8)
        self._tanks = [rng.uniform(800, 3800) for _ in range(rng.choice((1, 1, 2)))]
        self._lorry = rng.random() < 0.6  # 24 V on board
        self._battery = rng.randint(3900, 4150)
        self._satellites = rng.randint(9, 16)
        self._loses_fix = spec.profile != "sleeping" and rng.random() < scenario.no_fix.share
        self._no_fix = scenario.no_fix
        self._no_fix_until = _FIX_LOST
        self._next_no_fix = rng.expovariate(1 / scenario.no_fix.every)
        self._at = 0.0
        self._time = 0
        self.due = rng.uniform(0, self.interval[self.state])
        self._until = self._stay() if spec.profile == "driving" else math.inf
        self._fix = self._position()

    def backlog(self, records: int) -> list[float]:
        """Times (negative: before the start) of `records` readings to be taken first; call before any `read`."""
        every = self.interval[self.state]
        first = self.due - every * records
        self._at = first
        if self._until < math.inf:
            self._until += self.due
        return [first + every * n for n in range(records)]

    def read(self, at: float, start_ms: int) -> Reading:
        """The reading `at` seconds after the start, never earlier than the one before."""
        rng = self._rng
        changed = False
        if at >= self._until:
            before = self._ignition
            self._change()
            changed = before != self._ignition
            self._until = at + self._stay()
        step = self._advance(max(0.0, at - self._at))
        self._at = at
        every = self.interval[self.state]
        # Jitter of a twentieth: real terminals are regular, but no metronomes.
        self.due = min(at + every * rng.uniform(0.95, 1.05), max(self._until, at + min(every, 1.0)))
        # Strictly rising in the wire's own resolution: no two records of a terminal share a time.
        unit = self._resolution
        self._time = max((start_ms + round(at * 1000)) // unit, self._time + 1)
        fixed = self._has_fix(at)
        if fixed:
            self._fix = self._position()
        ignition = self._ignition
        nominal = (27_800 if self._lorry else 14_100) if ignition else (25_200 if self._lorry else 12_500)
        track = self._track
        speed = round(track.speed * 3.6) if fixed else 0
        return Reading(
            time=self._time * unit,
            lat=self._fix[0],
            lon=self._fix[1],
            altitude=round(self._altitude + 15 * math.sin(track.x / 900) * math.cos(track.y / 1300)),
            speed=speed,
            course=round(math.degrees(track.heading)) % 360 if fixed else 0,
            satellites=max(4, self._satellites + rng.randint(-2, 2)) if fixed else 0,
            ignition=ignition,
            moving=speed > 0,
            changed=changed,
            external=nominal + rng.randint(-150, 150),
            battery=self._battery + rng.randint(-15, 15),
            gsm=rng.choice((3, 4, 4, 5)),
            odometer=round(self._odometer),
            step=round(step),
            rpm=0 if not ignition else 750 + round(track.speed * 70) + rng.randint(-20, 20),
            fuel=tuple(
                FuelReading(min(4095, max(1, round(tank) + rng.randint(-2, 2))), 8 + rng.randint(0, 2))
                for tank in self._tanks
            ),
            state=self.state,
        )

    @property
    def _ignition(self) -> bool:
        return self.state in {"driving", "idling"}

    def _has_fix(self, at: float) -> bool:
        if not self._loses_fix:
            return True
        if at >= self._next_no_fix:
            self._no_fix_until = at + self._no_fix.length * self._rng.uniform(0.5, 1.5)
            self._next_no_fix = self._no_fix_until + self._rng.expovariate(1 / self._no_fix.every)
        return at >= self._no_fix_until

    def _change(self) -> None:
        if self.state == "driving":
            self.state = "parked" if self._rng.random() < 0.3 else "idling"
        else:
            self.state = "driving"

    def _stay(self) -> float:
        low, high = {"driving": (90, 900), "idling": (15, 120), "parked": (60, 1200)}[self.state]
        return self._rng.uniform(low, high)

    def _advance(self, seconds: float) -> float:
        """Move on, in steps short enough for turns to be round; returns metres travelled."""
        track, rng, total = self._track, self._rng, 0.0
        if self._ignition:
            for tank, level in enumerate(self._tanks):
                burn = 0.02 + track.speed * 0.004  # raw codes a second
                self._tanks[tank] = level - burn * seconds if level > 150 else 3900.0  # refuelled
        if self.state != "driving":
            track.speed = 0.0
            return 0.0
        left = min(seconds, 600.0)
        while left > 0:
            dt = min(left, 4.0)
            left -= dt
            track.speed += max(-2.5 * dt, min(1.5 * dt, track.cruise - track.speed))
            length = track.speed * dt
            track.x += length * math.sin(track.heading)
            track.y += length * math.cos(track.heading)
            track.leg -= length
            total += length
            if track.leg <= 0:
                track.leg = rng.uniform(150, 1800)
                track.cruise = rng.uniform(6, 25)
                if math.hypot(track.x, track.y) > _ROAM:
                    track.heading = math.atan2(-track.x, -track.y) + rng.uniform(-0.4, 0.4)
                else:
                    track.heading += rng.choice((-1, 0, 0, 1)) * math.pi / 2 + rng.uniform(-0.2, 0.2)
                track.heading %= 2 * math.pi
        self._odometer += total
        return total

    def _position(self) -> tuple[int, int]:
        lat, lon = self._track.depot
        lat_now = lat + self._track.y / _METRES_PER_DEGREE
        lon_now = lon + self._track.x / (_METRES_PER_DEGREE * math.cos(math.radians(lat)))
        return round(lat_now * 1e7), round(lon_now * 1e7)


def _shares(weights: list[float], total: int) -> list[int]:
    """Split `total` by weight, remainders to the largest fractions."""
    whole = sum(weights)
    exact = [total * weight / whole for weight in weights]
    counts = [int(value) for value in exact]
    order = sorted(range(len(weights)), key=lambda i: (counts[i] - exact[i], i))
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    return counts


def make_fleet(scenario: Scenario) -> list[TerminalSpec]:
    """The terminals of a scenario: same seed, same fleet.

    One protocol alone gets the same terminals for the same seed whatever the other weights are.
    """
    names = [name for name in PROTOCOLS if scenario.mix.get(name, 0) > 0]
    specs = []
    for name, count in zip(names, _shares([scenario.mix[name] for name in names], scenario.terminals), strict=True):
        rng = random.Random(f"{scenario.seed}/{name}/fleet")  # noqa: S311 - seeded on purpose
        base = rng.randrange(1_000_000)
        sides = terminals(name)
        transport = scenario.transport if scenario.transport in sides else "tcp"
        kind = sides[transport]
        models = tuple(kind.models)
        weights = [getattr(scenario.profiles, profile) for profile in PROFILES]
        profiles = [p for p, n in zip(PROFILES, _shares(weights, count), strict=True) for _ in range(n)]
        rng.shuffle(profiles)
        specs += [
            TerminalSpec(
                index=index,
                protocol=name,
                identity=kind.identity((base + index) % 1_000_000),
                model=models[(base + index) % len(models)],
                profile=profiles[index],
                transport=transport,
            )
            for index in range(count)
        ]
    return specs
