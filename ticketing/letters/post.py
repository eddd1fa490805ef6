"""Letters for those who act on tickets: to whom the ticket's policy names, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ticketing.core.db import Connection
from ticketing.letters.kinds import Word, words
from ticketing.letters.owe import owe
from ticketing.letters.recipients import recipients

_KNOWN: frozenset[str] = frozenset(("reporter", "contact", "contract-address", "owner", "team", "manager", "watchers"))


class Post:
    """`zone` is that of organisations which have none, of tickets whose policy is not stored."""

    def __init__(self, zone: str = "UTC") -> None:
        self._zone = zone

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
        to, zone = await _policy(connection, ticket, kind)
        people = await recipients(connection, ticket, to, zone=zone or self._zone)
        owed = await owe(connection, kind, key=key, ticket=ticket, recipients=people, data=data, at=at, auto=auto)
        return [one.reason for one in owed.untold]


async def _policy(connection: Connection, ticket: int, kind: str) -> tuple[tuple[Word, ...], str]:
    """Who gets a kind by the ticket's policy as it was stored, and the policy's zone; "" where none was stored."""
    rows = await connection.execute(
        "SELECT p.content -> 'letter', p.content -> 'working_time' ->> 'time_zone' FROM ticket t"
        " JOIN policy_version p ON p.version = t.policy_version WHERE t.id = %s",
        (ticket,),
    )
    row = await rows.fetchone()
    table, zone = row if row is not None else (None, None)
    return words(kind, by_trigger(table if isinstance(table, list) else ())), zone or ""


def by_trigger(letters: Sequence[Mapping[str, Any]]) -> dict[str, list[Word]]:
    """`to` of a policy's `[[letter]]` tables by trigger and by name; of two with one trigger both get it."""
    found: dict[str, list[Word]] = {}
    for letter in letters:
        to = [word for word in letter.get("to") or () if word in _KNOWN]
        for name in {letter.get("trigger"), letter.get("kind"), letter.get("name")} - {None}:
            found.setdefault(str(name), []).extend(word for word in to if word not in found[str(name)])
    return found
