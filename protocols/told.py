"""What every record has, out of the columns that its protocol told: time, place, movement, flags."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from protocols.records import (
    ARCHIVE,
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    SATELLITES_UNKNOWN,
    TIME_UNKNOWN,
    VALID,
    Floats,
    Int64s,
)

Told: TypeAlias = dict[str, Floats]
Hook: TypeAlias = Callable[[Told, Hashable], None]


class Core(NamedTuple):
    """The columns of a `Batch` that are no measures; `valid`: which places are a fix."""

    time: Int64s
    lat: Floats
    lon: Floats
    altitude: Floats
    speed: Floats
    course: Floats
    satellites: NDArray[np.int16]
    valid: NDArray[np.bool_]


def placed(told: Told, n: int) -> Core:
    """The columns, shape (n,) each; what was not told is NaN, or the word for it."""
    missing = np.full(n, np.nan)
    time = told.get("@time")
    if time is None:
        stamps = np.full(n, TIME_UNKNOWN)
    else:
        known = ~np.isnan(time)
        if known.all():
            stamps = np.rint(time * 1e6).astype(np.int64)
        else:
            stamps = np.where(known, np.rint(np.where(known, time, 0) * 1e6), 0).astype(np.int64)
            stamps[~known] = TIME_UNKNOWN
    lat, lon, fix = told.get("@lat"), told.get("@lon"), told.get("@fix")
    if lat is None or lon is None:
        lat = lon = missing
        valid = np.zeros(n, np.bool_)
    else:
        valid = (np.abs(lat) <= 90) & (np.abs(lon) <= 180)
        if fix is not None:
            valid &= (fix == 1) | np.isnan(fix)  # among records that tell it, one that does not
        if np.count_nonzero(valid) < n:
            lat, lon = np.where(valid, lat, np.nan), np.where(valid, lon, np.nan)
    satellites = told.get("@satellites")
    if satellites is None:
        counted = np.full(n, SATELLITES_UNKNOWN, np.int16)
    else:
        counted = np.nan_to_num(satellites, nan=SATELLITES_UNKNOWN).astype(np.int16)
    return Core(
        stamps, lat, lon, told.get("@altitude", missing), told.get("@speed", missing), told.get("@course", missing),
        counted, valid,
    )  # fmt: skip


def flagged(told: Told, core: Core) -> NDArray[np.int16]:
    """The bits of `flags`."""
    flags = core.valid * np.int16(VALID)
    ignition, movement = told.get("ignition"), told.get("movement")
    if ignition is not None:
        flags |= ~np.isnan(ignition) * np.int16(IGNITION_KNOWN) | (ignition > 0) * np.int16(IGNITION_ON)
    moving = core.valid & (core.speed > 0)
    if movement is not None:
        moving = np.where(np.isnan(movement), moving, movement > 0)
    flags |= moving * np.int16(MOVING)
    for name, bit in (("@event", EVENT), ("@archive", ARCHIVE)):
        column = told.get(name)
        if column is not None:
            flags |= (column > 0) * np.int16(bit)
    return flags
