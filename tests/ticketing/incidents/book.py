"""The ledger, and people who work on its tickets."""

from __future__ import annotations

from ticketing.incidents.ledger import Ledger, Ticket
from ticketing.model.states import MOVES, Action, next_state


class Book(Ledger):
    def act(self, ticket: Ticket, action: Action, who: str, now: float) -> bool:
        """A person's step, if the table has it."""
        if ticket.state not in MOVES[action].leads or (action == Action.CLOSE and not ticket.consented):
            return False
        ticket.state = next_state(ticket.state, action, consented=ticket.consented)
        ticket.journal.append(action)
        if action == Action.TAKE:
            ticket.owner = who
        if action == Action.CONSENT:
            ticket.consented = True
        if action == Action.CLOSE:
            ticket.closed_at, ticket.consented = now, False
        return True
