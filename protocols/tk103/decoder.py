"""Places to columns: many that look alike at once, others by the pattern; what cannot be, one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.formed import Column, Formed, decode_formed, degrees, joined, numbers, twos
from protocols.instants import instants
from protocols.records import EVENT, IGNITION_KNOWN, IGNITION_ON, MOVING, VALID, Batch, Decoded, Frame, Quarantined
from protocols.runs import alike
from protocols.tk103.declaration import PLACE, read
from protocols.tk103.layout import decode_alike

_PLACE = joined(PLACE)
_MANY = 16  # of one size: fewer are sooner read by the pattern


def decode(frames: Sequence[Frame]) -> Decoded:
    """Messages of any terminals; never raises on any bytes."""
    batches: list[Batch] = []
    left: list[tuple[int, Frame]] = []
    for group in alike(frames):
        batch, rows = decode_alike(group) if len(group.places) >= _MANY else (None, list(range(len(group.places))))
        if batch is not None:
            batches.append(batch)
        size = group.size
        left += [(int(group.places[row]), Frame(group.data[row * size : row * size + size])) for row in rows]
    if not left and batches:
        return Decoded(Batch.concatenate(batches), [])
    left.sort(key=lambda one: one[0])
    rest = decode_formed([frame for _, frame in left], _PLACE, _columns, read)
    places = np.array([place for place, _ in left], np.int32)
    rest.batch.frame = places[rest.batch.frame]
    told = [Quarantined(int(places[one.frame]), one.reason) for one in rest.quarantined]
    return Decoded(Batch.concatenate([batch for batch in (*batches, rest.batch) if len(batch)]), told)


def _columns(groups: Sequence[Column]) -> Formed:
    (
        _, _, _, alarms, date, state, lats, ns, lons, ew, speeds, clock, courses, charges, ignitions, ios, fuels,
        odometers, rests,
    ) = groups  # fmt: skip
    time, bad = instants(np.hstack((twos(date), twos(clock))))
    lat, north = degrees(lats, ns, 2, 90)
    lon, east = degrees(lons, ew, 3, 180)
    speed, course = numbers(speeds), numbers(courses)
    valid = np.array(state) == b"A"
    flags = valid * VALID | (valid & (speed > 0)) * MOVING
    names: list[tuple[str, ...]] = []
    values: list[tuple[float, ...]] = []
    for row, (alarm, charge, ignition, io, fuel, odometer) in enumerate(
        zip(alarms, charges, ignitions, ios, fuels, odometers, strict=True)
    ):
        its: tuple[str, ...] = ()
        told: tuple[float, ...] = ()
        if alarm is not None:
            its, told = ("event",), (int(alarm),)
            flags[row] |= EVENT
        if charge is not None:
            its += ("charge", "ignition", "inputs", "fuel.level.1")
            told += (int(charge), int(ignition), int(io, 16), int(fuel, 16))
            flags[row] |= IGNITION_KNOWN | (IGNITION_ON if ignition == b"1" else 0)
        if odometer is not None:
            its += ("odometer",)
            told += (int(odometer, 16),)
        names.append(its)
        values.append(told)
    return Formed(
        time,
        np.where(valid, lat, np.nan),
        np.where(valid, lon, np.nan),
        speed,
        course,
        flags.astype(np.int16),
        names,
        values,
        [{"rest": rest.decode("ascii", "backslashreplace")} if rest else {} for rest in rests],
        bad | north | east | (course > 360),
    )
