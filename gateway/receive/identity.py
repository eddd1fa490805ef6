"""One identity at two addresses: a terminal that was copied, or whose identity was typed into another one.

The newest session wins, so two such terminals push one another out, and each alone looks like a bad connection. What
gives them away is the order A, B, A of the addresses they log in from. One terminal behind a carrier that changes its
address goes from A to B, and then to C: seldom back within minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.receive.recent import Recent
from protocols.records import Frame, Message, Quarantined, Reply

KIND = "duplicate identity"
WINDOW = 600.0  # s within which A, B, A is seen
MOST = 20_000  # terminals remembered per generation: some 5 MB; beyond it those longest away are forgotten


class Alternation:
    """Where identities logged in from lately. Terminals that stay connected, or at one address, cost nothing."""

    def __init__(self, window: float = WINDOW, most: int = MOST) -> None:
        self._window = window
        self._left: Recent[str, tuple[str, float]] = Recent(window, most)  # address of the last connection, its end
        self._before: Recent[str, tuple[str, float]] = Recent(window, most)  # address before the last change, when
        self._told: Recent[str, float] = Recent(window, most)

    def left(self, terminal: str, host: str, now: float) -> None:
        """Its connection ended, and there is no newer one."""
        self._left.put(terminal, (host, now), now)

    def came(self, terminal: str, host: str, older: str | None, now: float) -> str | None:
        """It logged in from `host`; `older` is the address of the connection that this one replaces.

        Returns the other address when the two alternate: once in a window for each terminal.
        """
        left = self._left.get(terminal)
        last = older or (left[0] if left is not None and now - left[1] <= self._window else None)
        if last is None or last == host:
            return None
        before = self._before.get(terminal)
        self._before.put(terminal, (last, now), now)
        if before is None or before[0] != host or now - before[1] > self._window:
            return None
        told = self._told.get(terminal)
        if told is not None and now - told <= self._window:
            return None
        self._told.put(terminal, now, now)
        return last


class Note:
    """A remark of the gateway's own on its way to the store, beside the terminal's messages."""

    waits = False
    link = 0

    registered = True  # what it brings is no frame

    def __init__(self, protocol: int, terminal: str) -> None:
        self.protocol, self.terminal = protocol, terminal

    def committed(
        self, items: Sequence[Frame | Message | Reply], refused: Sequence[Sequence[Quarantined]] = ()
    ) -> None:
        """Nobody waits for an answer."""

    def abandoned(self) -> None:
        """Evidence may be lost with the store away; the next alternation is told again."""


def remark(one: str, other: str) -> Message:
    """What an engineer reads on the terminal's page."""
    text = f"logins alternate between {one} and {other}: two terminals may use this identity"
    return Message(b"", text, KIND)
