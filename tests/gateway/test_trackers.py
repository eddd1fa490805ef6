"""Trackers over real sockets, from the first word to the answer of a command: rows by value, acks after the commit.

These protocols number the server's words or answer little, so that each conversation is written out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from protocols.gt06 import declaration as gt06
from protocols.gt06 import wire as gt06_wire
from protocols.h02 import declaration as h02
from protocols.jt808 import declaration as jt808
from protocols.jt808.wire import head_of, unescape, xor
from protocols.osmand import declaration as osmand
from protocols.registry import protocol
from protocols.tk103 import declaration as tk103
from tests.gateway.wire import Link, ask_udp, malformed, no_exception, telemetry, wait_for
from tests.harness import ServiceProcess, free_port, running_service

NAMES = ("jt808", "gt06", "h02", "tk103", "osmand")
NOW = int(time.time()) - 600


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    ports = {name: free_port() for name in NAMES}
    listen = [
        f"{name}{'' if over == 'tcp' else '/udp'}=127.0.0.1:{port}"
        for name, port in ports.items()
        for over in protocol(name).transports
    ]
    with running_service(DOZOR_LISTEN=",".join(listen), DOZOR_WATCH__FIRMWARE__ASK="false") as running:
        running.ports.update(ports)
        yield running
        no_exception(running)


def stored(service: ServiceProcess, terminal: str) -> list[dict[str, Any]]:
    return telemetry(service, terminal)


def command(service: ServiceProcess, terminal: str, text: str) -> None:
    assert service.command("terminal", "send", terminal, text).returncode == 0


def becomes(service: ServiceProcess, state: str, result: str) -> None:
    """The last command."""
    query = "SELECT state, result FROM command ORDER BY id DESC LIMIT 1"
    wait_for(lambda: service.query(query) == [(state, result)])


# -- JT/T 808 ----------------------------------------------------------------------------------------------------------

PHONE = "013912345678"
_PHONE = bytes.fromhex(PHONE)


def word(link: Link) -> tuple[int, int, bytes]:
    """The server's next message: id, serial, body."""
    told = link.read(1)
    while told.count(b"~") < 2:
        piece = link.read(1)
        assert piece, "closed"
        told += piece
    data = unescape(told[1:-1])
    assert data is not None
    assert xor(data) == 0
    head = head_of(data)
    assert head is not None
    return head.id, head.serial, data[head.start : -1]


def place(offset: int, **more: Any) -> bytes:
    told: dict[str, Any] = {
        "status": 3,
        "latitude": 55.752012,
        "longitude": 37.617543,
        "altitude": 168,
        "speed": 613,
        "direction": 274,
    }
    items = [(1, (148356).to_bytes(4, "big")), (2, (382).to_bytes(2, "big")), (0x31, b"\x0b")]
    whole: dict[str, Any] = {"time": NOW + offset, "items": items} | told | more
    return jt808.location(**whole)


