"""Frames laid together for a decoder: those of one size, the frames of a run counted one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.records import Frame


class Alike(NamedTuple):
    """Frames of one size and variant: `data` end to end, and the place of each among all."""

    size: int
    variant: int
    data: bytes
    places: NDArray[np.int32]

    @property
    def matrix(self) -> NDArray[np.uint8]:
        """A row a frame."""
        return np.frombuffer(self.data, np.uint8).reshape(len(self.places), self.size)


def alike(frames: Sequence[Frame]) -> list[Alike]:
    """All of them, by size and variant."""
    kinds = {(len(item.data), item.variant, item.count) for item in frames}
    data = [item.data for item in frames]
    if len(kinds) == 1:
        size, variant, count = kinds.pop()
        return [Alike(size // count, variant, b"".join(data), np.arange(len(data) * count, dtype=np.int32))]
    found: dict[tuple[int, int], list[int]] = {}
    for number, item in enumerate(frames):
        found.setdefault((len(item.data) // item.count, item.variant), []).append(number)
    counts = np.array([item.count for item in frames])
    first = np.cumsum(counts) - counts
    told = []
    for (size, variant), numbers in found.items():
        its = counts[numbers]
        places = np.arange(its.sum()) + np.repeat(first[numbers] - (np.cumsum(its) - its), its)
        told.append(Alike(size, variant, b"".join([data[n] for n in numbers]), places.astype(np.int32)))
    return told
