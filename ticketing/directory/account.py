"""`/account`: what everybody keeps for themselves: language and zone, password, second factor, API tokens."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import wraps
from io import BytesIO
from typing import Any, TypeAlias

import segno
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ticketing.core.errors import Problem, WrongInputError
from ticketing.directory import fields as forms
from ticketing.directory.fields import entered, shown
from ticketing.kit.access import set_session, visitor
from ticketing.kit.body import checked
from ticketing.kit.forms import checked_fields
from ticketing.kit.pages import number_in, render
from ticketing.kit.parts import part
from ticketing.kit.settings import DeskSettings
from ticketing.kit.throttle import Throttle
from ticketing.kit.words import N_, _
from ticketing.people.accounts import MIN_PASSWORD, Accounts, OwnSettings
from ticketing.people.totp import SecondFactor, new_secret, otpauth
from ticketing.people.users import SCOPES, Users

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

MAX_LABEL = 64
DAYS = {30: N_("30 days"), 90: N_("90 days"), 365: N_("a year"), 0: N_("never")}
DONE = {
    "settings": N_("Saved."),
    "password": N_("The password is changed; other sessions and all tokens have ended."),
    "off": N_("No code is asked for any more."),
    "revoked": N_("The token has ended."),
}
_log = structlog.get_logger()


def _told(handler: Handler) -> Handler:
    """What is wrong with a form is told on its page."""

    @wraps(handler)
    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except WrongInputError as error:
            return await _page(request, problems=error.problems)

    return handle


async def show(request: Request) -> Response:
    """The page."""
    return await _page(request, done=DONE.get(request.query_params.get("done", ""), ""))


async def change(request: Request) -> Response:
    """Language and time zone."""
    given = entered(await checked_fields(request), forms.OWN)
    try:
        await part(request, Accounts).set_own(visitor(request).user, checked(given, OwnSettings))
    except WrongInputError as error:
        return await _page(request, given=given, problems=error.problems)
    return _done("settings")


@_told
async def password(request: Request) -> Response:
    """A new password; this browser stays signed in, with a session of its own."""
    fields = await checked_fields(request)
    await _prove(request, str(fields.get("current", "")))
    new = str(fields.get("new", ""))
    if len(new) < MIN_PASSWORD or len(new.encode(errors="replace")) > 1024:
        raise WrongInputError(
            Problem(
                "new", _("too short or too long"), _("choose one of at least %(n)s characters") % {"n": MIN_PASSWORD}
            )
        )
    if new != fields.get("again", ""):
        raise WrongInputError(Problem("again", _("the two are not the same"), _("type the new password twice")))
    users, name = part(request, Users), visitor(request).user.name
    await users.set_password(name, new)
    _log.info("password changed", user=name)
    response = _done("password")
    who = await users.verify(name, new)
    token = await users.open_session(who, request.client.host if request.client else "") if who else None
    if token is not None:
        set_session(response, users, token, secure=part(request, DeskSettings).https)
    return response


async def totp_on(request: Request) -> Response:
    """The code proves that the app has the secret; from now on one is asked for."""
    fields = await checked_fields(request)
    user, secret = visitor(request).user, str(fields.get("secret", ""))
    try:
        codes = await part(request, SecondFactor).enrol(user.id, secret, str(fields.get("code", "")))
    except WrongInputError as error:
        return await _page(request, secret=secret, problems=error.problems)
    _log.info("second factor on", user=user.name)
    return await _page(request, codes=codes)


@_told
async def totp_off(request: Request) -> Response:
    """Needs the password: who finds a screen unlocked must not take the lock off."""
    fields = await checked_fields(request)
    await _prove(request, str(fields.get("current", "")))
    await part(request, SecondFactor).forget(visitor(request).user.id)
    _log.info("second factor off", user=visitor(request).user.name)
    return _done("off")


@_told
async def recovery(request: Request) -> Response:
    """New recovery codes, for the password."""
    fields = await checked_fields(request)
    await _prove(request, str(fields.get("current", "")))
    return await _page(request, codes=await part(request, SecondFactor).renew(visitor(request).user.id))


@_told
async def add_token(request: Request) -> Response:
    """A new API token, shown this once."""
    fields = await checked_fields(request)
    await _prove(request, str(fields.get("current", "")))
    label, scope, days = (str(fields.get(name, "")).strip() for name in ("label", "scope", "days"))
    if not (0 < len(label) <= MAX_LABEL and label.isprintable()):
        raise WrongInputError(Problem("label", _("is missing or too long"), _("say what the token is for")))
    if scope not in SCOPES or days not in map(str, DAYS):
        raise HTTPException(400, "scope and days: what the form offers")
    users, user = part(request, Users), visitor(request).user
    now = part(request, Accounts).now()
    expires = now + timedelta(days=int(days)) if int(days) else None
    token = await users.token(user.name, scope, label=label, expires_at=expires)
    _log.info("token made", user=user.name, scope=scope)
    return await _page(request, token=token)


async def revoke(request: Request) -> Response:
    """End one of the own tokens."""
    await checked_fields(request)
    await part(request, Users).revoke(number_in(request), visitor(request).user.name)
    return _done("revoked")


def _done(what: str) -> Response:
    return RedirectResponse(f"/account?done={what}", 303)


async def _prove(request: Request, current: str) -> None:
    """The own password once more, as often as at the sign-in.

    Raises
    ------
    WrongInputError
        If it is not that.
    HTTPException
        429 after too many wrong ones.
    """
    user, throttle = visitor(request).user, part(request, Throttle)
    address = request.client.host if request.client else ""
    wait = math.ceil(throttle.begin(user.name, address))
    if wait > 0:
        raise HTTPException(429, _("Too many attempts. Try again in %(seconds)s s.") % {"seconds": wait})
    try:
        who = await part(request, Users).verify(user.name, current)
    except Exception:
        throttle.undone(user.name, address)
        raise
    if who is None or who.user.id != user.id:
        raise WrongInputError(Problem("current", _("is not your password"), _("type the one you sign in with")))
    throttle.succeeded(user.name, address)


async def _page(
    request: Request,
    *,
    given: dict[str, Any] | None = None,
    problems: Sequence[Problem] = (),
    secret: str = "",
    codes: Sequence[str] = (),
    token: str = "",
    done: str = "",
) -> Response:
    user = visitor(request).user
    left = await part(request, SecondFactor).recovery_left(user.id)
    secret = secret or new_secret()
    uri = otpauth(secret, user.name)
    return render(
        request,
        "account.html",
        status=422 if problems else 200,
        fields=forms.OWN,
        given=shown({"language": user.language, "time_zone": user.time_zone} if given is None else given, forms.OWN),
        problems=problems,
        left=left,
        secret=secret,
        uri=uri,
        picture=_picture(uri) if left is None else "",
        codes=codes,
        token=token,
        tokens=await part(request, Users).tokens(user.name),
        scopes={"full": N_("may do what I may"), "read": N_("may only read")},
        days=DAYS,
        done=done,
    )


def _picture(uri: str) -> str:
    """The text as a QR code: an SVG without anything that scripts or styles."""
    packed = BytesIO()
    segno.make(uri, error="m").save(packed, kind="svg", scale=4, border=4, xmldecl=False, svgns=True, light="#fff")
    return packed.getvalue().decode()
