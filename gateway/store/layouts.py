"""Layouts: tuples of measure names, stored once, cached for the life of the process."""

from __future__ import annotations

from collections import Counter
from math import isfinite

import numpy as np
import psycopg
from numpy.typing import NDArray

from protocols.records import Batch, Floats, MeasureGroup

PER_TERMINAL = 256  # some protocols let a stranger invent names; what he brings beyond this goes to JSON


class Layouts:
    """Names to layout id."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, ...], int] = {}
        self._brought: Counter[int] = Counter()

    async def load(self, link: psycopg.AsyncConnection) -> None:
        """Read all there are."""
        cursor = await link.execute("SELECT id, names, terminal FROM layout")
        async for identifier, names, terminal in cursor:
            self._ids[tuple(names)] = identifier
            self._brought[terminal] += 1
        await self._make(link, (), 0)

    def known(self, batch: Batch) -> list[int] | None:
        """The layout of each group, or None if one is new."""
        try:
            return [self._ids[group.names] for group in batch.groups]
        except KeyError:
            return None

    async def resolve(self, link: psycopg.AsyncConnection, batch: Batch, terminal: NDArray[np.int32]) -> list[int]:
        """The layout of each group; new ones are made, beyond the bound of who brings them they become JSON."""
        for place, group in enumerate(batch.groups):
            if group.names in self._ids:
                continue
            who = int(terminal[group.rows[0]])
            if self._brought[who] < PER_TERMINAL:
                await self._make(link, group.names, who)
            else:
                _to_extra(batch, group)
                batch.groups[place] = MeasureGroup((), group.rows, np.empty((len(group.rows), 0)))
        return [self._ids[group.names] for group in batch.groups]

    async def _make(self, link: psycopg.AsyncConnection, names: tuple[str, ...], terminal: int) -> None:
        if names in self._ids:
            return
        await link.execute(
            "INSERT INTO layout (names, terminal) VALUES (%s, %s) ON CONFLICT DO NOTHING", (list(names), terminal)
        )
        cursor = await link.execute(
            "SELECT id FROM layout WHERE layout_digest(names) = layout_digest(%s::text[])", (list(names),)
        )
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101  # inserted just now, or by somebody before
        self._ids[names] = row[0]
        self._brought[terminal] += 1


def _to_extra(batch: Batch, group: MeasureGroup) -> None:
    values: Floats = group.values
    for row, told in zip(group.rows.tolist(), values.tolist(), strict=True):
        extra = batch.extra.setdefault(row, {})
        for name, value in zip(group.names, told, strict=True):
            if isfinite(value):
                extra.setdefault(name, int(value) if value.is_integer() else value)
