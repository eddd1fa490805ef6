"""`/api/recordings` and `/recordings`: recordings of calls, and the way to hear them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ticketing.core.db import Connection, storable
from ticketing.core.errors import ConflictError, NotFoundError, Problem, WrongInputError
from ticketing.core.idempotency import done
from ticketing.core.paging import Page
from ticketing.kit import asked
from ticketing.kit.access import visitor
from ticketing.kit.answers import answer
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
from ticketing.recordings import store
from ticketing.recordings.store import Heard, NewRecording, Recording
from ticketing.threads.attachments import Stored
from ticketing.threads.download import as_response
from ticketing.tickets.api import Intake

SHOWN = 100
# What one says about a field of the form, for its label and for what is wrong with it.
WORDS = {
    "ticket": N_("Ticket"), "link": N_("Link to the recording"), "attachment": N_("Or a file of the ticket, its id"),
    "called_at": N_("Time of the call"), "consent": N_("Did the caller agree to be recorded?"),
}  # fmt: skip


async def listed(request: Request) -> Page[Recording]:
    """Those of tickets that the visitor sees, newest first."""
    return await _page_of(request, asked.limit(request))


async def one(request: Request) -> Recording:
    """The one that the path names."""
    async with part(request, Intake).pool.connection() as connection:
        return await store.get(connection, visitor(request).seen(Kind.TICKET), number_in(request))


async def add(request: Request) -> Recording:
    """File one."""
    return await _add(request, await json_body(request, NewRecording))


async def listen(request: Request) -> Response:
    """The link, or the file itself; a token that may only read gets neither: listening changes the journal."""
    heard = await _heard(request)
    return as_response(heard) if isinstance(heard, Stored) else answer(heard)


async def show(request: Request) -> Response:
    """The page."""
    return await _shown(request, {"ticket": asked.parameter(request, "ticket") or ""})


async def file(request: Request) -> Response:
    """The form of a new one."""
    fields = await checked_form(request)
    said = {name: fields[name].strip() for name in WORDS if fields.get(name, "").strip()}

    async def work() -> str:
        typed = dict(zoned(said, part(request, Rendering).zone_of(visitor(request))))
        await _add(request, checked(typed, NewRecording, strict=False))
        return "/recordings"

    digest = Posted({name: [value] for name, value in fields.items()}, ()).digest("csrf", "key")
    try:
        return RedirectResponse(await sent_once(request, fields.get("key", ""), digest, work), 303)
    except WrongInputError as error:
        return await _shown(request, fields, error.problems, 422)
    except ConflictError as error:
        return await _shown(request, fields, [Problem("", str(error), "")], 409)


async def hear(request: Request) -> Response:
    """The button: a link would be followed by what looks ahead."""
    await checked_form(request)
    found = await one(request)
    heard = await _heard(request)
    return as_response(heard) if isinstance(heard, Stored) else render(request, "recording.html", heard=heard, of=found)


async def _heard(request: Request) -> Heard | Stored:
    if visitor(request).user.scope == "read":
        raise HTTPException(403, "this token may only read, and a listening is written into the journal")
    found, intake = await one(request), part(request, Intake)
    async with intake.pool.connection() as connection, connection.transaction():
        return await store.listen(connection, found.id, visitor(request).user.name, intake.now())


async def _add(request: Request, new: NewRecording) -> Recording:
    intake, who = part(request, Intake), visitor(request)
    async with intake.pool.connection() as connection, connection.transaction():
        ticket = await _ticket(connection, who.seen(Kind.TICKET), new.ticket)
        number = await store.add(connection, intake.office, ticket, new, who.user.name, intake.now())
        await done(connection)
        return await store.get(connection, who.seen(Kind.TICKET), number)


async def _ticket(connection: Connection, seen: sql.Composable, number: str) -> int:
    rows = await connection.execute(
        sql.SQL("SELECT t.id FROM ticket t WHERE t.number = %s AND {}").format(seen), (storable(number),)
    )
    found = await rows.fetchone()
    if found is None:
        raise NotFoundError("no such ticket")
    return int(found[0])


async def _page_of(request: Request, limit: int) -> Page[Recording]:
    async with part(request, Intake).pool.connection() as connection:
        return await store.listed(
            connection,
            visitor(request).seen(Kind.TICKET),
            asked.parameter(request, "ticket"),
            asked.cursor(request),
            limit,
        )


async def _shown(
    request: Request, given: Mapping[str, str], problems: Sequence[Problem] = (), status: int = 200
) -> Response:
    return render(
        request,
        "recordings.html",
        status=status,
        page=await _page_of(request, SHOWN),
        first="cursor" not in request.query_params,
        chosen={"ticket": asked.parameter(request, "ticket") or ""},
        words=WORDS,
        given=given,
        problems=problems,
        key=given.get("key") or new_key(),
    )


TAG = "Recordings"
ROUTES = (
    Row("GET", "/api/recordings", "recordings", listed, "Recordings of calls; where they are, is told to who listens",
        TAG, answer=Page[Recording], paged=True, filters=(("ticket", "its number"),)),
    Row("POST", "/api/recordings", "recordings.write", add, "File a call's recording with its ticket", TAG,
        body=NewRecording, answer=Recording, status=201, also=(404,)),
    Row("GET", "/api/recordings/{id}", "recordings", one, "One recording", TAG, answer=Recording),
    Row("GET", "/api/recordings/{id}/listen", "recordings.listen", listen,
        "Where to hear it, or the file; the listening is in the ticket's journal", TAG, answer=Heard),
    Row("GET", "/recordings", "recordings", show),
    Row("POST", "/recordings", "recordings.write", file),
    Row("POST", "/recordings/{id}/listen", "recordings.listen", hear),
)  # fmt: skip
