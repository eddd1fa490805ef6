"""What a button of a letter may do, once: tokens bound to a letter, its ticket, cycle and contact, and to a time.

A link carries the token; whoever opens it sees a page, and only that page's button acts: mail scanners open links.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from ticketing.core.db import Connection, utc
from ticketing.core.errors import ConflictError, NotFoundError
from ticketing.letters.kinds import CONSENT_BUTTONS, KINDS

LIVES = timedelta(days=60)  # longer than any consent is waited for, shorter than a mailbox is kept
COMMENT_LIMIT = 4000  # characters typed beside a button


class Spent(NamedTuple):
    """Why a token does nothing any more: `used`, or `expired`."""

    reason: str
    button: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a token's page shows: the ticket's number, the letter's language, and the buttons there are."""

    letter: int
    kind: str
    number: str
    language: str
    buttons: tuple[str, ...]
    spent: Spent | None


@dataclass(frozen=True, slots=True)
class Pressed:
    """A button that was pressed, as it is acted upon.

    `ticket` is the row, `cycle` the ticket's when the letter was written, `contact` whom it was for (None: an address
    that is no contact's); `text` is what they typed beside it.
    """

    letter: int
    kind: str
    ticket: int
    number: str
    cycle: int
    contact: int | None
    address: str
    button: str
    text: str
    at: datetime


Act: TypeAlias = Callable[[Connection, Pressed], Awaitable[None]]
"""Does what a button says, inside the transaction that uses up its token; `ConflictError` if it cannot be any more:
the token then stays good."""


def buttons_of(kind: str, about: str, *, has_object: bool) -> tuple[str, ...]:
    """The buttons of a letter; `about` is a reminder's, and without a vehicle none says that it is in the workshop."""
    found = CONSENT_BUTTONS if kind == "reminder" and about == "consent" else KINDS[kind].buttons
    return tuple(button for button in found if has_object or button != "in_workshop")


def token_of(secret: bytes, letter: int) -> str:
    """The letter's token: nobody without the secret can make one, and the store holds only its digest."""
    digest = hmac.new(secret, b"button %d" % letter, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:24]).decode()


async def keep_token(connection: Connection, token: str, letter: int, at: datetime) -> None:
    """Make a letter's token good, in the transaction that freezes the letter."""
    await connection.execute(
        "INSERT INTO letter_token (digest, letter, ticket, contact, cycle, expires_at)"
        " SELECT %s, l.id, l.ticket, l.contact, t.cycle, %s FROM letter l JOIN ticket t ON t.id = l.ticket"
        " WHERE l.id = %s ON CONFLICT (digest) DO NOTHING",
        (_digest(token), at + LIVES, letter),
    )


async def offer(connection: Connection, token: str, at: datetime) -> Offer | None:
    """What the token's page shows; None if there is no such token. Changes nothing."""
    rows = await connection.execute(
        "SELECT l.id, l.kind, t.number, l.language, coalesce(l.data ->> 'about', ''),"
        " concat(l.data ->> 'plate', l.data ->> 'vehicle', l.data ->> 'terminal'),"
        " k.used_at, k.button, k.expires_at FROM letter_token k JOIN letter l ON l.id = k.letter"
        " JOIN ticket t ON t.id = k.ticket WHERE k.digest = %s",
        (_digest(token),),
    )
    row = await rows.fetchone()
    if row is None:
        return None
    letter, kind, number, language, about, subject, used, button, expires = row
    spent = Spent("used", button) if used else Spent("expired", None) if utc(expires) <= at else None
    return Offer(letter, kind, number, language, buttons_of(kind, about, has_object=bool(subject)), spent)


async def press(connection: Connection, token: str, button: str, text: str, at: datetime, act: Act) -> Offer:
    """Press a button: use the token up and act, both or neither, inside the caller's transaction.

    Raises
    ------
    NotFoundError
        If there is no such token, or its letter has no such button.
    ConflictError
        If it has been used, has expired, the ticket is in another cycle by now, or `act` says so.
    """
    rows = await connection.execute(
        "SELECT k.ticket, k.contact, k.cycle, t.cycle, l.address FROM letter_token k JOIN letter l ON l.id = k.letter"
        " JOIN ticket t ON t.id = k.ticket WHERE k.digest = %s FOR UPDATE OF k",
        (_digest(token),),
    )
    row = await rows.fetchone()
    shown = await offer(connection, token, at)
    if row is None or shown is None or button not in shown.buttons:
        raise NotFoundError("there is no such button")
    if shown.spent is not None:
        raise ConflictError(shown.spent.reason)
    ticket, contact, cycle, current, address = row
    if cycle != current:
        raise ConflictError("the ticket has been opened again since")
    # Used up first: whatever `act` locks, it locks after the token.
    await connection.execute(
        "UPDATE letter_token SET used_at = %s, button = %s WHERE digest = %s", (at, button, _digest(token))
    )
    clean = "".join(c if c.isprintable() or c == "\n" else " " for c in text)[:COMMENT_LIMIT].strip()
    pressed = Pressed(
        shown.letter, shown.kind, ticket, shown.number, cycle, contact, address, button, clean, at
    )  # fmt: skip
    await act(connection, pressed)
    return shown


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
