"""Listeners that take every protocol: the first bytes tell it, over plain sockets, TLS, a proxy, and datagrams."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.samples import wire_frames
from protocols.auto import begun, told_apart
from protocols.registry import PROTOCOLS
from protocols.teltonika.declaration import CODEC_8, avl_payload, avl_record, udp_datagram
from tests.gateway.receive.outside import Configured, Terminal, configured, header, make_certificate, wait_for
from tests.protocols.form import near
from tests.protocols.wialon_ips_vectors import W11

DOZOR = str(Path(sys.executable).with_name("dozor"))
COMMON = """
[login]
timeout = 2
[limits]
connections_per_address = 400
registrations_per_minute_per_address = 0
"""
LISTENERS = (
    COMMON
    + """
[[listen]]
protocol = "auto"
address = "127.0.0.1:<<auto>>"
[[listen]]
protocol = "auto"
transport = "udp"
address = "127.0.0.1:<<auto>>"
[[listen]]
protocol = "auto"
protocols = ["teltonika", "wialon-ips"]
address = "127.0.0.1:<<few>>"
[[listen]]
protocol = "auto"
address = "127.0.0.1:<<both>>"
tls = {cert = "gateway.crt", key = "gateway.key"}
proxy_protocol_from = ["127.0.0.2"]
"""
)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    cert, key = make_certificate(tmp_path_factory.mktemp("certificates"), "gateway")
    return LISTENERS.replace("gateway.crt", str(cert)).replace("gateway.key", str(key)), cert


@pytest.fixture(scope="module")
def gateway(text: tuple[str, Path]) -> Iterator[Configured]:
    with configured(text[0]) as found:
        found.cert = text[1]
        yield found


def malformed(gateway: Configured, reason: str, spoken: str = "unknown") -> int:
    name = f'dozor_frames_malformed_total{{protocol="{spoken}",reason="{reason}"}}'
    return int(gateway.service.metric(name))


def talk(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5)


def ends(sock: socket.socket, within: float) -> bool:
    """Whether the gateway closes it."""
    sock.settimeout(within)
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


# -- a fleet of all protocols on one port -----------------------------------------------------------------------------


def mixed_fleet(gateway: Configured, folder: Path, count: int, seconds: float) -> list[dict[str, Any]]:
    """The truth about a fleet that was simulated at the port."""
    file = folder / "truth.jsonl"
    done = subprocess.run(
        [DOZOR, "simulate", "--protocol", "mixed", "--target", f"127.0.0.1:{gateway.ports['auto']}", "--interval",
         "0.4", "--terminals", str(count), "--duration", str(seconds), "--truth", str(file), "--json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, told["violations"]) == (0, 0), done.stderr
    assert {name for name, counts in told["protocols"].items() if counts.get("records_acked")} == set(PROTOCOLS)
    return [json.loads(line) for line in file.read_text().splitlines()]


def compare(gateway: Configured, truth: list[dict[str, Any]]) -> None:
    """What was acknowledged is in the store, value by value, and nothing that was never sent."""
    names = ("lat", "lon", "altitude", "speed", "course", "satellites", "valid", "archive", "measures")
    query = f"SELECT terminal, (extract(epoch FROM time) * 1000000)::bigint, {', '.join(names)} FROM telemetry"
    identities = {row["terminal"] for row in truth}
    found = {(r[0], r[1]): dict(zip(names, r[2:], strict=True)) for r in gateway.query(query) if r[0] in identities}
    sent = {(row["terminal"], row["time"]): row for row in truth if row["sends"]}
    assert {key for key, row in sent.items() if row["acked"]} <= set(found) <= set(sent)
    for key, row in found.items():
        expected = sent[key]
        for name in names[:-2]:
            assert near(row[name], expected[name]), (key, name, row[name], expected[name])
        assert expected["archive"] in (None, row["archive"])
        measures: Any = row["measures"]
        for name, value in expected["measures"].items():
            assert near(measures.get(name), value), (key, name, measures.get(name), value)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.soak), 2])
def test_a_fleet_of_all_protocols_on_one_port(gateway: Configured, tmp_path: Path, workers: int) -> None:
    if workers == 1:
        truth = mixed_fleet(gateway, tmp_path, 4 * len(PROTOCOLS), 3)
        compare(gateway, truth)
        rows = gateway.query("SELECT protocol, count(*) FROM terminal WHERE identity = ANY(%s) GROUP BY 1",
                             list({row["terminal"] for row in truth}))  # fmt: skip
        assert {name for name, _ in rows} == set(PROTOCOLS)
        assert gateway.query("SELECT DISTINCT listener FROM connection WHERE protocol = 'galileosky'") == [
            (f"auto:{gateway.ports['auto']}",)
        ]
        return
    with configured(
        COMMON + '[[listen]]\nprotocol = "auto"\naddress = "127.0.0.1:<<auto>>"\n', "--workers", "2"
    ) as two:
        compare(two, mixed_fleet(two, tmp_path, 3 * len(PROTOCOLS), 2))


# -- one connection ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", told_apart())
def test_a_login_that_comes_byte_by_byte(gateway: Configured, name: str) -> None:
    login, frames = wire_frames(name, 1, 1)
    login = login or frames[0]  # some begin with their records
    metric = f'dozor_connections_accepted_total{{protocol="{name}"}}'
    before = int(gateway.service.metric(metric))
    with talk(gateway.ports["auto"]) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(login)):
            sock.sendall(login[at : at + 1])
            if at < 4:
                time.sleep(0.002)
        wait_for(lambda: int(gateway.service.metric(metric)) == before + 1)


def test_what_no_protocol_begins_with_is_closed_at_once(gateway: Configured) -> None:
    for data in (b"SSH-2.0-x\r\n", bytes(1500), b"\xff" * 40_000):
        assert begun(data[:1024]).name is None
        before = malformed(gateway, "structure")
        with talk(gateway.ports["auto"]) as sock:
            sock.sendall(data)
            assert ends(sock, 1.5)
        wait_for(lambda before=before: malformed(gateway, "structure") == before + 1)  # type: ignore[misc]


def test_what_stays_ambiguous_ends_with_the_login_timeout(gateway: Configured) -> None:
    before = malformed(gateway, "timeout")
    with talk(gateway.ports["auto"]) as sock, talk(gateway.ports["auto"]) as silent:
        begun_at = time.monotonic()
        sock.sendall(b"\x00")
        assert ends(sock, 5)
        assert 1.5 < time.monotonic() - begun_at < 4
        assert ends(silent, 5)
    wait_for(lambda: malformed(gateway, "timeout") == before + 2)


def test_what_ends_before_it_is_known_is_truncated_and_what_says_nothing_is_nothing(gateway: Configured) -> None:
    before = malformed(gateway, "truncated")
    with talk(gateway.ports["auto"]):
        pass
    with talk(gateway.ports["auto"]) as sock:
        sock.sendall(b"\x00")
    wait_for(lambda: malformed(gateway, "truncated") == before + 1)


def test_login_and_data_in_one_segment_and_a_half_closed_connection(gateway: Configured) -> None:
    login, frames = wire_frames("galileosky", 3, 2)
    with talk(gateway.ports["auto"]) as sock:
        sock.sendall(login + b"".join(frames))
        sock.shutdown(socket.SHUT_WR)
        said = b""
        while piece := sock.recv(4096):
            said += piece
    assert said.endswith(b"".join(b"\x02" + frame[-2:] for frame in frames))


def test_only_those_that_are_named_are_taken(gateway: Configured) -> None:
    terminal = Terminal("356938035640001", gateway.ports["few"])
    assert terminal.login() == b"\x01"
    terminal.socket.close()
    login, _ = wire_frames("omnicomm", 1, 1)
    before = malformed(gateway, "structure")
    with talk(gateway.ports["few"]) as sock:
        sock.sendall(login)
        assert ends(sock, 1.5)
    assert malformed(gateway, "structure") == before + 1


def test_behind_a_proxy_and_tls(gateway: Configured) -> None:
    context = ssl.create_default_context(cafile=gateway.cert)
    terminal = Terminal(
        "356938035640002", gateway.ports["both"], source="127.0.0.2", before=header("198.51.100.9"), tls=context
    )
    assert terminal.login() == b"\x01"
    terminal.send()
    assert terminal.ack() == 1
    query = "SELECT address, listener FROM connection WHERE terminal = '356938035640002'"
    wait_for(lambda: gateway.query(query))
    assert gateway.query(query) == [("198.51.100.9:40000", f"auto:{gateway.ports['both']}")]
    junk = Terminal("x", gateway.ports["both"], source="127.0.0.2", before=header("198.51.100.9"), tls=context)
    junk.socket.sendall(b"GOPHER")
    assert junk.read(1) == b""
    for one in (terminal, junk):
        one.socket.close()


def test_datagrams(gateway: Configured) -> None:
    avl = avl_payload(CODEC_8, [avl_record(timestamp=1_790_000_000_000, latitude=1, longitude=2, satellites=7)])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", gateway.ports["auto"]))
        for _ in range(2):  # each is told anew
            sock.send(udp_datagram(avl, "356938035640003"))
            assert sock.recv(100) == bytes.fromhex("0005cafe010101")
            sock.send(W11)
            assert sock.recv(100).startswith(b"#A")
        before = malformed(gateway, "structure")
        sock.send(b"\x00\x01nobody's")
        wait_for(lambda: malformed(gateway, "structure") == before + 1)


def test_a_crowd_that_never_says_what_it_is_costs_the_others_nothing(gateway: Configured) -> None:
    terminal = Terminal("356938035640004", gateway.ports["auto"])
    crowd = [talk(gateway.ports["auto"]) for _ in range(150)]
    try:
        assert terminal.login() == b"\x01"
        waits = []
        for turn in range(30):
            for sock in crowd[turn * 5 : turn * 5 + 5]:
                sock.sendall(b"\x00")
            begun_at = time.monotonic()
            terminal.send()
            assert terminal.ack() == 1
            waits.append(time.monotonic() - begun_at)
        assert sorted(waits)[25] < 0.5
    finally:
        for sock in (*crowd, terminal.socket):
            sock.close()


def test_a_reload_changes_who_is_taken_and_leaves_those_on_their_way(
    gateway: Configured, text: tuple[str, Path]
) -> None:
    with talk(gateway.ports["few"]) as waiting:
        waiting.sendall(b"\x00\x0f")
        other = text[0].replace('["teltonika", "wialon-ips"]', '["omnicomm"]')
        assert "configuration reloaded" in gateway.reload(other)
        waiting.sendall(b"356938035640005")
        assert waiting.recv(1) == b"\x01"
    login, _ = wire_frames("omnicomm", 1, 1)
    with talk(gateway.ports["few"]) as sock:
        sock.sendall(login)
        assert sock.recv(1) == b"\xc0"
    with talk(gateway.ports["few"]) as sock:
        sock.sendall(b"\x00\x0f356938035640006")
        assert ends(sock, 1.5)
    assert "configuration reloaded" in gateway.reload(text[0])
