"""A connection that brings records of many terminals: who is admitted, in which order answers leave, who speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.receive import relay as module
from gateway.receive.broker.payloads import read_frames
from gateway.receive.conversation import Conversation
from gateway.receive.pipeline import share_out
from gateway.receive.terminals import NO_ROW, PENDING
from gateway.store.writer import Job
from protocols.records import Close, Event, Frame, Login, Quarantined, Reply
from protocols.registry import protocol
from tests.gateway.receive.conversing import IMEI, NAMES, Wire, World, converse, frame
from tests.gateway.receive.test_admitting import Registry

TELTONIKA = NAMES.index("teltonika")


class RelaySession:
    """`terminal:terminal:…;` is one packet with a frame of each, answered whole by `+n;`; `!name;` logs in, `?;` asks.

    `~` in place of a terminal: who logged in.
    """

    def __init__(self, *, at: int = 1_700_000_000_000) -> None:
        self._at = at
        self._number = 0
        self._open: dict[int, list[int]] = {}  # packet -> parts left, refused, in quarantine

    def run(self, data: bytes) -> Frame | None:
        return None

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        events: list[Event] = []
        for word in data.decode().strip(";").split(";"):
            if word.startswith("!"):
                events.append(Login(word[1:]))
            elif word == "?":
                events.append(Reply(b"now;"))
            else:
                self._number += 1
                names = word.split(":")
                self._open[self._number] = [len(names), 0, 0]
                for name in names:
                    self._at += 1000
                    one = frame(at=self._at)
                    events.append(Frame(one, 1, self._number, 0, 1, "" if name == "~" else name))
        return events

    def accept(self, now: float) -> Sequence[Event]:
        return [Reply(b"hello;")]

    def refuse(self) -> Sequence[Event]:
        return [Close()]

    def _answer(self, number: int) -> bytes:
        left, refused, kept = self._open[number]
        if left:
            return b""
        del self._open[number]
        return f"+{number}{'r' * refused}{'q' * kept};".encode()

    def acknowledge(self, item: Any, quarantined: Sequence[Quarantined] = ()) -> bytes:
        self._open[item.offset][0] -= 1
        self._open[item.offset][2] += len(quarantined)
        return self._answer(item.offset)

    def end_of_stream(self) -> Sequence[Event]:
        return ()

    def ask_version(self) -> bytes:
        return b""

    def encode_command(self, text: str) -> bytes:
        return b""


class RefusingSession(RelaySession):
    """Has words for what is not wanted, and for what could not be kept."""

    def reject(self, item: Frame) -> bytes:
        self._open[item.offset][0] -= 1
        self._open[item.offset][1] += 1
        return self._answer(item.offset)

    def decline(self) -> bytes:
        unanswered, self._open = self._open, {}
        return b"".join(b"-%d;" % number for number in unanswered)


class RunSession(RefusingSession):
    """`*terminal;` is a read of three frames alike, a run, answered by `+n` and what is in quarantine of each."""

    def run(self, data: bytes) -> Frame | None:
        if data[:1] != b"*":
            return None
        self._number += 1
        self._at += 1000
        return Frame(frame(at=self._at) * 3, 1, self._number, 0, 3, data[1:-1].decode())

    def acknowledge(self, item: Any, quarantined: Sequence[Quarantined] = ()) -> bytes:
        return b"+%s;" % (b"q" * len(quarantined) or b"%d" % item.count)

    def reject(self, item: Frame) -> bytes:
        return b"r" * item.count + b";"


def begin(world: World, session: Any = None, address: str = "192.0.2.1:4000") -> tuple[Conversation, Wire]:
    """A relay's connection."""
    world.shared.new_session = lambda *_: session or RelaySession()  # type: ignore[method-assign]
    return world.begin(address=address)


def know(world: World, *names: str) -> None:
    for name in names:
        world.terminals.rows[name] = len(world.terminals.rows) + 2


def stored(world: World) -> list[str]:
    """Whose records were stored."""
    return [job.identities[terminal][0] for job in world.store.jobs for terminal in job.rows.terminal.tolist()]


async def settled(world: World) -> None:
    await world.pipeline.drain()
    await asyncio.sleep(0.01)
    await world.pipeline.drain()
    await asyncio.sleep(0)


