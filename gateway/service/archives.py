"""Terminals' archives for the desk: the protocols' commands for them, and what the store holds of a span."""

from __future__ import annotations

from datetime import datetime

from protocols.registry import archive_command
from ticketing.core.db import Connection
from ticketing.tickets.office import Held


class StoredArchives:
    """`ticketing.tickets.office.Archives` over the store."""

    def command(self, protocol: str | None, since: datetime, until: datetime) -> str:
        """As the protocol says it."""
        return archive_command(protocol, since.timestamp(), until.timestamp())

    async def held(
        self, connection: Connection, terminal: int, since: datetime, until: datetime, slices: int, late: datetime
    ) -> Held:
        """By the index of a terminal's times: partitions outside the span are not touched."""
        rows = await connection.execute(
            "SELECT floor(extract(epoch FROM time - %(since)s) * %(slices)s"
            " / extract(epoch FROM %(until)s - %(since)s::timestamptz))::int,"
            " count(*) FILTER (WHERE received >= %(late)s) FROM record"
            " WHERE terminal = %(terminal)s AND time >= %(since)s AND time < %(until)s GROUP BY 1",
            {"terminal": terminal, "since": since, "until": until, "slices": slices, "late": late},
        )
        found: dict[int, int] = dict(await rows.fetchall())
        return Held([place in found for place in range(slices)], sum(found.values()))
