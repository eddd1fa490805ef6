"""Messages of one size that look like the first of them: places without an alarm, with states and odometer.

Where each byte is of the kind that the first message has there, a digit for a digit, the pattern of a place reads them
alike: it has no second way to take such a message. What looks otherwise is left to it.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from protocols.instants import instants
from protocols.records import (
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    SATELLITES_UNKNOWN,
    VALID,
    Batch,
    Floats,
    MeasureGroup,
    fingerprint,
)
from protocols.runs import Alike
from protocols.tk103.declaration import PLACE

_NAMES = ("charge", "ignition", "inputs", "fuel.level.1", "odometer")
_KINDS = (b"0123456789", b"0123456789ABCDEFabcdef", b"01", b"AV", b"NS", b"EW", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_DIGIT, _HEX, _BIT, _STATE, _NORTH, _EAST, _NAME = (1 << kind for kind in range(len(_KINDS)))
_OF = np.zeros(256, np.uint8)  # the kinds each byte is of
for _place, _bytes in enumerate(_KINDS):
    _OF[list(_bytes)] |= 1 << _place
_VALUE = np.zeros(256, np.int64)
for _byte in _KINDS[1]:
    _VALUE[_byte] = int(chr(_byte), 16)
_GROUPS = {  # of `PLACE`, and what they hold; a full stop in them is one in all messages
    1: _DIGIT, 3: _DIGIT, 5: _DIGIT, 6: _DIGIT, 7: _DIGIT, 8: _STATE, 9: _DIGIT, 10: _NORTH, 11: _DIGIT, 12: _EAST,
    13: _DIGIT, 14: _DIGIT, 15: _DIGIT, 16: _DIGIT, 17: _DIGIT, 18: _BIT, 19: _BIT, 20: _HEX, 21: _HEX, 22: _HEX,
}  # fmt: skip


def decode_alike(group: Alike) -> tuple[Batch | None, list[int]]:
    """The records of those that look like the first, and the rows of the others and of those that cannot be."""
    first = group.data[: group.size]
    place = PLACE.fullmatch(first)
    if place is None or place[4] is not None or place[18] is None or place[22] is None or place[23]:
        return None, list(range(len(group.places)))
    rows = group.matrix
    good = _look(rows, first, place)
    values = _VALUE[rows]
    time, bad = instants(np.stack([_integer(values, place.span(one)) for one in (5, 6, 7, 14, 15, 16)], axis=1))
    lat, north = _degrees(values, place, 9, 2, 90)
    lon, east = _degrees(values, place, 11, 3, 180)
    speed, course = _number(values, place, 13), _number(values, place, 17)
    good &= ~(bad | north | east | (course > 360))
    valid = rows[:, place.start(8)] == ord("A")
    lat = np.where(valid, np.where(rows[:, place.start(10)] == ord("S"), -lat, lat), np.nan)
    lon = np.where(valid, np.where(rows[:, place.start(12)] == ord("W"), -lon, lon), np.nan)
    states = [_integer(values, place.span(one), 10 if one < 20 else 16) for one in range(18, 23)]
    flags = IGNITION_KNOWN | states[1] * IGNITION_ON | valid * VALID | (valid & (speed > 0)) * MOVING
    kept = np.flatnonzero(good)
    n, size, data = len(kept), group.size, group.data
    batch = Batch(
        frame=group.places[kept],
        position=np.zeros(n, np.int32),
        time=time[kept],
        lat=lat[kept],
        lon=lon[kept],
        altitude=np.full(n, np.nan, np.float32),
        speed=speed[kept].astype(np.float32),
        course=course[kept].astype(np.float32),
        satellites=np.full(n, SATELLITES_UNKNOWN, np.int16),
        flags=flags[kept].astype(np.int16),
        fingerprint=np.array([fingerprint(data[row * size : row * size + size]) for row in kept.tolist()], np.int64),
        groups=[MeasureGroup(_NAMES, np.arange(n), np.stack(states, axis=1)[kept].astype(np.float64))],
        extra={},
    )
    return (batch if n else None), np.flatnonzero(~good).tolist()


def _look(rows: NDArray[np.uint8], first: bytes, place: re.Match[bytes]) -> NDArray[np.bool_]:
    want = np.zeros(len(first), np.uint8)
    for number, kind in _GROUPS.items():
        want[place.start(number) : place.end(number)] = kind
    want[place.start(2) + 1 : place.end(2)] = _NAME
    line = np.frombuffer(first, np.uint8)
    want[line == ord(".")] = 0
    fixed = want == 0  # the first letter of the command too
    good: NDArray[np.bool_] = (rows[:, fixed] == line[fixed]).all(axis=1)
    good &= ((_OF[rows[:, ~fixed]] & want[~fixed]) != 0).all(axis=1)
    return good


def _integer(values: NDArray[np.int64], span: tuple[int, int], base: int = 10) -> NDArray[np.int64]:
    told = values[:, span[0]]
    for column in range(span[0] + 1, span[1]):
        told = told * base + values[:, column]
    return told


def _number(values: NDArray[np.int64], place: re.Match[bytes], group: int, skip: int = 0) -> Floats:
    """A decimal number: its digits by their power of ten, which is what reading its text gives, to the last bit."""
    begin, end = place.start(group) + skip, place.end(group)
    stop = place.string.find(b".", begin, end)
    if stop < 0:
        return _integer(values, (begin, end)).astype(np.float64)
    tens: int = 10 ** (end - stop - 1)
    told: Floats = (_integer(values, (begin, stop)) * tens + _integer(values, (stop + 1, end))) / tens
    return told


def _degrees(
    values: NDArray[np.int64], place: re.Match[bytes], group: int, width: int, most: int
) -> tuple[Floats, NDArray[np.bool_]]:
    begin = place.start(group)
    minutes = _number(values, place, group, width)
    value = _integer(values, (begin, begin + width)) + minutes / 60
    return value, (minutes >= 60) | (value > most)
