"""The pages. Each has its JSON twin in `ticketing.desk.api`, built from the same questions."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import msgspec
from psycopg import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ticketing.commands import Wanted
from ticketing.core.errors import ConflictError, InvalidTextError, NotAllowedError, WrongInputError
from ticketing.core.numbers import parse
from ticketing.desk import queries
from ticketing.desk.around import around, coming
from ticketing.desk.deeds import CALLED, GIVEN, possible
from ticketing.desk.login import NOT_DONE
from ticketing.desk.queries import desk
from ticketing.kit import asked, drawing
from ticketing.kit.access import Visitor, comes_from_here, require, visitor
from ticketing.kit.body import checked
from ticketing.kit.forms import form, vouched, zoned
from ticketing.kit.kept import Told
from ticketing.kit.pages import render
from ticketing.kit.parts import part
from ticketing.kit.ports import GROUPED
from ticketing.kit.rendering import Rendering
from ticketing.kit.uploads import posted
from ticketing.kit.words import N_, _
from ticketing.mail.api import MailDesk, failing
from ticketing.model.kinds import COMMON
from ticketing.model.states import PEOPLE, WATCH, Action
from ticketing.model.tickets import TEXT_LIMIT, Ticket
from ticketing.people.scope import Kind
from ticketing.quality.reply_templates import ReplyTemplates
from ticketing.threads.attachments import Offered
from ticketing.tickets.api import Intake
from ticketing.tickets.bodies import Body, read_fields
from ticketing.tickets.fleet_health import BY
from ticketing.tickets.store import NOBODY, Incident

CHARTS = ("speed", "power.external", "fuel.volume.1", "fuel.level.1", "gsm.signal", "power.battery", "satellites")
SHOWN_CHARTS = 4
HIDDEN = ("csrf", "next")
ONE_FORM = (Action.TAKE, Action.NOTE, Action.CONSENT)  # shared with closing
LEADS = ("admin", "manager")  # who are told on the queue of what keeps mail from coming in
LITRES = {"fuel.level.1": "fuel.volume.1"}  # what is not shown besides, where litres are
FUEL = ("fuel.level.", "ble.lls.level.", "param.lls", "param.rs485_")  # how measures of fuel-level sensors begin
SPANS = {"1 h": 1, "6 h": 6, "24 h": 24, "7 d": 168, "30 d": 720}  # hours
TICKET_FILTERS = ("owner", "state", "kind", "terminal", "verdict", "search", "protocol", "model", "firmware", "sort")
INCIDENT_FILTERS = ("state", "kind", "terminal", "members")
TERMINAL_FILTERS = ("search", "verdict", "kind", "connected", "overdue", *GROUPED, "sort")
TICKET_SORT_WORDS = {
    "due": N_("due, next first"),
    "-due": N_("due, last first"),
    "-opened": N_("opened, newest first"),
    "opened": N_("opened, oldest first"),
    "priority": N_("priority"),
    "verdict": N_("promise"),
    "terminal": N_("terminal"),
}
TERMINAL_SORT_WORDS = {
    "-verdict": N_("verdict, failing first"),
    "-connected": N_("link, connected first"),
    "connected": N_("link, offline first"),
    "name": N_("name"),
    "protocol": N_("protocol"),
    "model": N_("model"),
    "firmware": N_("firmware"),
}
EXPIRES = {600: "10m", 3600: "1h", 86_400: "24h", 604_800: "7d"}  # of a command, by seconds
STORE_AWAY = N_("The store did not answer in time, nothing was done: please try again.")
ROWS = 10  # of connections, messages and quarantine on the terminal page


async def home(_request: Request) -> Response:
    """`/` leads to the queue."""
    return RedirectResponse("/tickets", 303)


async def tickets(request: Request) -> Response:
    """The queue with its running clocks."""
    page = await queries.tickets(request)
    chosen = _chosen(request, TICKET_FILTERS)
    lanes = _lanes(visitor(request))
    narrowed = {name: value for name, value in chosen.items() if value and name != "sort"}
    return render(
        request,
        "tickets.html",
        lanes=lanes,
        lane=narrowed,
        tickets=page,
        chosen=chosen,
        sorts=TICKET_SORT_WORDS,
        limit=request.query_params.get("limit", ""),
        first=_first(request),
        mailboxes=await failing(part(request, MailDesk)) if visitor(request).user.role in LEADS else [],
    )


async def ticket(request: Request) -> Response:
    """One ticket: its clock, what can be done, journal and evidence; after a refused action, why and the typed text."""
    found = await queries.ticket(request)
    told = desk(request).kept.get(visitor(request).user.name, asked.parameter(request, "told") or "")
    group = None
    if found.terminal is None and visitor(request).may("incidents"):
        group = next(iter((await desk(request).tickets.incidents(ticket=found.number, limit=1)).items), None)
    return await _ticket(request, found, told or Told("", ""), group)


async def back(request: Request) -> Response:
    """An action's address asked for as a page, as after a reload: its ticket."""
    return RedirectResponse(f"/tickets/{quote(request.path_params['number'], safe='')}", 303)


