"""Letters for those who act on tickets: to whom the ticket's policy names, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ticketing.core.db import Connection
from ticketing.letters.kinds import Word, words
from ticketing.letters.owe import owe
from ticketing.letters.recipients import recipients
from ticketing.policies.before import upgraded

_KEPT = 64  # stored policies remembered: versions are digests, the same in every store


class Post:
    """`zone` is that of organisations which have none, of tickets whose policy is not stored."""

    def __init__(self, zone: str = "UTC") -> None:
        self._zone = zone
        self._known: dict[str, tuple[dict[str, list[Word]], str]] = {}

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
        """Owe a letter of `kind` to whom the policy that the ticket was opened under names; see `owe`.

        Returns
        -------
        why nobody, or one of them, could be told: ``no_recipient``, ``no_address``, ``bounced``; empty: all will be,
        or all this was owed before.
        """
        told, zone = await self._policy(connection, ticket)
        people = await recipients(connection, ticket, words(kind, told), zone=zone or self._zone)
        owed = await owe(connection, kind, key=key, ticket=ticket, recipients=people, data=data, at=at, auto=auto)
        return [one.reason for one in owed.untold]

    async def _policy(self, connection: Connection, ticket: int) -> tuple[dict[str, list[Word]], str]:
        """Who gets which kind by the ticket's policy as it was stored, and its zone; "" where none was stored."""
        rows = await connection.execute("SELECT policy_version FROM ticket WHERE id = %s", (ticket,))
        (version,) = await rows.fetchone() or (None,)
        if version is None:
            return {}, ""
        if version not in self._known:
            rows = await connection.execute("SELECT content FROM policy_version WHERE version = %s", (version,))
            row = await rows.fetchone()
            if row is None:
                return {}, ""
            content = upgraded(row[0])
            if len(self._known) >= _KEPT:
                self._known.clear()
            told = {letter["kind"]: list(letter["to"]) for letter in content.get("letter", ())}
            self._known[version] = told, str(content["working_time"]["time_zone"])
        return self._known[version]
