"""From a login to its answer, and how conversations end: who is let in, who waits, what is said of the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.receive import admissions
from gateway.receive import conversation as module
from gateway.receive.conversation import Conversation, Pause
from gateway.receive.terminals import NO_ROW, PENDING
from protocols.records import Login
from protocols.teltonika.declaration import RESPONSE, command, login
from tests.gateway.receive.conversing import IMEI, NAMES, Wire, World, converse, frame

OTHER = "356938035643817"
ACK = (1).to_bytes(4, "big")


def closing(folder: Path, act: Callable[[World], Awaitable[None]], **limits: int) -> list[str]:
    """Run `act`; the reasons that the log gives for the ends of connections."""
    with structlog.testing.capture_logs() as lines:
        converse(folder, act, **limits)  # type: ignore[arg-type]
    return [line["reason"] for line in lines if line["event"] == "connection closed"]


class Registry:
    """In place of the database: answers logins when it is told to."""

    def __init__(self, world: World, *answer: Any) -> None:
        self.asked: list[str] = []
        self.answer = answer
        self.answers = asyncio.Event()
        world.terminals._enrolment = self  # type: ignore[assignment]

    async def ask(self, identity: str, protocol: str, may_register: Any = None) -> Any:
        self.asked.append(identity)
        await self.answers.wait()
        return self.answer


def test_a_login_is_answered_when_the_registry_has_answered(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        registry = Registry(world, "accepted", 7)
        talk, wire = world.begin()
        talk.receive(login(OTHER))
        await asyncio.sleep(0.01)
        assert (wire.sent, wire.asked, talk.pauses, registry.asked) == (b"", ["pause"], Pause.ADMISSION, [OTHER])
        registry.answers.set()
        await asyncio.sleep(0.01)
        assert (wire.sent, wire.asked, talk.row, talk.registered) == (b"\x01", ["pause", "resume"], 7, True)
        assert world.metrics.logins["accepted"][NAMES.index("teltonika")] == 1

    converse(tmp_path, act)


@pytest.mark.parametrize("result", ["refused", "impossible"])
def test_who_is_refused_is_told_so_and_counted(tmp_path: Path, result: str) -> None:
    async def act(world: World) -> None:
        Registry(world, result, NO_ROW).answers.set()
        talk, wire = world.begin()
        talk.receive(login(OTHER))
        await asyncio.sleep(0.01)
        assert (wire.sent, wire.asked[-1]) == (b"\x00", "close")
        assert world.metrics.logins["refused"][NAMES.index("teltonika")] == 1
        talk.lost(None)
        assert world.shared.count() == 0

    assert closing(tmp_path, act) == ["login refused"]


@pytest.mark.parametrize("identity", ["", " \t", "a\x01b", "x" * 65, "\ufeff"])
def test_what_is_no_identity_is_refused_and_counted_as_damage(tmp_path: Path, identity: str) -> None:
    """No protocol lets it through today; what names a terminal otherwise (a topic, a relay's record) may."""

    async def act(world: World) -> None:
        talk, wire = world.begin()
        talk.log_in(Login(identity))
        assert (wire.sent, wire.asked[-1], talk.terminal) == (b"\x00", "close", "")
        assert world.metrics.malformed["login"][NAMES.index("teltonika")] == 1
        talk.lost(None)

    assert closing(tmp_path, act) == ["login refused"]


def test_too_many_logins_of_an_address_are_not_looked_at(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        for sent, asked in ((b"\x01", []), (b"", ["close"])):
            talk, wire = world.begin()
            talk.receive(login(IMEI))
            assert (wire.sent, wire.asked[:1]) == (sent, asked)
            assert talk.terminal == (IMEI if sent else "")
        elsewhere, wire = world.begin(address="192.0.2.9:1")
        elsewhere.receive(login(IMEI))
        assert wire.sent == b"\x01"
        assert world.metrics.refused["login_rate"] == 1

    converse(tmp_path, act, logins_per_minute_per_address=1)


def test_whoever_is_gone_when_his_turn_comes_is_asked_about_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admissions, "AT_ONCE", 1)

    async def act(world: World) -> None:
        registry = Registry(world, "accepted", 7)
        talks = []
        for number in range(4):
            talk, _ = world.begin()
            talk.receive(login(f"35693803564400{number}"))
            talks.append(talk)
        await asyncio.sleep(0.01)
        talks[1].lost(None)
        talks[2].stop()
        registry.answers.set()
        await asyncio.sleep(0.05)
        assert registry.asked == ["356938035644000", "356938035644003"]
        assert [talk.logged_in for talk in talks] == [True, False, False, True]

    converse(tmp_path, act)


@pytest.mark.parametrize("how", ["lost", "stop"])
def test_an_answer_that_comes_after_the_end_lets_nobody_in(tmp_path: Path, how: str) -> None:
    async def act(world: World) -> None:
        registry = Registry(world, "accepted", 7)
        talk, wire = world.begin()
        talk.receive(login(OTHER))
        await asyncio.sleep(0.01)
        task = talk._task
        talk.lost(None) if how == "lost" else talk.stop()
        registry.answers.set()
        await asyncio.sleep(0.01)
        assert task is not None
        assert task.done()
        assert task.cancelled() is (how == "lost")
        assert (wire.sent, talk.logged_in, world.shared.count()) == (b"", False, 0)

    converse(tmp_path, act)


@pytest.mark.parametrize("patient", [True, False])
def test_a_datagram_waits_for_no_registry_and_a_connection_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    monkeypatch.setattr(module, "ADMISSION", 0.02)

    class Other(Conversation):
        __slots__ = ()

    Other.patient = patient

    async def act(world: World) -> None:
        registry = Registry(world, "accepted", 7)
        talk, wire = Other(world.shared, NAMES.index("teltonika"), "tcp"), Wire()
        talk.begin(wire)
        talk.receive(login(OTHER))
        await asyncio.sleep(0.15)
        assert (len(registry.asked) > 1) is patient
        registry.answers.set()
        await asyncio.sleep(0.05)
        assert wire.sent == (b"\x01" if patient else b"")

    converse(tmp_path, act)


def test_a_login_that_waits_is_let_in_for_later_when_the_store_turns_out_to_be_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ADMISSION", 0.05)

    async def act(world: World) -> None:
        registry = Registry(world)
        talk, wire = world.begin()
        talk.receive(login(OTHER))
        await asyncio.sleep(0.01)
        assert wire.sent == b""
        world.pipeline.keeper.store_up = False
        await asyncio.sleep(0.1)
        assert (wire.sent, talk.row, len(registry.asked)) == (b"\x01", PENDING, 1)
        assert talk.registered, "its frames are decoded when the spool is drained"
        talk.receive(frame())
        await world.pipeline.drain()
        assert wire.sent == b"\x01" + ACK
        world.terminals.rows[OTHER] = 9
        talk.receive(frame(at=1_700_000_100_000))
        await world.pipeline.drain()
        assert talk.row == 9, "it has come into the registry meanwhile"

    converse(tmp_path, act)


def test_who_is_registered_while_he_is_found_to_be_unknown_is_in_the_registry(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        registry = Registry(world, "quarantined", NO_ROW)
        talk, wire = world.begin()
        talk.receive(login(OTHER))
        world.terminals.rows[OTHER] = 11
        registry.answers.set()
        await asyncio.sleep(0.01)
        assert (wire.sent, talk.row, talk.registered) == (b"\x01", 11, True)
        assert world.metrics.logins["quarantined"][NAMES.index("teltonika")] == 0

    converse(tmp_path, act)


def test_an_unregistered_one_speaks_and_is_decoded_from_when_it_is_registered(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        Registry(world, "quarantined", NO_ROW).answers.set()
        talk, _ = world.begin()
        talk.receive(login(OTHER))
        await asyncio.sleep(0.01)
        assert (talk.row, talk.registered, list(world.shared.unregistered())) == (NO_ROW, False, [OTHER])
        talk.receive(frame())
        await world.pipeline.drain()
        assert [kept.reason for job in world.store.jobs for kept in job.quarantined] == ["unregistered"]
        talk.enter(12)
        assert (talk.row, talk.registered, list(world.shared.unregistered())) == (12, True, [])

    converse(tmp_path, act)


# -- answers in their turn --------------------------------------------------------------------------------------------


def test_a_reply_waits_for_the_acks_before_it(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        world.terminals.rows["t"] = 1
        talk, wire = world.begin("wialon-ips")
        talk.receive(b"#L#t;NA\r\n#P#\r\n")
        assert wire.sent == b"#AL#1\r\n#AP#\r\n"
        world.store.answers.clear()
        talk.receive(b"#D#210325;081537;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;;NA;NA\r\n#P#\r\n")
        await world.store.asked.wait()
        assert wire.sent == b"#AL#1\r\n#AP#\r\n"
        world.store.answers.set()
        await world.pipeline.drain()
        assert wire.sent == b"#AL#1\r\n#AP#\r\n#AD#1\r\n#AP#\r\n"

    converse(tmp_path, act)


def test_while_nothing_is_taken_nothing_is_read(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        world.pipeline.keeper.refusing = True
        talk, wire = world.begin()
        assert (wire.asked, talk.pauses, talk in world.pipeline.paused) == (["pause"], Pause.QUEUE, True)
        talk.lost(None)
        assert talk not in world.pipeline.paused, "who is gone waits for nothing"
        world.pipeline.keeper.refusing = False

    converse(tmp_path, act)


# -- asking for the firmware ------------------------------------------------------------------------------------------


def asked(world: World) -> list[Conversation]:
    """Who wished to be asked for his firmware."""
    wished: list[Conversation] = []
    world.shared.asking.wish = wished.append  # type: ignore[method-assign,assignment]
    return wished


def test_the_firmware_is_asked_for_after_the_first_ack_and_once(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        wished = asked(world)
        talk, wire = world.begin()
        talk.receive(login(IMEI))
        talk.receive(command("ok", kind=RESPONSE))
        await world.pipeline.drain()
        assert (wished, wire.sent) == ([], b"\x01"), "nothing was acknowledged"
        for n in range(3):
            talk.receive(frame(at=1_700_000_000_000 + n))
            await world.pipeline.drain()
        assert wished == [talk]
        world.store.answers.clear()
        talk.receive(frame(at=1_700_000_000_100))
        talk.ask_version()
        assert b"getver" not in wire.sent, "a frame is unanswered"
        world.store.answers.set()
        await world.pipeline.drain()
        assert wire.sent.count(b"getver") == 1
        talk.receive(frame(at=1_700_000_000_200))
        await world.pipeline.drain()
        assert (wished, wire.sent.count(b"getver")) == ([talk], 1)

    converse(tmp_path, act)


def test_nobody_is_asked_who_got_no_ack_or_when_it_was_switched_off_meanwhile(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        wished = asked(world)
        damaged, _ = world.begin()
        damaged.receive(login(IMEI))
        bad = bytearray(frame())
        bad[-1] ^= 1
        damaged.receive(bytes(bad) + frame())
        await world.pipeline.drain()
        assert wished == []
        talk, wire = world.begin()
        talk.receive(login(IMEI))
        talk.receive(frame(at=1_700_000_000_001))
        await world.pipeline.drain()
        assert wished == [talk]
        world.shared.asking.on = False
        talk.ask_version()
        assert b"getver" not in wire.sent
        world.shared.asking.on = True
        talk.receive(frame(at=1_700_000_000_002))
        await world.pipeline.drain()
        assert b"getver" not in wire.sent, "it was this connection's turn"

    converse(tmp_path, act)


def test_it_is_asked_later_where_it_may_not_be_now(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        wished = asked(world)
        forgotten: list[Conversation] = []
        world.shared.asking.forget = forgotten.append  # type: ignore[method-assign,assignment]
        for later, times in ((True, 2), (False, 1)):
            talk, _ = world.begin()
            talk.receive(login(IMEI))
            for n in range(2):
                talk.receive(frame(at=1_700_000_000_000 + n + 10 * times))
                await world.pipeline.drain()
                if n == 0:
                    talk.ask_not(later=later)
            assert wished.count(talk) == times
            talk.lost(None)
            assert forgotten[-1] is talk

    converse(tmp_path, act)


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda talk: talk.lost(None), "closed by the terminal"),
        (lambda talk: talk.lost(ConnectionResetError("reset")), "lost: reset"),
        (lambda talk: (talk.supersede("replaced"), talk.stop(), talk.lost(OSError("x"))), "replaced"),
        (lambda talk: (talk.stop(), talk.lost(OSError("x"))), "service stopped"),
        (lambda talk: (talk.expire("idle timeout"), talk.lost(None)), "idle timeout"),
        (lambda talk: (talk.abandoned(), talk.lost(None)), "store away"),
        (lambda talk: (talk.supersede("replaced"), talk.abandoned(), talk.lost(None)), "replaced"),
        (lambda talk: (talk.ended(), talk.lost(OSError("x"))), "closed by the terminal"),
    ],
)
def test_the_first_reason_for_an_end_is_the_one_that_is_told(
    tmp_path: Path, end: Callable[[Conversation], object], reason: str
) -> None:
    closed: list[str] = []

    async def act(world: World) -> None:
        world.history.closed = lambda *told: closed.append(told[-1])  # type: ignore[method-assign]
        talk, _ = world.begin()
        talk.receive(login(IMEI))
        end(talk)
        talk.stop()
        talk.receive(frame())
        assert not talk.waiting

    assert closing(tmp_path, act) == closed == [reason]


def test_whoever_said_nothing_leaves_no_line(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        talk, _ = world.begin()
        talk.lost(None)
        talk, _ = world.begin()
        talk.receive(b"\xff" * 40)
        talk.lost(None)

    assert len(closing(tmp_path, act)) == 1, "damage is told"


def test_a_timeout_is_damage_only_where_something_was_expected(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        timeouts = world.metrics.malformed["timeout"]
        number = NAMES.index("teltonika")
        silent, wire = world.begin()
        silent.expire("login timeout")
        assert (timeouts[number], wire.asked) == (1, ["close"])
        busy, wire = world.begin()
        busy.receive(login(IMEI))
        world.store.answers.clear()
        busy.receive(frame())
        busy.expire("idle timeout")
        assert (timeouts[number], wire.asked) == (1, ["pause"]), "it waits for us"
        since = busy.closing_since
        await asyncio.sleep(0.02)
        busy.stop()
        assert busy.closing_since == since > 0
        world.store.answers.set()
        await world.pipeline.drain()
        assert (wire.sent, wire.asked) == (b"\x01" + ACK, ["pause", "pause", "close"])

    converse(tmp_path, act)


def test_frames_cut_short_by_the_end_are_counted_once(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        for ends in (lambda talk: talk.lost(None), lambda talk: (talk.ended(), talk.lost(None))):
            talk, _ = world.begin()
            talk.receive(login(IMEI))
            talk.receive(frame()[:-5])
            ends(talk)
        assert world.metrics.malformed["truncated"][NAMES.index("teltonika")] == 2

    converse(tmp_path, act)
