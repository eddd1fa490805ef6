"""Who may do what: every route's right, and the gate that stands before all routes.

Order of refusal: 401 (or a redirect to /login) before anything is looked up or validated; 403 for a role without the
right, and for a read-scope token on every POST; then 404 for what does not exist or is not theirs; then 400; then 409.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import LiteralString
from urllib.parse import quote, urlsplit

from psycopg import sql
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ticketing.kit.words import accepted, speak
from ticketing.model.states import MOVES, PEOPLE, Action
from ticketing.people.scope import Kind, condition
from ticketing.people.users import User, Users

# Of what a right opens everybody sees their own (`people.scope`): the rest is missing to them.
STAFF = frozenset({"admin", "manager", "engineer"})
READERS = STAFF | {"auditor"}
EVERYBODY = READERS | {"crew", "client"}
RIGHTS = {
    "tickets": EVERYBODY,
    "terminals": EVERYBODY,
    "incidents": READERS,
    "quarantine": READERS,
    "bytes": READERS,
    "fleet": READERS,
    "reports": READERS | {"client"},
    **{str(action): MOVES[action].roles for action in PEOPLE},
    "secrets": STAFF,
    "commands": READERS,  # what was sent may hold passwords
    "tickets.open": STAFF | {"client"},
    "mail": READERS,
    "mail.write": STAFF,
    "outages": READERS,
    "outages.write": STAFF,
    "known-errors": EVERYBODY,
    "known-errors.write": STAFF,
    "knowledge": READERS,
    "reply-templates": READERS,
    "reply-templates.write": frozenset({"admin", "manager"}),
    "reviews": frozenset({"admin", "manager", "auditor"}),
    "reviews.write": frozenset({"admin", "manager"}),
    "reloads": READERS | {"client"},
    "reloads.write": MOVES[Action.COMMAND].roles,  # what it does is to send commands
    "recordings": READERS,
    "recordings.write": STAFF,
    "recordings.listen": frozenset({"admin", "auditor"}),
    "close_common": frozenset({"admin", "manager"}),
    "organisations": EVERYBODY,
    "organisations.write": frozenset({"admin", "manager"}),
    "contacts": EVERYBODY,
    "contacts.write": frozenset({"admin", "manager"}),
    "vehicles": EVERYBODY,
    "vehicles.write": frozenset({"admin", "manager", "client"}),
    "users": frozenset({"admin", "auditor"}),
    "users.write": frozenset({"admin"}),
    "settings": frozenset({"admin"}),
    "account": EVERYBODY,
}
FORM = re.compile(r"/tickets/[^/]{1,40}/[a-z-]{1,20}|/terminals/.{1,64}/commands")  # where the forms of pages go
ACTIONS = (*map(str, PEOPLE), "secrets")

LETTER = "/l/"  # pages that links in letters lead to: the token in the path is who may

_ASCII = "".join(map(chr, range(33, 127)))

SESSION_COOKIE = "dozor_session"
LOGIN_COOKIE = "dozor_login"  # what the login form's token is bound to, before there is a session


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks. `session` is the cookie's value, None for an API token."""

    user: User
    session: str | None

    @property
    def csrf(self) -> str:
        """The token their forms carry."""
        return csrf_token(self.session or "")

    def seen(self, kind: Kind, alias: LiteralString = "t") -> sql.Composable:
        """What of a kind they see, as a condition on the table that goes by `alias`."""
        return condition(self.user, kind, alias)

    def may(self, right: str) -> bool:
        """Whether their role has the right; a read-scope token may not act."""
        changes = right in ACTIONS or right.endswith(".write")
        return self.user.role in RIGHTS[right] and not (changes and self.user.scope == "read")


def csrf_token(secret: str) -> str:
    """A form's token: only who can read the cookie can know it, and it does not betray the cookie."""
    return hmac.new(secret.encode(errors="replace"), b"dozor form", sha256).hexdigest()


def csrf_matches(secret: str, token: str) -> bool:
    """Constant-time comparison with what the form carried."""
    return bool(secret) and hmac.compare_digest(csrf_token(secret).encode(), token.encode(errors="replace"))


