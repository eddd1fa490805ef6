"""What people do to a ticket: one way for pages, API, mail, rehearsal and connectors.

    load under lock → who may → guard → row, journal, messages, letters, tasks, clocks → answer

Each action is one transaction of the caller's and one journal entry. The table of `ticketing.model.states` says who may
and what leads where; what an action needs besides stands in its own function (`work`, `ending`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from ticketing.clocks.records import refresh
from ticketing.core.db import Connection
from ticketing.core.errors import NotAllowedError
from ticketing.core.journal import append_journal
from ticketing.model.kinds import COMMON
from ticketing.model.states import MOVES, STAFF, Action, State, events_of, next_state
from ticketing.model.tickets import checked_text
from ticketing.threads.attachments import Offered
from ticketing.threads.messages import NewMessage, append
from ticketing.tickets import ending, entrusted, learning, remote, sampling, work  # the actions register
from ticketing.tickets.announcing import announce
from ticketing.tickets.bodies import Body, said
from ticketing.tickets.case import HANDLERS, Case
from ticketing.tickets.closing import over
from ticketing.tickets.dues import poke
from ticketing.tickets.facts import Actor, Facts, lock, lock_both, set_columns
from ticketing.tickets.letters import owe
from ticketing.tickets.office import Office
from ticketing.tickets.queue import restand
from ticketing.tickets.rules import stored_policy
from ticketing.tickets.thread import files_of

__all__ = ["act", "ending", "entrusted", "learning", "remote", "work"]


async def act(
    connection: Connection,
    office: Office,
    action: Action,
    number: str | int,
    actor: Actor,
    body: Body,
    at: datetime,
    *,
    channel: str = "api",
    message: Callable[[int], NewMessage] | None = None,
    files: Sequence[Offered] = (),
) -> int:
    """Do it, inside the caller's transaction; returns the row of the ticket that it was done to.

    `message` makes the message that carries it, of a mail, for the row of the ticket; `files` are a form's.

    Raises
    ------
    NotFoundError, NotAllowedError, ConflictError, WrongInputError, InvalidTextError
        Nothing is written then, if the caller's transaction ends with it.
    """
    if (other := body.into or body.to) is not None:
        await lock_both(connection, number, other)
    facts = await lock(connection, number)
    move = MOVES[action]
    if actor.role not in move.roles:
        raise NotAllowedError(f"the role {actor.role} may not {action}")
    if action == Action.CLOSE and facts.kind in COMMON and actor.role not in ("admin", "manager"):
        raise NotAllowedError("a ticket of many with one cause is closed by a manager")
    text = checked_text(action, body.text)
    said(action, body, text, client=actor.is_client)
    after = next_state(facts.state, action, consented=facts.consented)
    policy = await stored_policy(connection, facts.policy_version, office)
    case = Case(connection, office, action, actor, body, at, facts, text, policy)
    effect = await HANDLERS[action](case)
    after = effect.after or after
    events = tuple(dict.fromkeys((*events_of(action), *effect.events)))
    kind = move.letter if effect.letter is None else effect.letter
    columns = effect.columns
    if effect.said is not None:
        direction, public = effect.said
        if public:
            columns = {"said_at": at, "said_by": actor.name, **columns}
    if facts.given and ("owner" in columns or (move.visible and actor.role in STAFF)):
        columns = {"given": False, **columns}
    closes = after == State.CLOSED != facts.state
    await set_columns(connection, facts.row, {"state": str(after), **columns})
    message_row = None
    if effect.said is not None:
        direction, public = effect.said
        message_row = await append(
            connection,
            message(facts.row)
            if message is not None
            else NewMessage(
                ticket=facts.row,
                at=at,
                direction=direction,
                public=public,
                author=actor.name,
                contact=actor.contact,
                text=effect.text or text,
                channel=channel,
                letter_kind=kind or None,
                files=files_of(body.attachments, files).files,
            ),
        )
        if effect.said == ("out", True) and policy.file.review is not None:
            await sampling.expect(connection, office, at)
    first = move.visible and not await _seen(connection, facts)
    data = {**effect.data, **({"events": list(events)} if events else {})}
    if message_row is not None:
        data["message"] = message_row
    await append_journal(connection, facts.row, at, actor.name, action, effect.text or text, str(after), data)
    if kind:
        letter_data = {"text": effect.text or text, **effect.letter_data}
        if message_row is not None:
            letter_data["message"] = message_row
        await owe(connection, office, facts, kind, {**letter_data, "by": actor.name}, at)
    elif first:
        await owe(connection, office, facts, "work_started", {"by": actor.name}, at,
                  key=f"{facts.number}/work_started/{facts.cycle}")  # fmt: skip
    if effect.then is not None:
        await effect.then()
    if closes:
        await over(connection, facts, at)
    await poke(connection, facts.row, at)
    await refresh(connection, facts.row, at)
    await restand(connection, office, facts.row, at)
    await announce(connection, office, facts.number, "ticket.closed" if closes else "ticket.changed", at)
    if effect.next is not None:
        following, whose = effect.next
        await act(connection, office, following, facts.row, whose, Body(), at)
    return facts.row


async def _seen(connection: Connection, facts: Facts) -> bool:
    """Whether the client has seen anybody act on it."""
    rows = await connection.execute(
        "SELECT EXISTS (SELECT FROM journal WHERE ticket = %s AND data -> 'events' ? 'human-action')", (facts.row,)
    )
    return await rows.fetchone() == (True,)
