"""Places in text to columns; binary messages, and what cannot be, one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.formed import Column, Formed, decode_formed, degrees, joined, numbers, twos
from protocols.h02.declaration import IGNITION, KNOT, PLACE, read, tail_of
from protocols.instants import instants
from protocols.records import IGNITION_KNOWN, IGNITION_ON, MOVING, VALID, Decoded, Frame

_PLACE = joined(PLACE)


def decode(frames: Sequence[Frame]) -> Decoded:
    """Messages of any terminals; never raises on any bytes."""
    return decode_formed(frames, _PLACE, _columns, read)


def _columns(groups: Sequence[Column]) -> Formed:
    _, clock, state, lats, ns, lons, ew, speeds, courses, date, words, tails = groups
    time, bad = instants(np.hstack((twos(date)[:, ::-1], twos(clock))))
    lat, north = degrees(lats, ns, 2, 90)
    lon, east = degrees(lons, ew, 3, 180)
    speed = numbers(speeds) * KNOT
    course = numbers([text or b"0" for text in courses])
    valid = np.array(state) == b"A"
    status = [int(word, 16) for word in words]
    ignition = [1 if word & IGNITION else 0 for word in status]
    flags = IGNITION_KNOWN | np.array(ignition) * IGNITION_ON | valid * VALID | (valid & (speed > 0)) * MOVING
    told = [tail_of(tail) for tail in tails]
    return Formed(
        time,
        np.where(valid, lat, np.nan),
        np.where(valid, lon, np.nan),
        speed,
        course,
        flags.astype(np.int16),
        [tail.names for tail in told],
        [(on, word, *tail.values) for on, word, tail in zip(ignition, status, told, strict=True)],
        [tail.texts for tail in told],
        bad | north | east | (course > 360),
        np.array([tail.altitude for tail in told]),
    )
