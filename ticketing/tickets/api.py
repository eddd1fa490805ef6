"""`POST /api/tickets`, and a ticket's files and access data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import sql
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ticketing.core.db import Connection, Pool, storable
from ticketing.core.idempotency import done
from ticketing.core.paging import Page
from ticketing.kit import asked
from ticketing.kit.access import visitor
from ticketing.kit.answers import answer
from ticketing.kit.body import json_body
from ticketing.kit.forms import checked_form
from ticketing.kit.pages import number_in, render
from ticketing.kit.parts import part
from ticketing.model.states import Action
from ticketing.model.tickets import Secret
from ticketing.people.contacts import Contacts
from ticketing.people.scope import Kind, condition
from ticketing.threads.attachments import load
from ticketing.threads.download import as_response
from ticketing.tickets.acts import act
from ticketing.tickets.bodies import Body, Entrusted
from ticketing.tickets.entrusted import Opened, read
from ticketing.tickets.eyes import outline, through, ticket_for
from ticketing.tickets.facts import Actor
from ticketing.tickets.intake import NewTicket, take_in
from ticketing.tickets.office import Office
from ticketing.tickets.reading import load_ticket, secrets_of
from ticketing.tickets.repairs import Repairs, repairs


@dataclass(frozen=True, slots=True)
class Intake:
    """What the routes of this module are made of."""

    pool: Pool
    office: Office
    now: Callable[[], datetime]


async def open_one(request: Request) -> Response:
    """A new ticket: 201; or the one that is open about it: 200."""
    given = await json_body(request, NewTicket)
    intake, who = part(request, Intake), visitor(request)
    user = who.user
    actor = Actor(user.name, user.role, None, tuple(user.organisations))
    now = intake.now()
    async with intake.pool.connection() as connection, connection.transaction():
        taken = await take_in(
            connection, intake.office, given, actor, now, verify=part(request, Contacts).check_code_word
        )
        ticket = await load_ticket(connection, taken.number, now)
        if ticket is None:
            raise HTTPException(404, "no such ticket")
        if taken.created or await ticket_for(connection, taken.number, user, now) is not None:
            shown = await through(connection, user, ticket)
        else:  # another team's: the call is in it, and that is all there is to tell
            shown = outline(ticket, taken.message)
        await done(connection)
    return answer(shown, 201 if taken.created else 200)


async def attachment(request: Request) -> Response:
    """A file of a message that the visitor sees, for saving."""
    number, place = request.path_params["number"], request.path_params["id"]
    user = visitor(request).user
    if not (place.isascii() and place.isdecimal() and len(place) < 16):
        raise HTTPException(404, "no such file")
    async with part(request, Intake).pool.connection() as connection:
        rows = await connection.execute(
            sql.SQL(
                "SELECT FROM attachment a JOIN ticket_message m ON m.id = a.message JOIN ticket t ON t.id = m.ticket"
                " LEFT JOIN ticket s ON s.id = t.merged_into WHERE a.id = %s"
                " AND %s IN (t.number, s.number) AND {} AND {}"
            ).format(condition(user, Kind.TICKET, "t"), condition(user, Kind.MESSAGE, "m")),
            (int(place), storable(number)),
        )
        stored = None if await rows.fetchone() is None else await load(connection, int(place))
    if stored is None:
        raise HTTPException(404, "no such file")
    return as_response(stored)


async def secrets(request: Request) -> Page[Secret]:
    """What was entrusted with the ticket, by label."""
    async with part(request, Intake).pool.connection() as connection:
        row, _ = await _seen(connection, request)
        items = await secrets_of(connection, row)
    return Page(items, len(items))


async def entrust(request: Request) -> Secret:
    """Keep access data, sealed."""
    intake, who = part(request, Intake), visitor(request)
    async with intake.pool.connection() as connection:
        _, number = await _seen(connection, request)  # 404 comes before what is wrong with the body
    given = await json_body(request, Entrusted)
    body = Body(label=given.label, secret=given.secret, until=given.until)
    actor = Actor(who.user.name, who.user.role, None, tuple(who.user.organisations))
    async with intake.pool.connection() as connection, connection.transaction():
        row = await act(connection, intake.office, Action.ENTRUST, number, actor, body, intake.now())
        kept = (await secrets_of(connection, row))[-1]
        await done(connection)
    return kept


async def secret(request: Request) -> Opened:
    """Access data themselves; a token that may only read does not get them: the reading changes the journal."""
    if visitor(request).user.scope == "read":
        raise HTTPException(403, "this token may only read, and a reading is written into the journal")
    intake = part(request, Intake)
    async with intake.pool.connection() as connection, connection.transaction():
        _, number = await _seen(connection, request)
        by = visitor(request).user.name
        return await read(connection, intake.office, number, number_in(request), by, intake.now())


async def secret_shown(request: Request) -> Response:
    """The same on a page, for a form of ours: a link would be followed by what looks ahead."""
    await checked_form(request)
    return render(request, "secret.html", opened=await secret(request), number=request.path_params["number"])


async def repaired(request: Request) -> Repairs:
    """How long repairs took, of the tickets that the visitor sees."""
    intake = part(request, Intake)
    since, until = asked.span(
        request, intake.now(), "from", "to", usual=timedelta(days=90), longest=timedelta(days=732)
    )
    organisation = asked.organisation(request)
    async with intake.pool.connection() as connection:
        return await repairs(connection, condition(visitor(request).user, Kind.TICKET, "t"), since, until, organisation)


async def _seen(connection: Connection, request: Request) -> tuple[int, str]:
    """Row and number of the ticket that the path names, if the visitor sees it; else 404."""
    rows = await connection.execute(
        sql.SQL("SELECT t.id, t.number FROM ticket t WHERE t.number = %s AND {}").format(
            condition(visitor(request).user, Kind.TICKET, "t")
        ),
        (storable(request.path_params["number"]),),
    )
    found = await rows.fetchone()
    if found is None:
        raise HTTPException(404, "no such ticket")
    return int(found[0]), str(found[1])
