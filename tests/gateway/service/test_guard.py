"""One HTTP client never keeps the others out: real sockets, most of which say nothing or not enough."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from gateway.configuration.values import Address
from gateway.parts import Supervisor
from gateway.service import guard
from gateway.service.web import WebServer
from tests.harness import running_service

CLIENTS: list[asyncio.StreamWriter] = []
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def who(request: Request) -> Response:
    return PlainTextResponse(request.client.host if request.client else "")


async def echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def endless(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)
            await asyncio.sleep(0)  # the server takes what nobody reads without a pause

    return StreamingResponse(pieces())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # what is asked has no event
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def server(*trusted: str) -> AsyncIterator[WebServer]:
    web = WebServer("desk", Address("127.0.0.1", 0), Supervisor(), [ip_network(each) for each in trusted])
    routes = [Route("/", who), Route("/echo", echo, methods=["POST"]), Route("/endless", endless)]
    web.start(Starlette(routes=routes))
    try:
        await until(lambda: web._server is not None and web._server.started)
        yield web
    finally:
        for writer in CLIENTS:
            writer.close()
        CLIENTS.clear()
        await web.stop()


async def connect(web: WebServer, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    opened = await asyncio.open_connection("127.0.0.1", web.address.port, local_addr=(source, 0))
    CLIENTS.append(opened[1])
    return opened


async def ask(web: WebServer, data: bytes = GET, source: str = "127.0.0.1") -> bytes:
    """The answer's status line and the last line of its body."""
    reader, writer = await connect(web, source)
    writer.write(data)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    body = await reader.readexactly(size)
    writer.close()
    return head.split(b"\r\n")[0] + b" " + body


async def closed(reader: asyncio.StreamReader, within: float = 5.0) -> None:
    with contextlib.suppress(ConnectionError):
        while await asyncio.wait_for(reader.read(65536), within):
            pass


def test_connections_that_say_nothing_make_room_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST", 50)

    async def scenario() -> None:
        async with server() as web:
            silent = [await connect(web) for _ in range(60)]
            for _ in range(5):
                assert await ask(web) == b"HTTP/1.1 200 OK 127.0.0.1"
            await closed(silent[0][0])
            assert len(web._guard._open) <= 50

    asyncio.run(scenario())


def test_a_request_has_a_deadline_and_the_next_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "HEADERS", 0.3)
    monkeypatch.setattr(guard, "REQUEST", 0.6)
    monkeypatch.setattr(guard, "_TURN", 0.05)

    async def scenario() -> None:
        async with server() as web:
            beginnings = [
                b"",
                b"GET / HTTP/1.1\r\nHost:",
                b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234",
            ]
            for beginning in beginnings:
                reader, writer = await connect(web)
                writer.write(beginning)
                await closed(reader)
            # One that drips a byte now and then gains nothing.
            reader, writer = await connect(web)
            begun = asyncio.get_running_loop().time()
            with contextlib.suppress(ConnectionError):
                while not reader.at_eof():
                    writer.write(b"G")
                    await writer.drain()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(1), 0.05)
            assert asyncio.get_running_loop().time() - begun < 3
            assert await ask(web) == b"HTTP/1.1 200 OK 127.0.0.1"

    asyncio.run(scenario())


def test_one_address_has_its_share_and_the_others_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PER_ADDRESS", 4)

    async def scenario() -> None:
        async with server() as web:
            ours = [await connect(web, "127.0.0.3") for _ in range(3)]
            many = [await connect(web, "127.0.0.2") for _ in range(9)]
            assert await ask(web, source="127.0.0.2") == b"HTTP/1.1 200 OK 127.0.0.2"
            for reader, _ in many[:5]:
                await closed(reader)
            for reader, writer in ours:
                writer.write(GET)
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")

    asyncio.run(scenario())


def test_headers_are_bounded() -> None:
    async def scenario() -> None:
        async with server() as web:
            reader, writer = await connect(web)
            sent = 0
            with contextlib.suppress(ConnectionError):
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
                while sent < 4 << 20 and not reader.at_eof():
                    writer.write(bytes(b"a" * 16384))
                    await writer.drain()
                    sent += 16384
            assert sent < 4 << 20
            assert await ask(web) == b"HTTP/1.1 200 OK 127.0.0.1"
            many = b"".join(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 30_000 + b"\r\n\r\n" for _ in range(4))
            reader, writer = await connect(web)
            writer.write(many)
            for _ in range(4):
                assert b" 200 " in await asyncio.wait_for(reader.readline(), 5)
                await reader.readuntil(b"127.0.0.1")

    asyncio.run(scenario())


def test_who_does_not_read_the_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "UNREAD", 0.3)
    monkeypatch.setattr(guard, "_TURN", 0.05)

    async def scenario() -> None:
        async with server() as web:
            _, writer = await connect(web)
            transport = writer.transport
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            writer.write(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: web._guard._open)
            await until(lambda: not web._guard._open)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("trusted", "source", "seen"),
    [
        ((), "127.0.0.1", b"127.0.0.1"),
        (("127.0.0.2/32",), "127.0.0.1", b"127.0.0.1"),
        (("127.0.0.2/32",), "127.0.0.2", b"198.51.100.7"),
        (("127.0.0.0/8", "203.0.113.0/24"), "127.0.0.9", b"198.51.100.7"),
    ],
)
def test_a_forwarded_header_counts_from_trusted_proxies_alone(
    trusted: tuple[str, ...], source: str, seen: bytes
) -> None:
    async def scenario() -> None:
        async with server(*trusted) as web:
            asked = GET[:-2] + b"X-Forwarded-For: 192.0.2.1, 198.51.100.7, 203.0.113.9\r\n\r\n"
            if "203.0.113.0/24" not in trusted:
                asked = asked.replace(b", 203.0.113.9", b"")
            with capture_logs() as logs:
                assert await ask(web, asked, source) == b"HTTP/1.1 200 OK " + seen
                assert await ask(web, asked, source) == b"HTTP/1.1 200 OK " + seen
            told = [line for line in logs if "trusted_proxies" in line["event"]]
            assert [line["address"] for line in told] == ([] if seen != source.encode() else [source])

    asyncio.run(scenario())


def test_500_silent_connections_keep_nobody_from_health_metrics_and_desk() -> None:
    with running_service() as service, contextlib.ExitStack() as stack:
        silent: dict[str, list[socket.socket]] = {}
        for port in ("metrics", "desk"):
            silent[port] = [socket.create_connection(("127.0.0.1", service.ports[port]), 5) for _ in range(520)]
            for each in silent[port]:
                stack.enter_context(each)
            for path in ("/healthz", "/readyz", "/metrics") if port == "metrics" else ("/login",):
                assert service.get(path, port)[0] == 200, path
        # None of them is kept for long: the sweep's deadline is ten seconds.
        for port, connections in silent.items():
            connections[-1].settimeout(15)
            assert connections[-1].recv(1) == b"", port
