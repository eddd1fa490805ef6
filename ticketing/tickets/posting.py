"""Letters of tickets, to whom the policy that a ticket was opened under names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ticketing.core.db import Connection
from ticketing.letters.kinds import Word, words
from ticketing.letters.owe import owe
from ticketing.letters.recipients import recipients
from ticketing.tickets.office import Office
from ticketing.tickets.rules import stored_policy


class Letters:
    """The `Post` of a desk that has mail."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def owe(
        self,
        connection: Connection,
        kind: str,
        *,
        key: str,
        ticket: int,
        data: Mapping[str, Any],
        at: datetime,
        auto: bool,
    ) -> Sequence[str]:
        """As `Post.owe`; why somebody could not be told."""
        rows = await connection.execute("SELECT policy_version FROM ticket WHERE id = %s", (ticket,))
        (version,) = await rows.fetchone() or (None,)
        policy = await stored_policy(connection, version, self._office)
        told: dict[str, Sequence[Word]] = {table.kind: table.to for table in policy.file.letter}
        to = await recipients(connection, ticket, words(kind, told), zone=policy.file.working_time.time_zone)
        owed = await owe(connection, kind, key=key, ticket=ticket, recipients=to, data=data, at=at, auto=auto)
        return [one.reason for one in owed.untold]


def with_letters(office: Office) -> Office:
    """The same office, writing letters."""
    office.post = Letters(office)
    return office
