"""Limits and identities: from the outside, and their counters by themselves."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_network

import psycopg
import pytest

from gateway.configuration.values import Network
from gateway.receive.identity import Alternation
from gateway.receive.limits import Rates, RegistrationLimit, within
from gateway.receive.recent import Recent
from protocols.teltonika.declaration import CODEC_8, avl_frame, avl_payload, avl_record, login, udp_datagram
from tests.gateway.receive.outside import Configured, Terminal, configured, wait_for

LISTENERS = """
[[listen]]
protocol = "teltonika"
address = "127.0.0.1:<<tcp>>"
[[listen]]
protocol = "teltonika"
address = "127.0.0.1:<<udp>>"
transport = "udp"
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Configured]:
    with configured(LISTENERS) as found:
        yield found


def limit(gateway: Configured, *lines: str) -> None:
    assert "configuration reloaded" in gateway.reload("[limits]\n" + "\n".join(lines) + LISTENERS)


def datagram(imei: str) -> bytes:
    record = avl_record(timestamp=int(time.time() * 1000), latitude=1, longitude=2, satellites=9)
    return udp_datagram(avl_payload(CODEC_8, [record]), imei, avl_id=7)


def served(gateway: Configured, imei: str, source: str = "127.0.0.1") -> bool:
    with Terminal(imei, gateway.ports["tcp"], source=source) as terminal:
        return terminal.login() == b"\x01"


def test_connections(gateway: Configured) -> None:
    wait_for(lambda: gateway.service.metric("dozor_connections{") == 0)
    limit(gateway, "connections = 2")
    before = gateway.refused("limit")
    held = [Terminal(f"86000000001000{n}", gateway.ports["tcp"]) for n in range(2)]
    assert [terminal.login() for terminal in held] == [b"\x01"] * 2
    with Terminal("860000000010009", gateway.ports["tcp"]) as third:
        assert third.ended()
    assert gateway.refused("limit") == before + 1
    held.pop().close()
    wait_for(lambda: served(gateway, "860000000010003"))
    held.pop().close()


def test_connections_per_address(gateway: Configured) -> None:
    wait_for(lambda: gateway.service.metric("dozor_connections{") == 0)
    limit(gateway, "connections_per_address = 1")
    before = gateway.refused("address_limit")
    with Terminal("860000000011000", gateway.ports["tcp"], source="127.0.0.4") as first:
        assert first.login() == b"\x01"
        with Terminal("860000000011001", gateway.ports["tcp"], source="127.0.0.4") as second:
            assert second.ended()
        assert gateway.refused("address_limit") == before + 1
        assert served(gateway, "860000000011002", "127.0.0.5")
    wait_for(lambda: served(gateway, "860000000011003", "127.0.0.4"))


def test_allow(gateway: Configured) -> None:
    limit(gateway, 'allow = ["127.0.0.8/31", "2001:db8::/32"]')
    before = gateway.refused("not_allowed")
    assert served(gateway, "860000000012000", "127.0.0.9")
    with Terminal("860000000012001", gateway.ports["tcp"], source="127.0.0.10") as other:
        assert other.ended()
    assert gateway.refused("not_allowed") == before + 1


def test_logins_per_minute_per_address(gateway: Configured) -> None:
    limit(gateway, "logins_per_minute_per_address = 4")
    before = gateway.refused("login_rate")
    assert [served(gateway, f"86000000001300{n}", "127.0.0.11") for n in range(6)] == [True] * 4 + [False] * 2
    assert gateway.refused("login_rate") == before + 2
    assert served(gateway, "860000000013010", "127.0.0.12")
    limit(gateway, "logins_per_minute_per_address = 0")
    assert served(gateway, "860000000013005", "127.0.0.11")


