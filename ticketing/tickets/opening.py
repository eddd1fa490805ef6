"""A new ticket, whoever opens it: number, clocks, first journal entry, letters, tasks, and what the channels are owed.

All of it is one transaction. What a person asked and what the watch saw go the same way; they differ in who reports
and in what is known already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString, TypeAlias

import msgspec
import structlog
from psycopg.types.json import Jsonb

from ticketing.clocks.records import UNKNOWN_ZONE, Terms, refresh
from ticketing.core.db import Connection
from ticketing.core.errors import NotFoundError
from ticketing.core.journal import append_journal
from ticketing.core.numbers import ticket_number
from ticketing.core.outbox import OPENED, enqueue
from ticketing.model.states import STAFF, WATCH, Action, State
from ticketing.policies.priorities import first
from ticketing.policies.warranty import price
from ticketing.threads.attachments import Offered
from ticketing.threads.messages import NewMessage, append
from ticketing.tickets import known
from ticketing.tickets.dues import poke
from ticketing.tickets.office import CHECKS, Office
from ticketing.tickets.queue import restand
from ticketing.tickets.reading import load_ticket
from ticketing.tickets.tasks import add_task

log = structlog.get_logger()

TITLE_LIMIT = 200
REQUEST = "request"  # the kind of a ticket that people opened
Evidence: TypeAlias = Mapping[str, Any]

# What the watch knows of a fault before anybody looked at it.
_CLASS_OF = {"silence": "network", "mass-silence": "network", "storm": "network", "firmware": "software"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a ticket says when it is opened; `terminal` is None for one about many, or about none.

    `details` are what the form asks: description, steps, frequency, server, version, criticality. `sender` is an
    address or phone of one who is no contact. `reason` is what the watch says, `author` who opened it.
    """

    kind: str = REQUEST
    title: str
    terminal: int | None = None
    channel: str = "monitoring"
    author: str = WATCH
    reason: str = ""
    evidence: Evidence = field(default_factory=dict)
    priority: int | None = None
    zone: str = UNKNOWN_ZONE
    organisation: int | None = None
    vehicle: int | None = None
    reporter: int | None = None
    sender: str | None = None
    language: str | None = None
    class_: str | None = None
    topic: str = "technical"
    component: str | None = None
    verified: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)
    missing: Sequence[str] = ()
    received_at: datetime | None = None
    text: str = ""
    files: Sequence[Offered] = ()
    message: Callable[[int], NewMessage] | None = None  # of a mail, for the row of the ticket
    quiet: bool = False  # no letter: it was split off, or is told otherwise


@dataclass(frozen=True, slots=True)
class Opened:
    """A ticket that was just written; `message` is the row of its first message, if it has one."""

    row: int
    number: str
    message: int | None


@dataclass(frozen=True, slots=True)
class _Client:
    """Whom a ticket is for, as its contract says."""

    organisation: int | None = None
    policy: str | None = None
    plan: str | None = None
    contract: Mapping[str, Any] = field(default_factory=dict)
    language: str | None = None
    vehicle: int | None = None
    accepted_at: Any = None
    reporter: int | None = None
    engineer: str | None = None
    site: str | None = None


async def next_row(connection: Connection) -> int:
    """The row that the next ticket will have: its incident is written first."""
    return await _next(connection, "SELECT nextval('ticket_id_seq')")


