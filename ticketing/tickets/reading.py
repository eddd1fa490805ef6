"""A ticket read whole, and the columns of one in a list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import sql

from ticketing.clocks.records import load_clocks
from ticketing.core.db import Connection, storable, utc, utc_or_none
from ticketing.model.sentences import told
from ticketing.model.states import State
from ticketing.model.tickets import (
    Check,
    Consent,
    Eta,
    JournalEntry,
    Link,
    Permission,
    Secret,
    Sent,
    Task,
    Ticket,
    TicketMessage,
    TicketSummary,
)
from ticketing.tickets.known import suggestions_of

SUMMARY = sql.SQL(
    "t.number, t.kind, t.state, t.title, t.zone, t.priority, e.identity, t.opened_at, t.due_at, t.verdict, t.owner,"
    " t.organisation, o.name, coalesce(nullif(v.plate, ''), nullif(v.name, ''), e.name), t.channel, t.topic,"
    " t.due_clock, t.said_at, t.said_by, t.queue_key"
)
SUMMARY_FROM = sql.SQL(
    "FROM ticket t LEFT JOIN terminal e ON e.id = t.terminal LEFT JOIN organisation o ON o.id = t.organisation"
    " LEFT JOIN vehicle v ON v.id = t.vehicle"
)
_WHOLE = sql.SQL(
    "t.id, t.evidence, t.reporter, c.name, t.vehicle, t.class, t.component, t.client_priority, t.priority_reason,"
    " t.tier, t.team, t.plan, t.policy, t.verified, t.qualified, t.details, t.missing, t.eta_at, t.eta_basis,"
    " t.eta_version, t.deferral, t.vendor, t.consent_by, t.consent_means, t.consent_at, t.ended, t.cycle, t.price,"
    " t.row_version"
)
_PLACES = 20  # columns of SUMMARY


def summary(row: Sequence[Any]) -> TicketSummary:
    """A ticket of a list, from a row that begins with `SUMMARY`."""
    return TicketSummary(
        number=row[0],
        kind=row[1],
        state=State(row[2]),
        title=row[3],
        zone=row[4],
        priority=row[5],
        terminal=row[6],
        opened_at=utc(row[7]),
        due_at=utc_or_none(row[8]),
        verdict=row[9],
        owner=row[10],
        organisation=row[11],
        client=row[12],
        vehicle=row[13],
        channel=row[14],
        topic=row[15],
        due_clock=row[16],
        said_at=utc_or_none(row[17]),
        said_by=row[18],
        queue_key=row[19],
    )


async def load_ticket(connection: Connection, number: str, now: datetime) -> Ticket | None:
    """Read a ticket with its journal, and its clocks as of `now`, inside the caller's transaction."""
    rows = await connection.execute(
        sql.SQL("SELECT {}, {} {} LEFT JOIN contact c ON c.id = t.reporter WHERE t.number = %s").format(
            SUMMARY, _WHOLE, SUMMARY_FROM
        ),
        (storable(number),),
    )
    row = await rows.fetchone()
    if row is None:
        return None
    head = summary(row)
    (
        ticket, evidence, reporter, reporter_name, vehicle, class_, component, client_priority, priority_reason, tier,
        team, plan, policy, verified, qualified, details, missing, eta_at, eta_basis, eta_version, deferral, vendor,
        consent_by, consent_means, consent_at, ended, cycle, price, row_version,
    ) = row[_PLACES:]  # fmt: skip
    clocks = await load_clocks(connection, ticket, now)
    if clocks is not None:
        head.verdict = clocks.verdict
    return Ticket(
        **msgspec.structs.asdict(head),
        evidence=evidence,
        journal=await journal_of(connection, ticket),
        clocks=[] if clocks is None else clocks.as_json(now),
        reporter=reporter,
        reporter_name=reporter_name,
        vehicle_id=vehicle,
        class_=class_,
        component=component,
        client_priority=client_priority,
        priority_reason=priority_reason,
        tier=tier,
        team=team,
        plan=plan,
        policy=policy,
        verified=verified,
        qualified=qualified,
        details=details,
        missing=missing,
        eta=None if eta_at is None else Eta(at=utc(eta_at), basis=eta_basis, version=eta_version),
        deferral=deferral,
        vendor=vendor,
        messages=await messages_of(connection, ticket),
        tasks=await tasks_of(connection, ticket),
        checks=await checks_of(connection, ticket),
        suggestions=await suggestions_of(connection, ticket),
        incidents=await incidents_of(connection, ticket),
        links=await links_of(connection, ticket),
        consent=None if consent_at is None else Consent(by=consent_by, means=consent_means, at=utc(consent_at)),
        permissions=await permissions_of(connection, ticket, now),
        commands=await sent_from(connection, ticket),
        secrets=await secrets_of(connection, ticket),
        ended=ended,
        cycle=cycle,
        price=price,
        row_version=row_version,
    )


async def journal_of(connection: Connection, ticket: int) -> list[JournalEntry]:
    """All entries, oldest first."""
    rows = await connection.execute(
        "SELECT at, actor, action, text, data FROM journal WHERE ticket = %s ORDER BY seq", (ticket,)
    )
    return [
        JournalEntry(utc(at), actor, action, told(action, text, data), data)
        for at, actor, action, text, data in await rows.fetchall()
    ]


