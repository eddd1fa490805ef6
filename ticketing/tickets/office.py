"""What everything that is done to tickets is done with: policies by name, who is told, letters, probes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from ticketing import policies
from ticketing.clocks.records import Terms
from ticketing.commands import Commands
from ticketing.core.db import Connection
from ticketing.core.errors import InvalidTextError
from ticketing.core.outbox import Target
from ticketing.core.sealed import Seal
from ticketing.working_time.errors import ClockError

POLICY = "integrator-standard"


class Post(Protocol):
    """Letters: a row each, written in the caller's transaction."""

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
        """Owe a letter of `kind` about `ticket` to whom its policy names; each recipient once per `key`.

        Returns
        -------
        why nobody, or one of them, could be told; empty: all will be
        """


class NoPost:
    """A desk without mail: nobody is written to, and nothing is owed."""

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
        return ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a pre-check found: `result` green, red or unknown."""

    name: str
    result: str
    data: Mapping[str, Any] = field(default_factory=dict)


Probe = Callable[[str, datetime], Awaitable[Sequence[Finding]]]
"""Looks at a terminal, by identity, at an instant: current packets, a valid fix, plausible ports, current firmware."""

CHECKS = ("last-packet", "fix", "ports", "firmware")


async def blind(terminal: str, at: datetime) -> Sequence[Finding]:
    """The probe of a desk that cannot see terminals."""
    return [Finding(name, "unknown") for name in CHECKS]


@dataclass(frozen=True, slots=True)
class Held:
    """What the store holds of a span: of each of its equal slices whether there is a record, and how many came late.

    `late` are those of the span that were received since an instant.
    """

    slices: Sequence[bool]
    late: int

    @property
    def share(self) -> float:
        """Of the span, 0 to 1."""
        return sum(self.slices) / len(self.slices)


class Archives(Protocol):
    """Terminals' archives: what asks for them, and what of them the store holds."""

    def command(self, protocol: str | None, since: datetime, until: datetime) -> str:
        """What makes a terminal of that protocol send the archive of a span again; empty: there is no such command."""

    async def held(
        self, connection: Connection, terminal: int, since: datetime, until: datetime, slices: int, late: datetime
    ) -> Held:
        """What there is of a terminal, by its row; `late` begins what counts as received late."""


class Office:
    """The desk's own side of every action. Policies are read once; what is in force changes by making another."""

    def __init__(
        self,
        *,
        policy: str = POLICY,
        plan: str | None = None,
        targets: Sequence[Target] = (),
        post: Post | None = None,
        probe: Probe = blind,
    ) -> None:
        """`policy` and `plan` are for organisations that name none.

        Raises
        ------
        ClockError
            If the policy cannot be used.
        """
        self._default = Terms.of(policies.resolve(policy))
        self._plan = plan
        self._terms: dict[str, Terms] = {}
        self.targets = tuple(targets)
        self.post: Post = post or NoPost()
        self.probe = probe
        self.remote: Commands | None = None  # who sends commands to terminals; None: nobody
        self.archives: Archives | None = None  # None: nobody can ask for one again
        self.seal: Seal | None = None  # for what clients entrust; None: nothing can be kept

    @property
    def terms(self) -> Terms:
        """What is promised to whom no contract promises anything else."""
        return self._default

    def terms_of(self, reference: str | None) -> Terms:
        """What a policy promises; None: the desk's own.

        Raises
        ------
        InvalidTextError
            If there is no such policy, or it cannot be used.
        """
        if not reference or reference in (self._default.policy.name, self._default.policy.reference):
            return self._default
        if reference not in self._terms:
            try:
                self._terms[reference] = Terms.of(policies.get(reference))
            except ClockError as error:
                raise InvalidTextError(str(error)) from error
        return self._terms[reference]

    def plan_of(self, terms: Terms, plan: str | None) -> str | None:
        """The plan that counts: the organisation's, the desk's, else the lowest; None where the policy has none."""
        plans = terms.policy.file.plan
        if not plans:
            return None
        names = {table.name for table in plans}
        for wanted in (plan, self._plan):
            if wanted in names:
                return wanted
        return max(plans, key=lambda table: table.level).name
