"""The policy that a ticket was opened under, as it was stored then."""

from __future__ import annotations

import msgspec

from ticketing.core.db import Connection
from ticketing.policies import Policy, of_stored
from ticketing.tickets.office import Office
from ticketing.working_time.errors import PolicyError

_KEPT = 64
_ready: dict[str, Policy] = {}  # versions are digests: the same in every database


async def stored_policy(connection: Connection, version: str | None, office: Office) -> Policy:
    """The policy of that version; the desk's own for tickets of before, and where what was stored cannot be read."""
    return await policy_of(connection, version) or office.terms.policy


async def policy_of(connection: Connection, version: str | None) -> Policy | None:
    """The policy of that version, if there is one that can be read."""
    if version is None:
        return None
    if version not in _ready:
        rows = await connection.execute("SELECT content FROM policy_version WHERE version = %s", (version,))
        row = await rows.fetchone()
        if row is None:
            return None
        try:
            policy = of_stored(row[0])
        except (msgspec.ValidationError, PolicyError):
            return None
        if len(_ready) >= _KEPT:
            _ready.clear()
        _ready[version] = policy
    return _ready[version]
