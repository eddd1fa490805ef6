"""Relays over real sockets: login, data, ack after the commit, commands, many terminals on one socket."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from protocols.egts import commands as egts_commands
from protocols.egts import declaration as egts
from protocols.egts import wire
from protocols.wialon_combine import declaration as combine
from protocols.wialon_combine import wire as combine_wire
from protocols.wialon_retranslator import wire as retranslator
from tests.gateway.wire import Link, ask_udp, no_exception, telemetry, wait_for
from tests.harness import ServiceProcess, free_port, running_service
from tests.protocols import egts_vectors as vectors
from tests.protocols import wialon_combine_vectors as combined
from tests.protocols import wialon_retranslator_vectors as passed_on

LISTENED = ("egts", "wialon-retranslator", "wialon-combine")
COUNTER = wire.subrecord(wire.ABS_COUNTER, b"\1\5\0\0")
_NOW = int(time.time()) - wire.EPOCH


@contextmanager
def serving(**environment: str) -> Iterator[ServiceProcess]:
    """A service that listens for them."""
    ports = {name: free_port() for name in LISTENED}
    listen = ",".join(f"{name}=127.0.0.1:{port}" for name, port in ports.items())
    listen += f",wialon-combine/udp=127.0.0.1:{ports['wialon-combine']}"
    with running_service(DOZOR_LISTEN=listen, DOZOR_WATCH__FIRMWARE__ASK="false", **environment) as running:
        running.ports.update(ports)
        yield running
        no_exception(running)


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    with serving(DOZOR_LIMITS__REGISTRATIONS_PER_MINUTE_PER_ADDRESS="0") as running:
        yield running


def position(at: int, **told: int) -> bytes:
    """POS_DATA, some seconds after now."""
    given = {"ntm": _NOW + at, "lat": 1 << 30, "long": 1 << 29, "flags": 1, "spd": 0, "dir": 0, "odm": 0, "din": 0}
    return egts.subrecords((wire.POS_DATA, egts.POS_DATA, {**given, "src": 0, **told}))


def packet(number: int, *records: bytes) -> bytes:
    return wire.packet(number, wire.APPDATA, b"".join(records))


def answers(link: Link) -> tuple[int, int, dict[int, int]]:
    """The next packet, a RESPONSE: of which packet, its result, and those of records."""
    head = link.read(wire.HEAD)
    assert wire.crc8(head[:10]) == head[10], head
    assert head[9] == wire.RESPONSE
    body = link.read(int.from_bytes(head[5:7], "little") + 2)[:-2]
    records, bad = wire.records(body, 3, len(body))
    assert bad < 0
    told = [content for one in records for _, content in wire.subrecords(body[one.at : one.end])]
    return int.from_bytes(body[:2], "little"), body[2], {c[0] | c[1] << 8: c[2] for c in told}


@contextmanager
def logged_in(service: ServiceProcess, tid: int, **told: int) -> Iterator[Link]:
    with Link(service, "egts") as link:
        link.send(egts.login(tid, **told))
        assert answers(link) == (1, 0, {1: 0})
        assert link.read(len(vectors.LET_IN)) == vectors.LET_IN
        yield link


@contextmanager
def hanging(service: ServiceProcess) -> Iterator[None]:
    """The store answers nothing, and nobody is told so."""
    server = psutil.Process(service.postgres_pid())
    stopped = [server, *server.children(recursive=True)]
    for one in stopped:
        one.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for one in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("step", [0, 7])
def test_the_worked_conversation(service: ServiceProcess, step: int) -> None:
    with Link(service, "egts") as link:
        told = vectors.LOGIN_RESPONSE + vectors.LET_IN
        assert link.send(vectors.LOGIN, step).read(len(told)) == told
        link.send(vectors.LET_IN_RESPONSE, step)
        assert link.send(vectors.DATA, step).read(len(vectors.DATA_RESPONSE)) == vectors.DATA_RESPONSE
        rows = telemetry(service, "4815162")
        assert [row["time"] for row in rows] == [1_730_798_070_000_000, 1_730_798_115_000_000]
        assert (rows[0]["speed"], rows[0]["course"], rows[0]["satellites"]) == (73.4, 301, 15)
        assert (rows[0]["measures"]["fuel.level.1"], rows[0]["measures"]["fuel.status.3"]) == (2317, 65530)
        assert (rows[1]["valid"], rows[1]["archive"]) == (True, True)
        link.send(vectors.DATA, step)  # a resend is confirmed as well, and adds nothing
        assert answers(link) == (3, 0, {3: 0, 4: 0})
        assert len(telemetry(service, "4815162")) == 2
        spoilt = bytearray(vectors.DATA)
        spoilt[40] ^= 1
        link.send(bytes(spoilt))
        assert answers(link) == (3, wire.DATA_CRC, {})
        assert link.finish() == b""
    firmware = "SELECT firmware FROM terminal WHERE identity = '4815162'"
    wait_for(lambda: service.query(firmware) == [("4.41",)])


@pytest.mark.parametrize(("text", "state"), [("get firmware", "done"), ("run restart", "failed")])
def test_a_command_goes_out_and_its_confirmation_settles_it(service: ServiceProcess, text: str, state: str) -> None:
    tid = 100 + len(text)
    with logged_in(service, tid) as link:
        link.send(packet(2, wire.record(2, wire.TELEDATA, position(tid))))
        assert answers(link) == (2, 0, {2: 0})
        assert service.command("terminal", "send", str(tid), text).returncode == 0
        head = link.read(wire.HEAD)
        body = link.read(int.from_bytes(head[5:7], "little") + 2)[:-2]
        (one,), _ = wire.records(body, 0, len(body))
        assert one.service == wire.COMMANDS
        ((kind, asked),) = wire.subrecords(body[one.at : one.end])
        assert kind == wire.COMMAND_DATA
        typed = egts_commands.read(text)
        assert (asked[12], asked[13:15]) == (typed.action, typed.code.to_bytes(2, "little"))
        result = 0x10 | (0 if state == "done" else 2)
        told = wire.subrecord(wire.COMMAND_DATA, bytes((result,)) + asked[1:9] + bytes(3) + asked[13:15] + b"7.02")
        link.send(wire.response(3, 3, int.from_bytes(head[7:9], "little"), 0, [(one.number, one.service, 0)]))
        link.send(packet(4, wire.record(4, wire.COMMANDS, told)))
        assert answers(link) == (4, 0, {4: 0})
        query = "SELECT state, result FROM command WHERE terminal = (SELECT id FROM terminal WHERE identity = %s)"
        wait_for(lambda: service.query(query, str(tid)) == [(state, "7.02")])


def test_a_thousand_terminals_on_one_socket_and_one_beside_them(service: ServiceProcess) -> None:
    with Link(service, "egts") as relay, logged_in(service, 77) as alone:
        packets = [
            packet(n, *[wire.record(i, wire.TELEDATA, position(i), oid=700_000 + 10 * n + i) for i in range(10)])
            for n in range(1, 101)
        ]
        relay.send(b"".join(packets))
        alone.send(packet(2, wire.record(2, wire.TELEDATA, position(1))))
        begun = time.monotonic()
        assert answers(alone) == (2, 0, {2: 0})
        assert time.monotonic() - begun < 3
        heard = [answers(relay) for _ in packets]
        assert heard == [(n, 0, dict.fromkeys(range(10), 0)) for n in range(1, 101)]
        count = "SELECT count(*), count(DISTINCT terminal) FROM telemetry WHERE terminal LIKE '70____'"
        assert service.query(count) == [(1000, 1000)]
        connected = "SELECT count(*) FROM connection WHERE terminal LIKE '70____' AND closed_at IS NULL"
        wait_for(lambda: service.query(connected) == [(1000,)])
        relay.send(packets[0])
        assert answers(relay) == heard[0]
        assert service.query(count) == [(1000, 1000)]
    wait_for(lambda: service.query(connected) == [(0,)])


def test_with_the_store_hanging_an_answer_comes_within_five_seconds(service: ServiceProcess) -> None:
    with logged_in(service, 900) as link:
        link.send(packet(2, wire.record(2, wire.TELEDATA, position(1))))
        assert answers(link) == (2, 0, {2: 0})
        with hanging(service):
            begun = time.monotonic()
            known = wire.record(3, wire.TELEDATA, position(2))
            link.send(packet(3, known, wire.record(4, wire.TELEDATA, position(2), oid=901)))
            assert answers(link) == (3, 0, {3: 0, 4: 0})
            assert time.monotonic() - begun < 5
        for name, count in (("900", 2), ("901", 1)):
            wait_for(lambda name=name, count=count: len(telemetry(service, name)) == count, 20)


def test_when_nothing_keeps_it_the_terminal_is_told_to() -> None:
    with serving(DOZOR_SPOOL__MAX_SIZE="64KiB") as service, logged_in(service, 910) as link:
        link.send(packet(2, wire.record(2, wire.TELEDATA, position(1))))
        assert answers(link) == (2, 0, {2: 0})
        with hanging(service):
            begun = time.monotonic()
            number = 3
            while True:
                records = [wire.record(i, wire.TELEDATA, position(number * 300 + i)) for i in range(300)]
                link.send(packet(number, *records))
                told = answers(link)
                assert time.monotonic() - begun < 5
                if told[1]:
                    break
                assert told == (number, 0, dict.fromkeys(range(300), 0))
                number += 1
                begun = time.monotonic()
            assert told == (number, wire.NO_RESOURCES, dict.fromkeys(range(300), wire.NO_RESOURCES))
            assert link.rest() == b"", "and the connection ends"
        wait_for(lambda: len(telemetry(service, "910")) == 1 + 300 * (number - 3), 30)


def test_known_terminals_alone_are_let_in_each_by_itself() -> None:
    with serving(DOZOR_LOGIN__POLICY="known") as service:
        assert service.command("terminal", "add", "920").returncode == 0
        with Link(service, "egts") as link:
            link.send(egts.login(921))
            assert answers(link) == (1, 0, {1: 0})
            refusal = link.rest()
            assert refusal[wire.HEAD + 10] == wire.ID_UNKNOWN
        with Link(service, "egts") as relay:
            mixed = [wire.record(n, wire.TELEDATA, position(n), oid=oid) for n, oid in ((1, 920), (2, 921), (3, 920))]
            relay.send(packet(1, *mixed))
            assert answers(relay) == (1, 0, {1: 0, 2: wire.OBJECT_UNKNOWN, 3: 0})
            assert service.query("SELECT terminal FROM telemetry GROUP BY 1") == [("920",)]
            assert service.query("SELECT count(*) FROM quarantine") == [(0,)]


@pytest.mark.parametrize("step", [0, 7])
def test_what_another_platform_passes_on_is_of_each_object(service: ServiceProcess, step: int) -> None:
    with Link(service, "wialon-retranslator") as link:
        for packet_ in (passed_on.POSITION, passed_on.ALARM, passed_on.SOUTH_WEST, passed_on.POSITION):
            assert link.send(packet_, step).read(1) == b"\x11"
        first, second = telemetry(service, "861472050987321")
        assert (first["lat"], first["lon"], first["measures"]["power.external"]) == (55.7520123, 37.6175432, 27.84)
        assert (second["lat"], second["measures"]) == (-34.6037345, {"driver.key": "0000A1B2C3D4"})
        (third,) = telemetry(service, "KT20X-0007")
        assert (third["valid"], third["measures"]["odometer"]) == (False, 148_356_210)
        link.send(bytes(20))
        assert link.rest() == b"", "what is no packet is not answered"
    told = "SELECT firmware FROM terminal WHERE identity = 'KT20X-0007'"
    wait_for(lambda: service.query(told) == [("3.4.19",)])


def test_objects_that_are_not_known_are_kept_until_they_are() -> None:
    with serving(DOZOR_LOGIN__POLICY="known") as service:
        assert service.command("terminal", "add", "KNOWN").returncode == 0
        with Link(service, "wialon-retranslator") as link:
            content = [retranslator.block("odom_m", *retranslator.number(5))]
            for uid in ("KNOWN", "NEW", "KNOWN"):
                link.send(retranslator.packet(uid, int(time.time()) - len(uid), 0, content))
            assert link.read(3) == b"\x11" * 3
            assert service.query("SELECT terminal, reason FROM quarantine") == [("NEW", "unregistered")]
            assert service.command("terminal", "add", "NEW").returncode == 0
            wait_for(lambda: [row["measures"] for row in telemetry(service, "NEW")] == [{"odometer": 5}])
            assert service.query("SELECT count(*) FROM quarantine") == [(0,)]


@pytest.mark.parametrize("step", [0, 7])
def test_a_conversation_in_combine(service: ServiceProcess, step: int) -> None:
    imei = "862531045219738"
    with Link(service, "wialon-combine") as link:
        assert link.send(combined.LOGIN, step).read(5) == combined.LOGIN_ACK
        for _ in range(2):  # a resend is acknowledged as well, and adds nothing
            assert link.send(combined.DATA, step).read(5) == combined.DATA_ACK
            first, second = telemetry(service, imei)
        assert (first["lat"], first["measures"]["param.200"], second["lon"]) == (51.661504, 138.7, -18.421904)
        assert link.send(combined.ALIVE).read(5) == combine_wire.answer(0, 3)
        spoilt = combined.DATA[:-1] + bytes((combined.DATA[-1] ^ 1,))
        assert link.send(spoilt).read(5) == combine_wire.answer(combine_wire.CHECKSUM, 2)
        assert service.command("terminal", "send", imei, f"status {step}").returncode == 0
        head = link.read(5)
        assert head[:3] == b"@@\xff"
        rest = link.read(int.from_bytes(head[3:5], "big") + 2)
        assert rest[5:-2] == f"status {step}\n".encode()
        answer = combine.message(int(time.time()), [combine_wire.put(combine_wire.MESSAGE, 1) + b"all is well\0"])
        assert link.send(combine_wire.packet(combine_wire.DATA, 9, answer)).read(5) == combine_wire.answer(0, 9)
        query = "SELECT result FROM command WHERE text = %s AND state = 'done'"
        wait_for(lambda: service.query(query, f"status {step}") == [("all is well",)])
        assert link.finish() == b""
    assert service.query("DELETE FROM record WHERE time > now() - interval '1 day' RETURNING 1")


def test_combine_in_datagrams(service: ServiceProcess) -> None:
    content = combine.message(int(time.time()), [combine.listed(0, [(1, 0, 9)])])
    datagram = combine.login("udp-1", 4) + combine_wire.packet(combine_wire.DATA, 5, content)
    assert ask_udp(service, "wialon-combine", datagram) == combine_wire.answer(0, 4)
    wait_for(lambda: [row["measures"] for row in telemetry(service, "udp-1")] == [{"param.1": 9}])
