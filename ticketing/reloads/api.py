"""`/api/reloads` and `/reloads`: archives that are asked again, when that will be, and what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from psycopg import sql
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ticketing.core.db import storable
from ticketing.core.errors import ConflictError, InvalidTextError, NotFoundError, Problem, WrongInputError
from ticketing.core.idempotency import done
from ticketing.core.paging import Page
from ticketing.kit import asked
from ticketing.kit.access import visitor
from ticketing.kit.body import checked, json_body
from ticketing.kit.forms import checked_form, zoned
from ticketing.kit.pages import number_in, render
from ticketing.kit.parts import part
from ticketing.kit.rendering import Rendering
from ticketing.kit.routes import Row
from ticketing.kit.sent_once import new_key, sent_once
from ticketing.kit.uploads import Posted
from ticketing.kit.words import N_
from ticketing.people.scope import Kind
from ticketing.reloads import jobs
from ticketing.reloads.jobs import NewReload, Reload
from ticketing.tickets.api import Intake

SHOWN = 50
STATES = {
    "queued": N_("waits"), "running": N_("runs"), "done": N_("done"), "failed": N_("failed"),
    "cancelled": N_("called off"),
}  # fmt: skip
# What one says about a field of the form, for its label and for what is wrong with it; the form's own names.
WORDS = {
    "ticket": N_("Ticket"), "since": N_("Records from"), "until": N_("Records until"),
    "terminal": N_("Terminal, of a ticket about many"), "command": N_("The maker's own command"),
}  # fmt: skip
NAMES = {"since": "from", "until": "to"}


async def listed(request: Request) -> Page[Reload]:
    """Those of tickets that the visitor sees, newest first."""
    state = asked.choice(request, "state", jobs.STATES)
    return await _page_of(request, state, asked.limit(request))


async def one(request: Request) -> Reload:
    """The one that the path names."""
    intake, who = part(request, Intake), visitor(request)
    async with intake.pool.connection() as connection:
        found = await jobs.get(connection, intake.office, who.seen(Kind.TICKET), number_in(request), intake.now())
    return _for_eyes(request, found)


async def ask(request: Request) -> Reload:
    """Put one at the queue's end."""
    return await _ask(request, await json_body(request, NewReload))


async def cancel(request: Request) -> Reload:
    """Call one off."""
    found, intake = await one(request), part(request, Intake)
    async with intake.pool.connection() as connection, connection.transaction():
        await jobs.cancel(connection, found.id, visitor(request).user.name, intake.now())
        await done(connection)
    return await one(request)


async def show(request: Request) -> Response:
    """The page."""
    return await _shown(request, {"ticket": asked.parameter(request, "ticket") or ""})


async def ask_by_form(request: Request) -> Response:
    """The form of a new one."""
    fields = await checked_form(request)
    said = {name: fields[name].strip() for name in WORDS if fields.get(name, "").strip()}

    async def work() -> str:
        typed = zoned(said, part(request, Rendering).zone_of(visitor(request)))
        named = {NAMES.get(name, name): value for name, value in typed.items()}
        await _ask(request, checked(named, NewReload, strict=False))
        return "/reloads"

    digest = Posted({name: [value] for name, value in fields.items()}, ()).digest("csrf", "key")
    return await _done(request, fields, lambda: sent_once(request, fields.get("key", ""), digest, work))


async def cancel_by_form(request: Request) -> Response:
    """The button of one that is not over."""
    fields = await checked_form(request)

    async def work() -> str:
        await cancel(request)
        return "/reloads"

    return await _done(request, fields, work)


async def _done(request: Request, fields: Mapping[str, str], work: Callable[[], Awaitable[str]]) -> Response:
    try:
        return RedirectResponse(await work(), 303)
    except WrongInputError as error:
        forms = {name: field for field, name in NAMES.items()}
        problems = [Problem(forms.get(p.field, p.field), p.problem, p.remedy) for p in error.problems]
        return await _shown(request, fields, problems, 422)
    except (ConflictError, InvalidTextError) as error:
        return await _shown(request, fields, [Problem("", str(error), "")], 409)


async def _ask(request: Request, new: NewReload) -> Reload:
    intake, who = part(request, Intake), visitor(request)
    now = intake.now()
    async with intake.pool.connection() as connection, connection.transaction():
        rows = await connection.execute(
            sql.SQL("SELECT t.id FROM ticket t WHERE t.number = %s AND {}").format(who.seen(Kind.TICKET)),
            (storable(new.ticket),),
        )
        found = await rows.fetchone()
        if found is None:
            raise NotFoundError("no such ticket")
        number = await jobs.ask(connection, intake.office, found[0], new, who.user.name, now)
        await done(connection)
        made = await jobs.get(connection, intake.office, who.seen(Kind.TICKET), number, now)
    return _for_eyes(request, made)


async def _page_of(request: Request, state: str | None, limit: int) -> Page[Reload]:
    intake, who = part(request, Intake), visitor(request)
    async with intake.pool.connection() as connection:
        found = await jobs.listed(
            connection,
            intake.office,
            who.seen(Kind.TICKET),
            intake.now(),
            ticket=asked.parameter(request, "ticket"),
            state=state,
            cursor=asked.cursor(request),
            limit=limit,
        )
    return Page([_for_eyes(request, item) for item in found.items], found.total, found.next)


def _for_eyes(request: Request, found: Reload) -> Reload:
    """Without the words that terminals are told, and who asked, to whom commands are not shown."""
    if visitor(request).may("commands"):
        return found
    return msgspec.structs.replace(found, command=None, asked_by="", reason=None)


async def _shown(
    request: Request, given: Mapping[str, str], problems: Sequence[Problem] = (), status: int = 200
) -> Response:
    intake, who = part(request, Intake), visitor(request)
    async with intake.pool.connection() as connection:
        waiting = await jobs.queued(connection, intake.office, who.seen(Kind.TICKET), intake.now())
    page = await _page_of(request, None, SHOWN)
    return render(
        request,
        "reloads.html",
        status=status,
        waiting=[_for_eyes(request, one) for one in waiting],
        page=page,
        over=[one for one in page.items if one.finished_at is not None],
        first="cursor" not in request.query_params,
        chosen={"ticket": asked.parameter(request, "ticket") or ""},
        called=STATES,
        words=WORDS,
        given=given,
        problems=problems,
        key=given.get("key") or new_key(),
    )


TAG = "Archives"
ROUTES = (
    Row("GET", "/api/reloads", "reloads", listed, "Archives that are asked of terminals again, with an estimate", TAG,
        answer=Page[Reload], paged=True,
        filters=(("ticket", "its number"), ("state", f"one of {', '.join(jobs.STATES)}"))),
    Row("POST", "/api/reloads", "reloads.write", ask,
        "Ask a terminal's archive again: at night, in the order of requests", TAG, body=NewReload, answer=Reload,
        status=201, also=(404,)),
    Row("GET", "/api/reloads/{id}", "reloads", one, "One of them", TAG, answer=Reload),
    Row("POST", "/api/reloads/{id}/cancel", "reloads.write", cancel, "Call it off", TAG, answer=Reload),
    Row("GET", "/reloads", "reloads", show),
    Row("POST", "/reloads", "reloads.write", ask_by_form),
    Row("POST", "/reloads/{id}/cancel", "reloads.write", cancel_by_form),
)  # fmt: skip
