"""The watch on a virtual clock: the same round, hysteresis and rules as the service's, and a ledger for the store.

The clock goes from one instant at which something may change to the next: arrivals are gathered for at most `GATHER`,
and where time alone decides (a terminal's time to look, a hold, a recovery, a storm) it stops there, on a grid of
`TICK`. So a decision is dated up to `TICK` later than the service's, which looks each second, and a silence that ends
within `GATHER` of its limit may go unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from detectors.detector import Detector
from detectors.mass import PLATFORM, MassRule
from detectors.verdicts import Finding, spell
from gateway.backtest.events import Event
from gateway.backtest.replay import LastRecords, columns_of
from gateway.backtest.trace import GATEWAY, Kind, Slice
from gateway.configuration.settings import Incidents
from gateway.watch.fleet import Fleet
from gateway.watch.listening import Listening
from gateway.watch.round import Round
from gateway.watch.together import KIND
from ticketing.incidents.decisions import Reason, Step
from ticketing.incidents.hysteresis import Decisions
from ticketing.incidents.ledger import Incident, Ledger, Outcome
from ticketing.model.kinds import STORM

TICK = 60.0  # s
GATHER = 60.0  # s
_UNTOLD = ("model", "firmware")  # what detectors read of the registry, also where nobody told it


class Backtest:
    """One run over one fleet. Feed it with slices in order, then `finish`.

    Attributes
    ----------
    known : attributes by terminal, in the order of `names`: what groups are made of.
    first_heard : Unix seconds, by terminal; inf: never.
    """

    def __init__(
        self,
        names: Sequence[str],
        attributes: Mapping[str, Mapping[str, str]],
        columns: list[str],
        detectors: Sequence[Detector],
        incidents: Incidents,
        mass: MassRule,
        tell: Callable[[Event], None],
    ) -> None:
        """`attributes` by identity, `columns` of the trace, `tell` is called with each event."""
        self._names = names
        self._tell = tell
        self.fleet = Fleet(Listening(stall=np.inf), detectors, capacity=max(len(names), 1))
        self.round = Round(self.fleet, hold=incidents.hold, recovery=incidents.recovery, mass=mass)
        self.ledger = Ledger(incidents.tickets_per_minute)
        self._last = LastRecords(len(names), columns)
        self.first_heard = np.full(len(names), np.inf)
        self._now = np.nan
        self._gathers = np.inf  # until when arrivals are gathered
        self._listening = True
        self.known = [attributes.get(name, {}) for name in names]
        told = {*_UNTOLD, *(name for its in self.known for name in its)}
        registered = {name: [its.get(name) for its in self.known] for name in sorted(told)}
        self.fleet.identify(range(len(names)), registered)
        self.round.together.registered(range(len(names)), registered)

    # The clock.

    def feed(self, rows: Slice) -> None:
        """Rows in the order of their arrival, none earlier than those before."""
        received, own = rows["received"], np.flatnonzero(rows["terminal"] == GATEWAY)
        if not len(received):
            return
        self._last.begin(rows)
        if np.isnan(self._now):
            self._tick(float(received[0]) / 1e6)
        terminal = rows["terminal"]
        heard = np.flatnonzero((terminal != GATEWAY) & (rows["kind"] <= Kind.FRAME))[::-1]
        np.minimum.at(self.first_heard, terminal[heard], received[heard] / 1e6)
        done = 0
        for at in [*own.tolist(), len(received)]:
            self._pass(rows, done, at)
            if at < len(received):
                self._own(Kind(int(rows["kind"][at])), float(received[at]) / 1e6)
                done = at + 1

    def finish(self, until: float) -> None:
        """Let time pass until then, in Unix seconds, with nothing arriving."""
        if self._listening:
            self._pass_until(until)
            self._tick(until)

    def _pass(self, rows: Slice, first: int, end: int) -> None:
        """Rows `first` to `end` arrive, and time passes with them."""
        received = rows["received"]
        while first < end:
            arrives = float(received[first]) / 1e6
            self._gathers = min(self._gathers, _grid(max(arrives, self._now), GATHER))
            now = self._next() if self._listening else np.inf
            upto = first + int(np.searchsorted(received[first:end], _micros(now), "right")) if now < np.inf else end
            if upto > first:
                self._arrive({name: column[first:upto] for name, column in rows.items()})
                first = upto
            if upto < end:  # else the next rows may still arrive before that instant
                self._tick(now)

    def _pass_until(self, moment: float) -> None:
        while (now := self._next()) < moment:
            self._tick(now)

    def _arrive(self, rows: Slice) -> None:
        self.fleet.apply(columns_of(rows))

    def _own(self, kind: Kind, at: float) -> None:
        """The gateway itself begins or ends to listen."""
        if kind == Kind.DEAF and self._listening:
            self._pass_until(at)
            self._tick(at)
            self._listening = False
        elif kind == Kind.LISTENING and not self._listening:
            self._listening = True
            self.round.tick(at, at, listening=False)
            self._now, self._due = at, np.nan

    def _next(self) -> float:
        """The next instant at which what was gathered is looked at, or time alone may change something."""
        listening = self.fleet.listening
        storm = self.ledger.latest(STORM, None)
        if not listening.trusted or (storm is not None and storm.open):
            return _grid(self._now, TICK)
        if np.isnan(self._due):  # as of the last tick: what arrives changes nothing until it is looked at
            due = self._now + (self.round.due() - listening.clock)
            at = float(np.ceil(due / TICK) * TICK)
            self._due = at if at > self._now else _grid(self._now, TICK)
        return min(self._due, self._gathers)

    def _tick(self, now: float) -> None:
        self._gathers, self._due = np.inf, np.nan
        self._now = max(now, self._now) if not np.isnan(self._now) else now
        decided = self.round.tick(self._now, self._now)
        for kind, decisions in decided.items():
            self._decide(kind, decisions)
        if decided:
            self._carry_groups()
            for kind, row in self.ledger.review(self._now):
                self._raise(kind, row, member=True)
            self._end_storm()

    # From decisions to incidents, as `gateway.watch.patrol` has it.

    def _decide(self, kind: str, decisions: Decisions) -> None:
        for row in decisions.raised.tolist():
            self._raise(kind, row)
        for row in decisions.recovered.tolist():
            self._recover(kind, row)
        for row in decisions.changed.tolist():
            self._change(kind, row)

    def _raise(self, kind: str, row: int, *, member: bool = False) -> None:
        finding = self.round.finding(kind, row, member=member)
        if finding is None:
            return
        outcome = self.ledger.raise_finding(finding, self._now)
        if outcome.incident is None or not outcome.is_open:
            return
        self.round.watched[kind].opened(row, outcome.incident.flaps)
        if outcome.decision.step == Step.DETACH:
            self.round.together.released([row])
        self._tell_of(finding, outcome, outcome.incident)

    def _carry_groups(self) -> None:
        """As `gateway.watch.group_carrying` does in the store."""
        together = self.round.together
        for key, group in together.waiting():
            shared = group.shared
            if group.incident is None:
                incident, step = self.ledger.open_group(shared.kind, (shared.by, shared.value), self._now)
                group.incident = incident.id
                word = "relapsed" if step == Step.RELAPSE else "platform" if shared.kind == PLATFORM else "opened"
                self._told(word, incident, shared.reason, zone=shared.zone)
            parent = self.ledger.incidents[group.incident]
            for row in (row for rows in group.joining for row in rows.tolist()):
                member = self.ledger.join(parent, KIND, row, self._now)
                if member is not None:
                    self._told("attached", member, f"with {shared.words}", group=parent, zone=shared.zone)
            group.joining.clear()
            if group.over is not None:
                self.ledger.end_group(parent, self._now)
                out = len(group.over.out)
                self._told("recovered", parent, f"heard again: {len(group.over.back)} of {len(group.over.back) + out}")
                group.over = None
                together.done(key)
        for row, since in together.recovering(self.round.back).items():
            incident_of_member = self.ledger.recover(KIND, row, self._now)
            together.recovered([row])
            if incident_of_member is not None:
                parent_of_member = incident_of_member.parent
                good_for = spell(max(self._now - since, 0.0))
                self._told("recovered", incident_of_member, f"good for {good_for}", group=parent_of_member)
        for row in self.round.left:
            self._raise(KIND, row, member=True)

    def _tell_of(self, finding: Finding, outcome: Outcome, incident: Incident) -> None:
        reason = finding.explanation.reason
        match outcome.decision.step:
            case Step.OPEN:
                self._told("opened", incident, reason, finding)
            case Step.RELAPSE:
                self._told("relapsed", incident, reason, finding)
            case Step.DETACH if outcome.left is not None:
                self._told("detached", incident, f"{outcome.decision.reason}: {reason}", finding, outcome.left)
                self._told("opened", incident, reason, finding)
            case Step.ATTACH if incident.parent is not None:
                if outcome.decision.storm in (Step.OPEN, Step.RELAPSE):
                    word = "opened" if outcome.decision.storm == Step.OPEN else "relapsed"
                    self._told(word, incident.parent, f"more than {self.ledger.per_minute} findings within a minute")
                self._told("attached", incident, reason, finding, incident.parent)

    def _change(self, kind: str, row: int) -> None:
        incident, finding = self.ledger.latest(kind, row), self.round.finding(kind, row, member=True)
        if incident is not None and incident.open and finding is not None:
            self._told("changed", incident, finding.explanation.reason, finding, incident.parent)
        self.round.told(kind, row)

    def _recover(self, kind: str, row: int) -> None:
        proof = self.round.proof(kind, row)
        if proof is None:
            return
        incident = self.ledger.recover(kind, row, self._now)
        if incident is not None:
            self.round.watched[kind].closed(row)
            self._told("recovered", incident, proof[1], group=incident.parent)

    def _end_storm(self) -> None:
        storm = self.ledger.latest(STORM, None)
        if storm is not None and not storm.open and storm.closed_at == self._now:
            self._told("recovered", storm, Reason.ALL_GOOD)

    def _told(
        self,
        event: str,
        incident: Incident,
        reason: str,
        finding: Finding | None = None,
        group: Incident | None = None,
        zone: tuple[str, float] = ("unknown", 0.0),
    ) -> None:
        row = incident.terminal
        named = incident.group or (group.group if group is not None else None)
        zone_, confidence = zone
        if finding is not None and row is not None:
            past = self._last.past(row, self._now, self.fleet.verdicts_of(row))
            found = self.fleet.detectors[finding.kind].zone(finding.explanation, past)
            zone_, confidence = found.zone, found.confidence
        self._tell(
            Event(
                self._now,
                event,
                incident.kind,
                None if row is None else self._names[row],
                incident.id,
                None if group is None else group.id,
                None if named is None else dict(zip(("by", "value"), named, strict=True)),
                len(incident.members),
                zone_,
                confidence,
                reason,
            )
        )


def _micros(moment: float) -> np.int64:
    """Of the arrivals' own type: numpy would make floats of all of them to compare."""
    return np.int64(round(moment * 1e6))


def _grid(moment: float, step: float) -> float:
    """The next multiple of `step` after a moment."""
    return float((np.floor(moment / step) + 1) * step)
