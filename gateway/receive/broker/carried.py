"""A payload as a conversation that is logged in already, as the terminal that its topic names.

What differs from a socket: the broker has acknowledged it to the terminal. So nobody can be refused, or sent away
until later: who may not be registered now is kept raw, as under `login.policy = "quarantine"`, and whom the registry
cannot be asked about is decided when the spool is drained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.receive.batch import Item, Raw
from gateway.receive.broker.window import Delivery
from gateway.receive.conversation import NO_PAUSE, Ask, Conversation, Wire
from gateway.receive.conversations import Conversations
from gateway.receive.enrolment import Admission
from gateway.receive.terminals import NO_ROW
from protocols.records import Event, Frame, Identified, Login, Malformed, Message, Quarantined


class _Silent:
    """Session and wire of a payload: all that was said is in it, and nothing is answered."""

    def accept(self, now: float) -> Sequence[Event]:
        return ()

    def end_of_stream(self) -> Sequence[Event]:
        return ()

    def ask_version(self) -> bytes:
        return b""

    def write(self, data: bytes, /) -> None:
        """Protocols' answers stay here: PUBACK is the answer."""

    def pause_reading(self) -> None:
        """There is nothing more to read."""

    resume_reading = close = abort = pause_reading


_SILENT: Any = _Silent()
_WIRE: Wire = _SILENT


class Carried(Conversation):
    """What one payload holds of one terminal."""

    __slots__ = ("_delivery", "_things")

    def __init__(
        self,
        shared: Conversations,
        protocol: int,
        terminal: str,
        things: Sequence[Event | Raw],
        delivery: Delivery,
        address: str,
    ) -> None:
        self._shared = shared
        self._things = things
        self._delivery = delivery
        self._session = _SILENT
        self._task = None
        self._outstanding = self._dear = self._frames = self._malformed = self._history = 0
        self._ask = Ask.DONE
        self.dialogue = None
        self._relay = None
        self._reason = self.listener = ""
        self.address = address
        self.wire = _WIRE
        self.pauses = NO_PAUSE
        self.closing = False
        self.closing_since = 0.0
        self.protocol = protocol
        self.terminal = terminal
        self.link = 0
        self.row = NO_ROW
        self.registered = False
        self.last = self.opened = shared.now()

    def start(self) -> None:
        """Bring what it holds to the pipeline, once it is clear who this is."""
        shared = self._shared
        row = shared.terminals.rows.get(self.terminal)
        speaks = any(type(thing) is not Raw and type(thing) is not Malformed for thing in self._things)
        if row is None and speaks:
            self.log_in(Login(self.terminal))
            return
        if row is not None:
            self.row = row
            if speaks:
                shared.history.told(row, protocol=shared.protocols[self.protocol].name)
        self.registered = True  # where nothing but damage came: no reason to register anybody
        self._bring()

    def _bring(self) -> None:
        shared, now = self._shared, self.last
        for thing in self._things:
            if isinstance(thing, Frame | Message | Raw):
                self._outstanding += thing.count
                shared.pipeline.put(self, thing, now)
            elif isinstance(thing, Malformed):
                shared.malformed(self.protocol, thing)
            elif isinstance(thing, Identified):
                at = None if thing.time is None else thing.time / 1e6
                shared.history.told_by(self.terminal, self.row, at, **thing.facts)
        self._things = ()
        if not self._outstanding:
            self._delivery.settle()

    # -- who it is ----------------------------------------------------------------------------------------------

    def _may_log_in(self) -> bool:
        return True  # every payload names its terminal anew

    def _new_link(self) -> int:
        return 0  # there is none

    async def _admit(self, login: Login) -> None:
        result, row = await self._shared.let_in(self)
        self._task = None
        self._decided(login, result, row)

    def _decided(self, login: Login, result: Admission, row: int) -> None:
        if result == "limited":
            self._shared.too_many_new(self)
            self._shared.limited.put(self.terminal)
        elif row >= 0:
            self._shared.limited.registered(self.terminal)
        self._admitted(login, row)

    def _admitted(self, login: Login, row: int) -> None:
        super()._admitted(login, row)
        self._bring()

    def _came(self, login: Login, protocol: str) -> None:
        """Who is connected is told by the status topic."""

    # -- what became of it --------------------------------------------------------------------------------------

    def committed(self, items: Sequence[Item], refused: Sequence[Sequence[Quarantined]] = ()) -> None:
        """Durable; when all of it is, so is the message."""
        self._outstanding -= sum([item.count for item in items])
        if not self._outstanding:
            self._delivery.settle()

    def abandoned(self) -> None:
        """Not stored and not going to be: no acknowledgement."""
        self._delivery.abandon()
