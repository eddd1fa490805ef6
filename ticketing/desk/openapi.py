"""`/openapi.json`: OpenAPI 3.1, the paths by hand, the schemas from the types that are sent."""

from __future__ import annotations

from functools import cache
from inspect import cleandoc
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ticketing.desk import api, asked
from ticketing.desk.openapi_clock import clock_schemas
from ticketing.desk.ports import Connection, Fleet, Message, Page, Quarantined, Terminal
from ticketing.desk.queries import Found, desk
from ticketing.store import Counts, Incident
from ticketing.store import Page as StorePage
from ticketing.tickets import TEXT_LIMIT, TEXT_REQUIRED, Action, Ticket, TicketSummary

LISTED: dict[str, Any] = {
    "TicketPage": StorePage[TicketSummary],
    "IncidentPage": StorePage[Incident],
    "TerminalPage": Page[Terminal],
    "ConnectionPage": Page[Connection],
    "MessagePage": Page[Message],
    "QuarantinePage": Page[Quarantined],
}
SINGLE: dict[str, Any] = {
    "Ticket": Ticket,
    "TerminalDetail": api.TerminalDetail,
    "Positions": api.Positions,
    "Series": api.Series,
    "Fleet": Fleet,
    "Counts": Counts,
    "Found": Found,
    "Problem": api.Problem,
}

INSTANTS = {"time", "received", "last_seen", "last_contact", "since", "until"}

STATE = ("state", "tickets in this state")
KIND = ("kind", "of this kind: silence, firmware …")
TERMINAL = ("terminal", "of this terminal: its identity")
PAGED: list[dict[str, Any]] = [
    {
        "name": "cursor",
        "in": "query",
        "description": "`next` of the page before",
        "schema": {"type": "string", "maxLength": asked.MAX_PARAMETER},
    },
    {
        "name": "limit",
        "in": "query",
        "description": "page size",
        "schema": {"type": "integer", "minimum": 1, "maximum": asked.MAX_LIMIT, "default": asked.DEFAULT_LIMIT},
    },
]
SPAN = [
    {
        "name": name,
        "in": "query",
        "description": f"{what}, ISO 8601 with an offset; {asked.LONGEST_SPAN.days} days at most",
        "schema": {"type": "string", "format": "date-time"},
    }
    for name, what in (("since", "beginning; default 24 h before `until`"), ("until", "end; default the last record"))
]
ACTS = {
    Action.TAKE: "Take a new ticket, or one that waits for the client, into work.",
    Action.NOTE: "Write a line into the journal.",
    Action.ASK: "Ask the client; the ticket waits for the answer.",
    Action.CONSENT: "Record the client's consent to close; only while it is awaited.",
    Action.CLOSE: "Close a ticket whose consent is on record; one consent serves one closing.",
}
REFUSALS = {
    400: "A parameter or the body is wrong.",
    401: "Neither session nor token; told before anything is looked up or validated.",
    403: "The role has no right to it, or the token may only read.",
    404: "There is none, or it is not yours.",
    409: "The ticket's state does not allow it.",
    503: "The store does not answer in time.",
}


async def show(request: Request) -> Response:
    """The description; open to everybody."""
    return api.answer(description(desk(request).settings.version))


@cache
def description(version: str) -> dict[str, Any]:
    """The whole OpenAPI object."""
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
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`dozor user token NAME`"},
                "session": {"type": "apiKey", "in": "cookie", "name": "dozor_session"},
            },
        },
    }


