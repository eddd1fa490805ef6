"""What the registry says of terminals, told to the fleet as it changes: by a login or by people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from gateway.watch.fleet import Fleet
from gateway.watch.told import Told
from ticketing.core.db import Pool

Attributes: TypeAlias = Mapping[str, tuple[str | None, ...]]

READ_AT_ONCE = 1000  # the loop is ours for as long as that takes to read and tell: some milliseconds
OVERLAP = timedelta(seconds=60)  # a change is dated by the start of its transaction, and seen at its end
TOLD_OF = ("model", "firmware", "operator", "customer", "site", "region", "protocol", "stage", "firmware_target")

_CHANGED = """
SELECT id, coalesce(model_told, model, 'protocol:' || protocol), firmware, operator, customer, site, region, protocol,
       CASE WHEN stage_until <= now() THEN 'in_use' ELSE stage END, firmware_target FROM terminal
WHERE changed_at >= coalesce(%(since)s::timestamptz, '-infinity') OR stage_until BETWEEN %(since)s AND now()
"""


class Registered:
    """Reads terminals that changed since it last looked; all of them when there are other detectors to tell."""

    def __init__(self) -> None:
        self._until: tuple[int, datetime] | None = None  # which detectors know, and all until when
        self._told: Told[tuple[str | None, ...]] = Told()

    async def refresh(
        self, pool: Pool, fleet: Fleet, also: Callable[[Sequence[int], Attributes], None] | None = None
    ) -> int:
        """Read what changed, tell it to the fleet and to `also`; returns of how many terminals."""
        generation = fleet.generation
        since = self._until[1] - OVERLAP if self._until is not None and self._until[0] == generation else None
        told = 0
        self._told.begin()
        async with pool.connection() as connection, connection.transaction():
            rows = await connection.execute("SELECT now()")
            now = await rows.fetchone()
            async with connection.cursor(name="changed") as cursor:
                await cursor.execute(_CHANGED, {"since": since})
                while found := await cursor.fetchmany(READ_AT_ONCE):
                    its = {row: tuple(attributes) for row, *attributes in found}
                    news = its if since is None else self._told.news(its)
                    if not news:
                        continue
                    told += len(news)
                    registered = dict(zip(TOLD_OF, zip(*news.values(), strict=True), strict=True))
                    fleet.identify(list(news), registered)
                    if also is not None:
                        also(list(news), registered)
        if now is not None:
            # Of the detectors it began with: any that came meanwhile are told all of it by the next look.
            self._until = generation, now[0]
        self._told.end()
        return told
