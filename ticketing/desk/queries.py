"""What pages and their JSON twins have in common: the same question, asked once.

Every function takes the request after the gate, checks the right first, then the parameters, then looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ticketing.commands import Command, Commands, Wanted
from ticketing.core.errors import InvalidTextError
from ticketing.core.numbers import parse
from ticketing.core.paging import Page
from ticketing.kit import asked
from ticketing.kit.access import Visitor, require
from ticketing.kit.kept import Kept
from ticketing.kit.ports import (
    Anatomy,
    Connection,
    Fleet,
    Message,
    Quarantined,
    QuarantinedFrame,
    Reader,
    Record,
    Terminal,
    TerminalQuery,
)
from ticketing.kit.rendering import Rendering
from ticketing.kit.settings import DeskSettings
from ticketing.kit.throttle import Throttle
from ticketing.model.kinds import COMMON
from ticketing.model.states import Action
from ticketing.model.tickets import Ticket, TicketSummary
from ticketing.people.scope import Kind
from ticketing.people.users import Users
from ticketing.threads.attachments import Offered
from ticketing.tickets.bodies import Body
from ticketing.tickets.facts import Actor
from ticketing.tickets.fleet_health import BY, Health
from ticketing.tickets.store import TICKET_SORTS, Explained, Incident, IncidentDetail, TicketStore

T = TypeVar("T")
FOUND = 20  # rows of each kind that a search shows


@dataclass(frozen=True, slots=True)
class Desk:
    """All that a handler may use."""

    tickets: TicketStore
    commands: Commands
    reader: Reader
    users: Users
    settings: DeskSettings
    throttle: Throttle
    rendering: Rendering
    kept: Kept
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Found:
    """What the search box found."""

    tickets: list[TicketSummary]
    terminals: list[Terminal]


def desk(request: Request) -> Desk:
    """The desk behind this application."""
    found: Desk = request.app.state.desk
    return found


async def tickets(request: Request) -> Page[TicketSummary]:
    """One page of the queue."""
    who = require(request, "tickets")
    state, kind = asked.parameter(request, "state"), asked.parameter(request, "kind")
    terminal, search = asked.parameter(request, "terminal"), asked.parameter(request, "search")
    sort = asked.choice(request, "sort", ("queue", *TICKET_SORTS))
    cursor, limit = asked.cursor(request), asked.limit(request)
    return await desk(request).tickets.list(
        state,
        kind,
        terminal,
        search,
        cursor,
        limit,
        verdict=asked.parameter(request, "verdict"),
        protocol=asked.parameter(request, "protocol"),
        model=asked.parameter(request, "model"),
        firmware=asked.parameter(request, "firmware"),
        owner=asked.parameter(request, "owner"),
        topic=asked.parameter(request, "topic"),
        organisation=asked.organisation(request),
        sort=sort or "queue",
        seen=who.seen(Kind.TICKET),
    )


async def ticket(request: Request) -> Ticket:
    """The ticket the path names, or 404."""
    who = require(request, "tickets")
    return await _ticket(request, who)


async def act(
    request: Request, action: Action, body: Body, files: Sequence[Offered] = (), *, by_form: bool = False
) -> Ticket:
    """A person's action on the ticket the path names; the right has been checked before the body was read.

    What a client says by a form came by the portal.
    """
    who = require(request, str(action))
    found = await _ticket(request, who)
    if not may(who, action, found):
        raise HTTPException(403, "a ticket about many terminals is closed by a manager")
    channel = "portal" if by_form and who.user.role == "client" else "api"
    return await desk(request).tickets.act(action, found.number, actor_of(who), body, who.user, files, channel)


def may(who: Visitor, action: Action, found: Ticket) -> bool:
    """Whether the role may do it to this ticket: those of groups with a cause in common are closed by a manager."""
    return who.may(str(action)) and (action != Action.CLOSE or found.kind not in COMMON or who.may("close_common"))


def actor_of(who: Visitor) -> Actor:
    """The visitor as tickets know who acts."""
    return Actor(who.user.name, who.user.role, None, tuple(who.user.organisations))


async def _ticket(request: Request, who: Visitor) -> Ticket:
    number = request.path_params["number"]
    found = None
    if asked.storable(number):
        found = await desk(request).tickets.get(number, who.user)
    if found is None:
        raise HTTPException(404, "no such ticket")
    return found


async def incidents(request: Request, *, members: bool = True) -> Page[Incident]:
    """One page of incidents; `members` of groups among them, unless the request says otherwise."""
    who = require(request, "incidents")
    state, kind = asked.choice(request, "state", ("open", "closed")), asked.parameter(request, "kind")
    terminal = asked.parameter(request, "terminal")
    chosen = asked.choice(request, "members", asked.YES_NO)
    members = asked.YES_NO[chosen] if chosen else members or terminal is not None
    cursor, limit = asked.cursor(request), asked.limit(request)
    return await desk(request).tickets.incidents(
        state, kind, terminal, cursor, limit, members=members, seen=who.seen(Kind.TICKET)
    )


async def incident(request: Request) -> IncidentDetail:
    """The incident the path names, or 404."""
    who = require(request, "incidents")
    return _found_incident(await desk(request).tickets.incident(_incident(request), seen=who.seen(Kind.EVIDENCE)))


async def explained(request: Request) -> Explained:
    """The numbers of the decision about the incident that the path names, or 404."""
    who = require(request, "incidents")
    return _found_incident(await desk(request).tickets.explain(_incident(request), seen=who.seen(Kind.EVIDENCE)))


def _incident(request: Request) -> int:
    return asked.row_id(request.path_params["id"])


def _found_incident(found: T | None) -> T:
    if found is None:
        raise HTTPException(404, "no such incident")
    return found


async def terminals(request: Request) -> Page[Terminal]:
    """One page of terminals."""
    who = require(request, "terminals")
    wanted = asked.terminals(request, desk(request).reader.kinds)
    cursor, limit = asked.cursor(request), asked.limit(request)
    return await desk(request).reader.terminals(wanted, cursor=cursor, limit=limit, seen=who.seen(Kind.TERMINAL))


async def terminal(request: Request, identity: str | None) -> Terminal:
    """A terminal that the visitor sees, or 404."""
    who = require(request, "terminals")
    found = None
    if identity and len(identity) <= 64 and asked.storable(identity):
        found = await desk(request).reader.terminal(identity, seen=who.seen(Kind.TERMINAL))
    if found is None:
        raise HTTPException(404, "no such terminal")
    return found


async def connections(request: Request, identity: str) -> Page[Connection]:
    """One page of a terminal's connections."""
    return await desk(request).reader.connections(identity, cursor=asked.cursor(request), limit=asked.limit(request))


