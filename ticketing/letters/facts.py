"""What a letter says of its ticket: read when the letter comes to be owed, and kept with it.

A letter that waits for the morning, or for a mail server, says what was true when it was due.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ticketing.core.db import Connection
from ticketing.core.moments import iso

NUMBERS = 200  # of what is missing or asked: more is no letter


async def facts_of(connection: Connection, ticket: int) -> dict[str, Any]:
    """The facts, as JSON; instants in UTC, None where there is none.

    Keys: ``number subject kind topic state priority cycle organisation reporter plate vehicle terminal description
    missing opened_at due_at eta eta_basis deferral price owner duty saw proof``. ``duty`` is the desk's person for this
    client (S4-2); ``saw`` of what the watch opened: kind and since when; ``proof`` of its recovery: the last failing
    and the last good instant, and since when it is proven. Of a ticket whose sender is not proven only what they
    wrote themselves is given: nothing is disclosed.
    """
    rows = await connection.execute(
        "SELECT t.number, t.title, t.kind, t.topic, t.state, t.priority, t.cycle, t.opened_at, t.due_at, t.eta_at,"
        " t.eta_basis, t.deferral, t.price, t.owner, t.missing, t.details ->> 'description', t.verified, t.channel,"
        " o.name, o.project_manager, o.engineers, o.contract ->> 'hotline', c.name, v.plate, v.name, e.identity,"
        " e.name, i.detected_at, i.last_bad_at, i.last_good_at, i.closed_at"
        " FROM ticket t LEFT JOIN organisation o ON o.id = t.organisation LEFT JOIN contact c ON c.id = t.reporter"
        " LEFT JOIN vehicle v ON v.id = t.vehicle LEFT JOIN terminal e ON e.id = coalesce(t.terminal, v.terminal)"
        " LEFT JOIN LATERAL (SELECT * FROM incident WHERE incident.ticket = t.id ORDER BY id DESC LIMIT 1) i ON true"
        " WHERE t.id = %s",
        (ticket,),
    )
    row = await rows.fetchone()
    if row is None:
        return {}
    (number, title, kind, topic, state, priority, cycle, opened, due, eta, basis, deferral, price, owner, missing,
     description, verified, channel, organisation, manager, engineers, hotline, reporter, plate, vehicle, terminal,
     terminal_name, detected, bad, good, closed) = row  # fmt: skip
    own: dict[str, Any] = {
        "number": number,
        "subject": title,
        "kind": kind,
        "topic": topic,
        "state": state,
        "cycle": cycle,
        "opened_at": iso(opened),
        "description": description or "",
        "missing": list(missing)[:NUMBERS],
    }
    if not verified:
        return own
    watched = channel == "monitoring"
    return {
        **own,
        "priority": priority,
        "organisation": organisation or "",
        "reporter": reporter or "",
        "plate": plate or "",
        "vehicle": vehicle or terminal_name or "",
        "terminal": terminal or "",
        "due_at": _iso(due),
        "eta": _iso(eta),
        "eta_basis": basis,
        "deferral": deferral,
        "price": price,
        "owner": owner or "",
        "duty": {"name": owner or next(iter(engineers or ()), manager) or "", "phone": hotline or ""},
        "saw": {"kind": kind, "since": _iso(good or detected or opened)} if watched else None,
        "proof": {"bad_at": _iso(bad), "good_at": _iso(good), "proven_at": _iso(closed)} if good and bad else None,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)
