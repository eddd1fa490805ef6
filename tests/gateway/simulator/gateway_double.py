"""A gateway made of the protocols' own sessions and a list: accepts everything, keeps what it decodes, then acks.

`misbehave` changes the bytes of an ack, to see whether the terminals notice; `silent` never acks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from protocols.records import ARCHIVE, TIME_UNKNOWN, VALID, Close, Frame, Identified, Login, Malformed, Message, Reply
from protocols.registry import protocol


class GatewayDouble:
    def __init__(self, *, misbehave: Callable[[str, int, bytes], bytes] | None = None, ask: bool = True) -> None:
        self.rows: list[dict[str, Any]] = []
        self.malformed: list[Malformed] = []
        self.identified: dict[str, Identified] = {}
        self.messages: list[Message] = []
        self.logins: list[str] = []
        self.misbehave = misbehave
        self.ask = ask
        self.acks = 0
        self.servers: list[Any] = []
        self.connections: set[_Connection] = set()

    async def listen(self, name: str) -> str:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self, name), "127.0.0.1", 0)
        self.servers.append(server)
        host, port = server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def listen_udp(self) -> str:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=("127.0.0.1", 0))
        self.servers.append(transport)
        host, port = transport.get_extra_info("sockname")[:2]
        return f"{host}:{port}"

    def close(self) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.connections):
            connection.transport.abort()

    def store(self, name: str, terminal: str, frame: Frame) -> None:
        decoded = protocol(name).decode([frame])
        assert decoded.quarantined == []
        batch = decoded.batch
        measures: list[dict[str, Any]] = [{} for _ in range(len(batch))]
        for group in batch.groups:
            for row, values in zip(group.rows.tolist(), group.values.tolist(), strict=True):
                measures[row].update({n: v for n, v in zip(group.names, values, strict=True) if not np.isnan(v)})
        for row, extra in batch.extra.items():
            measures[row].update(extra)

        def told(value: float) -> float | None:
            return None if np.isnan(value) else float(value)

        for i in range(len(batch)):
            assert batch.time[i] != TIME_UNKNOWN
            self.rows.append(
                {
                    "terminal": terminal,
                    "time": int(batch.time[i]),
                    "lat": told(batch.lat[i]),
                    "lon": told(batch.lon[i]),
                    "altitude": told(batch.altitude[i]),
                    "speed": told(batch.speed[i]),
                    "course": told(batch.course[i]),
                    "satellites": int(batch.satellites[i]),
                    "valid": bool(batch.flags[i] & VALID),
                    "archive": bool(batch.flags[i] & ARCHIVE),
                    "measures": measures[i],
                    "received": time.time(),
                    "fingerprint": int(batch.fingerprint[i]),
                }
            )

    def distinct_rows(self) -> list[dict[str, Any]]:
        """As the store keeps them: a resend adds none."""
        seen = {}
        for row in self.rows:
            seen.setdefault((row["terminal"], row["time"], row["fingerprint"]), row)
        return list(seen.values())


class _Connection(asyncio.Protocol):
    def __init__(self, double: GatewayDouble, name: str) -> None:
        self.double = double
        self.name = name
        self.session = protocol(name).new_session(transport="tcp", max_frame=None)
        self.terminal = ""
        self.asked = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.double.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.double.connections.discard(self)
        self._handle(self.session.end_of_stream())

    def data_received(self, data: bytes) -> None:
        self._handle(self.session.receive_data(data, time.time()))

    def _handle(self, events: Any) -> None:
        for event in events:
            if isinstance(event, Login):
                self.terminal = event.terminal
                self.double.logins.append(event.terminal)
                if event.firmware:
                    self.double.identified[event.terminal] = Identified(event.firmware, event.model)
                self._handle(self.session.accept(time.time()))
            elif isinstance(event, Reply):
                self.transport.write(event.data)
            elif isinstance(event, Frame):
                self.double.store(self.name, self.terminal, event)
                ack = self.session.acknowledge(event)
                self.double.acks += 1
                if self.double.misbehave is not None:
                    ack = self.double.misbehave(self.name, self.double.acks, ack)
                self.transport.write(ack)
                if self.double.ask and not self.asked:
                    self.asked = True
                    self.transport.write(self.session.ask_version())
            elif isinstance(event, Message):
                self.double.messages.append(event)
            elif isinstance(event, Identified):
                self.double.identified[self.terminal] = event
            elif isinstance(event, Malformed):
                self.double.malformed.append(event)
            elif isinstance(event, Close):
                self.transport.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, double: GatewayDouble) -> None:
        self.double = double

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        session = protocol("teltonika").new_session(transport="udp", max_frame=None)
        (login,) = session.receive_data(data, time.time())
        assert isinstance(login, Login)
        (frame,) = session.accept(time.time())
        self.double.store("teltonika", login.terminal, frame)
        self.double.acks += 1
        ack = session.acknowledge(frame)
        if self.double.misbehave is not None:
            ack = self.double.misbehave("udp", self.double.acks, ack)
        self.transport.sendto(ack, addr)
