"""`/openapi.json`: OpenAPI 3.1, the paths by hand, the schemas from the types that are sent."""

from __future__ import annotations

from functools import cache
from inspect import cleandoc
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ticketing.commands import LONGEST, MAX_KEY, MAX_OPEN, Command
from ticketing.core.paging import PAGE_LIMIT, Page
from ticketing.desk import api, openapi_types
from ticketing.desk.openapi_clock import clock_schemas
from ticketing.desk.openapi_parts import KEY, PAGED, content, filtered, in_path, refusals
from ticketing.desk.openapi_rows import Rows, answered, body_schemas, joined_paths, kept_away, row_paths
from ticketing.desk.queries import Found, desk
from ticketing.kit import asked
from ticketing.kit.answers import Problem, WrongInput, answer
from ticketing.kit.ports import (
    SORTS,
    Anatomy,
    Connection,
    Fleet,
    FuelEvents,
    Message,
    Quarantined,
    QuarantinedFrame,
    Terminal,
)
from ticketing.model.states import MOVES, Action
from ticketing.model.tickets import Ticket, TicketSummary
from ticketing.tickets.bodies import Body
from ticketing.tickets.fleet_health import BY, Health
from ticketing.tickets.store import TICKET_SORTS, Counts, Explained, Incident, IncidentDetail

LISTED: dict[str, Any] = {
    "TicketPage": Page[TicketSummary],
    "IncidentPage": Page[Incident],
    "TerminalPage": Page[Terminal],
    "ConnectionPage": Page[Connection],
    "MessagePage": Page[Message],
    "CommandPage": Page[Command],
    "QuarantinePage": Page[Quarantined],
}
SINGLE: dict[str, Any] = {
    "Ticket": Ticket,
    "IncidentDetail": IncidentDetail,
    "TerminalDetail": api.TerminalDetail,
    "Positions": api.Positions,
    "Series": api.Series,
    "FuelEvents": FuelEvents,
    "QuarantinedFrame": QuarantinedFrame,
    "Anatomy": Anatomy,
    "Command": Command,
    "Fleet": Fleet,
    "Explained": Explained,
    "Health": Health,
    "Counts": Counts,
    "Found": Found,
    "Problem": Problem,
    "WrongInput": WrongInput,
}

STATE = ("state", "tickets in this state")
KIND = ("kind", "of this kind: silence, firmware, mass-silence, platform, storm …")
TERMINAL = ("terminal", "of this terminal: its identity; of tickets also those of groups that it is in")
VERDICT = ("verdict", "whose clock's verdict is this: running, paused, met, breached, unknown")
MEMBERS = ("members", "`no` leaves out members of groups; default `yes`")
BUILD = (
    ("protocol", "of this protocol"),
    ("model", "of this model, as told by the terminal or else as registered"),
    ("firmware", "whose terminal told this firmware"),
)
BELONGING = (
    ("operator", "of this mobile operator"),
    ("customer", "of this customer"),
    ("site", "of this site"),
    ("region", "of this region"),
    ("stage", "in this stage: in_use, workshop, season, sold"),
)
STAND = (
    ("verdict", "whose verdict is this: good, suspect, fail, unknown; without `kind` the worst of all detectors'"),
    ("kind", "the detector whose verdict is meant, by filter and sort"),
    ("connected", "`yes` or `no`"),
    ("overdue", "`yes` or `no`: whether it should have been heard by now"),
)
SORT = ("sort", f"one of {', '.join(SORTS)}; with a minus before it downwards")
TICKET_SORT = ("sort", f"one of {', '.join(TICKET_SORTS)}; with a minus before it downwards")


def _span(begins: str, ends: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "query",
            "description": f"{what}, ISO 8601 with an offset; {asked.LONGEST_SPAN.days} days at most",
            "schema": {"type": "string", "format": "date-time"},
        }
        for name, what in ((begins, f"beginning; default 24 h before `{ends}`"), (ends, "end; default the last record"))
    ]


