"""Who may speak, for how long, how often."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocols.omnicomm import declaration as omnicomm
from protocols.omnicomm.framing import server_frame
from protocols.teltonika import declaration as teltonika
from tests.gateway.wire import Link, ask_udp, damage, malformed, no_exception, telemetry, wait_for
from tests.harness import ServiceProcess, running_service
from tests.protocols.omnicomm_vectors import ASK

ONE = bytes.fromhex("00000001")
START = int(time.time()) - 7200


def _frame(number: int) -> bytes:
    record = teltonika.avl_record(timestamp=(START + number) * 1000, latitude=10_000_000, satellites=7)
    return teltonika.avl_frame(teltonika.CODEC_8, [record])


def _datagram(number: int, imei: str) -> bytes:
    record = teltonika.avl_record(timestamp=(START + number) * 1000, latitude=10_000_000, satellites=7)
    return teltonika.udp_datagram(teltonika.avl_payload(teltonika.CODEC_8, [record]), imei, avl_id=7)


def _times(service: ServiceProcess, terminal: str) -> list[int]:
    return [row["time"] // 1_000_000 - START for row in telemetry(service, terminal)]


def _listed(service: ServiceProcess) -> dict[str, dict[str, str | None]]:
    done = service.command("terminal", "list", "--json")
    assert done.returncode == 0, done.stderr
    return {row["terminal"]: row for row in map(json.loads, done.stdout.splitlines())}


# -- policy "quarantine" ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quarantining() -> Iterator[ServiceProcess]:
    with running_service(DOZOR_LOGIN__POLICY="quarantine", DOZOR_WATCH__FIRMWARE__ASK="false") as running:
        yield running
        no_exception(running)


def test_blanks_around_an_identity_are_no_part_of_it(quarantining: ServiceProcess) -> None:
    """On the wire and in the registry it is one terminal."""
    service = quarantining
    for written in (b" 350000000000001 ", b"350000000000001"):
        with Link(service, "wialon-ips") as link:
            assert link.send(b"#L#" + written + b";NA\r\n").read(7) == b"#AL#1\r\n"
    assert service.command("terminal", "add", " 350000000000001").returncode == 0
    assert [name for name in _listed(service) if "350000000000001" in name] == ["350000000000001"]
    with Link(service, "wialon-ips") as link:
        assert link.send(b"#L#  350000000000001\t;NA\r\n#D#210325;081537;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;;NA;NA\r\n")
        assert link.read(14) == b"#AL#1\r\n#AD#1\r\n"
    assert len(telemetry(service, "350000000000001")) == 1, "what the registered one sends is stored as records"


def test_quarantined_frames_are_acknowledged_and_appear_after_registration(quarantining: ServiceProcess) -> None:
    service, imei = quarantining, "356938035660001"
    with Link(service, "teltonika") as link:
        link.send(teltonika.login(imei) + b"".join(_frame(n) for n in range(3)))
        assert link.read(13) == b"\x01" + ONE * 3
        link.send(_frame(1))  # a resend is kept once
        assert link.read(4) == ONE
        assert telemetry(service, imei) == []
        kept = service.query("SELECT count(*) FROM quarantine WHERE terminal = %s AND reason = 'unregistered'", imei)
        assert kept == [(3,)]
        assert imei not in _listed(service)
        done = service.command("terminal", "add", imei, "--protocol", "teltonika", "--name", "Truck 7")
        assert (done.returncode, done.stdout) == (0, "1 registered\n"), done.stderr
        wait_for(lambda: _times(service, imei) == [0, 1, 2])
        link.send(_frame(3))  # the same connection, live now
        assert link.read(4) == ONE
        assert _times(service, imei) == [0, 1, 2, 3]
    assert service.query("SELECT count(*) FROM quarantine WHERE terminal = %s", imei) == [(0,)]
    wait_for(lambda: service.query("SELECT imei FROM terminal WHERE identity = %s", imei) == [(imei,)])
    assert _listed(service)[imei] == {
        "terminal": imei, "protocol": "teltonika", "model": None, "name": "Truck 7", "firmware": None,
        **dict.fromkeys(("operator", "customer", "site", "region", "stage_until", "firmware_target")),
        "stage": "in_use",
    }  # fmt: skip
    assert service.metric('dozor_frames_quarantined_total{protocol="teltonika",reason="unregistered"}') == 4
    assert service.metric('dozor_logins_total{protocol="teltonika",result="quarantined"}') == 1


def test_a_terminal_registered_before_its_first_frame(quarantining: ServiceProcess) -> None:
    with Link(quarantining, "omnicomm") as link:
        assert link.send(omnicomm.identification(66002, 277)).read(len(ASK)) == ASK
        assert quarantining.command("terminal", "add", "66002").returncode == 0
        wait_for(lambda: quarantining.query("SELECT firmware FROM terminal WHERE identity = '66002'") == [("277",)])
        stamp = omnicomm.omnicomm_time(START)
        link.send(omnicomm.container(1, stamp, [{"general": {"Time": stamp, "FLG": 0}}]))
        answer = server_frame(0x87, (1).to_bytes(4, "little"))
        assert link.read(len(answer)) == answer
    assert len(telemetry(quarantining, "66002")) == 1


def test_what_it_told_before_it_was_registered_is_noted_then(quarantining: ServiceProcess) -> None:
    """At its login or in a record's parameters; also when it is gone again."""
    service = quarantining
    with Link(service, "wialon-ips") as link:
        link.send(b"#L#66003;NA\r\n#D#NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;;NA;fw:3:2.0,hw:3:Box\r\n")
        assert link.read(14) == b"#AL#1\r\n#AD#1\r\n"
    with Link(service, "omnicomm") as link:
        assert link.send(omnicomm.identification(66004, 301)).read(len(ASK)) == ASK
    for terminal in ("66003", "66004"):
        assert service.command("terminal", "add", terminal).returncode == 0
    told = "SELECT firmware, model_told, protocol FROM terminal WHERE identity IN ('66003', '66004') ORDER BY identity"
    wait_for(lambda: service.query(told) == [("2.0", "Box", "wialon-ips"), ("301", None, "omnicomm")])


