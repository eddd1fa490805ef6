"""What one terminal sends in the month: rows of a trace, in the order of their arrival."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from gateway.backtest.trace import CONNECTION, Kind
from gateway.simulator.month.activity import State, Timeline
from gateway.simulator.month.facts import (
    BURST_FRAME,
    BURST_STEP,
    DAY,
    JITTER,
    LATE,
    LATE_BY,
    LATENCY,
    MISSED_WAKE,
    PING,
    START,
)
from gateway.simulator.month.network import deliveries, inside, merged
from gateway.simulator.month.places import Course
from gateway.simulator.month.signs import Signs
from gateway.simulator.month.vehicle import Vehicle
from gateway.simulator.month.world import Spans

Floats = NDArray[np.float64]

ROW = np.dtype(
    [
        ("terminal", "<i4"),
        ("received", "<i8"),
        ("time", "<i8"),
        ("kind", "i1"),
        ("ignition", "i1"),
        ("moving", "<f2"),
        ("archive", "<f2"),
        ("speed", "<f2"),
        ("satellites", "<f2"),
        ("voltage", "<f2"),
        ("gsm.signal", "<f2"),
        ("power.battery", "<f2"),
        ("power.backup", "<f2"),
        ("case.open", "<f2"),
        ("event", "<f2"),
        ("unit.id", "<f2"),
        *((name, "<f2") for name in CONNECTION),
        ("lat", "<f4"),
        ("lon", "<f4"),
    ]
)
_FRAMES_MOST = 60_000  # what a half-precision number holds
MEASURED = ROW.names[5:] if ROW.names else ()


def report(
    vehicle: Vehicle, line: Timeline, spans: Spans, course: Course, signs: Signs, rng: Generator
) -> NDArray[Any]:
    """Rows of this terminal, sorted by arrival."""
    reports, segment = _recorded(vehicle, line, rng)
    recorded, state = reports, line.state[segment]
    missed = (state == State.ASLEEP) & (rng.random(len(recorded)) < MISSED_WAKE)
    if missed.any():
        at = recorded[missed]
        spans = merged(np.concatenate([spans, np.stack([at - 5, at + 120], axis=1)]))
    leaves, waited = deliveries(recorded, line, spans, rng)
    told = np.isfinite(leaves)
    if not vehicle.last_word:
        told &= ~_last_words(line, segment)
    recorded, state, leaves, waited = recorded[told], state[told], leaves[told], waited[told]
    arrives = leaves + rng.uniform(*LATENCY, len(leaves))
    late = rng.random(len(leaves)) < LATE
    arrives[late] += rng.uniform(*LATE_BY, int(late.sum()))
    arrives = np.maximum.accumulate(arrives) if len(arrives) else arrives
    arrives = _in_bursts(arrives, leaves, waited)
    recorded, state, arrives, waited = _with_words(signs, line, spans, recorded, state, arrives, waited)
    rows = _records(vehicle, course, recorded, state, arrives, waited, rng)
    signs.mark(rows, recorded, state, waited)
    rows = np.concatenate([rows, *_pings(vehicle, line, spans, rows, rng)])
    rows = rows[np.argsort(rows["received"], kind="stable")]
    rows = np.concatenate([rows, *_connections(vehicle, line, rows, reports, signs)])
    return rows[np.argsort(rows["received"], kind="stable")]


def _recorded(vehicle: Vehicle, line: Timeline, rng: Generator) -> tuple[Floats, NDArray[np.intp]]:
    """When it records, and in which segment: at each change, then by the period of the state."""
    facts, length = vehicle.facts, line.end - line.begin
    usual = np.array([facts.moving, facts.idling, facts.parked, vehicle.wakes, np.inf])
    period = usual[line.state] * np.where(line.state < State.ASLEEP, vehicle.pace, 1.0)
    since, times = vehicle.reconfigured
    period = np.where(line.begin >= since, period * times, period)
    phase = np.zeros(len(length))
    if vehicle.kind == "trailer":
        phase[:] = rng.uniform(0, vehicle.wakes)
    told_at_once = (line.state < State.ASLEEP).astype(np.int64)
    counts = np.where(np.isfinite(period), np.floor((length - phase) / period), 0).astype(np.int64)
    counts = np.maximum(counts, 0) + told_at_once
    counts[(line.state == State.OFF) | (length <= 0)] = 0
    segment = np.repeat(np.arange(len(counts)), counts)
    rank = np.arange(len(segment)) - np.repeat(np.cumsum(counts) - counts, counts)
    rank = rank + (1 - told_at_once)[segment]
    each = period[segment]
    wobble = np.minimum(each * JITTER, 120.0)
    recorded = line.begin[segment] + phase[segment] + rank * each + rng.uniform(0, 1, len(segment)) * wobble
    kept = recorded < line.end[segment]
    fault = vehicle.breakdown
    if fault is not None and fault.cause in ("power", "dead", "removed"):
        kept &= (recorded < fault.begins) | (recorded >= fault.ends)
    return recorded[kept], segment[kept]


def _last_words(line: Timeline, segment: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Records of the minutes between the end of work and the battery switch."""
    soon_off = np.concatenate([line.state[1:] == State.OFF, [False]]) & (line.state == State.PARKED)
    short = line.end - line.begin < 900
    words: NDArray[np.bool_] = (soon_off & short)[segment]
    return words


