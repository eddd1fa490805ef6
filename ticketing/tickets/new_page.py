"""`/tickets/new`: the form by which a client, or staff for one who calls, opens a ticket; same rules as the API's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import quote

from psycopg import OperationalError, sql
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ticketing.core.db import Connection
from ticketing.core.errors import ConflictError, InvalidTextError, Problem, WrongInputError
from ticketing.core.idempotency import done
from ticketing.core.numbers import parse
from ticketing.kit import asked
from ticketing.kit.access import comes_from_here, visitor
from ticketing.kit.answers import AWAY
from ticketing.kit.body import checked
from ticketing.kit.forms import vouched, zoned
from ticketing.kit.kept import Kept, Told
from ticketing.kit.pages import render
from ticketing.kit.parts import part
from ticketing.kit.rendering import Rendering
from ticketing.kit.sent_once import new_key, sent_once
from ticketing.kit.uploads import Posted, posted
from ticketing.kit.vocabulary import CLASSES, FREQUENCIES, TOPICS
from ticketing.kit.words import N_, _
from ticketing.people.contacts import Contacts
from ticketing.people.organisations import Organisations
from ticketing.people.scope import Kind, condition
from ticketing.people.users import User
from ticketing.people.vehicles import Vehicles
from ticketing.policies import Policy, forms
from ticketing.threads.attachments import Offered
from ticketing.tickets.api import Intake
from ticketing.tickets.callers import CHOICES, Caller, Stores, called, caller, find, meant
from ticketing.tickets.facts import Actor
from ticketing.tickets.intake import NewTicket, Taken, take_in

NOBODY = Caller()
CHANNELS = {"phone": N_("by phone"), "paper": N_("on paper"), "mail": N_("by mail"), "web": N_("by the public form")}
TEXT, WORD, SUBJECT = 10_000, 200, 200  # characters, as the API takes them
NOT_DONE = N_("Nothing was done yet: the session had ended. What you typed is below; please send it again.")
ADDED = N_("The silence of this vehicle is known and worked on: what you wrote is a message in this ticket.")


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name, what it is called, how it is entered, what it may be; `needed`: of which requests.

    `item` is what a policy's form calls it.
    """

    name: str
    words: str
    kind: Literal["line", "area", "choice", "instant", "vehicle", "files", "check"] = "line"
    options: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""
    most: int = WORD
    item: str = ""
    needed: str = ""


async def show(request: Request) -> Response:
    """The form; for staff first the question who reports it."""
    query = request.query_params
    named = {"organisation": "organisation", "contact": "contact", "vehicle_id": "vehicle"}
    here = await _caller(request, {name: query.get(asked_for, "") for name, asked_for in named.items()})
    given: dict[str, str] = {"channel": "phone", "topic": "technical"}
    if here.contact is not None:
        given["reporter"] = str(here.contact.id)
    if here.vehicle is not None:
        given["vehicle"] = called(here.vehicle)
    opened = parse(asked.parameter(request, "opened") or "")
    return await _page(request, here, given, opened=opened or "")


async def add(request: Request) -> Response:
    """Open it, once for a form however often it is sent; what is wrong is said beside the fields."""
    came = await posted(request)
    fields = {name: value.strip() for name, value in came.fields.items()}
    here = await _caller(request, fields)
    if not vouched(request, fields):
        if not comes_from_here(request):
            raise HTTPException(403, "this form is not from the desk or has expired: open the page again")
        return await _page(request, here, fields, [Problem("", _(NOT_DONE), "")], status=403)
    digest = await asyncio.to_thread(came.digest, "csrf", "key")
    try:
        target = await sent_once(request, fields.get("key", ""), digest, lambda: _open(request, here, fields, came))
    except WrongInputError as error:
        return await _page(request, here, fields, error.problems, status=422)
    except (ConflictError, InvalidTextError) as error:
        return await _page(request, here, fields, [Problem("", str(error), "")], status=409)
    except OperationalError:
        return await _page(request, here, fields, [Problem("", _(AWAY), "")], status=503)
    return RedirectResponse(target, 303)


async def _open(request: Request, here: Caller, fields: Mapping[str, str], came: Posted) -> str:
    """Take it in; returns where that leads."""
    user, intake = visitor(request).user, part(request, Intake)
    given = await _given(request, here, fields)
    actor = Actor(user.name, user.role, None, tuple(user.organisations))
    files = [Offered(name, content) for name, content in came.files]
    async with intake.pool.connection() as connection, connection.transaction():
        taken = await take_in(
            connection, intake.office, given, actor, intake.now(), files=files,
            verify=part(request, Contacts).check_code_word,
        )  # fmt: skip
        seen = await _sees(connection, user, taken)
        await done(connection)
    if not seen:  # another department's by now
        return f"/tickets/new?opened={taken.number}"
    page = f"/tickets/{quote(taken.number, safe='')}"
    if taken.created:
        return page
    token = part(request, Kept).put(user.name, Told("", "", _(ADDED)))
    return f"{page}?told={token}#m-{taken.message}"


async def _given(request: Request, here: Caller, fields: Mapping[str, str]) -> NewTicket:
    """What the form says, as the API would be told it.

    Raises
    ------
    WrongInputError
    """
    user = visitor(request).user
    names = {f.name for f in table(user, here, None)} - {"vehicle", "files"}
    said: dict[str, Any] = {name: fields[name] for name in names if fields.get(name)}
    said = dict(zoned(said, part(request, Rendering).zone_of(visitor(request))))
    said["new"] = "new" in said
    if user.role == "client":
        said["channel"] = "portal"
    if here.organisation is not None:
        said["organisation"] = here.organisation.id
    wrong = []
    if "subject" not in said:
        wrong.append(Problem("subject", N_("is missing"), N_("say in a few words what is wrong")))
    if text := fields.get("vehicle"):
        try:
            vehicle = await meant(_stores(request), user, said.get("organisation"), text)
        except WrongInputError as error:
            wrong += error.problems
        else:
            if vehicle is not None:
                said["vehicle"] = vehicle.id
            elif user.role == "client":
                wrong.append(Problem("vehicle", N_("is none of yours"), N_("choose one of the list")))
            else:
                said["terminal"] = text
    if wrong:
        raise WrongInputError(*wrong)
    return checked(said, NewTicket, strict=False)


