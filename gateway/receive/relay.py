"""What one connection brings of many terminals: each is admitted for itself, answers leave in the connection's order.

    frame of its own terminal → Aboard (admission, once) → pipeline → committed ┐
    frame of another one      → Aboard (admission, once) → pipeline → committed ┼→ slots, in wire order → the session
    frame of who logged in    → pipeline ───────────────────────────→ committed ┘

To the pipeline each terminal aboard is a source of its own, so that those of a relay have their shares of a batch like
any others, and one that waits for the registry holds up nobody's storing. Only answers wait for one another: what a
session says may be one byte that only its place gives a meaning.

`login.policy` judges each terminal. Who is refused is told so where the protocol has a word for it (`Relaying`);
elsewhere it is kept raw as under `quarantine`, since the only other word, none, would hold up the whole relay.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from gateway.receive.conversations import Conversations
from gateway.receive.dialogue import Dialogue
from gateway.receive.enrolment import Admission
from gateway.receive.terminals import NO_ROW, PENDING
from gateway.store.dispatch import Claim, Connected
from protocols.records import Frame, Message, Quarantined, Relaying, Reply, Session

MOST = 20_000  # terminals of one relay that are remembered; those longest unheard are forgotten, and asked for anew
AGAIN = {"limited": 10.0}  # s after which one that is not let in is asked for again; the others:
LATER = 60.0

Item = Frame | Message | Reply


class Carrier(Protocol):
    """The connection of a relay: a conversation."""

    protocol: int
    terminal: str
    address: str
    link: int
    lasting: bool

    @property
    def host(self) -> str:
        """Its address without the port."""

    def answer(self, items: Sequence[Item], refused: Sequence[Sequence[Quarantined]]) -> None:
        """These are durable, and everything before them was answered."""

    def abandoned(self) -> None:
        """Something of it was not stored and will not be."""

    def committed(self, items: Sequence[Any], refused: Sequence[Sequence[Quarantined]] = ()) -> None:
        """As a source of the pipeline."""

    @property
    def registered(self) -> bool:
        """As a source of the pipeline."""

    waits: bool


class Slot:
    """One thing in the order of the wire, until it may be answered.

    `parts`: its frames one by one, where a run was committed so, each with what is in quarantine of it.
    """

    __slots__ = ("done", "item", "left", "parts", "refused", "rejected")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.done = self.rejected = False
        self.refused: Sequence[Quarantined] = ()
        self.left = item.count
        self.parts: list[tuple[Item, Sequence[Quarantined]]] = []

    def committed(self, item: Item, refused: Sequence[Quarantined]) -> bool:
        """It, or the next of its frames, is durable; whether nothing of it is left."""
        self.left -= item.count
        if self.left or self.parts:
            self.parts.append((item, refused))
        else:
            self.refused = refused
        return not self.left


class Relay:
    """Those of one connection."""

    __slots__ = ("_before", "_due", "_given_up", "_own", "_slots", "aboard", "link", "session", "shared", "talk")

    def __init__(self, talk: Carrier, session: Session, shared: Conversations, before: int) -> None:
        """`before` frames of the connection are unanswered that came before it was known to be a relay."""
        self.talk, self.session, self.shared = talk, session, shared
        self.link = talk.link or (shared.new_link(talk.host) if talk.lasting else 0)
        self.aboard: dict[str, Aboard] = {}
        self._before = before
        self._slots: deque[Slot] = deque()
        self._own: deque[Slot] = deque()
        self._due = self._given_up = False

    def put(self, item: Item, now: float) -> int:
        """One more; what it costs beyond its number."""
        slot = Slot(item)
        self._slots.append(slot)
        if type(item) is Reply:
            self.settle(slot)
        elif type(item) is Frame and item.terminal not in ("", self.talk.terminal):
            self._find(item.terminal).take(slot, now)
        else:
            self._own.append(slot)
            self.shared.pipeline.put(self.talk, item, now)
        return max(0, item.cost - item.count)

    def _find(self, terminal: str) -> Aboard:
        found = self.aboard.pop(terminal, None)
        if found is None:
            if len(self.aboard) >= MOST:
                oldest = next(iter(self.aboard.values()))
                if oldest.idle:
                    del self.aboard[oldest.terminal]
                    oldest.leave("unheard for long")
            found = Aboard(self, terminal)
        self.aboard[terminal] = found  # the last heard last
        return found

    def committed(self, items: Sequence[Item], refused: Sequence[Sequence[Quarantined]]) -> int:
        """Of who logged in. Returns how many of them came before it was a relay: they are answered at once."""
        at_once = 0
        for place, item in enumerate(items):
            if self._before:
                self._before = max(0, self._before - item.count)
                at_once += 1
            elif self._own[0].committed(item, refused[place] if refused else ()):
                self.settle(self._own.popleft())
        if at_once and not self._before:
            self.look()
        return at_once

    def settle(self, slot: Slot) -> None:
        """It may be answered in its turn."""
        slot.done = True
        if slot is self._slots[0]:
            self.look()

    def look(self) -> None:
        """Answer what can be, soon and all at once: in one write."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._answer)

    def _answer(self) -> None:
        self._due = False
        slots = self._slots
        items: list[Item] = []
        refused: list[Sequence[Quarantined]] = []
        while slots and slots[0].done and not self._before and not self._given_up:
            slot = slots.popleft()
            for item, bad in slot.parts or ((slot.item, slot.refused),):
                if slot.rejected and type(item) is Frame and isinstance(self.session, Relaying):
                    items.append(Reply(self.session.reject(item)))
                else:
                    items.append(item)
                refused.append(bad)
        if items:
            self.talk.answer(items, refused if any(refused) else ())

    def give_up(self) -> None:
        """Something was not stored: what comes behind it in the order is answered no more."""
        self._given_up = True

    def end(self, reason: str) -> None:
        """The connection is gone; what was taken is stored all the same."""
        for one in self.aboard.values():
            one.leave(reason)


