"""A labelled month of a mixed fleet: trace, truth and terminals, of the seed alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.backtest.tables import GATEWAY, Fault, write_terminals, write_truth
from gateway.backtest.trace import CORE, Kind, TraceWriter
from gateway.backtest.trace import GATEWAY as OWN
from gateway.simulator.month.activity import State, activities, timeline
from gateway.simulator.month.facts import DAY, FAULTY, IN_USE, KINDS, START
from gateway.simulator.month.network import silences
from gateway.simulator.month.places import Course
from gateway.simulator.month.reports import MEASURED, ROW, report
from gateway.simulator.month.signs import Signs
from gateway.simulator.month.vehicle import Vehicle, break_down, make_vehicle
from gateway.simulator.month.world import World, make_world


@dataclass(frozen=True, slots=True)
class Month:
    """What was written.

    Attributes
    ----------
    told : of each terminal with a fault, when the first thing arrived that tells its cause from others; Unix seconds,
        inf for never.
    """

    terminals: int
    days: int
    seed: int
    rows: int
    faults: int
    groups: int
    told: Mapping[str, float]


def write_month(
    days: int, terminals: int, seed: int, *, trace: Path, truth: Path, table: Path, faulty: float = FAULTY
) -> Month:
    """Make a month and write its three files; `faulty` of its terminals get a fault in thirty days.

    Raises
    ------
    BacktestError
        If one cannot be written.
    """
    world = make_world(days, terminals, seed)
    vehicles = _vehicles(world, terminals, seed)
    names = [vehicle.identity for vehicle in vehicles]
    told: dict[str, float] = {}
    with (
        TraceWriter(trace, names, {name: ROW[name] for name in MEASURED}) as writer,
        TemporaryDirectory(dir=trace.absolute().parent, prefix=".month-") as folder,
    ):
        pieces = [Path(folder) / f"{day}" for day in range(days)]
        for vehicle in vehicles:
            rows, signs = _rows_of(world, vehicle, seed, faulty)
            _spread(rows, pieces)
            if vehicle.breakdown is not None:
                told[vehicle.identity] = START + signs.told
        _spread(_own_rows(world), pieces)
        for piece in pieces:
            rows = np.fromfile(piece, ROW) if piece.exists() else np.zeros(0, ROW)
            rows = rows[np.lexsort((rows["terminal"], rows["received"]))]
            writer.append({name: rows[name] for name in (*CORE, *MEASURED)})
    own = [fault for vehicle in vehicles if (fault := vehicle.fault) is not None]
    groups = _group_faults(world)
    write_truth(truth, sorted([*own, *groups], key=lambda fault: fault.begins))
    write_terminals(table, {vehicle.identity: vehicle.attributes for vehicle in vehicles})
    return Month(terminals, days, seed, writer.rows, len(own), len(groups), told)


def _vehicles(world: World, terminals: int, seed: int) -> list[Vehicle]:
    kinds = list(KINDS)
    shares = np.array([facts.share for facts in KINDS.values()])
    drawn = np.random.default_rng([seed, 1]).choice(len(kinds), terminals, p=shares / shares.sum())
    return [
        make_vehicle(world, kinds[kind], index, np.random.default_rng([seed, 2, index]))
        for index, kind in enumerate(drawn.tolist())
    ]


def _rows_of(world: World, vehicle: Vehicle, seed: int, faulty: float) -> tuple[NDArray[Any], Signs]:
    rng = np.random.default_rng([seed, 3, vehicle.index])
    active = activities(world, vehicle, rng)
    line = timeline(world, vehicle, active, rng)
    used = [(begin, end) for begin, end, state in active if state <= State.IDLING]
    break_down(world, vehicle, used, rng, faulty, IN_USE)
    course = Course(vehicle, line)
    signs = Signs(vehicle, line, world.end, np.random.default_rng([seed, 4, vehicle.index]))
    rows = report(vehicle, line, silences(world, vehicle, line, course, rng), course, signs, rng)
    for begin, end in world.deaf:  # what was on its way just then
        caught = (rows["received"] >= _micros(begin)) & (rows["received"] <= _micros(end))
        rows["received"][caught] = _micros(end) + 1_000_000 + (rows["received"][caught] - _micros(begin)) // 1000
    return rows[np.argsort(rows["received"], kind="stable")], signs


def _micros(seconds: float) -> int:
    return round((START + seconds) * 1e6)


def _own_rows(world: World) -> NDArray[Any]:
    """The gateway begins to listen with the month, and tells when it does not."""
    instants = [(0.0, Kind.LISTENING)]
    for begin, end in world.deaf:
        instants += [(begin, Kind.DEAF), (end, Kind.LISTENING)]
    rows = np.zeros(len(instants), ROW)
    rows["terminal"] = OWN
    rows["received"] = rows["time"] = [_micros(at) for at, _ in instants]
    rows["kind"] = [kind for _, kind in instants]
    rows["ignition"] = -1
    for name in MEASURED:
        rows[name] = np.nan
    return rows


def _spread(rows: NDArray[Any], pieces: list[Path]) -> None:
    """Into a file a day, so that no more than a day is ever sorted; what arrives after the end is not of the month."""
    day = (rows["received"] - _micros(0.0)) // round(DAY * 1e6)
    bounds = np.searchsorted(day, np.arange(len(pieces) + 1))
    for number, piece in enumerate(pieces):
        part = rows[bounds[number] : bounds[number + 1]]
        if len(part):
            with piece.open("ab") as file:
                part.tofile(file)


def _group_faults(world: World) -> list[Fault]:
    def fault(kind: str, zone: str, by: str, value: str, span: tuple[float, float]) -> Fault:
        return Fault(kind, zone, START + span[0], START + span[1], None, by, value)

    return [
        *(fault("mass-silence", "sim-operator", "operator", name, (a, b)) for name, a, b in world.outages),
        *(fault("platform", "gateway", "protocol", name, (a, b)) for name, a, b in world.firewalls),
        *(fault("platform", "gateway", GATEWAY, "", span) for span in world.deaf),
    ]
