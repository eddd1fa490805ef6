"""Commands to terminals, from outside: a service of three workers, another beside it on its store, and sockets.

Nothing goes out after its time, and nothing twice; an answer is that of the command it answers.
"""

from __future__ import annotations

import itertools
import json
import random
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest

from protocols.teltonika import declaration as teltonika
from protocols.wialon_ips import packets
from tests.gateway.wire import Link, no_exception, wait_for
from tests.harness import ServiceProcess, data_directory, running_service

ONE = bytes.fromhex("00000001")
SERIAL = itertools.count(1)


@dataclass
class Gateway:
    """Two services on one store: `first` with three workers, `second` in one process, which asks for versions."""

    first: ServiceProcess
    second: ServiceProcess
    token: str = ""
    services: list[ServiceProcess] = field(init=False)

    def __post_init__(self) -> None:
        self.services = [self.first, self.second]

    def api(self, method: str, path: str, body: Any = None, service: ServiceProcess | None = None) -> tuple[int, Any]:
        """Status and JSON."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{(service or self.first).ports['desk']}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def send(self, terminal: str, text: str = "getinfo", expires: object = "10m", **more: object) -> int:
        """Queue a command; its number."""
        status, told = self.api(
            "POST", f"/api/terminals/{terminal}/commands", {"text": text, "expires_in": expires, **more}
        )
        assert status == 201, told
        assert (told["state"], told["text"], told["result"], told["created_by"]) == ("queued", text, None, "anna")
        return int(told["id"])

    def command(self, terminal: str, number: int) -> dict[str, Any]:
        """A command as it stands."""
        status, told = self.api("GET", f"/api/terminals/{terminal}/commands/{number}", service=self.second)
        assert status == 200
        assert isinstance(told, dict)
        return told

    def becomes(self, terminal: str, number: int, state: str, within: float = 8.0) -> dict[str, Any]:
        """Wait for a state."""
        found = wait_for(lambda: (told := self.command(terminal, number))["state"] == state and told, within)
        assert isinstance(found, dict)
        return found

    def texts(self, terminal: str) -> list[object]:
        """What of it is among its messages, oldest first."""
        return [
            row[0] for row in self.first.query("SELECT body FROM message WHERE terminal = %s ORDER BY id", terminal)
        ]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with ExitStack() as stack:
        first = stack.enter_context(running_service("--workers", "3", DOZOR_WATCH__FIRMWARE__ASK="false"))
        folder = stack.enter_context(data_directory())
        second = ServiceProcess(folder, DOZOR_STORE__DSN=first.dsn)
        stack.callback(second.end)
        second.start()
        assert first.command("user", "add", "anna", "--role", "engineer", "--password-stdin", text="long enough!!\n")
        yield Gateway(first, second, first.command("user", "token", "anna", "--scope", "full").stdout.strip())
        no_exception(first)
        no_exception(second)


@pytest.fixture
def imei(gateway: Gateway) -> str:
    """A terminal of its own for each test."""
    return register(gateway)


def register(gateway: Gateway) -> str:
    """A registered terminal, which is not asked for its version."""
    name = f"3569380357{next(SERIAL):05d}"
    gateway.first.query(
        "WITH made AS (INSERT INTO terminal (identity, protocol) VALUES (%s, 'teltonika') RETURNING id)"
        " INSERT INTO version_ask SELECT id, now(), 0 FROM made RETURNING 1",
        name,
    )
    return name


def frame() -> bytes:
    """A record of now."""
    record = teltonika.avl_record(timestamp=round(time.time() * 1000), latitude=10_000_000, satellites=7)
    return teltonika.avl_frame(teltonika.CODEC_8, [record])


def answer(text: str) -> bytes:
    """What a terminal says to a command."""
    return teltonika.command(text, kind=teltonika.RESPONSE)


@contextmanager
def connected(service: ServiceProcess, imei: str) -> Iterator[Link]:
    """Logged in, with one record acknowledged."""
    with Link(service, "teltonika") as link:
        assert link.send(teltonika.login(imei) + frame()).read(5) == b"\x01" + ONE
        yield link


def heard(link: Link, text: str = "getinfo") -> None:
    """The next thing it is told is this command."""
    wanted = teltonika.command(text)
    assert link.read(len(wanted)) == wanted


def nothing(link: Link, seconds: float = 0.6) -> None:
    """It is told nothing, and is still served."""
    link.socket.settimeout(seconds)
    with pytest.raises(TimeoutError):
        link.socket.recv(1)
    link.socket.settimeout(10)
    assert link.send(frame()).read(4) == ONE


@pytest.mark.parametrize("where", [0, 1], ids=["three workers", "the other service"])
def test_one_that_is_connected_hears_it_at_once_and_answers(gateway: Gateway, imei: str, where: int) -> None:
    service = gateway.services[where]
    with connected(service, imei) as link:
        begun = time.monotonic()
        number = gateway.send(imei, "getinfo")
        heard(link)
        assert time.monotonic() - begun < 2
        gateway.becomes(imei, number, "sent")
        link.send(answer("INI:2026/11/29 RTC:2026/11/29 ERR:1 \x1b[2J"))
        told = gateway.becomes(imei, number, "done")
        assert told["result"] == "INI:2026/11/29 RTC:2026/11/29 ERR:1 \x1b[2J"
        assert told["sent_at"] < told["finished_at"] < told["expires_at"]
        nothing(link)
    assert [command["id"] for command in gateway.api("GET", f"/api/terminals/{imei}/commands")[1]["items"]] == [number]


def test_one_that_is_away_hears_it_when_it_logs_in_but_not_after_its_time(gateway: Gateway, imei: str) -> None:
    late, number = gateway.send(imei, "setdigout 1", 0.7), gateway.send(imei, "getinfo")
    told = gateway.becomes(imei, late, "expired")
    assert (told["sent_at"], told["result"]) == (None, None)
    with Link(gateway.first, "teltonika") as link:
        assert link.send(teltonika.login(imei)).read(1) == b"\x01"
        heard(link)  # and not the other one
        link.send(answer("yes"))
        assert gateway.becomes(imei, number, "done")["result"] == "yes"
        nothing(link)


def test_lost_while_sent_it_is_not_repeated_and_fails_when_its_time_is_over(gateway: Gateway, imei: str) -> None:
    with connected(gateway.first, imei) as link:
        number = gateway.send(imei, "cpureset", 2)
        heard(link, "cpureset")
    for service in (gateway.first, gateway.second):
        with connected(service, imei) as link:
            nothing(link)
    assert gateway.command(imei, number)["state"] == "sent"
    told = gateway.becomes(imei, number, "failed")
    assert "may have been carried out" in told["reason"]
    with connected(gateway.first, imei) as link:
        nothing(link)


def test_with_repeat_it_is_asked_again_on_the_next_connection_once(gateway: Gateway, imei: str) -> None:
    number = gateway.send(imei, "getinfo", "1m", repeat=True)
    for service in (gateway.second, gateway.first, gateway.first):
        with Link(service, "teltonika") as link:
            assert link.send(teltonika.login(imei)).read(1) == b"\x01"
            heard(link)
            nothing(link, 0.3)
    with connected(gateway.first, imei) as link:
        heard(link)
        link.send(answer("at last"))
        assert gateway.becomes(imei, number, "done")["result"] == "at last"
    with connected(gateway.second, imei) as link:
        nothing(link, 0.3)


def test_an_answer_after_its_time_is_a_message_and_not_the_next_ones(gateway: Gateway, imei: str) -> None:
    with connected(gateway.first, imei) as link:
        first = gateway.send(imei, "getgps", 1)
        heard(link, "getgps")
        gateway.becomes(imei, first, "failed")
        second = gateway.send(imei, "getio")
        heard(link, "getio")
        link.send(answer("GPS:1")).send(answer("DI1:0"))
        assert gateway.becomes(imei, second, "done")["result"] == "DI1:0"
        assert gateway.command(imei, first)["state"] == "failed"
        wait_for(lambda: gateway.texts(imei) == ["GPS:1", "DI1:0"])


def test_one_at_a_time_in_their_order_and_an_answer_given_twice_counts_once(gateway: Gateway, imei: str) -> None:
    texts = [f"getparam {n}" for n in range(4)]
    numbers = [gateway.send(imei, text) for text in texts]
    with Link(gateway.second, "teltonika") as link:
        assert link.send(teltonika.login(imei)).read(1) == b"\x01"
        for text in texts:
            heard(link, text)
            nothing_before_the_answer = gateway.command(imei, numbers[-1])["state"]
            assert nothing_before_the_answer == ("sent" if text == texts[-1] else "queued")
            link.send(answer(f"{text}: 1"))
    for text, number in zip(texts, numbers, strict=True):
        assert gateway.becomes(imei, number, "done")["result"] == f"{text}: 1"
    with connected(gateway.first, imei) as link:
        number = gateway.send(imei, "getio")
        heard(link, "getio")
        link.send(answer("DI1:0") * 2)
        gateway.becomes(imei, number, "done")
        other = gateway.send(imei, "getgps")
        heard(link, "getgps")
        nothing(link, 0.3)
        assert gateway.command(imei, other)["state"] == "sent"


def test_the_same_key_is_the_same_command_whoever_says_it_when(gateway: Gateway, imei: str) -> None:
    body = {"text": "getinfo", "key": "night 7"}

    def ask(place: int) -> tuple[int, Any]:
        return gateway.api("POST", f"/api/terminals/{imei}/commands", body, gateway.services[place % 2])

    with connected(gateway.first, imei) as link, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(12)))
        assert sorted(status for status, _ in answers) == [200] * 11 + [201]
        assert len({told["id"] for _, told in answers}) == 1
        heard(link)
        nothing(link)
        link.send(answer("once"))
        number = answers[0][1]["id"]
        gateway.becomes(imei, number, "done")
        status, told = ask(0)
        assert (status, told["id"], told["result"]) == (200, number, "once")
        nothing(link, 0.3)
    assert gateway.api("POST", f"/api/terminals/{imei}/commands", {**body, "text": "getgps"})[0] == 409


def test_the_newest_connection_hears_it_wherever_the_older_one_hangs(gateway: Gateway, imei: str) -> None:
    with connected(gateway.second, imei) as older, connected(gateway.first, imei) as newer:
        open_ones = "SELECT count(*) FROM connection WHERE terminal = %s AND closed_at IS NULL"
        wait_for(lambda: gateway.first.query(open_ones, imei) == [(2,)])  # services do not see one another's sockets
        older.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            older.read(64)
        for _ in range(5):
            number = gateway.send(imei)
            heard(newer)
            newer.send(answer("here"))
            gateway.becomes(imei, number, "done")
        with pytest.raises(TimeoutError):
            older.read(1)


def test_the_gateways_own_question_is_not_a_commands(gateway: Gateway, imei: str) -> None:
    """The second service asks for the version after the first ack; commands wait for that answer."""
    gateway.first.query("DELETE FROM version_ask RETURNING 1")
    with Link(gateway.second, "teltonika") as link:
        own = len(teltonika.command("getver"))
        link.send(teltonika.login(imei) + frame())
        assert link.read(5 + own) == b"\x01" + ONE + teltonika.command("getver")
        number = gateway.send(imei, "getinfo")
        time.sleep(0.3)
        assert gateway.command(imei, number)["state"] == "queued"
        link.send(answer("Ver:03.29.00_05 Hw:FMC130"))
        heard(link)
        link.send(answer("INI:1"))
        assert gateway.becomes(imei, number, "done")["result"] == "INI:1"
        wait_for(
            lambda: gateway.first.query("SELECT firmware FROM terminal WHERE identity = %s", imei) == [("03.29.00_05",)]
        )
        # A user's own getver is a command like any other, and tells the version too.
        number = gateway.send(imei, "getver")
        heard(link, "getver")
        link.send(answer("Ver:03.30.01_01 Hw:FMC130"))
        assert gateway.becomes(imei, number, "done")["result"] == "Ver:03.30.01_01 Hw:FMC130"
        wait_for(
            lambda: gateway.first.query("SELECT firmware FROM terminal WHERE identity = %s", imei) == [("03.30.01_01",)]
        )


def test_killed_between_sending_and_the_answer(gateway: Gateway, imei: str) -> None:
    """Whoever comes after it sends nothing again, but what may be repeated."""
    other = register(gateway)
    with connected(gateway.second, imei) as link, connected(gateway.second, other) as repeating:
        number, again = gateway.send(imei, "setdigout 1", 5), gateway.send(other, "getio", "1m", repeat=True)
        heard(link, "setdigout 1")
        heard(repeating, "getio")
        gateway.second.kill()
    try:
        with connected(gateway.first, imei) as link, connected(gateway.first, other) as repeating:
            heard(repeating, "getio")
            repeating.send(answer("DI1:0"))
            nothing(link)
    finally:
        gateway.second.start()
    assert gateway.becomes(other, again, "done")["result"] == "DI1:0"
    gateway.becomes(imei, number, "failed")
    with connected(gateway.second, imei) as link:
        nothing(link)
    # A worker dies alone.
    with connected(gateway.first, imei) as link:
        gateway.send(imei, "setdigout 0", "1m")
        heard(link, "setdigout 0")
        assert gateway.first.process is not None
        port = link.socket.getsockname()[1]
        for worker in psutil.Process(gateway.first.process.pid).children():
            if any(
                c.raddr and c.raddr.port == port for c in worker.net_connections("tcp") if c.status == "ESTABLISHED"
            ):
                worker.kill()
                worker.wait(10)  # its listening sockets may close behind its connections
        assert link.rest() == b""
    with connected(gateway.first, imei) as link:
        nothing(link)


@pytest.mark.parametrize("jump", ["-1 hour", "1 hour"], ids=["set back", "set ahead"])
def test_a_clock_that_is_set_makes_nothing_go_out_late(gateway: Gateway, imei: str, jump: str) -> None:
    """The store's clock jumps: seen from there, what was stored before moves the other way."""
    queued = gateway.send(imei, "setdigout 1", "10m")
    moved = (
        "UPDATE command SET created_at = created_at - j, expires_at = expires_at - j FROM (SELECT %s::interval AS j) x"
        " WHERE id = %s RETURNING 1"
    )
    assert gateway.first.query(moved, jump, queued) == [(1,)]
    with connected(gateway.first, imei) as link:
        nothing(link)
        number = gateway.send(imei, "getinfo")
        heard(link)
        link.send(answer("now"))
        gateway.becomes(imei, number, "done")
    assert gateway.becomes(imei, queued, "expired")["sent_at"] is None


