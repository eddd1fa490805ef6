"""Firmware is asked for again: an update is noticed, its ticket ends, and nobody is pestered."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from protocols.teltonika import declaration as teltonika
from tests.gateway.receive.outside import configured
from tests.gateway.wire import Link, no_exception, wait_for
from tests.harness import ServiceProcess, running_service
from tests.protocols.teltonika_vectors import GETVER, GETVER_REPLY

ONE = bytes.fromhex("00000001")
CATALOGUE = """
grace_days = 30
[[release]]
model = "FMC130"
version = "03.29.00_05"
released = 2025-01-01
[[release]]
model = "FMC130"
version = "03.29.00_06"
released = 2025-06-01
"""


def _frame(at: float = 0.0, imei: str = "") -> bytes:
    """A record of now."""
    record = teltonika.avl_record(timestamp=round((at or time.time()) * 1000), latitude=10_000_000, satellites=7)
    if imei:
        return teltonika.udp_datagram(teltonika.avl_payload(teltonika.CODEC_8, [record]), imei, avl_id=7)
    return teltonika.avl_frame(teltonika.CODEC_8, [record])


def _answer(version: str) -> bytes:
    return teltonika.command(f"Ver:{version} GPS:AXN_5.1.9 Hw:FMC130 Mod:11", kind=teltonika.RESPONSE)


@contextmanager
def connected(service: ServiceProcess, imei: str) -> Iterator[Link]:
    """Logged in, with one record acknowledged."""
    with Link(service, "teltonika") as link:
        assert link.send(teltonika.login(imei) + _frame()).read(5) == b"\x01" + ONE
        yield link


def not_asked(service: ServiceProcess, imei: str) -> bool:
    """Whether a connection brings no question: each ack that comes later shows what came before it."""
    with connected(service, imei) as link:
        for _ in range(20):
            time.sleep(0.02)
            if link.send(_frame()).read(4) != ONE:
                return False
        return link.finish() == b""


def firmware(service: ServiceProcess, imei: str) -> object:
    return service.query("SELECT firmware FROM terminal WHERE identity = %s", imei)[0][0]


@pytest.fixture(
    scope="module", params=[[], pytest.param(["--workers", "2"], marks=pytest.mark.soak)], ids=["alone", "workers"]
)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder: Path = tmp_path_factory.mktemp("catalogue")
    (folder / "releases.toml").write_text(CATALOGUE)
    settings = {
        "DOZOR_WATCH__FIRMWARE__CATALOGUE": str(folder / "releases.toml"),
        "DOZOR_WATCH__INCIDENTS__HOLD": "1",
        "DOZOR_WATCH__INCIDENTS__RECOVERY": "2",
    }
    with running_service(*request.param, **settings) as running:
        yield running
        no_exception(running)


def test_an_updated_terminal_is_asked_and_its_ticket_recovers(service: ServiceProcess) -> None:
    imei = "356938035600001"
    state = "SELECT state FROM ticket WHERE kind = 'firmware'"
    with connected(service, imei) as link:
        assert link.read(len(GETVER)) == GETVER
        link.send(_answer("03.29.00_05"))
        wait_for(lambda: service.query(state) == [("new",)])
    for _ in range(2):  # it was not updated yet
        with connected(service, imei) as link:
            assert link.read(len(GETVER)) == GETVER
            link.send(_answer("03.29.00_05") + _frame())
            assert link.read(4) == ONE
            time.sleep(0.1)
    with connected(service, imei) as link:
        assert link.read(len(GETVER)) == GETVER
        link.send(_answer("03.29.00_06"))
        wait_for(lambda: firmware(service, imei) == "03.29.00_06")
        for _ in range(40):
            link.send(_frame())
            assert link.read(4) == ONE
            if service.query(state) == [("awaiting_consent",)]:
                break
            time.sleep(0.25)
    assert service.query(state) == [("awaiting_consent",)]
    assert not_asked(service, imei), "it is good"


def test_asked_after_the_first_ack_once_and_not_again_for_six_hours(service: ServiceProcess) -> None:
    imei = "356938035600002"
    with Link(service, "teltonika") as link:
        assert link.send(teltonika.login(imei)).read(1) == b"\x01"
        assert link.send(_frame()).read(4 + len(GETVER)) == ONE + GETVER  # not before data
        assert link.send(_frame(time.time() - 1) + _frame(time.time() - 2)).read(8) == ONE * 2
        assert link.finish() == b""  # once
    for _ in range(3):
        assert not_asked(service, imei), "it did not answer"
    service.query("UPDATE version_ask SET asked_at = asked_at - interval '6 hours' RETURNING 1")
    with Link(service, "teltonika") as link:
        link.send(teltonika.login(imei) + b"".join(_frame(time.time() - 10 - n) for n in range(5)))
        assert link.read(1 + 20 + len(GETVER)) == b"\x01" + ONE * 5 + GETVER  # nothing was unanswered
        link.send(GETVER_REPLY)
        wait_for(lambda: firmware(service, imei) == "03.29.00_05")


def test_the_service_restarts_and_asks_nobody_anew(service: ServiceProcess) -> None:
    imei = "356938035600003"
    with connected(service, imei) as link:
        assert link.read(len(GETVER)) == GETVER
        link.send(_answer("03.29.00_06"))
        wait_for(lambda: firmware(service, imei) == "03.29.00_06")
    assert service.stop() == 0
    service.start()
    assert firmware(service, imei) == "03.29.00_06"
    assert not_asked(service, imei)


def test_not_over_udp_nor_in_other_protocols(service: ServiceProcess) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(5)
        for number in range(3):  # answers come in order: a question between them would be read here
            link.sendto(_frame(time.time() - number, "356938035643810"), ("127.0.0.1", service.ports["teltonika"]))
            assert link.recv(100) == bytes.fromhex("0005CAFE010701")
    with Link(service, "wialon-ips") as link:
        link.send(b"#L#no-getver;NA\r\n#SD#210325;081507;NA;NA;NA;NA;NA;NA;NA;NA\r\n")
        assert link.finish() == b"#AL#1\r\n#ASD#1\r\n"


def test_switched_off_and_on_while_connected() -> None:
    base = '[[listen]]\nprotocol = "teltonika"\naddress = "127.0.0.1:<<tcp>>"\n'
    off = "[watch.firmware]\nask = false\n" + base
    with configured(off) as gateway:
        gateway.service.ports["teltonika"] = gateway.ports["tcp"]
        with connected(gateway.service, "356938035600004") as link:
            assert link.send(_frame()).read(4) == ONE
            assert "configuration reloaded" in gateway.reload(base)
            assert link.send(_frame()).read(4 + len(GETVER)) == ONE + GETVER
            assert "configuration reloaded" in gateway.reload(off)
        assert not_asked(gateway.service, "356938035600005")
        assert gateway.query("SELECT count(*) FROM version_ask") == [(1,)]
