"""What a group's ticket says of its members, kept true while they come and go."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

MEMBERS_SHOWN = 200  # in the evidence; all are counted, and the incidents have them


async def keep_members(connection: AsyncConnection[TupleRow], group: int) -> None:
    """The members, counted and the first of those that fail listed; written only when something has changed."""
    rows = await connection.execute(
        "SELECT kind, count(*), count(*) FILTER (WHERE state = 'open'),"
        " count(*) FILTER (WHERE state = 'closed' AND last_good_at IS NOT NULL)"
        " FROM incident WHERE parent = %s GROUP BY kind ORDER BY kind",
        (group,),
    )
    counted = [
        {"kind": kind, "joined": joined, "failing": failing, "back": back, "given_back": joined - failing - back}
        for kind, joined, failing, back in await rows.fetchall()
    ]
    rows = await connection.execute(
        "SELECT t.id, t.evidence -> 'members' FROM incident g JOIN ticket t ON t.id = g.ticket WHERE g.id = %s",
        (group,),
    )
    found = await rows.fetchone()
    if found is None or found[1] == counted:
        return
    rows = await connection.execute(
        "SELECT e.identity, e.name, m.kind, m.detected_at FROM incident m JOIN terminal e ON e.id = m.terminal"
        " WHERE m.parent = %s AND m.state = 'open' ORDER BY m.raised_at, m.id LIMIT %s",
        (group, MEMBERS_SHOWN),
    )
    listed = [
        {"terminal": identity, "name": name, "kind": kind, "at": detected_at.astimezone(UTC)}
        for identity, name, kind, detected_at in await rows.fetchall()
    ]
    told: dict[str, Any] = {"members": counted, "failing": listed}
    await connection.execute(
        "UPDATE ticket SET evidence = evidence || %s WHERE id = %s",
        (Jsonb(told, dumps=msgspec.json.encode), found[0]),
    )