def test_notices_may_be_lost(gateway: Gateway, imei: str) -> None:
    """The connection that brings them breaks, a command comes meanwhile: it is found on looking again."""
    with connected(gateway.first, imei) as link:
        which = "FROM pg_stat_activity WHERE application_name = 'dozor registry'"
        wait_for(lambda: gateway.first.query(f"SELECT count(*) {which}") == [(4,)])  # a worker may just have come back
        assert gateway.first.query(f"SELECT count(pg_terminate_backend(pid)) {which}") == [(4,)]
        number = gateway.send(imei)
        heard(link)
        link.send(answer("found"))
        gateway.becomes(imei, number, "done")


@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_wialon_hears_words_and_says_that_it_took_them(gateway: Gateway, version: str) -> None:
    name, variant = f"wl-{next(SERIAL)}", 1 if version == "1.1" else 2
    with Link(gateway.first, "wialon-ips") as link:
        assert link.send(packets.login(name, version=version)).read(7) == b"#AL#1\r\n"
        for text, said, state, result in (
            ("Где вы? #1;2", b"#AM#1\r\n", "done", "#AM#1"),
            ("refused", b"#AM#0\r\n", "failed", "#AM#0"),
            ("call me", packets.driver_message("in an hour", variant), "done", "in an hour"),
        ):
            number = gateway.send(name, text)
            wanted = packets.driver_message(text, variant)
            assert link.read(len(wanted)) == wanted
            link.send(said)
            assert gateway.becomes(name, number, state)["result"] == result
        assert link.finish() == b"#AM#1\r\n"  # the driver's words are acknowledged, receipts are not
    for text in ("two\r\nlines", "#M#\nx", "", "   ", "x" * 513, "nul\0"):
        status, told = gateway.api("POST", f"/api/terminals/{name}/commands", {"text": text})
        assert status == 400, (text, told)


