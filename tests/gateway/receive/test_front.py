"""TLS listeners and the PROXY protocol, from the outside."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.gateway.receive.outside import (
    SIGNATURE,
    Configured,
    Terminal,
    configured,
    header,
    make_certificate,
    wait_for,
)

LISTENERS = """
[login]
timeout = 2
[limits]
connections_per_address = 3
allow = ["127.0.0.0/8", "198.51.100.0/24", "2001:db8::/32"]
[[listen]]
protocol = "teltonika"
address = "127.0.0.1:<<tls>>"
tls = {cert = "gateway.crt", key = "gateway.key"}
[[listen]]
protocol = "teltonika"
address = "127.0.0.1:<<proxy>>"
proxy_protocol_from = ["127.0.0.2/32"]
[[listen]]
protocol = "teltonika"
address = "127.0.0.1:<<both>>"
tls = {cert = "gateway.crt", key = "gateway.key"}
proxy_protocol_from = ["127.0.0.2"]
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    folder = tmp_path_factory.mktemp("certificates")
    cert, key = make_certificate(folder, "gateway")
    text = LISTENERS.replace("gateway.crt", str(cert)).replace("gateway.key", str(key))
    with configured(text) as found:
        found.cert = cert
        yield found


def client(gateway: Configured, **options: object) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=gateway.cert)
    for name, value in options.items():
        setattr(context, name, value)
    return context


def address_of(gateway: Configured, imei: str) -> str:
    """Where the history says that a terminal came from."""
    query = "SELECT address FROM connection WHERE terminal = %s"
    wait_for(lambda: gateway.query(query, imei))
    return str(gateway.query(query, imei)[0][0])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_records_over_tls(gateway: Configured, version: ssl.TLSVersion) -> None:
    imei = f"86000000000100{version - 770}"
    context = client(gateway, minimum_version=version, maximum_version=version)
    with Terminal(imei, gateway.ports["tls"], tls=context) as terminal:
        assert terminal.login() == b"\x01"
        for records in (1, 20, 3):
            terminal.send(records)
            assert terminal.ack() == records
    assert gateway.query("SELECT count(*) FROM telemetry WHERE terminal = %s", imei) == [(24,)]
    assert address_of(gateway, imei).startswith("127.0.0.1:")
    listener = gateway.query("SELECT listener FROM connection WHERE terminal = %s", imei)
    assert listener == [(f"teltonika:{gateway.ports['tls']}",)]


def test_many_frames_in_flight_over_tls_are_acknowledged_in_order(gateway: Configured) -> None:
    with Terminal("860000000001009", gateway.ports["tls"], tls=client(gateway)) as terminal:
        assert terminal.login() == b"\x01"
        counts = [1 + n % 7 for n in range(300)]
        for records in counts:
            terminal.send(records)
        assert [terminal.ack() for _ in counts] == counts


def test_old_tls_and_plain_text_are_refused(gateway: Configured) -> None:
    before = gateway.refused("tls")
    old = client(gateway)
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Terminal("860000000001010", gateway.ports["tls"], tls=old)
    with Terminal("860000000001010", gateway.ports["tls"]) as terminal:
        assert terminal.login() != b"\x01"
    wait_for(lambda: gateway.refused("tls") == before + 2)


def test_a_handshake_that_is_not_made_ends_with_the_login_timeout(gateway: Configured) -> None:
    with Terminal("860000000001011", gateway.ports["tls"]) as silent:
        begun = time.monotonic()
        assert silent.ended()
        assert 1.5 < time.monotonic() - begun < 5
    with Terminal("860000000001011", gateway.ports["tls"], tls=client(gateway)) as terminal:
        begun = time.monotonic()
        assert terminal.ended()  # the time runs from connecting, over the handshake
        assert 1.5 < time.monotonic() - begun < 5


def test_handshakes_count_as_connections(gateway: Configured) -> None:
    before = gateway.refused("address_limit")
    held = [Terminal("860000000001012", gateway.ports["tls"], source="127.0.0.7") for _ in range(3)]
    with Terminal("860000000001012", gateway.ports["tls"], source="127.0.0.7") as fourth:
        assert fourth.ended()
    assert gateway.refused("address_limit") == before + 1
    for terminal in held:
        terminal.close()
    wait_for(lambda: _logs_in(gateway, "127.0.0.7"))


