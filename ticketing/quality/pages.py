"""Pages of known errors, reply templates and reviews: forms over the same stores as the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ticketing.core.errors import ConflictError, NotAllowedError, Problem, WrongInputError
from ticketing.directory.fields import ACTIVE, LANGUAGE, Field, entered, shown
from ticketing.kit import asked
from ticketing.kit.access import Visitor, visitor
from ticketing.kit.body import checked
from ticketing.kit.forms import checked_fields
from ticketing.kit.pages import render
from ticketing.kit.parts import part
from ticketing.kit.vocabulary import KINDS
from ticketing.kit.words import N_, _
from ticketing.people.scope import Kind, hidden
from ticketing.quality import api, reviews
from ticketing.quality.known_errors import ChangedKnownError, KnownError, KnownErrors, NewKnownError
from ticketing.quality.reply_templates import (
    VARIABLES,
    ChangedReplyTemplate,
    NewReplyTemplate,
    ReplyTemplate,
    ReplyTemplates,
)
from ticketing.quality.reviews import Mark
from ticketing.tickets.api import Intake
from ticketing.tickets.eyes import ticket_for

T = TypeVar("T", bound=msgspec.Struct)

KNOWN_ERROR = (
    Field("symptom", N_("Symptom"), "area", hint=N_("in words about no client"), required=True),
    Field("cause", N_("Cause"), "area", empty="text"),
    Field("workaround", N_("Workaround"), "area", empty="text"),
    Field("link", N_("Documentation"), hint=N_("an address, https://…")),
    Field("kind", N_("Kind of incident"), "choice", KINDS),
    Field("protocol", N_("Protocol")),
    Field("model", N_("Model")),
    Field("public", N_("Clients and crews see it"), "check"),
    ACTIVE,
)
REPLY_TEMPLATE = (
    Field("name", N_("Name"), required=True),
    LANGUAGE._replace(required=True),
    Field("text", N_("Text"), "area", required=True),
    ACTIVE,
)
# What a message is judged by, in the words of the form.
CRITERIA = {
    "polite": N_("polite, as the house speaks"), "clear": N_("clear to who reads it"),
    "complete": N_("says what was asked and what comes next"), "official": N_("by official channels alone"),
}  # fmt: skip


async def known_errors(request: Request) -> Response:
    """All that the visitor sees, and a form for a new one; with `ticket`, what is read is read for that."""
    return await _known_errors(request, {"active": True}, ())


async def _known_errors(
    request: Request, given: Mapping[str, Any], problems: Sequence[Problem], status: int = 200
) -> Response:
    return render(
        request,
        "known_errors.html",
        status=status,
        found=await api.known_errors(request),
        chosen={name: asked.parameter(request, name) or "" for name in ("search", "kind", "ticket")},
        ticket=await _ticket(request),
        first="cursor" not in request.query_params,
        fields=KNOWN_ERROR,
        given=shown(given, KNOWN_ERROR),
        problems=problems,
    )


async def add_known_error(request: Request) -> Response:
    """The form for a new one."""
    return await _saved(
        request, KNOWN_ERROR, NewKnownError,
        lambda body: part(request, KnownErrors).add(visitor(request).user, body),
        lambda given, problems: _known_errors(request, given, problems, 422), "/known-errors",
    )  # fmt: skip


async def known_error(request: Request) -> Response:
    """One of them."""
    return await _known_error(request, await api.known_error(request))


async def _known_error(
    request: Request, found: KnownError, given: Mapping[str, Any] | None = None, problems: Sequence[Problem] = ()
) -> Response:
    return render(
        request,
        "known_error.html",
        status=422 if problems else 200,
        found=found,
        away=hidden(visitor(request).user, Kind.KNOWN_ERROR),
        ticket=await _ticket(request),
        fields=KNOWN_ERROR,
        given=shown(msgspec.to_builtins(found) if given is None else given, KNOWN_ERROR),
        problems=problems,
    )


async def change_known_error(request: Request) -> Response:
    """The form of one."""
    found = await api.known_error(request)
    return await _saved(
        request, KNOWN_ERROR, ChangedKnownError,
        lambda body: part(request, KnownErrors).change(visitor(request).user, found.id, body),
        lambda given, problems: _known_error(request, found, given, problems), f"/known-errors/{found.id}",
    )  # fmt: skip


async def _ticket(request: Request) -> str | None:
    """The number of the ticket that is asked about, if the visitor may read known errors for it and sees it."""
    number, who = asked.parameter(request, "ticket"), visitor(request)
    if number is None or not who.may("read"):
        return None
    async with part(request, Intake).pool.connection() as connection:
        found = await ticket_for(connection, number, who.user, part(request, Intake).now())
    return None if found is None else found.number


async def reply_templates(request: Request) -> Response:
    """All of them, and a form for a new one."""
    return await _reply_templates(request, {"active": True, "language": "en"}, ())


async def _reply_templates(
    request: Request, given: Mapping[str, Any], problems: Sequence[Problem], status: int = 200
) -> Response:
    return render(
        request,
        "reply_templates.html",
        status=status,
        found=await api.reply_templates(request),
        first="cursor" not in request.query_params,
        variables=VARIABLES,
        fields=REPLY_TEMPLATE,
        given=shown(given, REPLY_TEMPLATE),
        problems=problems,
    )


async def add_reply_template(request: Request) -> Response:
    """The form for a new one."""
    return await _saved(
        request, REPLY_TEMPLATE, NewReplyTemplate,
        lambda body: part(request, ReplyTemplates).add(visitor(request).user, body),
        lambda given, problems: _reply_templates(request, given, problems, 422), "/reply-templates",
    )  # fmt: skip


async def reply_template(request: Request) -> Response:
    """One of them."""
    return _reply_template(request, await api.reply_template(request))


def _reply_template(
    request: Request, found: ReplyTemplate, given: Mapping[str, Any] | None = None, problems: Sequence[Problem] = ()
) -> Response:
    return render(
        request,
        "reply_template.html",
        status=422 if problems else 200,
        found=found,
        variables=VARIABLES,
        fields=REPLY_TEMPLATE,
        given=shown(msgspec.to_builtins(found) if given is None else given, REPLY_TEMPLATE),
        problems=problems,
    )


async def change_reply_template(request: Request) -> Response:
    """The form of one."""
    found = await api.reply_template(request)

    async def again(given: Mapping[str, Any], problems: Sequence[Problem]) -> Response:
        return _reply_template(request, found, given, problems)

    return await _saved(
        request, REPLY_TEMPLATE, ChangedReplyTemplate,
        lambda body: part(request, ReplyTemplates).change(visitor(request).user, found.id, body), again,
        "/reply-templates",
    )  # fmt: skip


async def review_page(request: Request) -> Response:
    """A month's sample: whose rate is met, what is to be looked at, what was."""
    return await _reviews(request)


