"""A problem that somebody brings, by whatever channel: to a ticket of its own, or to the one that is open about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from ticketing.clocks.records import Terms, refresh
from ticketing.core.db import Connection
from ticketing.core.errors import NotFoundError, Problem, WrongInputError
from ticketing.core.journal import append_journal
from ticketing.kit.words import N_
from ticketing.model.states import Action, State
from ticketing.policies import Policy, forms
from ticketing.threads.attachments import Offered
from ticketing.threads.messages import NewMessage, append
from ticketing.tickets.bodies import FileIn, Text, Word
from ticketing.tickets.facts import Actor, lock, set_columns
from ticketing.tickets.office import Office
from ticketing.tickets.opening import Draft, Opened, open_ticket
from ticketing.tickets.thread import files_of

Missing = Callable[[Policy, Mapping[str, Any]], list[str]]
Verify = Callable[[int, str], Awaitable[bool]]


class NewTicket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /api/tickets` takes."""

    channel: Literal["portal", "web", "mail", "phone", "paper", "api"]
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    description: Text = ""
    organisation: int | None = None
    reporter: int | None = None
    steps: Text | None = None
    frequency: Literal["once", "sometimes", "often", "always"] | None = None
    server: Word | None = None
    version: Word | None = None
    criticality: Annotated[int, msgspec.Meta(ge=1, le=9)] | None = None
    vehicle: int | None = None
    terminal: Word | None = None
    class_: Literal["network", "hardware", "software", "consulting"] | None = msgspec.field(name="class", default=None)
    topic: Literal["technical", "finance", "warranty", "letter", "call-back"] = "technical"
    component: Word | None = None
    phone: Word | None = None
    received_at: datetime | None = None
    code_word: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    attachments: Annotated[list[FileIn], msgspec.Meta(max_length=20)] = []
    new: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of it: `created`, or a message in the ticket that was open already."""

    row: int
    number: str
    created: bool
    message: int | None


@dataclass(frozen=True, slots=True)
class _Who:
    organisation: int | None
    policy: str | None
    plan: str | None
    reporter: int | None
    name: str
    has_code_word: bool


async def take_in(
    connection: Connection,
    office: Office,
    given: NewTicket,
    actor: Actor,
    at: datetime,
    *,
    verify: Verify,
    missing: Missing = forms.missing,
    sender: str | None = None,
    message: Callable[[int], NewMessage] | None = None,
    language: str | None = None,
    files: Sequence[Offered] = (),
) -> Taken:
    """Take it in, inside the caller's transaction.

    Parameters
    ----------
    verify : (contact, code word) → whether it is theirs; counts failures.
    missing : what the policy's form asks and is not there.
    sender : an address or phone of one who is no contact.
    message : makes the first message, of a mail, for the row of the ticket.
    files : what came with a form, besides `given.attachments`.

    Raises
    ------
    WrongInputError, NotFoundError
    """
    who = await _who(connection, given, actor)
    terms = office.terms_of(who.policy)
    _levels(terms, given)
    terminal, vehicle, organisation = await _what(connection, given, who, actor)
    details = _details(given)
    asked = {
        **details,
        "class": given.class_,
        "reporter": who.reporter,
        "sender": sender,
        "vehicle": vehicle,
        "terminal": terminal,
        "attachments": given.attachments or files,
    }
    lacking = missing(terms.policy, asked)
    if given.channel == "portal" and lacking:
        raise WrongInputError(
            *(Problem(name, N_("is missing"), N_("the form of your contract asks for it")) for name in lacking)
        )
    verified = await _verified(terms, given, who, actor, verify, sender)
    if verified and not given.new and vehicle is not None:
        found = await _open_already(connection, vehicle, terminal, None if not actor.is_client else organisation)
        if found is not None:
            return await _add(connection, found, given, actor, who, at, message, files)
    opened: Opened = await open_ticket(
        connection,
        office,
        Draft(
            title=given.subject,
            terminal=terminal,
            channel=given.channel,
            author=who.name or sender or actor.name,
            priority=given.criticality,
            organisation=organisation,
            vehicle=vehicle,
            reporter=who.reporter,
            sender=sender or (given.phone if who.reporter is None else None),
            language=language,
            class_=given.class_,
            topic=given.topic,
            component=given.component,
            verified=verified,
            details=details,
            missing=lacking,
            received_at=given.received_at,
            text=given.description or given.subject,
            files=files_of(given.attachments, files).files,
            message=message,
        ),
        at,
    )
    return Taken(opened.row, opened.number, True, opened.message)


async def _who(connection: Connection, given: NewTicket, actor: Actor) -> _Who:
    organisation = given.organisation
    reporter, name, has_code_word = None, "", False
    if given.reporter is not None:
        rows = await connection.execute(
            "SELECT organisation, name, code_word IS NOT NULL FROM contact WHERE id = %s AND active", (given.reporter,)
        )
        row = await rows.fetchone()
        if row is None or (actor.is_client and row[0] not in actor.organisations):
            raise WrongInputError(Problem("reporter", f"no contact {given.reporter}", "see /api/contacts"))
        if organisation is not None and organisation != row[0]:
            raise WrongInputError(Problem("reporter", "is another organisation's", "leave `organisation` out"))
        organisation, name, has_code_word = row
        reporter = given.reporter
    if actor.is_client:
        if organisation is None and len(actor.organisations) == 1:
            organisation = actor.organisations[0]
        if organisation not in actor.organisations:
            raise NotFoundError("no such organisation")
        if reporter is None:
            reporter = actor.contact
        name = name or actor.name
    if organisation is None and given.vehicle is not None:
        rows = await connection.execute("SELECT organisation FROM vehicle WHERE id = %s", (given.vehicle,))
        row = await rows.fetchone()
        organisation = None if row is None else row[0]
    if organisation is None:
        return _Who(None, None, None, reporter, name, has_code_word)
    rows = await connection.execute("SELECT policy, plan FROM organisation WHERE id = %s AND active", (organisation,))
    row = await rows.fetchone()
    if row is None:
        raise WrongInputError(Problem("organisation", f"no organisation {organisation}", "see /api/organisations"))
    return _Who(organisation, row[0], row[1], reporter, name, has_code_word)


async def _what(
    connection: Connection, given: NewTicket, who: _Who, actor: Actor
) -> tuple[int | None, int | None, int | None]:
    """Terminal, vehicle and organisation: each leads to the others. What is not a client's is as missing."""
    if given.vehicle is not None:
        rows = await connection.execute("SELECT terminal, organisation FROM vehicle WHERE id = %s", (given.vehicle,))
        row = await rows.fetchone()
        if row is None or (who.organisation is not None and row[1] != who.organisation):
            raise WrongInputError(Problem("vehicle", f"no vehicle {given.vehicle} of this client", "see /api/vehicles"))
        return row[0], given.vehicle, row[1]
    if given.terminal is not None:
        rows = await connection.execute(
            "SELECT e.id, v.id, v.organisation FROM terminal e LEFT JOIN vehicle v ON v.terminal = e.id"
            " WHERE e.identity = %s",
            (given.terminal,),
        )
        row = await rows.fetchone()
        theirs = (who.organisation,) if actor.is_client else (None, who.organisation)
        if row is None or (who.organisation is not None and row[2] not in theirs):
            raise WrongInputError(Problem("terminal", f"no terminal {given.terminal}", "see /api/terminals"))
        return row[0], row[1], who.organisation if who.organisation is not None else row[2]
    return None, None, who.organisation