async def act(request: Request, action: Action) -> Response:
    """The forms of the ticket page."""
    require(request, str(action))
    came = await posted(request)
    fields = came.joined("messages")
    answers = _answers(fields)
    text = fields.get("text")
    try:
        if not vouched(request, fields):
            if not comes_from_here(request):
                raise HTTPException(403, "this form is not from the desk or has expired: open the page again")
            raise ConflictError(_(NOT_DONE))  # typed under another session of the same browser
        said = zoned(
            {name: value for name, value in fields.items() if name not in HIDDEN},
            part(request, Rendering).zone_of(visitor(request)),
        )
        if action in ONE_FORM:
            said.pop("cause", None)  # which is of closing alone
        files = [Offered(name, content) for name, content in came.files]
        found = await queries.act(request, action, _with(answers, read_fields(said)), files, by_form=True)
    except (ConflictError, InvalidTextError, NotAllowedError, WrongInputError, OperationalError) as error:
        why = _(STORE_AWAY) if isinstance(error, OperationalError) else str(error)
        if came.files:
            why = f"{why} {_('Files have to be chosen again.')}"
        typed = "\n".join([*(f"{item}: {answer}" for item, answer in answers.items()), *([text] if text else [])])
        token = desk(request).kept.put(visitor(request).user.name, Told(why, typed[:TEXT_LIMIT]))
        return RedirectResponse(f"/tickets/{quote(request.path_params['number'], safe='')}?told={token}", 303)
    return RedirectResponse(f"/tickets/{found.number}", 303)


def _answers(fields: dict[str, str]) -> dict[str, str]:
    """What was answered to each item apart (`asked-N` with `answer-N`), taken out of the fields."""
    found: dict[str, str] = {}
    for name in [name for name in fields if name.startswith("asked-")]:
        item, answer = fields.pop(name), fields.pop(f"answer-{name.removeprefix('asked-')}", "").strip()
        if answer and len(item) <= TEXT_LIMIT:
            found[item] = answer
    return found


def _with(answers: dict[str, str], body: Body) -> Body:
    """The body with the items' answers, checked as those of the API are.

    Raises
    ------
    WrongInputError
    """
    return msgspec.structs.replace(body, items=checked({"items": answers}, Body).items) if answers else body


