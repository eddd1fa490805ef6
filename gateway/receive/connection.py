"""A session, its socket, and its acks, held until their commit.

    reading → Login → admission (reading stops) → frames to the pipeline → acks in order → … → closing → closed

`closing` reads no more: what was taken is answered first, then the socket closes.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import psycopg
import structlog

from gateway.receive.terminals import NO_ROW, PENDING
from protocols.records import (
    Close,
    Event,
    Frame,
    Identified,
    Login,
    Malformed,
    Message,
    Quarantined,
    Reply,
    Session,
    is_identity,
)

if TYPE_CHECKING:
    from gateway.receive.receiver import Receiver

_log = structlog.get_logger()

WINDOW_FRAMES = 1000  # unanswered frames of one connection before it is read no more
WRITE_BUFFER = 64 << 10  # bytes a slow reader may leave unread before it is read no more
FAIR = 16 << 10  # bytes of one connection that are read before the others have their turn
ADMISSION = 2.0  # s for the registry's answer before another way is looked for
LINGER = 10.0  # s for the peer to take its last answers


class TerminalConnection(asyncio.Protocol):
    """One TCP connection of one terminal."""

    __slots__ = (
        "_asked", "_closing", "_closing_since", "_frames", "_history", "_login_told", "_malformed", "_outstanding",
        "_paused", "_reason", "_receiver", "_rest", "_session", "_task", "_transport", "address", "last", "opened",
        "protocol", "row", "terminal",
    )  # fmt: skip

    def __init__(self, receiver: Receiver, protocol: int, session: Session) -> None:
        self._receiver = receiver
        self._session = session
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._outstanding = 0
        self._frames = 0
        self._malformed = 0
        self._history = 0
        self._closing = False
        self._closing_since = 0.0
        self._login_told: Login | None = None  # of an unregistered terminal: kept until it is registered
        self._paused = 0  # reasons not to read: admission, pipeline, slow reader
        self._asked = False
        self._reason = ""
        self._rest: memoryview | None = None  # of a large read: it has its turn after the others
        self.protocol = protocol
        self.terminal = ""
        self.row = NO_ROW
        self.address = ""
        self.last = self.opened = 0.0

    # -- the socket ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it, or refuse it with a reason."""
        peer = transport.get_extra_info("peername")
        self.address = f"{peer[0]}:{peer[1]}" if peer else ""
        self.opened = self._receiver.now()
        self._begin(transport, self._receiver.connected(self))

    def _begin(self, transport: asyncio.BaseTransport, refused: str) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        self.last = self._receiver.now()
        if refused:
            self._reason = refused
            self._closing = True
            transport.abort()
            return
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        if self._receiver.pipeline.keeper.refusing:
            self._pause()
            self._receiver.pipeline.pause(self)
            asyncio.get_running_loop().call_soon(self._stay_paused)

    def data_received(self, data: bytes) -> None:
        """Bytes to events; frames to the pipeline."""
        receiver = self._receiver
        self.last = now = receiver.now()
        if self._closing:
            return
        if len(data) > FAIR or self._rest is not None:
            self._take_turns(data)
            return
        pipeline = receiver.pipeline
        run = self._session.run(data)
        if run is not None:
            self._outstanding += run.count
            pipeline.put(self, run, now)
        else:
            for event in self._session.receive_data(data, now + receiver.offset):
                self._handle(event, now)
        if (self._outstanding > WINDOW_FRAMES or pipeline.full) and self not in pipeline.paused:
            self._pause()
            pipeline.pause(self)

    def _take_turns(self, data: bytes) -> None:
        if self._rest is None:
            self._pause()
            self._rest = memoryview(data)
            self._go_on()
        else:  # it was on its way when reading was paused
            self._rest = memoryview(bytes(self._rest) + data)

    def _go_on(self) -> None:
        """Read on where a large read was left, unless there are other reasons to wait."""
        rest = self._rest
        if rest is None or self._paused > 1:
            return
        self._rest = None
        self.data_received(bytes(rest[:FAIR]))
        if len(rest) <= FAIR or self._closing:
            self._resume()
        else:
            self._rest = rest[FAIR:]
            asyncio.get_running_loop().call_soon(self._go_on)

    def eof_received(self) -> bool:
        """The peer sends no more; what it sent is still answered."""
        if self._rest is not None:
            rest, self._rest = self._rest, None
            for at in range(0, len(rest), FAIR):
                self.data_received(bytes(rest[at : at + FAIR]))
        for event in self._session.end_of_stream():
            self._handle(event, self.last)
        self._close("closed by the terminal")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Frames already taken are stored all the same; nobody is there to be told."""
        if not self._closing:
            for event in self._session.end_of_stream():
                self._handle(event, self.last)
        self._transport = None
        self._closing = True
        if self._task is not None:
            self._task.cancel()
        receiver = self._receiver
        receiver.pipeline.paused.pop(self, None)
        reason = self._reason or (f"lost: {exc}" if exc else "closed by the terminal")
        receiver.disconnected(self)
        if self._history:
            receiver.history.closed(
                self._history, receiver.now() + receiver.offset, self._frames, self._malformed, reason
            )
        if self.terminal or self._malformed:
            _log.info(
                "connection closed",
                protocol=receiver.protocols[self.protocol].name,
                address=self.address,
                terminal=self.terminal or None,
                frames=self._frames,
                malformed=self._malformed,
                seconds=round(receiver.now() - self.opened, 3),
                reason=reason,
            )

    def pause_writing(self) -> None:
        """A slow reader: what it does not read must not grow here."""
        self._pause()

    def resume_writing(self) -> None:
        """It has read."""
        self._resume()

    # -- events -------------------------------------------------------------------------------------------------

    def _handle(self, event: Event, now: float) -> None:
        match event:
            case Frame():
                self._outstanding += 1
                self._receiver.pipeline.put(self, event, now)
            case Message():
                self._outstanding += 1
                self._receiver.pipeline.put(self, event, now)
            case Reply():
                if self._outstanding:  # in its turn
                    self._outstanding += 1
                    self._receiver.pipeline.put(self, event, now)
                else:
                    self._write(event.data)
            case Malformed():
                self._malformed += 1
                self._receiver.malformed(self.protocol, event)
            case Identified():
                self._receiver.history.told(self.row, firmware=event.firmware, model=event.model)
            case Login():
                self._login(event)
            case Close():
                self._close(event.reason or "ended by the protocol")

    def _login(self, login: Login) -> None:
        receiver = self._receiver
        if not is_identity(login.terminal):
            self._malformed += 1
            receiver.malformed(self.protocol, Malformed("login"))
            self._refuse()
            return
        if not receiver.may_log_in(self):
            self._close("too many logins from its address")
            return
        self.terminal = login.terminal
        if not self._admitted_at_once(login):
            self._pause()
            receiver.admissions.wait(self, login)

    def _admitted_at_once(self, login: Login) -> bool:
        """Admit it if that can be decided without the registry."""
        receiver = self._receiver
        row = receiver.terminals.rows.get(login.terminal)
        if row is None:
            if not receiver.deferring:
                return False
            row = PENDING
        self._admitted(login, row)
        return True

    def ask_registry(self, login: Login) -> asyncio.Task[None] | None:
        """Its turn has come; None: nothing to ask any more."""
        if self._transport is None or self._closing:
            return None
        if self._admitted_at_once(login):
            self._resume()
            return None
        self._task = asyncio.get_running_loop().create_task(self._admit(login))
        return self._task

    async def _admit(self, login: Login) -> None:
        receiver = self._receiver
        while True:
            try:
                async with asyncio.timeout(ADMISSION):
                    result, row = await receiver.terminals.admit(login.terminal, receiver.protocols[self.protocol].name)
                break
            except (psycopg.Error, OSError, TimeoutError):  # no store: deferred, or the login waits for its timeout
                if receiver.deferring:
                    result, row = "accepted", PENDING
                    break
                await asyncio.sleep(0.5)
        self._task = None
        if self._transport is None or self._closing:
            return
        if result == "refused":
            receiver.metrics.logins["refused"][self.protocol] += 1
            self._refuse()
        else:
            self._admitted(login, row)
            self._resume()

    def _admitted(self, login: Login, row: int) -> None:
        receiver = self._receiver
        if row == NO_ROW:  # unless it was registered while that was found out
            row = receiver.terminals.rows.get(login.terminal, NO_ROW)
        self.row = row
        if row == NO_ROW:
            self._login_told = login
        receiver.metrics.logins["accepted" if row != NO_ROW else "quarantined"][self.protocol] += 1
        name = receiver.protocols[self.protocol].name
        self._history = receiver.history.opened(self.terminal, name, self.address, self.opened + receiver.offset)
        receiver.history.told(row, firmware=login.firmware, model=login.model, protocol=name)
        receiver.logged_in(self)
        for event in self._session.accept(self.last + receiver.offset):
            self._handle(event, self.last)

    def registered(self, row: int) -> None:
        """The terminal is in the registry now: from here on its frames are decoded as they come."""
        self.row = row
        login, self._login_told = self._login_told, None
        if login is not None:
            name = self._receiver.protocols[self.protocol].name
            self._receiver.history.told(row, firmware=login.firmware, model=login.model, protocol=name)

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
        self._frames += count
        if self._transport is None:
            return
        if self._receiver.pace is not None:
            self._receiver.pace.took(self, items)
        if answer:
            self._transport.write(answer)
        if self._outstanding:
            return
        if self._closing:
            self._transport.close()
        elif not self._asked and answer:
            self._asked = True
            self._ask()

    def _ask(self) -> None:
        """After the first data ack, with nothing unanswered: what firmware is it?"""
        receiver = self._receiver
        if receiver.ask_version and self.row >= 0 and self.row not in receiver.terminals.firmware:
            question = self._session.ask_version()
            if question:
                self._write(question)

    def abandoned(self) -> None:
        """Not stored and not going to be: no word, close."""
        self._reason = self._reason or "store away"
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def supersede(self, reason: str) -> None:
        """The same terminal has connected anew: answer what was taken, then close."""
        self._close(reason)

    def expire(self, reason: str) -> None:
        """A timeout ended it."""
        if reason == "login timeout" or self._outstanding == 0:
            self._receiver.malformed(self.protocol, Malformed("timeout"))
            self._malformed += 1
        self._close(reason)

    def stop(self) -> None:
        """The service stops: take no more, answer what was taken, close."""
        self._close("service stopped")

    @property
    def host(self) -> str:
        """The address it came from, without the port."""
        return self.address.rpartition(":")[0]

    @property
    def waiting(self) -> bool:
        """Whether frames of it are unanswered."""
        return self._outstanding > 0

    def linger(self, now: float) -> bool:
        """Whether it is closing; a peer that does not take its last answers is cut off after a while."""
        if self._closing and self._transport is not None and now - self._closing_since > LINGER:
            self._transport.abort()
        return self._closing

    @property
    def logged_in(self) -> bool:
        """Whether its login was accepted."""
        return self._history != 0

    def hold(self) -> None:
        """Read no more until `resume_reading`; what was taken is answered as ever."""
        self._pause()

    def resume_reading(self) -> None:
        """There is room again, or it was held long enough; a full window of unanswered frames waits for its own."""
        pipeline = self._receiver.pipeline
        if self._outstanding > WINDOW_FRAMES and self._transport is not None and self not in pipeline.paused:
            pipeline.pause(self)
        else:
            self._resume()

    def _close(self, reason: str) -> None:
        self._reason = self._reason or reason
        if self._closing and self._transport is None:
            return
        if not self._closing:
            self._closing_since = self._receiver.now()
        self._closing = True
        if self._transport is not None:
            if self._outstanding == 0:
                self._transport.close()
            else:
                self._transport.pause_reading()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)

    def _pause(self) -> None:
        self._paused += 1
        if self._paused == 1 and self._transport is not None:
            self._transport.pause_reading()

    def _stay_paused(self) -> None:
        """uvloop begins to read when `connection_made` returns, whatever was said in it."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume(self) -> None:
        self._paused = max(0, self._paused - 1)
        if self._rest is not None and self._paused == 1:
            asyncio.get_running_loop().call_soon(self._go_on)
        if self._paused == 0 and self._transport is not None and not self._closing:
            self._transport.resume_reading()