def test_new_terminals_per_minute_and_address(gateway: Configured) -> None:
    """Over TCP and UDP alike; those of the registry come as they like, and other addresses too."""
    limit(gateway, "registrations_per_minute_per_address = 3")
    before, source = gateway.refused("registration_rate"), "127.0.0.41"
    assert [served(gateway, f"86000000002300{n}", source) for n in range(5)] == [True] * 3 + [False] * 2
    assert gateway.refused("registration_rate") == before + 2
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.bind((source, 0))
        link.connect(("127.0.0.1", gateway.ports["udp"]))
        link.settimeout(5)
        link.send(datagram("860000000023006"))
        wait_for(lambda: gateway.refused("registration_rate") == before + 3)
        link.send(datagram("860000000023001"))
        assert link.recv(100) == bytes.fromhex("0005CAFE010701"), "the one of the registry, and no other"
    assert [served(gateway, f"86000000002300{n}", source) for n in range(3)] == [True] * 3
    assert served(gateway, "860000000023009", "127.0.0.42")
    assert gateway.service.command("terminal", "add", "860000000023004").returncode == 0
    assert served(gateway, "860000000023004", source), "it is registered, though this process never saw it"
    known = "SELECT count(*) FROM terminal WHERE identity LIKE '86000000002300_'"
    assert gateway.query(known) == [(5,)]
    limit(gateway, "registrations_per_minute_per_address = 0")
    assert served(gateway, "860000000023003", source)
    assert gateway.refused("registration_rate") == before + 3


def test_new_terminals_per_minute_of_all_addresses(gateway: Configured) -> None:
    limit(gateway, "registrations_per_minute = 3")
    before = gateway.refused("registration_rate")
    came = [served(gateway, f"86000000002400{n}", f"127.0.0.{50 + n}") for n in range(5)]
    assert came == [True] * 3 + [False] * 2
    assert gateway.refused("registration_rate") == before + 2
    limit(gateway)


def test_a_terminal_that_the_registry_refuses_holds_up_nobody(gateway: Configured) -> None:
    """Not those whose registration came with its own, nor itself: told at once, logged once, not tried for ever."""
    limit(gateway)
    bad, good = "860000000025003", [f"86000000002500{n}" for n in (0, 1, 2, 4, 5, 6)]
    refused = 'dozor_logins_total{protocol="teltonika",result="refused"}'
    before = gateway.service.metric(refused)
    with psycopg.connect(gateway.service.dsn) as link, ExitStack() as stack:
        link.execute(f"ALTER TABLE terminal ADD CONSTRAINT odd CHECK (identity <> '{bad}')".encode())
        link.commit()
        link.execute("LOCK TABLE terminal IN SHARE MODE")  # so that they come together
        came = {imei: stack.enter_context(Terminal(imei, gateway.ports["tcp"])) for imei in sorted([bad, *good])}
        for terminal in came.values():
            terminal.socket.sendall(login(terminal.imei))
        wait_for(lambda: gateway.query("SELECT FROM pg_locks WHERE NOT granted"))
        link.commit()
        assert {imei: terminal.read(1) for imei, terminal in came.items()} == {bad: b"\0"} | dict.fromkeys(good, b"\1")
        assert came[bad].ended()
        with Terminal(bad, gateway.ports["tcp"]) as again:
            assert again.login() == b"\0"
        link.execute("ALTER TABLE terminal DROP CONSTRAINT odd")
    assert gateway.service.metric(refused) == before + 2
    told = [line for line in gateway.log().splitlines() if "the registry refuses a terminal" in line]
    assert len(told) == 1
    assert bad in told[0]


@pytest.mark.timing
def test_records_per_second_per_terminal(gateway: Configured) -> None:
    """A fast one is slowed to the limit, and every record that it sends is stored and acknowledged."""
    limit(gateway, "records_per_second_per_terminal = 50")
    imei = "860000000014000"
    with Terminal(imei, gateway.ports["tcp"]) as fast, Terminal("860000000014001", gateway.ports["tcp"]) as slow:
        assert fast.login() == slow.login() == b"\x01"
        begun = time.monotonic()
        longest = 0.0
        for n in range(40):  # 200 records: 50 at once, 150 within three seconds
            fast.send(5)
            assert fast.ack() == 5
            if n % 5 == 0:
                sent = time.monotonic()
                slow.send()
                assert slow.ack() == 1
                longest = max(longest, time.monotonic() - sent)
        assert 2.5 < time.monotonic() - begun < 8
        assert longest < 1.0  # nobody else waits
    # a new connection does not wash the debt away, and all that was sent in one go is taken in the end
    with Terminal(imei, gateway.ports["tcp"]) as again:
        again.time += 1_000
        assert again.login() == b"\x01"
        begun = time.monotonic()
        for _ in range(20):
            again.send(5)
        assert [again.ack() for _ in range(20)] == [5] * 20
        again.send(1)
        assert again.ack() == 1
        assert time.monotonic() - begun > 0.9
    assert gateway.query("SELECT count(*) FROM telemetry WHERE terminal = %s", imei) == [(301,)]
    limit(gateway, "records_per_second_per_terminal = 0")


