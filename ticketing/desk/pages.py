"""The pages. Each has its JSON twin in `ticketing.desk.api`, built from the same questions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ticketing.desk import asked, drawing, queries
from ticketing.desk.access import require, visitor
from ticketing.desk.login import checked_form
from ticketing.desk.queries import desk
from ticketing.errors import ConflictError, InvalidTextError
from ticketing.tickets import PEOPLE, WATCH, Action, Ticket

CHARTS = ("speed", "power.external", "fuel.level.1", "gsm.signal", "power.battery", "satellites")
SHOWN_CHARTS = 4
SPANS = {"1 h": 1, "6 h": 6, "24 h": 24, "7 d": 168, "30 d": 720}  # hours
ROWS = 10  # of connections, messages and quarantine on the terminal page


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """A page with what all pages need: who looks, and their forms' token."""
    who = visitor(request)
    return desk(request).rendering.page(
        template, status=status, who=who, csrf=who.csrf, path=request.scope["path"], **values
    )


async def home(_request: Request) -> Response:
    """`/` leads to the queue."""
    return RedirectResponse("/tickets", 303)


async def tickets(request: Request) -> Response:
    """The queue with its running clocks."""
    page = await queries.tickets(request)
    chosen = {name: request.query_params.get(name, "") for name in ("state", "kind", "terminal", "search")}
    return render(
        request,
        "tickets.html",
        tickets=page,
        chosen=chosen,
        limit=request.query_params.get("limit", ""),
        first=_first(request),
    )


async def ticket(request: Request) -> Response:
    """One ticket: its clock, what can be done, journal and evidence."""
    return _ticket(request, await queries.ticket(request))


async def act(request: Request, action: Action) -> Response:
    """The forms of the ticket page."""
    require(request, str(action))
    fields = await checked_form(request)
    text = fields.get("text")
    try:
        found = await queries.act(request, action, text)
    except (ConflictError, InvalidTextError) as error:
        status = 409 if isinstance(error, ConflictError) else 400
        return _ticket(request, await queries.ticket(request), status=status, error=str(error), text=text or "")
    return RedirectResponse(f"/tickets/{found.number}", 303)


def _ticket(request: Request, found: Ticket, *, status: int = 200, error: str = "", text: str = "") -> Response:
    owner = next((entry.actor for entry in reversed(found.journal) if entry.action == Action.TAKE), None)
    return render(
        request,
        "ticket.html",
        status=status,
        ticket=found,
        actions=[a for a in PEOPLE if a in found.actions and visitor(request).may(str(a))],
        owner=owner,
        watch=WATCH,
        error=error,
        text=text[:10_000],
    )


async def terminals(request: Request) -> Response:
    """All terminals."""
    page = await queries.terminals(request)
    return render(
        request,
        "terminals.html",
        terminals=page,
        search=request.query_params.get("search", ""),
        limit=request.query_params.get("limit", ""),
        first=_first(request),
    )


async def terminal(request: Request) -> Response:
    """One terminal: state, track, series, tickets, connections, messages, quarantine."""
    found = await queries.terminal(request, request.path_params["terminal"])
    hours = _hours(request)
    measure = asked.parameter(request, "measure")
    here, reader = desk(request), desk(request).reader
    record = await reader.last_record(found.terminal)
    until = queries.latest(request, record)
    since = until - timedelta(hours=hours)
    # A terminal that has only just begun fills the charts with what there is.
    since = await reader.first_time(found.terminal, since=since, until=until) or since
    positions = await reader.positions(found.terminal, since=since, until=until)
    names = await reader.measures(found.terminal, since=since, until=until) if record else []
    wanted = [measure] if measure in names else [name for name in CHARTS if name in names][:SHOWN_CHARTS]
    charts = []
    for name in wanted:
        points = await reader.series(found.terminal, name, since=since, until=until)
        drawn = drawing.chart(points, since=since, until=until, zone=here.settings.zone)
        if drawn is not None:
            charts.append((name, drawn))
    return render(
        request,
        "terminal.html",
        terminal=found,
        record=record,
        track=drawing.track(positions, tiles=here.settings.tiles),
        positions=positions,
        charts=charts,
        names=names,
        measure=measure or "",
        hours=hours,
        spans=SPANS,
        since=since,
        until=until,
        tickets=await here.tickets.list(terminal=found.terminal, limit=ROWS),
        connections=await reader.connections(found.terminal, limit=ROWS),
        messages=await reader.messages(found.terminal, limit=ROWS),
        quarantine=await reader.quarantine(terminal=found.terminal, limit=ROWS),
    )


async def quarantine(request: Request) -> Response:
    """What could not become records."""
    return render(
        request,
        "quarantine.html",
        quarantine=await queries.quarantine(request),
        terminal=request.query_params.get("terminal", ""),
        limit=request.query_params.get("limit", ""),
        first=_first(request),
    )


async def fleet(request: Request) -> Response:
    """The fleet in numbers."""
    return render(
        request,
        "fleet.html",
        fleet=await queries.fleet(request),
        counts=await desk(request).tickets.counts(),
        incidents=await desk(request).tickets.incidents(state="open", limit=ROWS),
    )


async def search(request: Request) -> Response:
    """The search box: straight to the only thing found, else a list."""
    found = await queries.search(request)
    words = (request.query_params.get("q") or "").strip()
    if len(found.tickets) == 1 and not found.terminals:
        return RedirectResponse(f"/tickets/{found.tickets[0].number}", 303)
    if len(found.terminals) == 1 and found.terminals[0].terminal == words:
        return RedirectResponse(f"/terminals/{quote(words, safe='')}", 303)
    return render(request, "search.html", found=found, words=words)


def _hours(request: Request) -> int:
    value = request.query_params.get("hours", "24")
    if value not in {str(hours) for hours in SPANS.values()}:
        raise HTTPException(400, f"hours: one of {', '.join(str(hours) for hours in SPANS.values())}")
    return int(value)


def _first(request: Request) -> bool:
    return "cursor" not in request.query_params
