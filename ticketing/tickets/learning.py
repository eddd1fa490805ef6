"""Known errors and one ticket: somebody reads one, it helps, and a closed ticket becomes one."""

from __future__ import annotations

import re

from ticketing.core.errors import ConflictError, NotFoundError, Problem, WrongInputError
from ticketing.model.states import Action
from ticketing.tickets import known
from ticketing.tickets.bodies import needed
from ticketing.tickets.case import Case, Effect, does

TEXT = 4000  # characters of each text of a known error
_LINK = re.compile(r"https?://[^\s<>\"'\\]{1,480}")


def linked(address: str) -> str | None:
    """An address of documentation as it may stand in a page; None for what is none."""
    address = address.strip()
    return address if _LINK.fullmatch(address) else None


@does(Action.READ)
async def _read(case: Case) -> Effect:
    return await _marked(case, helped=False)


@does(Action.HELPED)
async def _helped(case: Case) -> Effect:
    return await _marked(case, helped=True)


async def _marked(case: Case, *, helped: bool) -> Effect:
    """Of each mark the first one counts; what helped was read."""
    needed(case.body, "known_error")
    ticket, number = case.facts.row, case.body.known_error
    rows = await case.connection.execute("SELECT symptom FROM known_error WHERE id = %s AND active", (number,))
    found = await rows.fetchone()
    if found is None:
        raise NotFoundError(f"no known error {number}")
    by = case.actor.name
    await case.connection.execute(
        "INSERT INTO suggestion AS s (ticket, known_error, read_at, read_by, helped_at, helped_by) VALUES (%(ticket)s,"
        " %(number)s, %(at)s, %(by)s, CASE WHEN %(helped)s THEN %(at)s::timestamptz END, CASE WHEN %(helped)s THEN"
        " %(by)s END) ON CONFLICT (ticket, known_error) DO UPDATE SET read_by = coalesce(s.read_by, excluded.read_by),"
        " read_at = coalesce(s.read_at, excluded.read_at), helped_by = coalesce(s.helped_by, excluded.helped_by),"
        " helped_at = coalesce(s.helped_at, excluded.helped_at)",
        {"ticket": ticket, "number": number, "at": case.at, "by": by, "helped": helped},
    )

    async def then() -> None:
        await known.answer(case.connection, ticket, case.at)

    return Effect(data={"known_error": number, "symptom": found[0]}, then=then)


@does(Action.LEARN)
async def _learn(case: Case) -> Effect:
    """Cause and workaround are the ticket's own unless they are said; the symptom is said in words about no client.

    Others get to read it than those who see the ticket, so that its title is never taken.
    """
    body, facts = case.body, case.facts
    rows = await case.connection.execute(
        "SELECT e.protocol, coalesce(e.model_told, e.model), k.id FROM ticket t"
        " LEFT JOIN terminal e ON e.id = t.terminal LEFT JOIN known_error k ON k.ticket = t.id WHERE t.id = %s",
        (facts.row,),
    )
    protocol, model, made = await rows.fetchone() or (None, None, None)
    if made is not None:
        raise ConflictError(f"known error {made} was made of it already: change that one")
    symptom = (body.symptom or "").strip()
    cause = (body.cause or facts.details.get("cause") or "").strip()
    workaround = (body.workaround or facts.details.get("workaround") or "").strip()
    link = None if body.link is None else linked(body.link)
    wrong = []
    if not symptom:
        wrong.append(Problem("symptom", "is missing", "say it in words that are about no client"))
    if not cause:
        wrong.append(Problem("cause", "is missing", "say what it was: the ticket does not"))
    for name, text in (("symptom", symptom), ("cause", cause), ("workaround", workaround)):
        if len(text) > TEXT:
            wrong.append(Problem(name, f"is longer than {TEXT} characters", "say it in less"))
    if body.link is not None and link is None:
        wrong.append(Problem("link", "is no address", "write https://…"))
    if wrong:
        raise WrongInputError(*wrong)
    rows = await case.connection.execute(
        "INSERT INTO known_error (symptom, cause, workaround, link, kind, protocol, model, public, ticket, created_by,"
        " created_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        (
            symptom, cause, workaround, link, None if facts.kind == known.REQUEST else facts.kind, protocol, model,
            bool(body.public), facts.row, case.actor.name, case.at,
        ),
    )  # fmt: skip
    (number,) = await rows.fetchone() or (0,)
    await known.index(case.connection, number, symptom, cause, workaround)
    return Effect(data={"known_error": number, "symptom": symptom})
