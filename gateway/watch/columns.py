"""Committed batches as the columns that detectors read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.columns import Array, Columns, Int64s, bounded
from gateway.receive.pipeline import Accepted
from protocols.records import ARCHIVE, EVENT, IGNITION_KNOWN, IGNITION_ON, MOVING, TIME_UNKNOWN, VALID

_BITS = {"moving": MOVING, "valid": VALID, "archive": ARCHIVE, "event": EVENT}
_FIELDS = frozenset({"lat", "lon", "altitude", "speed", "course", "satellites", "flags"})


def columns_of(batches: Sequence[Accepted]) -> Columns:
    """Columns over several batches; what has no row in the registry (yet) is left out.

    All instants are µs of the loop's clock, so that batches stamped before and after the wall clock was set agree.
    """

    def joined(each: Callable[[Accepted], Array]) -> Array:  # a batch may be a record: what is done once is done here
        return np.concatenate([each(batch) for batch in batches])

    offsets = [batch.offset for batch in batches]
    frames = joined(lambda batch: batch.frame_terminal)
    records = joined(lambda batch: batch.rows.terminal)
    known_frames, known_records = _known(frames), _known(records)

    def of_frames(array: Array) -> Array:
        return array if known_frames is None else array[known_frames]

    def of_records(array: Array) -> Array:
        return array if known_records is None else array[known_records]

    def unset(array: Int64s, each: Callable[[Accepted], int]) -> Int64s:
        """Wall time as it read at each batch → time of the loop's clock."""
        of_each = np.repeat(offsets, [each(batch) for batch in batches]) if len(set(offsets)) > 1 else offsets[0]
        told: Int64s = array - of_each
        return told

    own = bounded(joined(lambda batch: batch.rows.time))

    layouts = _Layouts(batches)

    def make(name: str) -> Array:
        if name == "own":
            return of_records(own)
        if name in _FIELDS:
            return of_records(joined(lambda batch: getattr(batch.rows.batch, name)))
        if name == "link":
            return of_frames(joined(_links))
        return of_records(layouts.column(name))

    return Columns(
        of_frames(frames),
        of_frames(unset(joined(lambda batch: batch.frame_received), lambda batch: len(batch.frame_terminal))),
        of_records(records),
        of_records(unset(joined(lambda batch: batch.rows.received), lambda batch: len(batch.rows))),
        of_records(unset(own, lambda batch: len(batch.rows))),
        with_flags(make),
        layouts.names,
    )


def _known(rows: Array) -> NDArray[np.bool_] | None:
    """Which have a row in the registry; None: all of them."""
    known: NDArray[np.bool_] = rows >= 0
    return None if known.all() else known


def plain(
    frame_terminal: NDArray[np.int32],
    frame_received: Int64s,
    terminal: NDArray[np.int32],
    time: Int64s,
    received: Int64s,
    flags: NDArray[np.int16],
    measures: Mapping[str, Array] | None = None,
) -> Columns:
    """Columns of arrays as they are: frames, then their records; `TIME_UNKNOWN` counts as the arrival."""
    own = bounded(np.where(time == TIME_UNKNOWN, received, time))
    told: dict[str, Array] = {"flags": flags, "own": own, **(measures or {})}

    def make(name: str) -> Array:
        if name == "link" and name not in told:
            return np.zeros(len(frame_terminal), np.uint16)
        return told[name] if name in told else np.full(len(terminal), np.nan)

    return Columns(frame_terminal, frame_received, terminal, received, own, with_flags(make), (measures or {}).keys)


def with_flags(make: Callable[[str], Array]) -> Callable[[str], Array]:
    """What `make` gives, and beside it what its column `flags` says."""

    made: list[Array] = []

    def flags_of() -> Array:
        if not made:
            made.append(make("flags"))
        return made[0]

    def column(name: str) -> Any:
        if name == "ignition":
            flags = flags_of()
            return np.where(flags & IGNITION_KNOWN == 0, -1, np.where(flags & IGNITION_ON, 1, 0)).astype(np.int8)
        if name == "event.number":
            return make("event")
        bit = _BITS.get(name)
        return make(name) if bit is None else flags_of() & bit != 0

    return column


def _links(batch: Accepted) -> Array:
    return np.zeros(len(batch.frame_terminal), np.uint16) if batch.frame_link is None else batch.frame_link


class _Layouts:
    """Measures of many batches: each layout's rows are joined once, of its values what is asked for."""

    def __init__(self, batches: Sequence[Accepted]) -> None:
        self._batches = batches

    @cached_property
    def _parts(self) -> list[tuple[tuple[str, ...], NDArray[np.intp], list[Array]]]:
        parts: dict[tuple[str, ...], tuple[list[Array], list[Array]]] = {}
        # A decoder gives the same tuple again and again: it is compared by its names once, not once a batch.
        seen: dict[int, tuple[list[Array], list[Array]]] = {}
        at = 0
        for batch in self._batches:
            for group in batch.rows.batch.groups:
                its = seen.get(id(group.names))
                if its is None:
                    its = seen[id(group.names)] = parts.setdefault(group.names, ([], []))
                its[0].append(group.rows + at if at else group.rows)
                its[1].append(group.values)
            at += len(batch.rows)
        return [(names, np.concatenate(rows), values) for names, (rows, values) in parts.items()]

    def names(self) -> frozenset[str]:
        """Of all measures that are told."""
        return frozenset(name for names, _, _ in self._parts for name in names)

    def column(self, name: str) -> Array:
        """One value a record."""
        column = np.full(sum(len(batch.rows) for batch in self._batches), np.nan)
        for names, rows, values in self._parts:
            if name in names:
                place = names.index(name)
                column[rows] = np.concatenate([its[:, place] for its in values])
        return column
