"""Records read one by one, without numpy fields: for structures that are not worth learning.

A structure costs some 15 µs a name to compile. What a stranger invents anew in each record is read here, in about a
microsecond a name, and nothing is remembered of it; the same bytes mean the same on both ways. Beyond `MAX_NAMES`
names a record's measures go to `extra`: they are no columns.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from protocols.meanings import Element, exact, number_of, raw_of, text_of
from protocols.records import EXACT_INTEGER, MAX_NAMES, Batch, BatchBuilder
from protocols.structures import Rows
from protocols.told import Hook, flagged, placed

_CORE = ("@time", "@lat", "@lon", "@fix", "@altitude", "@speed", "@course", "@satellites", "@event", "@archive")
_SHOWN = ("ignition", "movement")


class Plain(NamedTuple):
    """A record to be read: of which frame, its place in it, its bytes, and what of them is what."""

    frame: int
    position: int
    record: bytes
    kind: Hashable
    elements: Sequence[Element]


def read_plainly(records: Sequence[Plain], hook: Hook | None, hooked: tuple[str, ...]) -> Batch:
    """The records as columns."""
    builder = BatchBuilder()
    kinds: dict[Hashable, list[Plain]] = {}
    for one in records:
        kinds.setdefault(one.kind, []).append(one)
    prints = _fingerprints(records)
    names = tuple(dict.fromkeys((*_CORE, *_SHOWN, *hooked)))
    for kind, alike in kinds.items():
        n = len(alike)
        columns = {name: np.full(n, np.nan) for name in names}
        told: list[tuple[dict[str, float], dict[str, Any]]] = []
        present: set[str] = set()
        for row, one in enumerate(alike):
            numbers, extra = _values(one)
            told.append((numbers, extra))
            for name in columns.keys() & numbers.keys():
                columns[name][row] = numbers[name]
                present.add(name)
        columns = {name: column for name, column in columns.items() if name in present}
        if hook is not None:
            hook(columns, kind)
        core = placed(columns, n)
        flags = flagged(columns, core)
        for row, (one, (numbers, extra)) in enumerate(zip(alike, told, strict=True)):
            for name in (*_SHOWN, *hooked):
                if name in columns and name in numbers:
                    numbers[name] = float(columns[name][row])
            measures = {name: value for name, value in numbers.items() if name[0] != "@"}
            if len(measures) > MAX_NAMES:
                extra = {name: exact(value) for name, value in measures.items() if value == value} | extra
                measures = {}
            builder.add(
                frame=one.frame,
                position=one.position,
                time=int(core.time[row]),
                fingerprint=prints[id(one)],
                lat=float(core.lat[row]),
                lon=float(core.lon[row]),
                altitude=float(core.altitude[row]),
                speed=float(core.speed[row]),
                course=float(core.course[row]),
                satellites=int(core.satellites[row]),
                flags=int(flags[row]),
                names=tuple(measures),
                values=tuple(measures.values()),
                extra=extra or None,
            )
    return builder.build()


def _fingerprints(records: Sequence[Plain]) -> dict[int, int]:
    lengths: dict[int, list[Plain]] = {}
    for one in records:
        lengths.setdefault(len(one.record), []).append(one)
    return {
        id(one): fingerprint
        for alike in lengths.values()
        for one, fingerprint in zip(alike, Rows.of([a.record for a in alike]).fingerprints().tolist(), strict=True)
    }


def _values(one: Plain) -> tuple[dict[str, float], dict[str, Any]]:
    """All values by name, numbers apart from what a float8 cannot hold."""
    numbers: dict[str, float] = {}
    extra: dict[str, Any] = {}
    for element in one.elements:
        meaning = element.meaning
        if meaning.kind:
            text = text_of(one.record[element.offset : element.offset + element.size], meaning.kind)
            if text is not None:
                extra[meaning.name] = text
            continue
        raw = raw_of(one.record, element)
        numbers[meaning.name], code = number_of(raw, meaning)
        if meaning.status:
            numbers[meaning.status] = code
        if isinstance(raw, int) and abs(raw) >= EXACT_INTEGER and meaning.plain and meaning.name[0] != "@":
            numbers[meaning.name], extra[meaning.name] = math.nan, raw
    return numbers, extra
