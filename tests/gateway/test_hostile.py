"""Whatever a stranger sends: no exception, bounded memory, neighbours served, reasons counted."""

from __future__ import annotations

import itertools
import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import psycopg
import pytest

from protocols.omnicomm import declaration as omnicomm
from protocols.omnicomm.framing import server_frame
from protocols.teltonika import declaration as teltonika
from tests.gateway.wire import Link, damage, malformed, no_exception, telemetry, wait_for
from tests.harness import ServiceProcess, running_service
from tests.protocols.omnicomm_vectors import ASK, E3, E4

MIB = 1 << 20
START = int(time.time()) - 3600

LOGINS = {
    "teltonika": (teltonika.login("356938035640001"), b"\x01"),
    "omnicomm": (omnicomm.identification(40001, 312), ASK),
    "wialon-ips": (b"#L#hostile;NA\r\n", b"#AL#1\r\n"),
}


def _frame(number: int, imei: str = "") -> bytes:
    record = teltonika.avl_record(timestamp=(START + number) * 1000, latitude=10_000_000, satellites=7)
    return (teltonika.login(imei) if imei else b"") + teltonika.avl_frame(teltonika.CODEC_8, [record])


def _container(rec_id: int, imei_time: int = 0) -> bytes:
    stamp = omnicomm.omnicomm_time(START + rec_id)
    return omnicomm.container(rec_id, stamp, [{"general": {"Time": stamp, "FLG": 7}}])


def _broken(frame: bytes) -> bytes:
    return frame[:-1] + bytes([frame[-1] ^ 0x5A])


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    with running_service(DOZOR_WATCH__FIRMWARE__ASK="false") as running:
        yield running
        no_exception(running)
        assert running.stop() == 0


@pytest.fixture(autouse=True)
def _neighbour(service: ServiceProcess) -> Iterator[None]:
    """A terminal that was there before is served after."""
    with Link(service, "teltonika") as link:
        assert link.send(teltonika.login("356938035649999")).read(1) == b"\x01"
        yield
        assert link.send(_frame(random.randrange(10**6))).read(4) == bytes.fromhex("00000001")


def _rss(service: ServiceProcess) -> int:
    assert service.process is not None
    return psutil.Process(service.process.pid).memory_info().rss


@pytest.mark.parametrize("protocol", LOGINS)
@pytest.mark.parametrize("logged_in", [False, True], ids=["stranger", "logged in"])
def test_garbage_and_zeros(service: ServiceProcess, protocol: str, logged_in: bool) -> None:
    chance = random.Random(f"{protocol} {logged_in}")
    login, answer = LOGINS[protocol]
    pieces = [chance.randbytes(size) for size in (1, 7, 300, 70_000)] + [bytes(65536), b"\xff" * 5000, b"\r\n" * 3000]
    for piece in pieces:
        before = malformed(service, protocol)
        with Link(service, protocol) as link:
            if logged_in:
                assert link.send(login).read(len(answer)) == answer
            try:
                link.send(piece)
                link.socket.shutdown(socket.SHUT_WR)
                link.rest()  # it closes, whatever it thinks of that
            except OSError:  # it has closed already
                pass
        innocent = logged_in and (not piece.strip(b"\xff") and protocol == "teltonika")
        innocent |= protocol == "wialon-ips" and not piece.strip(b"\r\n")
        if not innocent:
            wait_for(lambda seen=before: sum(damage(seen, malformed(service, protocol)).values()) >= 1)


@pytest.mark.parametrize(
    ("protocol", "half", "reason"),
    [
        ("teltonika", teltonika.login("356938035640002")[:9], "truncated"),
        ("teltonika", _frame(1, "356938035640002")[:-3], "truncated"),
        ("omnicomm", omnicomm.identification(40002, 1)[:-1], "truncated"),
        ("omnicomm", omnicomm.identification(40002, 1) + _container(5)[:-2], "truncated"),
        ("wialon-ips", b"#L#half", "truncated"),
        ("wialon-ips", b"#L#half;NA\r\n#SD#210325;08150", "truncated"),
        ("teltonika", teltonika.login("356938035640003") + bytes.fromhex("00000000 00FFFFFF"), "length"),
        ("teltonika", teltonika.login("356938035640003") + bytes.fromhex("00000001 00000003"), "structure"),
        ("teltonika", b"GET / HTTP/1.1\r\n\r\n", "login"),
        ("omnicomm", _container(6), "login"),
        ("omnicomm", omnicomm.identification(40002, 1) + bytes.fromhex("c080070000000000000000"), "length"),
        ("omnicomm", omnicomm.identification(40002, 1) + b"\xc0\x86\xdb\x01", "structure"),
        ("wialon-ips", b"#SD#210325;081507;NA;NA;NA;NA;NA;NA;NA;NA\r\n", "login"),
        ("wialon-ips", b"#L#2.0;x;NA;0000\r\n", "checksum"),
        ("wialon-ips", b"#L#half;NA\r\n#QQ#1\r\n", "unsupported"),
    ],
    ids=map(str, itertools.count()),  # not the bytes: they hold the time, and two test processes must agree on names
)
def test_each_damage_has_its_reason(service: ServiceProcess, protocol: str, half: bytes, reason: str) -> None:
    before = malformed(service, protocol)
    with Link(service, protocol) as link:
        link.send(half).finish()
    wait_for(lambda: damage(before, malformed(service, protocol)) == {reason: 1})


