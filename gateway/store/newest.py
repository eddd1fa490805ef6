"""What is stored of terminals that this process has not met yet: the question before their rows may go by plain COPY.

A row is new for certain if it lies above the newest one stored of its terminal. Three years are 157 partitions, so
nobody's newest record is looked for in all of them while a batch waits: only what lies at or above the batch's own
oldest row of that terminal matters, and of that the last fortnight, whose pages the batch is about to touch anyway. A
few terminals at a time are asked about older rows; the others' go through staging, which is right for every row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import psycopg
from numpy.typing import NDArray

from gateway.store.partitions import PAST
from protocols.records import Int64s

RECENT = 14 * 86_400_000_000  # µs
DEEP = 16  # terminals in a batch that are asked about all three years: some 2 500 looks into an index

# Two bounds: the second lets the planner leave partitions out, the first each terminal's look.
_ASK = (
    "SELECT a.t, extract(epoch FROM r.time) * 1000000, extract(epoch FROM o.time) * 1000000 "
    "FROM unnest(%s::int[], %s::float8[]) AS a(t, low) "
    "LEFT JOIN LATERAL (SELECT time FROM record WHERE terminal = a.t AND time >= to_timestamp(a.low) "
    "AND time >= to_timestamp(%s) ORDER BY time DESC LIMIT 1) r ON true "
    "LEFT JOIN LATERAL (SELECT time FROM record_outside WHERE terminal = a.t AND time >= to_timestamp(a.low) "
    "ORDER BY time LIMIT 1) o ON true"
)


@dataclass(slots=True)
class Newest:
    """What is stored of one terminal at or above the oldest of its rows, the floor; instants are µs."""

    terminal: int
    newest: int  # no lower than the newest in `record`: where there is none above the floor, just below it
    outside: int | None  # the oldest in `record_outside`


async def ask_newest(
    link: psycopg.AsyncConnection, terminal: NDArray[np.int32], time: Int64s, now: int
) -> list[Newest]:
    """Ask about the terminals of rows, shape (n,) each; some of those with old rows are left out for now."""
    terminals, place = np.unique(terminal, return_inverse=True)
    floor = np.full(len(terminals), np.iinfo(np.int64).max)
    np.minimum.at(floor, place, time)
    old = floor < now - RECENT
    deep = np.flatnonzero(old)[:DEEP]
    recent = np.flatnonzero(~old)
    answers = []
    for chosen, lowest in ((recent, now - RECENT), (deep, now - PAST - RECENT)):
        if not len(chosen):
            continue
        lows = floor[chosen]
        cursor = await link.execute(
            _ASK, (terminals[chosen].tolist(), (lows / 1e6).tolist(), max(lowest, int(lows.min()) - 1) / 1e6)
        )
        floors = dict(zip(terminals[chosen].tolist(), lows.tolist(), strict=True))
        for t, newest, outside in await cursor.fetchall():
            answers.append(
                Newest(t, floors[t] - 1 if newest is None else int(newest), None if outside is None else int(outside))
            )
    return answers
