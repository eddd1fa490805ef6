"""Incidents and tickets in memory, under the same rules: what `carrying` does in SQL, for months that never happened.

People take no part unless somebody acts for them: what has recovered awaits consent until it comes back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from detectors.verdicts import Finding
from ticketing.incidents import rules
from ticketing.incidents.carrying import TICKETS_PER_MINUTE
from ticketing.incidents.decisions import Decision, Group, Known, Limiter, Members, Reason, Step, View
from ticketing.incidents.rules import AHEAD, MINUTE
from ticketing.incidents.storms import GIVEN_BACK
from ticketing.model.kinds import STORM
from ticketing.model.states import Action, State, next_state, relapsed_to

NEVER = float("-inf")


@dataclass(slots=True, eq=False)
class Ticket:
    """Without its words; instants are Unix seconds."""

    kind: str
    opened_at: float
    state: State = State.NEW
    owner: str | None = None
    consented: bool = False
    closed_at: float | None = None
    journal: list[Action] = field(default_factory=lambda: [Action.OPENED])


@dataclass(slots=True, eq=False)
class Incident:
    """As the table has it: `terminal` None for a group's, `ticket` None for a member's."""

    id: int
    terminal: int | None
    kind: str
    raised_at: float
    ticket: Ticket | None = None
    parent: Incident | None = None
    open: bool = True
    closed_at: float | None = None
    good_at: float | None = None
    flaps: int = 0
    members: list[Incident] = field(default_factory=list)
    group: tuple[str, str] | None = None  # what its terminals share: by, value


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a finding: its incident now, None where there is none; `left` is the group that it left."""

    decision: Decision
    incident: Incident | None
    left: Incident | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is an open incident now."""
        return self.decision.step not in (Step.STALE, Step.HOLD)


class Ledger:
    """All incidents and tickets, oldest first."""

    def __init__(self, per_minute: int = TICKETS_PER_MINUTE) -> None:
        self.per_minute = per_minute
        self.incidents: list[Incident] = []
        self.tickets: list[Ticket] = []
        self._latest: dict[tuple[str, int | None], Incident] = {}
        self._groups: dict[tuple[str, tuple[str, str]], Incident] = {}
        self._asked: deque[tuple[float, Incident]] = deque()  # of the last minute, by when they asked for a ticket

    # What is known.

    def latest(self, kind: str, terminal: int | None) -> Incident | None:
        """The last incident of a terminal, or of a group."""
        return self._latest.get((kind, terminal))

    def members(self, group: Incident) -> Members:
        """As `looking.muster` counts them."""
        counted = [member for member in group.members if member.open or member.raised_at >= group.raised_at]
        last = max((member.raised_at for member in group.members), default=group.raised_at)
        return Members(sum(member.open for member in group.members), len(counted), last)

    def limiter(self, now: float) -> Limiter:
        """As `looking.look_around` counts it."""
        while self._asked and self._asked[0][0] <= now - MINUTE:
            self._asked.popleft()
        recent = sum(at == incident.raised_at and at <= now + AHEAD for at, incident in self._asked)
        return Limiter(self.per_minute, min(recent, self.per_minute))

    def view(self, finding: Finding, now: float) -> View:
        """What decides about a finding."""
        row, storm = self.latest(finding.kind, finding.terminal), self.latest(STORM, None)
        known = members = group = None
        if row is not None:
            until = row.closed_at if row.closed_at is not None else row.good_at
            known = Known(
                row.open,
                row.flaps,
                NEVER if until is None else until,
                None if row.parent is None else row.parent.id,
                None if row.ticket is None else row.ticket.state,
                None if row.ticket is None else row.ticket.closed_at,
                STORM if row.parent is None else row.parent.kind,
                row.parent is None or row.parent.open,
            )
            if row.open and row.parent is not None:
                members = self.members(row.parent)
        if storm is not None and storm.ticket is not None:
            group = Group(storm.id, storm.open, storm.ticket.state)
        return View(self.limiter(now), known, group, members)

    # What happens.

    def raise_finding(self, finding: Finding, now: float) -> Outcome:
        """Decide what becomes of it, and do it; `now` is Unix seconds."""
        decision = rules.decide(self.view(finding, now), finding, now)
        row = self.latest(finding.kind, finding.terminal)
        match decision.step:
            case Step.OPEN:
                return Outcome(decision, self._open(finding.kind, finding.terminal, now))
            case Step.RELAPSE if row is not None and row.ticket is not None:
                self._reopen(row)
                self._relapse(row.ticket)
            case Step.ATTACH:
                storm = self._storm(decision, now)
                if decision.reason == Reason.REJOINED and row is not None:
                    self._reopen(row)
                    self._asks(row, now)
                else:
                    row = self._add(Incident(len(self.incidents), finding.terminal, finding.kind, now, parent=storm))
                    storm.members.append(row)
            case Step.DETACH if row is not None and row.parent is not None:
                group = row.parent
                row.open, row.closed_at, row.good_at = False, now, None
                if group.ticket is not None:
                    group.ticket.journal.append(Action.DETACHED)
                return Outcome(decision, self._open(finding.kind, finding.terminal, now, row.flaps), group)
        return Outcome(decision, row)

    def recover(self, kind: str, terminal: int, now: float) -> Incident | None:
        """The incident that is over now; None if nothing was open."""
        row = self.latest(kind, terminal)
        if row is None or not row.open:
            return None
        self._over(row, now)
        return row

    def open_group(self, kind: str, group: tuple[str, str], now: float) -> tuple[Incident, Step]:
        """A group with a cause in common, as `groups.GroupIncidents.open`; whether it is new, back or standing."""
        latest = self._groups.get((kind, group))
        if latest is None or latest.ticket is None or (not latest.open and latest.ticket.state == State.CLOSED):
            latest = Incident(len(self.incidents), None, kind, now, Ticket(kind, now), group=group)
            self.incidents.append(latest)
            self.tickets.append(latest.ticket or Ticket(kind, now))
            self._groups[kind, group] = latest
            return latest, Step.OPEN
        if latest.open:
            return latest, Step.STANDING
        self._reopen(latest)
        latest.raised_at = now
        self._relapse(latest.ticket)
        return latest, Step.RELAPSE

    def join(self, group: Incident, kind: str, terminal: int, now: float) -> Incident | None:
        """A member, unasked; None if it has an open incident."""
        latest = self.latest(kind, terminal)
        if latest is not None and latest.open:
            return None
        member = Incident(len(self.incidents), terminal, kind, now, parent=group)
        self.incidents.append(member)
        self._latest[kind, terminal] = member
        group.members.append(member)
        return member

    def end_group(self, group: Incident, now: float) -> None:
        """It is heard again."""
        if group.open:
            self._over(group, now)

    def review(self, now: float) -> list[tuple[str, int]]:
        """Look after the storm; members that may have tickets of their own now, as (kind, terminal)."""
        storm = self.latest(STORM, None)
        if storm is None or not storm.open:
            return []
        decision = rules.review(storm.id, self.members(storm), self.limiter(now), now)
        if decision.step == Step.RECOVER:
            self._over(storm, now)
        if decision.step != Step.DETACH:
            return []
        left = sorted((i for i in storm.members if i.open), key=lambda i: (i.raised_at, i.id))
        return [(i.kind, i.terminal) for i in left[: min(decision.count, GIVEN_BACK)] if i.terminal is not None]

    def _storm(self, decision: Decision, now: float) -> Incident:
        storm = self.latest(STORM, None)
        if storm is None or decision.storm == Step.OPEN:
            return self._open(STORM, None, now)
        if decision.storm == Step.RELAPSE and storm.ticket is not None:
            self._reopen(storm)
            storm.raised_at = now
            self._relapse(storm.ticket)
        return storm

    def _open(self, kind: str, terminal: int | None, now: float, flaps: int = 0) -> Incident:
        ticket = Ticket(kind, now)
        self.tickets.append(ticket)
        return self._add(Incident(len(self.incidents), terminal, kind, now, ticket, flaps=flaps))

    def _add(self, incident: Incident) -> Incident:
        self.incidents.append(incident)
        self._latest[incident.kind, incident.terminal] = incident
        self._asks(incident, incident.raised_at)
        return incident

    def _asks(self, incident: Incident, now: float) -> None:
        incident.raised_at = now
        if incident.terminal is not None:
            self._asked.append((now, incident))

    @staticmethod
    def _over(row: Incident, now: float) -> None:
        row.open, row.closed_at, row.good_at = False, now, now
        if row.ticket is not None:
            row.ticket.state = next_state(row.ticket.state, Action.RECOVERED, consented=False)
            row.ticket.consented = False
            row.ticket.journal.append(Action.RECOVERED)

    @staticmethod
    def _reopen(row: Incident) -> None:
        row.open, row.closed_at, row.good_at, row.flaps = True, None, None, row.flaps + 1

    @staticmethod
    def _relapse(ticket: Ticket) -> None:
        ticket.state = relapsed_to(ticket.state, taken=ticket.owner is not None)
        ticket.closed_at, ticket.consented = None, False
        ticket.journal.append(Action.RELAPSED)