def test_a_wrong_checksum_is_never_acknowledged(service: ServiceProcess) -> None:
    before = malformed(service, "teltonika")
    for _ in range(3):
        with Link(service, "teltonika") as link:
            link.send(teltonika.login("356938035640004") + _broken(_frame(1)))
            assert link.rest() == b"\x01"  # and closed, by the gateway
    assert damage(before, malformed(service, "teltonika")) == {"checksum": 3}
    assert telemetry(service, "356938035640004") == []


def test_teltonika_behind_damage_is_stored_and_not_acknowledged(service: ServiceProcess) -> None:
    imei = "356938035640005"
    duplicates = service.metric('dozor_records_duplicate_total{protocol="teltonika"}')
    with Link(service, "teltonika") as link:
        link.send(_frame(1, imei) + _frame(2) + _broken(_frame(3)) + _frame(4) + _frame(5))
        assert link.rest() == b"\x01" + bytes.fromhex("00000001") * 2
    wait_for(lambda: len(telemetry(service, imei)) == 4)
    with Link(service, "teltonika") as link:  # it sends again what it was not told to forget
        link.send(_frame(3, imei) + _frame(4) + _frame(5))
        assert link.read(13) == b"\x01" + bytes.fromhex("00000001") * 3
    assert [row["time"] for row in telemetry(service, imei)] == [(START + n) * 1_000_000 for n in range(1, 6)]
    assert service.metric('dozor_records_duplicate_total{protocol="teltonika"}') == duplicates + 2


def test_omnicomm_behind_damage_is_stored_and_not_acknowledged(service: ServiceProcess) -> None:
    with Link(service, "omnicomm") as link:
        link.send(omnicomm.identification(40005, 312) + _container(1) + _broken(_container(2)) + _container(3))
        assert link.rest() == ASK + server_frame(0x87, (1).to_bytes(4, "little"))
    wait_for(lambda: len(telemetry(service, "40005")) == 2)
    with Link(service, "omnicomm") as link:
        link.send(omnicomm.identification(40005, 312) + _container(2) + _container(3))
        expected = ASK + b"".join(server_frame(0x87, n.to_bytes(4, "little")) for n in (2, 3))
        assert link.read(len(expected)) == expected
    assert [row["time"] for row in telemetry(service, "40005")] == [(START + n) * 1_000_000 for n in (1, 2, 3)]


def test_omnicomm_damage_before_anything_is_acknowledged(service: ServiceProcess) -> None:
    with Link(service, "omnicomm") as link:
        link.send(omnicomm.identification(499178311, 312) + _broken(E3) + E3)
        assert link.rest() == ASK
    with Link(service, "omnicomm") as link:
        assert link.send(omnicomm.identification(499178311, 312) + E3).read(len(ASK + E4)) == ASK + E4
    assert len(telemetry(service, "499178311")) == 2


def test_wialon_goes_on_behind_damage(service: ServiceProcess) -> None:
    line = b"#SD#210325;0815%02d;5139.69024;N;03912.01722;E;57;214;157;14\r\n"
    with Link(service, "wialon-ips") as link:
        link.send(b"#L#goes-on;NA\r\n" + line % 1 + b"what is this\r\n" + line % 2 + b"#SD#bad\r\n" + line % 3)
        assert link.finish() == b"#AL#1\r\n#ASD#1\r\n#ASD#1\r\n#ASD#-1\r\n#ASD#1\r\n"
    assert len(telemetry(service, "goes-on")) == 3


def test_a_layout_of_many_long_names_is_stored(service: ServiceProcess) -> None:
    chance = random.Random(5)
    names = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=38)) for _ in range(200)]
    params = ",".join(f"{name}:1:{n}" for n, name in enumerate(names))
    line = f"#D#210325;081537;5139.59226;N;03911.84652;E;61;219;158;15;0.9;5;1;;NA;{params}\r\n".encode()
    with Link(service, "wialon-ips") as link:
        assert link.send(b"#L#long-names;NA\r\n" + line).read(14) == b"#AL#1\r\n#AD#1\r\n"
    (row,) = telemetry(service, "long-names")
    assert {name: row["measures"][f"param.{name}"] for name in names} == {name: n for n, name in enumerate(names)}
    assert service.get("/readyz")[0] == 200


