"""Work from afar: the client's permission, which has an end, and commands that are sent from a ticket under it (S4-16).

A permission is another thing than the consent to close: it is given before the work, for this ticket, until an instant,
and ends with the ticket. What was sent names the permission that it was sent under.
"""

from __future__ import annotations

from datetime import timedelta

from ticketing.commands import Wanted
from ticketing.core.errors import ConflictError, Problem, WrongInputError
from ticketing.model.states import Action
from ticketing.tickets.bodies import ahead
from ticketing.tickets.case import Case, Effect, does

LONGEST = timedelta(days=90)  # a permission that nobody remembers having given is none


@does(Action.PERMIT)
async def _permit(case: Case) -> Effect:
    body, client = case.body, case.actor.is_client
    until = ahead("until", body.until, case.at)
    if until - case.at > LONGEST:
        raise WrongInputError(Problem("until", "is too far away", f"give an instant within {LONGEST.days} days"))
    if not client and not (body.by and body.means):
        lacking = "means" if body.by else "by"
        raise WrongInputError(Problem(lacking, "is missing", "say whose word it is, and how it came"))
    by, means = (case.actor.name, body.means or "portal") if client else (body.by, body.means)
    rows = await case.connection.execute(
        "INSERT INTO remote_permission (ticket, given_by, means, scope, at, until, written_by)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
        (case.facts.row, by, means, case.text, case.at, until, case.actor.name),
    )
    (permission,) = await rows.fetchone() or (0,)
    return Effect(data={"permission": permission, "by": by, "means": means, "until": until})


@does(Action.REVOKE)
async def _revoke(case: Case) -> Effect:
    rows = await case.connection.execute(
        "UPDATE remote_permission SET withdrawn_at = %(at)s WHERE ticket = %(ticket)s AND withdrawn_at IS NULL"
        " AND until > %(at)s AND (%(one)s::bigint IS NULL OR id = %(one)s) RETURNING id",
        {"at": case.at, "ticket": case.facts.row, "one": case.body.permission},
    )
    ended = sorted(row[0] for row in await rows.fetchall())
    if not ended:
        raise ConflictError("no permission to work from afar is on record that counts now")
    return Effect(data={"permissions": ended})


@does(Action.COMMAND)
async def _command(case: Case) -> Effect:
    if case.office.remote is None:
        raise ConflictError("this desk sends terminals no commands")
    rows = await case.connection.execute(
        "SELECT e.identity FROM ticket t LEFT JOIN vehicle v ON v.id = t.vehicle"
        " JOIN terminal e ON e.id = coalesce(t.terminal, v.terminal) WHERE t.id = %s",
        (case.facts.row,),
    )
    found = await rows.fetchone()
    if found is None:
        raise ConflictError("the ticket is about no terminal: name its vehicle first")
    command, _ = await case.office.remote.queue(
        case.connection, found[0], case.actor.name, Wanted(case.text), case.at, case.facts.row
    )
    return Effect(data={"command": command.id, "terminal": found[0], "permission": command.permission})
