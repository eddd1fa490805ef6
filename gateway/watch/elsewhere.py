"""What the fleet tells to other services of the same store.

They tell the holder of the watch as they commit (`gateway.service.tenure`). Should that get lost, a terminal would look
silent here that reports there: so before a silence is raised, the store is asked for what it has of that terminal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from detectors.silence import Silence
from detectors.verdicts import Finding
from gateway.watch.columns import plain
from gateway.watch.fleet import Fleet
from ticketing.core.db import Pool
from ticketing.incidents import Case, Incidents, Raised
from ticketing.incidents.carrying import TICKETS_PER_MINUTE
from ticketing.tickets.office import Office

RECENT = 64  # records, by their own time, among which the newest arrival is looked for: one short index scan
AHEAD = 3600.0  # s that a terminal's clock may be ahead


class CheckedIncidents(Incidents):
    """`Incidents` that look into the store once more before a silence is raised, where others receive too."""

    def __init__(
        self,
        pool: Pool,
        *,
        office: Office,
        tickets_per_minute: int = TICKETS_PER_MINUTE,
        fleet: Callable[[], Fleet],
        shared: Callable[[], bool],
    ) -> None:
        """`shared`: whether other services store records too."""
        super().__init__(pool, office=office, tickets_per_minute=tickets_per_minute)
        self._fleet = fleet
        self._shared = shared

    async def raise_finding(
        self,
        finding: Finding,
        now: float,
        prepare: Callable[[AsyncConnection[TupleRow]], Awaitable[Case]],
        current: Callable[[], bool],
    ) -> Raised:
        """See `Incidents`; what the store knows is noted before `current` is asked."""

        async def after_a_look(connection: AsyncConnection[TupleRow]) -> Case:
            if finding.kind == Silence.kind and self._shared():
                await look(connection, self._fleet(), [finding.terminal])
            return await prepare(connection)

        return await super().raise_finding(finding, now, after_a_look, current)

    async def heard_elsewhere(self, terminals: Sequence[int]) -> int:
        """See `Incidents`; what the store knows is noted."""
        if not self._shared() or not terminals:
            return 0
        async with self._pool.connection() as connection:
            return len(await look(connection, self._fleet(), terminals))


async def look(connection: AsyncConnection[TupleRow], fleet: Fleet, terminals: Sequence[int]) -> set[int]:
    """Note the records of these terminals that arrived after the last we heard of; returns which had any."""
    heard = [int(fleet.received[terminal]) / 1e6 if terminal < fleet.rows else 0.0 for terminal in terminals]
    rows = await connection.execute(
        "SELECT t.id, (extract(epoch FROM r.time) * 1000000)::bigint, (extract(epoch FROM r.received) *"
        " 1000000)::bigint, r.flags FROM unnest(%s::int[], %s::float8[]) AS t(id, heard) CROSS JOIN LATERAL"
        " (SELECT time, received, flags FROM record WHERE terminal = t.id AND time < now() + %s * interval '1 second'"
        " ORDER BY time DESC LIMIT %s) r WHERE r.received > to_timestamp(t.heard)",
        (list(terminals), heard, AHEAD, RECENT),
    )
    found = await rows.fetchall()
    if found:
        columns = np.array(found, np.int64)
        row = columns[:, 0].astype(np.int32)
        fleet.apply(plain(row, columns[:, 2], row, columns[:, 1], columns[:, 2], columns[:, 3].astype(np.int16)))
    return {terminal for terminal, *_ in found}