async def messages(request: Request, identity: str) -> Page[Message]:
    """One page of a terminal's messages."""
    return await desk(request).reader.messages(identity, cursor=asked.cursor(request), limit=asked.limit(request))


async def send(request: Request, wanted: Wanted) -> tuple[Command, bool]:
    """A command for the terminal the path names; whether it is new."""
    who = require(request, "command")
    found = await terminal(request, request.path_params["terminal"])
    return await desk(request).commands.send(found.terminal, who.user.name, wanted, seen=who.seen(Kind.TICKET))


async def commands(request: Request) -> Page[Command]:
    """One page of a terminal's commands."""
    who = require(request, "commands")
    found = await terminal(request, request.path_params["terminal"])
    return await desk(request).commands.list(
        found.terminal, asked.cursor(request), asked.limit(request), seen=who.seen(Kind.TICKET)
    )


async def command(request: Request) -> Command:
    """One command of a terminal, or 404."""
    who = require(request, "commands")
    found = await terminal(request, request.path_params["terminal"])
    number = request.path_params["id"]
    one = None
    if number.isascii() and number.isdecimal() and len(number) < 19:
        one = await desk(request).commands.get(found.terminal, int(number), seen=who.seen(Kind.TICKET))
    if one is None:
        raise HTTPException(404, "no such command")
    return one


async def quarantine(request: Request) -> Page[Quarantined]:
    """One page of the quarantine."""
    require(request, "quarantine")
    return await desk(request).reader.quarantine(
        terminal=asked.parameter(request, "terminal"), cursor=asked.cursor(request), limit=asked.limit(request)
    )


async def quarantined(request: Request) -> QuarantinedFrame:
    """The quarantined frame the path names, or 404."""
    require(request, "quarantine")
    number = request.path_params["number"]
    found = None
    if number.isascii() and number.isdecimal() and len(number) < 19:
        found = await desk(request).reader.quarantined(int(number))
    if found is None:
        raise HTTPException(404, "no such frame in quarantine")
    return found


async def anatomy(request: Request) -> Anatomy | None:
    """The bytes that were given, or those of a quarantined frame, by name; None: there are none yet.

    Raises
    ------
    InvalidTextError
        If what was given is no bytes, or too many.
    """
    require(request, "bytes")
    reader = desk(request).reader
    frame = request.query_params.get("frame")
    if frame:
        found = (
            await reader.frame_anatomy(int(frame))
            if frame.isascii() and frame.isdecimal() and len(frame) < 19
            else None
        )
        if found is None:
            raise HTTPException(404, "no such frame in quarantine")
        return found
    protocol = asked.choice(request, "protocol", reader.anatomies)
    udp = asked.choice(request, "udp", asked.YES_NO) == "yes"
    text = request.query_params.get("bytes", "")
    if len(text) > asked.MAX_BYTES:
        raise InvalidTextError(f"bytes: at most {asked.MAX_BYTES} characters")
    return await reader.anatomy(text, protocol, udp=udp) if text.strip() else None


async def health(request: Request) -> Health:
    """How well groups of terminals do."""
    require(request, "fleet")
    by = asked.choice(request, "by", BY) or next(iter(BY))
    return await desk(request).tickets.health(by)


async def fleet(request: Request) -> Fleet:
    """The fleet overview."""
    require(request, "fleet")
    return await desk(request).reader.fleet()


async def search(request: Request) -> Found:
    """What the one search box finds: ticket numbers, terminals, names."""
    who = require(request, "tickets")
    words = (asked.parameter(request, "q") or "").strip()
    if not words:
        return Found([], [])
    seen = who.seen(Kind.TERMINAL)
    number = parse(words)
    exact = await desk(request).tickets.get(number, who.user) if number else None
    if exact is not None:  # a short identity may read like a number: then both are meant
        namesake = await desk(request).reader.terminal(words, seen=seen) if len(words) <= 64 else None
        return Found([exact], [] if namesake is None else [namesake])
    found = await desk(request).reader.terminals(TerminalQuery(search=words), limit=FOUND, seen=seen)
    same = [t for t in found.items if t.terminal == words]
    listed = await desk(request).tickets.list(search=words, limit=FOUND, seen=who.seen(Kind.TICKET))
    return Found(listed.items, same or list(found.items))


def latest(request: Request, record: Record | None) -> datetime:
    """Where a span ends that nobody asked for: at the last record, so that a silent terminal shows its last day."""
    now = desk(request).now()
    if record is None or record.time > now:
        return now
    return record.time + timedelta(seconds=1)