def _paths() -> dict[str, Any]:
    number = _in_path("number", "ticket number, such as DZ-10017")
    terminal = _in_path("terminal", "identity of the terminal")
    named = {**_filter(TERMINAL), "required": True}
    measure = {**_filter(("measure", "its name, such as speed")), "required": True}
    limit = {**PAGED[1], "schema": {**PAGED[1]["schema"], "default": asked.MAX_LIMIT}}
    words = _filter(("search", "part of a number, identity, name or title"))
    incident_state = ("state", "`open` or `closed`")
    paths = {
        "/api/tickets": _get(
            "Tickets", "The queue", "TicketPage", [*map(_filter, (STATE, KIND, TERMINAL)), words, *PAGED]
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
            [*map(_filter, (incident_state, KIND, TERMINAL)), *PAGED],
        ),
        "/api/terminals": _get("Terminals", "Terminals by identity", "TerminalPage", [words, *PAGED]),
        "/api/terminals/{terminal}": _get(
            "Terminals", "One terminal and its latest record", "TerminalDetail", [terminal], missing=True
        ),
        "/api/positions": _get("Terminals", "The track of a span", "Positions", [named, *SPAN, limit], missing=True),
        "/api/series": _get("Terminals", "A measure over a span", "Series", [named, measure, *SPAN], missing=True),
        "/api/connections": _get(
            "Terminals", "Connections of a terminal, newest first", "ConnectionPage", [named, *PAGED], missing=True
        ),
        "/api/messages": _get(
            "Terminals", "Messages of a terminal, newest first", "MessagePage", [named, *PAGED], missing=True
        ),
        "/api/quarantine": _get(
            "Terminals", "What could not become records, newest first", "QuarantinePage", [_filter(TERMINAL), *PAGED]
        ),
        "/api/fleet": _get("Fleet", "The fleet in numbers", "Fleet", []),
        "/api/counts": _get("Fleet", "Incidents and tickets by kind", "Counts", []),
        "/api/search": _get(
            "Fleet", "Terminals, names and ticket numbers", "Found", [_filter(("q", "what to look for"))]
        ),
    }
    return paths


def _get(
    tag: str, summary: str, schema: str, parameters: list[dict[str, Any]], *, missing: bool = False
) -> dict[str, Any]:
    refusals = [400, 401, 403, *([404] if missing else []), 503]
    return {
        "get": {
            "tags": [tag],
            "summary": summary,
            "parameters": parameters,
            "responses": {"200": _content(summary, schema), **_refusals(refusals)},
        }
    }


def _post(action: Action, summary: str, number: dict[str, Any]) -> dict[str, Any]:
    needed = action in TEXT_REQUIRED
    body = {
        "type": "object",
        "properties": {"text": {"type": "string", "maxLength": TEXT_LIMIT} | ({"minLength": 1} if needed else {})},
        "required": ["text"] if needed else [],
    }
    return {
        "post": {
            "tags": ["Tickets"],
            "summary": summary,
            "parameters": [number],
            "requestBody": {"required": needed, "content": {"application/json": {"schema": body}}},
            "responses": {"200": _content("The ticket", "Ticket"), **_refusals([400, 401, 403, 404, 409, 503])},
        }
    }


def _refusals(statuses: list[int]) -> dict[str, Any]:
    return {str(status): _content(REFUSALS[status], "Problem") for status in statuses}


def _content(summary: str, schema: str) -> dict[str, Any]:
    return {
        "description": summary,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _filter(named: tuple[str, str]) -> dict[str, Any]:
    name, what = named
    return {
        "name": name,
        "in": "query",
        "description": what,
        "schema": {"type": "string", "maxLength": asked.MAX_PARAMETER},
    }


def _in_path(name: str, what: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": what, "schema": {"type": "string"}}


def _schemas() -> dict[str, Any]:
    """Schemas of everything sent; every property is always present."""
    named = LISTED | SINGLE
    roots, components = msgspec.json.schema_components(named.values(), ref_template="#/components/schemas/{name}")
    schemas = dict(components)
    for name, root in zip(named, roots, strict=True):
        reference = root.get("$ref", "").rpartition("/")[2]
        if reference != name:
            schemas[name] = schemas.pop(reference) if reference in schemas else root
    schemas["Ticket"]["properties"]["clocks"] = {"type": "array", "items": {"$ref": "#/components/schemas/Clock"}}
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
        if "properties" in schema:
            schema["required"] = list(schema["properties"])
            for name, field in schema["properties"].items():
                field.pop("default", None)
                if name.endswith("_at") or name in INSTANTS:
                    next(t for t in field.get("anyOf", [field]) if t["type"] == "string")["format"] = "date-time"
    return schemas | clock_schemas()
