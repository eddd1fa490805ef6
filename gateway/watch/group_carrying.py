"""Groups of those that fell silent together, from what was decided to the store: group by group, in order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import structlog

from detectors.gaps import Rows
from gateway.store import values
from gateway.watch.agenda import Agenda
from gateway.watch.fleet import Fleet
from gateway.watch.together import Group, Together
from ticketing.core.db import Pool
from ticketing.incidents.groups import GroupIncidents

log = structlog.get_logger()

STATE = "mass"  # in `gateway_state`: what share of each group is usually silent
MEMBERS_AT_ONCE = 5000  # written in one transaction: others pass the gate in between


class GroupCarrying:
    """Writes what `together` decides."""

    def __init__(
        self,
        pool: Pool,
        fleet: Fleet,
        together: Together,
        agenda: Agenda,
        incidents: GroupIncidents,
        on_opened: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._fleet = fleet
        self._together = together
        self._agenda = agenda
        self._incidents = incidents
        self._on_opened = on_opened

    def put(self, now: float) -> None:
        """Have done what waits."""
        for key, group in self._together.waiting():
            self._agenda.put((group.shared.kind, key), partial(self._carry, key), now)

    async def members_recovered(self, rows: Rows, now: float) -> None:
        """Close their incidents, all at once."""
        self._together.recovered(await self._incidents.recovered(self._together.recovering(rows), now))

    async def start(self) -> None:
        """Go on with the groups that the store knows; once the fleet and the open incidents are there."""
        stage = self._together.stage
        async with self._pool.connection() as connection:
            kept = await values.read(connection, STATE)
        if kept is not None:
            try:
                stage.usual.load(kept, stage.groups.find)
            except ValueError as error:
                log.warning("what is usual of groups is learned anew", error=str(error))
        self._together.expect_all()
        for standing in await self._incidents.standing():
            self._together.resume(standing)

    async def save(self) -> None:
        """Keep what is usual."""
        stage = self._together.stage
        async with self._pool.connection() as connection:
            await values.save(connection, STATE, stage.usual.dump(stage.groups.name))

    async def _carry(self, key: int, now: float) -> None:
        """Write what waits of one group, in order. What is written is taken off, whatever becomes of the rest."""
        group = self._together.groups.get(key)
        if group is None:
            return
        if group.incident is None:
            rows = group.joining[0][:MEMBERS_AT_ONCE] if group.joining else np.zeros(0, np.int64)
            written = await self._incidents.open(group.shared, self._last_words(rows), now)
            if written is None:
                log.warning("many looked silent that others heard", group=group.shared.words)
                self._together.dismiss(key)
                return
            group.incident, _, opened = written
            _written(group, rows)
            if opened:
                self._on_opened()
        while group.joining:
            rows = group.joining[0][:MEMBERS_AT_ONCE]
            await self._incidents.join(group.incident, group.shared, self._last_words(rows), now)
            _written(group, rows)
        if group.over is not None:
            await self._incidents.over(group.incident, group.shared, len(group.over.back), len(group.over.out), now)
            group.over = None
            self._together.done(key)

    def _last_words(self, rows: Rows) -> dict[int, float]:
        """When each was last heard, Unix seconds."""
        return dict(zip(rows.tolist(), (self._fleet.received[rows] / 1e6).tolist(), strict=True))


def _written(group: Group, rows: Rows) -> None:
    if group.joining:
        rest = group.joining[0][len(rows) :]
        group.joining[:1] = [rest] if len(rest) else []