SPAN = _span("since", "until")
ACTS = {
    Action.TAKE: "Take the ticket into work, or over.",
    Action.ASSIGN: "Give it to a person or a team.",
    Action.ESCALATE: "Hand it to a higher tier, with the reason.",
    Action.QUALIFY: "Say its class, topic, component and priority; needed before the first reply, question or visit.",
    Action.NOTE: "Write an internal note; of a client it is a word to the desk.",
    Action.REPLY: "Answer the client.",
    Action.ASK: "Ask the client, item by item; the ticket waits for the answer.",
    Action.ANSWER: "The client's answer; work goes on.",
    Action.ETA: "Say when it will be right.",
    Action.VENDOR: "Hand it to a vendor or to development; its pre-checks must be green or waived.",
    Action.VENDOR_DONE: "The vendor is done.",
    Action.WAIVE: "Go on without a pre-check, with the reason.",
    Action.TASK_DONE: "A task is done, with its outcome.",
    Action.DEFER: "Put it off, by one of four codes and its condition.",
    Action.RESUME: "Go on with it.",
    Action.VISIT: "A visit is needed, for one of three reasons.",
    Action.FIX: "It is fixed: what it was; then the proof, or the client's consent, is awaited.",
    Action.CONSENT: "Record the client's consent to close; only while it is awaited.",
    Action.DISPUTE: "The client says it is not fixed.",
    Action.CLOSE: "Close a ticket whose consent is on record; one consent serves one closing.",
    Action.REOPEN: "It is back, within the policy's time: the same number, a new cycle.",
    Action.WITHDRAW: "End it without consent, counted apart.",
    Action.MERGE: "It is the same as another, which goes on; this number keeps working.",
    Action.SPLIT: "Move what is another matter into a ticket of its own.",
    Action.LINK: "Link it with another.",
    Action.PERMIT: "Record the client's permission to work from afar: whose word, how it came, until when.",
    Action.REVOKE: "Take it back: `permission` is its id; without it, all that count.",
    Action.COMMAND: "Send its terminal a command; under some policies only while a permission counts.",
    Action.READ: "A known error was read for it: `known_error`; the pre-check `documentation` is green then.",
    Action.HELPED: "A known error was of help with it.",
    Action.LEARN: "Make a known error of a closed ticket; its symptom in words about no client.",
    Action.ENTRUST: "Keep access data: sealed, erased at `until` (default: after three days) or with the ticket.",
}
# Keys, besides a text, without which an action cannot be; what else it needs goes by the ticket and its policy.
NEEDED: dict[Action, tuple[str, ...]] = {
    Action.WAIVE: ("reason",),
    Action.TASK_DONE: ("task", "outcome"),
    Action.DEFER: ("code",),
    Action.WITHDRAW: ("reason",),
    Action.MERGE: ("into",),
    Action.SPLIT: ("messages", "subject"),
    Action.LINK: ("to", "kind"),
    Action.READ: ("known_error",),
    Action.HELPED: ("known_error",),
    Action.ENTRUST: ("label", "secret"),
}


async def show(request: Request) -> Response:
    """The description; open to everybody."""
    return answer(description(desk(request).settings.version, request.app.state.rows))


