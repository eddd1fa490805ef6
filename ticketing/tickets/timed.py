"""What time does to a ticket: each part looks at one at an instant, acts if that is due, and says when to look again.

    look(connection, office, ticket, now) → the next instant, None: nothing will come by itself

The row of `due` that led here is locked, and so is the ticket's. What a part finds is written once: by a key, or by
comparing with what it found before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec
from psycopg.types.json import Jsonb

from ticketing.clocks.eta import mandatory_by
from ticketing.core.db import Connection, utc
from ticketing.core.journal import append_journal
from ticketing.model.states import WATCH, Action, State
from ticketing.tickets import entrusted, ladders, queue, waiting
from ticketing.tickets.facts import Facts, lock
from ticketing.tickets.letters import owe
from ticketing.tickets.office import Office
from ticketing.tickets.rules import stored_policy
from ticketing.tickets.tasks import add_task
from ticketing.tickets.watching import step

Look = Callable[[Connection, Office, int, datetime], Awaitable[datetime | None]]

CHECK_AGAIN = timedelta(minutes=15)  # while a pre-check is not green and the ticket is open
CHECKING = timedelta(days=2)  # after that somebody looks for himself
SETTLED = (State.RECOVERING, State.AWAITING_CONSENT, State.CLOSED)


async def eta(connection: Connection, office: Office, ticket: int, now: datetime) -> datetime | None:
    """At the promised instant, if it is not right by then: one letter that it takes longer; a new promise is due."""
    facts = await lock(connection, ticket, follow=False)
    if facts.state in SETTLED:
        return None
    if facts.eta_at is None:
        return await _no_eta(connection, office, facts, now)
    if facts.eta_at > now:
        return facts.eta_at
    key = f"{facts.number}/delay/{facts.eta_version}"
    if await add_task(connection, ticket, "new-eta", f"{key}/task", now, data={"eta": facts.eta_at}) is not None:
        data = {"eta": facts.eta_at, "version": facts.eta_version}
        await append_journal(connection, ticket, now, WATCH, Action.ETA_PASSED, "", facts.state, data)
        await owe(connection, office, facts, "delay", {"old_eta": facts.eta_at}, now, key=key)
    return None


async def _no_eta(connection: Connection, office: Office, facts: Facts, now: datetime) -> datetime | None:
    """A ticket in work needs a repair time within the policy's term: a task asks for it, once a cycle."""
    policy = await stored_policy(connection, facts.policy_version, office)
    if policy.file.eta is None or facts.state != State.IN_WORK:
        return None
    rows = await connection.execute("SELECT min(at) FROM journal WHERE ticket = %s AND state = 'in_work'", (facts.row,))
    (since,) = await rows.fetchone() or (None,)
    due = None if since is None else mandatory_by(policy, utc(since))
    if due is None or due > now:
        return due
    await add_task(connection, facts.row, "new-eta", f"{facts.number}/eta/{facts.cycle}", now, data={"why": "none"})
    return None


async def recheck(connection: Connection, office: Office, ticket: int, now: datetime) -> datetime | None:
    """A deferral ends on its day: the ticket is in the queue again, with a task to look."""
    facts = await lock(connection, ticket, follow=False)
    if facts.state != State.DEFERRED or not facts.deferral or not facts.deferral.get("until"):
        return None
    until = msgspec.convert(facts.deferral["until"], datetime)
    if until > now:
        return until
    await step(connection, office, ticket, Action.RECHECK, facts.working, now, {"until": until})
    await add_task(connection, ticket, "recheck", f"{facts.number}/recheck/{until.isoformat()}", now)
    return None


async def checks(connection: Connection, office: Office, ticket: int, now: datetime) -> datetime | None:
    """Pre-checks by what the gateway knows of the terminal; what changed is in the journal."""
    facts = await lock(connection, ticket, follow=False)
    if facts.state == State.CLOSED:
        return None
    rows = await connection.execute(
        "SELECT e.identity FROM ticket t JOIN terminal e ON e.id = t.terminal WHERE t.id = %s", (ticket,)
    )
    found = await rows.fetchone()
    if found is None:
        return None
    results = await office.probe(found[0], now)
    changed = False
    for one in results:
        rows = await connection.execute(
            "UPDATE precheck SET result = %s, at = %s, data = %s WHERE ticket = %s AND name = %s"
            " AND result NOT IN ('waived', %s) RETURNING name",
            (one.result, now, Jsonb(dict(one.data), dumps=msgspec.json.encode), ticket, one.name, one.result),
        )
        if await rows.fetchone() is not None:
            changed = True
            data = {"name": one.name, "result": one.result, **one.data}
            await append_journal(connection, ticket, now, WATCH, Action.CHECKED, "", facts.state, data)
    if changed:
        await _stale_firmware(connection, facts, now)
    rows = await connection.execute(
        "SELECT EXISTS (SELECT FROM precheck WHERE ticket = %s AND result NOT IN ('green', 'waived'))", (ticket,)
    )
    more = await rows.fetchone() == (True,) and any(one.result != "unknown" for one in results)
    return now + CHECK_AGAIN if more and now - facts.opened_at < CHECKING else None


async def _stale_firmware(connection: Connection, facts: Facts, now: datetime) -> None:
    """Firmware first: an update may cure it (S2-3)."""
    rows = await connection.execute(
        "SELECT data FROM precheck WHERE ticket = %s AND name = 'firmware' AND result = 'red'", (facts.row,)
    )
    found = await rows.fetchone()
    if found is not None:
        await add_task(
            connection, facts.row, "update", f"{facts.number}/update", now, data={"why": "firmware", **found[0]}
        )


LOOKS: dict[str, Look] = {
    "checks": checks,
    "eta": eta,
    "recheck": recheck,
    "ladders": ladders.look,
    "reminders": waiting.reminders,
    "consent": waiting.deemed,
    queue.MODULE: queue.look,
    entrusted.MODULE: entrusted.look,
}