def _logs_in(gateway: Configured, source: str) -> bool:
    try:
        with Terminal("860000000001012", gateway.ports["tls"], source=source, tls=client(gateway)) as terminal:
            return terminal.login() == b"\x01"
    except (ssl.SSLError, ConnectionError):
        return False


HEADERS = [
    ("v4", header("198.51.100.7", 4321), "198.51.100.7:4321"),
    ("v6", header("2001:db8::7", 4321), "2001:db8::7:4321"),
    ("tlv", header("198.51.100.8", 1, tlv=b"\x04\x03\xe8" + bytes(1000)), "198.51.100.8:1"),
    ("local", header("203.0.113.9", command=0x20), "127.0.0.2:"),
    ("empty", SIGNATURE + b"\x20\0\0\0", "127.0.0.2:"),
    ("unix", SIGNATURE + b"\x21\x31\0\xd8" + bytes(216), "127.0.0.2:"),
    ("line", b"PROXY TCP4 198.51.100.9 192.0.2.1 4321 5027\r\n", "198.51.100.9:4321"),
    ("line v6", b"PROXY TCP6 2001:db8::9 2001:db8::1 4321 5027\r\n", "2001:db8::9:4321"),
    ("line unknown", b"PROXY UNKNOWN\r\n", "127.0.0.2:"),
]


@pytest.mark.parametrize("kind", ["proxy", "both"])
@pytest.mark.parametrize(("name", "before", "address"), HEADERS, ids=lambda v: v if isinstance(v, str) else "")
def test_the_clients_address_is_believed_and_used(
    gateway: Configured, kind: str, name: str, before: bytes, address: str
) -> None:
    imei = str(860_000_000_002_000 + (100 if kind == "both" else 0) + [row[0] for row in HEADERS].index(name))
    tls = client(gateway) if kind == "both" else None
    together = tls is None  # header and login in one segment: the session must get exactly its own bytes
    with Terminal(imei, gateway.ports[kind], source="127.0.0.2", before=before, tls=tls, together=together) as terminal:
        assert terminal.login() == b"\x01"
        terminal.send()
        assert terminal.ack() == 1
    assert address_of(gateway, imei).startswith(address)


def test_header_and_handshake_in_one_segment(gateway: Configured) -> None:
    """The first flight of TLS directly behind the header, byte by byte and at once."""
    for number, step in enumerate((1, 100_000)):
        imei = str(860_000_000_003_000 + number)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client(gateway).wrap_bio(incoming, outgoing, server_hostname="gateway")
        with socket.create_connection(("127.0.0.1", gateway.ports["both"]), 5, ("127.0.0.2", 0)) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            first = header("198.51.100.7", 5000 + number) + outgoing.read()
            for at in range(0, len(first), step):
                link.sendall(first[at : at + step])
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    incoming.write(link.recv(65536))
            tls.write(b"\0\x0f" + imei.encode())
            link.sendall(outgoing.read())
            while True:
                try:
                    assert tls.read(1) == b"\x01"
                    break
                except ssl.SSLWantReadError:
                    incoming.write(link.recv(65536))
        assert address_of(gateway, imei) == f"198.51.100.7:{5000 + number}"


BAD_HEADERS = [
    b"\0\x0f860000000004000",  # none
    SIGNATURE + b"\x31\x11\0\x0c" + bytes(12),  # version 3
    SIGNATURE + b"\x22\x11\0\x0c" + bytes(12),  # a command that is none
    SIGNATURE + b"\x21\x41\0\x0c" + bytes(12),  # a family that is none
    SIGNATURE + b"\x21\x13\0\x0c" + bytes(12),  # a transport that is none
    SIGNATURE + b"\x21\x11\0\x0b" + bytes(11),  # too short for its addresses
    SIGNATURE + b"\x21\x21\0\x0c" + bytes(12),
    SIGNATURE + b"\x21\x11\xff\xff",  # longer than anybody's
    b"PROXY TCP4 198.51.100.9 192.0.2.1 4321\r\n",
    b"PROXY TCP4 2001:db8::9 192.0.2.1 4321 5027\r\n",
    b"PROXY TCP4 198.51.100.9 192.0.2.1 4321 65536\r\n",
    b"PROXY TCP4 " + b"1" * 200,
]


