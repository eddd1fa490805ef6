"""Signing in and out."""

from __future__ import annotations

import base64
import math
import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

import msgspec
import structlog
from psycopg import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ticketing.core.sealed import Seal, SealError
from ticketing.desk.queries import desk
from ticketing.kit.access import (
    LOGIN_COOKIE,
    SESSION_COOKIE,
    csrf_matches,
    csrf_token,
    safe_next,
    set_session,
    visitor,
)
from ticketing.kit.forms import checked_form, form
from ticketing.kit.kept import Told
from ticketing.kit.parts import part
from ticketing.kit.shield import MAX_BODY
from ticketing.kit.uploads import posted
from ticketing.kit.words import N_, _
from ticketing.model.tickets import TEXT_LIMIT
from ticketing.people.passwords import BusyError
from ticketing.people.totp import SecondFactor
from ticketing.people.users import Verified

ENDED = N_("Your session had ended, so nothing was done yet. Sign in, and what you typed is there again.")
NOT_DONE = N_("Nothing was done yet: the session had ended. Your text is below; please choose the action again.")
CODE_WITHIN = timedelta(minutes=5)  # from the password to the code
PENDING = "sign-in that waits for its code"
_log = structlog.get_logger()


class Asked(NamedTuple):
    """What the login form carries: where it leads, a text that was typed before, who signs in, and how far that is."""

    target: str
    kept: str | None = None
    name: str = ""
    pending: str = ""


class Pending(msgspec.Struct):
    """Whose password was right, until when that counts, and in which browser."""

    user: int
    mark: bytes
    until: datetime
    browser: bytes


async def show(request: Request) -> Response:
    """The login page, also for who is signed in: to sign in as somebody else."""
    return _page(request, Asked(safe_next(request.query_params.get("next", ""))))


async def ended(request: Request) -> Response:
    """A form whose session is over: to be signed in again, with the text and its page kept."""
    kind, name = request.scope["path"].rpartition("/")[0].split("/", 2)[1:]
    target = safe_next(f"/{kind}/{quote(name, safe='')}")
    try:
        # Files of a stranger are not read; without any a form of files is as short as every other.
        came = await posted(request) if _is_short(request) else None
    except HTTPException:  # none of our forms
        came = None
    if came is None or (came.files and "text" not in came.fields):
        return RedirectResponse("/login?next=" + quote(target, safe=""), 303)
    return _page(request, Asked(target, came.fields.get("text", "")), error=_(ENDED), status=401)


