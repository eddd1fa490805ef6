"""What each line of a script does to the desk."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import msgspec
from psycopg import sql

from detectors.verdicts import Explanation, Finding, Verdict
from ticketing.core.db import Connection
from ticketing.core.errors import (
    ConflictError,
    NotFoundError,
    Problem,
    WrongInputError,
)
from ticketing.incidents import Case
from ticketing.kit.body import checked
from ticketing.letters.tokens import press, token_of
from ticketing.mail.inbox import Arrival, keep
from ticketing.model.states import PEOPLE, Action
from ticketing.people.contacts import ChangedContact, NewContact
from ticketing.people.organisations import ChangedOrganisation, NewOrganisation
from ticketing.people.scope import ALL
from ticketing.people.users import ROLES, User
from ticketing.people.vehicles import ChangedVehicle, NewVehicle
from ticketing.quality import reviews
from ticketing.quality.known_errors import ChangedKnownError, NewKnownError
from ticketing.quality.reviews import Mark
from ticketing.rehearsal.events import Event
from ticketing.rehearsal.script import Line
from ticketing.rehearsal.world import SECRET, SUPPORT, World, iso
from ticketing.tickets import outages
from ticketing.tickets.acts import act
from ticketing.tickets.bodies import Body
from ticketing.tickets.buttons import Buttons
from ticketing.tickets.facts import Actor
from ticketing.tickets.intake import NewTicket, take_in
from ticketing.tickets.queue import queue_order

ACTIONS = frozenset(str(action) for action in PEOPLE)
FIELD_STEPS = {"confirm": Action.VISIT_CONFIRMED, "done": Action.VISIT_DONE, "cancel": Action.VISIT_CANCELLED}
ADMIN = User(0, "desk", "admin")

Do = Callable[[World, Line], Awaitable[list[Event]]]


async def do_line(world: World, line: Line) -> list[Event]:
    actor = world.book.actor(line.said.get("as"))
    if not world.agents and actor.role not in ("client",) and line.said.get("as") is not None:
        raise ConflictError("nobody is at the desk")
    if line.do in _DOES:
        return await _DOES[line.do](world, line)
    if line.do in ACTIONS:
        await _action(world, Action(line.do), line, actor)
        return []
    raise NotFoundError(f"{line.do} is not in this version")


async def _action(world: World, action: Action, line: Line, actor: Actor) -> None:
    said = _without(line, "as", "ticket")
    if action == Action.MERGE and isinstance(said.get("into"), str):
        said["into"] = await _number(world, said["into"])
    if action == Action.LINK and isinstance(said.get("to"), str):
        said["to"] = await _number(world, said["to"])
    if isinstance(said.get("known_error"), str):
        said["known_error"] = world.book.row("known-error", said["known_error"])
    body = checked(said, Body)
    row = world.book.row("ticket", line.said.get("ticket"))
    async with world.pool.connection() as connection, connection.transaction():
        await act(connection, world.office, action, row, actor, body, world.now)
        if line.ref is not None and action == Action.SPLIT:
            rows = await connection.execute("SELECT max(child) FROM ticket_link WHERE parent = %s", (row,))
            (child,) = await rows.fetchone() or (None,)
            if child is not None:
                world.book.keep("ticket", line.ref, child)
        if line.ref is not None and action == Action.LEARN:
            rows = await connection.execute("SELECT id FROM known_error WHERE ticket = %s", (row,))
            (made,) = await rows.fetchone() or (0,)
            world.book.keep("known-error", line.ref, made)
        if line.ref is not None and action == Action.VISIT:
            world.book.keep("visit", line.ref, row)


async def _visit_step(world: World, line: Line) -> list[Event]:
    action = FIELD_STEPS.get(line.do)
    if action is None:
        return []  # on the way, there, a photo: nothing of the ticket's changes
    row = world.book.row("visit", line.said.get("visit"))
    actor = world.book.actor(line.said.get("as"))
    body = Body(outcome=line.said.get("outcome"))
    async with world.pool.connection() as connection, connection.transaction():
        await act(connection, world.office, action, row, actor, body, world.now)
    return []


async def _organisation(world: World, line: Line) -> list[Event]:
    said = _without(line, "as")
    if ("organisation", line.ref) in world.book.ids:
        await world.organisations.change(
            ADMIN, world.book.row("organisation", line.ref), checked(said, ChangedOrganisation)
        )
        return []
    made = await world.organisations.add(ADMIN, checked(said, NewOrganisation))
    world.book.keep("organisation", line.ref, made.id)
    return []


async def _contact(world: World, line: Line) -> list[Event]:
    said = _without(line, "as")
    if "organisation" in said:
        said["organisation"] = world.book.row("organisation", said["organisation"])
    if ("contact", line.ref) in world.book.ids:
        said.pop("organisation", None)
        made = await world.contacts.change(ADMIN, world.book.row("contact", line.ref), checked(said, ChangedContact))
    else:
        made = await world.contacts.add(ADMIN, checked(said, NewContact))
        world.book.keep("contact", line.ref, made.id)
    if line.ref is not None:
        world.book.actors[line.ref] = Actor(made.name, "client", made.id, (made.organisation,))
    return []


async def _vehicle(world: World, line: Line) -> list[Event]:
    said = _without(line, "as")
    if "organisation" in said:
        said["organisation"] = world.book.row("organisation", said["organisation"])
    if isinstance(said.get("terminal"), str):
        await _terminal(world, said["terminal"])
    if ("vehicle", line.ref) in world.book.ids:
        await world.vehicles.change(ADMIN, world.book.row("vehicle", line.ref), checked(said, ChangedVehicle))
        return []
    made = await world.vehicles.add(ADMIN, checked(said, NewVehicle))
    world.book.keep("vehicle", line.ref, made.id)
    return []


_KEPT = sql.SQL(", ").join(  # what the line does not say stays
    sql.SQL("{0} = CASE WHEN {1} = ANY(%(said)s) THEN excluded.{0} ELSE app_user.{0} END").format(
        sql.Identifier(name), sql.Literal(name)
    )
    for name in ("teams", "tier", "active", "email", "absent_until")
)


async def _user(world: World, line: Line) -> list[Event]:
    """A user; nobody signs in during a rehearsal, so the password is none."""
    said = _without(line, "as")
    name = said.get("name") or line.ref
    known = world.book.actors.get(line.ref or "")
    role = said.get("role") or (known.role if known else "engineer")
    if role not in ROLES:
        raise WrongInputError(Problem("role", f"{role!r} is none", ", ".join(ROLES)))
    organisations = tuple(world.book.row("organisation", one) for one in said.get("organisations", ()))
    async with world.pool.connection() as connection:
        await connection.execute(
            sql.SQL("INSERT INTO app_user (name, role, password, teams, tier, skills, language, time_zone,"
            " organisations, active, email, absent_until) VALUES (%(name)s, %(role)s, '!', %(teams)s, %(tier)s,"
            " %(skills)s, %(language)s, %(zone)s, %(organisations)s, %(active)s, %(email)s, %(absent)s)"
            " ON CONFLICT (lower(name)) DO UPDATE SET role = excluded.role, {}").format(_KEPT),
            {
                "name": name, "role": role, "teams": said.get("teams", []), "tier": said.get("tier"),
                "skills": said.get("skills", []), "language": said.get("language"), "zone": said.get("time_zone"),
                "organisations": list(organisations), "active": said.get("active", True),
                "email": said.get("email"), "absent": said.get("absent_until"), "said": list(said),
            },
        )  # fmt: skip
    if line.ref is not None:
        world.book.actors[line.ref] = Actor(str(name), role, None, organisations)
    return []


async def _ticket(world: World, line: Line) -> list[Event]:
    said = _without(line, "as")
    for key, kind in (("organisation", "organisation"), ("reporter", "contact"), ("vehicle", "vehicle")):
        if isinstance(said.get(key), str):
            said[key] = world.book.row(kind, said[key])
    given = checked(said, NewTicket)
    actor = world.book.actor(line.said.get("as"))
    async with world.pool.connection() as connection, connection.transaction():
        taken = await take_in(
            connection, world.office, given, actor, world.now, verify=world.contacts.check_code_word,
            sender=given.phone if given.reporter is None and not actor.is_client else None,
        )  # fmt: skip
    world.book.keep("ticket", line.ref, taken.row)
    return []


async def _finding(world: World, line: Line) -> list[Event]:
    """A confirmed verdict: incident and ticket at once; none of a vehicle that is not in use."""
    identity, kind = str(line.said.get("terminal", "")), str(line.said.get("kind", "silence"))
    terminal = await _terminal(world, identity)
    async with world.pool.connection() as connection:
        rows = await connection.execute(
            "SELECT stage = 'in_use' OR stage_until <= %s, coalesce(name, identity) FROM terminal WHERE id = %s",
            (world.now, terminal),
        )
        in_use, called = await rows.fetchone() or (True, identity)
    if not in_use:
        return []
    now = world.now.timestamp()
    await world.incidents.mark(kind, {}, {terminal: now})
    reason = str(line.said.get("reason") or f"{kind} confirmed")
    finding = Finding(kind, terminal, now, now, Explanation(Verdict.FAIL, reason, {}))
    zone = str(line.said.get("zone") or "unknown")

    async def prepare(_connection: Connection) -> Case:
        return Case(finding, str(called), {"verdict": {"reason": reason}}, int(line.said.get("priority") or 3), zone)

    raised = await world.incidents.raise_finding(finding, now, prepare, lambda: True)
    if line.ref is not None and raised.number is not None:
        async with world.pool.connection() as connection:
            rows = await connection.execute("SELECT id FROM ticket WHERE number = %s", (raised.number,))
            (row,) = await rows.fetchone() or (0,)
        world.book.keep("ticket", line.ref, row)
    return []


async def _recovered(world: World, line: Line) -> list[Event]:
    """The first live record: the proof begins."""
    terminal = await _terminal(world, str(line.said.get("terminal", "")))
    await world.incidents.mark(str(line.said.get("kind", "silence")), {terminal: world.now.timestamp()}, {})
    return []


async def _mail(world: World, line: Line) -> list[Event]:
    said = line.said
    if "raw" in said:
        try:
            raw = base64.b64decode(await _filled(world, _text_of_raw(said["raw"])), validate=False)
        except (binascii.Error, ValueError) as error:
            raise WrongInputError(Problem("raw", "is no base64", "encode the message")) from error
        raw = (await _filled(world, raw.decode("latin-1"))).encode("latin-1")
    else:
        raw = await _composed(world, line)
    async with world.pool.connection() as connection:
        row = await keep(
            connection,
            Arrival(raw, "rehearsal", str(said.get("envelope_from", said.get("from", ""))) or None),
            world.now,
        )
    if row is None:
        return [{"at": iso(world.now), "event": "dropped", "ticket": None, "reason": "duplicate"}]
    if line.ref is not None:
        world.book.mails[line.ref] = row
    await world.judge.cycle(world.now)
    async with world.pool.connection() as connection:
        rows = await connection.execute("SELECT verdict, ticket FROM inbox WHERE id = %s", (row,))
        verdict, ticket = await rows.fetchone() or (None, None)
    if ticket is not None and line.ref is not None and verdict in ("opened", "followed_up"):
        world.book.keep("ticket", line.ref, ticket)
    return []


def _text_of_raw(raw: Any) -> str:
    if not isinstance(raw, str):
        raise WrongInputError(Problem("raw", "is no text", "give base64 of the message"))
    return raw


async def _composed(world: World, line: Line) -> bytes:
    said = line.said
    message = EmailMessage(policy=SMTP.clone(max_line_length=998))
    subject = str(said.get("subject", ""))
    if isinstance(answers := said.get("answers"), str):
        _, subject_of, message_id = await _letter(world, answers)
        message["In-Reply-To"] = message_id
        message["References"] = message_id
        subject = subject or f"Re: {subject_of}"
    message["From"] = str(said.get("from", ""))
    message["To"] = str(said.get("to", SUPPORT))
    message["Subject"] = await _filled(world, subject)
    message["Date"] = world.now
    headers = {str(name): str(value) for name, value in dict(said.get("headers") or {}).items()}
    if "message-id" not in {name.lower() for name in headers}:
        message["Message-ID"] = f"<{line.number}.{int(world.now.timestamp())}@client.example>"
    for name, value in headers.items():
        message[name] = await _filled(world, value)
    message.set_content(await _filled(world, str(said.get("text", ""))))
    return message.as_bytes()


async def _filled(world: World, text: str) -> str:
    """`{REF.number}` as the number of that ticket."""
    for ref, row in world.book.tickets.items():
        mark = f"{{{ref}.number}}"
        if mark in text:
            text = text.replace(mark, await _number_of(world, row))
    return text


async def _press(world: World, line: Line) -> list[Event]:
    letter, _, _ = await _letter(world, str(line.said.get("letter", "")))
    button = str(line.said.get("button", ""))
    async with world.pool.connection() as connection, connection.transaction():
        await press(
            connection, token_of(SECRET, letter), button, str(line.said.get("text", "")), world.now,
            Buttons(world.office),
        )  # fmt: skip
    return []


async def _letter(world: World, name: str) -> tuple[int, str, str]:
    """The row, subject and Message-ID of ``REF/KIND/N``; without a ticket REF is ``-``."""
    head, _, n = name.rpartition("/")
    ref, _, kind = head.rpartition("/")
    ticket = None if ref == "-" else world.book.row("ticket", ref)
    async with world.pool.connection() as connection:
        rows = await connection.execute(
            "SELECT id, subject, coalesce(message_id, '') FROM letter WHERE ticket IS NOT DISTINCT FROM %s"
            " AND kind = %s AND n = %s AND state = 'sent'",
            (ticket, kind, int(n) if n.isdigit() else 0),
        )
        found = await rows.fetchone()
    if found is None:
        raise NotFoundError(f"no letter {name} was caught")
    return int(found[0]), str(found[1]), str(found[2])


async def _accept(world: World, line: Line) -> list[Event]:
    ref = str(line.said.get("message", ""))
    if ref not in world.book.mails:
        raise NotFoundError(f"no message {ref!r}")
    await world.judge.accept(world.book.mails[ref], world.book.actor(line.said.get("as")).name, world.now)
    return []


async def _queue(world: World, line: Line) -> list[Event]:
    topic = str(line.said.get("topic", "support"))
    async with world.pool.connection() as connection:
        order = [world.observer.ticket(row) for row in await queue_order(connection, topic)]
    return [{"at": iso(world.now), "event": "queue", "ticket": None, "order": order}]


async def _service(world: World, line: Line) -> list[Event]:
    up = bool(line.said.get("up"))
    named = line.said.get("terminals")
    terminals = None if named is None else [await _terminal(world, str(one)) for one in named]
    eta = line.said.get("eta")
    async with world.pool.connection() as connection, connection.transaction():
        if up:
            await outages.end(connection, world.office, "service", world.now)
        else:
            due = None if eta is None else msgspec.convert(eta, datetime)
            await outages.begin(connection, world.office, "service", world.now, eta=due, terminals=terminals)
    return [{"at": iso(world.now), "event": "outage", "ticket": None, "up": up}]


async def _intake(world: World, line: Line) -> list[Event]:
    world.agents = bool(line.said.get("agents"))
    return []


async def _channel(world: World, line: Line) -> list[Event]:
    name, up = str(line.said.get("name", "")), bool(line.said.get("up"))
    if name == "mail":
        world.catcher.up = up
    channels = {table.name for table in world.office.terms.policy.file.channel} - {"monitoring"}
    world.book.ids["channel", name] = int(up)
    down = {ref for (kind, ref), is_up in world.book.ids.items() if kind == "channel" and not is_up}
    return [{"at": iso(world.now), "event": "channels", "ticket": None, "healthy": len(channels - down)}]


async def _crash(world: World, line: Line) -> list[Event]:
    world.restart()
    return []


async def _known_error(world: World, line: Line) -> list[Event]:
    said = _without(line, "as")
    by = User(0, world.book.actor(line.said.get("as")).name, "admin")
    if ("known-error", line.ref) in world.book.ids:
        number = world.book.row("known-error", line.ref)
        await world.known_errors.change(by, number, checked(said, ChangedKnownError))
        return []
    made = await world.known_errors.add(by, checked(said, NewKnownError))
    world.book.keep("known-error", line.ref, made.id)
    return []


async def _review(world: World, line: Line) -> list[Event]:
    """The first message of `engineer` that was drawn and nobody has judged yet."""
    engineer = str(line.said.get("engineer", ""))
    actor = world.book.actor(line.said.get("as"))
    said = checked(_without(line, "as", "engineer"), Mark)
    async with world.pool.connection() as connection, connection.transaction():
        waiting = (await reviews.listed(connection, ALL, engineer=engineer, marked=False, limit=1)).items
        if not waiting:
            raise NotFoundError(f"nothing of {engineer!r} is to be reviewed")
        await reviews.mark(connection, ALL, waiting[0].id, said, actor.name, actor.role, world.now)
    return []


async def _terminal(world: World, identity: str) -> int:
    """A terminal's row; one that nobody knows is registered."""
    if not identity:
        raise WrongInputError(Problem("terminal", "is missing", "give its identity"))
    async with world.pool.connection() as connection:
        await connection.execute(
            "INSERT INTO terminal (identity, protocol) VALUES (%s, 'teltonika') ON CONFLICT (identity) DO NOTHING",
            (identity,),
        )
        rows = await connection.execute("SELECT id FROM terminal WHERE identity = %s", (identity,))
        (row,) = await rows.fetchone() or (0,)
    return int(row)


async def _number(world: World, ref: str) -> str:
    return await _number_of(world, world.book.row("ticket", ref))


async def _number_of(world: World, row: int) -> str:
    async with world.pool.connection() as connection:
        rows = await connection.execute("SELECT number FROM ticket WHERE id = %s", (row,))
        (number,) = await rows.fetchone() or ("",)
    return str(number)


def _without(line: Line, *names: str) -> dict[str, Any]:
    return {key: value for key, value in line.said.items() if key not in names}


_DOES: dict[str, Do] = {
    "organisation": _organisation,
    "contact": _contact,
    "vehicle": _vehicle,
    "user": _user,
    "ticket": _ticket,
    "known-error": _known_error,
    "review": _review,
    "finding": _finding,
    "recovered": _recovered,
    "mail": _mail,
    "press": _press,
    "accept": _accept,
    "queue": _queue,
    "service": _service,
    "intake": _intake,
    "channel": _channel,
    "crash": _crash,
    **dict.fromkeys(("confirm", "depart", "arrive", "photo", "done", "cancel"), _visit_step),
}