def test_registered_while_frames_keep_coming(quarantining: ServiceProcess) -> None:
    imei, total = "356938035660003", 600
    with Link(quarantining, "teltonika") as link:
        assert link.send(teltonika.login(imei)).read(1) == b"\x01"
        for n in range(total):
            if n == total // 3:
                quarantining.query(
                    "WITH t AS (INSERT INTO terminal (identity) VALUES (%s) RETURNING identity) "
                    "SELECT pg_notify('dozor_terminal', identity) FROM t",
                    imei,
                )
            assert link.send(_frame(n)).read(4) == ONE
    wait_for(lambda: _times(quarantining, imei) == list(range(total)))
    assert quarantining.query("SELECT count(*) FROM quarantine WHERE terminal = %s", imei) == [(0,)]


def test_quarantined_datagrams(quarantining: ServiceProcess) -> None:
    imei = "356938035660004"
    for n in range(3):
        assert ask_udp(quarantining, "teltonika", _datagram(n, imei)) == bytes.fromhex("0005CAFE010701")
    assert telemetry(quarantining, imei) == []
    assert quarantining.command("terminal", "add", imei).returncode == 0
    wait_for(lambda: _times(quarantining, imei) == [0, 1, 2])
    assert ask_udp(quarantining, "teltonika", _datagram(3, imei)) == bytes.fromhex("0005CAFE010701")
    assert _times(quarantining, imei) == [0, 1, 2, 3]