@pytest.mark.parametrize("step", [0, 1])
def test_jt808(service: ServiceProcess, step: int) -> None:
    phone = _PHONE[:-1] + bytes((0x70 + step,))
    name = phone.hex()

    def say(message: int, serial: int, body: bytes = b"") -> bytes:
        return jt808.frame(message, phone, serial, body)

    with Link(service, "jt808") as link:
        registration = jt808.registration(model="KT-20X", terminal="0A1B2C3", plate="A123BC77")
        link.send(say(0x0100, 1, registration), step)
        message, _, body = word(link)
        assert (message, body[:3]) == (0x8100, b"\0\1\0")
        code = body[3:]
        assert link.send(say(0x0102, 2, code), step) and word(link)[::2] == (0x8001, b"\0\2\1\2\0")  # noqa: PT018
    with Link(service, "jt808") as link:
        link.send(say(0x0102, 3, code), step)
        assert word(link)[::2] == (0x8001, b"\0\3\1\2\0")
        link.send(say(0x0200, 4, place(0)), step)
        assert word(link)[::2] == (0x8001, b"\0\4\2\0\0")
        (row,) = stored(service, name)
        assert row == {
            "time": NOW * 1_000_000, "lat": 55.752012, "lon": 37.617543, "altitude": 168, "speed": 61.3, "course": 274,
            "satellites": 11, "valid": True, "archive": False,
            "measures": {"ignition": 1, "alarms": 0, "status": 3, "odometer": 14_835_600, "fuel.gauge": 38.2},
        }  # fmt: skip
        several = jt808.frames(0x0704, phone, 5, jt808.batch([place(n) for n in range(30)]))
        assert len(several) > 1
        for one in several:
            link.send(one, step)
        assert [word(link)[2] for _ in several] == [(5 + n).to_bytes(2, "big") + b"\7\4\0" for n in range(len(several))]
        assert [row["time"] for row in stored(service, name)] == [(NOW + n) * 1_000_000 for n in range(30)]
        assert [row["archive"] for row in stored(service, name)] == [False] + [True] * 29  # the first was there
        bad = place(40)[:22] + b"\x99" * 6 + place(40)[28:]
        link.send(say(0x0200, 20, bad), step)
        assert word(link)[2] == b"\0\x14\2\0\2"  # kept raw
        before = malformed(service, "jt808")["checksum"]
        spoilt = say(0x0200, 21, place(50))
        link.send(spoilt[:20] + b"\x55" + spoilt[21:] + say(0x0002, 22), step)
        assert word(link)[2] == b"\0\x16\0\2\0"  # nothing for the damaged one
        assert malformed(service, "jt808")["checksum"] == before + 1
        command(service, name, "attributes")
        message, _, body = word(link)
        assert (message, body) == (0x8107, b"")
        link.send(say(0x0107, 23, jt808.attributes(model="KT-20X", firmware="V3.4.19", iccid="8" * 20)), step)
        assert word(link)[2] == b"\0\x17\1\7\0"
        query = "SELECT firmware, model_told FROM terminal WHERE identity = %s"
        wait_for(lambda: service.query(query, name) == [("V3.4.19", "KT-20X")])
        command(service, name, "VERSION")
        message, serial, body = word(link)
        assert (message, body[1:]) == (0x8300, b"VERSION")
        link.send(say(0x0001, 24, serial.to_bytes(2, "big") + b"\x83\0\0"), step)
        assert word(link)[2] == b"\0\x18\0\1\0"
        becomes(service, "done", "0x8300: done")
        assert link.finish() == b""
    assert len(stored(service, name)) == 30


def test_jt808_codes_are_checked(service: ServiceProcess) -> None:
    for first in (jt808.frame(0x0102, _PHONE, 1, b"AK7f3Q9Z"), jt808.frame(0x0200, _PHONE, 1, place(0))):
        with Link(service, "jt808") as link:
            link.send(first)
            assert word(link)[2][4] == 1
            assert link.rest() == b""
    assert stored(service, PHONE) == []


# -- GT06 --------------------------------------------------------------------------------------------------------------


def spot(offset: int, serial: int, *, again: int = 0) -> bytes:
    told = gt06.place(time=NOW + offset, latitude=55.75, longitude=-37.5, satellites=11, speed=61, course=274)
    added = bytes((1, 0, again)) + (148_356).to_bytes(4, "big")
    return gt06_wire.frame(0x22, told + gt06.cell() + added, serial)


def echo(protocol: int, serial: int) -> bytes:
    return gt06_wire.frame(protocol, b"", serial)