def set_session(response: Response, users: Users, token: str, *, secure: bool) -> None:
    """The cookie of a session."""
    response.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=int(users.lifetime.total_seconds()),
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def visitor(request: Request) -> Visitor:
    """Who asks; the gate has seen to it that there is somebody."""
    found: Visitor = request.state.visitor
    return found


def require(request: Request, right: str) -> Visitor:
    """The visitor, if the role has the right.

    Raises
    ------
    HTTPException
        403 otherwise.
    """
    who = visitor(request)
    if who.user.role not in RIGHTS[right]:
        raise HTTPException(403, f"the role {who.user.role} may not do this")
    return who


class Gate:
    """Lets through who is signed in; the rest gets the login page, or 401 under /api/.

    Cookies are for browsers, tokens for programs. A cookie may change something under /api/ only with the token of
    its forms or as a JSON request of our own pages, which no other site can make a browser send.
    """

    def __init__(self, app: ASGIApp, users: Users, ended: ASGIApp) -> None:
        """`ended` answers a form of a page whose session is over."""
        self._app = app
        self._users = users
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        liked = accepted(request.headers.get("accept-language", ""))
        speak(liked)
        if _is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        who = await self._visitor(request)
        if who is None:
            if request.method == "POST" and comes_from_here(request) and FORM.fullmatch(scope["path"]):
                # A session that ended while somebody typed: the login page carries the text, and nothing is done.
                scope.setdefault("state", {})["visitor"] = None
                await self._ended(scope, receive, send)
                return
            await _stranger(request)(scope, receive, send)
            return
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            if who.user.scope == "read":
                refusal: Response | None = JSONResponse({"error": "this token may only read"}, 403)
            elif who.session is not None and scope["path"].startswith("/api/") and not _own_request(request, who):
                refusal = JSONResponse({"error": "send X-CSRF-Token, or JSON from the desk's own origin"}, 403)
            else:
                refusal = None
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        scope.setdefault("state", {})["visitor"] = who
        speak(who.user.language or liked or who.user.organisation_language)
        await self._app(scope, receive, send)

    async def _visitor(self, request: Request) -> Visitor | None:
        authorization = request.headers.get("authorization")
        if authorization is not None:
            kind, _, token = authorization.partition(" ")
            user = await self._users.by_token(token.strip()) if kind.lower() == "bearer" else None
            return Visitor(user, None) if user else None
        session = request.cookies.get(SESSION_COOKIE)
        user = await self._users.by_session(session) if session else None
        return Visitor(user, session) if user else None


def _is_open(path: str) -> bool:
    return path in ("/login", "/openapi.json") or path.startswith(("/static/", LETTER))


def _stranger(request: Request) -> Response:
    path = request.scope["path"]  # not request.url: that is built from what the Host header says
    if path == "/api" or path.startswith("/api/"):
        return JSONResponse(
            {"error": "sign in, or send Authorization: Bearer TOKEN"}, 401, {"WWW-Authenticate": 'Bearer realm="dozor"'}
        )
    target = "/login"
    if request.method in ("GET", "HEAD") and path != "/":
        # The path is decoded: an identity's own ? # % must not be read as the address's. The query is as it came.
        query = quote(request.scope["query_string"], safe=_ASCII)
        asked = quote(path) + ("?" + query if query else "")
        target += "?next=" + quote(asked, safe="")
    return RedirectResponse(target, 303)


def _own_request(request: Request, who: Visitor) -> bool:
    if csrf_matches(who.session or "", request.headers.get("x-csrf-token", "")):
        return True
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return False
    return "origin" not in request.headers or comes_from_here(request)


def comes_from_here(request: Request) -> bool:
    """Whether the browser says that one of our own pages sent it; programs say nothing."""
    origin = request.headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # no address at all
        return False


def safe_next(target: str) -> str:
    """`target` if it is a path of this desk, else the queue: a login never leads to another site."""
    if not _plain(target) or not target.startswith("/") or target.startswith("//"):
        return "/tickets"
    parts = urlsplit(target)
    if parts.path in ("/login", "/logout") or parts.path.startswith(("/api/", "/static/")):
        return "/tickets"
    return target


def _plain(target: str) -> bool:
    """Browsers read a backslash as a slash and drop control characters."""
    return len(target) <= 2000 and "\\" not in target and target.isprintable()
