"""A ticket as one person may see it: what `people.scope` hides is left out, and what clients never see."""

from __future__ import annotations

from typing import Any

import msgspec

from ticketing.model.states import Action
from ticketing.model.tickets import Ticket
from ticketing.people.scope import Kind, hidden
from ticketing.people.users import User

# What a client sees of the journal: what was done for him, said to him or by him (S1-1).
PUBLIC = frozenset(
    {
        Action.OPENED, Action.TAKE, Action.REPLY, Action.ASK, Action.ANSWER, Action.ETA, Action.ETA_PASSED,
        Action.DEFER, Action.RESUME, Action.VISIT, Action.VISIT_CONFIRMED, Action.VISIT_DONE, Action.VISIT_CANCELLED,
        Action.FIX, Action.RECOVERING, Action.RECOVERED, Action.RELAPSED, Action.CONSENT, Action.DISPUTE, Action.CLOSE,
        Action.REOPEN, Action.WITHDRAW, Action.MERGE, Action.DEEMED, Action.MESSAGE, Action.VENDOR, Action.RECHECK,
        Action.PERMIT, Action.REVOKE, Action.COMMAND, Action.ENTRUST, Action.SECRET_SEEN, Action.SECRET_GONE,
    }
)  # fmt: skip
INTERNAL = frozenset({Action.FIX, Action.VENDOR, Action.RESUME, Action.COMMAND})  # whose texts are the staff's


def for_eyes_of(user: User, ticket: Ticket) -> Ticket:
    """The same ticket without what `user` may not see; an object of its own where something is left out."""
    away: dict[str, Any] = {}
    for field in msgspec.structs.fields(Ticket):
        if field.name.rstrip("_") in hidden(user, Kind.TICKET):
            away[field.name] = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if user.role == "client":
        away["journal"] = [
            msgspec.structs.replace(entry, text="" if entry.action in INTERNAL else entry.text, data={})
            for entry in ticket.journal
            if entry.action in PUBLIC
        ]
        away["messages"] = [message for message in ticket.messages if message.public]
        away["vendor"] = None
    return msgspec.structs.replace(ticket, **away) if away else ticket
