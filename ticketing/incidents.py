"""Findings become incidents, and incidents tickets: opened once, recovered, relapsed.

Raising and recovering run in one transaction each, under the lock of the incident's row. Two of them cannot open
the same problem twice: the partial unique index on (terminal, kind) refuses the second insert. Before either
commits it asks `current` once more, so that a record that arrived while it was being written counts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec
import structlog
from psycopg import AsyncConnection, Rollback
from psycopg.rows import TupleRow
from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from detectors.verdicts import Finding
from ticketing import policies
from ticketing.clock_records import UNKNOWN_ZONE, Terms
from ticketing.errors import NotFoundError
from ticketing.numbers import ticket_number
from ticketing.outbox import OPENED, Target, enqueue
from ticketing.store import Pool, append_journal, apply_action, load_ticket
from ticketing.tickets import TRANSITIONS, WATCH, Action, State, next_state

log = structlog.get_logger()

POLICY = "integrator-standard"
RELAPSE_WINDOW = timedelta(days=7)  # after closing; later it is a new ticket
TITLE_LIMIT = 200
RELAPSES_KEPT = 20  # in the evidence; the journal has them all

Evidence: TypeAlias = Mapping[str, Any]
Current: TypeAlias = Callable[[], bool]


class Outcome(StrEnum):
    """What became of a finding."""

    OPENED = "opened"  # a new ticket
    RELAPSED = "relapsed"  # the old number, back in work
    STANDING = "standing"  # its incident is open already
    STALE = "stale"  # something good was seen since


@dataclass(frozen=True, slots=True)
class Case:
    """A finding with what its ticket will say. `subject` names the terminal in words; priority 1 (first) to 4."""

    finding: Finding
    subject: str
    evidence: Evidence
    priority: int = 3
    zone: str = UNKNOWN_ZONE
    zone_confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class Raised:
    """The outcome; `number` and `flaps` where there is an open incident now."""

    outcome: Outcome
    number: str | None = None
    flaps: int = 0


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """An open incident as the watch needs it after a restart; `last_good_at` is Unix seconds or None."""

    kind: str
    terminal: int
    number: str
    last_good_at: float | None
    flaps: int


class Incidents:
    """The watch's side of the desk. `targets` are told of each new ticket, once per number.

    New tickets take the clock of `policy`: a shipped one by `name` or `name@version`, or a policy file by its path. One
    that cannot be used raises `ClockError` at once, not at the first ticket.
    """

    def __init__(self, pool: Pool, *, policy: str = POLICY, targets: Sequence[Target] = ()) -> None:
        self._pool = pool
        self._terms = Terms.of(policies.resolve(policy))
        self._targets = tuple(targets)

    def tell(self, targets: Sequence[Target]) -> None:
        """Tell others of new tickets from now on."""
        self._targets = tuple(targets)

    async def open_incidents(self) -> list[OpenIncident]:
        """All that are open."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "SELECT i.kind, i.terminal, t.number, extract(epoch FROM i.last_good_at)::float8, i.flaps"
                " FROM incident i JOIN ticket t ON t.id = i.ticket WHERE i.state = 'open'"
            )
            return [OpenIncident(*row) for row in await rows.fetchall()]

    async def raise_finding(
        self,
        finding: Finding,
        now: float,
        prepare: Callable[[AsyncConnection[TupleRow]], Awaitable[Case]],
        current: Current,
    ) -> Raised:
        """Open the finding's incident, or bring its old ticket back.

        Parameters
        ----------
        now : Unix seconds.
        prepare : gathers what the ticket will say; called only when there is something to write.
        current : whether the finding still holds; asked last, under the lock.
        """
        at = datetime.fromtimestamp(now, UTC)
        async with self._pool.connection() as connection, connection.transaction() as transaction:
            outcome = await self._raise(connection, finding, at, prepare)
            if outcome.outcome in (Outcome.OPENED, Outcome.RELAPSED) and not current():
                raise Rollback(transaction)  # leaves the block quietly: nothing was written
            return outcome
        return Raised(Outcome.STALE)

    async def recover(
        self, kind: str, terminal: int, now: float, since: float, text: str, current: Current
    ) -> str | None:
        """Recovery is proven: close the incident and let its ticket await the client's consent.

        Parameters
        ----------
        now, since : Unix seconds; `since` is the first live record after the last failing verdict.
        text : the proof in words, for the journal.
        current : whether the recovery still holds; asked last, under the lock.

        Returns
        -------
        the ticket's number, or None if nothing was open or `current` no longer holds
        """
        at = datetime.fromtimestamp(now, UTC)
        async with self._pool.connection() as connection, connection.transaction() as transaction:
            incident = await _lock_latest(connection, kind, terminal)
            if incident is None or not incident.open:
                return None
            state = await _lock_ticket(connection, incident.ticket)
            await connection.execute(
                "UPDATE incident SET state = 'closed', closed_at = %s, last_good_at = %s WHERE id = %s",
                (at, datetime.fromtimestamp(since, UTC), incident.id),
            )
            after = next_state(state.state, Action.RECOVERED, consented=False)
            await apply_action(connection, incident.ticket, Action.RECOVERED, after, WATCH, text, at)
            if not current():
                raise Rollback(transaction)
            return incident.number
        return None

    async def mark(self, kind: str, good: Mapping[int, float], bad: Mapping[int, float]) -> None:
        """Keep over a restart since when open incidents look good, and when they last looked bad.

        Terminal rows to Unix seconds; a bad one forgets since when it was good.
        """
        async with self._pool.connection() as connection:
            for column, moments in (("last_good_at = m.at", good), ("last_bad_at = m.at, last_good_at = NULL", bad)):
                if moments:
                    await connection.execute(
                        SQL(
                            "UPDATE incident i SET {} FROM unnest(%s::int[], %s::timestamptz[]) AS m(terminal, at)"
                            " WHERE i.terminal = m.terminal AND i.kind = %s AND i.state = 'open'"
                        ).format(SQL(column)),
                        (list(moments), [datetime.fromtimestamp(at, UTC) for at in moments.values()], kind),
                    )

    async def _raise(
        self,
        connection: AsyncConnection[TupleRow],
        finding: Finding,
        at: datetime,
        prepare: Callable[[AsyncConnection[TupleRow]], Awaitable[Case]],
    ) -> Raised:
        case: Case | None = None
        while True:
            latest = await _lock_latest(connection, finding.kind, finding.terminal)
            if latest is not None and latest.open:
                return Raised(Outcome.STANDING, latest.number, latest.flaps)
            if latest is not None and latest.good_until > finding.observed_until:
                return Raised(Outcome.STALE)
            case = case or await prepare(connection)
            if latest is not None:
                ticket = await _lock_ticket(connection, latest.ticket)
                if ticket.closed_at is None or at - ticket.closed_at <= RELAPSE_WINDOW:
                    return await self._relapse(connection, latest, ticket.state, case, at)
            opened = await self._open(connection, case, at)
            if opened is not None:
                return opened
            # Somebody else opened it between the look and the insert: look again.

    async def _open(self, connection: AsyncConnection[TupleRow], case: Case, at: datetime) -> Raised | None:
        finding = case.finding
        rows = await connection.execute(
            "INSERT INTO incident (terminal, kind, state, ticket, opened_at, detected_at, last_bad_at, zone,"
            " zone_confidence) VALUES (%s, %s, 'open', nextval('ticket_id_seq'), %s, %s, %s, %s, %s)"
            " ON CONFLICT (terminal, kind) WHERE state = 'open' DO NOTHING RETURNING ticket",
            (
                finding.terminal,
                finding.kind,
                at,
                datetime.fromtimestamp(finding.detected_at, UTC),
                datetime.fromtimestamp(finding.observed_until, UTC),
                case.zone,
                case.zone_confidence,
            ),
        )
        inserted = await rows.fetchone()
        if inserted is None:
            return None
        rows = await connection.execute("SELECT nextval('ticket_sequence')")
        sequence = await rows.fetchone()
        if sequence is None:
            raise NotFoundError("the sequence of ticket numbers gave nothing")
        number = ticket_number(sequence[0])
        row = inserted[0]
        reason = finding.explanation.reason
        terms, evidence = self._terms, case.evidence
        clock = terms.open(at, localised=case.zone != UNKNOWN_ZONE)
        if clock is not None and clock.problem:
            log.warning("ticket without a due time", number=number, reason=clock.problem)
            evidence = {**evidence, "clock": {"due_at": None, "reason": clock.problem}}
        await terms.keep(connection)
        await connection.execute(
            "INSERT INTO ticket (id, number, terminal, kind, state, title, zone, priority, opened_at, due_at, policy,"
            " policy_version, calendar_version, clock_check_at, evidence) OVERRIDING SYSTEM VALUE"
            " VALUES (%s, %s, %s, %s, 'new', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                row,
                number,
                finding.terminal,
                finding.kind,
                f"{case.subject}: {reason}"[:TITLE_LIMIT],
                case.zone,
                case.priority,
                at,
                clock and clock.due,
                terms.policy.name,
                terms.policy_version,
                terms.calendar_version,
                clock and clock.next_check(at),
                Jsonb(evidence, dumps=msgspec.json.encode),
            ),
        )
        await append_journal(connection, row, at, WATCH, Action.OPENED, reason, State.NEW)
        ticket = await load_ticket(connection, number, at)
        if ticket is None:
            raise NotFoundError(f"ticket {number} vanished while it was written")
        await enqueue(connection, OPENED, row, ticket, self._targets, at)
        return Raised(Outcome.OPENED, number)

    async def _relapse(
        self, connection: AsyncConnection[TupleRow], latest: _Latest, state: State, case: Case, at: datetime
    ) -> Raised:
        finding = case.finding
        await connection.execute(
            "UPDATE incident SET state = 'open', closed_at = NULL, last_good_at = NULL, flaps = flaps + 1,"
            " last_bad_at = %s WHERE id = %s",
            (datetime.fromtimestamp(finding.observed_until, UTC), latest.id),
        )
        # A ticket whose incident is closed awaits consent or is closed itself; any other is in somebody's hands.
        after = TRANSITIONS[Action.RELAPSED].get(state, state)
        reason = finding.explanation.reason
        await apply_action(connection, latest.ticket, Action.RELAPSED, after, WATCH, f"relapse: {reason}", at)
        again = {"at": at, "reason": reason, "numbers": dict(finding.explanation.numbers)}
        await connection.execute(
            "UPDATE ticket SET evidence = jsonb_set(evidence, '{relapses}',"
            " coalesce(evidence->'relapses', '[]') || %s) WHERE id = %s"
            " AND jsonb_array_length(coalesce(evidence->'relapses', '[]')) < %s",
            (Jsonb(again, dumps=msgspec.json.encode), latest.ticket, RELAPSES_KEPT),
        )
        return Raised(Outcome.RELAPSED, latest.number, latest.flaps + 1)


