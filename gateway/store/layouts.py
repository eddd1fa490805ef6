"""Layouts: tuples of measure names, stored once, cached for the life of the process.

Some protocols let a stranger invent names, so how many layouts there are is bounded: for each terminal, in a while, and
altogether. What is beyond a bound loses nothing: it goes to JSON.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from math import isfinite

import numpy as np
import psycopg
from numpy.typing import NDArray

from protocols.records import MAX_NAMES, Batch, Floats, MeasureGroup

PER_TERMINAL = 256  # brought by one terminal; a real one has some ten
MOST = 16_384  # altogether; a fleet of many makes has hundreds
MOST_NAMES = 1 << 19  # in all of them, 40 MB
BURST, PER_SECOND = 256, 2.0  # new ones in one go, and then a second: strangers may have many identities
_TURN = 0.005  # s before others have the loop


class Layouts:
    """Names to layout id."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, ...], int] = {}
        self._brought: Counter[int] = Counter()
        self._names = 0  # in all of them
        self._left = float(BURST)  # new ones that are free now
        self._at = 0.0  # loop time when that was so

    async def load(self, link: psycopg.AsyncConnection) -> None:
        """Read all there are."""
        cursor = await link.execute("SELECT id, names, terminal FROM layout")
        found = [(tuple(names), identifier, terminal) async for identifier, names, terminal in cursor]
        self._brought.clear()
        self._names = 0
        for names, identifier, terminal in found:
            self._remember(names, identifier, terminal)
        if () not in self._ids:
            await self._make(link, (), 0)

    def known(self, batch: Batch) -> list[int] | None:
        """The layout of each group, or None if one is new."""
        try:
            return [self._ids[group.names] for group in batch.groups]
        except KeyError:
            return None

    async def resolve(self, link: psycopg.AsyncConnection, batch: Batch, terminal: NDArray[np.int32]) -> list[int]:
        """The layout of each group; new ones are made, beyond the bounds they become JSON."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _TURN
        for place, group in enumerate(batch.groups):
            if group.names in self._ids:
                continue
            who = int(terminal[group.rows[0]])
            if self._room(who, len(group.names), loop.time()) and await self._make(link, group.names, who):
                continue
            for _ in _to_extra(batch, group):
                if loop.time() > until:
                    await asyncio.sleep(0)
                    until = loop.time() + _TURN
            batch.groups[place] = MeasureGroup((), group.rows, np.empty((len(group.rows), 0)))
        return [self._ids[group.names] for group in batch.groups]

    def _room(self, terminal: int, names: int, now: float) -> bool:
        """Whether this terminal may bring one more now."""
        if (
            names > MAX_NAMES
            or self._brought[terminal] >= PER_TERMINAL
            or len(self._ids) >= MOST
            or self._names + names > MOST_NAMES
        ):
            return False
        self._left, self._at = min(BURST, self._left + (now - self._at) * PER_SECOND), now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    async def _make(self, link: psycopg.AsyncConnection, names: tuple[str, ...], terminal: int) -> bool:
        """Make it, or learn that another process did; False: those processes together have made as many as may be."""
        await link.execute(
            "INSERT INTO layout (names, terminal) SELECT %s::text[], %s WHERE (SELECT count(*) FROM layout) < %s "
            "ON CONFLICT DO NOTHING",
            (list(names), terminal, MOST),
        )
        cursor = await link.execute(
            "SELECT id FROM layout WHERE layout_digest(names) = layout_digest(%s::text[])", (list(names),)
        )
        row = await cursor.fetchone()
        if row is not None:
            self._remember(names, row[0], terminal)
        return row is not None

    def _remember(self, names: tuple[str, ...], identifier: int, terminal: int) -> None:
        self._ids[tuple(map(sys.intern, names))] = identifier
        self._brought[terminal] += 1
        self._names += len(names)


def _to_extra(batch: Batch, group: MeasureGroup) -> Iterator[None]:
    """Move a group's values to JSON, row by row."""
    values: Floats = group.values
    for row, told in zip(group.rows.tolist(), values, strict=True):
        extra = batch.extra.setdefault(row, {})
        for name, value in zip(group.names, told.tolist(), strict=True):
            if isfinite(value):
                extra.setdefault(name, int(value) if value.is_integer() else value)
        yield