def _with_words(
    signs: Signs, line: Timeline, spans: Spans, recorded: Floats, state: NDArray[np.int8], arrives: Floats,
    waited: NDArray[np.bool_],
) -> tuple[Floats, NDArray[np.int8], Floats, NDArray[np.bool_]]:  # fmt: skip
    """The records with the last words among them, which arrive at once where there is a network."""
    words = signs.words[~inside(spans, signs.words)[0]]
    if not len(words):
        return recorded, state, arrives, waited
    recorded = np.concatenate([recorded, words])
    order = np.argsort(recorded, kind="stable")
    return (
        recorded[order],
        np.concatenate([state, line.at(words)])[order],
        np.maximum.accumulate(np.concatenate([arrives, words + LATENCY[0]])[order]),  # one connection carries all
        np.concatenate([waited, np.zeros(len(words), np.bool_)])[order],
    )


def _in_bursts(arrives: Floats, leaves: Floats, waited: NDArray[np.bool_]) -> Floats:
    """What waited comes some records a frame, frame after frame as fast as the line takes them."""
    if not waited.any():
        return arrives
    same = np.concatenate([[False], (leaves[1:] == leaves[:-1]) & waited[1:] & waited[:-1]])
    first = np.maximum.accumulate(np.where(same, 0, np.arange(len(same))))
    rank = np.arange(len(same)) - first
    arrives = np.where(waited, arrives[first] + (rank // BURST_FRAME) * BURST_STEP, arrives)
    result: Floats = np.maximum.accumulate(arrives)
    return result


def _records(
    vehicle: Vehicle, course: Course, recorded: Floats, state: NDArray[np.int8], arrives: Floats,
    waited: NDArray[np.bool_], rng: Generator,
) -> NDArray[Any]:  # fmt: skip
    rows = _rows(vehicle, arrives)
    n = len(rows)
    running = state <= State.IDLING
    told = recorded + START + recorded / DAY * vehicle.drift
    rows["time"] = np.rint(told * 1e6)
    rows["kind"] = Kind.RECORD
    rows["ignition"] = running if vehicle.wired else -1
    rows["moving"] = state == State.MOVING
    rows["archive"] = waited
    kmh = vehicle.facts.speed * 3.6
    rows["speed"] = np.where(state == State.MOVING, np.rint(rng.uniform(0.3, 1.3, n) * kmh), 0)
    rows["satellites"] = rng.integers(8, 17, n)
    nominal = np.where(running, 1.165, 1.04) * vehicle.volts if vehicle.kind != "trailer" else np.full(n, 3.9)
    rows["voltage"] = nominal * rng.uniform(0.985, 1.015, n)
    rows["gsm.signal"] = rng.choice(np.array([60, 80, 80, 100]), n)
    rows["lat"], rows["lon"] = course.place(recorded)
    return rows


def _pings(vehicle: Vehicle, line: Timeline, spans: Spans, rows: NDArray[Any], rng: Generator) -> list[NDArray[Any]]:
    """Every five minutes of standing awake; what finds no network is lost."""
    if not vehicle.pings:
        return []
    parked = np.flatnonzero(line.state == State.PARKED)
    counts = np.floor((line.end - line.begin)[parked] / PING).astype(np.int64)
    rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    at = np.repeat(line.begin[parked], counts) + rank * PING + rng.uniform(0, 5, len(rank))
    at = at[~inside(spans, at)[0]]
    fault = vehicle.breakdown
    if fault is not None:
        at = at[(at < fault.begins) | (at >= fault.ends)]
    pings = _rows(vehicle, at)
    pings["kind"] = Kind.FRAME
    return [pings]


def _connections(
    vehicle: Vehicle, line: Timeline, rows: NDArray[Any], reports: Floats, signs: Signs
) -> list[NDArray[Any]]:
    """Connections as they came and went: those of these rows, and those after a fault that brought nothing."""
    end = float(line.end[-1])
    ways = signs.sessions(rows, line, START) if len(rows) else np.zeros((5, 0))
    tries = signs.attempts(reports, end)
    # One that comes while another stands would be told as that one's.
    before = np.searchsorted(ways[0], tries[0], "right")
    stands = np.append(-np.inf, ways[1])[before] >= tries[0]
    comes = np.append(ways[0], np.inf)[before] <= tries[1]
    ways = np.concatenate([ways, tries[:, ~(stands | comes)]], axis=1)
    over = ways[1] < end
    opened, closed = _rows(vehicle, ways[0]), _rows(vehicle, ways[1][over])
    opened["kind"], closed["kind"] = Kind.CONNECTED, Kind.DISCONNECTED
    for name, told in zip(CONNECTION, ways[2:], strict=True):
        closed[name] = np.minimum(told[over], _FRAMES_MOST)
    return [opened, closed]


def _rows(vehicle: Vehicle, arrives: Floats) -> NDArray[Any]:
    """Rows that tell nothing yet."""
    rows = np.zeros(len(arrives), ROW)
    rows["terminal"] = vehicle.index
    rows["received"] = rows["time"] = np.rint((arrives + START) * 1e6)
    rows["ignition"] = -1
    for name in MEASURED:
        rows[name] = np.nan
    return rows
