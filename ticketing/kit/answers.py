"""Answers under /api, and how what went wrong becomes one, there and on pages.

WrongInputError 422 with `errors` · NotFoundError 404 · NotAllowedError 403 · ConflictError 409
InvalidTextError 400 · HTTPException as it says · OperationalError 503: the store is away
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from psycopg import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ticketing.core.errors import ConflictError, InvalidTextError, NotAllowedError, NotFoundError, WrongInputError
from ticketing.kit.parts import part
from ticketing.kit.rendering import Rendering
from ticketing.kit.words import N_

AWAY = N_("the store does not answer in time; please try again")
TITLES = {
    400: "Something is wrong with this request",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "Not possible as things stand",
    422: "Something is wrong with what was sent",
    503: "The store is away",
}
STATUSES = {NotFoundError: 404, NotAllowedError: 403, ConflictError: 409, InvalidTextError: 400}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was refused."""

    error: str


class WrongField(msgspec.Struct):
    """One thing that is wrong with what was sent."""

    field: str
    problem: str
    remedy: str


class WrongInput(msgspec.Struct):
    """All that is wrong with what was sent; nothing was written."""

    errors: list[WrongField]


def answer(value: Any, status: int = 200) -> Response:
    """`value` as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def refusal(request: Request, error: Exception) -> Response | None:
    """The answer to a request that was refused; None for what nobody foresaw."""
    if isinstance(error, WrongInputError):
        if not request.scope["path"].startswith("/api/"):
            return _problem(request, 422, str(error))
        return answer(WrongInput([WrongField(*problem) for problem in error.problems]), 422)
    if isinstance(error, HTTPException):
        return _problem(request, error.status_code, error.detail, dict(error.headers or {}))
    if isinstance(error, OperationalError):
        return _problem(request, 503, AWAY, {"Retry-After": "5"})
    for kind, status in STATUSES.items():
        if isinstance(error, kind):
            return _problem(request, status, str(error))
    return None


def _problem(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    if request.scope["path"].startswith("/api/"):
        response = answer(Problem(detail), status)
    else:
        who = getattr(request.state, "visitor", None)
        response = part(request, Rendering).page(
            "error.html",
            status=status,
            who=who,
            csrf=who.csrf if who else "",
            path=request.scope["path"],
            title=TITLES.get(status, "This did not work"),
            detail=detail,
        )
    response.headers.update(headers or {})
    return response
