"""What pages and their JSON twins have in common: the same question, asked once.

Every function takes the request after the gate, checks the right first, then the parameters, then looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ticketing.desk import asked
from ticketing.desk.access import require
from ticketing.desk.ports import Connection, Fleet, Message, Page, Quarantined, Reader, Record, Terminal
from ticketing.desk.rendering import Rendering
from ticketing.desk.settings import DeskSettings
from ticketing.desk.throttle import Throttle
from ticketing.numbers import parse
from ticketing.store import Incident, TicketStore
from ticketing.store import Page as StorePage
from ticketing.tickets import Action, Ticket, TicketSummary
from ticketing.users import Users

T = TypeVar("T")
FOUND = 20  # rows of each kind that a search shows


@dataclass(frozen=True, slots=True)
class Desk:
    """All that a handler may use."""

    tickets: TicketStore
    reader: Reader
    users: Users
    settings: DeskSettings
    throttle: Throttle
    rendering: Rendering
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


def utc_now() -> datetime:
    """The wall clock; tests hand in their own."""
    return datetime.now(UTC)


async def tickets(request: Request) -> StorePage[TicketSummary]:
    """One page of the queue."""
    who = require(request, "tickets")
    state, kind = asked.parameter(request, "state"), asked.parameter(request, "kind")
    terminal, search = asked.parameter(request, "terminal"), asked.parameter(request, "search")
    cursor, limit = asked.cursor(request), asked.limit(request)
    if who.sees_nothing:
        return StorePage([], 0)
    return await desk(request).tickets.list(state, kind, terminal, search, cursor, limit)


async def ticket(request: Request) -> Ticket:
    """The ticket the path names, or 404."""
    who = require(request, "tickets")
    return await _ticket(request, nothing=who.sees_nothing)


async def act(request: Request, action: Action, text: str | None) -> Ticket:
    """A person's action on the ticket the path names; the right has been checked before the body was read."""
    who = require(request, str(action))
    found = await _ticket(request, nothing=who.sees_nothing)
    return await desk(request).tickets.act(action, found.number, who.user.name, text)


async def _ticket(request: Request, *, nothing: bool) -> Ticket:
    number = request.path_params["number"]
    found = None
    if not nothing and asked.storable(number):
        found = await desk(request).tickets.get(number)
    if found is None:
        raise HTTPException(404, "no such ticket")
    return found


async def incidents(request: Request) -> StorePage[Incident]:
    """One page of incidents."""
    require(request, "incidents")
    state, kind = asked.parameter(request, "state"), asked.parameter(request, "kind")
    terminal = asked.parameter(request, "terminal")
    return await desk(request).tickets.incidents(state, kind, terminal, asked.cursor(request), asked.limit(request))


async def terminals(request: Request) -> Page[Terminal]:
    """One page of terminals."""
    who = require(request, "terminals")
    search = asked.parameter(request, "search") or ""
    cursor, limit = asked.cursor(request), asked.limit(request)
    if who.sees_nothing:
        return Page([], 0)
    return await desk(request).reader.terminals(search=search, cursor=cursor, limit=limit)


async def terminal(request: Request, identity: str | None) -> Terminal:
    """A terminal, or 404."""
    who = require(request, "terminals")
    found = None
    if identity and not who.sees_nothing and len(identity) <= 64 and asked.storable(identity):
        found = await desk(request).reader.terminal(identity)
    if found is None:
        raise HTTPException(404, "no such terminal")
    return found


async def connections(request: Request, identity: str) -> Page[Connection]:
    """One page of a terminal's connections."""
    return await desk(request).reader.connections(identity, cursor=asked.cursor(request), limit=asked.limit(request))


async def messages(request: Request, identity: str) -> Page[Message]:
    """One page of a terminal's messages."""
    return await desk(request).reader.messages(identity, cursor=asked.cursor(request), limit=asked.limit(request))


async def quarantine(request: Request) -> Page[Quarantined]:
    """One page of the quarantine."""
    require(request, "quarantine")
    return await desk(request).reader.quarantine(
        terminal=asked.parameter(request, "terminal"), cursor=asked.cursor(request), limit=asked.limit(request)
    )


async def fleet(request: Request) -> Fleet:
    """The fleet overview."""
    require(request, "fleet")
    return await desk(request).reader.fleet()


async def search(request: Request) -> Found:
    """What the one search box finds: ticket numbers, terminals, names."""
    who = require(request, "tickets")
    words = asked.parameter(request, "q")
    if words is None or who.sees_nothing:
        return Found([], [])
    words = words.strip()
    number = parse(words)
    exact = await desk(request).tickets.get(number) if number else None
    if exact is not None:
        return Found([exact], [])
    found = await desk(request).reader.terminals(search=words, limit=FOUND)
    same = [t for t in found.items if t.terminal == words]
    listed = await desk(request).tickets.list(search=words, limit=FOUND)
    return Found(listed.items, same or list(found.items))


def latest(request: Request, record: Record | None) -> datetime:
    """Where a span ends that nobody asked for: at the last record, so that a silent terminal shows its last day."""
    now = desk(request).now()
    if record is None or record.time > now:
        return now
    return record.time + timedelta(seconds=1)
