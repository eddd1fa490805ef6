"""A feature's routes as rows: who may, what comes in, what goes out. The desk joins them, and describes them from here.

    ROUTES = (
        Row("GET", "/api/organisations", "organisations", listed, answer=Page[Organisation], paged=True, …),
        Row("POST", "/api/organisations", "organisations.write", add, body=NewOrganisation, answer=Organisation, …),
    )

A handler takes the request and gives the answer's value (sent as JSON with the row's status), or a whole response.
The row's right has been checked before; the handler looks for the object first (404), then reads the body (`kit.body`).
Under /api every POST may bring an `Idempotency-Key`: what it was answered is answered again, and nothing is done twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ticketing.core.errors import Problem, WrongInputError
from ticketing.core.idempotency import MAX_KEY, Answer, BusyKeyError, Idempotency
from ticketing.core.paging import Page
from ticketing.kit.access import require, visitor
from ticketing.kit.answers import answer, refusal
from ticketing.kit.parts import part
from ticketing.people.scope import Kind, hidden, shown

Handler = Callable[[Request], Awaitable[Any]]
Method = Literal["GET", "POST", "PATCH"]

# Of what is answered by these nothing was done, and the next attempt may do better: they are not kept.
PASSING = frozenset({401, 408, 413, 429})


@dataclass(frozen=True, slots=True)
class Row:
    """One route. `answer` and `body` are types, None of a page; `filters` are query parameters and what they mean.

    `status` is that of success. `kind` is what the answer, or each item of its page, is: fields of it that the visitor
    is not shown are left out (`people.scope`). `path` may hold `{name}` and `{name:path}`. `also`: further
    statuses, 404 where what its body names may be missing, 200 where what was to be made may be there.
    """

    method: Method
    path: str
    right: str
    handler: Handler
    summary: str = ""
    tag: str = ""
    body: Any = None
    answer: Any = None
    status: int = 200
    paged: bool = False
    filters: tuple[tuple[str, str], ...] = ()
    kind: Kind | None = None
    also: tuple[int, ...] = ()


def joined(rows: Iterable[Row]) -> list[BaseRoute]:
    """The rows as routes; among equal paths each method has its own."""
    return [Route(row.path, _endpoint(row), methods=[row.method]) for row in rows]


def _endpoint(row: Row) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        given = await row.handler(request)
        return given if isinstance(given, Response) else answer(_shown(request, row.kind, given), row.status)

    work = once(handle) if row.method == "POST" and row.path.startswith("/api/") else handle

    async def endpoint(request: Request) -> Response:
        require(request, row.right)
        return await work(request)

    return endpoint


def _shown(request: Request, kind: Kind | None, given: Any) -> Any:
    """The answer without the fields that are hidden from the visitor."""
    user = visitor(request).user
    if kind is None or not hidden(user, kind):
        return given
    if isinstance(given, Page):
        items = [shown(user, kind, msgspec.to_builtins(item)) for item in given.items]
        return Page(items, given.total, given.next)
    return shown(user, kind, msgspec.to_builtins(given))


def once(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """`handler`, done once for each `Idempotency-Key`; without one as it is."""

    async def endpoint(request: Request) -> Response:
        key = request.headers.get("idempotency-key")
        if key is None:
            return await handler(request)
        if not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
            raise WrongInputError(
                Problem("Idempotency-Key", "is no key", f"send 1 to {MAX_KEY} printable ASCII characters")
            )
        keys, who = part(request, Idempotency), str(visitor(request).user.id)
        url = request.scope["path"].encode(errors="replace") + b"?" + request.scope["query_string"]
        try:
            known = await keys.claim(who, key, b"%s %s\n%s" % (request.method.encode(), url, await request.body()))
        except BusyKeyError as error:
            response = refusal(request, error)
            assert response is not None  # noqa: S101 - of a ConflictError there is always one
            response.headers["Retry-After"] = "1"
            return response
        if known is not None:
            again = Response(known.text, known.status, media_type="application/json")
            again.headers["Idempotency-Replayed"] = "true"
            return again
        response = None
        try:
            response = await _answered(request, handler)
        finally:
            if response is None or response.status_code >= 500 or response.status_code in PASSING:
                await keys.release(who, key)
            else:
                await keys.settle(who, key, Answer(response.status_code, bytes(response.body).decode()))
        return response

    return endpoint


async def _answered(request: Request, handler: Callable[[Request], Awaitable[Response]]) -> Response:
    try:
        return await handler(request)
    except Exception as error:
        response = refusal(request, error)
        if response is None:
            raise
        return response
