"""Commands in the store, as receiving processes claim and settle them. Each call is one statement.

The store's clock alone says whether a command's time is over, whatever the clocks of services say. A clock that is set
back to before a command was asked for ends the command: it shall not live twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection

CHANNEL = "dozor_command"  # NOTIFY with a terminal's identity: something was queued for it
MAX_RESULT = 4096  # characters that are kept of an answer; it is whole among the terminal's messages

_SET_BACK: LiteralString = "5 seconds"  # by so much a clock may be corrected without ending anything
_OVER: LiteralString = f"(expires_at <= clock_timestamp() OR created_at > clock_timestamp() + interval '{_SET_BACK}')"
_NEXT: LiteralString = "state = 'queued' OR (state = 'sent' AND repeat AND connection <> u.number)"
_CLAIM: LiteralString = f"""
    UPDATE command c SET state = 'sent', sent_at = clock_timestamp(), connection = n.number, protocol = n.protocol
    FROM (SELECT f.id, u.terminal, u.number, u.protocol
          FROM unnest(%s::text[], %s::int8[], %s::float8[], %s::text[]) AS u(terminal, number, opened, protocol)
          JOIN terminal t ON t.identity = u.terminal
          CROSS JOIN LATERAL (SELECT id FROM command WHERE terminal = t.id AND ({_NEXT}) AND NOT {_OVER}
                              ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) f
          WHERE NOT EXISTS (SELECT FROM connection k WHERE k.terminal = u.terminal AND k.closed_at IS NULL
                            AND k.protocol = u.protocol AND coalesce(k.listener, '') NOT LIKE 'mqtt %%'
                            AND k.opened_at > to_timestamp(u.opened) AND k.opened_at <= clock_timestamp()
                            AND k.id <> u.number)) n
    WHERE c.id = n.id
    RETURNING n.terminal, c.id, c.text, extract(epoch FROM c.expires_at - clock_timestamp())::float8 AS left
"""  # noqa: S608  # texts of ours
_EXPIRE: LiteralString = f"""
    UPDATE command SET state = CASE state WHEN 'queued' THEN 'expired' ELSE 'failed' END,
        finished_at = clock_timestamp(), reason = CASE state WHEN 'queued' THEN 'it could not be sent in time'
        ELSE 'no answer in time: it may have been carried out' END
    WHERE id IN (SELECT id FROM command WHERE state IN ('queued', 'sent') AND {_OVER}
                 ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED)
"""  # noqa: S608  # texts of ours


class Connected(NamedTuple):
    """A terminal's connection: its number in the history, when it was opened (Unix s), the protocol it speaks."""

    terminal: str
    number: int
    opened: float
    protocol: str


class Claim(NamedTuple):
    """A command to be sent now, on that connection; `left` is how many seconds it may still be."""

    terminal: str
    id: int
    text: str
    left: float


async def waiting(link: AsyncConnection[Any], most: int) -> list[str]:
    """Terminals for which something may have to be sent, the oldest command's first."""
    cursor = await link.execute(
        "SELECT t.identity FROM (SELECT terminal, min(id) AS id FROM command"
        " WHERE state = 'queued' OR (state = 'sent' AND repeat) GROUP BY terminal) c"
        " JOIN terminal t ON t.id = c.terminal ORDER BY c.id LIMIT %s",
        (most,),
    )
    return [identity for (identity,) in await cursor.fetchall()]


async def claim(link: AsyncConnection[Any], connections: Sequence[Connected]) -> list[Claim]:
    """The next command of each of these terminals, if there is one.

    From here on it counts as sent on that connection, and is nobody else's. A connection that is known to have been
    followed by another, of whatever service, gets none; a sensor's line or a broker's client beside it is none.
    """
    cursor = await link.execute(_CLAIM, [list(column) for column in zip(*connections, strict=True)])
    return [Claim(*row) for row in await cursor.fetchall()]


async def settle(link: AsyncConnection[Any], number: int, state: str, result: str | None, reason: str | None) -> None:
    """Make an end of one that was sent, unless its time was over before."""
    await link.execute(
        "UPDATE command SET state = %s, result = %s, reason = %s, finished_at = clock_timestamp()"
        " WHERE id = %s AND state = 'sent'",
        (state, None if result is None else kept(result), reason, number),
    )


async def unsent(link: AsyncConnection[Any], number: int, connection: int) -> None:
    """It was claimed, but that connection ended before it could be sent."""
    await link.execute(
        "UPDATE command SET state = 'queued', sent_at = NULL, connection = NULL"
        " WHERE id = %s AND state = 'sent' AND connection = %s",
        (number, connection),
    )


async def expire(link: AsyncConnection[Any], most: int) -> tuple[int, float | None]:
    """End those whose time is over: how many, and in how many seconds the next one's is; None: there is none."""
    ended = (await link.execute(_EXPIRE, (most,))).rowcount
    cursor = await link.execute(
        "SELECT extract(epoch FROM min(expires_at) - clock_timestamp())::float8 FROM command"
        " WHERE state IN ('queued', 'sent')"
    )
    row = await cursor.fetchone()
    return ended, row[0] if row is not None else None


def kept(text: str) -> str:
    """What is kept of an answer: bounded, and what the store can hold."""
    text = text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()
    return text if len(text) <= MAX_RESULT else text[: MAX_RESULT - 1] + "…"
