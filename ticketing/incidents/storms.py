"""The storm in SQL: opened once, joined, left, given back, ended. What is to be done is decided in `rules`.

Every function runs inside the caller's transaction, behind the gate.
"""

from __future__ import annotations

from datetime import datetime

import structlog

from detectors.verdicts import Finding
from ticketing.core.db import Connection
from ticketing.core.errors import NotFoundError
from ticketing.core.journal import append_journal
from ticketing.incidents import rules
from ticketing.incidents.decisions import Decision, Step
from ticketing.incidents.evidence import keep_members
from ticketing.incidents.looking import Row, look_around, muster, pass_gate, utc
from ticketing.model.kinds import STORM
from ticketing.model.states import WATCH, Action, State, next_state, relapsed_to
from ticketing.tickets.office import Office
from ticketing.tickets.opening import Draft, next_row, open_ticket
from ticketing.tickets.watching import step

log = structlog.get_logger()

PRIORITY = 1  # nothing else looks as bad as this
GIVEN_BACK = 200  # members at once where no limit says fewer
UNKNOWN = "unknown"


async def the_open_one(
    connection: Connection,
    decision: Decision,
    latest: Row | None,
    per_minute: int,
    office: Office,
    at: datetime,
) -> tuple[int, str]:
    """The storm's incident and number, opened or brought back first where that was decided."""
    if decision.storm == Step.OPEN:
        return await _open(connection, per_minute, office, at)
    if latest is None or latest.ticket is None or latest.number is None:
        raise NotFoundError("the storm that was decided on is gone")
    if decision.storm == Step.RELAPSE:
        await connection.execute(
            "UPDATE incident SET state = 'open', closed_at = NULL, last_good_at = NULL, flaps = flaps + 1,"
            " raised_at = %s, last_bad_at = %s WHERE id = %s",
            (at, at, latest.incident),
        )
        await back_to_work(connection, office, latest.ticket, _reason(per_minute), at)
        log.warning("ticket storm is back", number=latest.number)
    return latest.incident, latest.number


async def attach(connection: Connection, storm: int, finding: Finding, at: datetime) -> bool:
    """A member's incident; False if its terminal has an open one of that kind."""
    rows = await connection.execute(
        "INSERT INTO incident (terminal, kind, state, parent, opened_at, raised_at, detected_at, last_bad_at, zone,"
        " zone_confidence) VALUES (%s, %s, 'open', %s, %s, %s, %s, %s, %s, 0)"
        " ON CONFLICT (terminal, kind) WHERE state = 'open' DO NOTHING",
        (
            finding.terminal,
            finding.kind,
            storm,
            at,
            at,
            utc(finding.detected_at),
            utc(finding.observed_until),
            UNKNOWN,
        ),
    )
    return rows.rowcount == 1


async def leave(connection: Connection, member: int, at: datetime) -> None:
    """A member's incident ends without a recovery: it goes on as one of its own."""
    await connection.execute(
        "UPDATE incident SET state = 'closed', closed_at = %s, last_good_at = NULL WHERE id = %s", (at, member)
    )


async def tell_of_leaving(
    connection: Connection, decision: Decision, finding: Finding, number: str, at: datetime
) -> None:
    """A line in the journal of the group's ticket: who left, and where it is worked on now."""
    rows = await connection.execute(
        "SELECT g.ticket, t.state, e.identity FROM incident g JOIN ticket t ON t.id = g.ticket, terminal e"
        " WHERE g.id = %s AND e.id = %s FOR UPDATE OF t",
        (decision.parent, finding.terminal),
    )
    found = await rows.fetchone()
    if found is None:
        raise NotFoundError(f"a group's ticket (incident {decision.parent}) is gone")
    ticket, state, identity = found
    data = {"terminal": identity, "kind": finding.kind, "number": number}
    await append_journal(connection, ticket, at, WATCH, Action.DETACHED, "", state, data)


async def back_to_work(connection: Connection, office: Office, ticket: int, reason: str, at: datetime) -> None:
    """A ticket that awaits consent or is closed comes back; any other is in somebody's hands and stays so."""
    rows = await connection.execute(
        "SELECT state, owner IS NOT NULL AND NOT given FROM ticket WHERE id = %s FOR UPDATE", (ticket,)
    )
    found = await rows.fetchone()
    if found is None:
        raise NotFoundError(f"an incident's ticket (row {ticket}) is gone")
    after = relapsed_to(State(found[0]), taken=found[1])
    await step(connection, office, ticket, Action.RELAPSED, after, at, {"reason": reason})


async def review(connection: Connection, office: Office, now: float, per_minute: int) -> list[tuple[str, int]] | None:
    """End the storm, or say who may leave it as (kind, terminal); None: there is none open."""
    await pass_gate(connection)
    limiter, storm, row = await look_around(connection, now, per_minute)
    if storm is None or row is None or row.ticket is None or not storm.open:
        return None
    members, at = await muster(connection, storm.id), utc(now)
    await keep_members(connection, storm.id)
    decision = rules.review(storm.id, members, limiter, now)
    if decision.step == Step.RECOVER:
        await connection.execute(
            "UPDATE incident SET state = 'closed', closed_at = %s, last_good_at = %s WHERE id = %s", (at, at, storm.id)
        )
        after = next_state(storm.ticket_state, Action.RECOVERED, consented=False)
        text = f"all {members.joined} members are good, or have tickets of their own"
        await step(connection, office, row.ticket, Action.RECOVERED, after, at, {"reason": text})
        log.info("ticket storm is over", number=row.number, members=members.joined)
        return None
    if decision.step != Step.DETACH:
        return []
    rows = await connection.execute(
        "SELECT kind, terminal FROM incident WHERE parent = %s AND state = 'open' ORDER BY raised_at, id LIMIT %s",
        (storm.id, min(decision.count, GIVEN_BACK)),
    )
    return [(kind, terminal) for kind, terminal in await rows.fetchall()]


async def _open(connection: Connection, per_minute: int, office: Office, at: datetime) -> tuple[int, str]:
    ticket = await next_row(connection)
    rows = await connection.execute(
        "INSERT INTO incident (kind, state, ticket, opened_at, raised_at, detected_at, last_bad_at, zone,"
        " zone_confidence) VALUES (%s, 'open', %s, %s, %s, %s, %s, %s, 0) RETURNING id",
        (STORM, ticket, at, at, at, at, UNKNOWN),
    )
    incident = await rows.fetchone()
    if incident is None:
        raise NotFoundError("the storm vanished while it was written")
    reason = _reason(per_minute)
    draft = Draft(
        kind=STORM, title=f"storm: {reason}", reason=reason, priority=PRIORITY,
        evidence={"storm": {"tickets_per_minute": per_minute}},
    )  # fmt: skip
    number = (await open_ticket(connection, office, draft, at, ticket)).number
    log.warning("ticket storm", number=number, tickets_per_minute=per_minute)
    return incident[0], number


def _reason(per_minute: int) -> str:
    return f"more than {per_minute} findings within a minute; those beyond are here, each with its own incident"