@pytest.mark.parametrize("before", BAD_HEADERS, ids=range(len(BAD_HEADERS)))
def test_a_trusted_peer_has_to_send_a_header(gateway: Configured, before: bytes) -> None:
    count = gateway.refused("proxy_header")
    with Terminal("860000000004000", gateway.ports["proxy"], source="127.0.0.2", before=before) as terminal:
        assert terminal.ended()
    assert gateway.refused("proxy_header") == count + 1


def test_a_header_that_does_not_end_ends_with_the_login_timeout(gateway: Configured) -> None:
    with Terminal("860000000004001", gateway.ports["proxy"], source="127.0.0.2", before=SIGNATURE) as terminal:
        begun = time.monotonic()
        assert terminal.ended()
        assert 1.5 < time.monotonic() - begun < 5


@pytest.mark.parametrize("before", [header("198.51.100.7"), b"PROXY TCP4 198.51.100.9 192.0.2.1 4321 5027\r\n"])
def test_nobody_else_is_believed(gateway: Configured, before: bytes) -> None:
    count = gateway.refused("proxy_untrusted")
    with Terminal("860000000005000", gateway.ports["proxy"], source="127.0.0.3", before=before) as terminal:
        assert terminal.ended()
    assert gateway.refused("proxy_untrusted") == count + 1
    with Terminal("860000000005001", gateway.ports["proxy"], source="127.0.0.3") as terminal:
        assert terminal.login() == b"\x01"  # without one it is a connection like any other
    assert address_of(gateway, "860000000005001").startswith("127.0.0.3:")


def test_limits_are_those_of_the_client_behind_the_proxy(gateway: Configured) -> None:
    not_allowed, too_many = gateway.refused("not_allowed"), gateway.refused("address_limit")
    port = gateway.ports["proxy"]
    with Terminal("860000000006000", port, source="127.0.0.2", before=header("203.0.113.9")) as terminal:
        assert terminal.ended()
    assert gateway.refused("not_allowed") == not_allowed + 1
    held = [
        Terminal(str(860_000_000_006_001 + n), port, source="127.0.0.2", before=header("198.51.100.50", 1 + n))
        for n in range(3)
    ]
    assert [terminal.login() for terminal in held] == [b"\x01"] * 3
    with Terminal("860000000006009", port, source="127.0.0.2", before=header("198.51.100.50", 9)) as fourth:
        assert fourth.ended()
    assert gateway.refused("address_limit") == too_many + 1
    with Terminal("860000000006010", port, source="127.0.0.2", before=header("198.51.100.51")) as other:
        assert other.login() == b"\x01"
    for terminal in held:
        terminal.close()


def test_nothing_is_left_of_connections_that_failed(gateway: Configured) -> None:
    """No socket of theirs is open and no count stays, whatever went wrong on the way."""
    assert gateway.service.process is not None
    process = psutil.Process(gateway.service.process.pid)

    def theirs() -> list[object]:
        links = process.net_connections("tcp")
        return [link for link in links if link.laddr.port in gateway.ports.values() and link.status != "LISTEN"]

    wait_for(lambda: gateway.service.metric("dozor_connections{") == 0)
    wait_for(lambda: not theirs())
    descriptors = gateway.service.metric("process_open_fds")
    for n in range(60):
        port = gateway.ports[("tls", "proxy", "both")[n % 3]]
        before = (b"", b"x", header("198.51.100.7"), SIGNATURE)[n % 4]
        terminal = Terminal("860000000007000", port, source=f"127.0.0.{2 + n % 2}", before=before)
        terminal.close()
    wait_for(lambda: not theirs())
    # Also none that is no socket any more; pools of the store may have grown meanwhile, by no more than they may.
    wait_for(lambda: gateway.service.metric("process_open_fds") < descriptors + 15)
    assert gateway.service.metric("dozor_connections{") == 0


def test_a_listener_that_holds_handshakes_stops_in_time(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "gateway")
    text = f"""
[[listen]]
protocol = "teltonika"
address = "127.0.0.1:<<tls>>"
tls = {{cert = "{cert}", key = "{key}"}}
"""
    with configured(text) as gateway:
        silent = Terminal("860000000008000", gateway.ports["tls"])
        begun = time.monotonic()
        assert gateway.service.stop() == 0
        assert time.monotonic() - begun < 8
        silent.close()
