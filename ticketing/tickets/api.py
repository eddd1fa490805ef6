"""`POST /api/tickets`, a ticket's files, and outages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec
from psycopg import sql
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ticketing.core.db import Pool, storable, utc, utc_or_none
from ticketing.core.idempotency import done
from ticketing.core.paging import Page
from ticketing.kit.access import visitor
from ticketing.kit.answers import answer
from ticketing.kit.body import json_body
from ticketing.kit.parts import part
from ticketing.people.contacts import Contacts
from ticketing.people.scope import Kind, condition
from ticketing.threads.attachments import load
from ticketing.threads.download import as_response
from ticketing.tickets.eyes import outline, through, ticket_for
from ticketing.tickets.facts import Actor
from ticketing.tickets.intake import NewTicket, take_in
from ticketing.tickets.office import Office
from ticketing.tickets.reading import load_ticket


@dataclass(frozen=True, slots=True)
class Intake:
    """What the routes of this module are made of."""

    pool: Pool
    office: Office
    now: Callable[[], datetime]


class Outage(msgspec.Struct, kw_only=True):
    """A time without service; `terminals` None: all of them."""

    id: int
    key: str
    started_at: datetime
    ended_at: datetime | None
    eta: datetime | None
    terminals: int | None
    told_at: datetime | None


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


async def outages(request: Request) -> Page[Outage]:
    """The last hundred, newest first."""
    async with part(request, Intake).pool.connection() as connection:
        rows = await connection.execute(
            "SELECT id, key, started_at, ended_at, eta, cardinality(terminals), told_at FROM outage"
            " ORDER BY id DESC LIMIT 100"
        )
        items = [
            Outage(
                id=row[0],
                key=row[1],
                started_at=utc(row[2]),
                ended_at=utc_or_none(row[3]),
                eta=utc_or_none(row[4]),
                terminals=row[5],
                told_at=utc_or_none(row[6]),
            )
            for row in await rows.fetchall()
        ]
    return Page(items, len(items))