@dataclass(frozen=True, slots=True)
class _Latest:
    id: int
    open: bool
    ticket: int
    number: str
    flaps: int
    good_until: float  # Unix seconds: until when its recovery was seen; -inf if never


@dataclass(frozen=True, slots=True)
class _TicketState:
    state: State
    closed_at: datetime | None


async def _lock_latest(connection: AsyncConnection[TupleRow], kind: str, terminal: int) -> _Latest | None:
    rows = await connection.execute(
        "SELECT i.id, i.state = 'open', i.ticket, t.number, i.flaps,"
        " coalesce(extract(epoch FROM coalesce(i.closed_at, i.last_good_at))::float8, '-infinity')"
        " FROM incident i JOIN ticket t ON t.id = i.ticket WHERE i.terminal = %s AND i.kind = %s"
        " ORDER BY i.id DESC LIMIT 1 FOR UPDATE OF i",
        (terminal, kind),
    )
    row = await rows.fetchone()
    return None if row is None else _Latest(*row)


async def _lock_ticket(connection: AsyncConnection[TupleRow], ticket: int) -> _TicketState:
    rows = await connection.execute("SELECT state, closed_at FROM ticket WHERE id = %s FOR UPDATE", (ticket,))
    row = await rows.fetchone()
    if row is None:
        raise NotFoundError(f"an incident's ticket (row {ticket}) is gone")
    return _TicketState(State(row[0]), row[1])
