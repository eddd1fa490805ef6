"""What vehicles of a month share: calendar, customers, sites, roads with their holes, outages. Of the seed alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from gateway.simulator.month.facts import (
    CUSTOMER_VEHICLES,
    DAY,
    DEAF,
    FIREWALL,
    HOLE,
    HOLE_EVERY,
    HOLE_SHARED,
    HOLIDAY,
    HOUR,
    KINDS,
    OPERATORS,
    OUTAGE,
    OUTAGE_EVERY,
    QUARRIES,
    RESTART,
    ROADS,
    UNWIRED,
)
from protocols.registry import PROTOCOLS, terminals

SPOKEN = tuple(PROTOCOLS)[:3]  # so that one port's firewall looks like a third of the fleet
Spans = NDArray[np.float64]  # shape (n, 2): begin and end, seconds after the start

_TOWNS = {
    "Moscow": (55.752, 37.618),
    "Ufa": (54.735, 55.958),
    "Minsk": (53.902, 27.562),
    "Almaty": (43.238, 76.945),
    "Voronezh": (51.662, 39.200),
}
_TRADES = {  # what a customer has, by its trade
    "city": {"van": 0.9, "taxi": 0.1},
    "haulage": {"long-haul": 0.6, "trailer": 0.4},
    "building": {"excavator": 0.8, "van": 0.2},
    "farm": {"tractor": 0.8, "van": 0.2},
    "buses": {"bus": 1.0},
    "taxis": {"taxi": 1.0},
}


@dataclass(frozen=True, slots=True)
class Customer:
    """`sites` are (name, latitude, longitude, whether a quarry); `begins` its usual start of work, local hours."""

    name: str
    trade: str
    region: str
    operator: str
    sites: list[tuple[str, float, float, bool]]
    begins: float
    saturdays: bool


@dataclass(frozen=True, slots=True)
class Road:
    """A road of `km`, and by operator the stretches without coverage, km, shape (n, 2)."""

    km: float
    holes: dict[str, NDArray[np.float64]]


@dataclass(slots=True)
class World:
    """See the module."""

    days: int
    customers: list[Customer]
    roads: list[Road]
    unwired: float
    day_off: NDArray[np.bool_]
    holiday: tuple[float, float] | None
    outages: list[tuple[str, float, float]] = field(default_factory=list)  # operator, from, to
    firewalls: list[tuple[str, float, float]] = field(default_factory=list)  # protocol, from, to
    deaf: list[tuple[float, float]] = field(default_factory=list)  # the gateway itself, restarts among them

    @property
    def end(self) -> float:
        """Seconds after the start."""
        return self.days * DAY


def make_world(days: int, vehicles: int, seed: int) -> World:
    """A world for so many vehicles."""
    rng = np.random.default_rng([seed, 0])
    day_off = np.arange(days + 1) % 7 >= 5
    holiday = None
    if days > 8:
        friday = 4 + 7 * int(rng.integers(1 if days > 14 else 0, max(2, (days - 4) // 7)))
        holiday = (friday * DAY + HOLIDAY[0], friday * DAY + HOLIDAY[0] + HOLIDAY[1])
        day_off[min(friday + 3, days)] = True
    world = World(
        days,
        _customers(rng, vehicles),
        [_road(rng) for _ in range(ROADS)],
        float(rng.uniform(*UNWIRED)),
        day_off,
        holiday,
    )
    _outages(world, rng)
    return world


def protocol_of(rng: Generator) -> tuple[str, str, str]:
    """Protocol, model and firmware of a terminal."""
    protocol = SPOKEN[int(rng.integers(len(SPOKEN)))]
    models = terminals(protocol)["tcp"].models
    model = list(models)[int(rng.integers(len(models)))]
    return protocol, model, models[model][3 if rng.random() < 0.8 else 4]


def log_even(rng: Generator, bounds: tuple[float, float]) -> float:
    """A draw that is even in the logarithm."""
    return float(np.exp(rng.uniform(*np.log(bounds))))


def _customers(rng: Generator, vehicles: int) -> list[Customer]:
    weight = {trade: sum(KINDS[kind].share * part for kind, part in has.items()) for trade, has in _TRADES.items()}
    trades = list(_TRADES)
    chances = np.array([weight[trade] for trade in trades])
    drawn = rng.choice(len(trades), max(len(trades), vehicles // CUSTOMER_VEHICLES), p=chances / chances.sum())
    drawn[: len(trades)] = np.arange(len(trades))
    customers = []
    for number, which in enumerate(drawn.tolist()):
        trade = trades[which]
        region = list(_TOWNS)[int(rng.integers(len(_TOWNS)))]
        lat, lon = _TOWNS[region]
        sites = [
            (
                f"{trade}-{number}-{place}",
                lat + float(rng.normal(0, 0.15)),
                lon + float(rng.normal(0, 0.25)),
                trade == "building" and bool(rng.random() < QUARRIES),
            )
            for place in range(1 + int(rng.integers(3)))
        ]
        customers.append(
            Customer(
                f"{trade}-{number}",
                trade,
                region,
                OPERATORS[int(rng.integers(len(OPERATORS)))],
                sites,
                float(rng.uniform(6.5, 9.0)),
                bool(rng.random() < 0.3),
            )
        )
    return customers


def draw_customer(world: World, kind: str, rng: Generator) -> Customer:
    """One that has such vehicles."""
    able = [c for c in world.customers if kind in _TRADES[c.trade]]
    weights = np.array([_TRADES[c.trade][kind] for c in able])
    return able[int(rng.choice(len(able), p=weights / weights.sum()))]


def _road(rng: Generator) -> Road:
    facts = KINDS["long-haul"]
    km = float(rng.uniform(*facts.line))

    def holes(count: int) -> list[tuple[float, float]]:
        made = []
        for _ in range(count):
            length = log_even(rng, HOLE) * facts.speed / 1000
            begin = rng.uniform(0, max(km - length, 1.0))
            made.append((begin, min(begin + length, km)))
        return made

    count = int(rng.poisson(km / HOLE_EVERY))
    everybody = holes(round(count * HOLE_SHARED))
    by_operator = {name: sorted(everybody + holes(count - len(everybody))) for name in OPERATORS}
    return Road(km, {name: np.array(its, np.float64).reshape(-1, 2) for name, its in by_operator.items()})


def _outages(world: World, rng: Generator) -> None:
    """Of operators, of a firewall and our own: none touches another, nor the first hours and the last."""
    taken: list[tuple[float, float]] = []

    def place(length: float) -> tuple[float, float]:
        begin = 0.0
        for _ in range(200):
            begin = float(rng.uniform(0.2 * world.end, world.end - length - 2 * HOUR))
            if all(begin > end + 6 * HOUR or begin + length < start - 6 * HOUR for start, end in taken):
                break
        taken.append((begin, begin + length))
        return begin, begin + length

    if world.days < 2:
        return
    for number in range(max(1, round(world.days / OUTAGE_EVERY))):
        operator = OPERATORS[(number + int(rng.integers(2))) % len(OPERATORS)]
        world.outages.append((operator, *place(log_even(rng, OUTAGE))))
    if world.days >= 3:
        world.firewalls.append((SPOKEN[int(rng.integers(len(SPOKEN)))], *place(float(rng.uniform(*FIREWALL)))))
    world.deaf.append(place(DEAF))
    world.deaf += [place(float(rng.uniform(*RESTART))) for _ in range(world.days // 10)]
    world.deaf.sort()
