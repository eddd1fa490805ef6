"""A letter that came back: it is marked, its address is not written to again, and somebody is to phone."""

from __future__ import annotations

from datetime import datetime

from psycopg.types.json import Jsonb

from ticketing.core.db import Connection, storable
from ticketing.core.message_ids import bounced_letter, name_of

REASON_LIMIT = 500


async def bounced(
    connection: Connection, secret: bytes, returned: str, address: str, reason: str, at: datetime
) -> list[int]:
    """Take note of a hard bounce; returns the tickets, by row, whose people must be told by phone.

    The letter becomes ``bounced``, its address is written down at every contact that has it, and what was still owed
    there becomes ``untold``: those tickets are among the returned. What names no letter of ours changes nothing: who
    sends forged bounces must not silence anybody.

    Parameters
    ----------
    secret : the instance's.
    returned : the Message-ID of the letter that came back, or the bounce address that the report went to.
    address : who does not take letters, as the report says; it must be the letter's own.
    """
    letter = bounced_letter(secret, returned)
    if letter is None and name_of(secret, returned) is None:
        return []
    rows = await connection.execute(
        "UPDATE letter SET state = 'bounced', lease_until = NULL, last_error = %(reason)s WHERE"
        " (id = %(letter)s OR message_id = %(identity)s) AND state IN ('owed', 'deferred', 'sent', 'bounced')"
        " RETURNING ticket, address",
        {
            "reason": storable(reason)[:REASON_LIMIT],
            "letter": letter,
            "identity": f"<{returned.strip().strip('<>')}>",
        },
    )
    found = await rows.fetchone()
    if found is None:
        return []
    ticket, own = found
    tickets = {ticket}
    if not address.strip() or address.strip().lower() == own:
        note = {own: storable(f"{at:%Y-%m-%d}: {reason}")[:REASON_LIMIT]}
        await connection.execute(
            "UPDATE contact SET bounced = bounced || %s WHERE emails @> ARRAY[%s] AND NOT bounced ? %s",
            (Jsonb(note), own, own),
        )
        rows = await connection.execute(
            "UPDATE letter SET state = 'untold', untold = 'bounced', lease_until = NULL"
            " WHERE address = %s AND state IN ('owed', 'deferred') RETURNING ticket",
            (own,),
        )
        tickets |= {one for (one,) in await rows.fetchall()}
    return sorted(one for one in tickets if one is not None)