def test_quarantined_black_box_and_damaged_members(quarantining: ServiceProcess) -> None:
    with Link(quarantining, "wialon-ips") as link:
        body = "210325;081600;NA;NA;NA;NA;NA;NA;NA;NA|nonsense|210325;081601;NA;NA;NA;NA;NA;NA;NA;NA"
        link.send(f"#L#waits;NA\r\n#B#{body}\r\n".encode())
        assert link.read(14) == b"#AL#1\r\n#AB#3\r\n"
    assert quarantining.command("terminal", "add", "waits").returncode == 0
    wait_for(lambda: len(telemetry(quarantining, "waits")) == 2)
    assert all(row["archive"] for row in telemetry(quarantining, "waits"))
    left = quarantining.query("SELECT reason, data FROM quarantine WHERE terminal = 'waits'")
    assert [(reason, bytes(data)) for reason, data in left] == [("structure", b"nonsense")]  # type: ignore[call-overload]


# -- policy "known", the registry, short limits -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    file = tmp_path_factory.mktemp("limits") / "dozor.toml"
    file.write_text(
        '[login]\npolicy = "known"\ntimeout = "1500ms"\nidle_timeout = 3\n'.replace('"1500ms"', "1.5")
        + "[limits]\nconnections_per_address = 20\nframe_bytes = 2000\nallow = ['127.0.0.1/32']\n"
    )
    with running_service(DOZOR_CONFIG=str(file)) as running:
        yield running
        no_exception(running)


def test_the_unregistered_are_refused_in_the_words_of_their_protocol(strict: ServiceProcess) -> None:
    for protocol, login, answer in (
        ("teltonika", teltonika.login("356938035670001"), b"\x00"),
        ("omnicomm", omnicomm.identification(67001, 312), b""),
        ("wialon-ips", b"#L#stranger;NA\r\n", b"#AL#0\r\n"),
    ):
        with Link(strict, protocol) as link:
            assert link.send(login).rest() == answer
        assert strict.metric(f'dozor_logins_total{{protocol="{protocol}",result="refused"}}') == 1
    refused = 'dozor_logins_total{protocol="teltonika",result="refused"}'
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        for count in (2, 3):  # they are handled in order: with the second the first is done
            link.sendto(_datagram(0, "356938035670001"), ("127.0.0.1", strict.ports["teltonika"]))
            wait_for(lambda count=count: strict.metric(refused) == count)
        link.setblocking(False)
        with pytest.raises(BlockingIOError):
            link.recv(100)
    assert _listed(strict) == {}