def test_who_cannot_be_asked(gateway: Gateway, imei: str) -> None:
    gateway.first.query("INSERT INTO terminal (identity, protocol) VALUES ('991', 'omnicomm') RETURNING 1")
    status, told = gateway.api("POST", "/api/terminals/991/commands", {"text": "getver"})
    assert status == 409
    assert "omnicomm has no commands" in told["error"]
    assert gateway.api("POST", "/api/terminals/nobody/commands", {"text": "getver"})[0] == 404
    assert gateway.api("POST", f"/api/terminals/{imei}/commands", {"text": "двери"})[0] == 400  # Codec 12 is ASCII
    # Queued before anybody knew what it speaks, and it speaks something that has no such words.
    gateway.first.query("INSERT INTO terminal (identity) VALUES ('356938035799999') RETURNING 1")
    number = gateway.send("356938035799999", "двери")
    with connected(gateway.first, "356938035799999") as link:
        assert "ASCII" in gateway.becomes("356938035799999", number, "failed")["reason"]
        nothing(link, 0.1)
    # Over UDP there is nobody to be sent anything.
    number = gateway.send(imei, "getinfo", 1)
    record = teltonika.avl_record(timestamp=round(time.time() * 1000), latitude=1, satellites=5)
    data = teltonika.udp_datagram(teltonika.avl_payload(teltonika.CODEC_8, [record]), imei)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(5)
        link.sendto(data, ("127.0.0.1", gateway.first.ports["teltonika"]))
        assert len(link.recv(100)) == 7
        link.settimeout(0.3)
        with pytest.raises(TimeoutError):
            link.recv(100)
    gateway.becomes(imei, number, "expired")


