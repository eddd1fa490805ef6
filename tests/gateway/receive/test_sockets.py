"""Connections behind one epoll, on real sockets and both event loops: order, back pressure, ends, fairness."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
import uvloop

from gateway.receive import sockets as module
from gateway.receive.sockets import READ_BYTES, Sockets, SocketTransport

pytestmark = pytest.mark.skipif(not module.AVAILABLE, reason="there is no epoll here")


class Heard(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.told: list[Any] = []
        self.stay = False  # after the peer's end
        self.act: Callable[[bytes], None] = lambda data: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, SocketTransport)
        self.transport = transport
        self.peer = transport.get_extra_info("peername")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.act(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.stay

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(("lost", type(exc).__name__ if exc else None))

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class World:
    """Sockets, and peers that are plain sockets."""

    def __init__(self) -> None:
        self.sockets = Sockets()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peers: list[socket.socket] = []

    def connect(self, protocol: Heard | None = None, *, buffer: int = 0) -> tuple[Heard, socket.socket]:
        peer = socket.create_connection(self.listening.getsockname())
        self.peers.append(peer)
        sock, address = self.listening.accept()
        sock.setblocking(False)
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        heard = protocol or Heard()
        self.sockets.add(sock, heard, address)
        return heard, peer

    def close(self) -> None:
        self.sockets.close()
        self.listening.close()
        for peer in self.peers:
            peer.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # it looks at sockets
            await asyncio.sleep(0.002)


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]:
    def go(test: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            gc.collect()  # what earlier tests have left
            before = len(os.listdir("/proc/self/fd"))
            world = World()
            try:
                await test(world)
            finally:
                world.close()
            assert len(os.listdir("/proc/self/fd")) <= before  # no descriptor stays

        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    return go


def test_bytes_come_and_go_in_order(run: Any) -> None:
    async def test(world: World) -> None:
        heard, peer = world.connect()
        assert heard.peer == peer.getsockname()
        sent = os.urandom(5 * READ_BYTES)
        peer.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(peer, sent)
        await until(lambda: len(heard.data) == len(sent))
        assert heard.data == sent
        for n in range(100):
            heard.transport.write(b"%03d" % n)
        assert await read(peer, 300) == b"".join(b"%03d" % n for n in range(100))

    run(test)


async def read(peer: socket.socket, count: int) -> bytes:
    peer.setblocking(False)
    data = bytearray()
    async with asyncio.timeout(10):
        while len(data) < count:
            piece = await asyncio.get_running_loop().sock_recv(peer, min(65536, count - len(data)))
            if not piece:
                break
            data += piece
    return bytes(data)


def test_a_slow_reader_pauses_its_writer_only_and_gets_everything(run: Any) -> None:
    async def test(world: World) -> None:
        heard, peer = world.connect(buffer=256 << 10)
        other, other_peer = world.connect()
        heard.transport.set_write_buffer_limits(high=1000)
        sent = os.urandom(8 << 20)
        heard.transport.write(sent)
        assert heard.told == ["pause"]
        heard.transport.write(b"tail")
        assert heard.transport.get_write_buffer_size() > 1000
        other_peer.send(b"x")
        await until(lambda: other.data)
        assert await read(peer, len(sent) + 4) == sent + b"tail"
        await until(lambda: heard.told == ["pause", "resume"])
        assert heard.transport.get_write_buffer_size() == 0
        peer.send(b"still read")
        await until(lambda: heard.data == b"still read")

    run(test)


def test_a_closing_connection_sends_what_waits_first(run: Any) -> None:
    async def test(world: World) -> None:
        heard, peer = world.connect(buffer=256 << 10)
        sent = os.urandom(8 << 20)
        heard.transport.write(sent)
        heard.transport.close()
        assert heard.transport.is_closing()
        assert heard.told == ["pause"]
        assert await read(peer, len(sent)) == sent
        await until(lambda: ("lost", None) in heard.told)
        heard.transport.write(b"nobody")  # no effect, no error
        heard.transport.close()
        heard.transport.abort()
        await asyncio.sleep(0.01)
        assert heard.told.count(("lost", None)) == 1

    run(test)


def test_an_aborted_connection_drops_what_waits(run: Any) -> None:
    async def test(world: World) -> None:
        heard, peer = world.connect(buffer=256 << 10)
        heard.transport.write(bytes(8 << 20))
        heard.transport.abort()
        assert "lost" not in str(heard.told)  # told by the loop, not from within the call
        await until(lambda: ("lost", None) in heard.told)
        peer.settimeout(5)
        taken = 0
        with suppress(ConnectionResetError):
            while piece := peer.recv(65536):
                taken += len(piece)
        assert taken < 8 << 20

    run(test)


def test_what_is_paused_is_not_read_nor_woken_by_its_peers_end(run: Any) -> None:
    async def test(world: World) -> None:
        heard, peer = world.connect()
        heard.transport.pause_reading()
        heard.transport.pause_reading()
        assert not heard.transport.is_reading()
        peer.send(b"later")
        reset(peer)
        await asyncio.sleep(0.05)
        assert (heard.data, heard.told) == (b"", [])
        heard.transport.resume_reading()
        await until(lambda: heard.told)
        assert heard.told == [("lost", "ConnectionResetError")]

    run(test)


def test_a_peer_that_ends_may_still_be_answered(run: Any) -> None:
    async def test(world: World) -> None:
        staying, peer = world.connect()
        staying.stay = True
        going, other = world.connect()
        for sock in (peer, other):
            sock.send(b"last")
            sock.shutdown(socket.SHUT_WR)
        await until(lambda: staying.told and len(going.told) == 2)
        assert (staying.data, staying.told) == (b"last", ["eof"])
        assert (going.data, going.told) == (b"last", ["eof", ("lost", None)])
        staying.transport.write(b"answer")
        assert await read(peer, 6) == b"answer"
        staying.transport.close()
        await until(lambda: staying.told[-1] == ("lost", None))

    run(test)


@pytest.mark.parametrize("reading", [True, False])
def test_a_reset_is_told_once_also_while_something_waits_to_be_sent(run: Any, reading: bool) -> None:
    async def test(world: World) -> None:
        heard, peer = world.connect(buffer=256 << 10)
        heard.transport.write(bytes(8 << 20))
        if not reading:
            heard.transport.pause_reading()
        reset(peer)
        await until(lambda: "lost" in str(heard.told))
        await asyncio.sleep(0.02)
        lost = [told for told in heard.told if told[0] == "lost"]
        assert len(lost) == 1
        assert lost[0][1] in ("ConnectionResetError", "BrokenPipeError")

    run(test)


def test_a_write_to_a_reset_connection_does_not_raise(run: Any) -> None:
    async def test(world: World) -> None:
        heard, peer = world.connect()
        heard.transport.pause_reading()
        reset(peer)
        await asyncio.sleep(0.02)
        heard.transport.write(b"x")
        heard.transport.write(b"y")
        assert heard.told == []  # the protocol hears of it from the loop
        await until(lambda: heard.told)
        assert heard.told[0][0] == "lost"

    run(test)


def test_a_protocol_that_raises_ends_its_own_connection_only(run: Any) -> None:
    async def test(world: World) -> None:
        def bug(data: bytes) -> None:
            raise RuntimeError("a bug")

        failing, peer = world.connect()
        other, other_peer = world.connect()
        failing.act = bug
        peer.send(b"x")
        other_peer.send(b"y")
        await until(lambda: failing.told and other.data)
        assert failing.told == [("lost", "RuntimeError")]
        assert other.told == []

    run(test)


def test_one_that_is_stopped_in_a_turn_is_not_read_in_it(run: Any) -> None:
    async def test(world: World) -> None:
        pairs = [world.connect() for _ in range(8)]
        seen: list[Heard] = []

        def stop_the_others(data: bytes) -> None:
            seen.append(next(heard for heard, _ in pairs if heard.data))
            for heard, _ in pairs:
                if heard is not seen[0]:
                    (heard.transport.close if pairs.index((heard, _)) % 2 else heard.transport.pause_reading)()

        for heard, _ in pairs:
            heard.act = stop_the_others
        for _, peer in pairs:  # before the loop looks
            peer.send(b"x")
        await until(lambda: seen)
        await asyncio.sleep(0.02)
        assert sum(bool(heard.data) for heard, _ in pairs) == 1

    run(test)


def test_everybody_has_a_turn_beside_floods(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READS", 4)

    async def test(world: World) -> None:
        floods = [world.connect() for _ in range(6)]
        quiet = [world.connect() for _ in range(20)]
        loop = asyncio.get_running_loop()
        ended = False

        async def flood(peer: socket.socket) -> None:
            peer.setblocking(False)
            while not ended:
                await loop.sock_sendall(peer, bytes(4 * READ_BYTES))

        tasks = [loop.create_task(flood(peer)) for _, peer in floods]
        await asyncio.sleep(0.02)
        for _, peer in quiet:
            peer.send(b"me too")
        await until(lambda: all(heard.data == b"me too" for heard, _ in quiet))
        ended = True
        await asyncio.gather(*tasks)

    run(test)


def test_closing_ends_every_connection(run: Any) -> None:
    async def test(world: World) -> None:
        pairs = [world.connect() for _ in range(5)]
        world.sockets.close()
        assert [heard.told for heard, _ in pairs] == [[("lost", None)]] * 5
        assert not world.sockets.open
        world.sockets = Sockets()

    run(test)
