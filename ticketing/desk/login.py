"""Signing in and out."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from urllib.parse import quote

import structlog
from psycopg import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ticketing.desk.queries import desk
from ticketing.kit.access import (
    LOGIN_COOKIE,
    SESSION_COOKIE,
    csrf_matches,
    csrf_token,
    safe_next,
    visitor,
)
from ticketing.kit.kept import Told
from ticketing.model.tickets import TEXT_LIMIT
from ticketing.people.passwords import BusyError

FORM_FIELDS = 20
ENDED = "Your session had ended, so nothing was done yet. Sign in, and what you typed is there again."
NOT_DONE = "Nothing was done yet: the session had ended. Your text is below; please choose the action again."
_log = structlog.get_logger()


async def form(request: Request) -> dict[str, str]:
    """The fields of a form, the last of equal names counts; line ends as in JSON.

    Raises
    ------
    HTTPException
        400 for what our pages never send: a multipart form says in which encoding it is to be read, and may lie.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise HTTPException(400, "send the form as application/x-www-form-urlencoded")
    fields = await request.form(max_files=0, max_fields=FORM_FIELDS)
    return {name: value.replace("\r\n", "\n") for name, value in fields.items() if isinstance(value, str)}


def vouched(request: Request, fields: Mapping[str, str]) -> bool:
    """Whether the form carries the token of the session that sends it."""
    session = visitor(request).session
    return session is not None and csrf_matches(session, fields.get("csrf", ""))


async def checked_form(request: Request) -> dict[str, str]:
    """The fields of one of our own forms.

    Raises
    ------
    HTTPException
        403 without the form's token.
    """
    fields = await form(request)
    if not vouched(request, fields):
        raise HTTPException(403, "this form is not from the desk or has expired: open the page again")
    return fields


async def show(request: Request) -> Response:
    """The login page, also for who is signed in: to sign in as somebody else."""
    return _page(request, target=safe_next(request.query_params.get("next", "")))


async def ended(request: Request) -> Response:
    """A form whose session is over: to be signed in again, with the text and its page kept."""
    _, kind, name = request.scope["path"].rpartition("/")[0].split("/", 2)
    target = safe_next(f"/{kind}/{quote(name, safe='')}")
    try:
        fields = await form(request)
    except HTTPException:  # none of our forms
        return RedirectResponse("/login?next=" + quote(target, safe=""), 303)
    return _page(request, target=target, kept=fields.get("text", ""), error=ENDED, status=401)


async def sign_in(request: Request) -> Response:
    """Check name and password; all failures look the same and cost the same."""
    fields = await form(request)
    target, kept = safe_next(fields.get("next", "")), fields.get("kept")
    name, password = fields.get("username", "").strip(), fields.get("password", "")
    if not csrf_matches(request.cookies.get(LOGIN_COOKIE, ""), fields.get("csrf", "")):
        return _page(
            request, target=target, kept=kept, name=name, error="The form has expired. Please try again.", status=403
        )
    here = desk(request)
    address = request.client.host if request.client else ""
    wait = here.throttle.begin(name, address)
    if wait > 0:
        return _page(
            request,
            target=target,
            kept=kept,
            name=name,
            error=f"Too many attempts. Try again in {math.ceil(wait)} s.",
            status=429,
            retry=math.ceil(wait),
        )
    try:
        signed_in = await here.users.sign_in(name, password, address)
    except OperationalError:
        here.throttle.undone(name, address)
        raise
    except BusyError:
        here.throttle.undone(name, address)
        return _page(
            request,
            target=target,
            kept=kept,
            name=name,
            error="Too many people sign in at this moment. Try again.",
            status=503,
            retry=2,
        )
    if signed_in is None:
        _log.warning("sign-in refused", address=address)  # without the name: it may be a password in the wrong field
        return _page(request, target=target, kept=kept, name=name, error="Wrong name or password.", status=401)
    here.throttle.succeeded(name, address)
    _log.info("signed in", user=signed_in[0].name, address=address)
    before = request.cookies.get(SESSION_COOKIE)
    if before:
        await here.users.sign_out(before)
    if kept is not None:
        target += "?told=" + here.kept.put(signed_in[0].name, Told(NOT_DONE, kept[:TEXT_LIMIT]))
    response = RedirectResponse(target, 303)
    response.set_cookie(
        SESSION_COOKIE,
        signed_in[1],
        max_age=int(here.users.lifetime.total_seconds()),
        path="/",
        secure=here.settings.https,
        httponly=True,
        samesite="lax",
    )
    response.delete_cookie(LOGIN_COOKIE, path="/login", secure=here.settings.https, httponly=True, samesite="strict")
    return response


async def sign_out(request: Request) -> Response:
    """End the session."""
    await checked_form(request)
    await desk(request).users.sign_out(visitor(request).session or "")
    response = RedirectResponse("/login", 303)
    response.delete_cookie(SESSION_COOKIE, path="/", secure=desk(request).settings.https, httponly=True, samesite="lax")
    return response


def _page(
    request: Request,
    *,
    target: str,
    kept: str | None = None,
    name: str = "",
    error: str = "",
    status: int = 200,
    retry: int = 0,
) -> Response:
    secret = request.cookies.get(LOGIN_COOKIE) or secrets.token_urlsafe(32)
    here = desk(request)
    response = here.rendering.page(
        "login.html",
        status=status,
        headers={"Retry-After": str(retry)} if retry else None,
        csrf=csrf_token(secret),
        target=target,
        kept=kept if kept is None else kept[:TEXT_LIMIT],
        name=name,
        error=error,
        who=None,
    )
    response.set_cookie(
        LOGIN_COOKIE,
        secret,
        max_age=3600,
        path="/login",
        secure=here.settings.https,
        httponly=True,
        samesite="strict",
    )
    return response
