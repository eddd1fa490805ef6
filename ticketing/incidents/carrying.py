"""What was decided of findings and incidents, carried out: opened once, attached, recovered, relapsed, given back.

Each is one transaction, decided twice: at first without a lock, so that evidence is gathered only for what will be
written and while nobody waits; then again on what the locks show. Before it commits, `current` is asked once more, so
that a record that arrived while it was being written counts. Two of them cannot open the same problem twice: partial
unique indexes refuse the second open incident of a terminal and kind, and the second open group of a kind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import msgspec
import structlog
from psycopg import AsyncConnection, Rollback
from psycopg.rows import TupleRow
from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from detectors.verdicts import Finding
from ticketing.clocks.records import Terms
from ticketing.core.db import Pool
from ticketing.core.errors import NotFoundError
from ticketing.core.journal import append_journal
from ticketing.core.outbox import Target
from ticketing.incidents import storms
from ticketing.incidents.decisions import Decision, Reason, Step
from ticketing.incidents.looking import Seen, look, look_at, pass_gate, utc
from ticketing.incidents.opening import Case
from ticketing.incidents.rules import decide, recover
from ticketing.model.states import MOVES, WATCH, Action, State, next_state, relapsed_to
from ticketing.tickets.office import Office
from ticketing.tickets.opening import next_row, open_ticket
from ticketing.tickets.watching import step

log = structlog.get_logger()

POLICY = "integrator-standard"
TICKETS_PER_MINUTE = 60
RELAPSES_KEPT = 20  # in the evidence; the journal has them all

Prepare: TypeAlias = Callable[[AsyncConnection[TupleRow]], Awaitable[Case]]
Current: TypeAlias = Callable[[], bool]

_NOTHING_TO_WRITE = frozenset({Step.STANDING, Step.STALE, Step.HOLD})


@dataclass(frozen=True, slots=True)
class Raised:
    """What became of a finding; `number` is its ticket's, or its group's; `flaps` counts its incident's relapses."""

    decision: Decision
    number: str | None = None
    flaps: int = 0

    @property
    def is_open(self) -> bool:
        """Whether there is an open incident now."""
        return self.decision.step not in (Step.STALE, Step.HOLD)

    @property
    def opened(self) -> bool:
        """Whether the channels are owed something new."""
        return self.decision.step in (Step.OPEN, Step.DETACH) or self.decision.storm == Step.OPEN


@dataclass(frozen=True, slots=True)
class Recovered:
    """An incident that is over; `number` is its ticket's, None where its group has the ticket."""

    decision: Decision
    number: str | None


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """A terminal's open incident as the watch needs it after a restart; `last_good_at` is Unix seconds or None."""

    kind: str
    terminal: int
    last_good_at: float | None
    flaps: int


