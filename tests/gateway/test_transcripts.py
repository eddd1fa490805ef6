"""Whole conversations over real sockets: login, data, ack after the commit, a command and its answer; rows by value."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from protocols.arnavi import declaration as arnavi_wire
from protocols.arnavi.wire import RESULT, TEXT
from protocols.arnavi.wire import answer as arnavi_answer
from protocols.galileosky import declaration as galileosky_wire
from protocols.records import ARCHIVE, VALID, Frame
from protocols.registry import protocol
from protocols.ruptela.wire import HEARTBEAT, VERSION
from protocols.ruptela.wire import uplink as ruptela_uplink
from tests.gateway.wire import Link, malformed, no_exception, telemetry, wait_for
from tests.harness import ServiceProcess, free_port, running_service
from tests.protocols import arnavi_vectors as arnavi
from tests.protocols import flex_vectors as flex
from tests.protocols import galileosky_vectors as galileosky
from tests.protocols import ruptela_vectors as ruptela
from tests.protocols.helpers import feed, of_kind, rows
from tests.protocols.learned_checks import differs


@dataclass(frozen=True)
class Told:
    """What the terminal sends and what it is told."""

    sends: bytes
    hears: bytes


@dataclass(frozen=True)
class Script:
    """One terminal's conversation: `login`, `data` packet by packet, then `command` goes out as `words`."""

    name: str
    terminal: str
    login: Told
    data: list[Told]
    command: str
    words: bytes
    answer: Told
    result: str
    firmware: str | None = None
    model: str | None = None
    damaged: bytes = b""  # with a checksum that fails
    more: dict[str, Any] = field(default_factory=dict)


GALILEOSKY = Script(
    "galileosky",
    galileosky.IMEI,
    Told(galileosky.HEAD, galileosky.HEAD_ACK),
    [
        Told(galileosky.DATA, galileosky.DATA_ACK),
        Told(galileosky.EXTENDED, b"\x02" + galileosky.EXTENDED[-2:]),
    ],
    "inall",
    galileosky_wire.packet(
        galileosky_wire.record([(3, galileosky.IMEI.encode()), (4, 417), (0xE0, 1), (0xE1, b"inall")])
    ),
    Told(
        answered := galileosky_wire.packet(
            galileosky_wire.record([(3, galileosky.IMEI.encode()), (4, 417), (0xE0, 1), (0xE1, b"IN0=1")])
        ),
        b"\x02" + answered[-2:],
    ),
    "IN0=1",
    firmware="39",
    model="Dev154",
    damaged=galileosky.DATA[:30] + b"\x00" + galileosky.DATA[31:],
)

FLEX = Script(
    "flex",
    flex.IMEI,
    Told(flex.LOGIN, flex.GREETING + flex.AGREED),
    [
        Told(flex.ARCHIVE, flex.ARCHIVE_ACK),
        Told(flex.URGENT, flex.URGENT_ACK),
        Told(flex.ADDITIONAL, flex.ADDITIONAL_ACK),
    ],
    "*?V",
    flex.QUESTION,
    Told(flex.ANSWER, b""),
    flex.ANSWER_TEXT,
    firmware="01.12.07",
    model="S-2551",
    damaged=flex.ARCHIVE[:-1] + b"\0",
)

ARNAVI = Script(
    "arnavi",
    "861774058127643",  # of its own: what it tells of itself is as old as its records
    Told(arnavi_wire.header("861774058127643", 0x22), arnavi.HEADER_ANSWER),
    [Told(arnavi.PACKAGE, arnavi.PACKAGE_ACK)],
    "SERV10?",
    arnavi_answer(RESULT, b"SERV10?"),
    Told(arnavi_wire.package(RESULT, [arnavi_wire.record(arnavi.NOW, b"SERV10=a.b", TEXT)]), b""),
    "SERV10=a.b",
    firmware="2017",
    model="arnavi-540",
    damaged=arnavi.PACKAGE[:20] + b"\xee" + arnavi.PACKAGE[21:],
)