async def messages_of(connection: Connection, ticket: int) -> list[TicketMessage]:
    """What was said, those of tickets merged into this one among it, oldest first."""
    rows = await connection.execute(
        "SELECT m.id, m.at, m.direction, m.public, m.author, m.recipients, m.subject, m.text, m.channel, m.machine,"
        " (SELECT coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'name', a.name, 'size', b.size, 'type', b.type,"
        "   'sha256', encode(a.sha256, 'hex')) ORDER BY a.id), '[]')"
        "  FROM attachment a JOIN blob b USING (sha256) WHERE a.message = m.id),"
        " (SELECT coalesce(jsonb_agg(jsonb_build_object('to', l.address, 'state', l.state, 'at', l.sent_at)"
        "   ORDER BY l.id), '[]') FROM letter l WHERE l.data @> jsonb_build_object('message', m.id)"
        "   AND l.ticket = m.ticket)"
        " FROM ticket_message m WHERE m.ticket = ANY(ARRAY(SELECT id FROM ticket WHERE merged_into = %(ticket)s)"
        "  || %(ticket)s::bigint) ORDER BY m.at, m.id",
        {"ticket": ticket},
    )
    return [
        TicketMessage(
            id=row[0], at=utc(row[1]), direction=row[2], public=row[3], sender=row[4], to=row[5], subject=row[6],
            text=row[7], channel=row[8], machine=row[9], attachments=row[10], delivery=row[11],
        )
        for row in await rows.fetchall()
    ]  # fmt: skip


async def tasks_of(connection: Connection, ticket: int) -> list[Task]:
    """What was to be done for it, and is, oldest first."""
    rows = await connection.execute(
        "SELECT id, kind, due_at, done_at, outcome, data FROM task WHERE ticket = %s ORDER BY id", (ticket,)
    )
    return [
        Task(
            id=row[0], kind=row[1], due_at=utc_or_none(row[2]), done_at=utc_or_none(row[3]), outcome=row[4], data=row[5]
        )
        for row in await rows.fetchall()
    ]


async def checks_of(connection: Connection, ticket: int) -> list[Check]:
    """Its pre-checks by name."""
    rows = await connection.execute(
        "SELECT name, result, at, waived_by, data FROM precheck WHERE ticket = %s ORDER BY name", (ticket,)
    )
    return [
        Check(name=name, result=result, at=utc(at), waived_by=waived_by, data=data)
        for name, result, at, waived_by, data in await rows.fetchall()
    ]


async def permissions_of(connection: Connection, ticket: int, now: datetime) -> list[Permission]:
    """Who allowed work from afar, oldest first."""
    rows = await connection.execute(
        "SELECT id, given_by, means, scope, at, least(until, withdrawn_at), coalesce(withdrawn_at, until) > %s"
        " FROM remote_permission WHERE ticket = %s ORDER BY id",
        (now, ticket),
    )
    return [
        Permission(id=row[0], by=row[1], means=row[2], scope=row[3], at=utc(row[4]), until=utc(row[5]), live=row[6])
        for row in await rows.fetchall()
    ]


async def sent_from(connection: Connection, ticket: int) -> list[Sent]:
    """Commands that were sent from it, oldest first."""
    rows = await connection.execute(
        "SELECT id, text, state, created_by, created_at, result, permission FROM command WHERE ticket = %s ORDER BY id",
        (ticket,),
    )
    return [
        Sent(id=row[0], text=row[1], state=row[2], by=row[3], at=utc(row[4]), result=row[5], permission=row[6])
        for row in await rows.fetchall()
    ]


async def secrets_of(connection: Connection, ticket: int) -> list[Secret]:
    """What was entrusted with it, without the data themselves, oldest first."""
    rows = await connection.execute(
        "SELECT id, label, created_by, created_at, expires_at, sealed IS NULL FROM ticket_secret WHERE ticket = %s"
        " ORDER BY id",
        (ticket,),
    )
    return [
        Secret(id=row[0], label=row[1], by=row[2], at=utc(row[3]), until=utc(row[4]), erased=row[5])
        for row in await rows.fetchall()
    ]


async def incidents_of(connection: Connection, ticket: int) -> list[int]:
    """The incidents that are worked under it."""
    rows = await connection.execute("SELECT id FROM incident WHERE ticket = %s ORDER BY id", (ticket,))
    return [row[0] for row in await rows.fetchall()]


async def links_of(connection: Connection, ticket: int) -> list[Link]:
    """Other tickets, and what they are to this one."""
    rows = await connection.execute(
        "SELECT l.kind, t.number FROM ticket_link l JOIN ticket t ON t.id = l.parent WHERE l.child = %(ticket)s"
        " UNION SELECT l.kind, t.number FROM ticket_link l JOIN ticket t ON t.id = l.child WHERE l.parent = %(ticket)s"
        " ORDER BY 1, 2",
        {"ticket": ticket},
    )
    return [Link(kind=kind, number=number) for kind, number in await rows.fetchall()]
