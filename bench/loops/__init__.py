"""Careful `struct` loops, one module a protocol: what one writes without thinking of columns first.

Each verifies checksums and every count, scales what has a scale, and ends with the same columns as the decoder; the
bench compares them before it times anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from struct import Struct
from typing import Any, TypeAlias

import numpy as np

from protocols.meanings import Meaning
from protocols.records import IGNITION_KNOWN, IGNITION_ON, MOVING, VALID, Batch, MeasureGroup, fingerprint


def loop(name: str) -> Callable[[Sequence[bytes]], Batch] | None:
    """The loop of a protocol, ``frames' bytes -> Batch``; None: there is none."""
    module = f"bench.loops.{name.replace('-', '_')}"
    if find_spec(module) is None:
        return None
    found: Callable[[Sequence[bytes]], Batch] = import_module(module).decode
    return found


def same(ours: Batch, loop: Batch) -> bool:
    """Whether two batches hold the same; fingerprints are told by other hashes, so they are only counted."""
    order = np.lexsort((ours.position, ours.frame))
    if len(ours) != len(loop) or len(np.unique(ours.fingerprint)) != len(np.unique(loop.fingerprint)):
        return False
    for name in ("frame", "position", "time", "lat", "lon", "altitude", "speed", "course", "satellites", "flags"):
        if not np.array_equal(getattr(ours, name)[order], getattr(loop, name), equal_nan=True):
            return False
    if {group.names for group in ours.groups} != {group.names for group in loop.groups}:
        return False
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    for group in ours.groups:
        other = next(g for g in loop.groups if g.names == group.names)
        turn = np.argsort(place[group.rows])
        if not np.array_equal(place[group.rows][turn], other.rows):
            return False
        if not np.allclose(group.values[turn], other.values, rtol=1e-15, atol=0, equal_nan=True):
            return False
    return True


Reader: TypeAlias = tuple[str, Callable[..., tuple[Any, ...]], int, Meaning]

_CODES = {"u1": "B", "i1": "b", "u2": "H", "i2": "h", "u4": "I", "i4": "i", "u8": "Q", "i8": "q", "f4": "f"}
_NAN = float("nan")


def readers(parts: Sequence[tuple[Meaning, int, int, str]]) -> list[Reader]:
    """Numbers, each with a compiled format."""
    return [
        (meaning.name, Struct(form[0] + _CODES[form[1:]]).unpack_from, offset, meaning)
        for meaning, offset, _, form in parts
    ]


def read(
    those: Sequence[Reader], data: bytes, at: int, names: list[str], values: list[float], told: dict[str, float]
) -> None:
    """Numbers at `at`: measures to `names` and `values`, what every record has, and two that are flags, to `told`."""
    for name, unpack, offset, meaning in those:
        raw = unpack(data, at + offset)[0]
        absent = (meaning.when is not None and raw & meaning.when[0] != meaning.when[1]) or (
            meaning.unless is not None and raw & meaning.unless[0] == meaning.unless[1]
        )
        if meaning.bits:
            raw = raw >> meaning.shift & ((1 << meaning.bits) - 1)
            if meaning.signed and raw >> (meaning.bits - 1):
                raw -= 1 << meaning.bits
        value = (raw + meaning.add) * meaning.multiplier / meaning.divisor
        if absent or not meaning.low <= raw <= meaning.high or raw in meaning.none:
            value = _NAN
        if name[0] == "@":
            told[name] = value
            continue
        names.append(name)
        values.append(value)
        if meaning.status:
            names.append(meaning.status)
            values.append(raw if value != value else _NAN)
        elif name in ("ignition", "movement", "gnss.source"):
            told[name] = value


class Rows:
    """Records in the making, as plain rows."""

    def __init__(self) -> None:
        self.core: list[tuple[int, int, int, float, float, float, float, float, int, int, int]] = []
        self.groups: dict[tuple[str, ...], tuple[list[int], list[list[float]]]] = {}

    def measures(self, names: Sequence[str], values: list[float]) -> None:
        """Those of the record that is appended next."""
        layout = tuple(names)
        group = self.groups.get(layout)
        if group is None:
            group = self.groups[layout] = ([], [])
        group[0].append(len(self.core))
        group[1].append(values)

    def add(
        self, index: int, position: int, told: dict[str, float], fixed: bool, record: bytes, flags: int = 0
    ) -> None:
        """The record whose measures came last."""
        lat, lon = told["@lat"], told["@lon"]
        valid = fixed and -90 <= lat <= 90 and -180 <= lon <= 180
        if not valid:
            lat = lon = _NAN
        flags |= VALID if valid else 0
        if "ignition" in told:
            flags |= IGNITION_KNOWN | IGNITION_ON if told["ignition"] else IGNITION_KNOWN
        if told["movement"] if "movement" in told else valid and told["@speed"] > 0:
            flags |= MOVING
        self.core.append((
            index, position, int(told["@time"]) * 1_000_000, lat, lon, told["@altitude"], told["@speed"],
            told["@course"], int(told["@satellites"]), flags, fingerprint(record),
        ))  # fmt: skip

    def batch(self, time_digits: int = 0) -> Batch:
        """All of them; `time_digits`: of a second, as their times tell."""
        columns = list(zip(*self.core, strict=True))
        return Batch(
            frame=np.array(columns[0], np.int32),
            position=np.array(columns[1], np.int32),
            time=np.array(columns[2], np.int64),
            lat=np.array(columns[3], np.float64),
            lon=np.array(columns[4], np.float64),
            altitude=np.array(columns[5], np.float32),
            speed=np.array(columns[6], np.float32),
            course=np.array(columns[7], np.float32),
            satellites=np.array(columns[8], np.int16),
            flags=np.array(columns[9], np.int16),
            fingerprint=np.array(columns[10], np.int64),
            groups=[
                MeasureGroup(names, np.array(rows), np.array(values)) for names, (rows, values) in self.groups.items()
            ],
            time_digits=time_digits,
        )
