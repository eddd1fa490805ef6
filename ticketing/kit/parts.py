"""What a handler may use, by its type: the composition root puts it in, features below the desk ask for it here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import Request

T = TypeVar("T")


def put_parts(app: Starlette, parts: Iterable[object]) -> None:
    """Let handlers of `app` find each of `parts` by its class."""
    app.state.parts = {type(each): each for each in parts}


def part(request: Request, kind: type[T]) -> T:
    """The application's one `kind`."""
    found: T = request.app.state.parts[kind]
    return found
