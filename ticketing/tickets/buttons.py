"""What the buttons of letters do: fixed, not fixed, it is in the workshop."""

from __future__ import annotations

from ticketing.core.db import Connection
from ticketing.core.errors import ConflictError
from ticketing.letters.tokens import Pressed
from ticketing.model.states import Action, State
from ticketing.tickets.acts import act
from ticketing.tickets.bodies import Body
from ticketing.tickets.facts import Actor, lock
from ticketing.tickets.office import Office


class Buttons:
    """Acts in the name of the contact whom a letter was for."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def __call__(self, connection: Connection, pressed: Pressed) -> None:
        """Do what the button says.

        Raises
        ------
        ConflictError
            If the ticket has moved on.
        """
        actor = await self._actor(connection, pressed)
        facts = await lock(connection, pressed.ticket)
        text = pressed.text or None
        if pressed.button == "fixed":
            body = Body(means="button", text=text)
            await act(connection, self._office, Action.CONSENT, facts.row, actor, body, pressed.at, channel="mail")
        elif pressed.button == "not_fixed":
            body = Body(text=text)
            if facts.state not in (State.AWAITING_CONSENT, State.RECOVERING):
                raise ConflictError(f"the ticket is {facts.state} by now")
            await act(connection, self._office, Action.DISPUTE, facts.row, actor, body, pressed.at, channel="mail")
        elif pressed.button == "in_workshop":
            await self._in_workshop(connection, facts.row)
            body = Body(text=text or "it is in the workshop")
            await act(connection, self._office, Action.NOTE, facts.row, actor, body, pressed.at, channel="mail")
        else:
            raise ConflictError(f"this letter's button {pressed.button} does nothing here")

    async def _in_workshop(self, connection: Connection, ticket: int) -> None:
        """Its silence is expected until somebody says otherwise: the watch looks away."""
        await connection.execute(
            "UPDATE terminal SET stage = 'workshop', stage_until = NULL WHERE stage = 'in_use'"
            " AND id = (SELECT terminal FROM ticket WHERE id = %s)",
            (ticket,),
        )

    async def _actor(self, connection: Connection, pressed: Pressed) -> Actor:
        if pressed.contact is None:
            return Actor(pressed.address, "client")
        rows = await connection.execute("SELECT name, organisation FROM contact WHERE id = %s", (pressed.contact,))
        row = await rows.fetchone()
        if row is None:
            return Actor(pressed.address, "client")
        return Actor(row[0], "client", pressed.contact, (row[1],))
