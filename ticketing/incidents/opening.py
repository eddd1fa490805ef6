"""A new ticket: its number, its clock, its first journal entry, and what the channels are owed, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from detectors.verdicts import Finding
from ticketing.clocks.records import UNKNOWN_ZONE, Terms
from ticketing.core.errors import NotFoundError
from ticketing.core.journal import append_journal
from ticketing.core.numbers import ticket_number
from ticketing.core.outbox import OPENED, Target, enqueue
from ticketing.model.tickets import WATCH, Action, State
from ticketing.tickets.store import load_ticket

log = structlog.get_logger()

TITLE_LIMIT = 200
Evidence: TypeAlias = Mapping[str, Any]


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
class Draft:
    """What a ticket says when it is opened; `terminal` is None for one about many."""

    kind: str
    terminal: int | None
    title: str
    reason: str
    evidence: Evidence
    priority: int
    zone: str = UNKNOWN_ZONE


async def next_row(connection: AsyncConnection[TupleRow]) -> int:
    """The row that the next ticket will have: its incident is written first."""
    return await _next(connection, "SELECT nextval('ticket_id_seq')")


async def open_ticket(
    connection: AsyncConnection[TupleRow],
    row: int,
    draft: Draft,
    terms: Terms,
    targets: Sequence[Target],
    at: datetime,
) -> str:
    """Write the ticket as `row`, inside the caller's transaction; returns its number."""
    number = ticket_number(await _next(connection, "SELECT nextval('ticket_sequence')"))
    evidence = draft.evidence
    clock = terms.open(at, localised=draft.zone != UNKNOWN_ZONE)
    if clock is not None and clock.problem:
        log.warning("ticket without a due time", number=number, reason=clock.problem)
        evidence = {**evidence, "clock": {"due_at": None, "reason": clock.problem}}
    await terms.keep(connection)
    await connection.execute(
        "INSERT INTO ticket (id, number, terminal, kind, state, title, zone, priority, opened_at, due_at, policy,"
        " policy_version, calendar_version, clock_check_at, clock_runs, verdict, evidence) OVERRIDING SYSTEM VALUE"
        " VALUES (%s, %s, %s, %s, 'new', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            row,
            number,
            draft.terminal,
            draft.kind,
            draft.title[:TITLE_LIMIT],
            draft.zone,
            draft.priority,
            at,
            clock and clock.due,
            terms.policy.name,
            terms.policy_version,
            terms.calendar_version,
            clock and clock.next_check(at),
            clock is not None and clock.runs,
            clock and clock.verdict,
            Jsonb(evidence, dumps=msgspec.json.encode),
        ),
    )
    await append_journal(connection, row, at, WATCH, Action.OPENED, draft.reason, State.NEW)
    ticket = await load_ticket(connection, number, at)
    if ticket is None:
        raise NotFoundError(f"ticket {number} vanished while it was written")
    await enqueue(connection, OPENED, row, number, ticket, targets, at)
    return number


async def _next(connection: AsyncConnection[TupleRow], statement: str) -> int:
    rows = await connection.execute(statement.encode())
    found = await rows.fetchone()
    if found is None:
        raise NotFoundError("a sequence gave nothing")
    return int(found[0])