async def _ticket(request: Request, found: Ticket, told: Told, group: Incident | None) -> Response:
    who = visitor(request)
    actions = [a for a in PEOPLE if a in found.actions and queries.may(who, a, found)]
    shown: dict[str, Any] = {"ticket": found, "actions": actions, "watch": WATCH, "called": CALLED, "error": told.error,
                             "news": told.news}  # fmt: skip
    if who.user.role == "client":
        return render(request, "portal.html", text=told.text, deeds=possible(actions, GIVEN), **shown)
    now = desk(request).now()
    templates = await part(request, ReplyTemplates).offered(who.user, found) if Action.REPLY in actions else ()
    chosen = asked.parameter(request, "template")
    here = await around(part(request, Intake).pool, found, who.user, now)
    return render(
        request,
        "ticket.html",
        managers=found.kind in COMMON,
        may_read=who.may("secrets"),
        group=group,
        owner=found.owner,
        text=told.text,
        deeds=possible(actions),
        templates=templates,
        ready=next((one.text for one in templates if str(one.template) == chosen), ""),
        around=here,
        next=coming(found, here, now),
        **shown,
    )


async def incidents(request: Request) -> Response:
    """All incidents, those of many terminals among them."""
    return render(
        request,
        "incidents.html",
        incidents=await queries.incidents(request, members=False),
        chosen=_chosen(request, INCIDENT_FILTERS),
        limit=request.query_params.get("limit", ""),
        first=_first(request),
    )


async def incident(request: Request) -> Response:
    """One incident: why it was opened, and its members."""
    return render(
        request,
        "incident.html",
        incident=await queries.incident(request),
        explained=await queries.explained(request),
    )


async def terminals(request: Request) -> Response:
    """All terminals."""
    page = await queries.terminals(request)
    return render(
        request,
        "terminals.html",
        terminals=page,
        chosen=_chosen(request, TERMINAL_FILTERS),
        sorts=TERMINAL_SORT_WORDS,
        grouped=GROUPED,
        detectors=desk(request).reader.kinds,
        limit=request.query_params.get("limit", ""),
        first=_first(request),
    )


async def terminal(request: Request) -> Response:
    """One terminal: state, track, series, tickets, commands, connections, messages, quarantine."""
    found = await queries.terminal(request, request.path_params["terminal"])
    hours = _hours(request)
    measure = asked.parameter(request, "measure")
    here, reader = desk(request), desk(request).reader
    record = await reader.last_record(found.terminal)
    until = queries.latest(request, record)
    since = asked.before(until, timedelta(hours=hours))
    # A terminal that has only just begun fills the charts with what there is.
    since = await reader.first_time(found.terminal, since=since, until=until) or since
    positions = await reader.positions(found.terminal, since=since, until=until)
    names = await reader.measures(found.terminal, since=since, until=until) if record else []
    usual = [name for name in CHARTS if name in names and LITRES.get(name) not in names][:SHOWN_CHARTS]
    wanted = [measure] if measure in names else usual
    charts = []
    for name in wanted:
        points = await reader.series(found.terminal, name, since=since, until=until)
        drawn = drawing.chart(points, since=since, until=until, zone=here.rendering.zone_of(visitor(request)))
        if drawn is not None:
            charts.append((name, drawn))
    who = visitor(request)
    told = here.kept.get(who.user.name, asked.parameter(request, "told") or "") or Told("", "")
    fuelled = any(name.startswith(FUEL) for name in names)
    return render(
        request,
        "terminal.html",
        fuel=await reader.fuel_events(found.terminal, since=since, until=until) if fuelled else None,
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
        tickets=await here.tickets.list(terminal=found.terminal, limit=ROWS, seen=who.seen(Kind.TICKET)),
        commands=await here.commands.list(found.terminal, limit=ROWS, seen=who.seen(Kind.TICKET))
        if who.may("commands")
        else None,
        refusal=await here.commands.refusal(found.terminal) if who.may("command") else None,
        expires=EXPIRES,
        key=secrets.token_urlsafe(12),
        told=told,
        connections=await reader.connections(found.terminal, limit=ROWS),
        messages=await reader.messages(found.terminal, limit=ROWS),
        quarantine=await reader.quarantine(terminal=found.terminal, limit=ROWS),
    )