def test_a_terminal_that_is_held_is_freed_when_the_limit_goes(gateway: Configured) -> None:
    limit(gateway, "records_per_second_per_terminal = 1")
    with Terminal("860000000015000", gateway.ports["tcp"]) as terminal:
        assert terminal.login() == b"\x01"
        terminal.send(50)
        assert terminal.ack() == 50
        terminal.send(1)
        terminal.socket.settimeout(0.7)
        with pytest.raises(TimeoutError):
            terminal.ack()
        terminal.socket.settimeout(5)
        limit(gateway, "records_per_second_per_terminal = 0")
        assert terminal.ack() == 1


def test_datagrams_over_the_limit_stay_unanswered(gateway: Configured) -> None:
    limit(gateway, "records_per_second_per_terminal = 10")
    imei = b"860000000016000"
    moment = int(time.time() * 1000) - 1_000_000

    def numbered(number: int, records: int) -> bytes:
        rows = [
            avl_record(timestamp=moment + number * 100 + n, latitude=1, longitude=2, satellites=9)
            for n in range(records)
        ]
        body = avl_frame(CODEC_8, rows)[8:-4]
        inner = b"\xca\xfe\x01" + bytes([number]) + b"\0\x0f" + imei + body
        return len(inner).to_bytes(2, "big") + inner

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(5)
        link.connect(("127.0.0.1", gateway.ports["udp"]))
        link.send(numbered(1, 30))
        assert link.recv(100)[-1] == 30
        link.settimeout(0.5)
        link.send(numbered(2, 1))
        with pytest.raises(TimeoutError):
            link.recv(100)
        wait_for(lambda: gateway.refused("record_rate") >= 1)
        time.sleep(2)
        link.settimeout(5)
        link.send(numbered(2, 1))
        assert link.recv(100)[-1] == 1
    assert gateway.query("SELECT count(*) FROM telemetry WHERE terminal = %s", imei.decode()) == [(31,)]
    limit(gateway)


def test_the_newest_session_wins_and_two_addresses_that_alternate_are_told(gateway: Configured) -> None:
    imei = "860000000017000"
    with ExitStack() as stack:
        links: list[Terminal] = []
        for source in ("127.0.0.21", "127.0.0.22", "127.0.0.21", "127.0.0.22"):
            older = links[-1:]
            links.append(stack.enter_context(Terminal(imei, gateway.ports["tcp"], source=source)))
            assert links[-1].login() == b"\x01"
            links[-1].send()
            assert links[-1].ack() == 1
            assert all(link.ended() for link in older)
    found = "SELECT kind, body, received > now() - interval '1 minute' FROM message WHERE terminal = %s"
    wait_for(lambda: gateway.query(found, imei))
    ((kind, text, lately),) = gateway.query(found, imei)  # once, though it alternated twice
    assert (kind, lately) == ("duplicate identity", True)
    assert text == "logins alternate between 127.0.0.22 and 127.0.0.21: two terminals may use this identity"
    ended = "SELECT reason FROM connection WHERE terminal = %s AND reason IS NOT NULL ORDER BY id"
    wait_for(lambda: len(gateway.query(ended, imei)) >= 3)
    reasons = [str(reason) for (reason,) in gateway.query(ended, imei)]
    assert reasons[0].startswith("replaced by a newer connection from 127.0.0.22:")
    assert reasons[1] == "duplicate identity: logins alternate between 127.0.0.22 and 127.0.0.21"
    assert '"event": "duplicate identity"' in gateway.log()


