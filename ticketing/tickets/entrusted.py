"""Access data that a client entrusts with a ticket (S1-18): sealed, with an end, each reading in the journal.

They stand in no text, search, letter or export; what is shown of them to everybody is their label. They are erased at
their instant, and with the ticket's end.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from ticketing.core.db import Connection, utc
from ticketing.core.errors import ConflictError, NotFoundError, Problem, WrongInputError
from ticketing.core.journal import append_journal
from ticketing.core.sealed import SealError
from ticketing.model.states import WATCH, Action, State
from ticketing.tickets.bodies import ahead, needed
from ticketing.tickets.case import Case, Effect, does
from ticketing.tickets.dues import move
from ticketing.tickets.facts import Facts, lock
from ticketing.tickets.office import Office

MODULE = "secrets"
USUAL = timedelta(days=3)
LONGEST = timedelta(days=30)
MOST = 20  # of one ticket that are not erased


class Opened(msgspec.Struct, kw_only=True):
    """Access data, as somebody who may reads them."""

    id: int
    label: str
    secret: str
    until: datetime


@does(Action.ENTRUST)
async def _entrust(case: Case) -> Effect:
    needed(case.body, "label", "secret")
    if case.office.seal is None:
        raise ConflictError("this desk has no key to seal access data with")
    until = case.at + USUAL if case.body.until is None else ahead("until", case.body.until, case.at)
    if until - case.at > LONGEST:
        raise WrongInputError(Problem("until", "is too far away", f"give an instant within {LONGEST.days} days"))
    connection, ticket = case.connection, case.facts.row
    rows = await connection.execute(
        "SELECT count(*), min(expires_at) FROM ticket_secret WHERE ticket = %s AND sealed IS NOT NULL", (ticket,)
    )
    count, soonest = await rows.fetchone() or (0, None)
    if count >= MOST:
        raise ConflictError(f"the ticket keeps {MOST} already: they are erased at their time, or with the ticket")
    rows = await connection.execute(
        "INSERT INTO ticket_secret (ticket, label, created_at, created_by, expires_at) VALUES (%s, %s, %s, %s, %s)"
        " RETURNING id",
        (ticket, case.body.label, case.at, case.actor.name, until),
    )
    (secret,) = await rows.fetchone() or (0,)
    sealed = case.office.seal.seal((case.body.secret or "").encode(), _about(secret))
    await connection.execute("UPDATE ticket_secret SET sealed = %s WHERE id = %s", (sealed, secret))
    await move(connection, MODULE, ticket, until if soonest is None else min(until, utc(soonest)))
    return Effect(data={"secret": secret, "label": case.body.label, "until": until})


async def read(connection: Connection, office: Office, number: str, secret: int, by: str, at: datetime) -> Opened:
    """The data; the reading is in the journal when the caller's transaction ends.

    Raises
    ------
    NotFoundError
        If the ticket has no such.
    ConflictError
        If it is erased or over, or was sealed with another key.
    """
    facts = await lock(connection, number)
    rows = await connection.execute(
        "SELECT label, sealed, expires_at FROM ticket_secret WHERE id = %s AND ticket = %s", (secret, facts.row)
    )
    found = await rows.fetchone()
    if found is None:
        raise NotFoundError("no such access data")
    label, sealed, until = found[0], found[1], utc(found[2])
    if sealed is None or until <= at:
        raise ConflictError("its time is over: ask the client for it again")
    if office.seal is None:
        raise ConflictError("this desk has no key to open access data with")
    try:
        plain = office.seal.open(bytes(sealed), _about(secret)).decode()
    except SealError as error:
        raise ConflictError(f"{error}: was data_dir restored without secrets.key?") from error
    await append_journal(
        connection, facts.row, at, by, Action.SECRET_SEEN, "", facts.state, {"secret": secret, "label": label}
    )
    return Opened(id=secret, label=label, secret=plain, until=until)


async def look(connection: Connection, _office: Office, ticket: int, now: datetime) -> datetime | None:
    """Erase what is over; returns when the next is."""
    facts = await lock(connection, ticket, follow=False)
    await erase(connection, facts, facts.state, now)
    rows = await connection.execute(
        "SELECT min(expires_at) FROM ticket_secret WHERE ticket = %s AND sealed IS NOT NULL", (ticket,)
    )
    (soonest,) = await rows.fetchone() or (None,)
    return None if soonest is None else utc(soonest)


async def erase(connection: Connection, facts: Facts, state: State, at: datetime) -> None:
    """Erase what is over by `at`, all of it of a closed ticket; each is told of in the journal."""
    rows = await connection.execute(
        "UPDATE ticket_secret SET sealed = NULL WHERE ticket = %s AND sealed IS NOT NULL AND (%s OR expires_at <= %s)"
        " RETURNING id, label",
        (facts.row, state == State.CLOSED, at),
    )
    for secret, label in sorted(await rows.fetchall()):
        data = {"secret": secret, "label": label}
        await append_journal(connection, facts.row, at, WATCH, Action.SECRET_GONE, "", state, data)


def _about(secret: int) -> str:
    return f"ticket-secret/{secret}"
