"""`/api/organisations`, `contacts`, `vehicles`, `users`: lists, single ones, adding and changing."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ticketing.core.errors import Problem, WrongInputError
from ticketing.core.paging import Page
from ticketing.kit import asked
from ticketing.kit.access import visitor
from ticketing.kit.body import json_body
from ticketing.kit.parts import part
from ticketing.people.accounts import AccountDetail, Accounts, ChangedUser, NewUser
from ticketing.people.contacts import ChangedContact, Contact, Contacts, NewContact
from ticketing.people.organisations import ChangedOrganisation, NewOrganisation, Organisation, Organisations
from ticketing.people.users import ROLES, User
from ticketing.people.vehicles import ChangedVehicle, NewVehicle, Vehicle, Vehicles

T = TypeVar("T", bound=msgspec.Struct)
_log = structlog.get_logger()


async def organisations(request: Request) -> Page[Organisation]:
    """Those the visitor sees."""
    return await part(request, Organisations).list(
        _user(request), asked.parameter(request, "search"), _active(request), *_paging(request)
    )


async def organisation(request: Request) -> Organisation:
    """One of them, or 404."""
    return await part(request, Organisations).get(_user(request), _id(request))


async def add_organisation(request: Request) -> Organisation:
    """A new one."""
    body = await json_body(request, NewOrganisation)
    return _told(request, "added", await part(request, Organisations).add(_user(request), body))


async def change_organisation(request: Request) -> Organisation:
    """What the body names is changed."""
    found = await organisation(request)
    body = await json_body(request, ChangedOrganisation)
    changed = await part(request, Organisations).change(_user(request), found.id, body, _version(request))
    return _told(request, "changed", changed)


async def contacts(request: Request) -> Page[Contact]:
    """Those the visitor sees."""
    return await part(request, Contacts).list(
        _user(request),
        _number(request, "organisation"),
        asked.parameter(request, "search"),
        _active(request),
        *_paging(request),
    )


async def contact(request: Request) -> Contact:
    """One of them, or 404."""
    return await part(request, Contacts).get(_user(request), _id(request))


async def add_contact(request: Request) -> Contact:
    """A new one."""
    body = await json_body(request, NewContact)
    return _told(request, "added", await part(request, Contacts).add(_user(request), body))


async def change_contact(request: Request) -> Contact:
    """What the body names is changed."""
    found = await contact(request)
    body = await json_body(request, ChangedContact)
    changed = await part(request, Contacts).change(_user(request), found.id, body, _version(request))
    return _told(request, "changed", changed)


async def vehicles(request: Request) -> Page[Vehicle]:
    """Those the visitor sees."""
    return await part(request, Vehicles).list(
        _user(request),
        _number(request, "organisation"),
        asked.parameter(request, "terminal"),
        asked.parameter(request, "plate"),
        asked.parameter(request, "search"),
        _active(request),
        *_paging(request),
    )


async def vehicle(request: Request) -> Vehicle:
    """One of them, or 404."""
    return await part(request, Vehicles).get(_user(request), _id(request))


async def add_vehicle(request: Request) -> Vehicle:
    """A new one."""
    body = await json_body(request, NewVehicle)
    return _told(request, "added", await part(request, Vehicles).add(_user(request), body))


async def change_vehicle(request: Request) -> Vehicle:
    """What the body names is changed."""
    found = await vehicle(request)
    body = await json_body(request, ChangedVehicle)
    changed = await part(request, Vehicles).change(_user(request), found.id, body, _version(request))
    return _told(request, "changed", changed)


async def users(request: Request) -> Page[AccountDetail]:
    """All accounts."""
    return await part(request, Accounts).list(
        _user(request),
        asked.choice(request, "role", ROLES),
        asked.parameter(request, "search"),
        _active(request),
        *_paging(request),
    )


async def user(request: Request) -> AccountDetail:
    """One account by its name, or 404."""
    accounts = part(request, Accounts)
    name: str = request.path_params["name"]
    number = await accounts.id_of(_user(request), name if asked.storable(name) else "")
    return await accounts.get(_user(request), number)


async def add_user(request: Request) -> AccountDetail:
    """A new account."""
    body = await json_body(request, NewUser)
    return _told(request, "added", await part(request, Accounts).add(_user(request), body))


async def change_user(request: Request) -> AccountDetail:
    """What the body names is changed; a new password or role ends the account's sessions and tokens."""
    found = await user(request)
    body = await json_body(request, ChangedUser)
    changed = await part(request, Accounts).change(_user(request), found.id, body, _version(request))
    return _told(request, "changed", changed)


def _user(request: Request) -> User:
    return visitor(request).user


def _told(request: Request, what: str, found: T) -> T:
    """The log says who did it; the name of a kind and an id, nobody's data."""
    _log.info(f"{what} {type(found).__name__}", id=getattr(found, "id", None), by=_user(request).name)
    return found


def _id(request: Request) -> int:
    """The number that the path names; 0, which nothing has, for what is none."""
    return asked.row_id(request.path_params["id"])


def _number(request: Request, name: str) -> int | None:
    value = asked.parameter(request, name)
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= 18):
        raise HTTPException(400, f"{name}: the id of one")
    return int(value)


def _active(request: Request) -> bool | None:
    value = asked.choice(request, "active", asked.YES_NO)
    return None if value is None else asked.YES_NO[value]


def _paging(request: Request) -> tuple[str | None, int]:
    return asked.cursor(request), asked.limit(request)


def _version(request: Request) -> int | None:
    """`If-Match: "3"` names the version that the change was made on."""
    value = request.headers.get("if-match")
    if value is None or value.strip() == "*":
        return None
    number = value.strip().removeprefix("W/").strip('"')
    if not (number.isascii() and number.isdecimal() and len(number) <= 9):
        raise WrongInputError(Problem("If-Match", "is no version", 'send the row_version that was read, as in "3"'))
    return int(number)
