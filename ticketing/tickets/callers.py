"""Who reports a problem: found by name, phone, number plate or terminal, with what is open for them already (S2-14)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from ticketing.core.db import Pool, storable
from ticketing.core.errors import Problem, WrongInputError
from ticketing.kit.words import N_
from ticketing.model.tickets import TicketSummary
from ticketing.people import normal
from ticketing.people.contacts import Contact, Contacts
from ticketing.people.organisations import Organisation, Organisations
from ticketing.people.scope import Kind, condition
from ticketing.people.users import User
from ticketing.people.vehicles import Vehicle, Vehicles
from ticketing.tickets.reading import SUMMARY, SUMMARY_FROM, summary

FOUND = 8  # of each kind that a search shows
CHOICES = 500  # contacts and vehicles that a form offers; others are typed
OPEN = 10  # open tickets that are shown


@dataclass(frozen=True, slots=True)
class Stores:
    """Where people are."""

    organisations: Organisations
    contacts: Contacts
    vehicles: Vehicles


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found; `names` of the organisations, by id."""

    contacts: Sequence[Contact]
    vehicles: Sequence[Vehicle]
    organisations: Sequence[Organisation]
    names: dict[int, str]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a new ticket is for, as far as it is known, and what can be chosen of theirs."""

    organisation: Organisation | None = None
    contact: Contact | None = None
    vehicle: Vehicle | None = None
    contacts: Sequence[Contact] = ()
    vehicles: Sequence[Vehicle] = ()
    open: Sequence[TicketSummary] = ()


async def find(stores: Stores, pool: Pool, user: User, words: str) -> Found:
    """Whom the words mean, of those that `user` sees."""
    contacts = (await stores.contacts.list(user, search=words, active=True, limit=FOUND)).items
    vehicles = (await stores.vehicles.list(user, search=words, active=True, limit=FOUND)).items
    organisations = (await stores.organisations.list(user, words, active=True, limit=FOUND)).items
    wanted = sorted({*(one.organisation for one in contacts), *(one.organisation for one in vehicles)})
    async with pool.connection() as connection:
        rows = await connection.execute(
            sql.SQL("SELECT o.id, o.name FROM organisation o WHERE o.id = ANY(%s) AND {}").format(
                condition(user, Kind.ORGANISATION, "o")
            ),
            (wanted,),
        )
        names: dict[int, str] = dict(await rows.fetchall())
    return Found(contacts, vehicles, organisations, names)


async def caller(stores: Stores, pool: Pool, user: User, *, organisation: int, contact: int, vehicle: int) -> Caller:
    """The one of these numbers, 0 where none is given; each leads to the organisation.

    Raises
    ------
    NotFoundError
        If there is none of that number, or `user` does not see it.
    """
    who = await stores.contacts.get(user, contact) if contact else None
    what = await stores.vehicles.get(user, vehicle) if vehicle else None
    organisation = organisation or (who.organisation if who else what.organisation if what else 0)
    if not organisation:
        return Caller()
    whose = await stores.organisations.get(user, organisation)
    who = who if who is not None and who.organisation == whose.id else None
    what = what if what is not None and what.organisation == whose.id else None
    return Caller(
        whose,
        who,
        what,
        (await stores.contacts.list(user, whose.id, active=True, limit=CHOICES)).items,
        (await stores.vehicles.list(user, whose.id, active=True, limit=CHOICES)).items,
        await _open(pool, user, whose.id, what),
    )


async def meant(stores: Stores, user: User, organisation: int | None, text: str) -> Vehicle | None:
    """The vehicle that a number plate, terminal or name means, None where there is none.

    Raises
    ------
    WrongInputError
        If it means several.
    """
    text = storable(text.strip())
    found: dict[int, Vehicle] = {}
    if normal.plate_key(text):
        same = await stores.vehicles.list(user, organisation, plate=text, active=True, limit=2)
        found |= {one.id: one for one in same.items}
    if not found:
        of_terminal = await stores.vehicles.list(user, organisation, terminal=text, active=True, limit=2)
        found |= {one.id: one for one in of_terminal.items}
    if not found:
        named = await stores.vehicles.list(user, organisation, search=text, active=True, limit=CHOICES)
        found |= {one.id: one for one in named.items if one.name.casefold() == text.casefold()}
    if len(found) > 1:
        raise WrongInputError(
            Problem("vehicle", N_("several vehicles are called that"), N_("type the number plate, or the terminal"))
        )
    return next(iter(found.values()), None)


def called(vehicle: Vehicle) -> str:
    """What it goes by in a form."""
    return vehicle.plate or vehicle.name or vehicle.terminal or ""


async def _open(pool: Pool, user: User, organisation: int, vehicle: Vehicle | None) -> list[TicketSummary]:
    """Open tickets of the organisation that `user` sees, those of the vehicle first."""
    async with pool.connection() as connection:
        rows = await connection.execute(
            sql.SQL(
                "SELECT {} {} WHERE t.organisation = %s AND t.state <> 'closed' AND {}"
                " ORDER BY t.vehicle IS DISTINCT FROM %s, t.priority, t.id DESC LIMIT %s"
            ).format(SUMMARY, SUMMARY_FROM, condition(user, Kind.TICKET, "t")),
            (organisation, None if vehicle is None else vehicle.id, OPEN),
        )
        return [summary(row) for row in await rows.fetchall()]