class Aboard:
    """One terminal of a relay: a `Source`, and a `Speaker` while nobody nearer speaks for it."""

    __slots__ = (
        "_admission", "_again", "_held", "_history", "_relay", "_slots", "dialogue", "frames", "last", "link",
        "protocol", "registered", "row", "terminal",
    )  # fmt: skip

    waits = True
    host = ""  # the relay's would make all of its terminals neighbours of each other

    def __init__(self, relay: Relay, terminal: str) -> None:
        self._relay = relay
        self._held: list[Slot] | None = None  # while the registry is asked
        self._slots: deque[Slot] = deque()
        self._admission: Admission | None = None
        self._again = 0.0
        self._history = 0
        self.dialogue: Dialogue | None = None
        self.frames = 0
        self.last = 0.0
        self.link = relay.link
        self.protocol = relay.talk.protocol
        self.registered = False
        self.row = NO_ROW
        self.terminal = terminal

    @property
    def idle(self) -> bool:
        """Whether nothing of it is unanswered."""
        return not self._slots and self._held is None

    @property
    def address(self) -> str:
        """Where its relay comes from."""
        return self._relay.talk.address

    @property
    def counted(self) -> tuple[int, int, int]:
        """Its number in the history, frames, and 0: damage is the relay's."""
        return self._history, self.frames, 0

    # -- frames -------------------------------------------------------------------------------------------------

    def take(self, slot: Slot, now: float) -> None:
        """A frame of it came."""
        self.last = now
        self.frames += slot.item.count
        if self._held is not None:
            self._held.append(slot)
            return
        if self.row < 0:
            row = self._relay.shared.terminals.rows.get(self.terminal, NO_ROW)
            if row >= 0:
                self._decided("accepted", row)
            elif not self.registered and now >= self._again:
                self._ask(slot)
                return
        self._bring(slot)

    def _bring(self, slot: Slot) -> None:
        relay = self._relay
        if self._admission in ("refused", "impossible") and isinstance(relay.session, Relaying):
            slot.rejected = True
            if type(slot.item) is Frame and slot.item.count > 1:
                slot.parts = [(single, ()) for single in slot.item.singles()]
            relay.settle(slot)
            return
        self._slots.append(slot)
        relay.shared.pipeline.put(self, slot.item, self.last)

    def committed(self, items: Sequence[Any], refused: Sequence[Sequence[Quarantined]] = ()) -> None:
        """They are durable: answered when everything before them is."""
        for place, item in enumerate(items):
            if self._slots[0].committed(item, refused[place] if refused else ()):
                self._relay.settle(self._slots.popleft())

    def abandoned(self) -> None:
        """As of any connection: its relay sends again."""
        self._relay.talk.abandoned()

    # -- who it is ----------------------------------------------------------------------------------------------

    def _ask(self, slot: Slot) -> None:
        """Find out whether it is let in; meanwhile its frames wait."""
        shared = self._relay.shared
        if shared.deferring:
            may = shared.may_register(self)
            self._decided("accepted" if may else "limited", PENDING if may else NO_ROW)
            self._bring(slot)
            return
        self._held = [slot]
        task = asyncio.get_running_loop().create_task(self._admit())
        shared.relayed.add(task)
        task.add_done_callback(shared.relayed.discard)

    async def _admit(self) -> None:
        try:
            result, row = await self._relay.shared.let_in(self)
        finally:
            held, self._held = self._held or (), None
        self._decided(result, row)
        for slot in held:
            self._bring(slot)

    def _decided(self, result: Admission, row: int) -> None:
        shared = self._relay.shared
        told = {"limited": "refused", "impossible": "refused"}.get(result, result)
        if result != self._admission:
            shared.metrics.logins[told][self.protocol] += 1
        if result == "limited":
            shared.metrics.refused["registration_rate"] += 1
            shared.limited.put(self.terminal)
        elif row >= 0:
            shared.limited.registered(self.terminal)
        self._admission = result
        self._again = self.last + AGAIN.get(result, LATER)
        self.row, self.registered = row, row != NO_ROW
        if told == "refused" and result != "limited":
            return
        name = shared.protocols[self.protocol].name
        if not self._history and self._relay.talk.lasting and shared.stand_in(self):
            opened = shared.now() + shared.offset
            self._history = shared.history.opened(self.terminal, name, self.address, opened, f"relay {self.address}")
        shared.history.told_by(self.terminal, row, protocol=name)
        shared.history.called(self.terminal, row, certain=shared.protocols[self.protocol].called_by_imei)

    # -- a speaker ----------------------------------------------------------------------------------------------

    def enter(self, row: int) -> None:
        """It is in the registry now."""
        self._decided("accepted", row)

    def supersede(self, reason: str) -> None:
        """It has a connection of its own: the relay's frames are taken as ever."""
        self.leave(reason)

    def leave(self, reason: str) -> None:
        """It is not connected any more, this way."""
        history, self._history = self._history, 0
        shared = self._relay.shared
        shared.stand_down(self)
        if history:
            shared.history.closed(history, shared.now() + shared.offset, self.frames, 0, reason)

    def commandable(self) -> Connected | None:
        """Nothing is sent to terminals by their relay."""
        return None

    def command(self, claim: Claim, until: float) -> None:
        """As `commandable`: it waits for a connection of the terminal's own."""
        self._relay.shared.commanding.unsent(claim, self._history)

    def hold(self) -> None:
        """The relay is held, for any of its terminals."""

    def let_go(self) -> None:
        """As `hold`."""