def test_a_frame_that_the_store_refuses_is_answered_so(service: ServiceProcess) -> None:
    """Its neighbours are stored and acknowledged; it is kept raw, and its terminal is not told that all is well."""

    def line(second: int, speed: int) -> bytes:
        return f"#D#210325;0815{second};5354.3234;N;02731.4567;E;{speed};90;200;9;NA;NA;NA;;NA;NA\r\n".encode()

    with psycopg.connect(service.dsn, autocommit=True) as store:
        store.execute("ALTER TABLE record ADD CONSTRAINT odd CHECK (speed <> 77)")
        try:
            with Link(service, "wialon-ips") as link:
                assert link.send(b"#L#odd;NA\r\n").read(7) == b"#AL#1\r\n"
                link.send(line(10, 60) + line(11, 77) + line(12, 60))
                assert link.read(22) == b"#AD#1\r\n#AD#-1\r\n#AD#1\r\n"
        finally:
            store.execute("ALTER TABLE record DROP CONSTRAINT odd")
    assert len(telemetry(service, "odd")) == 2
    kept = "SELECT reason, data FROM quarantine WHERE terminal = 'odd'"
    assert service.query(kept) == [("store", line(11, 77).rstrip())]


def test_odd_texts_are_stored(service: ServiceProcess) -> None:
    texts = {"a": "\\u0000 written out", "b": "a\\", "c": 'quote"', "d": "\ufeff\u202e\U0001f69a", "e": "\x01\x7f"}
    params = ",".join(f"{name}:3:{text}" for name, text in texts.items())
    line = f"#D#210325;081537;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;;NA;{params}\r\n".encode()
    with Link(service, "wialon-ips") as link:
        assert link.send(b"#L#texts;NA\r\n" + line).read(14) == b"#AL#1\r\n#AD#1\r\n"
    (row,) = telemetry(service, "texts")
    assert row["measures"] == {f"param.{name}": text for name, text in texts.items()}


def test_a_thousand_idle_connections(service: ServiceProcess) -> None:
    before = _rss(service)
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(Link(service, "teltonika"))
        wait_for(lambda: service.metric('dozor_connections{protocol="teltonika"}') >= 1000)
        assert _rss(service) - before < 16 * MIB
        begun = time.monotonic()
        with Link(service, "teltonika") as link:
            link.send(_frame(1, "356938035640006"))
            assert link.read(5) == bytes.fromhex("0100000001")
        assert time.monotonic() - begun < 1.0
    wait_for(lambda: service.metric('dozor_connections{protocol="teltonika"}') <= 2)


def test_a_login_without_data(service: ServiceProcess) -> None:
    for protocol, (login, answer) in LOGINS.items():
        with Link(service, protocol) as link:
            assert link.send(login).read(len(answer)) == answer
            assert link.finish() == b""


def test_unfinished_frames_take_bounded_memory(service: ServiceProcess) -> None:
    before = _rss(service)
    head = bytes.fromhex("00000000 0000F000")
    with ExitStack() as stack:
        for n in range(200):
            link = stack.enter_context(Link(service, "teltonika"))
            assert link.send(teltonika.login(f"{356_938_035_650_000 + n}")).read(1) == b"\x01"
            link.send(head + bytes(60_000))
        assert _rss(service) - before < 200 * 150_000 + 24 * MIB
    wait_for(lambda: service.metric('dozor_connections{protocol="teltonika"}') <= 2)


def test_a_line_without_an_end_takes_bounded_memory(service: ServiceProcess) -> None:
    before = _rss(service)
    with Link(service, "wialon-ips") as link:
        assert link.send(b"#L#endless;NA\r\n").read(7) == b"#AL#1\r\n"
        for _ in range(40):
            link.send(b"#D#" + b"x" * MIB)
        assert _rss(service) - before < 16 * MIB
        link.send(b"\r\n#P#\r\n")
        assert link.read(6) == b"#AP#\r\n"


def test_a_slow_reader_is_read_no_more(service: ServiceProcess) -> None:
    before = _rss(service)
    sent = 0
    with Link(service, "wialon-ips") as link:
        assert link.send(b"#L#slow;NA\r\n").read(7) == b"#AL#1\r\n"
        link.socket.settimeout(1.0)
        pings = b"#P#\r\n" * 20_000
        try:
            while sent < 400 * MIB:
                sent += link.socket.send(pings)
        except TimeoutError:
            pass
        assert sent < 100 * MIB, "it was read on although it took no answers"
        assert _rss(service) - before < 32 * MIB


def test_datagrams_of_nonsense(service: ServiceProcess) -> None:
    chance = random.Random("datagrams")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for protocol in ("teltonika", "wialon-ips"):
            before = malformed(service, protocol)
            address = ("127.0.0.1", service.ports[protocol])
            for size in (0, 1, 5, 40, 1400, 60_000):
                out.sendto(chance.randbytes(size), address)
            wait_for(lambda p=protocol, b=before: sum(damage(b, malformed(service, p)).values()) >= 5)
