"""Pages of organisations, their contacts and vehicles, and of accounts: forms over the same stores as the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ticketing.core.errors import ConflictError, Problem, WrongInputError
from ticketing.directory import fields as forms
from ticketing.directory.fields import Field, entered, shown
from ticketing.kit import asked
from ticketing.kit.access import visitor
from ticketing.kit.body import checked
from ticketing.kit.forms import checked_fields
from ticketing.kit.notices import Notices
from ticketing.kit.pages import number_in, render
from ticketing.kit.parts import part
from ticketing.kit.words import _
from ticketing.people.accounts import AccountDetail, Accounts, ChangedUser, NewUser
from ticketing.people.contacts import ChangedContact, Contacts, NewContact
from ticketing.people.organisations import ChangedOrganisation, NewOrganisation, Organisations
from ticketing.people.scope import Kind, hidden
from ticketing.people.scope import shown as visible
from ticketing.people.users import Users
from ticketing.people.vehicles import ChangedVehicle, NewVehicle, Vehicles

T = TypeVar("T", bound=msgspec.Struct)
NEW: dict[str, Any] = {"language": "en", "active": True, "contract": {"consent": "explicit"}}
ROWS = 200  # of contacts, vehicles and accounts on one page


async def organisations(request: Request) -> Response:
    """All that the visitor sees, and a form for a new one."""
    return await _organisations(request, {}, ())


async def _organisations(
    request: Request, given: Mapping[str, Any], problems: Sequence[Problem], status: int = 200
) -> Response:
    search = asked.parameter(request, "search")
    page = await part(request, Organisations).list(
        visitor(request).user, search, None, asked.cursor(request), asked.limit(request)
    )
    return render(
        request,
        "organisations.html",
        status=status,
        organisations=page,
        away=hidden(visitor(request).user, Kind.ORGANISATION),
        search=search or "",
        first="cursor" not in request.query_params,
        fields=forms.ORGANISATION,
        given=shown(NEW | dict(given), forms.ORGANISATION),
        problems=problems,
    )


async def add_organisation(request: Request) -> Response:
    """The form for a new one."""
    given = entered(await checked_fields(request), forms.ORGANISATION)
    try:
        new = checked(given, NewOrganisation, strict=False)
        found = await part(request, Organisations).add(visitor(request).user, new)
    except WrongInputError as error:
        return await _organisations(request, given, error.problems, 422)
    return RedirectResponse(f"/organisations/{found.id}", 303)


async def organisation(request: Request) -> Response:
    """One organisation with its contacts and vehicles."""
    return await _organisation(request)


async def _organisation(
    request: Request, which: str = "", given: Mapping[str, Any] | None = None, problems: Sequence[Problem] = (),
    status: int = 200,
) -> Response:  # fmt: skip
    """`which` of the page's forms holds what was `given`, and what is wrong with it."""
    user = visitor(request).user
    found = await part(request, Organisations).get(user, number_in(request))
    of_vehicle = forms.OF_CLIENT if user.role == "client" else forms.VEHICLE
    values = {
        "organisation": shown(visible(user, Kind.ORGANISATION, msgspec.to_builtins(found)), forms.ORGANISATION),
        "contact": shown({"active": True}, forms.CONTACT),
        "vehicle": shown({"active": True}, of_vehicle),
    }
    tables = {"organisation": forms.ORGANISATION, "contact": forms.CONTACT, "vehicle": of_vehicle}
    if given is not None:
        values[which] = shown(given, tables[which])
    return render(
        request,
        "organisation.html",
        status=status,
        organisation=found,
        contacts=await part(request, Contacts).list(user, found.id, limit=ROWS),
        away=hidden(user, Kind.CONTACT),
        vehicles=await part(request, Vehicles).list(user, found.id, limit=ROWS),
        tables=tables,
        values=values,
        which=which,
        problems=problems,
    )


async def change_organisation(request: Request) -> Response:
    """The form of an organisation."""
    user, number = visitor(request).user, number_in(request)
    await part(request, Organisations).get(user, number)
    return await _changed(
        request, forms.ORGANISATION, ChangedOrganisation,
        lambda body: part(request, Organisations).change(user, number, body),
        lambda given, problems: _organisation(request, "organisation", given, problems, 422),
        f"/organisations/{number}",
    )  # fmt: skip


async def add_contact(request: Request) -> Response:
    """The form for a new contact of an organisation."""
    user, number = visitor(request).user, number_in(request)
    await part(request, Organisations).get(user, number)
    return await _changed(
        request, forms.CONTACT, NewContact, lambda body: part(request, Contacts).add(user, body),
        lambda given, problems: _organisation(request, "contact", given, problems, 422),
        f"/organisations/{number}", organisation=number,
    )  # fmt: skip


async def add_vehicle(request: Request) -> Response:
    """The form for a new vehicle of an organisation."""
    user, number = visitor(request).user, number_in(request)
    await part(request, Organisations).get(user, number)
    table = forms.OF_CLIENT if user.role == "client" else forms.VEHICLE
    return await _changed(
        request, table, NewVehicle, lambda body: part(request, Vehicles).add(user, body),
        lambda given, problems: _organisation(request, "vehicle", given, problems, 422),
        f"/organisations/{number}", organisation=number,
    )  # fmt: skip