@pytest.mark.parametrize("step", [0, 1])
def test_gt06(service: ServiceProcess, step: int) -> None:
    name = f"86147205098732{step}"
    with Link(service, "gt06") as link:
        assert link.send(gt06.login(name, 1), step).read(10) == echo(1, 1)
        # Nothing answers a place; what answers the heartbeat behind it comes after the commit.
        assert link.send(spot(0, 2) + spot(1, 3) + gt06.heartbeat(4), step).read(10) == echo(0x13, 4)
        assert stored(service, name)[0] == {
            "time": NOW * 1_000_000, "lat": 55.75, "lon": -37.5, "altitude": None, "speed": 61, "course": 274,
            "satellites": 11, "valid": True, "archive": False,
            "measures": {
                "ignition": 1, "upload.mode": 0, "odometer": 148_356, "gsm.area": 8092, "gsm.cell": 42194,
                "gsm.operator": 25001,
            },
        }  # fmt: skip
        alarm = (
            gt06.place(time=NOW + 2, latitude=55.75, longitude=37.5) + b"\x09" + gt06.cell() + b"\x54\x03\x04\x02\x02"
        )
        assert link.send(gt06_wire.frame(0x26, alarm, 5), step).read(10) == echo(0x26, 5)
        assert [row["measures"].get("event") for row in stored(service, name)] == [None, None, 2]
        assert link.send(spot(0, 6, again=1) + gt06.heartbeat(7), step).read(10) == echo(0x13, 7)
        assert len(stored(service, name)) == 3  # told again
        before = malformed(service, "gt06")["checksum"]
        spoilt = spot(9, 8)
        damaged = spoilt[:20] + b"\x55" + spoilt[21:]
        assert link.send(damaged + spot(3, 9) + gt06.heartbeat(10), step).read(10) == echo(0x13, 10)
        assert malformed(service, "gt06")["checksum"] == before + 1
        assert [row["time"] // 1_000_000 - NOW for row in stored(service, name)] == [0, 1, 2, 3]
        command(service, name, "VERSION")
        told = link.read(gt06_wire.SHORTEST + 15)
        assert gt06_wire.parts_of(told) == (0x80, b"\x0c\0\0\0\1VERSION#\0\2")
        link.send(gt06.answer("[VERSION]GT06N_20_61DM2_V12[IMEI]1", 1, 11), step)
        becomes(service, "done", "[VERSION]GT06N_20_61DM2_V12[IMEI]1")
        assert link.finish() == b""
    query = "SELECT firmware FROM terminal WHERE identity = %s"
    wait_for(lambda: service.query(query, name) == [("GT06N_20_61DM2_V12",)])


# -- H02, TK103 --------------------------------------------------------------------------------------------------------


def stamp(offset: int) -> str:
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(NOW + offset))


@pytest.mark.parametrize("step", [0, 1])
def test_h02(service: ServiceProcess, step: int) -> None:
    name = f"816800041{step}"

    def say(offset: int) -> bytes:
        return h02.place(name, time=NOW + offset, lat=55.75, lon=-37.5, knots=30, course=274)

    def ack(offset: int) -> bytes:
        return h02.word(name, "V4", "V1", stamp(offset))

    with Link(service, "h02") as link:
        for offset in (0, 1, 0):  # the last one is a resend
            assert link.send(say(offset) + b"\r\n", step).read(len(ack(offset))) == ack(offset)
            assert stored(service, name)[0]["time"] == NOW * 1_000_000
        first, second = stored(service, name)
        assert first == {
            "time": NOW * 1_000_000, "lat": 55.75, "lon": -37.5, "altitude": None, "speed": 55.56, "course": 274,
            "satellites": None, "valid": True, "archive": False,
            "measures": {
                "ignition": 1, "status.word": 0xFFFFFFFF, "gsm.operator": 25001, "gsm.area": 8092, "gsm.cell": 42194,
            },
        }  # fmt: skip
        assert second["time"] == (NOW + 1) * 1_000_000
        before = malformed(service, "h02")["truncated"]
        assert link.send(say(2)[:40] + say(3), step).read(len(ack(3))) == ack(3)
        assert malformed(service, "h02")["truncated"] == before + 1
        command(service, name, "D1,5,1")
        told = link.read(len(f"*HQ,{name},D1,120000,5,1#"))
        assert (told[:18], told[-5:]) == (f"*HQ,{name},D1,".encode(), b",5,1#")
        receipt = h02.word(name, "V4", "D1", "120000")
        link.send(receipt, step)
        becomes(service, "done", receipt.decode())
        assert link.finish() == b""
    assert ask_udp(service, "h02", say(4)) == ack(4)
    assert len(stored(service, name)) == 4


