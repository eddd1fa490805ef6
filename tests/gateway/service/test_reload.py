"""SIGHUP: a changed configuration is taken over, an unusable one changes nothing, and no connection is dropped."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

import psycopg
import pytest

from gateway.configuration.reading import load
from gateway.service.reload import changed, kept
from tests.gateway.configuration.test_reading import EVERY_KEY, as_toml
from tests.gateway.receive.outside import Configured, Terminal, configured, make_certificate, wait_for
from tests.ticketing.channels.test_channels import Sink, smtp
from tests.ticketing.desk_parts import pool_of
from tests.ticketing.letters.parts import ticket
from ticketing.letters.owe import owe
from ticketing.letters.recipients import Recipient

BASE = """
[[listen]]
protocol = "teltonika"
address = "127.0.0.1:<<tcp>>"
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Configured]:
    with configured(BASE) as found:
        yield found


OF_LETTERS = {"desk.addresses", "desk.letters", "desk.budget.address_hour", "desk.budget.address_day"}


def reloaded(gateway: Configured, text: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(gateway.reload(text))
    return found


def test_an_invalid_file_changes_nothing_and_is_logged(gateway: Configured) -> None:
    with Terminal("860000000020000", gateway.ports["tcp"]) as terminal:
        assert terminal.login() == b"\x01"
        told = reloaded(gateway, '[login]\npolicy = "known"\ntimeout = "soon"\n' + BASE)
        assert told["event"] == "configuration not reloaded"
        (problem,) = told["problems"]  # type: ignore[misc]
        assert problem.startswith(f'{gateway.file}:3: login.timeout: "soon" is no duration')
        terminal.send()
        assert terminal.ack() == 1
    with Terminal("860000000020001", gateway.ports["tcp"]) as unknown:
        assert unknown.login() == b"\x01"


def test_the_login_policy_and_its_timeout(gateway: Configured) -> None:
    told = reloaded(gateway, '[login]\npolicy = "known"\ntimeout = 1\n' + BASE)
    assert (told["event"], told["changed"]) == ("configuration reloaded", ["login.policy", "login.timeout"])
    with Terminal("860000000021000", gateway.ports["tcp"]) as unknown:
        assert unknown.login() == b"\0"
    with Terminal("860000000021000", gateway.ports["tcp"]) as silent:
        begun = time.monotonic()
        assert silent.ended()
        assert time.monotonic() - begun < 4
    assert reloaded(gateway, BASE)["changed"] == ["login.policy", "login.timeout"]
    with Terminal("860000000021000", gateway.ports["tcp"]) as unknown:
        assert unknown.login() == b"\x01"


def test_listeners_come_and_go_and_their_connections_stay(gateway: Configured) -> None:
    more = BASE + '[[listen]]\nprotocol = "teltonika"\naddress = "127.0.0.1:<<more>>"\n'
    with Terminal("860000000022000", gateway.ports["tcp"]) as old:
        assert old.login() == b"\x01"
        assert reloaded(gateway, more)["changed"] == ["listen"]
        with Terminal("860000000022001", gateway.ports["more"]) as new:
            assert new.login() == b"\x01"
            reloaded(gateway, BASE)
            with pytest.raises(ConnectionError):
                Terminal("860000000022002", gateway.ports["more"])
            for terminal in (old, new):
                terminal.send(3)
                assert terminal.ack() == 3
    with socket.create_server(("127.0.0.1", gateway.ports["more"])):
        told = reloaded(gateway, more)
    assert told["event"] == "configuration not reloaded"
    assert f"cannot listen on 127.0.0.1:{gateway.ports['more']} (teltonika): Address" in str(told["problems"])


def test_a_listener_changes_its_protocol_and_gets_tls_at_the_same_address(gateway: Configured, tmp_path: Path) -> None:
    first, first_key = make_certificate(tmp_path, "first")
    second, second_key = make_certificate(tmp_path, "second")
    secure = BASE + 'tls = {cert = "CERT", key = "KEY"}\n'
    port = gateway.ports["tcp"]

    def over_tls(cert: Path, imei: str) -> Terminal:
        return Terminal(imei, port, tls=ssl.create_default_context(cafile=cert), name=cert.stem)

    with Terminal("860000000023000", port) as plain:
        assert plain.login() == b"\x01"
        live, key = tmp_path / "live.crt", tmp_path / "live.key"
        live.write_bytes(first.read_bytes())
        key.write_bytes(first_key.read_bytes())
        text = secure.replace("CERT", str(live)).replace("KEY", str(key))
        reloaded(gateway, text)
        with over_tls(first, "860000000023001") as one:
            assert one.login() == b"\x01"
            live.write_bytes(second.read_bytes())
            told = reloaded(gateway, text)  # half of a renewal: the key is still the old one
            assert "do not belong together" in str(told["problems"])
            with over_tls(first, "860000000023002") as still:
                assert still.login() == b"\x01"
            key.write_bytes(second_key.read_bytes())
            assert reloaded(gateway, text)["event"] == "configuration reloaded"
            with over_tls(second, "860000000023003") as renewed:
                assert renewed.login() == b"\x01"
            reloaded(gateway, BASE.replace("teltonika", "wialon-ips"))
            with Terminal("", port) as other:
                other.socket.sendall(b"#L#860000000023004;NA\r\n")
                assert other.read(7) == b"#AL#1\r\n"
            reloaded(gateway, BASE)
            for terminal in (plain, one):
                terminal.send()
                assert terminal.ack() == 1


def test_what_cannot_change_is_named_and_kept(gateway: Configured, tmp_path: Path) -> None:
    told = reloaded(
        gateway, f'data_dir = "{tmp_path}/other"\n[desk]\ntiles = "https://t.example/{{z}}/{{x}}/{{y}}.png"\n' + BASE
    )
    assert (told["event"], told["changed"]) == ("configuration reloaded", [])
    wait_for(lambda: "kept until the next start" in gateway.log())
    (line,) = [line for line in gateway.log().splitlines() if "kept until the next start" in line]
    assert json.loads(line)["keys"] == ["desk.tiles"]  # data_dir comes from the environment, which wins
    reloaded(gateway, BASE)


def test_letters_go_by_the_new_mail_server_and_in_the_new_name(gateway: Configured) -> None:
    """The first reload brings a mail server, the second takes it away, the third brings it under another name."""

    async def scenario() -> list[str]:
        sink = Sink()
        async with smtp(sink) as port, pool_of(gateway.service.dsn) as pool:
            mail = f'[mail]\nhost = "127.0.0.1"\nport = {port}\n'

            async def owed(number: int) -> int:
                row, _ = await ticket(pool)
                to = [Recipient(None, f"ann{number}@acme.example", "Ann")]
                async with pool.connection() as connection:
                    await owe(
                        connection, "ack", key=f"reload/{number}", ticket=row, recipients=to, data={},
                        at=datetime.now(UTC), auto=True,
                    )  # fmt: skip
                return number

            told = await asyncio.to_thread(
                reloaded, gateway, f'[desk]\naddresses = ["first@desk.example"]\n{mail}{BASE}'
            )
            assert set(told["changed"]) == {"desk.addresses", "mail.host", "mail.port", "mail.from"}  # type: ignore[call-overload]
            await owed(1)
            await asyncio.to_thread(wait_for, lambda: len(sink.letters) == 1, 20)
            await asyncio.to_thread(reloaded, gateway, BASE)
            await owed(2)
            await asyncio.to_thread(reloaded, gateway, f'[desk]\naddresses = ["other@desk.example"]\n{mail}{BASE}')
            await asyncio.to_thread(wait_for, lambda: len(sink.letters) == 2, 20)
            await asyncio.to_thread(reloaded, gateway, BASE)
            return [str(message_from_bytes(raw)["From"]) for _, _, raw in sink.letters]

    assert asyncio.run(scenario()) == ["first@desk.example", "other@desk.example"]


def test_silence_is_judged_by_the_new_limits(gateway: Configured) -> None:
    """And the ticket is told to a channel that was not there before."""
    imei = "860000000024000"
    with Terminal(imei, gateway.ports["tcp"]) as terminal:
        assert terminal.login() == b"\x01"
        for _ in range(2):  # one that never reports a second time is unknown, not silent
            terminal.send()
            assert terminal.ack() == 1
    told = reloaded(
        gateway,
        "[watch.silence]\nfloor = 1\nceiling = 2\n[watch.incidents]\nhold = 0\n"
        '[[webhook]]\nurl = "http://127.0.0.1:9/hook"\n' + BASE,
    )
    plain = ["watch.silence.expected", "watch.silence.floor", "watch.silence.ceiling"]
    assert told["changed"] == [*plain, "watch.incidents.hold", "webhook"]
    find = (
        "SELECT o.channel, o.target FROM ticket t JOIN terminal ON terminal.id = t.terminal "
        "JOIN outbox o ON o.ticket = t.id WHERE identity = %s AND t.kind = 'silence' AND o.attempts > 0"
    )
    wait_for(lambda: gateway.query(find, imei), 20)
    assert gateway.query(find, imei) == [("webhook", "http://127.0.0.1:9/hook")]
    reloaded(gateway, BASE)


def test_a_catalogue_that_cannot_be_read_changes_nothing(gateway: Configured, tmp_path: Path) -> None:
    catalogue = tmp_path / "releases.toml"
    catalogue.write_text("grace = 3\n")
    told = reloaded(
        gateway,
        f'[login]\npolicy = "known"\n[watch.firmware]\ncatalogue = "{catalogue}"\n' + BASE.replace("tcp", "new"),
    )
    assert told["event"] == "configuration not reloaded"
    with Terminal("860000000025000", gateway.ports["tcp"]) as terminal:
        assert terminal.login() == b"\x01"
    with pytest.raises(ConnectionError):
        Terminal("860000000025000", gateway.ports["new"])


@pytest.mark.slow
def test_reloads_under_load_drop_nothing(gateway: Configured) -> None:
    """Connected terminals go on, and new ones are let in, while the file changes to and fro."""
    until = threading.Event()
    problems: list[str] = []

    def go_on(imei: str) -> None:
        with Terminal(imei, gateway.ports["tcp"]) as terminal:
            if terminal.login() != b"\x01":
                problems.append(f"{imei}: no login")
            while not until.is_set():
                terminal.send(2)
                if terminal.ack() != 2:
                    problems.append(f"{imei}: no ack")
                    return

    def come_and_go() -> None:
        number = 0
        while not until.is_set():
            number += 1
            with Terminal(str(860_000_000_027_000 + number), gateway.ports["tcp"]) as terminal:
                if terminal.login() != b"\x01":
                    problems.append(f"{number}: no login")

    threads = [threading.Thread(target=go_on, args=[f"86000000002600{n}"]) for n in range(4)]
    threads.append(threading.Thread(target=come_and_go))
    for thread in threads:
        thread.start()
    changes = ("[limits]\nallow = ['127.0.0.0/8']\n", "proxy", "", "[login]\ntimeout = 'soon'\n", "[watch.x]\n")
    for number in range(15):
        change = changes[number % len(changes)]
        # behind PROXY listeners connections are accepted in another way, at the same address
        text = BASE + 'proxy_protocol_from = ["127.0.0.77"]\n' if change == "proxy" else change + BASE
        gateway.reload(text)
    until.set()
    for thread in threads:
        thread.join(10)
    assert not problems
    gateway.reload(BASE)


def test_retention_counts_as_soon_as_it_is_set(gateway: Configured) -> None:
    with psycopg.connect(gateway.service.dsn, autocommit=True) as link:
        for year in (2001, 2002):
            bounds = f"FOR VALUES FROM ('{year}-01-01Z') TO ('{year + 1}-01-01Z')"
            link.execute(f"CREATE TABLE old_{year} PARTITION OF record {bounds}".encode())
    left = "SELECT relname::text FROM pg_class WHERE relname LIKE 'old\\_20__' AND relkind = 'r' ORDER BY 1"
    assert gateway.query(left) == [("old_2001",), ("old_2002",)]
    days = int(time.time() - 1_041_400_000) // 86_400  # since the end of 2002: half of it is older
    reloaded(gateway, BASE + f'[store]\nretention = "{days + 100}d"\n')
    wait_for(lambda: gateway.query(left) == [("old_2002",)])
    reloaded(gateway, BASE + f'[store]\nretention = "{days - 100}d"\n')
    wait_for(lambda: gateway.query(left) == [])
    assert '"retention"' in gateway.log()
    reloaded(gateway, BASE)


def test_keys_that_changed(tmp_path: Path) -> None:
    file = tmp_path / "dozor.toml"
    file.write_text("")
    before = load(file, {"HOME": "/x"})
    file.write_text(
        '[login]\ntimeout = 3\n[store]\ndsn = "host=x"\nretention = "9d"\n[desk]\naddress = "127.0.0.1:1"\n'
        '[metrics]\naddress = "127.0.0.1:2"\n[[webhook]]\nurl = "http://x"\n[mail]\nfrom = "a@b"\n'
    )
    after = load(file, {"HOME": "/x"})
    told = ["store.dsn", "store.retention", "login.timeout", "desk.address", "mail.from", "webhook", "metrics.address"]
    assert changed(before, after) == told
    held, names = kept(before, after)
    assert names == ["store.dsn", "desk.address", "metrics.address"]
    assert changed(before, held) == [key for key in told if key not in names]


@pytest.mark.parametrize(("key", "text"), [(row[0], row[2]) for row in EVERY_KEY if row[0] != "mail.user"])
def test_each_key_is_taken_over_or_kept_until_the_next_start(tmp_path: Path, key: str, text: str) -> None:
    file = tmp_path / "dozor.toml"
    file.write_text("")
    before = load(file, {"HOME": "/x"})
    file.write_text(as_toml(key, text))
    after = load(file, {"HOME": "/x"})
    # These ask for the plain rule.
    plain = key in ("watch.silence.after", "watch.silence.ceiling", "watch.silence.learn")
    both = ["watch.silence.expected", key] if plain else [key]
    assert changed(before, after) == both
    held, names = kept(before, after)
    fixed = key in ("data_dir", "store.dsn") or (key.startswith(("desk.", "metrics.")) and key not in OF_LETTERS)
    assert names == ([key] if fixed else [])
    assert changed(before, held) == ([] if fixed else both)


def test_every_key_at_once_changes_while_terminals_are_served(gateway: Configured) -> None:
    wait_for(lambda: gateway.service.metric("dozor_connections{") == 0)
    environment = {"data_dir", "desk.address", "metrics.address"}  # which wins over the file
    fixed = {row[0] for row in EVERY_KEY if row[0].startswith("desk.")} - OF_LETTERS | {"store.dsn"}
    tables: dict[str, str] = {}
    for key, _, text, _, _ in EVERY_KEY:
        table, _, name = key.rpartition(".")
        tables[table] = tables.get(table, f"[{table}]\n" if table else "") + f"{name} = {text}\n"
    with Terminal("860000000022000", gateway.ports["tcp"]) as terminal:
        assert terminal.login() == b"\x01"
        terminal.send()
        assert terminal.ack() == 1
        seen = gateway.log().count("kept until the next start")
        told = reloaded(gateway, "".join(tables.values()) + BASE)
        assert told["event"] == "configuration reloaded"
        expected = {row[0] for row in EVERY_KEY} - environment - fixed - {"mail.user"}
        assert set(told["changed"]) == expected  # type: ignore[call-overload]
        wait_for(lambda: gateway.log().count("kept until the next start") > seen)
        line = [line for line in gateway.log().splitlines() if "kept until the next start" in line][-1]
        assert set(json.loads(line)["keys"]) == fixed - environment
        terminal.send()
        assert terminal.ack() == 1
        with Terminal("860000000022001", gateway.ports["tcp"]) as other:
            assert other.ended(), "its address is none of limits.allow"
        assert gateway.refused("not_allowed") == 1
        assert set(reloaded(gateway, BASE)["changed"]) == expected  # type: ignore[call-overload]
        terminal.send()
        assert terminal.ack() == 1
