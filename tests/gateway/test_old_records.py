"""Old records are stored and acknowledged, and change nothing of what newer ones told.

Over workers, which have the longer way: one hears it, another process judges.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import psutil
import pytest

from protocols.omnicomm import declaration as omnicomm
from protocols.teltonika import declaration as teltonika
from tests.gateway.wire import Link, no_exception, wait_for
from tests.harness import ServiceProcess, running_service

ONE = bytes.fromhex("00000001")


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    settings = {"FLOOR": "3", "CEILING": "20", "LEARN": "3"}
    with running_service(
        "--workers",
        "2",
        **{f"DOZOR_WATCH__SILENCE__{name}": value for name, value in settings.items()},
        DOZOR_WATCH__FIRMWARE__ASK="false",
        DOZOR_WATCH__INCIDENTS__HOLD="1",
        DOZOR_WATCH__INCIDENTS__RECOVERY="2",
    ) as running:
        yield running
        no_exception(running)


def _frame(at: float) -> bytes:
    record = teltonika.avl_record(timestamp=round(at * 1000), latitude=10_000_000, satellites=7)
    return teltonika.avl_frame(teltonika.CODEC_8, [record])


def test_an_upload_of_the_black_box_proves_no_recovery(service: ServiceProcess) -> None:
    imei, state = "356938035610001", "SELECT state FROM ticket WHERE kind = 'silence'"

    def report(link: Link, seconds: float, ago: float) -> None:
        """Live, or what was kept for so long, a minute in each frame: no clock is off by such steps."""
        until, kept = time.monotonic() + seconds, iter(range(0, int(ago), 60))
        while time.monotonic() < until:
            assert link.send(_frame(time.time() - ago + next(kept, 0))).read(4) == ONE
            time.sleep(0.25)

    with Link(service, "teltonika") as link:
        assert link.send(teltonika.login(imei)).read(1) == b"\x01"
        report(link, 1.5, 0)
        wait_for(lambda: service.query(state) == [("new",)], within=15)
        report(link, 3.5, 3600)
        assert service.query(state) == [("new",)]
        report(link, 3.5, 0)
        wait_for(lambda: service.query(state) == [("awaiting_consent",)])


def test_a_black_box_tells_no_firmware_of_before(service: ServiceProcess) -> None:
    """Neither on the connection that told the newer one nor on the next."""
    told = "SELECT firmware, model_told FROM terminal WHERE identity = 'old-box'"

    def line(hours_ago: float, text: str) -> str:
        at = datetime.fromtimestamp(time.time() - 3600 * hours_ago, UTC)
        return f"{at:%d%m%y;%H%M%S};NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;;NA;{text}"

    with Link(service, "wialon-ips") as link:
        link.send(f"#L#old-box;NA\r\n#B#{line(5, 'fw:3:1.0,hw:3:A')}|{line(4, 'fw:3:1.1')}\r\n".encode())
        assert link.read(14) == b"#AL#1\r\n#AB#2\r\n"
        wait_for(lambda: service.query(told) == [("1.1", "A")])
        assert link.send(f"#D#{line(0, 'fw:3:2.0')}\r\n".encode()).read(7) == b"#AD#1\r\n"
        wait_for(lambda: service.query(told) == [("2.0", "A")])
    with Link(service, "wialon-ips") as link:
        link.send(f"#L#old-box;NA\r\n#B#{line(2, 'fw:3:1.2')}|{line(3, 'hw:3:B')}\r\n".encode())
        assert link.read(14) == b"#AL#1\r\n#AB#2\r\n"
        wait_for(lambda: service.query(told) == [("2.0", "B")])  # of the model nothing newer was known


def _told(link: Link, wire: omnicomm.ServerFrames) -> None:
    """One answer of the server's has come."""
    while not wire.feed(link.read(1)):
        pass


def test_a_record_of_minutes_ago_does_not_switch_the_ignition(service: ServiceProcess) -> None:
    """Ten minutes old counts as of now, so it is learned from; but the engine was switched off since."""
    imei, number, wire = "356938035610002", 40_002, omnicomm.ServerFrames()
    with Link(service, "teltonika") as one, Link(service, "omnicomm") as other:
        assert one.send(teltonika.login(imei)).read(1) == b"\x01"
        _told(other.send(omnicomm.identification(number, 312)), wire)
        for place, (ago, ignition) in enumerate([(0, 0)] * 6 + [(600, 1)]):
            at = time.time() - ago
            record = teltonika.avl_record(timestamp=round(at * 1000), satellites=7, items=[(239, bytes([ignition]))])
            assert one.send(teltonika.avl_frame(teltonika.CODEC_8, [record])).read(4) == ONE
            stamp = omnicomm.omnicomm_time(at)
            other.send(omnicomm.container(place, stamp, [{"general": {"Time": stamp, "FLG": ignition}}], command=0x95))
            _told(other, wire)
            time.sleep(0.3)

        def states() -> dict[object, object]:
            query = "SELECT identity, evidence->'rhythm'->>'ignition' FROM ticket JOIN terminal t ON t.id = terminal"
            return {name: state for name, state in service.query(query) if name in (imei, str(number))}

        wait_for(lambda: len(states()) == 2, within=15)
        assert set(states().values()) == {"off"}


def test_what_is_told_while_the_store_is_away_is_noted_when_it_is_back(service: ServiceProcess) -> None:
    """A new terminal has no row until then, and need not connect again."""
    postgres = psutil.Process(service.postgres_pid())
    family = [postgres, *postgres.children(recursive=True)]
    number, wire, stamp = 40_003, omnicomm.ServerFrames(), omnicomm.omnicomm_time(time.time())
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        with Link(service, "omnicomm", timeout=20) as link:
            _told(link.send(omnicomm.identification(number, 305)), wire)
            _told(link.send(omnicomm.container(1, stamp, [{"general": {"Time": stamp, "FLG": 0}}])), wire)
    finally:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.resume()
    told = "SELECT firmware, protocol FROM terminal WHERE identity = %s"
    wait_for(lambda: service.query(told, str(number)) == [("305", "omnicomm")], within=20)