class Incidents:
    """The watch's side of the desk. `targets` are told of each new ticket, once per number.

    New tickets take the clock of `policy`: a shipped one by `name` or `name@version`, or a policy file by its path. One
    that cannot be used raises `ClockError` at once, not at the first ticket. Of more findings than `tickets_per_minute`
    (0: no limit) the rest share one ticket, see `rules`.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        policy: str = POLICY,
        targets: Sequence[Target] = (),
        tickets_per_minute: int = TICKETS_PER_MINUTE,
        office: Office | None = None,
    ) -> None:
        self._pool = pool
        self.office = office or Office(policy=policy, targets=targets)
        self._per_minute = tickets_per_minute
        self._storm_open: bool | None = None  # None: not looked yet

    def tell(self, targets: Sequence[Target]) -> None:
        """Tell others of new tickets from now on."""
        self.office.targets = tuple(targets)

    @property
    def terms(self) -> Terms:
        """What a new ticket is promised."""
        return self.office.terms

    @property
    def targets(self) -> tuple[Target, ...]:
        """Who is told of it."""
        return self.office.targets

    @property
    def clocks(self) -> tuple[str, ...]:
        """The clocks that tickets may have."""
        return tuple(self.office.terms.policy.clocks)

    async def calendars(self) -> list[str]:
        """Those in use: of what a new ticket takes, and of open tickets."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "SELECT DISTINCT c.content ->> 'name' FROM ticket t"
                " JOIN calendar_version c ON c.version = t.calendar_version WHERE t.state <> 'closed'"
            )
            found = {str(name) for (name,) in await rows.fetchall()}
        if self.office.terms.calendar_version is not None:
            found.add(self.office.terms.policy.file.working_time.calendar)
        return sorted(found)

    def limit(self, tickets_per_minute: int) -> None:
        """Another limit from now on."""
        self._per_minute = tickets_per_minute

    async def heard_elsewhere(self, terminals: Sequence[int]) -> int:
        """How many of these, which look silent, the store knows to have reported to others meanwhile."""
        return 0

    async def open_incidents(self) -> list[OpenIncident]:
        """All open ones of single terminals, members of groups among them."""
        self._storm_open = None
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "SELECT kind, terminal, extract(epoch FROM last_good_at)::float8, flaps"
                " FROM incident WHERE state = 'open' AND terminal IS NOT NULL"
            )
            return [OpenIncident(*row) for row in await rows.fetchall()]

    async def raise_finding(self, finding: Finding, now: float, prepare: Prepare, current: Current) -> Raised:
        """Decide what becomes of the finding, and do it.

        Parameters
        ----------
        now : Unix seconds.
        prepare : gathers what a ticket of its own will say; called only when there is one to write.
        current : whether the finding still holds; asked last, under the locks.
        """
        async with self._pool.connection() as connection, connection.transaction() as transaction:
            raised = await self._raise(connection, finding, now, prepare)
            if raised.decision.step not in _NOTHING_TO_WRITE and not current():
                raise Rollback(transaction)  # leaves the block quietly: nothing was written
            if raised.decision.step == Step.ATTACH:
                self._storm_open = True
            return raised
        return Raised(Decision(Step.STALE, Reason.OVERTAKEN))

    async def recover(
        self, kind: str, terminal: int, now: float, since: float, text: str, current: Current
    ) -> Recovered | None:
        """Recovery is proven: close the incident and let its ticket, if it has one, await the client's consent.

        Parameters
        ----------
        now, since : Unix seconds; `since` is the first live record after the last failing verdict.
        text : the proof in words, for the journal.
        current : whether the recovery still holds; asked last, under the lock.

        Returns
        -------
        None if nothing was open or `current` no longer holds
        """
        at = utc(now)
        async with self._pool.connection() as connection, connection.transaction() as transaction:
            known, row = await look_at(connection, kind, terminal, lock=True)
            decision = recover(known)
            if known is None or row is None or decision.step != Step.RECOVER:
                return None
            await connection.execute(
                "UPDATE incident SET state = 'closed', closed_at = %s, last_good_at = %s WHERE id = %s",
                (at, utc(since), row.incident),
            )
            if row.ticket is not None and known.ticket_state is not None:
                after = next_state(known.ticket_state, Action.RECOVERED, consented=False)
                await step(connection, self.office, row.ticket, Action.RECOVERED, after, at, {"reason": text})
            if not current():
                raise Rollback(transaction)
            return Recovered(decision, row.number)
        return None

    async def change(self, kind: str, terminal: int, now: float, text: str) -> str | None:
        """What an open incident means has changed: a line in its ticket's journal; returns the ticket's number.

        None where nothing is open, or where its group has the ticket.
        """
        async with self._pool.connection() as connection, connection.transaction():
            known, row = await look_at(connection, kind, terminal, lock=True)
            if known is None or row is None or not known.open or row.ticket is None or known.ticket_state is None:
                return None
            await append_journal(
                connection, row.ticket, utc(now), WATCH, Action.CHANGED, "", known.ticket_state, {"reason": text}
            )
            return row.number

    async def review(self, now: float) -> list[tuple[str, int]]:
        """Look after the storm, if there is one: end it, keep its ticket's evidence true.

        Returns
        -------
        members that may have tickets of their own now, as (kind, terminal): to be raised again if they still fail
        """
        if self._storm_open is False:
            return []
        async with self._pool.connection() as connection, connection.transaction():
            left = await storms.review(connection, self.office, now, self._per_minute)
        self._storm_open = left is not None
        return left or []

    async def mark(self, kind: str, good: Mapping[int, float], bad: Mapping[int, float]) -> None:
        """Keep over a restart since when open incidents look good, and when they last looked bad; tickets follow.

        Terminal rows to Unix seconds; a bad one forgets since when it was good.
        """
        for column, moments, action in (
            ("last_good_at = m.at", good, Action.RECOVERING),
            ("last_bad_at = m.at, last_good_at = NULL", bad, Action.RELAPSED),
        ):
            if not moments:
                continue
            async with self._pool.connection() as connection:
                rows = await connection.execute(
                    SQL(
                        "UPDATE incident i SET {} FROM unnest(%s::int[], %s::timestamptz[]) AS m(terminal, at)"
                        " WHERE i.terminal = m.terminal AND i.kind = %s AND i.state = 'open' RETURNING i.ticket, m.at"
                    ).format(SQL(column)),
                    (list(moments), [utc(at) for at in moments.values()], kind),
                )
                follow = [(ticket, at) for ticket, at in await rows.fetchall() if ticket is not None]
            for ticket, at in follow:
                await self._follow(ticket, action, at)

    async def _follow(self, ticket: int, action: Action, at: datetime) -> None:
        """A ticket recovers while its terminal looks good, and is worked on again while it does not."""
        async with self._pool.connection() as connection, connection.transaction():
            rows = await connection.execute(
                "SELECT state, owner IS NOT NULL AND NOT given FROM ticket WHERE id = %s FOR UPDATE", (ticket,)
            )
            found = await rows.fetchone()
            if found is None:
                return
            state = State(found[0])
            if action == Action.RECOVERING and state in MOVES[action].leads:
                await step(connection, self.office, ticket, action, State.RECOVERING, at, {})
            elif action == Action.RELAPSED and state == State.RECOVERING:
                after = relapsed_to(state, taken=found[1])
                await step(connection, self.office, ticket, action, after, at, {"reason": "silent again"})

    async def _raise(
        self, connection: AsyncConnection[TupleRow], finding: Finding, now: float, prepare: Prepare
    ) -> Raised:
        case: Case | None = None
        first = await look(connection, finding, now, self._per_minute, lock=False)
        decision = decide(first.view, finding, now)
        if decision.step in (Step.OPEN, Step.RELAPSE, Step.DETACH):
            case = await prepare(connection)
        while decision.step not in _NOTHING_TO_WRITE:
            await pass_gate(connection)
            seen = await look(connection, finding, now, self._per_minute, lock=True)
            decision = decide(seen.view, finding, now)
            raised = await self._carry_out(connection, decision, seen, finding, now, case, prepare)
            if raised is not None:
                return raised
            # A service that knows no gate opened it between the look and the insert: look again.
        known, row = first.view.known, first.row
        return Raised(decision, None if row is None else row.number, 0 if known is None else known.flaps)

    async def _carry_out(
        self,
        connection: AsyncConnection[TupleRow],
        decision: Decision,
        seen: Seen,
        finding: Finding,
        now: float,
        case: Case | None,
        prepare: Prepare,
    ) -> Raised | None:
        at, known, row = utc(now), seen.view.known, seen.row
        flaps = 0 if known is None else known.flaps
        match decision.step:
            case Step.OPEN:
                number = await self._open(connection, case or await prepare(connection), at)
                return None if number is None else Raised(decision, number)
            case Step.ATTACH:
                storm, number = await storms.the_open_one(
                    connection, decision, seen.storm, self._per_minute, self.office, at
                )
                again = decision.reason == Reason.REJOINED and row is not None
                if again and row is not None:
                    await _reopen(connection, row.incident, finding, asked_at=at)
                elif not await storms.attach(connection, storm, finding, at):
                    return None
                return Raised(decision, number, flaps + 1 if again else 0)
            case Step.RELAPSE if row is not None and row.ticket is not None and known is not None:
                await self._relapse(connection, row.incident, row.ticket, finding, at)
                return Raised(decision, row.number, flaps + 1)
            case Step.DETACH if row is not None:
                await storms.leave(connection, row.incident, at)
                number = await self._open(connection, case or await prepare(connection), at, flaps=flaps)
                if number is None:
                    raise NotFoundError("a member that was just detached is open again")
                await storms.tell_of_leaving(connection, decision, finding, number, at)
                return Raised(decision, number, flaps)
            case _:
                return Raised(decision, None if row is None else row.number, flaps)

    async def _open(
        self, connection: AsyncConnection[TupleRow], case: Case, at: datetime, *, flaps: int = 0
    ) -> str | None:
        """Incident and ticket; None if there is an open incident of that key."""
        finding = case.finding
        row = await next_row(connection)
        rows = await connection.execute(
            "INSERT INTO incident (terminal, kind, state, ticket, opened_at, raised_at, detected_at, last_bad_at,"
            " flaps, zone, zone_confidence) VALUES (%s, %s, 'open', %s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (terminal, kind) WHERE state = 'open' DO NOTHING",
            (
                finding.terminal,
                finding.kind,
                row,
                at,
                at,
                utc(finding.detected_at),
                utc(finding.observed_until),
                flaps,
                case.zone,
                case.zone_confidence,
            ),
        )
        if rows.rowcount == 0:
            return None
        return (await open_ticket(connection, self.office, case.draft(), at, row)).number

    async def _relapse(
        self,
        connection: AsyncConnection[TupleRow],
        incident: int,
        ticket: int,
        finding: Finding,
        at: datetime,
    ) -> None:
        await _reopen(connection, incident, finding)
        reason = finding.explanation.reason
        await storms.back_to_work(connection, self.office, ticket, reason, at)
        again = {"at": at, "reason": reason, "numbers": dict(finding.explanation.numbers)}
        await connection.execute(
            "UPDATE ticket SET evidence = jsonb_set(evidence, '{relapses}',"
            " coalesce(evidence->'relapses', '[]') || %s) WHERE id = %s"
            " AND jsonb_array_length(coalesce(evidence->'relapses', '[]')) < %s",
            (Jsonb(again, dumps=msgspec.json.encode), ticket, RELAPSES_KEPT),
        )


async def _reopen(
    connection: AsyncConnection[TupleRow], incident: int, finding: Finding, *, asked_at: datetime | None = None
) -> None:
    await connection.execute(
        "UPDATE incident SET state = 'open', closed_at = NULL, last_good_at = NULL, flaps = flaps + 1,"
        " last_bad_at = %s, raised_at = coalesce(%s, raised_at) WHERE id = %s",
        (utc(finding.observed_until), asked_at, incident),
    )