@pytest.mark.parametrize("step", [0, 1])
def test_tk103(service: ServiceProcess, step: int) -> None:
    name = f"08804800334{step}"

    def say(offset: int, kind: str = "BP05") -> bytes:
        return tk103.place(
            name, time=NOW + offset, lat=55.75, lon=-37.5, speed=61, fuel=1893, odometer=148, command=kind
        )

    ack = tk103.word(name, "AP05")
    with Link(service, "tk103") as link:
        shaken = tk103.word(name, "AP01", "HSO")
        assert link.send(tk103.word(name, "BP00", "HSO"), step).read(len(shaken)) == shaken
        for offset in (0, 1, 0):
            assert link.send(say(offset), step).read(len(ack)) == ack
        first, second = stored(service, name)
        assert first == {
            "time": NOW * 1_000_000, "lat": 55.75, "lon": -37.5, "altitude": None, "speed": 61, "course": 0,
            "satellites": None, "valid": True, "archive": False,
            "measures": {"charge": 0, "ignition": 0, "inputs": 0, "fuel.level.1": 1893, "odometer": 148},
        }  # fmt: skip
        assert second["time"] == (NOW + 1) * 1_000_000
        before = malformed(service, "tk103")["truncated"]
        assert link.send(say(2)[:40] + say(3, "BR00") + say(4), step).read(len(ack)) == ack
        assert malformed(service, "tk103")["truncated"] == before + 1
        assert len(stored(service, name)) == 4
        command(service, name, "AR010005")
        told = tk103.word(name, "AR010005")
        assert link.read(len(told)) == told
        answer = tk103.word(name, "BR01", "OK")
        link.send(answer, step)
        becomes(service, "done", answer.decode())
        assert link.finish() == b""
    assert ask_udp(service, "tk103", say(5)) == ack
    assert len(stored(service, name)) == 5


# -- OsmAnd ------------------------------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("step", [0, 1])
def test_osmand(service: ServiceProcess, step: int) -> None:
    name = f"phone-{step}"

    def say(offset: int, **more: Any) -> bytes:
        told: dict[str, Any] = {
            "id": name,
            "timestamp": NOW + offset,
            "lat": 55.75,
            "lon": -37.5,
            "speed": 30,
            "fuel1": 1893,
        }
        return osmand.get(**(told | more))

    with Link(service, "osmand") as link:
        assert link.send(osmand.get(id=name), step).read(len(OK)) == OK  # nothing but a greeting
        for offset in (0, 1, 0):
            assert link.send(say(offset), step).read(len(OK)) == OK
        first, second = stored(service, name)
        assert first == {
            "time": NOW * 1_000_000, "lat": 55.75, "lon": -37.5, "altitude": None, "speed": 55.56, "course": None,
            "satellites": None, "valid": True, "archive": False, "measures": {"param.fuel1": 1893},
        }  # fmt: skip
        assert second["time"] == (NOW + 1) * 1_000_000
        assert link.send(say(2, lat="x"), step).read(12) == b"HTTP/1.1 400"
        link.read(len(b" Bad Request\r\nContent-Length: 0\r\n\r\n"))
        body = say(3).partition(b"?")[2].partition(b" ")[0]
        form = osmand.post(body, "application/x-www-form-urlencoded")
        assert link.send(form + say(4) + say(5, id=f"{name}-other"), step).read(3 * len(OK)) == 3 * OK
        assert [row["time"] // 1_000_000 - NOW for row in stored(service, name)] == [0, 1, 3, 4]
        assert len(stored(service, f"{name}-other")) == 1
        assert link.send(b"GET / HTTP/1.1\r\nbad\r\n\r\n", step).rest().startswith(b"HTTP/1.1 400")
    assert service.command("terminal", "send", name, "anything").returncode != 0
