"""What was told lately, so that a look back over the same minute tells only what is new."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

Value = TypeVar("Value", bound=Hashable)

MOST = 200_000  # terminals that are remembered; of more some are told twice, which is harmless


class Told(Generic[Value]):
    """By terminal, what the last look found: `begin`, `news` of each part of what the next one finds, `end`."""

    def __init__(self) -> None:
        self._last: dict[int, Value] = {}
        self._found: dict[int, Value] = {}

    def begin(self) -> None:
        """A look begins."""
        if self._found:  # one was broken off: who knows what it told last
            self._last, self._found = {}, {}

    def news(self, found: Mapping[int, Value]) -> dict[int, Value]:
        """What of it the last look did not find."""
        if len(self._found) < MOST:
            self._found.update(found)
        last = self._last
        return {row: value for row, value in found.items() if last.get(row) != value}

    def end(self) -> None:
        """The look is over, and all of it was told."""
        self._last, self._found = self._found, {}
