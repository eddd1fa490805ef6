"""The JSON twins of the pages, under /api."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ticketing.core.paging import PAGE_LIMIT
from ticketing.desk import queries
from ticketing.desk.queries import desk
from ticketing.kit import asked
from ticketing.kit.access import require
from ticketing.kit.answers import answer
from ticketing.kit.body import json_body
from ticketing.kit.ports import Point, Position, Record, Terminal
from ticketing.model.states import Action
from ticketing.tickets.bodies import Body
from ticketing.tickets.store import Counts


@dataclass(frozen=True, slots=True)
class TerminalDetail(Terminal):
    """A terminal and its latest record."""

    last_record: Record | None = None


@dataclass(frozen=True, slots=True)
class Positions:
    """The track of a span, oldest first."""

    terminal: str
    since: datetime
    until: datetime
    positions: list[Position]


@dataclass(frozen=True, slots=True)
class Series:
    """A measure over a span, oldest first; `measures` names what else can be asked for."""

    terminal: str
    measure: str
    since: datetime
    until: datetime
    points: list[Point]
    measures: list[str]


async def tickets(request: Request) -> Response:
    """The queue."""
    return answer(await queries.tickets(request))


async def ticket(request: Request) -> Response:
    """One ticket, whole."""
    return answer(await queries.ticket(request))


async def act(request: Request, action: Action) -> Response:
    """What is done to a ticket."""
    require(request, str(action))
    await queries.ticket(request)  # 404 comes before what is wrong with the body
    return answer(await queries.act(request, action, await json_body(request, Body)))


async def incidents(request: Request) -> Response:
    """Incidents, newest first."""
    return answer(await queries.incidents(request))


async def incident(request: Request) -> Response:
    """One incident with its members."""
    return answer(await queries.incident(request))


async def explained(request: Request) -> Response:
    """The numbers that an incident was decided by."""
    return answer(await queries.explained(request))


async def terminals(request: Request) -> Response:
    """Terminals by identity."""
    return answer(await queries.terminals(request))


async def terminal(request: Request) -> Response:
    """One terminal and its latest record."""
    found = await queries.terminal(request, request.path_params["terminal"])
    fields = {name: getattr(found, name) for name in Terminal.__dataclass_fields__}
    return answer(TerminalDetail(**fields, last_record=await desk(request).reader.last_record(found.terminal)))


async def positions(request: Request) -> Response:
    """The track of a span."""
    found = await _named(request)
    limit = asked.limit(request, PAGE_LIMIT)
    since, until = asked.span(request, await _latest(request, found.terminal))
    track = await desk(request).reader.positions(found.terminal, since=since, until=until, limit=limit)
    return answer(Positions(found.terminal, since, until, track))


async def series(request: Request) -> Response:
    """One measure over a span."""
    found = await _named(request)
    measure = asked.parameter(request, "measure")
    if measure is None:
        raise HTTPException(400, "measure: the name of one, such as speed")
    since, until = asked.span(request, await _latest(request, found.terminal))
    reader = desk(request).reader
    points = await reader.series(found.terminal, measure, since=since, until=until)
    names = await reader.measures(found.terminal, since=since, until=until)
    return answer(Series(found.terminal, measure, since, until, points, names))


async def fuel_events(request: Request) -> Response:
    """Refuellings and drains of a span."""
    found = await queries.terminal(request, request.path_params["terminal"])
    since, until = asked.span(request, await _latest(request, found.terminal), "from", "to")
    return answer(await desk(request).reader.fuel_events(found.terminal, since=since, until=until))


async def connections(request: Request) -> Response:
    """Connections of a terminal, newest first."""
    return answer(await queries.connections(request, (await _named(request)).terminal))


async def messages(request: Request) -> Response:
    """Messages of a terminal, newest first."""
    return answer(await queries.messages(request, (await _named(request)).terminal))


async def send(request: Request) -> Response:
    """A command for a terminal: 201, or 200 where it was asked for before."""
    require(request, "command")
    await queries.terminal(request, request.path_params["terminal"])  # 404 comes before what is wrong with the body
    command, new = await queries.send(request, await asked.wanted_command(request))
    return answer(command, 201 if new else 200)


async def commands(request: Request) -> Response:
    """Commands of a terminal, newest first."""
    return answer(await queries.commands(request))


async def command(request: Request) -> Response:
    """One command and what became of it."""
    return answer(await queries.command(request))


async def quarantine(request: Request) -> Response:
    """The quarantine, newest first."""
    return answer(await queries.quarantine(request))


async def quarantined(request: Request) -> Response:
    """One frame of the quarantine, decoded."""
    return answer(await queries.quarantined(request))


async def anatomy(request: Request) -> Response:
    """Bytes by name."""
    found = await queries.anatomy(request)
    if found is None:
        raise HTTPException(400, "bytes: hex, or lines of a text protocol; or frame: one of the quarantine by its id")
    return answer(found)


async def health(request: Request) -> Response:
    """How well groups of terminals do."""
    return answer(await queries.health(request))


async def fleet(request: Request) -> Response:
    """The fleet in numbers."""
    return answer(await queries.fleet(request))


async def counts(request: Request) -> Response:
    """Incidents and tickets by kind."""
    require(request, "fleet")
    found: Counts = await desk(request).tickets.counts()
    return answer(found)


async def search(request: Request) -> Response:
    """What the search box finds."""
    return answer(await queries.search(request))


async def _named(request: Request) -> Terminal:
    require(request, "terminals")
    identity = asked.parameter(request, "terminal")
    if identity is None:
        raise HTTPException(400, "terminal: the identity of one")
    return await queries.terminal(request, identity)


async def _latest(request: Request, identity: str) -> datetime:
    return queries.latest(request, await desk(request).reader.last_record(identity))
