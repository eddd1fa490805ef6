"""Waiting for the client: reminders of a question or of the consent, and silence that a contract takes for consent."""

from __future__ import annotations

from datetime import datetime

from ticketing.clocks import consent
from ticketing.core.db import Connection, utc
from ticketing.core.journal import append_journal
from ticketing.model.states import WATCH, Action, State
from ticketing.tickets.facts import Facts, lock
from ticketing.tickets.letters import owe
from ticketing.tickets.office import Office
from ticketing.tickets.rules import stored_policy
from ticketing.tickets.tasks import add_task
from ticketing.tickets.watching import step


async def reminders(connection: Connection, office: Office, ticket: int, now: datetime) -> datetime | None:
    """At the policy's terms after the question, or after the client was asked to agree: one reminder each."""
    facts = await lock(connection, ticket, follow=False)
    policy = await stored_policy(connection, facts.policy_version, office)
    since = await _since(connection, facts)
    if since is None:
        return None
    seq, asked_at = since
    about = "question" if facts.state == State.WAITING_CLIENT else "consent"
    terms = consent.reminders(policy, asked_at)
    for n, due in enumerate(terms, start=1):
        if due > now:
            return due
        key = f"{facts.number}/reminder/{seq}/{n}"
        rows = await connection.execute(
            "SELECT EXISTS (SELECT FROM journal WHERE ticket = %s AND action = 'reminded' AND data ->> 'key' = %s)",
            (ticket, key),
        )
        if await rows.fetchone() == (True,):
            continue
        data = {"n": n, "most": len(terms), "about": about, "key": key}
        await append_journal(connection, ticket, now, WATCH, Action.REMINDED, "", facts.state, data)
        await owe(
            connection, office, facts, "reminder", {**data, "step": n, "items": list(facts.missing)}, now, key=key
        )  # fmt: skip
        if n == len(terms) and about == "question":
            await add_task(connection, ticket, "call", f"{key}/call", now, data={"why": "no-answer"})
    return None


async def deemed(connection: Connection, office: Office, ticket: int, now: datetime) -> datetime | None:
    """Where contract and policy both declare it, and the client was told: silence closes the ticket at its instant."""
    facts = await lock(connection, ticket, follow=False)
    if facts.state != State.AWAITING_CONSENT or facts.organisation is None or facts.consent_at is not None:
        return None
    policy = await stored_policy(connection, facts.policy_version, office)
    since = await _since(connection, facts)
    if since is None:
        return None
    rows = await connection.execute("SELECT contract FROM organisation WHERE id = %s", (facts.organisation,))
    (contract,) = await rows.fetchone() or ({},)
    due = consent.deemed_at(policy, contract, since[1])
    if due is None or due > now:
        return due
    rows = await connection.execute(
        "SELECT EXISTS (SELECT FROM letter WHERE ticket = %s AND kind = 'recovered' AND state = 'sent'"
        " AND created_at >= %s)",
        (ticket, since[1]),
    )
    if await rows.fetchone() != (True,):  # who was never told has not been silent: somebody phones
        await add_task(
            connection, ticket, "call", f"{facts.number}/consent/{facts.cycle}/untold", now, data={"why": "untold"}
        )
        return None
    await step(connection, office, ticket, Action.DEEMED, State.CLOSED, now, {"due": due})
    return None


async def _since(connection: Connection, facts: Facts) -> tuple[int, datetime] | None:
    """The journal entry that the waiting began with, and when: the last question, or the way into awaiting consent."""
    if facts.state == State.WAITING_CLIENT:
        statement = "SELECT seq, at FROM journal WHERE ticket = %s AND action = 'ask' ORDER BY seq DESC LIMIT 1"
    elif facts.state == State.AWAITING_CONSENT and facts.consent_at is None:
        statement = (
            "SELECT seq, at FROM journal WHERE ticket = %s AND state = 'awaiting_consent'"
            " AND action IN ('recovered', 'fix') ORDER BY seq DESC LIMIT 1"
        )
    else:
        return None
    rows = await connection.execute(statement.encode(), (facts.row,))
    row = await rows.fetchone()
    return None if row is None else (int(row[0]), utc(row[1]))
