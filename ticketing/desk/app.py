"""The desk as one ASGI application: every route in one table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from itertools import chain

from psycopg import OperationalError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, request_response
from starlette.staticfiles import StaticFiles

from ticketing.commands import Commands
from ticketing.core.errors import TicketingError
from ticketing.core.moments import utc_now
from ticketing.desk import api, login, openapi, pages
from ticketing.desk.queries import Desk
from ticketing.directory import routes as directory
from ticketing.kit.access import Gate
from ticketing.kit.answers import refusal
from ticketing.kit.kept import Kept
from ticketing.kit.parts import put_parts
from ticketing.kit.ports import Reader
from ticketing.kit.rendering import Rendering
from ticketing.kit.routes import Row, joined, once
from ticketing.kit.settings import STATIC, DeskSettings
from ticketing.kit.shield import Shield
from ticketing.kit.throttle import Throttle
from ticketing.letters import pages as letters
from ticketing.mail import api as mail
from ticketing.mail import pages as mail_pages
from ticketing.model.states import PEOPLE, Action
from ticketing.people.users import Users
from ticketing.quality import routes as quality
from ticketing.recordings import api as recordings
from ticketing.reloads import api as reloads
from ticketing.tickets import routes as tickets
from ticketing.tickets.store import TicketStore

# The rows of each feature.
FEATURES: tuple[tuple[Row, ...], ...] = (
    directory.ROUTES, tickets.ROUTES, mail.ROUTES, mail_pages.ROUTES, quality.ROUTES, recordings.ROUTES,
    reloads.ROUTES,
)  # fmt: skip


def rows() -> tuple[Row, ...]:
    """The routes of all features that declare theirs."""
    return tuple(chain.from_iterable(FEATURES))


def routes() -> list[BaseRoute]:
    """All routes. Identities may hold slashes, hence the `path` convertor."""
    acts: list[BaseRoute] = []
    for action in PEOPLE:
        acts.append(_action("/tickets/{number}/", action, pages.act))
        acts.append(Route("/tickets/{number}/" + action, pages.back, methods=["GET"]))
        acts.append(_action("/api/tickets/{number}/", action, api.act))
    return [
        *joined(rows()),
        *letters.routes(),
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
        Route("/api/terminals/{terminal:path}/commands", once(api.send), methods=["POST"]),
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
    parts: Iterable[object] = (),
    now: Callable[[], datetime] = utc_now,
) -> Starlette:
    """Build the desk; `parts` is what the features' handlers use, each found by its class.

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
        exception_handlers=dict.fromkeys((HTTPException, TicketingError, OperationalError), _refused),
    )
    rendering = Rendering(settings, now, reader.kinds)
    app.state.rows = rows()
    throttle = throttle or Throttle()
    kept = Kept()
    put_parts(app, (*parts, rendering, users, settings, throttle, kept))
    app.state.desk = Desk(
        tickets=tickets,
        commands=commands,
        reader=reader,
        users=users,
        settings=settings,
        throttle=throttle,
        rendering=rendering,
        kept=kept,
        now=now,
    )
    return app


def _action(
    path: str,
    action: Action,
    handler: Callable[[Request, Action], Awaitable[Response]],
) -> Route:
    """A route whose last segment is the action: only the five there are exist."""

    async def act(request: Request) -> Response:
        return await handler(request, action)

    return Route(path + action, once(act) if path.startswith("/api/") else act, methods=["POST"])


async def _refused(request: Request, error: Exception) -> Response:
    response = refusal(request, error)
    if response is None:
        raise error
    return response
