"""What the watch and time do to a ticket: the same row, journal, clocks and letters as what people do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ticketing.clocks.records import refresh
from ticketing.core.db import Connection
from ticketing.core.journal import append_journal
from ticketing.model.states import WATCH, Action, State, events_of
from ticketing.tickets.announcing import announce
from ticketing.tickets.closing import over
from ticketing.tickets.dues import poke
from ticketing.tickets.facts import DESK, Facts, lock, set_columns
from ticketing.tickets.letters import owe
from ticketing.tickets.office import Office
from ticketing.tickets.queue import restand
from ticketing.tickets.tasks import add_task, drop_tasks

_NO_CONSENT = {"consent_at": None, "consent_by": None, "consent_means": None}


async def step(
    connection: Connection,
    office: Office,
    ticket: int,
    action: Action,
    after: State,
    at: datetime,
    data: Mapping[str, Any],
) -> None:
    """Write one decided step of nobody's; the row's lock is taken, or held already."""
    facts = await lock(connection, ticket, follow=False)
    columns: dict[str, Any] = {"state": str(after)}
    if action in (Action.RECOVERED, Action.RELAPSED):
        columns |= _NO_CONSENT
    if action == Action.RELAPSED:
        columns |= {"closed_at": None, "ended": None}
        if facts.state == State.CLOSED:
            columns["cycle"] = facts.cycle + 1
    if action == Action.DEEMED:
        columns |= {
            "closed_at": at,
            "ended": "deemed",
            "consent_at": at,
            "consent_by": WATCH,
            "consent_means": "deemed",
        }
    await set_columns(connection, facts.row, columns)
    events = events_of(action)
    await append_journal(
        connection, facts.row, at, WATCH, action, "", str(after),
        {**data, **({"events": list(events)} if events else {})},
    )  # fmt: skip
    await _follow(connection, office, facts, action, after, at, data)
    closes = after == State.CLOSED != facts.state
    if closes:
        await over(connection, facts, at)
    await poke(connection, facts.row, at)
    await refresh(connection, facts.row, at)
    await restand(connection, office, facts.row, at)
    await announce(connection, office, facts.number, "ticket.closed" if closes else "ticket.changed", at)


async def _follow(
    connection: Connection,
    office: Office,
    facts: Facts,
    action: Action,
    after: State,
    at: datetime,
    data: Mapping[str, Any],
) -> None:
    if action == Action.RECOVERED and after == State.AWAITING_CONSENT:
        await owe(connection, office, facts, "recovered", {"proof": data.get("reason")}, at)
        if facts.organisation is not None:
            await add_task(
                connection, facts.row, "call", f"{facts.number}/consent/{facts.cycle}/{at.timestamp():.6f}", at,
                data={"why": "consent"},
            )  # fmt: skip
    if action == Action.RELAPSED:
        await drop_tasks(connection, facts.row, at, "call")
    if action == Action.DEEMED:
        await owe(connection, office, facts, "closed", {"cycle": facts.cycle, "deemed": True}, at)


async def warn(connection: Connection, ticket: int, at: datetime, action: Action, data: Mapping[str, Any]) -> None:
    """An entry that changes nothing else: a warning, a breach, a reminder, a ladder's step."""
    rows = await connection.execute("SELECT state FROM ticket WHERE id = %s FOR UPDATE", (ticket,))
    (state,) = await rows.fetchone() or ("",)
    await append_journal(connection, ticket, at, DESK.name, action, "", state, data)
