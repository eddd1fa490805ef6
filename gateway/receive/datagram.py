"""UDP: each datagram is a connection of its own, answered to its sender."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import psycopg

from gateway.receive.terminals import NO_ROW, PENDING
from protocols.records import (
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

_ADMISSIONS = 1000  # datagrams that wait for the registry; the next ones are dropped, their terminals send again


class DatagramEndpoint(asyncio.DatagramProtocol):
    """A UDP listener."""

    def __init__(self, receiver: Receiver, protocol: int) -> None:
        self.receiver = receiver
        self.protocol = protocol
        self.transport: asyncio.DatagramTransport | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is bound."""
        self.transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is one in all but name

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """One datagram; without room it is dropped unanswered, and its terminal sends it again."""
        receiver = self.receiver
        if receiver.stopping or receiver.pipeline.full or not receiver.allowed(addr[0]):
            reason = "stopping" if receiver.stopping else "store" if receiver.pipeline.full else "not_allowed"
            receiver.metrics.refused[reason] += 1
            return
        now = receiver.now()
        source = _Datagram(self, receiver.new_session(self.protocol, "udp"), addr, now)
        source.handle(source.session.receive_data(data, now + receiver.offset))

    def error_received(self, exc: Exception) -> None:
        """An answer could not be delivered: the terminal sends again."""


class _Datagram:
    """The frames of one datagram and their answers."""

    __slots__ = ("_at", "_endpoint", "_outstanding", "_peer", "protocol", "row", "session", "terminal")

    def __init__(self, endpoint: DatagramEndpoint, session: Session, peer: tuple[Any, ...], at: float) -> None:
        self._endpoint = endpoint
        self._peer = peer
        self._at = at
        self._outstanding = 0
        self.session = session
        self.protocol = endpoint.protocol
        self.terminal = ""
        self.row = NO_ROW

    def handle(self, events: Sequence[Event]) -> None:
        """As a connection does, without its state."""
        receiver = self._endpoint.receiver
        for event in events:
            match event:
                case Frame() | Message():
                    self._outstanding += 1
                    receiver.pipeline.put(self, event, self._at)
                case Reply():
                    if self._outstanding:
                        self._outstanding += 1
                        receiver.pipeline.put(self, event, self._at)
                    else:
                        self._send(event.data)
                case Malformed():
                    receiver.malformed(self.protocol, event)
                case Identified():
                    receiver.history.told(self.row, firmware=event.firmware, model=event.model)
                case Login():
                    self._login(event)
                case _:  # nothing to close
                    pass

    def _login(self, login: Login) -> None:
        receiver = self._endpoint.receiver
        if not is_identity(login.terminal):
            receiver.malformed(self.protocol, Malformed("login"))
            return
        self.terminal = login.terminal
        row = receiver.terminals.rows.get(login.terminal)
        if row is not None:
            self._admitted(login, row)
        elif receiver.deferring:
            self._admitted(login, PENDING)
        elif len(self._endpoint.tasks) < _ADMISSIONS:
            task = asyncio.get_running_loop().create_task(self._admit(login))
            self._endpoint.tasks.add(task)
            task.add_done_callback(self._endpoint.tasks.discard)

    async def _admit(self, login: Login) -> None:
        receiver = self._endpoint.receiver
        try:
            result, row = await receiver.terminals.admit(login.terminal, receiver.protocols[self.protocol].name)
        except (psycopg.Error, OSError, TimeoutError):  # no store: unanswered, it is sent again
            return
        if result == "refused":
            receiver.metrics.logins["refused"][self.protocol] += 1
            self.handle(self.session.refuse())
        else:
            self._admitted(login, row)

    def _admitted(self, login: Login, row: int) -> None:
        receiver = self._endpoint.receiver
        if receiver.pace is not None and receiver.pace.over(self.terminal):
            receiver.metrics.refused["record_rate"] += 1
            return  # unanswered, it is sent again
        self.row = row
        receiver.metrics.logins["accepted" if row != NO_ROW else "quarantined"][self.protocol] += 1
        name = receiver.protocols[self.protocol].name
        receiver.history.told(row, firmware=login.firmware, model=login.model, protocol=name)
        self.handle(self.session.accept(self._at + receiver.offset))

    def committed(
        self, items: Sequence[Frame | Message | Reply], refused: Sequence[Sequence[Quarantined]] = ()
    ) -> None:
        """Answer, one datagram each."""
        self._outstanding -= len(items)
        pace = self._endpoint.receiver.pace
        if pace is not None:
            pace.took_datagram(self.terminal, items)
        for item, bad in zip(items, refused or itertools.repeat(()), strict=False):
            self._send(item.data if isinstance(item, Reply) else self.session.acknowledge(item, bad))

    def abandoned(self) -> None:
        """No answer: the terminal sends again."""

    def _send(self, data: bytes) -> None:
        transport = self._endpoint.transport
        if data and transport is not None and not transport.is_closing():
            transport.sendto(data, self._peer)
