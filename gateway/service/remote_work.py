"""Commands to terminals as people ask for them: what protocols take, and what the policy wants before."""

from __future__ import annotations

from psycopg_pool import AsyncConnectionPool

from protocols.registry import command_problem, no_commands
from ticketing import policies
from ticketing.commands import Commands
from ticketing.policies import Policy
from ticketing.working_time.errors import ClockError


def commands_of(pool: AsyncConnectionPool, policy: Policy) -> Commands:
    """Those of a store under the desk's policy."""

    def needed(named: str | None) -> bool:
        try:
            consent = (policy if named is None else policies.get(named)).file.consent
        except ClockError:  # a policy that is gone allows nothing
            return True
        return consent is not None and consent.remote_work

    return Commands(pool, none=no_commands, problem=command_problem, needs_permission=needed)
