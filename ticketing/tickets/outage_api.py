"""`/api/outages`: times without service, found by the watch or declared by people, and when it is expected back.

Clients are written to by the engine (`outages`): after an hour, with each new date, and at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from psycopg.types.json import Jsonb
from starlette.requests import Request

from ticketing.core.db import Connection, utc, utc_or_none
from ticketing.core.errors import ConflictError, NotFoundError, Problem, WrongInputError
from ticketing.core.idempotency import done
from ticketing.core.paging import Page
from ticketing.kit.access import visitor
from ticketing.kit.body import json_body
from ticketing.kit.pages import number_in
from ticketing.kit.parts import part
from ticketing.kit.words import N_
from ticketing.people.normal import line
from ticketing.tickets import outages
from ticketing.tickets.api import Intake
from ticketing.tickets.bodies import ahead

LISTED = 100
EARLIEST = timedelta(days=7)  # before now: an older one is history, and its letters would explain nothing
DECLARED = "declared/"  # keys of those that people declare; the watch's name a cause


class Outage(msgspec.Struct, kw_only=True):
    """A time without service; `terminals` is how many it hit, None: all; `told_at`: when clients were first told.

    `service` is what is away as a person called it, None where the watch found it; `by` is who declared it.
    """

    id: int
    key: str
    started_at: datetime
    ended_at: datetime | None
    eta: datetime | None
    terminals: int | None
    told_at: datetime | None
    service: str | None = None
    by: str | None = None


class NewOutage(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is away, since when (now, unless it is said), and for which terminals, by identity (all)."""

    service: Annotated[str, Meta(min_length=1, max_length=100)]
    started_at: datetime | None = None
    eta: datetime | None = None
    terminals: Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=200)] | None = None


class ChangedOutage(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """When it is expected back; null: nobody knows."""

    eta: datetime | UnsetType | None = UNSET


async def listed(request: Request) -> Page[Outage]:
    """The last hundred, newest first."""
    async with part(request, Intake).pool.connection() as connection:
        items = await load(connection)
    return Page(items, len(items))


async def one(request: Request) -> Outage:
    """The one the path names."""
    async with part(request, Intake).pool.connection() as connection:
        return await get(connection, number_in(request))


async def declare(request: Request) -> Outage:
    """Service is away."""
    return await begin(request, await json_body(request, NewOutage))


async def change(request: Request) -> Outage:
    """Another date."""
    here = await one(request)
    return await promise(request, here.id, await json_body(request, ChangedOutage))


async def finish(request: Request) -> Outage:
    """Service is back."""
    return await end(request, number_in(request))


async def load(connection: Connection, number: int | None = None) -> list[Outage]:
    """All, or the one of that number."""
    rows = await connection.execute(
        "SELECT id, key, started_at, ended_at, eta, cardinality(terminals), told_at, data ->> 'by' FROM outage"
        " WHERE %(id)s::bigint IS NULL OR id = %(id)s ORDER BY id DESC LIMIT %(limit)s",
        {"id": number, "limit": LISTED},
    )
    return [_read(row) for row in await rows.fetchall()]


async def get(connection: Connection, number: int) -> Outage:
    """The one of that number.

    Raises
    ------
    NotFoundError
    """
    found = await load(connection, number)
    if not found:
        raise NotFoundError(f"no outage {number}")
    return found[0]


async def begin(request: Request, new: NewOutage) -> Outage:
    """Declare it, as the visitor.

    Raises
    ------
    WrongInputError
        With all that is wrong.
    ConflictError
        If that service is away already.
    """
    intake = part(request, Intake)
    now = intake.now()
    wrong: list[Problem] = []
    service = line(new.service)
    if service is None:
        wrong.append(Problem("service", N_("is no name"), N_("say in a few words what is away")))
    started = new.started_at or now
    if started.tzinfo is None:
        wrong.append(Problem("started_at", N_("has no offset"), N_("write 2026-03-02T08:00:00+03:00")))
    elif not now - EARLIEST <= started <= now:
        wrong.append(Problem("started_at", N_("is not within the last week"), N_("say when service went away")))
    if new.eta is not None:
        wrong += _later(new.eta, now)
    async with intake.pool.connection() as connection, connection.transaction():
        terminals, unknown = await _terminals(connection, new.terminals)
        wrong += [Problem("terminals", f"no terminal {name[:40]}", "see /api/terminals") for name in unknown[:10]]
        if wrong:
            raise WrongInputError(*wrong)
        key = f"{DECLARED}{service}"
        rows = await connection.execute(
            "SELECT id FROM outage WHERE lower(key) = lower(%s) AND ended_at IS NULL", (key,)
        )
        if (found := await rows.fetchone()) is not None:
            raise ConflictError(f"{service} is away already: outage {found[0]}")
        made = await outages.begin(connection, intake.office, key, started, eta=new.eta, terminals=terminals)
        by = Jsonb({"by": visitor(request).user.name})
        await connection.execute("UPDATE outage SET data = data || %s WHERE id = %s", (by, made))
        await done(connection)
        return await get(connection, made)


async def promise(request: Request, number: int, changed: ChangedOutage) -> Outage:
    """Another date, or none. Raises as `begin` does, and `NotFoundError`."""
    intake = part(request, Intake)
    now = intake.now()
    async with intake.pool.connection() as connection, connection.transaction():
        await _open(connection, number)
        if changed.eta is not UNSET:
            if changed.eta is not None and (wrong := _later(changed.eta, now)):
                raise WrongInputError(*wrong)
            await outages.promise(connection, number, changed.eta, now)
        return await get(connection, number)


async def end(request: Request, number: int) -> Outage:
    """It is over. Raises as `promise` does."""
    intake = part(request, Intake)
    async with intake.pool.connection() as connection, connection.transaction():
        found = await _open(connection, number)
        await outages.end(connection, intake.office, found.key, intake.now())
        await done(connection)
        return await get(connection, number)


async def _open(connection: Connection, number: int) -> Outage:
    """The outage, locked, if it is not over."""
    await connection.execute("SELECT FROM outage WHERE id = %s FOR UPDATE", (number,))
    found = await get(connection, number)
    if found.ended_at is not None:
        raise ConflictError(f"outage {number} is over: declare a new one")
    return found


async def _terminals(connection: Connection, identities: Sequence[str] | None) -> tuple[list[int] | None, list[str]]:
    """Their rows, and those that there are not."""
    if not identities:
        return None, []
    rows = await connection.execute("SELECT identity, id FROM terminal WHERE identity = ANY(%s)", (list(identities),))
    known: dict[str, int] = dict(await rows.fetchall())
    return sorted(known.values()), [name for name in identities if name not in known]


def _later(eta: datetime, now: datetime) -> list[Problem]:
    try:
        ahead("eta", eta, now)
    except WrongInputError as error:
        return list(error.problems)
    return []


def _read(row: Sequence[Any]) -> Outage:
    number, key, started, ended, eta, terminals, told, by = row
    return Outage(
        id=number,
        key=key,
        started_at=utc(started),
        ended_at=utc_or_none(ended),
        eta=utc_or_none(eta),
        terminals=terminals,
        told_at=utc_or_none(told),
        service=key.removeprefix(DECLARED) if key.startswith(DECLARED) else None,
        by=by,
    )
