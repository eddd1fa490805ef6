"""The desk as one ASGI application: every route in one table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from psycopg import OperationalError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, request_response
from starlette.staticfiles import StaticFiles

from ticketing.commands import Commands
from ticketing.core.errors import ConflictError, InvalidTextError, NotAllowedError, NotFoundError, WrongInputError
from ticketing.core.moments import utc_now
from ticketing.desk import api, login, openapi, pages
from ticketing.desk.queries import Desk
from ticketing.kit.access import Gate, Visitor
from ticketing.kit.kept import Kept
from ticketing.kit.ports import Reader
from ticketing.kit.rendering import Rendering
from ticketing.kit.settings import STATIC, DeskSettings
from ticketing.kit.shield import Shield
from ticketing.kit.throttle import Throttle
from ticketing.model.states import PEOPLE, Action
from ticketing.people.users import Users
from ticketing.tickets.store import TicketStore

TITLES = {
    400: "Something is wrong with this request",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "Not possible as things stand",
    503: "The store is away",
}


def routes() -> list[BaseRoute]:
    """All routes. Identities may hold slashes, hence the `path` convertor."""
    acts: list[BaseRoute] = []
    for action in PEOPLE:
        acts.append(_action("/tickets/{number}/", action, pages.act))
        acts.append(Route("/tickets/{number}/" + action, pages.back, methods=["GET"]))
        acts.append(_action("/api/tickets/{number}/", action, api.act))
    return [
        Route("/", pages.home),
        Route("/login", login.show, methods=["GET"]),
        Route("/login", login.sign_in, methods=["POST"]),
        Route("/logout", login.sign_out, methods=["POST"]),
        Route("/tickets", pages.tickets),
        Route("/tickets/{number}", pages.ticket),
        Route("/terminals", pages.terminals),
        Route("/terminals/{terminal:path}/commands", pages.send, methods=["POST"]),
        Route("/terminals/{terminal:path}", pages.terminal),
        Route("/incidents", pages.incidents),
        Route("/incidents/{id}", pages.incident),
        Route("/quarantine", pages.quarantine),
        Route("/quarantine/{number}", pages.quarantined),
        Route("/bytes", pages.anatomy),
        Route("/fleet", pages.fleet),
        Route("/search", pages.search),
        Route("/api/tickets", api.tickets),
        Route("/api/tickets/{number}", api.ticket),
        *acts,
        Route("/api/incidents", api.incidents),
        Route("/api/incidents/{id}", api.incident),
        Route("/api/incidents/{id}/explain", api.explained),
        Route("/api/terminals", api.terminals),
        Route("/api/terminals/{terminal:path}/fuel-events", api.fuel_events),
        Route("/api/terminals/{terminal:path}/commands", api.send, methods=["POST"]),
        Route("/api/terminals/{terminal:path}/commands", api.commands, methods=["GET"]),
        Route("/api/terminals/{terminal:path}/commands/{id}", api.command),
        Route("/api/terminals/{terminal:path}", api.terminal),
        Route("/api/positions", api.positions),
        Route("/api/series", api.series),
        Route("/api/connections", api.connections),
        Route("/api/messages", api.messages),
        Route("/api/quarantine", api.quarantine),
        Route("/api/quarantine/{number}", api.quarantined),
        Route("/api/bytes", api.anatomy),
        Route("/api/fleet", api.fleet),
        Route("/api/fleet/health", api.health),
        Route("/api/counts", api.counts),
        Route("/api/search", api.search),
        Route("/openapi.json", openapi.show),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


def create_app(
    *,
    tickets: TicketStore,
    commands: Commands,
    reader: Reader,
    users: Users,
    settings: DeskSettings | None = None,
    throttle: Throttle | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Starlette:
    """Build the desk.

    It starts no task and holds no connection of its own; `users.close()` after it has stopped ends the password
    threads.
    """
    settings = settings or DeskSettings()
    app = Starlette(
        routes=routes(),
        middleware=[
            Middleware(Shield, tiles=settings.tiles, https=settings.https),
            Middleware(Gate, users=users, ended=request_response(login.ended)),
        ],
        exception_handlers={
            HTTPException: _refused,
            NotFoundError: _explained(404),
            NotAllowedError: _explained(403),
            ConflictError: _explained(409),
            WrongInputError: _wrong,
            InvalidTextError: _explained(400),
            OperationalError: _store_away,
        },
    )
    app.state.desk = Desk(
        tickets=tickets,
        commands=commands,
        reader=reader,
        users=users,
        settings=settings,
        throttle=throttle or Throttle(),
        rendering=Rendering(settings, now, reader.kinds),
        kept=Kept(),
        now=now,
    )
    return app


def _action(path: str, action: Action, handler: Callable[[Request, Action], Awaitable[Response]]) -> Route:
    """A route whose last segment is the action: only the five there are exist."""

    async def act(request: Request) -> Response:
        return await handler(request, action)

    return Route(path + action, act, methods=["POST"])


def _problem(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    if request.scope["path"].startswith("/api/"):
        response = api.answer(api.Problem(detail), status)
    else:
        who: Visitor | None = getattr(request.state, "visitor", None)
        title = TITLES.get(status, "This did not work")
        response = request.app.state.desk.rendering.page(
            "error.html",
            status=status,
            who=who,
            csrf=who.csrf if who else "",
            path=request.scope["path"],
            title=title,
            detail=detail,
        )
    response.headers.update(headers or {})
    return response


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _problem(request, error.status_code, error.detail, dict(error.headers or {}))


def _explained(status: int) -> Callable[[Request, Exception], Response]:
    def explain(request: Request, error: Exception) -> Response:
        return _problem(request, status, str(error))

    return explain


async def _wrong(request: Request, error: Exception) -> Response:
    if not isinstance(error, WrongInputError):
        raise error
    if not request.scope["path"].startswith("/api/"):
        return _problem(request, 422, str(error))
    return api.answer({"errors": [problem._asdict() for problem in error.problems]}, 422)


async def _store_away(request: Request, _error: Exception) -> Response:
    return _problem(request, 503, "the store does not answer in time; please try again", {"Retry-After": "5"})
