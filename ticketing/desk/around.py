"""What stands around a ticket on its page: its contract, the client's other open tickets, what time will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from psycopg import sql

from ticketing.core.db import Pool, utc
from ticketing.kit.words import N_, _
from ticketing.model.tickets import Ticket, TicketSummary
from ticketing.people.organisations import Contract
from ticketing.people.scope import Kind, condition, hidden
from ticketing.people.users import User
from ticketing.tickets.reading import SUMMARY, SUMMARY_FROM, summary

OTHERS = 10  # of the client's open tickets that are shown
# What the engine's parts do at their next instant (`tickets.timed`); the order of the queue is nobody's news.
AHEAD = {
    "reminders": N_("reminder to the client"),
    "consent": N_("the contract takes silence for consent"),
    "eta": N_("the promised time, or the day by which one is due"),
    "recheck": N_("the deferral ends, somebody looks again"),
    "ladders": N_("next step of the escalation"),
    "checks": N_("the pre-checks are run again"),
}


@dataclass(frozen=True, slots=True)
class Around:
    """`ahead`: (instant, what) in the order of time; `contract`: the organisation's, None of no client or not shown."""

    contract: Contract | None
    others: Sequence[TicketSummary]
    ahead: Sequence[tuple[datetime, str]]


async def around(pool: Pool, ticket: Ticket, user: User, now: datetime) -> Around:
    """Look it up, as far as `user` sees it."""
    async with pool.connection() as connection:
        rows = await connection.execute(
            "SELECT d.module, d.at FROM due d JOIN ticket t ON t.id = d.subject WHERE t.number = %s AND d.at > %s"
            " AND d.module = ANY(%s)",
            (ticket.number, now, list(AHEAD)),
        )
        ahead = [(utc(at), AHEAD[module]) for module, at in await rows.fetchall()]
        contract, others = None, []
        if ticket.organisation is not None:
            rows = await connection.execute("SELECT contract FROM organisation WHERE id = %s", (ticket.organisation,))
            row = await rows.fetchone()
            if row is not None and "contract" not in hidden(user, Kind.ORGANISATION):
                contract = msgspec.convert(row[0] or {}, Contract)
            rows = await connection.execute(
                sql.SQL(
                    "SELECT {} {} WHERE t.organisation = %s AND t.state <> 'closed' AND t.number <> %s AND {}"
                    " ORDER BY t.priority, t.id LIMIT %s"
                ).format(SUMMARY, SUMMARY_FROM, condition(user, Kind.TICKET, "t")),
                (ticket.organisation, ticket.number, OTHERS),
            )
            others = [summary(row) for row in await rows.fetchall()]
    return Around(contract, others, sorted(ahead))


def coming(ticket: Ticket, here: Around, now: datetime) -> list[tuple[datetime, str]]:
    """What happens next and when: what the engine will do, warnings and due times of the clocks that run."""
    found = [(at, _(what)) for at, what in here.ahead]
    for clock in ticket.clocks:
        if clock.get("stopped") or not clock.get("due"):
            continue
        found.append((datetime.fromisoformat(clock["due"]), _("due: %(clock)s") % {"clock": clock["clock"]}))
    return sorted(each for each in found if each[0] > now)
