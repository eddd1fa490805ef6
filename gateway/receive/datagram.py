"""UDP: each datagram is a conversation of its own, answered to its sender."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Sequence
from typing import ClassVar

from gateway.receive.admissions import Admissions
from gateway.receive.connections import Connections
from gateway.receive.conversation import Conversation
from gateway.receive.conversations import Conversations
from gateway.receive.limits import Pace
from gateway.receive.telling import told_datagram
from gateway.receive.udp import UdpSocket, Way
from protocols.records import Frame, Login, Malformed, Message, Quarantined, Reply

_ADMISSIONS = 1000  # datagrams that wait for the registry; the next ones are dropped, their terminals send again


class DatagramEndpoint:
    """A UDP listener on a bound socket, which it owns."""

    def __init__(
        self, connections: Connections, protocol: int, sock: socket.socket, among: Sequence[str] | None = None
    ) -> None:
        """`among`: the protocols that each datagram's first bytes tell apart; `protocol` counts what is none."""
        self._connections = connections
        self._protocol = protocol
        self._among = among
        self._admissions = Admissions()
        self._socket = UdpSocket(sock, self._received)

    def close(self) -> None:
        """Receive and answer no more."""
        self._socket.close()

    def _received(self, data: bytes, way: Way) -> None:
        """One datagram; without room it is dropped unanswered, and its terminal sends it again."""
        connections = self._connections
        shared = connections.conversations
        if connections.stopping or shared.pipeline.full or not connections.gate.allowed(way.host):
            reason = "stopping" if connections.stopping else "store" if shared.pipeline.full else "not_allowed"
            shared.metrics.refused[reason] += 1
            return
        protocol = self._protocol
        if self._among is not None:
            name = told_datagram(data, self._among)
            if name is None:
                shared.malformed(protocol, Malformed("structure", detail="no protocol begins so"))
                return
            protocol = shared.number(name)
        exchange = _Exchange(shared, protocol, self._admissions)
        exchange.address = way.address
        exchange.begin(way)
        exchange.receive(data)


class _Exchange(Conversation):
    """One datagram and its answer. It replaces nobody, and waits for nobody: its terminal sends again."""

    __slots__ = ("_admissions",)

    patient: ClassVar[bool] = False
    lasting = False

    def __init__(self, shared: Conversations, protocol: int, admissions: Admissions) -> None:
        super().__init__(shared, protocol, "udp")
        self._admissions = admissions

    def _may_log_in(self) -> bool:
        return True  # every datagram names its terminal anew

    def _new_link(self) -> int:
        return 0  # there is none

    def _wait(self, login: Login) -> None:
        if len(self._admissions) < _ADMISSIONS:
            self._admissions.wait(self, login)

    def _admitted(self, login: Login, row: int) -> None:
        shared = self._shared
        if shared.pace is not None and shared.pace.over(self.terminal):
            shared.metrics.refused["record_rate"] += 1
        else:
            super()._admitted(login, row)

    def _came(self, login: Login, protocol: str) -> None:
        """It is gone already."""

    def committed(
        self, items: Sequence[Frame | Message | Reply], refused: Sequence[Sequence[Quarantined]] = ()
    ) -> None:
        """Each answer in a datagram of its own."""
        for item, bad in zip(items, refused or itertools.repeat(()), strict=False):
            super().committed((item,), (bad,) if bad else ())

    def _paced(self, pace: Pace, items: Sequence[Frame | Message | Reply]) -> None:
        pace.took_datagram(self.terminal, items)
