"""A ticket as one person may see it: what `people.scope` hides is left out, and what clients never see.

ticket_for(connection, number, user, now)    looked up; what is not theirs is as missing
through(connection, user, ticket)            one in hand: with its evidence, links and journal as far as they see
for_eyes_of(user, ticket)                    its fields alone, as the role has them
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from psycopg import sql

from ticketing.core.db import Connection, storable
from ticketing.model.states import Action
from ticketing.model.tickets import JournalEntry, Ticket, TicketSummary
from ticketing.people.scope import Kind, condition, hidden
from ticketing.people.users import User
from ticketing.tickets.reading import load_ticket

# What a client sees of the journal: what was done for him, said to him or by him (S1-1).
PUBLIC = frozenset(
    {
        Action.OPENED, Action.TAKE, Action.REPLY, Action.ASK, Action.ANSWER, Action.ETA, Action.ETA_PASSED,
        Action.DEFER, Action.RESUME, Action.VISIT, Action.VISIT_CONFIRMED, Action.VISIT_DONE, Action.VISIT_CANCELLED,
        Action.FIX, Action.RECOVERING, Action.RECOVERED, Action.RELAPSED, Action.CONSENT, Action.DISPUTE, Action.CLOSE,
        Action.REOPEN, Action.WITHDRAW, Action.MERGE, Action.DEEMED, Action.MESSAGE, Action.VENDOR, Action.RECHECK,
        Action.PERMIT, Action.REVOKE, Action.COMMAND, Action.ENTRUST, Action.SECRET_SEEN, Action.SECRET_GONE,
        Action.RELOAD_ASKED, Action.RELOAD_BEGUN, Action.RELOAD_PUT_OFF, Action.RELOAD_ENDED,
    }
)  # fmt: skip
INTERNAL = frozenset({Action.FIX, Action.VENDOR, Action.RESUME})  # whose texts are the staff's
# What entries tell of a ticket's fields: to whom a field is hidden, they are blank.
TELLS = {
    "commands": frozenset({Action.COMMAND, Action.RELOAD_BEGUN}),
    "secrets": frozenset({Action.ENTRUST, Action.SECRET_SEEN, Action.SECRET_GONE}),
    "permissions": frozenset({Action.PERMIT, Action.REVOKE}),
    "consent": frozenset({Action.CONSENT}),
    "suggestions": frozenset({Action.READ, Action.HELPED, Action.LEARN}),
}

OTHERS = ("number", "into")  # what an entry calls another ticket by


async def ticket_for(connection: Connection, number: str, user: User, now: datetime) -> Ticket | None:
    """The ticket whole, as far as `user` sees it, inside the caller's transaction; None: it is missing to them."""
    rows = await connection.execute(
        sql.SQL("SELECT FROM ticket t WHERE t.number = %s AND {}").format(condition(user, Kind.TICKET, "t")),
        (storable(number),),
    )
    if await rows.fetchone() is None:
        return None
    ticket = await load_ticket(connection, number, now)
    return None if ticket is None else await through(connection, user, ticket)


async def sees_its_end(connection: Connection, number: str, user: User) -> bool:
    """Whether there is a ticket of this number and `user` sees it, as well as those that it was merged into."""
    rows = await connection.execute(
        sql.SQL(
            "WITH RECURSIVE chain(id, into_) AS (SELECT id, merged_into FROM ticket WHERE number = %s"
            " UNION SELECT m.id, m.merged_into FROM ticket m JOIN chain ON m.id = chain.into_)"
            " SELECT coalesce(bool_and({}), false) FROM ticket t WHERE t.id IN (SELECT id FROM chain)"
        ).format(condition(user, Kind.TICKET, "t")),
        (storable(number),),
    )
    return await rows.fetchone() == (True,)


async def through(connection: Connection, user: User, ticket: Ticket) -> Ticket:
    """The ticket without other tickets that `user` does not see, nor evidence that is not theirs."""
    named = {link.number for link in ticket.links} | {other for entry in ticket.journal for other in _others(entry)}
    rows = await connection.execute(
        sql.SQL("SELECT t.number FROM ticket t WHERE t.number = ANY(%s) AND {}").format(
            condition(user, Kind.TICKET, "t")
        ),
        (sorted(named),),
    )
    seen = {row[0] for row in await rows.fetchall()}
    rows = await connection.execute(
        sql.SQL("SELECT FROM ticket t WHERE t.number = %s AND {}").format(condition(user, Kind.EVIDENCE, "t")),
        (ticket.number,),
    )
    shown = msgspec.structs.replace(
        ticket,
        evidence=ticket.evidence if await rows.fetchone() is not None else {},
        links=[link for link in ticket.links if link.number in seen],
        journal=[entry if _others(entry) <= seen else _blank(entry) for entry in ticket.journal],
    )
    return for_eyes_of(user, shown)


def outline(ticket: Ticket, message: int | None) -> Ticket:
    """What is told of a ticket to who only added a message to it: what a list shows of it, and that message."""
    summary = {name: getattr(ticket, name) for name in TicketSummary.__struct_fields__}
    said = [one for one in ticket.messages if one.id == message]
    return Ticket(**summary, evidence={}, journal=[], messages=said)


def _others(entry: JournalEntry) -> set[str]:
    """The numbers of other tickets that an entry names."""
    return {str(entry.data[name]) for name in OTHERS if entry.data.get(name)}


def _blank(entry: JournalEntry) -> JournalEntry:
    return msgspec.structs.replace(entry, text="", data={})


def for_eyes_of(user: User, ticket: Ticket) -> Ticket:
    """The same ticket without what `user` may not see; an object of its own where something is left out."""
    away: dict[str, Any] = {}
    kept = hidden(user, Kind.TICKET)
    for field in msgspec.structs.fields(Ticket):
        if field.name.rstrip("_") in kept:
            away[field.name] = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if told := {action for name, actions in TELLS.items() if name in kept for action in actions}:
        ticket = msgspec.structs.replace(
            ticket, journal=[_blank(entry) if entry.action in told else entry for entry in ticket.journal]
        )
    if user.role == "client":
        away["journal"] = [
            msgspec.structs.replace(entry, text="" if entry.action in INTERNAL else entry.text, data={})
            for entry in ticket.journal
            if entry.action in PUBLIC
        ]
        away["messages"] = [message for message in ticket.messages if message.public]
        away["vendor"] = None
    return msgspec.structs.replace(ticket, **away) if away else ticket
