"""Careful `struct` loops, one module a protocol: what one writes without thinking of columns first.

Each verifies checksums and every count, scales what has a scale, and ends with the same columns as the decoder; the
bench compares them before it times anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from protocols.records import Batch, MeasureGroup


def loop(name: str) -> Callable[[Sequence[bytes]], Batch] | None:
    """The loop of a protocol, ``frames' bytes -> Batch``; None: there is none."""
    module = f"bench.loops.{name.replace('-', '_')}"
    if find_spec(module) is None:
        return None
    found: Callable[[Sequence[bytes]], Batch] = import_module(module).decode
    return found


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

    def batch(self) -> Batch:
        """All of them."""
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
        )