def test_connections_that_follow_one_another_alternate_too(gateway: Configured) -> None:
    for source in ("127.0.0.21", "127.0.0.22", "127.0.0.21"):
        assert served(gateway, "860000000018000", source)
    wait_for(lambda: gateway.query("SELECT 1 FROM message WHERE terminal = '860000000018000'"))


def test_one_terminal_that_moves_is_no_duplicate(gateway: Configured) -> None:
    for source in ("127.0.0.31", "127.0.0.31", "127.0.0.32", "127.0.0.33", "127.0.0.33"):
        assert served(gateway, "860000000019000", source)
    time.sleep(0.5)
    assert gateway.query("SELECT count(*) FROM message WHERE terminal = '860000000019000'") == [(0,)]


# By themselves.


def test_an_alternation_is_seen_within_its_window_only() -> None:
    seen = Alternation(window=100)
    assert [seen.came("t", host, older, now) for host, older, now in (
        ("a", None, 0), ("b", "a", 10), ("a", "b", 20), ("b", "a", 30), ("a", "b", 119), ("b", "a", 121),
    )] == [None, None, "b", None, None, "a"]  # fmt: skip
    assert [seen.came("u", host, older, now) for host, older, now in (
        ("a", None, 200), ("b", "a", 210), ("a", "b", 311),
    )] == [None, None, None]  # fmt: skip
    seen.left("v", "a", 400)
    assert seen.came("v", "b", None, 501) is None  # so long ago that nobody knows
    seen.left("v", "b", 502)
    assert seen.came("v", "a", None, 503) is None


def test_rates_keep_to_the_bucket() -> None:
    """Against a bucket that is filled second by second; never more than the burst and what has flowed since."""
    chance = random.Random(7)
    for _ in range(50):
        rate, burst = chance.uniform(0.1, 20), chance.uniform(1, 60)
        rates: Rates[str] = Rates(rate, burst, longest=1e9)
        level, now = rate * burst, 0.0
        for _ in range(200):
            passed = chance.expovariate(rate)
            now += passed
            level = min(rate * burst, level + passed * rate)
            if rates.owed("k", now, 1) <= 0:
                rates.take("k", now, 1)
                level -= 1
                assert level > -0.001
            else:
                assert level < 1.001


def test_one_that_was_granted_is_not_counted_again_and_one_that_was_not_counts_for_nothing() -> None:
    limit = RegistrationLimit(3, 2)
    assert [limit.take(terminal, host, 0.0) for terminal, host in (
        ("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"), ("c", "x"), ("d", "y"), ("e", "z"), ("e", "z"), ("b", "z"),
    )] == [True, True, True, True, False, True, False, False, True]  # fmt: skip
    assert [limit.take(terminal, "z", 20.5) for terminal in ("f", "g")] == [True, False]  # a third of a minute: one


def test_debt_is_bounded() -> None:
    rates: Rates[str] = Rates(1, 1, longest=60)
    assert rates.take("k", 0, 1_000_000) == 60
    assert rates.owed("k", 30) == pytest.approx(30)
    assert rates.owed("k", 61) <= 0


def test_what_is_remembered_is_bounded_and_expires() -> None:
    recent: Recent[int, int] = Recent(10.0, 100)
    for key in range(10_000):
        recent.put(key, key, 0.0)
    assert len(recent) <= 200
    assert recent.get(9_999) == 9_999
    recent.put(1, 1, 11.0)
    assert recent.get(9_999) == 9_999  # for one to two periods
    recent.put(2, 2, 22.0)
    assert recent.get(9_999) is None
    recent.put(3, 3, 100.0)
    assert len(recent) == 1


@pytest.mark.parametrize(
    ("host", "inside"),
    [("10.1.2.3", True), ("11.0.0.1", False), ("::ffff:10.1.2.3", True), ("fe80::1%eth0", True), ("", False)],
)
def test_networks(host: str, inside: bool) -> None:
    networks: list[Network] = [ip_network("10.0.0.0/8"), ip_network("fe80::/10")]
    assert within(host, networks) is inside
