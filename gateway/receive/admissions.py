"""Logins that must ask the registry, a limited number at a time.

Each costs some KB until it is answered, a connection that waits for its turn next to nothing, and a whole fleet may
come at once. Logins of terminals that are in memory already do not come here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from protocols.records import Login

AT_ONCE = 100  # they share a statement


class Asker(Protocol):
    """Who waits: a conversation."""

    def ask_registry(self, login: Login, /) -> asyncio.Task[None] | None:
        """Its turn has come; None: nothing to ask any more."""


class Admissions:
    """Who waits for the registry, first come, first served."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asking = 0
        self._waiting: deque[tuple[Asker, Login]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, asker: Asker, login: Login) -> None:
        """Call `asker.ask_registry(login)` in its turn."""
        self._waiting.append((asker, login))
        self._go_on()

    def _go_on(self) -> None:
        for _ in range(AT_ONCE):
            if not self._waiting or self._asking >= AT_ONCE:
                return
            asker, login = self._waiting.popleft()
            asking = asker.ask_registry(login)
            if asking is not None:
                self._asking += 1
                asking.add_done_callback(self._asked)
        self._loop.call_soon(self._go_on)  # many were answered without the registry: others have their turn

    def _asked(self, _: asyncio.Task[None]) -> None:
        self._asking -= 1
        self._go_on()