async def open_ticket(
    connection: Connection, office: Office, draft: Draft, at: datetime, row: int | None = None
) -> Opened:
    """Write the ticket, as `row` if that was taken, inside the caller's transaction."""
    row = row if row is not None else await next_row(connection)
    number = ticket_number(await _next(connection, "SELECT nextval('ticket_sequence')"))
    client = await _client(connection, draft, at)
    terms = office.terms_of(client.policy)
    plan = office.plan_of(terms, client.plan)
    priority = _priority(terms, draft)
    automatic = draft.channel == "monitoring"
    team = None if draft.topic in ("technical", "letter", "call-back") else draft.topic
    owner = client.engineer if team is None else None  # who knows the client's business; other matters go to others
    class_ = draft.class_ or (_CLASS_OF.get(draft.kind, "hardware") if automatic else None)
    component = draft.component or ("terminal" if automatic else None)
    await terms.keep(connection)
    await connection.execute(
        "INSERT INTO ticket (id, number, terminal, kind, state, title, zone, priority, opened_at, policy,"
        " policy_version, calendar_version, evidence, channel, organisation,"
        " vehicle, reporter, sender, class, topic, component, client_priority, rank, plan, verified, details, missing,"
        " qualified, received_at, language, team, owner, given, price) OVERRIDING SYSTEM VALUE"
        " VALUES (%(id)s, %(number)s, %(terminal)s, %(kind)s, 'new', %(title)s, %(zone)s, %(priority)s, %(at)s,"
        " %(policy)s, %(policy_version)s, %(calendar_version)s,"
        " %(evidence)s, %(channel)s, %(organisation)s, %(vehicle)s, %(reporter)s, %(sender)s, %(class)s, %(topic)s,"
        " %(component)s, %(client_priority)s, %(rank)s, %(plan)s, %(verified)s, %(details)s, %(missing)s,"
        " %(qualified)s, %(received)s, %(language)s, %(team)s, %(owner)s, %(owner)s::text IS NOT NULL, %(price)s)",
        {
            "id": row,
            "number": number,
            "terminal": draft.terminal,
            "kind": draft.kind,
            "title": draft.title[:TITLE_LIMIT],
            "zone": draft.zone,
            "priority": priority,
            "at": at,
            "policy": terms.policy.name,
            "policy_version": terms.policy_version,
            "calendar_version": terms.calendar_version,
            "evidence": Jsonb(draft.evidence, dumps=msgspec.json.encode),
            "channel": draft.channel,
            "organisation": client.organisation,
            "vehicle": client.vehicle,
            "reporter": client.reporter,
            "sender": draft.sender,
            "class": class_,
            "topic": draft.topic,
            "component": component,
            "client_priority": None if automatic else draft.priority,
            "rank": _rank(terms, draft.channel),
            "plan": plan,
            "verified": draft.verified,
            "details": Jsonb(dict(draft.details), dumps=msgspec.json.encode),
            "missing": list(draft.missing),
            "qualified": automatic,
            "price": Jsonb(_price(terms, client, at)) if client.vehicle is not None else None,
            "received": draft.received_at,
            "language": draft.language or client.language,
            "team": team,
            "owner": owner,
        },
    )
    told = {"reason": draft.reason} if draft.reason else {}
    await append_journal(
        connection,
        row,
        at,
        draft.author,
        Action.OPENED,
        "",
        State.NEW,
        {
            **told,
            "channel": draft.channel,
            "priority": priority,
            "plan": plan,
            "events": _events(draft),
            **({"received_at": draft.received_at} if draft.received_at else {}),
            **({"basis": "monitoring contract"} if automatic and client.organisation else {}),
            **({"accepted_at": client.accepted_at} if client.accepted_at else {}),
        },
    )
    if owner is not None:
        given = {"whom": owner, "owner": owner, "why": "engineer of the client"}
        await append_journal(connection, row, at, WATCH, Action.ASSIGN, "", State.NEW, given)
    clocks = await refresh(connection, row, at, opened=True)
    if clocks is not None:
        for clock in clocks.clocks:
            if clock.problem:
                log.warning("ticket without a due time", number=number, clock=clock.name, reason=clock.problem)
                problem = {"clock": {"due_at": None, "reason": clock.problem}}
                await connection.execute(
                    "UPDATE ticket SET evidence = evidence || %s WHERE id = %s", (Jsonb(problem), row)
                )
    await restand(connection, office, row, at)
    await poke(connection, row, at)
    message = await _first_message(connection, row, draft, at)
    if automatic or draft.terminal is not None:
        await _checks(connection, row, draft, at)
    await known.look(connection, row, at)
    if draft.topic == "call-back":
        await add_task(connection, row, "call", f"{number}/call-back", at, data={"why": "call-back"})
    if draft.kind == "firmware":
        await add_task(connection, row, "update", f"{number}/update", at, data={"why": "firmware"})
    if not draft.quiet and (client.organisation is not None or client.reporter is not None or draft.sender):
        untold = await office.post.owe(
            connection, "ack", key=f"{number}/ack", ticket=row, data={"missing": list(draft.missing)}, at=at, auto=True
        )
        if untold and draft.topic != "call-back":  # who cannot be written to is phoned (S1-21); a call-back is a call
            await add_task(connection, row, "call", f"{number}/ack/call", at, data={"why": "untold", "letter": "ack"})
    ticket = await load_ticket(connection, number, at)
    if ticket is None:
        raise NotFoundError(f"ticket {number} vanished while it was written")
    await enqueue(connection, OPENED, row, number, ticket, office.targets, at)
    return Opened(row, number, message)