async def send(request: Request) -> Response:
    """The form for commands of the terminal page; one that was sent twice is one command."""
    require(request, "command")
    fields = await form(request)
    identity, text = request.path_params["terminal"], fields.get("text", "")
    page = f"/terminals/{quote(identity, safe='')}"
    try:
        if not vouched(request, fields):
            if not comes_from_here(request):
                raise HTTPException(403, "this form is not from the desk or has expired: open the page again")
            raise ConflictError(_(NOT_DONE))
        wanted = Wanted(text, fields.get("expires_in", ""), fields.get("key") or None, "repeat" in fields)
        await queries.send(request, wanted)
    except (ConflictError, InvalidTextError, OperationalError) as error:
        why = _(STORE_AWAY) if isinstance(error, OperationalError) else str(error)
        token = desk(request).kept.put(visitor(request).user.name, Told(why, text[:TEXT_LIMIT]))
        return RedirectResponse(f"{page}?told={token}#command", 303)
    return RedirectResponse(f"{page}#commands", 303)


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


async def quarantined(request: Request) -> Response:
    """One frame of the quarantine, its bytes beside what they say."""
    return render(request, "quarantined.html", frame=await queries.quarantined(request))


async def anatomy(request: Request) -> Response:
    """Bytes by name: those that somebody pastes, or a quarantined frame's."""
    problem, found = "", None
    frame, protocol = request.query_params.get("frame", ""), request.query_params.get("protocol")
    try:
        found = await queries.anatomy(request)
    except InvalidTextError as error:
        problem = str(error)
    return render(
        request,
        "bytes.html",
        status=400 if problem else 200,
        problem=problem,
        found=found,
        frame=frame,
        text=request.query_params.get("bytes", "")[: asked.MAX_BYTES],
        protocol=found.protocol if found and frame else protocol,
        protocols=desk(request).reader.anatomies,
        udp=request.query_params.get("udp") == "yes",
    )


async def fleet(request: Request) -> Response:
    """The fleet in numbers."""
    return render(
        request,
        "fleet.html",
        fleet=await queries.fleet(request),
        health=await queries.health(request),
        bys=BY,
        counts=await desk(request).tickets.counts(),
        incidents=await desk(request).tickets.incidents(
            state="open", limit=ROWS, members=False, seen=visitor(request).seen(Kind.TICKET)
        ),
    )


async def search(request: Request) -> Response:
    """The search box: straight to the only thing found, else a list."""
    found = await queries.search(request)
    words = (request.query_params.get("q") or "").strip()
    if len(found.tickets) == 1 and not found.terminals:
        return RedirectResponse(f"/tickets/{found.tickets[0].number}", 303)
    meant = parse(words) in [ticket.number for ticket in found.tickets]  # its number reads like an identity
    if len(found.terminals) == 1 and found.terminals[0].terminal == words and not meant:
        return RedirectResponse(f"/terminals/{quote(words, safe='')}", 303)
    return render(request, "search.html", found=found, words=words)


def _lanes(who: Visitor) -> list[tuple[str, dict[str, str]]]:
    """The queue's lanes: what each is called, and its filters."""
    if who.user.role == "client":
        return [(N_("All"), {})]
    return [
        (N_("Mine"), {"owner": who.user.name}),
        (N_("Nobody's"), {"owner": NOBODY}),
        (N_("Breaching"), {"verdict": "breached"}),
        (N_("Waiting"), {"state": "waiting"}),
        (N_("All"), {}),
    ]


def _hours(request: Request) -> int:
    value = request.query_params.get("hours", "24")
    if value not in {str(hours) for hours in SPANS.values()}:
        raise HTTPException(400, f"hours: one of {', '.join(str(hours) for hours in SPANS.values())}")
    return int(value)


def _chosen(request: Request, names: tuple[str, ...]) -> dict[str, str]:
    return {name: request.query_params.get(name, "") for name in names}


def _first(request: Request) -> bool:
    return "cursor" not in request.query_params
