"""Datagrams are answered from the address that they were sent to, whichever of the host's addresses that is."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest
import structlog

from gateway.receive.udp import UdpSocket, Way
from protocols.teltonika.declaration import CODEC_8, avl_payload, avl_record, udp_datagram
from tests.gateway.receive.outside import Configured, configured
from tests.protocols.test_wialon_ips import W11

LISTENERS = """
[[listen]]
protocol = "teltonika"
address = "0.0.0.0:<<teltonika>>"
transport = "udp"
[[listen]]
protocol = "wialon-ips"
address = "0.0.0.0:<<wialon>>"
transport = "udp"
[[listen]]
protocol = "teltonika"
address = "[::1]:<<six>>"
transport = "udp"
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Configured]:
    with configured(LISTENERS) as found:
        yield found


def ask(address: str, port: int, data: bytes) -> tuple[bytes, str]:
    """The answer, and where it comes from; of a connected socket, the kernel takes no other."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        link.settimeout(5)
        link.connect((address, port))
        link.send(data)
        answer, source = link.recvfrom(1000)
        return answer, str(source[0])


def teltonika(imei: str) -> bytes:
    record = avl_record(timestamp=int(time.time() * 1000), latitude=1, longitude=2, satellites=9)
    return udp_datagram(avl_payload(CODEC_8, [record]), imei, avl_id=7)


@pytest.mark.parametrize("address", ["127.0.0.2", "127.0.0.1"])
def test_teltonika(gateway: Configured, address: str) -> None:
    answer = ask(address, gateway.ports["teltonika"], teltonika(f"86000000003000{address[-1]}"))
    assert answer == (bytes.fromhex("0005CAFE010701"), address)


def test_wialon(gateway: Configured) -> None:
    assert ask("127.0.0.2", gateway.ports["wialon"], W11) == (b"#ASD#1\r\n", "127.0.0.2")


def test_six(gateway: Configured) -> None:
    answer = ask("::1", gateway.ports["six"], teltonika("860000000030006"))
    assert answer == (bytes.fromhex("0005CAFE010701"), "::1")


def test_a_datagram_that_fails_costs_the_next_ones_nothing() -> None:
    async def go() -> list[bytes]:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        heard: list[bytes] = []
        done = asyncio.Event()

        def received(data: bytes, way: Way) -> None:
            heard.append(data)
            if data == b"bad":
                raise ValueError("a bug")
            way.write(data)
            done.set()

        served = UdpSocket(sock, received)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.setblocking(False)
            link.connect(sock.getsockname())
            for data in (b"bad", b"", b"good"):
                link.send(data)
            async with asyncio.timeout(5):
                await done.wait()
                assert await asyncio.get_running_loop().sock_recv(link, 100) == b""
                assert await asyncio.get_running_loop().sock_recv(link, 100) == b"good"
        served.close()
        served.close()
        return heard

    with structlog.testing.capture_logs() as lines:
        assert asyncio.run(go()) == [b"bad", b"", b"good"]
    assert [line["event"] for line in lines] == ["datagram failed"]
