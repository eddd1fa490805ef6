"""Several services on one store: all receive, one watches, another takes over."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psycopg
import pytest

from detectors.columns import Contacts
from gateway.watch.contacts import Told
from gateway.watch.detecting import DETECTORS
from protocols.teltonika.declaration import CODEC_8, avl_frame, avl_record, login
from tests.gateway.wire import Link, wait_for
from tests.harness import ServiceProcess, data_directory

# Quick enough to see tickets: a terminal that reports each half second is silent after 3 s, and its ticket 1 s later.
QUICK = {
    "DOZOR_WATCH__SILENCE__FLOOR": "3s",
    "DOZOR_WATCH__SILENCE__CEILING": "60s",
    "DOZOR_WATCH__SILENCE__LEARN": "3",
    "DOZOR_WATCH__INCIDENTS__HOLD": "1s",
    "DOZOR_WATCH__FIRMWARE__ASK": "false",
}
TICKET = 3.0 + 1.0 + 2.0  # s from the last frame to the ticket where somebody watches: limit, hold, ticks
TAKEN_OVER = 10.0  # s


@contextmanager
def services(dsn: str, count: int, **environment: str) -> Iterator[list[ServiceProcess]]:
    """Ready services on one store; the first one watches."""
    with data_directory() as folder:
        running: list[ServiceProcess] = []
        try:
            for number in range(count):
                home = folder.parent / str(number)
                home.mkdir()
                home.chmod(0o711)
                service = ServiceProcess(home / "data", DOZOR_STORE__DSN=dsn, **{**QUICK, **environment})
                running.append(service)
                service.start()
            yield running
        finally:
            while Vehicle.links:
                Vehicle.links.pop().socket.close()
            for service in running:
                service.end()


def active(service: ServiceProcess) -> bool:
    return service.metric("dozor_watch_active") == 1


def logged(service: ServiceProcess) -> str:
    return service.log.read_text(errors="replace")


def tickets(dsn: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as link:
        return link.execute(
            "SELECT e.identity, t.kind, t.opened_at FROM ticket t JOIN terminal e ON e.id = t.terminal ORDER BY t.id"
        ).fetchall()


class Vehicle:
    """A terminal that reports when told to; `services` closes its connection."""

    links: ClassVar[list[Link]] = []

    def __init__(self, service: ServiceProcess, imei: str) -> None:
        self.link = Link(service, "teltonika")
        self.links.append(self.link)
        self.imei = imei
        assert self.link.send(login(imei)).read(1) == b"\x01"

    def report(self) -> None:
        """One record of now, acknowledged."""
        record = avl_record(timestamp=int(time.time() * 1000), latitude=10_000_000, satellites=7)
        assert self.link.send(avl_frame(CODEC_8, [record])).read(4) == b"\x00\x00\x00\x01"


def drive(vehicles: list[Vehicle], seconds: float, until: Any = lambda: False) -> None:
    """All report each half second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        for vehicle in vehicles:
            vehicle.report()
        time.sleep(0.5)


@pytest.mark.slow
def test_all_receive_one_watches_and_another_takes_over(postgres_dsn: str) -> None:
    with services(postgres_dsn, 2) as (first, second):
        assert (active(first), active(second)) == (True, False)
        assert "standing by" in logged(second)
        there, here = Vehicle(first, "356938035650001"), Vehicle(second, "356938035650002")
        lost = Vehicle(second, "356938035650003")
        drive([there, here, lost], 4.0)
        # The one at the second service stays good at the first although that hears nothing of it: no ticket in twice
        # the time that one would take. The lost one gets its ticket, though only the second service ever heard of it.
        silent_since = time.time()
        drive([there, here], 2 * TICKET)
        opened = tickets(postgres_dsn)
        assert [(identity, kind) for identity, kind, _ in opened] == [("356938035650003", "silence")]
        assert opened[0][2].timestamp() - silent_since < TICKET + 2.0
        assert 'dozor_terminals{detector="silence",verdict="good"} 2.0' in first.get("/metrics")[1]
        assert "dozor_terminals" not in second.get("/metrics")[1]

        # kill -9: the other opens a ticket for one that fell silent just before, and only for that.
        other = Vehicle(second, "356938035650004")
        drive([there, here, other], 4.0)
        first.kill()
        killed = time.monotonic()
        drive([here], 40.0, lambda: active(second))
        assert time.monotonic() - killed < TAKEN_OVER
        drive([here], TAKEN_OVER + TICKET, lambda: len(tickets(postgres_dsn)) >= 3)
        assert time.monotonic() - killed < TAKEN_OVER + TICKET + 2.0
        assert sorted(identity for identity, _, _ in tickets(postgres_dsn)) == [
            "356938035650001", "356938035650003", "356938035650004",
        ]  # fmt: skip
        assert "taking the watch over" in logged(second)

        # The killed one comes back and stands by; the holder stops in order, and nobody need wait for it.
        stood_by = logged(first).count("standing by")
        first.start()
        wait_for(lambda: logged(first).count("standing by") > stood_by)
        assert (active(first), active(second)) == (False, True)
        stopped = time.monotonic()
        assert second.stop() == 0
        wait_for(lambda: active(first), 10)
        assert time.monotonic() - stopped < 5.0
        assert logged(first).count("taking the watch over") == 0
        for service in (first, second):
            assert "Traceback" not in logged(service)


