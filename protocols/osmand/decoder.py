"""Queries to columns: those with the same fields in the same order at once, whatever is odd about one by itself.

A client asks with the same fields each time. Where nothing is quoted, nothing is missing and each number is one, a
field of all of them is a column; the exact parser reads the rest, and what it says stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.osmand.declaration import (
    CORE,
    KNOT,
    LAST,
    MAX_FIELDS,
    MILLISECONDS,
    NO,
    QUERY,
    SWITCHES,
    TEXTS,
    YES,
    measure_of,
    read,
)
from protocols.records import (
    EXACT_INTEGER,
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    SATELLITES_UNKNOWN,
    TIME_UNKNOWN,
    VALID,
    Batch,
    Decoded,
    Floats,
    Frame,
    Int64s,
    MeasureGroup,
    fingerprint,
)
from protocols.selfnamed import decode_each

_FEW = 8  # queries alike from which on columns are sooner than the exact parser
_NUMBERS = ("lat", "lon", "speed", "bearing", "heading", "altitude")  # of the core
_LONGEST = 15  # digits of a time
# What is left of `a=1&b=2` without these bytes is `=&=`; of anything quoted or not ASCII more than that.
_PLAIN = bytes(byte for byte in range(128) if byte not in b"=&%+")
_MARKS = b"=&" * MAX_FIELDS


class _Alike(NamedTuple):
    """Queries with the same names: where they stand among all, their bytes, and their names and values in turn."""

    places: list[int]
    data: list[bytes]
    fields: list[list[str]]


def decode(frames: Sequence[Frame]) -> Decoded:
    """Requests of any terminals, one record each; never raises on any bytes."""
    blocks: dict[tuple[str, ...], _Alike] = {}
    left: list[int] = []
    singles = [single for frame in frames for single in (frame.singles() if frame.count > 1 else (frame,))]
    for place, frame in enumerate(singles):
        data = frame.data
        marks = data.translate(None, _PLAIN)
        if frame.variant != QUERY or not len(marks) & 1 or marks != _MARKS[: len(marks)]:
            left.append(place)
            continue
        fields = data.decode("ascii").replace("&", "=").split("=")
        names = tuple(fields[::2])
        block = blocks.get(names)
        if block is None:
            block = blocks[names] = _Alike([], [], [])
        block.places.append(place)
        block.data.append(data)
        block.fields.append(fields)
    batches: list[Batch] = []
    for names, block in blocks.items():
        found = _columns(names, block) if len(block.places) >= _FEW else None
        if found is None:
            left += block.places
        else:
            batch, odd = found
            batches.append(batch)
            left += [block.places[row] for row in odd]
    left.sort()
    rest = decode_each([singles[place] for place in left], read)
    if len(rest.batch):
        rest.batch.frame = np.array(left, np.int32)[rest.batch.frame]
        batches.append(rest.batch)
    for bad in rest.quarantined:
        bad.frame = left[bad.frame]
    return Decoded(Batch.concatenate(batches), rest.quarantined)


def _columns(names: tuple[str, ...], block: _Alike) -> tuple[Batch, list[int]] | None:
    """Their records, and the rows that are not among them; None: the exact parser is to read all of them."""
    told = dict(zip(names, list(zip(*block.fields, strict=True))[1::2], strict=True))
    measured = [name for name in names if name not in CORE]
    measures = tuple(measure_of(name)[0] for name in measured)
    if (
        len(told) < len(names)
        or len(set(measures)) < len(measures)
        or any(name in told for name in ("", "location", *TEXTS))
        or ("bearing" in told and "heading" in told)
        or ("lat" in told) != ("lon" in told)
    ):
        return None
    n = len(block.places)
    numbers = {name: _numbers(told[name]) for name in names if name in _NUMBERS or name not in CORE | SWITCHES}
    stamps = _stamps(told["timestamp"]) if "timestamp" in told else (np.full(n, TIME_UNKNOWN), np.zeros(n, np.int8))
    if stamps is None or any(column is None for column in numbers.values()):
        return None
    time, digits = stamps
    known: dict[str, Floats] = {name: column for name, column in numbers.items() if column is not None}
    nothing = np.full(n, np.nan)
    lat, lon = known.get("lat", nothing), known.get("lon", nothing)
    course = known.get("bearing", known.get("heading", nothing))
    odd = (np.abs(lat) > 90) | (np.abs(lon) > 180) | (course > 360) | (course < 0) | (digits < 0)
    for name, column in known.items():
        odd |= ~np.isfinite(column) if name in CORE else ~(np.abs(column) < EXACT_INTEGER)
    if odd.any():
        rows = np.flatnonzero(~odd).tolist()
        its = _Alike(
            [block.places[row] for row in rows], [block.data[row] for row in rows], [block.fields[row] for row in rows]
        )
        rest = _columns(names, its) if rows else None
        return None if rest is None else (rest[0], np.flatnonzero(odd).tolist())
    valid = np.full(n, "lat" in known)
    if "valid" in told:
        valid &= np.array([value not in NO for value in told["valid"]])
    columns = [
        np.array([value in YES for value in told[name]], np.float64)
        if name in SWITCHES
        else known[name] * measure_of(name)[1]
        for name in measured
    ]
    with np.errstate(over="ignore"):
        speed = known.get("speed", nothing) * KNOT
        batch = Batch(
            frame=np.array(block.places, np.int32),
            position=np.zeros(n, np.int32),
            time=time,
            lat=np.where(valid, lat, np.nan),
            lon=np.where(valid, lon, np.nan),
            altitude=known.get("altitude", nothing).astype(np.float32),
            speed=speed.astype(np.float32),
            course=course.astype(np.float32),
            satellites=np.full(n, SATELLITES_UNKNOWN, np.int16),
            flags=valid * np.int16(VALID) | (valid & (speed > 0)) * np.int16(MOVING),
            fingerprint=np.array([fingerprint(data) for data in block.data], np.int64),
            groups=[MeasureGroup(measures, np.arange(n), np.column_stack(columns) if columns else np.empty((n, 0)))],
            time_digits=digits,
        )
    if "ignition" in told:
        batch.flags |= IGNITION_KNOWN | (columns[measured.index("ignition")] > 0) * np.int16(IGNITION_ON)
    return batch, []


def _numbers(values: Sequence[str]) -> Floats | None:
    """All of them as numbers; None: not each is one."""
    if "_" in "".join(values):
        return None
    try:
        return np.array(list(map(float, values)))
    except ValueError:
        return None


def _stamps(values: Sequence[str]) -> tuple[Int64s, NDArray[np.int8]] | None:
    """Times in µs and their digits, -1 where a time cannot be; None: not each is seconds or milliseconds."""
    if not "".join(values).isdigit() or not min(map(len, values)) or max(map(len, values)) > _LONGEST:
        return None
    told = np.array(list(map(int, values)), np.int64)
    fine = told >= MILLISECONDS
    digits = np.where(told >= LAST * 1000, -1, np.where(fine, 3, 0)).astype(np.int8)
    return told * np.where(fine, 1000, 1_000_000), digits
