"""A letter that does not arrive is in the journal, and somebody phones (S2-15, S3-19); one put off to a digest too."""

from __future__ import annotations

from ticketing.core.db import Connection, storable
from ticketing.core.journal import append_journal
from ticketing.letters.courier import Outcome, Taken
from ticketing.model.states import WATCH, Action, State
from ticketing.tickets.tasks import add_task

CALLS = frozenset({Outcome.REFUSED, Outcome.UNTOLD})
LAST = frozenset({"closed", "reply", "official"})  # worth a call although the ticket is closed by now


async def undelivered(connection: Connection, letter: Taken) -> None:
    """What becomes of a letter's outcome on its ticket; for the courier's `hook`, in its transaction."""
    if letter.ticket is None or letter.outcome not in (*CALLS, Outcome.DIGESTED):
        return
    rows = await connection.execute("SELECT state FROM ticket WHERE id = %s FOR UPDATE", (letter.ticket,))
    (state,) = await rows.fetchone() or ("",)
    told = {"kind": letter.kind, "to": letter.address, "result": str(letter.outcome), "reason": storable(letter.reason)}
    await append_journal(
        connection, letter.ticket, letter.at, WATCH, Action.LETTER, "", state, {**told, "letter": letter.letter}
    )
    if letter.outcome in CALLS and (state != State.CLOSED or letter.kind in LAST):
        await add_task(
            connection, letter.ticket, "call", f"letter/{letter.letter}/call", letter.at,
            data={"why": str(letter.outcome), "letter": letter.kind, "address": letter.address},
        )  # fmt: skip
