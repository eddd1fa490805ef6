"""Commands to terminals as people ask for them: what protocols take, and what the policy wants before."""

from __future__ import annotations

from psycopg_pool import AsyncConnectionPool

from protocols.registry import command_problem, no_commands
from ticketing.commands import Commands
from ticketing.policies import Policy


def commands_of(pool: AsyncConnectionPool, policy: Policy) -> Commands:
    """Those of a store under the desk's policy."""
    consent = policy.file.consent
    return Commands(
        pool, none=no_commands, problem=command_problem, needs_consent=consent is not None and consent.remote_work
    )