def _levels(terms: Terms, given: NewTicket) -> None:
    levels = [table.level for table in terms.policy.file.priority] or [1, 2, 3, 4]
    if given.criticality is not None and given.criticality not in levels:
        raise WrongInputError(
            Problem("criticality", f"{terms.policy.name} has no level {given.criticality}", f"one of {levels}")
        )
    if given.received_at is not None and given.received_at.tzinfo is None:
        raise WrongInputError(Problem("received_at", "has no offset", "write 2026-03-02T08:00:00+03:00"))


def _details(given: NewTicket) -> dict[str, Any]:
    names = ("description", "steps", "frequency", "server", "version", "criticality", "phone")
    return {name: getattr(given, name) for name in names if getattr(given, name) not in (None, "")}


async def _verified(
    terms: Terms, given: NewTicket, who: _Who, actor: Actor, verify: Verify, sender: str | None
) -> bool:
    """Whether the caller is who he says, as far as the channel proves it."""
    if actor.is_client or given.channel == "portal":
        return True
    if given.channel in ("web", "mail"):
        return who.reporter is not None and given.channel == "mail"
    if given.channel == "phone":
        if given.code_word is not None:
            return who.reporter is not None and await verify(who.reporter, given.code_word)
        proof = next((table.proof for table in terms.policy.file.channel if table.name == "phone"), "none")
        return who.reporter is not None and proof != "code-word" and not who.has_code_word
    return who.organisation is not None


async def _open_already(
    connection: Connection, vehicle: int, terminal: int | None, organisation: int | None
) -> int | None:
    """The open ticket about this vehicle's silence; to a client's account of the own `organisation` alone."""
    rows = await connection.execute(
        "SELECT id FROM ticket WHERE kind = 'silence' AND state <> 'closed' AND (vehicle = %(vehicle)s"
        " OR terminal = %(terminal)s) AND (%(own)s::bigint IS NULL OR organisation = %(own)s) ORDER BY id DESC LIMIT 1",
        {"vehicle": vehicle, "terminal": terminal, "own": organisation},
    )
    row = await rows.fetchone()
    return None if row is None else int(row[0])


async def _add(
    connection: Connection,
    ticket: int,
    given: NewTicket,
    actor: Actor,
    who: _Who,
    at: datetime,
    message: Callable[[int], NewMessage] | None,
    files: Sequence[Offered],
) -> Taken:
    """The call becomes a message in what is open."""
    facts = await lock(connection, ticket)
    caller = Actor(who.name or actor.name, "client", who.reporter)
    made = await append(
        connection,
        message(facts.row)
        if message is not None
        else NewMessage(
            ticket=facts.row,
            at=at,
            direction="in",
            public=True,
            author=caller.name,
            contact=caller.contact,
            subject=given.subject,
            text=given.description or given.subject,
            channel=given.channel,
            files=files_of(given.attachments, files).files,
        ),
    )
    columns: dict[str, Any] = {"said_at": at, "said_by": caller.name}
    if facts.reporter is None and who.reporter is not None:
        columns["reporter"] = who.reporter
    await set_columns(connection, facts.row, columns)
    data = {"channel": given.channel, "sender": caller.name, "message": made}
    await append_journal(connection, facts.row, at, caller.name, Action.MESSAGE, "", State(facts.state), data)
    await refresh(connection, facts.row, at)
    return Taken(facts.row, facts.number, False, made)
