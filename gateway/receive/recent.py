"""What was said of whom lately, in bounded memory: two generations, of which the older one is dropped whole.

An entry lives for a period at least after it was written, and until something else is written three periods later:
where that matters, the time stands in the value. Where more keys come than are kept, the older generation goes before
its time: who is forgotten is treated as never seen, so a flood makes a limit milder, never wrong.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A map that forgets; `period` in seconds, at most twice `most` entries."""

    __slots__ = ("_most", "_newer", "_older", "_period", "_turn")

    def __init__(self, period: float, most: int) -> None:
        self._period = period
        self._most = most
        self._newer: dict[K, V] = {}
        self._older: dict[K, V] = {}
        self._turn = float("-inf")

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def get(self, key: K) -> V | None:
        """What was last put for `key`, unless it is forgotten."""
        found = self._newer.get(key)
        return self._older.get(key) if found is None else found

    def put(self, key: K, value: V, now: float) -> None:
        """Remember; `now` never goes back."""
        if now >= self._turn or len(self._newer) >= self._most:
            self._older = self._newer if now < self._turn + self._period else {}
            self._newer = {}
            self._turn = now + self._period
        self._newer[key] = value
