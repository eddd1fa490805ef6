"""What webhooks and notifiers may ask to be told, and an outage told to them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ticketing.core.db import Connection
from ticketing.core.outbox import OPENED, Target

CHANGED = "ticket.changed"  # of state; closing is an event of its own
WARNED = "ticket.warned"  # a share of a clock's budget is used up
BREACHED = "ticket.breached"
CLOSED = "ticket.closed"
OUTAGE_OPENED = "outage.opened"
OUTAGE_CLOSED = "outage.closed"
EVENTS = (OPENED, CHANGED, WARNED, BREACHED, CLOSED, OUTAGE_OPENED, OUTAGE_CLOSED)
# What people write for short.
SHORT: Mapping[str, str] = {
    "opened": OPENED,
    "changed": CHANGED,
    "warning": WARNED,
    "breach": BREACHED,
    "closed": CLOSED,
    "outage": OUTAGE_OPENED,
    "outage-end": OUTAGE_CLOSED,
}
WORDS: Mapping[str, str] = {
    OPENED: "new ticket",
    CHANGED: "changed",
    WARNED: "deadline comes nearer",
    BREACHED: "deadline missed",
    CLOSED: "closed",
    OUTAGE_OPENED: "Service interruption",
    OUTAGE_CLOSED: "Service restored",
    "notify.test": "Dozor: test message",
}


async def enqueue_outage(
    connection: Connection,
    event: str,
    row: int,
    outage: Mapping[str, Any],
    targets: Sequence[Target],
    at: datetime,
    key: str = "",
) -> None:
    """Owe an outage's event to every target that wants it, inside the caller's transaction; once per outage, or `key`.

    ``{"event":"outage.opened","id":"…","ticket":null,"outage":{…}}``: `outage` is what they are told of it, such as
    ``id started_at ended_at eta terminals``; JSON.
    """
    for target in targets:
        if event not in target.events:
            continue
        identity = uuid.uuid4()
        body = msgspec.json.encode({"event": event, "id": str(identity), "ticket": None, "outage": outage}).decode()
        await connection.execute(
            "INSERT INTO outbox (id, dedupe_key, channel, target, ticket, event, body, created_at, not_before)"
            " VALUES (%s, %s, %s, %s, NULL, %s, %s, %s, %s) ON CONFLICT (dedupe_key) DO NOTHING",
            (
                identity,
                f"{event} {key or f'outage/{row}'} {target.channel} {target.target}",
                target.channel,
                target.target,
                event,
                body,
                at,
                at,
            ),
        )
