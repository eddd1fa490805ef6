"""The end of a ticket and what comes back: fixed, agreed, closed, withdrawn, merged, split, linked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from ticketing.clocks.consent import may_reopen, refusal, word_of
from ticketing.core.db import Connection
from ticketing.core.errors import ConflictError, NotAllowedError, Problem, WrongInputError
from ticketing.core.journal import append_journal
from ticketing.model.states import CAUSES, REASONS, Action, State
from ticketing.tickets import entrusted
from ticketing.tickets.bodies import needed
from ticketing.tickets.case import Case, Effect, does, incident_open
from ticketing.tickets.dues import move
from ticketing.tickets.facts import Facts, lock
from ticketing.tickets.opening import Draft, open_ticket
from ticketing.tickets.tasks import add_task, drop_tasks
from ticketing.tickets.thread import copy_messages


@does(Action.FIX)
async def _fix(case: Case) -> Effect:
    details = {**case.facts.details, "cause": case.body.cause, "workaround": case.body.workaround}
    waits = await incident_open(case)
    return Effect(
        data={"cause": case.body.cause, "workaround": case.body.workaround},
        columns={"details": details, "consent_at": None,
                 "consent_by": None, "consent_means": None},
        said=("note", False), after=State.RECOVERING if waits else State.AWAITING_CONSENT,
        letter="progress" if waits else "recovered", letter_data={"fix": case.text},
        then=None if waits else ask_consent(case.connection, case.facts, case.at),
    )  # fmt: skip


def ask_consent(connection: Connection, facts: Facts, at: datetime) -> Callable[[], Awaitable[None]]:
    """The client is phoned as well, told that it works again, and asked (S3-21)."""

    async def then() -> None:
        await add_task(
            connection, facts.row, "call", f"{facts.number}/consent/{facts.cycle}/{at.timestamp():.6f}", at,
            data={"why": "consent"},
        )  # fmt: skip

    return then


@does(Action.CONSENT)
async def _consent(case: Case) -> Effect:
    means = case.body.means or ("button" if case.actor.is_client else "phone")
    word = word_of(means)
    if (why := refusal(case.policy, {}, word)) is not None:
        raise ConflictError(why)
    by = case.actor.name if case.actor.is_client else case.body.by or case.actor.name

    button = case.actor.is_client and means == "button"

    async def then() -> None:
        await drop_tasks(case.connection, case.facts.row, case.at, "call")

    return Effect(
        data={"by": by, "means": word}, columns={"consent_at": case.at, "consent_by": by, "consent_means": word},
        said=("in", True) if case.text and case.actor.is_client else ("note", False) if case.text else None,
        letter="", then=then,
        next=(Action.CLOSE, case.actor._replace(role="manager")) if button else None,
    )  # fmt: skip


@does(Action.DISPUTE)
async def _dispute(case: Case) -> Effect:
    async def then() -> None:
        await drop_tasks(case.connection, case.facts.row, case.at, "call")

    return Effect(
        columns={"consent_at": None, "consent_by": None, "consent_means": None, "resumed_at": case.at},
        said=("in", True) if case.text else None, after=case.facts.working, then=then,
    )  # fmt: skip


@does(Action.CLOSE)
async def _close(case: Case) -> Effect:
    cause = case.body.cause
    tiers = {table.level: table for table in case.policy.file.tier}
    if case.actor.role == "engineer" and case.facts.tier in tiers and not tiers[case.facts.tier].may_close:
        raise NotAllowedError(f"tier {case.facts.tier} may not close under {case.policy.name}: it reports")
    if cause is not None:
        if cause not in CAUSES:
            raise WrongInputError(Problem("cause", f"{cause!r} is none", " or ".join(CAUSES)))
        await case.connection.execute(
            "UPDATE incident SET cause = %s, taught = false WHERE ticket = %s AND terminal IS NOT NULL",
            (cause, case.facts.row),
        )
    return Effect(
        data={"cause": cause} if cause else {}, columns={"closed_at": case.at, "ended": "consent"}, letter="closed",
        letter_data={"cycle": case.facts.cycle},
    )  # fmt: skip


@does(Action.REOPEN)
async def _reopen(case: Case) -> Effect:
    facts = case.facts
    if facts.closed_at is not None and not may_reopen(case.policy, facts.closed_at, case.at):
        raise ConflictError("the time for reopening is over: open a new ticket and link it as a follow-up")
    return Effect(
        data={"cycle": facts.cycle + 1}, columns=reopened(facts), said=("in" if case.actor.is_client else "note",
        case.actor.is_client), after=facts.working,
    )  # fmt: skip


def reopened(facts: Facts) -> dict[str, Any]:
    """Columns of a ticket that comes back: its consent is void, a new cycle begins."""
    return {
        "closed_at": None, "consent_at": None, "consent_by": None, "consent_means": None, "ended": None,
        "cycle": facts.cycle + 1,
    }  # fmt: skip


@does(Action.WITHDRAW)
async def _withdraw(case: Case) -> Effect:
    reason = case.body.reason
    if reason not in REASONS:
        raise WrongInputError(Problem("reason", "is none of a withdrawal", ", ".join(REASONS)))
    if reason == "explained" and case.actor.name != "watch":
        raise NotAllowedError("only the watch explains a ticket away")
    await case.connection.execute(
        "UPDATE incident SET state = 'closed', closed_at = %s WHERE ticket = %s AND state = 'open'",
        (case.at, case.facts.row),
    )
    return Effect(
        data={"reason": reason}, columns={"closed_at": case.at, "ended": reason},
        letter="" if reason in ("spam", "duplicate") else "closed",
        said=("note", False) if case.text else None, letter_data={"cycle": case.facts.cycle, "withdrawn": reason},
    )  # fmt: skip


@does(Action.MERGE)
async def _merge(case: Case) -> Effect:
    needed(case.body, "into")
    into = await lock(case.connection, case.body.into or "")
    if into.row == case.facts.row:
        raise ConflictError("a ticket is not merged into itself")
    if into.state == State.CLOSED:
        raise ConflictError(f"ticket {into.number} is closed: reopen it first")
    if into.organisation != case.facts.organisation:
        raise ConflictError("tickets of two clients are not merged: their words would be mixed")
    connection, facts = case.connection, case.facts
    await connection.execute("UPDATE incident SET ticket = %s WHERE ticket = %s", (into.row, facts.row))
    await connection.execute("UPDATE task SET ticket = %s WHERE ticket = %s AND done_at IS NULL", (into.row, facts.row))
    await connection.execute("UPDATE ticket_secret SET ticket = %s WHERE ticket = %s", (into.row, facts.row))
    await move(connection, entrusted.MODULE, into.row, case.at)
    await connection.execute(
        "INSERT INTO ticket_link (parent, child, kind) VALUES (%s, %s, 'duplicate') ON CONFLICT DO NOTHING",
        (into.row, facts.row),
    )
    await append_journal(
        connection, into.row, case.at, case.actor.name, Action.LINK, "", into.state,
        {"kind": "duplicate", "number": facts.number},
    )  # fmt: skip
    return Effect(
        data={"into": into.number}, columns={"closed_at": case.at, "ended": "merged", "merged_into": into.row}
    )


@does(Action.SPLIT)
async def _split(case: Case) -> Effect:
    needed(case.body, "messages", "subject")
    facts = case.facts
    rows = await case.connection.execute(
        "SELECT organisation, reporter, sender, channel, language, policy FROM ticket WHERE id = %s", (facts.row,)
    )
    organisation, reporter, sender, channel, language, _policy = await rows.fetchone() or (None,) * 6
    draft = Draft(
        title=case.body.subject or "", channel="api" if channel == "monitoring" else channel, author=case.actor.name,
        organisation=organisation, reporter=reporter, sender=sender, language=language, class_=None,
        priority=facts.client_priority,
    )  # fmt: skip
    opened = await open_ticket(case.connection, case.office, draft, case.at)
    copied = await copy_messages(case.connection, facts.row, opened.row, case.body.messages or [])
    if copied != len(set(case.body.messages or [])):
        raise WrongInputError(Problem("messages", "some are not this ticket's", "give ids of its messages"))
    await case.connection.execute(
        "INSERT INTO ticket_link (parent, child, kind) VALUES (%s, %s, 'split-from')", (facts.row, opened.row)
    )
    return Effect(data={"number": opened.number, "messages": case.body.messages})


@does(Action.LINK)
async def _link(case: Case) -> Effect:
    needed(case.body, "to", "kind")
    other = await lock(case.connection, case.body.to or "", follow=False)
    if other.row == case.facts.row:
        raise ConflictError("a ticket is not linked with itself")
    if case.body.kind == "parent" and await _above(case.connection, other.row, case.facts.row):
        raise ConflictError(f"{case.facts.number} stands above {other.number} already")
    await case.connection.execute(
        "INSERT INTO ticket_link (parent, child, kind) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (other.row, case.facts.row, case.body.kind),
    )
    return Effect(data={"kind": case.body.kind, "number": other.number})


async def _above(connection: Connection, ticket: int, ancestor: int) -> bool:
    """Whether `ancestor` is a parent, or a parent's parent, of `ticket`."""
    rows = await connection.execute(
        "WITH RECURSIVE up(id) AS (SELECT parent FROM ticket_link WHERE child = %s AND kind = 'parent'"
        " UNION SELECT l.parent FROM ticket_link l JOIN up ON l.child = up.id WHERE l.kind = 'parent')"
        " SELECT EXISTS (SELECT FROM up WHERE id = %s)",
        (ticket, ancestor),
    )
    return await rows.fetchone() == (True,)