def _events(draft: Draft) -> list[str]:
    """What the opening is for clocks."""
    found = ["ticket-opened", "request-received", "public-message"]
    if draft.topic == "letter":
        found.append("official-request-received")
    if draft.topic == "call-back":
        found.append("call-back-asked")
    if draft.zone != UNKNOWN_ZONE:
        found.append("zone-localised")
        if draft.zone in HARDWARE_ZONES:
            found += ["hardware-fault-found", "diagnosis"]
    return found


HARDWARE_ZONES = frozenset({"sensor", "wiring-power", "gnss-antenna", "terminal"})


def _priority(terms: Terms, draft: Draft) -> int:
    return first(terms.policy, draft.priority)


def _price(terms: Terms, client: _Client, at: datetime) -> dict[str, Any]:
    """What a visit and parts cost the client, as of now."""
    city = client.contract.get("service_city")
    return price(terms.policy, at, accepted_at=client.accepted_at, service_city=city, site=client.site).as_json()


def _rank(terms: Terms, channel: str) -> int:
    return next((table.rank for table in terms.policy.file.channel if table.name == channel), 0)


async def _client(connection: Connection, draft: Draft, at: datetime) -> _Client:
    """Whom it is for: as the draft says, else whose vehicle it is; and which of their engineers is there."""
    organisation, vehicle = draft.organisation, draft.vehicle
    accepted_at = site = None
    if vehicle is not None or draft.terminal is not None:
        rows = await connection.execute(
            "SELECT id, organisation, accepted_at, site FROM vehicle WHERE id = %(vehicle)s"
            " OR (%(vehicle)s::bigint IS NULL AND terminal = %(terminal)s)",
            {"vehicle": vehicle, "terminal": draft.terminal},
        )
        row = await rows.fetchone()
        if row is not None:
            vehicle, accepted_at, site = row[0], row[2], row[3]
            organisation = organisation if organisation is not None else row[1]
    if organisation is None:
        return _Client(vehicle=vehicle, accepted_at=accepted_at, reporter=draft.reporter)
    rows = await connection.execute(
        "SELECT o.policy, o.plan, o.contract, o.language, (SELECT c.id FROM contact c WHERE c.organisation = o.id"
        " AND c.active AND 'duty' = ANY(c.roles) ORDER BY c.id LIMIT 1), (SELECT u.name"
        " FROM unnest(o.engineers) WITH ORDINALITY AS own(name, place)"
        " JOIN app_user u ON lower(u.name) = lower(own.name)"
        " WHERE u.active AND u.role = ANY(%(staff)s) AND (u.absent_until IS NULL OR u.absent_until <= %(at)s)"
        " ORDER BY own.place LIMIT 1) FROM organisation o WHERE o.id = %(organisation)s",
        {"organisation": organisation, "staff": sorted(STAFF), "at": at},
    )
    row = await rows.fetchone()
    if row is None:
        raise NotFoundError(f"no organisation {organisation}")
    policy, plan, contract, language, duty, engineer = row
    reporter = draft.reporter if draft.reporter is not None else (duty if draft.channel == "monitoring" else None)
    return _Client(organisation, policy, plan, contract, language, vehicle, accepted_at, reporter, engineer, site)


async def _first_message(connection: Connection, row: int, draft: Draft, at: datetime) -> int | None:
    """What the client wrote or said, as the thread's first message."""
    if draft.message is None and not draft.text:
        return None
    made = await append(
        connection,
        draft.message(row)
        if draft.message is not None
        else NewMessage(
            ticket=row,
            at=at,
            direction="in",
            public=True,
            author=draft.author,
            contact=draft.reporter,
            subject=draft.title,
            text=draft.text,
            channel=draft.channel,
            files=draft.files,
        ),
    )
    await connection.execute("UPDATE ticket SET said_at = %s, said_by = %s WHERE id = %s", (at, draft.author, row))
    return made


async def _checks(connection: Connection, row: int, draft: Draft, at: datetime) -> None:
    """Pre-checks are there from the start, unknown; the engine looks at once."""
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO precheck (ticket, name, result, at) VALUES (%s, %s, 'unknown', %s)",
            [(row, name, at) for name in CHECKS],
        )
    await connection.execute("INSERT INTO due (module, subject, at) VALUES ('checks', %s, %s)", (row, at))


async def _next(connection: Connection, statement: LiteralString) -> int:
    rows = await connection.execute(statement)
    found = await rows.fetchone()
    if found is None:
        raise NotFoundError("a sequence gave nothing")
    return int(found[0])