def test_from_the_command_line(gateway: Gateway, imei: str) -> None:
    with connected(gateway.first, imei) as link:

        def terminal() -> None:
            heard(link)
            link.send(answer("\x1b[31mred"))

        thread = threading.Thread(target=terminal)
        thread.start()
        done = gateway.first.command("terminal", "send", imei, "getinfo", "--expires", "1m", "--wait", "--key", "k")
        thread.join()
        assert (done.returncode, done.stdout.split("\t")[1:]) == (0, ["done", "\\x1b[31mred\n"])
        done = gateway.first.command("terminal", "send", imei, "getinfo", "--key", "k", "--json")
        told = json.loads(done.stdout.splitlines()[-1])
        assert (done.returncode, told["state"], told["result"]) == (0, "done", "\x1b[31mred")
        assert told["created_by"].endswith("(command line)")
    done = gateway.first.command("terminal", "send", imei, "getinfo", "--expires", "1s", "--wait")
    assert (done.returncode, done.stdout.split("\t")[1]) == (1, "expired")
    done = gateway.first.command("terminal", "send", "nobody", "getver")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "dozor terminal send: no such terminal\n")


def test_it_is_counted_by_protocol_and_state(gateway: Gateway) -> None:
    """By whoever watches: all of the store's, over workers, services and restarts."""
    told = dict(
        gateway.first.query("SELECT state, sum(count)::int FROM command_count WHERE protocol = 'teltonika' GROUP BY 1")
    )
    assert set(told) == {"queued", "sent", "done", "failed", "expired"}

    def shown() -> bool:
        name = 'dozor_commands_total{{protocol="teltonika",state="{}"}}'
        return any(
            all(service.metric(name.format(state)) == count for state, count in told.items())
            for service in gateway.services
        )

    wait_for(shown, 15)