RUPTELA = Script(
    "ruptela",
    ruptela.IMEI,
    Told(ruptela.HEARTBEAT, ruptela.HEARTBEAT_ACK),
    [Told(ruptela.RECORD, ruptela.ACK), Told(ruptela.EXTENDED, ruptela.ACK)],
    "getver",
    ruptela.GETVER,
    Told(
        ruptela_uplink(ruptela.IMEI, VERSION, b"00.02.14.07") + ruptela_uplink(ruptela.IMEI, HEARTBEAT, b""),
        ruptela.HEARTBEAT_ACK,
    ),
    "00.02.14.07",
    firmware="00.02.14.07",
    damaged=ruptela.RECORD[:-1] + b"\0",
)

SCRIPTS = [GALILEOSKY, FLEX, ARNAVI, RUPTELA]


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    ports = {script.name: free_port() for script in SCRIPTS}
    listen = ",".join(f"{name}=127.0.0.1:{port}" for name, port in ports.items())
    with running_service(DOZOR_LISTEN=listen, DOZOR_WATCH__FIRMWARE__ASK="false") as running:
        running.ports.update(ports)
        yield running
        no_exception(running)


def expected(script: Script) -> list[dict[str, Any]]:
    """The rows that the session and the decoder make of it, as the view has them."""
    wire = protocol(script.name)
    events = feed(wire.new_session(), script.login.sends + b"".join(told.sends for told in script.data))
    return [
        {
            **{name: row[name] for name in ("time", "lat", "lon", "altitude", "speed", "course", "measures")},
            "satellites": None if row["satellites"] == -1 else row["satellites"],
            "valid": bool(row["flags"] & VALID),
            "archive": bool(row["flags"] & ARCHIVE),
        }
        for row in sorted(rows(wire.decode(of_kind(events, Frame)).batch), key=lambda row: row["time"])
    ]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
@pytest.mark.parametrize("step", [0, 7])
def test_a_conversation(service: ServiceProcess, script: Script, step: int) -> None:
    service.query("WITH a AS (DELETE FROM record) DELETE FROM record_outside RETURNING 1")
    with Link(service, script.name) as link:
        assert link.send(script.login.sends, step).read(len(script.login.hears)) == script.login.hears
        for told in script.data:
            assert link.send(told.sends, step).read(len(told.hears)) == told.hears
            stored = service.query("SELECT count(*) FROM telemetry WHERE terminal = %s", script.terminal)[0][0]
            assert stored, "what is acknowledged is stored"
        for told in script.data:  # a resend is acknowledged as well, and adds nothing
            assert link.send(told.sends, step).read(len(told.hears)) == told.hears
        found = telemetry(service, script.terminal)
        assert [differs(one, its) for one, its in zip(found, expected(script), strict=True)] == [{}] * len(found)
        speaks = "SELECT protocol FROM terminal WHERE identity = %s"  # some scripts have one terminal between them
        wait_for(lambda: service.query(speaks, script.terminal) == [(script.name,)])
        (number,) = itertools.chain(*service.query("SELECT coalesce(max(id), 0) FROM command"))
        assert service.command("terminal", "send", script.terminal, script.command).returncode == 0
        assert link.read(len(script.words)) == script.words
        assert link.send(script.answer.sends, step).read(len(script.answer.hears)) == script.answer.hears
        state = "SELECT state, result FROM command WHERE id > %s"
        wait_for(lambda: service.query(state, number) == [("done", script.result)])
        assert link.finish() == b""
    told_of = "SELECT firmware, model_told FROM terminal WHERE identity = %s"
    wait_for(lambda: service.query(told_of, script.terminal) == [(script.firmware, script.model)])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_damage_is_counted_and_not_acknowledged(service: ServiceProcess, script: Script) -> None:
    before = malformed(service, script.name)["checksum"]
    stored: Callable[[], int] = lambda: service.query("SELECT count(*) FROM record")[0][0]  # noqa: E731
    records = stored()
    with Link(service, script.name) as link:
        assert link.send(script.login.sends).read(len(script.login.hears)) == script.login.hears
        link.send(script.damaged)
        assert link.finish() == b""
    assert malformed(service, script.name)["checksum"] == before + 1
    assert stored() == records