def test_a_packet_is_answered_when_the_records_of_each_of_its_terminals_are_durable(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        know(world, "A", "B")
        talk, wire = begin(world)
        told: list[Any] = []
        world.pipeline.on_accepted.append(told.append)
        world.store.answers.clear()
        talk.receive(b"A:B:A;")
        await world.store.asked.wait()
        assert wire.sent == b""
        assert talk.waiting
        world.store.answers.set()
        await settled(world)
        assert wire.sent == b"+1;"
        assert not talk.waiting
        assert sorted(stored(world)) == ["A", "A", "B"]
        rows = world.terminals.rows
        assert sorted(told[0].frame_terminal.tolist()) == sorted([rows["A"], rows["A"], rows["B"]])  # the watch's
        assert talk.logged_in, "nobody has to log in who names a terminal in each record"

    converse(tmp_path, act)


def test_answers_leave_in_the_order_of_the_wire_whoever_is_ready_first(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        know(world, "A")
        registry = Registry(world, "accepted", 9)
        talk, wire = begin(world)
        talk.receive(b"!%s;" % IMEI.encode())
        talk.receive(b"~;NEW;A;?;~;")
        await settled(world)
        assert sorted(stored(world)) == sorted([IMEI, "A", IMEI]), "one that waits holds up nobody's storing"
        assert wire.sent == b"hello;+1;"
        registry.answers.set()
        await settled(world)
        assert wire.sent == b"hello;+1;+2;+3;now;+4;"
        assert stored(world)[-1] == "NEW"
        assert registry.asked == ["NEW"]

    converse(tmp_path, act)


def test_what_came_before_it_was_a_relay_is_answered_first(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        know(world, "A")
        talk, wire = begin(world)
        talk.receive(b"!%s;" % IMEI.encode())
        world.store.answers.clear()
        talk.receive(b"~;~;")
        await world.store.asked.wait()
        talk.receive(b"A;~;")
        await asyncio.sleep(0.01)
        assert wire.sent == b"hello;"
        world.store.answers.set()
        await settled(world)
        assert wire.sent == b"hello;+1;+2;+3;+4;"

    converse(tmp_path, act)


@pytest.mark.parametrize("result", ["refused", "impossible"])
def test_who_is_refused_is_told_so_in_its_packet(tmp_path: Path, result: str) -> None:
    async def act(world: World) -> None:
        know(world, "A")
        Registry(world, result, NO_ROW).answers.set()
        talk, wire = begin(world, RefusingSession())
        talk.receive(b"A:X;X;A;")
        await settled(world)
        assert wire.sent == b"+1r;+2r;+3;"
        assert stored(world) == ["A", "A"]
        assert not any(job.quarantined for job in world.store.jobs)
        assert world.metrics.logins["refused"][TELTONIKA] == 1
        assert world.shared.speaker("X") is None

    converse(tmp_path, act)


@pytest.mark.parametrize("result", ["refused", "quarantined", "limited", "impossible"])
def test_without_a_word_for_it_the_frames_of_who_is_not_let_in_are_kept_raw(tmp_path: Path, result: str) -> None:
    async def act(world: World) -> None:
        know(world, "A")
        registry = Registry(world, result, NO_ROW)
        registry.answers.set()
        talk, wire = begin(world)
        talk.receive(b"A;X;")
        await settled(world)
        assert wire.sent == b"+1;+2;"
        kept = [(one.terminal, one.reason) for job in world.store.jobs for one in job.quarantined]
        assert kept == [("X", "unregistered")]
        know(world, "X")  # by `dozor terminal add`
        talk.receive(b"X;")
        await settled(world)
        assert stored(world) == ["A", "X"]
        assert registry.asked == ["X"]

    converse(tmp_path, act)


def test_who_was_refused_is_asked_for_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATER", 0.0)

    async def act(world: World) -> None:
        registry = Registry(world, "refused", NO_ROW)
        registry.answers.set()
        talk, wire = begin(world, RefusingSession())
        talk.receive(b"X;")
        await settled(world)
        registry.answer = "accepted", 9
        talk.receive(b"X;")
        await settled(world)
        assert wire.sent == b"+1r;+2;"
        assert registry.asked == ["X", "X"]
        assert world.metrics.logins["accepted"][TELTONIKA] == 1

    converse(tmp_path, act)


def test_while_the_store_is_away_it_is_decided_later_and_what_was_taken_is_spooled(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        know(world, "A")
        world.store.up = world.pipeline.keeper.store_up = False
        talk, wire = begin(world)
        talk.receive(b"A:NEW;")
        await settled(world)
        assert wire.sent == b"+1;"
        assert talk._relay is not None
        assert talk._relay.aboard["NEW"].row == PENDING
        entries = await world.spool.oldest(10)
        assert [(entry.terminal, entry.records) for entry in entries] == [("A", 1), ("NEW", 1)]

    converse(tmp_path, act)


def test_a_registry_that_does_not_answer_holds_nobody_up_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.receive.conversations.ADMISSION", 0.01)

    async def act(world: World) -> None:
        Registry(world, "accepted", 9)
        talk, wire = begin(world)
        talk.receive(b"NEW;")
        await asyncio.sleep(0.05)
        assert talk._relay is not None
        assert talk._relay.aboard["NEW"].row == PENDING
        await settled(world)
        assert wire.sent == b"+1;"

    converse(tmp_path, act)


def test_where_nothing_is_kept_the_protocols_own_word_says_so_and_nothing_follows(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        know(world, "A", "B")
        talk, wire = begin(world, RefusingSession())
        world.store.up = False

        async def full(*_: object) -> None:
            raise OSError(28, "no space")

        world.spool.append = full  # type: ignore[method-assign,assignment]
        talk.receive(b"A:B;B;")
        await settled(world)
        assert wire.sent == b"-1;-2;"
        assert wire.asked[-1] == "close"
        assert "abort" not in wire.asked

    converse(tmp_path, act)


def test_where_the_protocol_has_no_word_the_connection_ends(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        know(world, "A", "B")
        talk, wire = begin(world)
        world.store.up = False

        async def full(*_: object) -> None:
            raise OSError(28, "no space")

        world.spool.append = full  # type: ignore[method-assign,assignment]
        talk.receive(b"A:B;B;")
        await settled(world)
        assert wire.sent == b""
        assert wire.asked[-1] == "abort"

    converse(tmp_path, act)


def test_a_frame_that_the_store_refuses_marks_its_own_packet(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        know(world, "A", "B")

        def refuses(job: Job) -> list[int]:
            return [n for n in range(len(job.sources)) if job.sources[n].terminal == "B"]

        world.store.refuses = refuses
        talk, wire = begin(world)
        talk.receive(b"A;A:B;A;")
        await settled(world)
        assert wire.sent == b"+1;+2q;+3;"

    converse(tmp_path, act)


def test_a_terminal_aboard_is_connected_until_it_has_a_connection_of_its_own(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        know(world, "A", "B")
        talk, _ = begin(world)
        talk.receive(b"A:B;")
        await settled(world)
        assert world.shared.count() == 2
        aboard = world.shared.speaker("A")
        assert aboard is not None
        assert aboard.counted[1] == 1
        assert aboard.commandable() is None
        assert world.shared.last_contact("A") is not None
        own, its = begin(world, RelaySession(), "192.0.2.7:1")
        own.receive(b"!A;")
        assert world.shared.speaker("A") is own
        talk.receive(b"A;")
        await settled(world)
        assert world.shared.speaker("A") is own
        assert not its.asked
        talk.lost(None)
        assert world.shared.speaker("A") is own
        assert world.shared.speaker("B") is None
        assert len(world.history._closed.waiting) == 2

    converse(tmp_path, act)


def test_those_longest_unheard_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)

    async def act(world: World) -> None:
        know(world, "A", "B", "C")
        talk, wire = begin(world)
        for packet in (b"A;", b"B;", b"A;", b"C;"):
            talk.receive(packet)
            await settled(world)
        assert talk._relay is not None
        assert list(talk._relay.aboard) == ["A", "C"]
        assert world.shared.speaker("B") is None
        assert wire.sent == b"+1;+2;+3;+4;"

    converse(tmp_path, act)


def test_each_terminal_of_a_relay_has_its_own_share_of_a_batch(tmp_path: Path) -> None:
    """A thousand of them on one socket, one that floods, and one with a connection of its own."""

    async def act(world: World) -> None:
        names = [f"T{n}" for n in range(100)]
        know(world, *names)
        talk, wire = begin(world)
        alone, _ = begin(world, RelaySession(), "192.0.2.7:1")
        alone.receive(b"!%s;" % IMEI.encode())
        talk.receive(b"T0;" * 500 + b";".join(name.encode() for name in names[1:]) + b";")
        alone.receive(b"~;")
        batch, left, _ = share_out(list(world.pipeline._pending), 200)
        first = [source.terminal for source, _, _ in batch]
        assert set(first) == {*names, IMEI}
        assert {source.terminal for source, _, _ in left} == {"T0"}
        await settled(world)
        assert wire.sent.count(b"+") == 599

    converse(tmp_path, act)


def test_a_rate_of_records_holds_for_each_terminal_aboard(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        know(world, "A", "B")
        talk, wire = begin(world)
        talk.receive(b"A;B;A;B;")
        await settled(world)
        assert world.shared.pace is not None
        assert not world.shared.pace.holds(talk)
        talk.receive(b"A;A;A;")
        await settled(world)
        assert world.shared.pace.holds(talk)
        assert wire.sent.count(b"+") == 7
        world.shared.pace.release_all()

    converse(tmp_path, act, records_per_second_per_terminal=3)


def test_a_payload_of_a_broker_is_of_its_topics_terminal_alone() -> None:
    def read(payload: bytes) -> list[str]:
        things, _ = read_frames(protocol("teltonika"), lambda _: RelaySession(), "A", payload, 0.0)
        return [type(thing).__name__ for thing in things]

    assert read(b"A;A;") == ["Frame", "Frame"]
    assert read(b"A:B;") == ["Raw"]
    assert read(b"!B;~;") == ["Raw"]


def test_who_waits_from_before_it_was_a_relay_holds_the_answers_back(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        know(world, "A")
        talk, wire = begin(world)
        talk.receive(b"!%s;" % IMEI.encode())
        world.pipeline._most = 40
        talk.receive(b"~;" * 100 + b"A;")  # which has its share of the first batch
        await settled(world)
        assert stored(world).index("A") < 40
        answers = wire.sent.decode().removeprefix("hello;").strip(";").split(";")
        assert answers == [f"+{n}" for n in range(1, 102)]

    converse(tmp_path, act)


def test_a_connection_that_was_given_up_hears_of_nothing_that_is_kept_later(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        know(world, "A")
        talk, wire = begin(world)
        world.store.answers.clear()
        talk.receive(b"A;")
        await world.store.asked.wait()
        talk.abandoned()
        world.store.answers.set()
        await settled(world)
        assert wire.sent == b""
        assert stored(world) == ["A"]

    converse(tmp_path, act)


def test_a_run_of_a_terminal_aboard_is_answered_whole_in_its_turn(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        know(world, "A", "B")
        talk, wire = begin(world, RunSession())
        world.store.answers.clear()
        talk.receive(b"*A;")
        talk.receive(b"*B;")
        await world.store.asked.wait()
        assert talk._outstanding == 6
        world.store.answers.set()
        await settled(world)
        assert wire.sent == b"+3;+3;"
        assert talk._outstanding == 0
        assert talk._relay is not None
        assert talk._relay.aboard["A"].frames == 3
        assert sorted(stored(world)) == ["A"] * 3 + ["B"] * 3

    converse(tmp_path, act)


def test_a_run_with_a_frame_that_the_store_refuses_is_answered_frame_by_frame(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        know(world, "A")
        world.store.refuses = lambda job: [1] if len(world.store.jobs) == 1 else []
        talk, wire = begin(world, RunSession())
        talk.receive(b"*A;")
        await settled(world)
        talk.receive(b"*A;")
        await settled(world)
        assert wire.sent == b"+1;+q;+1;+3;"
        assert not talk.waiting
        assert talk._outstanding == 0

    converse(tmp_path, act)


def test_each_frame_of_a_run_of_who_is_refused_is_rejected(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        registry = Registry(world, "refused", NO_ROW)
        registry.answers.set()
        talk, wire = begin(world, RunSession())
        talk.receive(b"*X;")
        await settled(world)
        assert wire.sent == b"r;r;r;"
        assert talk._outstanding == 0
        assert world.store.jobs == []

    converse(tmp_path, act)