def _is_short(request: Request) -> bool:
    """Whether the body is bounded as those of forms without files are."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        return True  # the shield sees to it
    announced = request.headers.get("content-length", "")
    return announced.isascii() and announced.isdecimal() and len(announced) < 10 and int(announced) <= MAX_BODY


async def sign_in(request: Request) -> Response:
    """Check name and password, or the code that is asked for after them; all failures look and cost the same."""
    fields = await form(request)
    asked = Asked(
        safe_next(fields.get("next", "")),
        fields.get("kept"),
        fields.get("username", "").strip(),
        fields.get("pending", ""),
    )
    if not csrf_matches(request.cookies.get(LOGIN_COOKIE, ""), fields.get("csrf", "")):
        return _page(
            request, asked._replace(pending=""), error=_("The form has expired. Please try again."), status=403
        )
    here = desk(request)
    first = None
    if asked.pending:
        first = await _pending(request, asked.pending)
        if first is None:
            again = asked._replace(pending="")
            return _page(request, again, error=_("That took too long. Please sign in again."), status=401)
        asked = asked._replace(name=first.user.name)
    address = request.client.host if request.client else ""
    wait = here.throttle.begin(asked.name, address)
    if wait > 0:
        seconds = math.ceil(wait)
        error = _("Too many attempts. Try again in %(seconds)s s.") % {"seconds": seconds}
        return _page(request, asked, error=error, status=429, retry=seconds)
    try:
        if first is None:
            who = await here.users.verify(asked.name, fields.get("password", ""))
            right = who is not None
        else:
            who = first
            right = await part(request, SecondFactor).check(who.user.id, fields.get("code", ""))
    except OperationalError:
        here.throttle.undone(asked.name, address)
        raise
    except BusyError:
        here.throttle.undone(asked.name, address)
        error = _("Too many people sign in at this moment. Try again.")
        return _page(request, asked, error=error, status=503, retry=2)
    except SealError:
        here.throttle.undone(asked.name, address)
        _log.error("second factor cannot be read: secrets.key is not the one it was sealed with", user=asked.name)
        error = _("Your code cannot be checked here just now. Please tell who runs this desk.")
        return _page(request, asked, error=error, status=503)
    if who is None or not right:
        _log.warning("sign-in refused", address=address)  # without the name: it may be a password in the wrong field
        error = _("Wrong code.") if first is not None else _("Wrong name or password.")
        return _page(request, asked, error=error, status=401)
    if first is None and who.second:
        here.throttle.undone(asked.name, address)  # no more: wrong codes must not be forgotten for a right password
        return _page(request, asked._replace(pending=_seal_pending(request, who)))
    here.throttle.succeeded(asked.name, address)
    token = await here.users.open_session(who, address)
    if token is None:  # the password was changed in this moment
        return _page(request, asked._replace(pending=""), error=_("Wrong name or password."), status=401)
    _log.info("signed in", user=who.user.name, address=address)
    return await _let_in(request, asked, who.user.name, token)


async def _let_in(request: Request, asked: Asked, name: str, token: str) -> Response:
    """A new session of its own, whatever cookie the browser had: one that somebody planted there opens nothing."""
    here = desk(request)
    before = request.cookies.get(SESSION_COOKIE)
    if before:
        await here.users.sign_out(before)
    target = asked.target
    if asked.kept is not None:
        target += "?told=" + here.kept.put(name, Told(_(NOT_DONE), asked.kept[:TEXT_LIMIT]))
    response = RedirectResponse(target, 303)
    set_session(response, here.users, token, secure=here.settings.https)
    response.delete_cookie(LOGIN_COOKIE, path="/login", secure=here.settings.https, httponly=True, samesite="strict")
    return response


def _seal_pending(request: Request, who: Verified) -> str:
    """That somebody's password was right, for this browser and some minutes; the form carries it."""
    until = desk(request).now() + CODE_WITHIN
    told = msgspec.json.encode(Pending(who.user.id, who.mark, until, _browser(request)))
    return base64.urlsafe_b64encode(part(request, Seal).seal(told, PENDING)).decode()


async def _pending(request: Request, sealed: str) -> Verified | None:
    """Whose password was right a moment ago in this browser, if it is still their password."""
    try:
        opened = part(request, Seal).open(base64.urlsafe_b64decode(sealed[:1000].encode()), PENDING)
        told = msgspec.json.decode(opened, type=Pending)
    except (SealError, ValueError):  # a binascii.Error is one too
        return None
    if told.until < desk(request).now() or told.browser != _browser(request):
        return None
    return await desk(request).users.verified(told.user, told.mark)


def _browser(request: Request) -> bytes:
    return sha256(request.cookies.get(LOGIN_COOKIE, "").encode(errors="replace")).digest()


async def sign_out(request: Request) -> Response:
    """End the session."""
    await checked_form(request)
    await desk(request).users.sign_out(visitor(request).session or "")
    response = RedirectResponse("/login", 303)
    response.delete_cookie(SESSION_COOKIE, path="/", secure=desk(request).settings.https, httponly=True, samesite="lax")
    return response


def _page(request: Request, asked: Asked, *, error: str = "", status: int = 200, retry: int = 0) -> Response:
    secret = request.cookies.get(LOGIN_COOKIE) or secrets.token_urlsafe(32)
    here = desk(request)
    response = here.rendering.page(
        "login.html",
        status=status,
        headers={"Retry-After": str(retry)} if retry else None,
        csrf=csrf_token(secret),
        target=asked.target,
        kept=asked.kept if asked.kept is None else asked.kept[:TEXT_LIMIT],
        name=asked.name,
        pending=asked.pending,
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
