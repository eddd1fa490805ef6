"""What a terminal and the gateway say to one another, whatever carries it.

    begun → Login → admission (nothing is read) → frames to the pipeline → acks in order → … → closing → lost

A conversation has no socket. What carries it hands it bytes (`receive`, `ended`, `lost`) and does for it what a `Wire`
can: a TCP connection for as long as it lives, a datagram for one exchange. `closing` takes no more: what was taken is
answered first, then the wire closes.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
from collections.abc import Sequence
from typing import ClassVar, Protocol

import structlog

from gateway.receive.conversations import ADMISSION, Conversations
from gateway.receive.dialogue import Dialogue
from gateway.receive.enrolment import Admission
from gateway.receive.limits import Pace
from gateway.receive.relay import Relay
from gateway.receive.terminals import NO_ROW, PENDING
from gateway.store.dispatch import Claim, Connected
from protocols.records import (
    Close,
    Declining,
    Event,
    Frame,
    Identified,
    Login,
    Malformed,
    Message,
    Quarantined,
    Reply,
    identity_of,
)

_log = structlog.get_logger()

WINDOW_FRAMES = 1000  # unanswered frames of one conversation before it is read no more
WINDOW_COST = 8000  # and what they cost beyond their number: two batches, so that nobody fills the queue for all
_AWAY = "store away"


class Wire(Protocol):
    """What carries a conversation; `asyncio.Transport` is one."""

    def write(self, data: bytes, /) -> None:
        """Send after what was sent before."""

    def pause_reading(self) -> None:
        """Bring no more bytes."""

    def resume_reading(self) -> None:
        """Bring them again."""

    def close(self) -> None:
        """End once everything written has left."""

    def abort(self) -> None:
        """End now."""


class Pause(enum.Flag):
    """Reasons not to read, each by itself: reading goes on when none is left."""

    ADMISSION = enum.auto()  # the registry is asked who this is
    QUEUE = enum.auto()  # the pipeline is full, or the window of unanswered frames
    PEER = enum.auto()  # it does not read what it is sent
    PACE = enum.auto()  # it sends more records than it may


NO_PAUSE = Pause(0)


class Ask(enum.Enum):
    """How far the question for the firmware version has come; each connection goes through it once."""

    AHEAD = enum.auto()  # before the first ack, or nobody may be asked now
    WISHED = enum.auto()  # it is being found out whether it is time
    GRANTED = enum.auto()  # goes out once no frame is unanswered
    DONE = enum.auto()


class Conversation:
    """One terminal that speaks; a `Source` of the pipeline.

    Attributes
    ----------
    protocol : number of its protocol.
    terminal, row : who it is once it has said so; empty and `NO_ROW` before.
    address : where it comes from, for logs, history and limits.
    listener : protocol and port it came in by.
    opened, last : when it began, when it last brought bytes; the loop's time, s.
    pauses : why it is not read.
    closing : nothing more is taken; `closing_since` (the loop's time) when that began.
    dialogue : what of ours it has not answered; None: nothing.
    """

    __slots__ = (
        "_ask", "_dear", "_frames", "_history", "_malformed", "_outstanding", "_reason", "_relay", "_session",
        "_shared", "_task", "address", "closing", "closing_since", "dialogue", "last", "link", "listener", "opened",
        "pauses", "protocol", "registered", "row", "terminal", "wire",
    )  # fmt: skip

    patient: ClassVar[bool] = True  # waits for a registry that does not answer
    lasting = True  # there is something between one thing it brings and the next
    waits = True  # for its answers

    def __init__(self, shared: Conversations, protocol: int, transport: str) -> None:
        """`transport` is "tcp" or "udp": some protocols speak differently over each."""
        self._shared = shared
        self._session = shared.new_session(protocol, transport)
        self._task: asyncio.Task[None] | None = None
        self._outstanding = 0
        self._dear = 0  # what the outstanding cost beyond their number
        self._frames = 0
        self._malformed = 0
        self._history = 0
        self._ask = Ask.AHEAD
        self._reason = ""
        self._relay: Relay | None = None  # since it brought records of a terminal that did not log in on it
        self.dialogue: Dialogue | None = None
        self.wire: Wire | None = None  # while there is one
        self.pauses = NO_PAUSE
        self.closing = False
        self.closing_since = 0.0
        self.protocol = protocol
        self.terminal = ""
        self.link = 0
        self.row = NO_ROW
        self.registered = False  # or about to be: its frames are decoded
        self.address = self.listener = ""
        self.last = self.opened = 0.0

    # -- what the wire brings -----------------------------------------------------------------------------------

    def begin(self, wire: Wire) -> None:
        """From here on bytes may come."""
        self.wire = wire
        self.last = self._shared.now()
        pipeline = self._shared.pipeline
        if pipeline.keeper.refusing:
            self._pause(Pause.QUEUE)
            pipeline.pause(self)

    def turn_away(self, reason: str) -> None:
        """It is not let in."""
        self._reason = reason
        self.closing = True

    def receive(self, data: bytes) -> None:
        """Bytes to events; frames to the pipeline."""
        shared = self._shared
        self.last = now = shared.now()
        if self.closing:
            return
        pipeline = shared.pipeline
        run = self._session.run(data)
        if run is None:
            for event in self._session.receive_data(data, now + shared.offset):
                self._handle(event, now)
        elif run.terminal or self._relay is not None:
            self._dear += self._put(run, now)
        else:
            self._outstanding += run.count
            self._dear += pipeline.put(self, run, now)
        if (
            self._outstanding > WINDOW_FRAMES or self._dear > WINDOW_COST or pipeline.full
        ) and self not in pipeline.paused:
            self._pause(Pause.QUEUE)
            pipeline.pause(self)

    def ended(self) -> None:
        """The peer sends no more; what it sent is still answered."""
        for event in self._session.end_of_stream():
            self._handle(event, self.last)
        self._close("closed by the terminal")

    def lost(self, error: Exception | None) -> None:
        """The wire is gone. Frames already taken are stored all the same; nobody is there to be told."""
        if not self.closing:
            for event in self._session.end_of_stream():
                self._handle(event, self.last)
        self.wire = None
        self.closing = True
        if self._task is not None:
            self._task.cancel()
        shared = self._shared
        shared.pipeline.paused.pop(self, None)
        shared.asking.forget(self)
        shared.commanding.left(self, self._history)
        shared.left(self)
        reason = self._reason or (f"lost: {error}" if error else "closed by the terminal")
        if self._relay is not None:
            self._relay.end(reason)
        if self._history:
            shared.history.closed(self._history, shared.now() + shared.offset, self._frames, self._malformed, reason)
        if self.terminal or self._malformed or self._relay is not None:
            _log.info(
                "connection closed",
                protocol=shared.protocols[self.protocol].name,
                address=self.address,
                terminal=self.terminal or None,
                frames=self._frames,
                malformed=self._malformed,
                seconds=round(shared.now() - self.opened, 3),
                reason=reason,
            )

    # -- events -------------------------------------------------------------------------------------------------

    def _handle(self, event: Event, now: float) -> None:
        match event:
            case Frame() | Message():
                self._dear += self._put(event, now)
                if type(event) is Message and event.answer is not None and self.dialogue is not None:
                    self._shared.commanding.answered(self, self.dialogue, event)
            case Reply():
                if self._outstanding:  # in its turn
                    self._put(event, now)
                else:
                    self._write(event.data)
            case Malformed():
                self._malformed += 1
                self._shared.malformed(self.protocol, event)
            case Identified():
                at = None if event.time is None else event.time / 1e6
                who, row = self.terminal, self.row
                if event.terminal not in ("", who):  # of a relay
                    who, row = event.terminal, self._shared.terminals.rows.get(event.terminal, NO_ROW)
                self._shared.history.told_by(who, row, at, **event.facts)
                if event.firmware is not None and self._session.ask_version():
                    self._shared.asking.answered(self.row)
            case Login():
                self.log_in(event)
            case Close():
                self._close(event.reason or "ended by the protocol")

    def _put(self, item: Frame | Message | Reply, now: float) -> int:
        """To the pipeline; what it costs beyond its number."""
        if self._relay is None and type(item) is Frame and item.terminal and item.terminal != self.terminal:
            self._relay = Relay(self, self._session, self._shared, self._outstanding)
        self._outstanding += item.count
        if self._relay is not None:
            return self._relay.put(item, now)
        return self._shared.pipeline.put(self, item, now)

    def log_in(self, login: Login) -> None:
        """It said who it is, or its wire did; nothing more is read until that is settled."""
        shared = self._shared
        terminal = identity_of(login.terminal)
        if not terminal:
            self._malformed += 1
            shared.malformed(self.protocol, Malformed("login"))
            self._refuse()
            return
        if not self._may_log_in():
            self._close("too many logins from its address")
            return
        self.terminal = terminal
        self.link = self._new_link()
        if not self._admitted_at_once(login):
            self._pause(Pause.ADMISSION)
            self._wait(login)

    def _may_log_in(self) -> bool:
        return self._shared.may_log_in(self)

    def _new_link(self) -> int:
        return self._shared.new_link(self.host)

    def _wait(self, login: Login) -> None:
        """The registry has to be asked: in its turn."""
        self._shared.admissions.wait(self, login)

    def _admitted_at_once(self, login: Login) -> bool:
        """Settle it if that can be done without the registry."""
        shared = self._shared
        row = shared.terminals.rows.get(self.terminal)
        if row is not None:
            self._admitted(login, row)
        elif shared.deferring:
            self._decided(login, *self._deferred())
        else:
            return False
        return True

    def _deferred(self) -> tuple[Admission, int]:
        """The store is away and the policy lets it in: its row is made later."""
        return ("accepted", PENDING) if self._shared.may_register(self) else ("limited", NO_ROW)

    def ask_registry(self, login: Login) -> asyncio.Task[None] | None:
        """Its turn has come; None: nothing to ask any more."""
        if self.wire is None or self.closing:
            return None
        if self._admitted_at_once(login):
            self._resume(Pause.ADMISSION)
            return None
        self._task = asyncio.get_running_loop().create_task(self._admit(login))
        return self._task

    async def _admit(self, login: Login) -> None:
        shared = self._shared
        name = shared.protocols[self.protocol].name
        while True:
            try:
                async with asyncio.timeout(ADMISSION):
                    result, row = await shared.terminals.admit(self.terminal, name, lambda: shared.may_register(self))
                break
            except TimeoutError:  # no store: deferred, or the login waits for its timeout
                if shared.deferring:
                    result, row = self._deferred()
                    break
                if not self.patient:
                    return
        self._task = None
        if self.wire is not None and not self.closing:
            self._decided(login, result, row)
            self._resume(Pause.ADMISSION)

    def _decided(self, login: Login, result: Admission, row: int) -> None:
        shared = self._shared
        if result == "limited":
            shared.too_many_new(self)
            self._close("too many new terminals")
        elif result in ("refused", "impossible"):
            shared.metrics.logins["refused"][self.protocol] += 1
            self._refuse()
        else:
            self._admitted(login, row)

    def _admitted(self, login: Login, row: int) -> None:
        shared = self._shared
        if row == NO_ROW:  # unless it was registered while that was found out
            row = shared.terminals.rows.get(self.terminal, NO_ROW)
        self.row, self.registered = row, row != NO_ROW
        shared.metrics.logins["accepted" if row != NO_ROW else "quarantined"][self.protocol] += 1
        wire = shared.protocols[self.protocol]
        self._came(login, wire.name)
        shared.history.told_by(self.terminal, row, firmware=login.firmware, model=login.model, protocol=wire.name)
        shared.history.called(self.terminal, row, certain=wire.called_by_imei)
        for event in self._session.accept(self.last + shared.offset):
            self._handle(event, self.last)

    def _came(self, login: Login, protocol: str) -> None:
        """Let everybody know who is here now."""
        shared = self._shared
        opened = self.opened + shared.offset
        self._history = shared.history.opened(self.terminal, protocol, self.address, opened, self.listener)
        shared.logged_in(self)
        shared.commanding.came(self)

    def enter(self, row: int) -> None:
        """The terminal is in the registry now: from here on its frames are decoded as they come."""
        self.row, self.registered = row, True

    def _refuse(self) -> None:
        self._reason = "login refused"
        for event in self._session.refuse():
            self._handle(event, self.last)
        self._close("login refused")

    # -- answers ------------------------------------------------------------------------------------------------

    def committed(
        self, items: Sequence[Frame | Message | Reply], refused: Sequence[Sequence[Quarantined]] = ()
    ) -> None:
        """Acknowledge what is durable, in order, in one write."""
        if self._relay is not None:
            before = self._relay.committed(items, refused)
            if not before:
                return
            items, refused = items[:before], refused[:before]
        self.answer(items, refused)

    def answer(self, items: Sequence[Frame | Message | Reply], refused: Sequence[Sequence[Quarantined]]) -> None:
        """Acknowledge what is durable, everything before which is answered."""
        acknowledge = self._session.acknowledge
        if len(items) == 1 and not refused:
            item = items[0]
            count = item.count
            answer = item.data if type(item) is Reply else acknowledge(item)  # type: ignore[arg-type]
        else:
            count = sum([item.count for item in items])
            answer = b"".join(
                [
                    item.data if type(item) is Reply else acknowledge(item, bad)  # type: ignore[arg-type]
                    for item, bad in zip(items, refused or itertools.repeat(()), strict=False)
                ]
            )
        self._outstanding -= count
        if self._dear:
            self._dear = max(0, self._dear - sum([max(0, item.cost - item.count) for item in items]))
        if not self._outstanding:
            self._dear = 0  # a run that was taken apart may cost a little less than it did
        self._frames += count
        if self.row == PENDING:  # perhaps it has come to the store, and into the registry, meanwhile
            self.row = self._shared.terminals.rows.get(self.terminal, PENDING)
        if self.wire is None:
            return
        if self._shared.pace is not None:
            self._paced(self._shared.pace, items)
        if answer:
            self.wire.write(answer)
        if self._outstanding:
            return
        if self.closing:
            self.wire.close()
        else:
            if self.dialogue is not None:
                self._send_command()
            if answer and self._ask is not Ask.DONE:
                self._go_on_asking()

    def _paced(self, pace: Pace, items: Sequence[Frame | Message | Reply]) -> None:
        pace.took(self, items)

    def _go_on_asking(self) -> None:
        """Something was acknowledged and nothing is unanswered: what firmware is it?"""
        asking = self._shared.asking
        if self._ask is Ask.GRANTED:
            if self.dialogue is not None and self.dialogue.command is not None:
                return  # its answer first
            self._ask = Ask.DONE
            if asking.on and (question := self._session.ask_version()):
                self._write(question)
                self.dialogue = self.dialogue or Dialogue()
                self.dialogue.own(self._shared.now())
                self._shared.commanding.asked(self, self.dialogue)
        elif self._ask is Ask.AHEAD and asking.on and self.row >= 0:
            if self._session.ask_version():
                self._ask = Ask.WISHED
                asking.wish(self)
            else:  # the protocol has no such question
                self._ask = Ask.DONE

    def ask_version(self) -> None:
        """It is time to; after the answers to what it sent meanwhile."""
        self._ask = Ask.GRANTED
        if not self._outstanding and self.wire is not None and not self.closing:
            self._go_on_asking()

    def ask_not(self, *, later: bool) -> None:
        """It is not time to."""
        self._ask = Ask.AHEAD if later else Ask.DONE

    # -- commands -----------------------------------------------------------------------------------------------

    def commandable(self) -> Connected | None:
        """Who it is, if a command may be claimed for it now."""
        shared, protocol = self._shared, self._shared.protocols[self.protocol]
        if self.wire is None or self.closing or not self._history or protocol.command_problem is None:
            return None
        if self.dialogue is not None and not self.dialogue.free(shared.now()):
            return None
        return Connected(self.terminal, self._history, self.opened + shared.offset, protocol.name)

    def command(self, claim: Claim, until: float) -> None:
        """Send it, as soon as no frame is unanswered, but before `until` (the loop's time)."""
        commanding = self._shared.commanding
        if self.wire is None or self.closing:
            commanding.unsent(claim, self._history)
            return
        self.dialogue = self.dialogue or Dialogue()
        self.dialogue.take(claim, until)
        commanding.asked(self, self.dialogue)
        self._send_command()

    def _send_command(self) -> None:
        """If there is one, and the time for it: a bare count for an ack must not be looked for in a command."""
        shared, dialogue = self._shared, self.dialogue
        claim = dialogue.command if dialogue is not None else None
        if dialogue is None or claim is None or dialogue.written or shared.now() >= dialogue.until:
            return
        if self._outstanding or self.closing or Pause.PEER in self.pauses:
            return
        check = shared.protocols[self.protocol].command_problem
        problem = check(claim.text) if check is not None else ""  # queued before it was known what it speaks
        data = b"" if problem else self._session.encode_command(claim.text)
        if not data:
            shared.commanding.failed(self, dialogue, problem or "not over this transport")
        elif self._frames or data != self._session.ask_version():  # which never goes out before data was acknowledged
            self._write(data)
            dialogue.wrote()

    def abandoned(self) -> None:
        """Not stored and not going to be: no word, or the protocol's own by which nothing is erased; close."""
        given_up, self._reason = self._reason == _AWAY, self._reason or _AWAY
        if given_up and self.closing:  # by another terminal of the same relay
            return
        if self._relay is not None:
            self._relay.give_up()
        word = self._session.decline() if isinstance(self._session, Declining) else b""
        if word and self.wire is not None:
            self._write(word)
            self._outstanding = 0
            self._close(_AWAY)
            return
        self.closing = True
        if self.wire is not None:
            self.wire.abort()

    # -- the end ------------------------------------------------------------------------------------------------

    def supersede(self, reason: str) -> None:
        """The same terminal has connected anew: answer what was taken, then close."""
        self._close(reason)

    def expire(self, reason: str) -> None:
        """A timeout ended it."""
        if reason == "login timeout" or self._outstanding == 0:
            self._shared.malformed(self.protocol, Malformed("timeout"))
            self._malformed += 1
        self._close(reason)

    def stop(self) -> None:
        """The service stops: take no more, answer what was taken, close."""
        self._close("service stopped")

    def _close(self, reason: str) -> None:
        self._reason = self._reason or reason
        if not self.closing:
            self.closing_since = self._shared.now()
        self.closing = True
        if self.wire is not None:
            if self._outstanding == 0:
                self.wire.close()
            else:
                self.wire.pause_reading()

    @property
    def host(self) -> str:
        """The address it came from, without the port."""
        return self.address.rpartition(":")[0]

    @property
    def counted(self) -> tuple[int, int, int]:
        """Its number in the history of connections, frames, and damaged ones."""
        return self._history, self._frames, self._malformed

    @property
    def waiting(self) -> bool:
        """Whether frames of it are unanswered."""
        return self._outstanding > 0

    @property
    def logged_in(self) -> bool:
        """Whether its login was accepted, or it brings records that need none."""
        return self._history != 0 or self._relay is not None

    # -- reading ------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """It sends too fast: read no more until `let_go`; what was taken is answered as ever."""
        self._pause(Pause.PACE)

    def let_go(self) -> None:
        """It was held long enough."""
        self._resume(Pause.PACE)

    def pause_writing(self) -> None:
        """A slow reader: what it does not read must not grow here."""
        self._pause(Pause.PEER)

    def resume_writing(self) -> None:
        """It has read."""
        self._resume(Pause.PEER)
        self._send_command()

    def resume_reading(self) -> None:
        """There is room again; a full window of unanswered frames waits for its own."""
        if (self._outstanding > WINDOW_FRAMES or self._dear > WINDOW_COST) and self.wire is not None:
            self._shared.pipeline.pause(self)
        else:
            self._resume(Pause.QUEUE)

    def _pause(self, reason: Pause) -> None:
        if not self.pauses and self.wire is not None:
            self.wire.pause_reading()
        self.pauses |= reason

    def _resume(self, reason: Pause) -> None:
        if reason in self.pauses:
            self.pauses &= ~reason
            if not self.pauses and self.wire is not None and not self.closing:
                self.wire.resume_reading()

    def _write(self, data: bytes) -> None:
        if self.wire is not None and data:
            self.wire.write(data)
