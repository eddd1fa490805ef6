"""`/outages`: what is away and was, and forms to declare it, to say when it is expected back, and that it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ticketing.core.errors import ConflictError, Problem, WrongInputError
from ticketing.kit.access import visitor
from ticketing.kit.body import checked
from ticketing.kit.forms import checked_form, zoned
from ticketing.kit.pages import number_in, render
from ticketing.kit.parts import part
from ticketing.kit.rendering import Rendering
from ticketing.kit.sent_once import new_key, sent_once
from ticketing.kit.uploads import Posted
from ticketing.kit.words import N_
from ticketing.tickets import outage_api
from ticketing.tickets.api import Intake
from ticketing.tickets.outage_api import ChangedOutage, NewOutage
from ticketing.tickets.outages import AFTER

# What one says about a field of these forms, for its label and for what is wrong with it.
WORDS = {
    "service": N_("What is away"), "started_at": N_("Since"), "eta": N_("Expected back at"),
    "terminals": N_("Only these terminals"),
}  # fmt: skip


async def show(request: Request) -> Response:
    """The page."""
    return await _page(request)


async def declare(request: Request) -> Response:
    """The form of a new one."""
    fields = await checked_form(request)

    async def work() -> str:
        said: dict[str, Any] = _zoned(request, fields, "service", "started_at", "eta")
        if names := fields.get("terminals", "").split():
            said["terminals"] = names
        await outage_api.begin(request, checked(said, NewOutage, strict=False))
        return "/outages"

    digest = Posted({name: [value] for name, value in fields.items()}, ()).digest("csrf", "key")
    return await _done(request, "new", fields, lambda: sent_once(request, fields.get("key", ""), digest, work))


async def change(request: Request) -> Response:
    """The form of an open one; an empty date: nobody knows."""
    fields, number = await checked_form(request), number_in(request)

    async def work() -> str:
        said = {"eta": None} | _zoned(request, fields, "eta")
        await outage_api.promise(request, number, checked(said, ChangedOutage, strict=False))
        return f"/outages#outage-{number}"

    return await _done(request, str(number), fields, work)


async def finish(request: Request) -> Response:
    """The button of an open one."""
    fields, number = await checked_form(request), number_in(request)

    async def work() -> str:
        await outage_api.end(request, number)
        return "/outages"

    return await _done(request, str(number), fields, work)


async def _done(
    request: Request, which: str, fields: Mapping[str, str], work: Callable[[], Awaitable[str]]
) -> Response:
    """On to where it leads; or the page again, with what was typed and what is wrong with it."""
    try:
        return RedirectResponse(await work(), 303)
    except WrongInputError as error:
        return await _page(request, which, fields, error.problems, 422)
    except ConflictError as error:
        return await _page(request, which, fields, [Problem("", str(error), "")], 409)


def _zoned(request: Request, fields: Mapping[str, str], *names: str) -> dict[str, Any]:
    """The fields that are not empty, instants with the offset of the reader's zone."""
    said = {name: fields[name].strip() for name in names if fields.get(name, "").strip()}
    return dict(zoned(said, part(request, Rendering).zone_of(visitor(request))))


async def _page(
    request: Request, which: str = "", given: Mapping[str, str] | None = None, problems: Sequence[Problem] = (),
    status: int = 200,
) -> Response:  # fmt: skip
    async with part(request, Intake).pool.connection() as connection:
        found = await outage_api.load(connection)
    given = given or {}
    return render(
        request,
        "outages.html",
        status=status,
        away=[one for one in found if one.ended_at is None],
        over=[one for one in found if one.ended_at is not None],
        after=AFTER,
        words=WORDS,
        which=which,
        given=given,
        problems=[Problem(p.field.partition("[")[0], p.problem, p.remedy) for p in problems],
        key=given.get("key") or new_key(),
    )
