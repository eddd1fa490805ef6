"""A client of a policy, tickets that were brought in, and what an action left behind."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from psycopg.types.json import Jsonb

from tests.ticketing.desk_parts import fetch
from ticketing.letters.post import Post
from ticketing.model.states import Action
from ticketing.tickets.acts import act
from ticketing.tickets.bodies import Body
from ticketing.tickets.facts import Actor
from ticketing.tickets.intake import NewTicket, take_in
from ticketing.tickets.office import Office

NOW = datetime(2026, 11, 16, 10, 0, tzinfo=UTC)  # Monday, 13:00 in Moscow
ENGINEER, MANAGER = Actor("igor", "engineer"), Actor("maria", "manager")
_names = itertools.count(1)


class Client(NamedTuple):
    """An organisation with one contact."""

    organisation: int
    contact: int
    address: str
    actor: Actor


class Left(NamedTuple):
    """What one action wrote: journal (action, data), messages (direction, public, text), letters (kind), tasks."""

    state: str
    journal: list
    messages: list
    letters: list
    tasks: list


class Desk:
    """The desk on a pool, by a policy; `now` is moved by hand."""

    def __init__(self, pool, policy, now=NOW):
        self.pool, self.now = pool, now
        self.office = Office(policy=policy, post=Post())

    async def client(self, **contract):
        n = next(_names)
        ((organisation,),) = await fetch(
            self.pool, "INSERT INTO organisation (name, contract, created_at) VALUES (%s, %s, %s) RETURNING id",
            f"Acme {n}", Jsonb(contract), self.now,
        )  # fmt: skip
        address = f"ann{n}@acme.example"
        ((contact,),) = await fetch(
            self.pool, "INSERT INTO contact (organisation, name, emails, created_at) VALUES (%s, %s, %s, %s)"
            " RETURNING id", organisation, f"Ann {n}", [address], self.now,
        )  # fmt: skip
        return Client(organisation, contact, address, Actor(f"Ann {n}", "client", contact, (organisation,)))

    async def ticket(self, client, **said):
        given = NewTicket(**{"channel": "api", "subject": "No data", "reporter": client.contact, **said})
        async with self.pool.connection() as connection, connection.transaction():
            return (await take_in(connection, self.office, given, MANAGER, self.now, verify=_theirs)).row

    async def do(self, action, ticket, actor=ENGINEER, **said):
        self.now += timedelta(seconds=1)
        async with self.pool.connection() as connection, connection.transaction():
            return await act(connection, self.office, Action(action), ticket, actor, body(said), self.now)

    async def left(self, action, ticket, actor=ENGINEER, **said):
        """Do it, and what is new of the ticket since."""
        before = await self._ends(ticket)
        await self.do(action, ticket, actor, **said)
        return Left(
            (await self.row(ticket, "state"))[0],
            await fetch(self.pool, "SELECT action, data FROM journal WHERE ticket = %s AND id > %s ORDER BY seq",
                        ticket, before[0]),
            await fetch(self.pool, "SELECT direction, public, text FROM ticket_message WHERE ticket = %s AND id > %s"
                        " ORDER BY id", ticket, before[1]),
            [kind for (kind,) in await fetch(self.pool, "SELECT kind FROM letter WHERE ticket = %s AND id > %s"
                                             " ORDER BY id", ticket, before[2])],
            [kind for (kind,) in await fetch(self.pool, "SELECT kind FROM task WHERE ticket = %s AND done_at IS NULL"
                                             " ORDER BY id", ticket)],
        )  # fmt: skip

    async def _ends(self, ticket):
        return (
            await fetch(
                self.pool, "SELECT coalesce((SELECT max(id) FROM journal WHERE ticket = %s), 0),"
                " coalesce((SELECT max(id) FROM ticket_message), 0), coalesce((SELECT max(id) FROM letter), 0)", ticket,
            )
        )[0]  # fmt: skip

    async def row(self, ticket, *columns):
        return (await fetch(self.pool, f"SELECT {', '.join(columns)} FROM ticket WHERE id = %s", ticket))[0]


def body(said: dict[str, Any]):
    """A body of plain values."""
    return msgspec.convert(said, Body)


async def _theirs(_contact, _word):
    return True