def test_import_set_and_list(strict: ServiceProcess, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    file.write_text("terminal,model,name\n356938035670002,FMC130,Truck 2\n67002,,Ваз\nwialon-1,,\n", encoding="utf-8")
    done = strict.command("terminal", "import", str(file))
    assert (done.returncode, done.stdout) == (0, "3 new, 0 changed, 0 as before\n"), done.stderr
    assert strict.command("terminal", "set", "67002", "--model", "Profi 2", "--protocol", "omnicomm").returncode == 0
    unknown = strict.command("terminal", "set", "nobody", "--name", "x")
    assert unknown.returncode == 2
    assert "nobody" in unknown.stderr
    listed = _listed(strict)
    assert listed["67002"]["model"] == "Profi 2"
    assert listed["67002"]["name"] == "Ваз"
    assert listed["356938035670002"]["model"] == "FMC130"
    for row, told in (("terminal,colour\nx,red\n", ":1:"), ("terminal\nok\n" + "x" * 65 + "\n", ":3:")):
        file.write_text(row)
        wrong = strict.command("terminal", "import", str(file))
        assert wrong.returncode == 2
        assert f"{file}{told}" in wrong.stderr
    assert "ok" not in _listed(strict)  # all or nothing
    file.write_text("terminal;model;name\n356938035670002;;\n67002;Profi 3;\nnew;;Новая\n", encoding="cp1251")
    tried = strict.command("terminal", "import", str(file), "--dry-run")
    assert (tried.returncode, tried.stdout) == (0, "1 new, 1 changed, 1 as before: nothing was written\n")
    assert "read as cp1251" in tried.stderr
    assert _listed(strict) == listed
    assert strict.command("terminal", "import", str(file)).stdout == "1 new, 1 changed, 1 as before\n"
    assert (_listed(strict)["new"]["name"], _listed(strict)["67002"]["model"]) == ("Новая", "Profi 3")
    with Link(strict, "teltonika") as link:
        assert link.send(teltonika.login("356938035670002") + _frame(0)).read(5) == b"\x01" + ONE


def test_what_people_know_of_a_terminal_is_set_listed_forgotten_and_retired(
    strict: ServiceProcess, tmp_path: Path
) -> None:
    file = tmp_path / "fleet.csv"
    file.write_text(
        "terminal;operator;customer;site;region;stage;stage_until;firmware_target\n"
        "attributed;Nord Mobil;Lesprom;Yard 3;Karelia;workshop;2099-01-31;03.27.07\n",
        encoding="utf-8",
    )
    assert strict.command("terminal", "import", str(file)).stdout == "1 new, 0 changed, 0 as before\n"
    assert strict.command("terminal", "import", str(file)).stdout == "0 new, 0 changed, 1 as before\n"
    told = {
        "operator": "Nord Mobil", "customer": "Lesprom", "site": "Yard 3", "region": "Karelia", "stage": "workshop",
        "stage_until": "2099-01-31T00:00:00Z", "firmware_target": "03.27.07",
    }  # fmt: skip
    assert told.items() <= _listed(strict)["attributed"].items()
    assert strict.command("terminal", "set", "attributed", "--site", "", "--region", "Onega").returncode == 0
    assert (told | {"site": None, "region": "Onega"}).items() <= _listed(strict)["attributed"].items()
    done = strict.command(
        "terminal", "set", "attributed", "--stage", "season", "--stage-until", "2099-05-01T06:00+03:00"
    )
    assert done.returncode == 0, done.stderr
    assert _listed(strict)["attributed"]["stage_until"] == "2099-05-01T03:00:00Z"
    assert strict.command("terminal", "retire", "attributed").returncode == 0
    listed = _listed(strict)["attributed"]
    assert (listed["stage"], listed["stage_until"], listed["customer"]) == ("sold", None, "Lesprom")
    assert strict.command("terminal", "set", "attributed", "--stage", "").returncode == 0
    assert _listed(strict)["attributed"]["stage"] == "in_use"
    for words, said in (
        (("--stage", "lost"), "stage 'lost': one of in_use"),
        (("--stage", "season", "--stage-until", "2099-05-01T06:00"), "stage_until '2099-05-01T06:00'"),
        (("--stage-until", "2099-05-01"), "give a stage other than in_use"),
        (("--customer", "x" * 201), "customer: at most 200"),
    ):
        wrong = strict.command("terminal", "set", "attributed", *words)
        assert (wrong.returncode, said in wrong.stderr) == (2, True), wrong.stderr
    assert strict.command("terminal", "retire", "nobody").returncode == 2


def test_a_connection_that_does_not_log_in_is_closed(strict: ServiceProcess) -> None:
    before = malformed(strict, "teltonika")
    begun = time.monotonic()
    with Link(strict, "teltonika") as silent, Link(strict, "teltonika") as half:
        half.send(teltonika.login("356938035670002")[:5])
        assert silent.rest() == b""
        assert half.rest() == b""
    assert 1.0 < time.monotonic() - begun < 4.5
    assert damage(before, malformed(strict, "teltonika")) == {"timeout": 2}


def test_an_idle_connection_is_closed_and_a_speaking_one_is_not(strict: ServiceProcess) -> None:
    strict.command("terminal", "add", "wialon-2")
    with Link(strict, "wialon-ips") as idle, Link(strict, "wialon-ips") as speaking:
        assert idle.send(b"#L#wialon-1;NA\r\n").read(7) == b"#AL#1\r\n"
        assert speaking.send(b"#L#wialon-2;NA\r\n").read(7) == b"#AL#1\r\n"
        begun = time.monotonic()
        for _ in range(5):
            time.sleep(1.0)
            assert speaking.send(b"#P#\r\n").read(6) == b"#AP#\r\n"
        assert idle.rest() == b""
        assert time.monotonic() - begun < 6


def test_a_peer_that_takes_no_answers_is_cut_off(strict: ServiceProcess) -> None:
    strict.command("terminal", "add", "wialon-3")
    before = malformed(strict, "wialon-ips")
    with Link(strict, "wialon-ips") as link:
        assert link.send(b"#L#wialon-3;NA\r\n").read(7) == b"#AL#1\r\n"
        link.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            link.send(b"#P#\r\n" * 20_000_000)
        wait_for(lambda: strict.metric('dozor_connections{protocol="wialon-ips"}') == 0, 25)
    assert damage(before, malformed(strict, "wialon-ips")) == {"timeout": 1}


def test_too_many_connections_of_one_address(strict: ServiceProcess) -> None:
    links = [Link(strict, "teltonika") for _ in range(20)]
    try:
        wait_for(lambda: strict.metric('dozor_connections{protocol="teltonika"}') == 20)
        with Link(strict, "teltonika") as one_more:
            assert one_more.rest() == b""
        assert strict.metric('dozor_connections_refused_total{reason="address_limit"}') == 1
        with Link(strict, "teltonika", source="127.0.0.2") as other:  # an address that may not connect at all
            assert other.rest() == b""
        assert strict.metric('dozor_connections_refused_total{reason="not_allowed"}') == 1
    finally:
        for link in links:
            link.socket.close()
    wait_for(lambda: strict.metric('dozor_connections{protocol="teltonika"}') == 0)


def test_frames_beyond_the_configured_size(strict: ServiceProcess) -> None:
    before = malformed(strict, "teltonika")
    with Link(strict, "teltonika") as link:
        link.send(teltonika.login("356938035670002") + bytes.fromhex("00000000 000007D0"))
        assert link.rest() == b"\x01"
    assert damage(before, malformed(strict, "teltonika")) == {"length": 1}


# -- policy "accept": sessions -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    with running_service(DOZOR_LIMITS__CONNECTIONS="30") as running:
        yield running
        no_exception(running)


def test_the_newest_session_wins(service: ServiceProcess) -> None:
    with Link(service, "wialon-ips") as old, Link(service, "wialon-ips") as new:
        assert old.send(b"#L#twice;NA\r\n").read(7) == b"#AL#1\r\n"
        assert new.send(b"#L#twice;NA\r\n").read(7) == b"#AL#1\r\n"
        assert old.rest() == b""
        assert new.send(b"#SD#210325;081507;NA;NA;NA;NA;NA;NA;NA;NA\r\n").read(8) == b"#ASD#1\r\n"


def test_the_process_takes_no_more_connections_than_it_may(service: ServiceProcess) -> None:
    protocols = ("teltonika", "omnicomm", "wialon-ips")
    open_now = [f'dozor_connections{{protocol="{protocol}"}}' for protocol in protocols]
    wait_for(lambda: not any(service.metric(name) for name in open_now))  # those of the test before are gone
    links = [Link(service, "teltonika") for _ in range(30)]
    try:
        wait_for(lambda: service.metric('dozor_connections{protocol="teltonika"}') == 30)
        with Link(service, "omnicomm") as one_more:
            assert one_more.rest() == b""
        assert service.metric('dozor_connections_refused_total{reason="limit"}') == 1
    finally:
        for link in links:
            link.socket.close()
    wait_for(lambda: service.metric('dozor_connections{protocol="teltonika"}') == 0)
