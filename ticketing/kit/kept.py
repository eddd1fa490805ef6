"""What a form could not do, kept until its page is asked for again: the reason, and the text that was typed.

A refused action answers with a redirect to its ticket, so that the address bar never holds the action; what is to be
said there waits here under a token in the address, and stays through reloads. Bounded in number, size and time.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

ENTRIES = 200  # at most 10 000 characters each
LIFETIME = 3600.0  # s


class Told(NamedTuple):
    """Why nothing was done, and the text that came along; or what was done otherwise than asked, and no error."""

    error: str
    text: str
    news: str = ""


class Kept:
    """Told to the one user it was kept for, by token."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._entries: OrderedDict[str, tuple[str, float, Told]] = OrderedDict()

    def put(self, user: str, told: Told) -> str:
        """The token to ask with; the oldest gives way."""
        token = secrets.token_urlsafe(12)
        self._entries[token] = (user, self._monotonic() + LIFETIME, told)
        while len(self._entries) > ENTRIES:
            self._entries.popitem(last=False)
        return token

    def get(self, user: str, token: str) -> Told | None:
        """What was kept, None for everybody else and after an hour."""
        owner, until, told = self._entries.get(token, ("", 0.0, None))
        return told if owner == user and self._monotonic() < until else None