async def _reviews(
    request: Request, which: int = 0, given: Mapping[str, Any] | None = None, problems: Sequence[Problem] = (),
    status: int = 200,
) -> Response:  # fmt: skip
    """`which` of the page's forms holds what was `given`, and what is wrong with it."""
    who: Visitor = visitor(request)
    async with part(request, Intake).pool.connection() as connection:
        months = await reviews.drawn_months(connection)
        rates = await reviews.rates(connection, api.month_in(request))
        seen = who.seen(Kind.TICKET)
        cursor, limit = asked.cursor(request), asked.limit(request)
        page = await reviews.listed(connection, seen, month=rates.month or "", cursor=cursor, limit=limit)
    return render(
        request,
        "reviews.html",
        status=status,
        months=months,
        rates=rates,
        page=page,
        first="cursor" not in request.query_params,
        criteria=CRITERIA,
        which=which,
        given=given or {},
        problems=problems,
    )


async def mark_review(request: Request) -> Response:
    """The form of a message: a criterion that is not ticked is not met."""
    found = await api.review(request)
    fields = await checked_fields(request)
    given = {"criteria": {name: name in fields for name in CRITERIA}, "note": str(fields.get("note", ""))}
    try:
        await api.marked(request, found.id, checked(given, Mark))
    except WrongInputError as error:
        return await _reviews(request, found.id, given, error.problems, 422)
    except (ConflictError, NotAllowedError) as error:
        status = 409 if isinstance(error, ConflictError) else 403
        return await _reviews(request, found.id, given, [Problem("", str(error), _("look at it again"))], status)
    return RedirectResponse(f"/reviews?month={found.month}#review-{found.id}", 303)


async def _saved(
    request: Request,
    table: Sequence[Field],
    kind: type[T],
    work: Callable[[T], Awaitable[object]],
    again: Callable[[Mapping[str, Any], Sequence[Problem]], Awaitable[Response]],
    target: str,
) -> Response:
    """A form's way: read, done, and on to `target`; or the page again with what was entered and what is wrong."""
    given = entered(await checked_fields(request), table)
    try:
        await work(checked(given, kind, strict=False))
    except WrongInputError as error:
        return await again(given, error.problems)
    except ConflictError as error:
        return await again(given, [Problem("", str(error), _("look at it again"))])
    return RedirectResponse(target, 303)