async def contact(request: Request) -> Response:
    """One contact."""
    found = await part(request, Contacts).get(visitor(request).user, number_in(request))
    return _one(request, "contacts", found, found.name, found.organisation, forms.CONTACT)


async def change_contact(request: Request) -> Response:
    """The form of a contact."""
    user, store = visitor(request).user, part(request, Contacts)
    found = await store.get(user, number_in(request))

    async def again(given: Mapping[str, Any], problems: Sequence[Problem]) -> Response:
        return _one(request, "contacts", found, found.name, found.organisation, forms.CONTACT, given, problems)

    return await _changed(
        request, forms.CONTACT, ChangedContact, lambda body: store.change(user, found.id, body), again,
        f"/organisations/{found.organisation}",
    )  # fmt: skip


async def vehicle(request: Request) -> Response:
    """One vehicle."""
    user = visitor(request).user
    found = await part(request, Vehicles).get(user, number_in(request))
    table = forms.OF_CLIENT if user.role == "client" else forms.VEHICLE
    return _one(request, "vehicles", found, found.name or found.plate, found.organisation, table)


async def change_vehicle(request: Request) -> Response:
    """The form of a vehicle."""
    user, store = visitor(request).user, part(request, Vehicles)
    found = await store.get(user, number_in(request))
    table = forms.OF_CLIENT if user.role == "client" else forms.VEHICLE

    async def again(given: Mapping[str, Any], problems: Sequence[Problem]) -> Response:
        name = found.name or found.plate
        return _one(request, "vehicles", found, name, found.organisation, table, given, problems)

    return await _changed(
        request, table, ChangedVehicle, lambda body: store.change(user, found.id, body), again,
        f"/organisations/{found.organisation}",
    )  # fmt: skip


async def settings(request: Request) -> Response:
    """What cannot work, and the accounts."""
    return await _settings(request, {}, ())


async def _settings(
    request: Request, given: Mapping[str, Any], problems: Sequence[Problem], status: int = 200
) -> Response:
    return render(
        request,
        "settings.html",
        status=status,
        notices=await part(request, Notices).all(),
        accounts=await part(request, Accounts).list(
            visitor(request).user, cursor=asked.cursor(request), limit=asked.limit(request, ROWS)
        ),
        first="cursor" not in request.query_params,
        fields=forms.NEW_USER,
        given=shown({"role": "engineer", "active": True} | dict(given), forms.NEW_USER),
        problems=problems,
    )


async def add_user(request: Request) -> Response:
    """The form for a new account."""
    return await _changed(
        request, forms.NEW_USER, NewUser,
        lambda body: part(request, Accounts).add(visitor(request).user, body),
        lambda given, problems: _settings(request, given, problems, 422), "/settings",
    )  # fmt: skip


async def account(request: Request) -> Response:
    """One account, with its tokens."""
    return await _account(request, await _named(request))


async def _account(
    request: Request, found: AccountDetail, given: Mapping[str, Any] | None = None, problems: Sequence[Problem] = ()
) -> Response:
    return render(
        request,
        "user.html",
        status=422 if problems else 200,
        account=found,
        tokens=await part(request, Users).tokens(found.name),
        fields=forms.USER,
        given=shown(msgspec.to_builtins(found) if given is None else given, forms.USER),
        problems=problems,
    )


async def change_account(request: Request) -> Response:
    """The form of an account."""
    found = await _named(request)
    return await _changed(
        request, forms.USER, ChangedUser,
        lambda body: part(request, Accounts).change(visitor(request).user, found.id, body),
        lambda given, problems: _account(request, found, given, problems), "/settings",
    )  # fmt: skip


async def revoke(request: Request) -> Response:
    """End a token of an account."""
    await checked_fields(request)
    found = await _named(request)
    await part(request, Users).revoke(number_in(request), found.name)
    return RedirectResponse(request.scope["path"].rpartition("/tokens/")[0], 303)


async def _named(request: Request) -> AccountDetail:
    name: str = request.path_params["name"]
    accounts, user = part(request, Accounts), visitor(request).user
    return await accounts.get(user, await accounts.id_of(user, name if asked.storable(name) else ""))


def _one(
    request: Request, resource: str, found: msgspec.Struct, name: str, organisation: int, table: Sequence[Field],
    given: Mapping[str, Any] | None = None, problems: Sequence[Problem] = (),
) -> Response:  # fmt: skip
    return render(
        request,
        "one.html",
        status=422 if problems else 200,
        resource=resource,
        name=name,
        organisation=organisation,
        fields=table,
        given=shown(msgspec.to_builtins(found) if given is None else given, table),
        problems=problems,
    )


async def _changed(
    request: Request,
    table: Sequence[Field],
    kind: type[T],
    work: Callable[[T], Awaitable[object]],
    again: Callable[[Mapping[str, Any], Sequence[Problem]], Awaitable[Response]],
    target: str,
    **fixed: Any,
) -> Response:
    """A form's way: read, done, and on to `target`; or the page again with what was entered and what is wrong."""
    given = entered(await checked_fields(request), table)
    try:
        await work(checked(given | fixed, kind, strict=False))
    except WrongInputError as error:
        return await again(given, error.problems)
    except ConflictError as error:
        return await again(given, [Problem("", str(error), _("look at it again"))])
    return RedirectResponse(target, 303)
