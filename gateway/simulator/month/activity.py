"""When a vehicle moves and idles, by its kind, and what it does in between: a timeline of states without a gap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from gateway.simulator.month.facts import DAY, HOUR, MINUTE, SLEEP_AFTER
from gateway.simulator.month.vehicle import Vehicle
from gateway.simulator.month.world import World


class State(IntEnum):
    """What a vehicle's terminal does; from `PARKED` on its ignition is off."""

    MOVING = 0
    IDLING = 1
    PARKED = 2
    ASLEEP = 3
    OFF = 4


Activity = tuple[float, float, State]  # begin, end, seconds after the start


@dataclass(slots=True)
class Timeline:
    """Arrays, shape (n,): segments in order, the end of one the beginning of the next."""

    begin: NDArray[np.float64]
    end: NDArray[np.float64]
    state: NDArray[np.int8]

    def at(self, moments: NDArray[np.float64]) -> NDArray[np.int8]:
        """The state at these moments."""
        where = np.searchsorted(self.begin, moments, "right") - 1
        states: NDArray[np.int8] = self.state[np.clip(where, 0, len(self.state) - 1)]
        return states


def activities(world: World, vehicle: Vehicle, rng: Generator) -> list[Activity]:
    """When it moves and idles, in order; holidays, vacations, workshops and a sale are taken out."""
    make = {
        "van": _rounds,
        "long-haul": _trips,
        "excavator": _digging,
        "tractor": _campaigns,
        "bus": _buses,
        "taxi": _shifts,
        "trailer": _towed,
    }[vehicle.kind]
    found = [item for item in make(world, vehicle, rng) if item[1] > item[0]]
    barred = [*vehicle.off, *vehicle.unused]
    if world.holiday is not None and vehicle.kind not in ("bus", "taxi", "long-haul", "trailer"):
        barred.append(world.holiday)
    kept = []
    weekday = vehicle.index % 7
    for begin, end, state in found:
        if any(begin < b and end > a for a, b in barred):
            continue
        if begin > vehicle.sold and int(begin // DAY) % 7 != weekday:
            continue
        if begin < world.end:
            kept.append((begin, min(end, world.end), state))
    return kept


def timeline(world: World, vehicle: Vehicle, active: list[Activity], rng: Generator) -> Timeline:
    """The whole month: between activities it stands, sleeps, or is switched off."""
    segments: list[Activity] = []
    now = 0.0
    for begin, end, state in active:
        if begin > now:
            segments += _rest(vehicle, now, begin, rng)
        if end > max(begin, now):
            segments.append((max(begin, now), end, state))
            now = end
    if now < world.end:
        segments += _rest(vehicle, now, world.end, rng)
    for span in vehicle.off:
        segments = _switched_off(segments, span)
    begins = np.array([segment[0] for segment in segments])
    ends = np.array([segment[1] for segment in segments])
    return Timeline(begins, ends, np.array([segment[2] for segment in segments], np.int8))


def _rest(vehicle: Vehicle, begin: float, end: float, rng: Generator) -> Iterator[Activity]:
    length = end - begin
    if vehicle.switched and length > 5 * HOUR and rng.random() < 0.85:
        turned = min(begin + float(rng.uniform(10, 600)), end)
        yield begin, turned, State.PARKED
        yield turned, end, State.OFF
    elif vehicle.sleeps and length > SLEEP_AFTER and vehicle.kind != "trailer":
        yield begin, begin + SLEEP_AFTER, State.PARKED
        yield begin + SLEEP_AFTER, end, State.ASLEEP
    else:
        yield begin, end, State.ASLEEP if vehicle.kind == "trailer" else State.PARKED


def _switched_off(segments: list[Activity], span: tuple[float, float]) -> list[Activity]:
    begin, end = span
    made: list[Activity] = []
    put = False
    for a, b, state in segments:
        if b <= begin or a >= end:
            made.append((a, b, state))
            continue
        if a < begin:
            made.append((a, begin, state))
        if not put:
            made.append((max(begin, 0.0), min(end, segments[-1][1]), State.OFF))
            put = True
        if b > end:
            made.append((end, b, state))
    return made


def _days(world: World, vehicle: Vehicle, *, every_day: bool = False) -> Iterator[float]:
    for day in range(world.days):
        saturday = day % 7 == 5 and vehicle.customer.saturdays
        if every_day or not world.day_off[day] or saturday:
            yield day * DAY


def _rounds(world: World, vehicle: Vehicle, rng: Generator) -> Iterator[Activity]:
    """Deliveries: drives of 5 to 35 minutes, stops of a few minutes with the engine on or up to an hour without."""
    for day in _days(world, vehicle):
        if rng.random() < 0.06:
            continue
        now = day + (vehicle.begins + rng.normal(0, 0.25)) * HOUR
        end = day + (vehicle.begins + vehicle.lasts + rng.normal(0, 0.7)) * HOUR
        while now < end:
            drive = min(max(rng.lognormal(np.log(14 * MINUTE), 0.5), 3 * MINUTE), 45 * MINUTE)
            yield now, now + drive, State.MOVING
            now += drive
            if rng.random() < 0.45:
                stop = rng.uniform(2, 12) * MINUTE
                yield now, now + stop, State.IDLING
            else:
                stop = min(rng.lognormal(np.log(15 * MINUTE), 0.7), 90 * MINUTE)
            now += stop


def _trips(world: World, vehicle: Vehicle, rng: Generator) -> Iterator[Activity]:
    """Driving-time rules: 4.5 hours, 45 minutes, 4.5 hours, 11 hours of rest; days at the base between trips."""
    now = float(rng.uniform(-2, 1)) * DAY
    while now < world.end:
        for _ in range(int(rng.integers(3, 8))):
            for turn in range(2):
                left = float(rng.uniform(3.6, 4.5)) * HOUR
                while left > 0:
                    leg = min(left, float(rng.uniform(0.8, 3.0)) * HOUR)
                    yield max(now, 0.0), now + leg, State.MOVING
                    now, left = now + leg, left - leg
                    if left > 0:
                        pause = float(rng.uniform(4, 20)) * MINUTE
                        yield max(now, 0.0), now + pause, State.IDLING
                        now += pause
                if turn == 0:
                    pause = float(rng.uniform(45, 70)) * MINUTE
                    if rng.random() < 0.3:
                        yield max(now, 0.0), now + pause, State.IDLING
                    now += pause
            now += float(rng.uniform(11, 13)) * HOUR
        now += float(rng.choice([0.4, 1.0, 2.0], p=[0.4, 0.3, 0.3])) * DAY
        while rng.random() < 0.6 and int(now // DAY) % 7 >= 5:
            now += 0.5 * DAY


def _digging(world: World, vehicle: Vehicle, rng: Generator) -> Iterator[Activity]:
    """A working day of digging, which is idling to a terminal, with short moves and a lunch without the engine."""
    for day in _days(world, vehicle):
        if rng.random() < 0.1:
            continue
        now = day + (vehicle.begins + rng.normal(0, 0.3)) * HOUR
        end = day + (vehicle.begins + vehicle.lasts + rng.normal(0, 0.8)) * HOUR
        lunch = False
        while now < end:
            move = rng.uniform(2, 10) * MINUTE
            yield now, now + move, State.MOVING
            dig = rng.uniform(20, 90) * MINUTE
            yield now + move, now + move + dig, State.IDLING
            now += move + dig
            if not lunch and now > day + 12 * HOUR:
                lunch, now = True, now + rng.uniform(40, 70) * MINUTE
            elif rng.random() < 0.3:
                now += rng.uniform(5, 40) * MINUTE


def _campaigns(world: World, vehicle: Vehicle, rng: Generator) -> Iterator[Activity]:
    """Days of ten to fourteen hours, then weeks of nothing."""
    day = int(rng.integers(-4, 12))
    while day < world.days:
        for _ in range(int(rng.integers(3, 11))):
            now = day * DAY + rng.uniform(6, 8) * HOUR
            end = now + rng.uniform(9, 14) * HOUR
            while day >= 0 and now < end:
                work = rng.uniform(0.5, 2.5) * HOUR
                yield now, now + work, State.MOVING
                now += work
                stop = rng.uniform(5, 40) * MINUTE
                if rng.random() < 0.6:
                    yield now, now + stop, State.IDLING
                now += stop
            day += 1
        day += int(rng.integers(5, 21))


def _buses(world: World, vehicle: Vehicle, rng: Generator) -> Iterator[Activity]:
    """Twenty hours a day, with a stop at each end of the line."""
    for day in _days(world, vehicle, every_day=True):
        if rng.random() < 0.05:
            continue
        now = day + rng.uniform(4.2, 5.0) * HOUR
        end = now + rng.uniform(18.5, 20.0) * HOUR
        while now < end:
            drive = rng.uniform(35, 70) * MINUTE
            yield now, now + drive, State.MOVING
            stop = rng.uniform(4, 15) * MINUTE
            yield now + drive, now + drive + stop, State.IDLING
            now += drive + stop


def _shifts(world: World, vehicle: Vehicle, rng: Generator) -> Iterator[Activity]:
    """Fares of 8 to 40 minutes, waiting with the engine on or off; any day of the week, some by night."""
    nightly = rng.random() < 0.3
    for day in _days(world, vehicle, every_day=True):
        if rng.random() < 0.12:
            continue
        now = day + (rng.normal(18, 1) if nightly else rng.normal(7.5, 1.0)) * HOUR
        end = now + rng.uniform(9, 14) * HOUR
        while now < end:
            fare = rng.uniform(8, 40) * MINUTE
            yield now, now + fare, State.MOVING
            wait = rng.uniform(2, 25) * MINUTE
            if rng.random() < 0.6:
                yield now + fare, now + fare + wait, State.IDLING
            now += fare + wait


def _towed(world: World, vehicle: Vehicle, rng: Generator) -> Iterator[Activity]:
    """A trailer tells nothing of being towed."""
    return iter(())
