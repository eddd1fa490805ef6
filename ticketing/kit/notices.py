"""What an admin should know: configuration that cannot work as it stands. Features hand in who looks for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple


class Notice(NamedTuple):
    """One thing that cannot work, in words, and the page where it is put right; "" without one."""

    text: str
    page: str = ""


Look = Callable[[], Awaitable[Sequence[Notice]]]


class Notices:
    """All that is wrong at this moment; `looks` are asked in their order."""

    def __init__(self, looks: Sequence[Look] = ()) -> None:
        self._looks = list(looks)

    async def all(self) -> list[Notice]:
        """Everything there is to be told now."""
        return [notice for look in self._looks for notice in await look()]