@pytest.mark.soak
def test_a_fleet_under_commands_while_everything_dies(gateway: Gateway) -> None:
    """Terminals that answer, answer late, never and twice, and hang up; services and workers are killed meanwhile."""
    fleet = [register(gateway) for _ in range(60)]
    received: list[tuple[str, str, float]] = []
    over = threading.Event()

    def run(name: str) -> None:
        dice = random.Random(name)
        while not over.is_set():
            service = dice.choice(gateway.services)
            try:
                with Link(service, "teltonika", 3) as link:
                    link.send(teltonika.login(name))
                    assert link.read(1) == b"\x01"
                    link.socket.settimeout(1)
                    for _ in range(dice.randrange(1, 12)):
                        try:
                            head = link.read(8)
                        except TimeoutError:
                            if over.is_set():
                                return
                            continue
                        if len(head) < 8:
                            break
                        body = link.read(int.from_bytes(head[4:], "big") + 4)
                        text = body[7:-5].decode()
                        received.append((name, text, time.time()))
                        fate = dice.random()
                        if fate < 0.15:
                            break
                        time.sleep(dice.uniform(0.5, 3) if fate < 0.35 else 0)
                        if fate > 0.5:
                            link.send(answer(f"re {text}") * (2 if fate > 0.9 else 1))
            except (OSError, AssertionError):
                time.sleep(0.3)

    threads = [threading.Thread(target=run, args=(name,)) for name in fleet]
    for thread in threads:
        thread.start()
    queued: dict[tuple[str, str], tuple[int, bool]] = {}
    dice = random.Random(7)
    try:
        begun = time.monotonic()
        kills = 0
        while time.monotonic() - begun < 120:
            name, text = dice.choice(fleet), f"do {len(queued)}"
            repeat = dice.random() < 0.3
            body = {"text": text, "expires_in": dice.uniform(0.3, 8), "repeat": repeat, "key": text}
            for _ in range(2):
                status, told = gateway.api("POST", f"/api/terminals/{name}/commands", body)
                if status in (200, 201):
                    queued[name, text] = told["id"], repeat
            time.sleep(0.02)
            if time.monotonic() - begun > 15 * (kills + 1):
                kills += 1
                if kills % 2:
                    gateway.second.kill()
                    gateway.second.start()
                else:
                    assert gateway.first.process is not None
                    workers = [
                        child
                        for child in psutil.Process(gateway.first.process.pid).children()
                        if "gateway.workers.child" in " ".join(child.cmdline())
                    ]
                    dice.choice(workers).kill()
        time.sleep(12)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    rows = gateway.first.query(
        "SELECT t.identity, c.text, c.state, c.repeat, c.result, extract(epoch FROM c.expires_at)::float8"
        " FROM command c JOIN terminal t ON t.id = c.terminal WHERE t.identity = ANY(%s)",
        fleet,
    )
    known = {(str(row[0]), str(row[1])): row[2:] for row in rows}
    assert set(queued) <= set(known)
    heard_of: dict[tuple[str, str], list[float]] = {}
    for name, text, at in received:
        heard_of.setdefault((name, text), []).append(at)
    wrong = 0
    for key, times in heard_of.items():
        state, repeat, result, expires = known[key]
        assert len(times) == 1 or repeat, key
        assert max(times) < float(str(expires)) + 0.5, key
        assert state in ("done", "failed"), key
        wrong += result is not None and result != f"re {key[1]}"
    for key, (state, *_) in known.items():
        assert state in ("done", "failed", "expired"), key
        assert state != "expired" or key not in heard_of, key
    assert wrong == 0
    assert sum(state == "done" for state, *_ in known.values()) > len(known) / 5