@pytest.mark.soak
@pytest.mark.slow
def test_a_holder_whose_connection_is_lost_stops_or_goes_on(postgres_dsn: str) -> None:
    with services(postgres_dsn, 1) as (service,):
        vehicle = Vehicle(service, "356938035650005")
        drive([vehicle], 2.0)
        before = service.query("SELECT value FROM gateway_state WHERE key = 'watch.holder'")
        restored = logged(service).count("fleet caught up")
        with psycopg.connect(postgres_dsn, autocommit=True) as link:
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dozor tenure'"
            link.execute(cut + " AND datname = current_database()")
            # Nobody else was there: it goes on where it was, and forgets nothing.
            wait_for(lambda: "own connection is lost" in logged(service))
            wait_for(lambda: active(service), 5)
            assert service.query("SELECT value FROM gateway_state WHERE key = 'watch.holder'") == before
            assert logged(service).count("fleet caught up") == restored

            # Somebody is quicker: it stops at once, and begins anew from the store when that one is gone.
            link.execute("SELECT pg_advisory_lock_shared(%s, 0)", (0x646F7A + 1,))  # another lock hurts nobody
            other = psycopg.connect(postgres_dsn, autocommit=True)
            link.execute(cut + " AND datname = current_database()")
            while not other.execute("SELECT pg_try_advisory_lock(%s, 0)", (0x646F7A,)).fetchone()[0]:  # type: ignore[index]
                time.sleep(0.005)
            other.execute("UPDATE gateway_state SET value = %s WHERE key = 'watch.holder'",
                          (b'{"service":"other","term":77}',))  # fmt: skip
            wait_for(lambda: "standing by" in logged(service))
            assert not active(service)
            assert json.loads(service.get("/readyz")[1])["ready"]
            (beat,) = service.query("SELECT max(saved_at) FROM gateway_state")[0]
            drive([vehicle], 3.0)
            assert service.query("SELECT max(saved_at) FROM gateway_state") == [(beat,)], "it writes nothing any more"
            other.close()
            gone = time.monotonic()
            wait_for(lambda: active(service), TAKEN_OVER)
            assert time.monotonic() - gone > 4.0, "the other one may not know yet that it lost its lock"
            assert logged(service).count("fleet caught up") == restored + 1
            (holder,) = service.query("SELECT value FROM gateway_state WHERE key = 'watch.holder'")[0]
            assert json.loads(bytes(holder))["term"] == 78  # type: ignore[call-overload]
        assert tickets(postgres_dsn) == []
        assert "Traceback" not in logged(service)


@pytest.mark.soak
@pytest.mark.slow
def test_a_desk_shows_what_the_store_has_while_it_stands_by(postgres_dsn: str, tmp_path: Path) -> None:
    with services(postgres_dsn, 2) as (first, second):
        Vehicle(first, "356938035650005").report()
        second.command("user", "add", "olga", "--role", "admin", "--password-stdin", text="a good password\n")
        token = second.command("user", "token", "olga").stdout.strip()

        def ask(path: str, service: ServiceProcess = second) -> dict[str, Any]:
            request = urllib.request.Request(
                f"http://127.0.0.1:{service.ports['desk']}{path}", headers={"Authorization": f"Bearer {token}"}
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                found: dict[str, Any] = json.loads(answer.read())
                return found

        shown = wait_for(lambda: ask("/api/terminals/356938035650005"))
        assert shown["verdicts"] == {kind.kind: "unknown" for kind in DETECTORS}
        assert shown["last_seen"] is not None
        assert shown["records"] == 1
        assert ask("/api/tickets")["total"] == 0
        # Whose connection it is knows its counters while it is open; the store hears of them at its end.
        (link,) = ask("/api/connections?terminal=356938035650005", first)["items"]
        assert (link["frames"], link["malformed"], link["closed_at"]) == (1, 0, None)


def contacts_at(moment: int, size: int) -> Told:
    return Told(Contacts(np.arange(size), np.full(size, moment), np.full(size, moment)), {})


def sizes(told: Told) -> tuple[int, int]:
    return len(told), int(told.contacts.terminal.sum())


def test_messages_of_others_are_put_together_again() -> None:
    from gateway.service.telling import PART, Hearing, Telling

    async def scenario() -> None:
        told = Telling(clock=lambda: asyncio.get_running_loop().time() + 100.0)
        told.put({"nobody": b"listens"})
        assert told.begin()
        assert not told.begin()
        now = round(asyncio.get_running_loop().time() * 1e6)
        messages = [contacts_at(now - 5_000_000, size) for size in (1, 2000, PART // 13, 2 * PART // 13)]
        for message in messages:
            told.put(message.pack())
        notices = [notice for some in told.take() for notice in some]
        assert all(len(notice) < 8000 for notice in notices)
        heard: list[Told] = []
        # Its loop's clock is the same here, but its wall clock is a second behind: by it, all came a second later.
        hearing = Hearing(heard.append, clock=lambda: asyncio.get_running_loop().time() + 99.0)
        for notice in notices:
            hearing.hear(notice)
        assert list(map(sizes, heard)) == list(map(sizes, messages))
        assert abs(int(heard[0].contacts.received[0]) - (now - 4_000_000)) < 50_000
        heard.clear()
        for notice in [*notices[:2], *notices[3:]]:  # one is lost: its message is, and no other
            hearing.hear(notice)
        assert list(map(sizes, heard)) == list(map(sizes, [messages[0], *messages[2:]]))
        heard.clear()
        for notice in [notices[1], notices[1], *notices[3:6]]:  # as many parts as it has, and not its parts
            hearing.hear(notice)
        assert heard == []
        for nonsense in ("", "a:b:c:d:e", "a:1:0:1:***", "a:1:5:2:YQ==", "a:1:0:999999:YQ=="):
            hearing.hear(nonsense)
        told.put(messages[0].pack())
        told.end()
        assert list(told.take()) == []

    asyncio.run(scenario())
