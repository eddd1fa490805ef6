"""One vehicle and its terminal: who has it, how it reports, what befalls it in the month."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from gateway.backtest.tables import Fault
from gateway.simulator.month.facts import (
    CAUSES,
    DAY,
    DRIFT,
    DRIFTS,
    HOUR,
    KINDS,
    NO_LAST_WORD,
    OPERATORS,
    OUT_OF_TOWN,
    OWN_OPERATOR,
    PERIODS,
    RECONFIGURED,
    RECONFIGURED_BY,
    REPAIR,
    REPAIRED,
    ROAMS,
    SOLD,
    START,
    TOWN_HOLE_KM,
    TOWN_HOLES,
    UNDERGROUND,
    VACATION,
    VACATION_LENGTH,
    VACATION_OFF,
    WORKSHOP,
    WORKSHOP_STAY,
    Facts,
)
from gateway.simulator.month.world import Customer, Road, World, draw_customer, protocol_of
from protocols.terminals import luhn


@dataclass(slots=True)
class Breakdown:
    """What the truth knows of one terminal; seconds after the start."""

    cause: str
    begins: float
    ends: float


@dataclass(slots=True)
class Vehicle:
    """Attributes
    ----------
    off : spans in which nobody uses it and its battery is off; `unused` those in which it merely stands.
    reconfigured : from when on its periods are so many times longer; (inf, 1): never.
    sold : from when on it is used once a week.
    """

    index: int
    kind: str
    facts: Facts
    identity: str
    customer: Customer
    site: tuple[str, float, float, bool]
    operator: str
    protocol: str
    model: str
    firmware: str
    road: Road
    heading: float
    pace: float
    wired: bool
    sleeps: bool
    wakes: float
    switched: bool
    last_word: bool
    pings: bool
    underground: bool
    roams: bool
    drift: float
    volts: float
    begins: float
    lasts: float
    off: list[tuple[float, float]] = field(default_factory=list)
    unused: list[tuple[float, float]] = field(default_factory=list)
    reconfigured: tuple[float, float] = (float("inf"), 1.0)
    sold: float = float("inf")
    breakdown: Breakdown | None = None

    @property
    def attributes(self) -> dict[str, str]:
        """As the table of terminals has them; the first word of the name is its kind."""
        return {
            "name": f"{self.kind} {self.index}",
            "protocol": self.protocol,
            "model": self.model,
            "firmware": self.firmware,
            "operator": self.operator,
            "customer": self.customer.name,
            "site": self.site[0],
            "region": self.customer.region,
        }

    @property
    def fault(self) -> Fault | None:
        """As the truth has it."""
        if self.breakdown is None:
            return None
        zone = CAUSES[self.breakdown.cause][0]
        return Fault("silence", zone, START + self.breakdown.begins, START + self.breakdown.ends, self.identity)


def make_vehicle(world: World, kind: str, index: int, rng: Generator) -> Vehicle:
    """Draw one, with what befalls it but for its fault (`break_down`, once it is known when it is used)."""
    facts = KINDS[kind]
    customer = draw_customer(world, kind, rng)
    protocol, model, firmware = protocol_of(rng)
    operator = customer.operator if rng.random() < OWN_OPERATOR else OPERATORS[int(rng.integers(len(OPERATORS)))]
    number = f"86{index:012d}"
    switched = bool(rng.random() < facts.switched)
    vehicle = Vehicle(
        index=index,
        kind=kind,
        facts=facts,
        identity=number + luhn(number),
        customer=customer,
        site=customer.sites[int(rng.integers(len(customer.sites)))],
        operator=operator,
        protocol=protocol,
        model=model,
        firmware=firmware,
        road=_road_of(world, kind, operator, rng),
        heading=float(rng.uniform(0, 2 * np.pi)),
        pace=float(rng.choice(PERIODS)),
        wired=kind != "trailer" and bool(rng.random() >= world.unwired),
        sleeps=bool(rng.random() < facts.sleeps),
        wakes=float(rng.choice(facts.wakes)) * HOUR,
        switched=switched,
        last_word=not (switched and rng.random() < NO_LAST_WORD),
        pings=bool(rng.random() < facts.pings),
        underground=kind in ("van", "taxi") and bool(rng.random() < UNDERGROUND),
        roams=bool(rng.random() < ROAMS),
        drift=DRIFT * (1 if rng.random() < 0.5 else -1) if rng.random() < DRIFTS else 0.0,
        volts=24.0 if rng.random() < facts.volts else 12.0,
        begins=customer.begins + float(rng.normal(0, 0.4)),
        lasts=float(rng.uniform(7.5, 10.0)),
    )
    _befall(world, vehicle, rng)
    return vehicle


def break_down(
    world: World, vehicle: Vehicle, used: list[tuple[float, float]], rng: Generator, faulty: float, in_use: float
) -> None:
    """Perhaps give it a true fault, with the probability `faulty` in thirty days; `used`: when it moves or idles."""
    if rng.random() >= faulty * world.days / 30:
        return
    cause = str(rng.choice(list(CAUSES), p=[weight for _, weight, _ in CAUSES.values()]))
    earliest, latest = min(3 * DAY, 0.3 * world.end), world.end - min(1 * DAY, 0.2 * world.end)
    begins = float(rng.uniform(earliest, latest))
    able = [(a, b) for a, b in used if earliest < a and b < latest]
    if able and rng.random() < in_use:
        a, b = able[int(rng.integers(len(able)))]
        begins = float(rng.uniform(a, b))
    ends = world.end
    if CAUSES[cause][2] and rng.random() < REPAIRED:
        ends = min(world.end, begins + float(rng.uniform(*REPAIR)))
    vehicle.breakdown = Breakdown(cause, begins, ends)


def _road_of(world: World, kind: str, operator: str, rng: Generator) -> Road:
    facts = KINDS[kind]
    if kind in ("long-haul", "trailer"):
        return world.roads[int(rng.integers(len(world.roads)))]
    km = float(rng.uniform(*facts.line))
    if kind != "van" or rng.random() >= OUT_OF_TOWN:
        return Road(km, {operator: np.zeros((0, 2))})
    km += 40.0
    begins = np.sort(rng.uniform(15, km - TOWN_HOLE_KM[1], int(rng.integers(TOWN_HOLES[0], TOWN_HOLES[1] + 1))))
    lengths = rng.uniform(*TOWN_HOLE_KM, len(begins))
    return Road(km, {operator: np.stack([begins, begins + lengths], axis=1)})


def _befall(world: World, vehicle: Vehicle, rng: Generator) -> None:
    share = world.days / 30

    def at(length: float) -> tuple[float, float]:
        begin = float(rng.uniform(0, max(world.end - 0.5 * length, 1.0)))
        return begin, begin + length

    works = vehicle.kind not in ("trailer", "bus", "taxi")
    if works and rng.random() < VACATION * share:
        span = at(float(rng.uniform(*VACATION_LENGTH)))
        (vehicle.off if rng.random() < VACATION_OFF else vehicle.unused).append(span)
    if vehicle.kind != "trailer" and rng.random() < WORKSHOP * share:
        day = DAY * float(rng.integers(max(1, world.days)))
        begin = day + float(rng.uniform(9, 12)) * HOUR
        vehicle.off.append((begin, begin + float(rng.uniform(*WORKSHOP_STAY))))
    if rng.random() < RECONFIGURED * share:
        vehicle.reconfigured = (at(0.0)[0], float(rng.uniform(*RECONFIGURED_BY)))
    if works and rng.random() < SOLD * share:
        vehicle.sold = at(0.0)[0]