def table(user: User, here: Caller, policy: Policy | None) -> list[Field]:
    """The fields of the form: of a client those of the contract's form, of staff also how it was reported."""
    contacts = {str(one.id): one.name for one in here.contacts}
    levels = {} if policy is None else {str(one.level): f"{one.level}: {one.name}" for one in policy.file.priority}
    levels = levels or {level: level for level in "1234"}
    staff = user.role != "client"
    found = [
        Field("subject", N_("What is wrong, in a few words"), most=SUBJECT, needed="all"),
        Field("description", N_("What happens"), "area", most=TEXT, item="description"),
        Field("vehicle", N_("Vehicle"), "vehicle", hint=N_("number plate, name or terminal"), item="vehicle"),
        Field("class", N_("What it concerns"), "choice", CLASSES),
        Field("topic", N_("Topic"), "choice", TOPICS),
        Field("criticality", N_("How critical it is"), "choice", levels, N_("1: at once"), item="criticality"),
        Field("frequency", N_("How often"), "choice", FREQUENCIES, item="frequency"),
        Field("steps", N_("What leads to it, step by step"), "area", most=TEXT, item="steps"),
        Field("server", N_("Server address where it is seen"), item="server"),
        Field("version", N_("Software version"), item="version"),
        Field("files", N_("Files"), "files", hint=N_("20 at most, 24 MB together"), item="attachments"),
        Field("new", N_("Another problem than the one that is open about this vehicle"), "check"),
    ]
    reporter = Field(
        "reporter", N_("Who reports it") if staff else N_("Whom to call"), "choice", contacts, item="contacts"
    )
    phone = Field("phone", N_("Phone"), hint=N_("where to call back"), item="" if contacts else "contacts")
    if not staff:
        return [*found[:2], *([reporter] if contacts else []), phone, *found[2:]]
    return [
        Field("channel", N_("Reported"), "choice", CHANNELS, needed="all"),
        *([reporter] if contacts else []),
        Field("code_word", N_("Code word said"), hint=N_("on the phone; it is checked, and not kept")),
        phone,
        Field("received_at", N_("Received at"), "instant", hint=N_("of a letter on paper")),
        *found,
    ]


def _marked(found: Sequence[Field], policy: Policy | None) -> list[Field]:
    """The same with what the policy's form asks for."""
    if policy is None:
        return list(found)
    always = set(forms.mandatory(policy, None))
    marked = []
    for one in found:
        needed = one.needed
        if one.item in always:
            needed = "all"
        elif one.item:
            needed = ",".join(name for name in CLASSES if one.item in forms.mandatory(policy, name)) or needed
        marked.append(replace(one, needed=needed))
    return marked


async def _page(
    request: Request, here: Caller, given: Mapping[str, str], problems: Sequence[Problem] = (), *, status: int = 200,
    opened: str = "",
) -> Response:  # fmt: skip
    user = visitor(request).user
    client = user.role == "client"
    office = part(request, Intake).office
    policy: Policy | None = None
    if here.organisation is not None or not client:
        try:
            policy = office.terms_of(here.organisation.policy if here.organisation else None).policy
        except InvalidTextError as error:  # told in the settings too: what cannot be promised cannot be opened
            problems = [*problems, Problem("", str(error), "")]
    words = asked.parameter(request, "q") or ""
    owns = client and here.organisation is None
    choices = (await _stores(request).organisations.list(user, active=True, limit=CHOICES)).items if owns else ()
    found = None
    if words.strip() and not client:
        found = await find(_stores(request), part(request, Intake).pool, user, words.strip())
    return render(
        request,
        "new_ticket.html",
        status=status,
        whose=here,
        client=client,
        choices=choices,
        fields=_marked(table(user, here, policy), policy),
        given=given,
        problems=[Problem(_FIELDS.get(p.field.partition("[")[0], p.field), p.problem, p.remedy) for p in problems],
        key=given.get("key") or new_key(),
        words=words,
        found=found,
        vehicle_name=called,
        classes=CLASSES,
        opened=opened,
    )


_FIELDS = {"terminal": "vehicle", "attachments": "files", "contacts": "reporter"}  # where a problem is shown


async def _caller(request: Request, numbers: Mapping[str, str]) -> Caller:
    """Whom the request names; a client with one organisation is of that one."""
    user = visitor(request).user
    named = ("organisation", "contact", "vehicle_id")
    organisation, contact, vehicle = (asked.row_id(numbers.get(name, "")) for name in named)
    if user.role == "client" and not organisation and len(user.organisations) == 1:
        organisation = next(iter(user.organisations))
    return await caller(
        _stores(request), part(request, Intake).pool, user, organisation=organisation, contact=contact, vehicle=vehicle
    )


def _stores(request: Request) -> Stores:
    return Stores(part(request, Organisations), part(request, Contacts), part(request, Vehicles))


async def _sees(connection: Connection, user: User, taken: Taken) -> bool:
    rows = await connection.execute(
        sql.SQL("SELECT FROM ticket t WHERE t.id = %s AND {}").format(condition(user, Kind.TICKET, "t")), (taken.row,)
    )
    return await rows.fetchone() is not None
