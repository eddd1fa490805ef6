"""When a terminal cannot be heard, and why; and what becomes of its records then."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from gateway.simulator.month.activity import State, Timeline
from gateway.simulator.month.facts import (
    DAY,
    HEARD_AGAIN,
    HEARD_AGAIN_EVERY,
    HOUR,
    QUARRY_HOLE,
    QUARRY_HOLE_EVERY,
    RETRY,
)
from gateway.simulator.month.places import Course
from gateway.simulator.month.vehicle import Vehicle
from gateway.simulator.month.world import Spans, World, log_even

Floats = NDArray[np.float64]


def silences(world: World, vehicle: Vehicle, line: Timeline, course: Course, rng: Generator) -> Spans:
    """Spans in which nothing gets through, in order, none touching another."""
    spans = [course.holes(rng)]
    if vehicle.underground:
        night = (line.state >= State.PARKED) & (line.end - line.begin > 3 * HOUR)
        # A garage begins where the parking begins: what sleeps there was parked there before.
        begins = line.begin.copy()
        begins[1:] = np.where(line.state[:-1] == State.PARKED, line.begin[:-1], line.begin[1:])
        spans.append(np.stack([begins, line.end], axis=1)[night])
    if vehicle.site[3] and vehicle.kind == "excavator":
        count = int(rng.poisson(world.end / QUARRY_HOLE_EVERY))
        spans.append(np.array([(at, at + log_even(rng, QUARRY_HOLE)) for at in rng.uniform(0, world.end, count)]))
    if not vehicle.roams:
        spans += [np.array([[a, b]]) for name, a, b in world.outages if name == vehicle.operator]
    spans += [np.array([[a, b]]) for name, a, b in world.firewalls if name == vehicle.protocol]
    spans += [np.array([span]) for span in world.deaf]
    fault = vehicle.breakdown
    if fault is not None and fault.cause in ("sim", "path", "moved"):
        spans.append(np.array([[fault.begins, np.inf if fault.cause == "moved" else fault.ends]]))
    elif fault is not None and fault.cause == "antenna":
        heard = np.sort(
            rng.uniform(
                fault.begins + HOUR, fault.ends, int(rng.poisson((fault.ends - fault.begins) / HEARD_AGAIN_EVERY))
            )
        )
        begins = np.concatenate([[fault.begins], heard + rng.uniform(*HEARD_AGAIN, len(heard))])
        ends = np.concatenate([heard, [fault.ends]])
        spans.append(np.stack([begins, ends], axis=1)[ends > begins])
    return merged(np.concatenate([span.reshape(-1, 2) for span in spans]))


def merged(spans: Spans) -> Spans:
    """In order, overlapping ones as one."""
    if not len(spans):
        return spans
    spans = spans[np.argsort(spans[:, 0])]
    reach = np.maximum.accumulate(spans[:, 1])
    first = np.concatenate([[True], spans[1:, 0] > reach[:-1]])
    last = np.concatenate([first[1:], [True]])
    return np.stack([spans[first, 0], reach[last]], axis=1)


def inside(spans: Spans, moments: Floats) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Which moments lie in a span, and in which."""
    at = np.searchsorted(spans[:, 0], moments, "right") - 1
    if not len(spans):
        return np.zeros(len(moments), np.bool_), at
    return (at >= 0) & (moments < spans[np.maximum(at, 0), 1]), at


def deliveries(recorded: Floats, line: Timeline, spans: Spans, rng: Generator) -> tuple[Floats, NDArray[np.bool_]]:
    """When each record leaves, and whether it had to wait; inf: never.

    What was recorded without a network leaves once there is one: soon where the terminal is awake, else at its next
    report.
    """
    waits, which = inside(spans, recorded)
    leaves = recorded.copy()
    if not waits.any():
        return leaves, waits
    ends = spans[:, 1]
    finite = np.isfinite(ends)
    out = ends.copy()
    for _ in range(4):  # the next report may fall into the next silence
        awake = line.at(out) <= State.PARKED
        after = np.searchsorted(recorded, out, "left")
        following = np.append(recorded, np.inf)[after]
        out = np.where(awake & finite, out + rng.uniform(*RETRY, len(out)), following)
        again, where = inside(spans, out)
        if not again.any():
            break
        out = np.where(again, spans[np.maximum(where, 0), 1], out)
    leaves[waits] = np.where(finite, out, np.inf)[which[waits]]
    leaves[leaves > max(float(line.end[-1]), DAY)] = np.inf
    return leaves, waits