@cache
def description(version: str, rows: Rows = ()) -> dict[str, Any]:
    """The whole OpenAPI object; `rows` are the routes of features that declare theirs."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Dozor desk",
            "version": version or "0",
            "description": (
                "The desk's pages as JSON. Instants are UTC, those of a clock have its zone's offset; lists are paged "
                "by cursor."
            ),
        },
        "security": [{"token": []}, {"session": []}],
        "paths": joined_paths(_paths(), row_paths(rows)),
        "components": {
            "schemas": _schemas(rows),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`dozor user token NAME`"},
                "session": {"type": "apiKey", "in": "cookie", "name": "dozor_session"},
            },
        },
    }


def _paths() -> dict[str, Any]:
    number = in_path("number", "ticket number, such as DZ-10017")
    terminal = in_path("terminal", "identity of the terminal")
    named = {**filtered(TERMINAL), "required": True}
    measure = {**filtered(("measure", "its name, such as speed")), "required": True}
    limit = {**PAGED[1], "schema": {**PAGED[1]["schema"], "default": PAGE_LIMIT}}
    words = filtered(("search", "part of a number, identity, name or title"))
    incident_state = ("state", "`open` or `closed`")
    paths = {
        "/api/tickets": _get(
            "Tickets",
            "The queue",
            "TicketPage",
            [*map(filtered, (STATE, KIND, TERMINAL, VERDICT, *BUILD, TICKET_SORT)), words, *PAGED],
        ),
        "/api/tickets/{number}": _get(
            "Tickets", "One ticket with evidence and journal", "Ticket", [number], missing=True
        ),
    }
    for action, summary in ACTS.items():
        paths[f"/api/tickets/{{number}}/{action}"] = _post(action, summary, number)
    paths |= {
        "/api/incidents": _get(
            "Tickets",
            "Incidents, newest first",
            "IncidentPage",
            [*map(filtered, (incident_state, KIND, TERMINAL, MEMBERS)), *PAGED],
        ),
        "/api/incidents/{id}": _get(
            "Tickets",
            "One incident with its members and its ticket's evidence",
            "IncidentDetail",
            [in_path("id", "`id` of an incident")],
            missing=True,
        ),
        "/api/incidents/{id}/explain": _get(
            "Tickets",
            "The numbers that an incident was decided by; of a member those of its group's",
            "Explained",
            [in_path("id", "`id` of an incident")],
            missing=True,
        ),
        "/api/terminals": _get(
            "Terminals",
            "Terminals",
            "TerminalPage",
            [*map(filtered, (*STAND, *BUILD, *BELONGING, SORT)), words, *PAGED],
        ),
        "/api/terminals/{terminal}": _get(
            "Terminals", "One terminal and its latest record", "TerminalDetail", [terminal], missing=True
        ),
        "/api/positions": _get("Terminals", "The track of a span", "Positions", [named, *SPAN, limit], missing=True),
        "/api/series": _get("Terminals", "A measure over a span", "Series", [named, measure, *SPAN], missing=True),
        "/api/terminals/{terminal}/fuel-events": _get(
            "Terminals",
            "Refuellings and drains of a span, and what a sick sensor saw",
            "FuelEvents",
            [terminal, *_span("from", "to")],
            missing=True,
        ),
        "/api/connections": _get(
            "Terminals", "Connections of a terminal, newest first", "ConnectionPage", [named, *PAGED], missing=True
        ),
        "/api/messages": _get(
            "Terminals", "Messages of a terminal, newest first", "MessagePage", [named, *PAGED], missing=True
        ),
        "/api/terminals/{terminal}/commands": {
            **_get(
                "Terminals", "Commands of a terminal, newest first", "CommandPage", [terminal, *PAGED], missing=True
            ),
            **_send(terminal),
        },
        "/api/terminals/{terminal}/commands/{id}": _get(
            "Terminals",
            "One command, and what became of it",
            "Command",
            [terminal, in_path("id", "`id` of a command")],
            missing=True,
        ),
        "/api/quarantine": _get(
            "Terminals", "What could not become records, newest first", "QuarantinePage", [filtered(TERMINAL), *PAGED]
        ),
        "/api/quarantine/{number}": _get(
            "Terminals",
            "One frame of the quarantine, decoded",
            "QuarantinedFrame",
            [in_path("number", "its `id` in the list")],
            missing=True,
        ),
        "/api/bytes": _get(
            "Terminals",
            "What each byte on the wire is: of bytes that are given, or of a quarantined frame",
            "Anatomy",
            [
                {**filtered(("bytes", "hex, or lines of a text protocol")), "schema": {"type": "string"}},
                filtered(("protocol", "whose bytes they are; without it the first ones tell")),
                filtered(("udp", "`yes`: they are one datagram")),
                filtered(("frame", "in place of all these: `id` of a quarantined frame")),
            ],
            missing=True,
        ),
        "/api/fleet": _get("Fleet", "The fleet in numbers", "Fleet", []),
        "/api/fleet/health": _get(
            "Fleet",
            "Groups of terminals in use: how many are silent, and incidents of silence by day",
            "Health",
            [filtered(("by", f"what they share: one of {', '.join(BY)}"))],
        ),
        "/api/counts": _get("Fleet", "Incidents and tickets by kind", "Counts", []),
        "/api/search": _get(
            "Fleet", "Terminals, names and ticket numbers", "Found", [filtered(("q", "what to look for"))]
        ),
    }
    return paths


def _get(
    tag: str, summary: str, schema: str, parameters: list[dict[str, Any]], *, missing: bool = False
) -> dict[str, Any]:
    statuses = [400, 401, 403, *([404] if missing else []), 503]
    return {
        "get": {
            "tags": [tag],
            "summary": summary,
            "parameters": parameters,
            "responses": {"200": content(summary, schema), **refusals(statuses)},
        }
    }


def _post(action: Action, summary: str, number: dict[str, Any]) -> dict[str, Any]:
    needed = [*(["text"] if MOVES[action].text else []), *NEEDED.get(action, ())]
    body: dict[str, Any] = {"allOf": [{"$ref": "#/components/schemas/Body"}], "required": needed}
    return {
        "post": {
            "tags": ["Tickets"],
            "summary": summary,
            "parameters": [number, KEY],
            "requestBody": {"required": bool(needed), "content": {"application/json": {"schema": body}}},
            "responses": {"200": content("The ticket", "Ticket"), **refusals([400, 401, 403, 404, 409, 413, 422, 503])},
        }
    }


def _send(terminal: dict[str, Any]) -> dict[str, Any]:
    body = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1, "description": "one line, as the protocol takes it"},
            "expires_in": {
                "type": ["string", "number"],
                "default": "10m",
                "description": f"seconds, or text such as `90s`, `10m`, `24h`; at most {LONGEST.days} days",
            },
            "key": {
                "type": ["string", "null"],
                "maxLength": MAX_KEY,
                "description": "the same one again is the same command, and answered 200",
            },
            "repeat": {
                "type": "boolean",
                "default": False,
                "description": "may be sent again on a later connection while it is not answered",
            },
        },
        "required": ["text"],
    }
    return {
        "post": {
            "tags": ["Terminals"],
            "summary": f"Queue a command; {MAX_OPEN} may wait for a terminal",
            "parameters": [terminal, KEY],
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": content("The command that has this key", "Command"),
                "201": content("The command", "Command"),
                **refusals([400, 401, 403, 404, 409, 413, 503]),
            },
        }
    }


def _schemas(rows: Rows) -> dict[str, Any]:
    """Schemas of everything sent, in which every property is present that nobody is kept from, and of all bodies."""
    named = LISTED | SINGLE | answered(rows)
    roots, components = msgspec.json.schema_components(named.values(), ref_template="#/components/schemas/{name}")
    schemas = dict(components)
    for name, root in zip(named, roots, strict=True):
        reference = root.get("$ref", "").rpartition("/")[2]
        if reference != name:
            schemas[name] = schemas.pop(reference) if reference in schemas else root
    schemas["Ticket"]["properties"]["clocks"] = {"type": "array", "items": {"$ref": "#/components/schemas/Clock"}}
    away = kept_away(rows)
    for name, schema in schemas.items():
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
        if "properties" in schema:
            schema["required"] = [field for field in schema["properties"] if field not in away.get(name, ())]
            for field in schema["properties"].values():
                field.pop("default", None)
    openapi_types.date(schemas, openapi_types.instants(named.values()))
    return schemas | clock_schemas() | body_schemas(rows, Body)
