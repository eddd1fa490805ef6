"""Who says over a status topic that it is connected: `{"online": true}`, and false as its last will.

A presence stands where a connection would, in the history and on the pages, as long as none is there. It says nothing
about records: a terminal that has none online is no less served.
"""

from __future__ import annotations

import msgspec

from gateway.receive.conversations import Conversations
from gateway.receive.dialogue import Dialogue
from gateway.receive.terminals import NO_ROW
from gateway.store.dispatch import Claim, Connected

_MAX_STATUS = 4096  # bytes; two keys take forty
_MOST = 1_000_000  # presences of a broker: as many as connections a process takes; anybody may invent them


class _Status(msgspec.Struct):
    online: bool


_decode = msgspec.json.Decoder(_Status).decode


class Presence:
    """One terminal that is connected to the broker; a `Speaker`."""

    def __init__(self, presences: Presences, terminal: str, protocol: int, row: int, address: str, now: float) -> None:
        self._presences = presences
        self.terminal = terminal
        self.protocol = protocol
        self.row = row
        self.address = address
        self.last = now
        self.host = ""  # not known: the broker's would make all terminals of it neighbours
        self.history = 0
        self.messages = 0
        self.dialogue: Dialogue | None = None

    @property
    def counted(self) -> tuple[int, int, int]:
        """Its number in the history of connections, messages, and 0: damage is counted by protocol."""
        return self.history, self.messages, 0

    def supersede(self, reason: str) -> None:
        """A connection of its own."""
        self._presences.end(self.terminal, reason)

    def enter(self, row: int) -> None:
        """It is in the registry now."""
        self.row = row

    def commandable(self) -> Connected | None:
        """Nothing is sent to terminals by brokers."""
        return None

    def command(self, claim: Claim, until: float) -> None:
        """As `commandable`."""
        self._presences.unsent(claim, self)

    def hold(self) -> None:
        """A broker's messages come in one order: none is held back."""

    def let_go(self) -> None:
        """As `hold`."""


class Presences:
    """Those of one broker."""

    def __init__(self, shared: Conversations, protocol: int, address: str) -> None:
        """`protocol` is what they are listed under until they send something."""
        self._shared = shared
        self._protocol = protocol
        self._address = address
        self._present: dict[str, Presence] = {}

    def __len__(self) -> int:
        return len(self._present)

    def told(self, terminal: str, payload: bytes) -> str:
        """A status came; empty, or what is wrong with it."""
        if len(payload) > _MAX_STATUS:
            return "length"
        if not payload:  # what was retained is deleted
            self.end(terminal, "status deleted at the broker")
            return ""
        try:
            status = _decode(payload)
        except (msgspec.DecodeError, RecursionError):
            return "structure"
        if not status.online:
            self.end(terminal, "offline, by its status")
        elif terminal not in self._present and len(self._present) < _MOST:
            self._begin(terminal)
        return ""

    def heard(self, terminal: str) -> None:
        """It sent something."""
        found = self._present.get(terminal)
        if found is not None:
            found.last = self._shared.now()
            found.messages += 1

    def _begin(self, terminal: str) -> None:
        shared = self._shared
        row = shared.terminals.rows.get(terminal, NO_ROW)
        presence = Presence(self, terminal, self._protocol, row, self._address, shared.now())
        if not shared.stand_in(presence):  # a connection of its own is there: that is nearer to the truth
            return
        self._present[terminal] = presence
        protocol = shared.terminals.protocol.get(row) or shared.protocols[self._protocol].name
        presence.history = shared.history.opened(
            terminal, protocol, self._address, shared.now() + shared.offset, f"mqtt {self._address}"
        )

    def end(self, terminal: str, reason: str) -> None:
        """It is connected no more."""
        presence = self._present.pop(terminal, None)
        if presence is not None:
            shared = self._shared
            shared.stand_down(presence)
            shared.history.closed(presence.history, shared.now() + shared.offset, presence.messages, 0, reason)

    def unsent(self, claim: Claim, presence: Presence) -> None:
        """A command waits on, for a connection of the terminal's own."""
        self._shared.commanding.unsent(claim, presence.history)

    def end_all(self, reason: str) -> None:
        """Nobody tells any more who is connected."""
        for terminal in list(self._present):
            self.end(terminal, reason)
