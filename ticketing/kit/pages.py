"""Pages of features: who looks, their form's token, and a path's number."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ticketing.kit.access import visitor
from ticketing.kit.asked import row_id
from ticketing.kit.parts import part
from ticketing.kit.rendering import Rendering


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """A page with what all pages need: who looks, and their forms' token."""
    who = visitor(request)
    return part(request, Rendering).page(
        template, status=status, who=who, csrf=who.csrf, path=request.scope["path"], **values
    )


def number_in(request: Request, name: str = "id") -> int:
    """The number that the path names; 0, which nothing has, for what is none."""
    return row_id(request.path_params[name])
