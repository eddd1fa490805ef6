"""What the description of the API is put together from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ticketing.core.idempotency import MAX_KEY
from ticketing.core.paging import PAGE_LIMIT
from ticketing.kit import asked

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
        "schema": {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT, "default": asked.DEFAULT_LIMIT},
    },
]
KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "the same request with the same key is answered the same, and does nothing again",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
}
ENDS = {"from", "to"}  # of a span
REFUSALS = {
    400: "A parameter or the body is wrong.",
    401: "Neither session nor token; told before anything is looked up or validated.",
    403: "The role has no right to it, or the token may only read.",
    404: "There is none, or it is not yours.",
    409: "Not possible as things stand: a ticket's state, a protocol without commands, a missing consent, a used key.",
    413: "The body is too long.",
    422: "The body is wrong; each problem is named, nothing was written.",
    503: "The store does not answer in time.",
}


def refusals(statuses: Iterable[int]) -> dict[str, Any]:
    """What else it may answer."""
    return {str(status): content(REFUSALS[status], "WrongInput" if status == 422 else "Problem") for status in statuses}


def content(summary: str, schema: str) -> dict[str, Any]:
    """An answer of this schema."""
    return {
        "description": summary,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def filtered(named: tuple[str, str]) -> dict[str, Any]:
    """A query parameter: its name and what it means."""
    name, what = named
    kind = {"format": "date-time"} if name in ENDS else {"maxLength": asked.MAX_PARAMETER}
    return {"name": name, "in": "query", "description": what, "schema": {"type": "string", **kind}}


def in_path(name: str, what: str) -> dict[str, Any]:
    """A parameter of the path."""
    return {"name": name, "in": "path", "required": True, "description": what, "schema": {"type": "string"}}
