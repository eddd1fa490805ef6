"""What a conversation says and when it is read, without a socket: the same for whatever carries it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.receive import conversation as module
from gateway.receive.conversation import NO_PAUSE, Pause
from gateway.receive.terminals import PENDING
from protocols.teltonika.declaration import login
from tests.gateway.receive.conversing import IMEI, World, converse, frame

_ACK = (2).to_bytes(4, "big")


def test_a_login_is_answered_and_an_ack_leaves_only_after_the_commit(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        talk, wire = world.begin()
        talk.receive(login(IMEI))
        assert (wire.sent, talk.terminal, talk.row, talk.logged_in) == (b"\x01", IMEI, 1, True)
        world.store.answers.clear()
        talk.receive(frame(2))
        await world.store.asked.wait()
        assert talk.waiting
        assert wire.sent == b"\x01"
        world.store.answers.set()
        await world.pipeline.drain()
        assert not talk.waiting
        assert wire.sent[1:5] == _ACK
        assert len(world.store.jobs) == 1

    converse(tmp_path, act)


def test_the_last_answers_leave_before_the_wire_is_closed(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        talk, wire = world.begin()
        talk.receive(login(IMEI))
        talk.receive(frame(2))
        talk.ended()
        assert wire.asked == ["pause"]
        talk.receive(frame(2, 1_800_000_000_000))
        await world.pipeline.drain()
        assert wire.sent == b"\x01" + _ACK
        assert wire.asked == ["pause", "close"]

    converse(tmp_path, act)


def test_what_was_taken_is_stored_though_the_wire_is_gone(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        talk, wire = world.begin()
        talk.receive(login(IMEI))
        talk.receive(frame(2))
        talk.lost(None)
        await world.pipeline.drain()
        assert len(world.store.jobs) == 1
        assert wire.sent == b"\x01"
        assert world.shared.count() == 0

    converse(tmp_path, act)


def test_reading_goes_on_when_the_last_reason_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW_FRAMES", 1)

    async def act(world: World) -> None:
        talk, wire = world.begin()
        talk.receive(login(IMEI))
        world.store.answers.clear()
        talk.receive(frame() + frame())
        assert talk.pauses == Pause.QUEUE
        talk.pause_writing()
        talk.pause_writing()
        talk.hold()
        assert talk.pauses == Pause.QUEUE | Pause.PEER | Pause.PACE
        assert wire.asked == ["pause"]
        talk.let_go()
        talk.let_go()
        world.store.answers.set()
        await world.pipeline.drain()
        assert talk.pauses == Pause.PEER
        assert wire.asked == ["pause"]
        talk.resume_writing()
        talk.resume_writing()
        assert talk.pauses == NO_PAUSE
        assert wire.asked == ["pause", "resume"]

    converse(tmp_path, act)


def test_a_window_that_is_still_full_waits_for_the_next_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW_FRAMES", 1)

    async def act(world: World) -> None:
        talk, wire = world.begin()
        talk.receive(login(IMEI))
        world.store.answers.clear()
        talk.receive(frame() + frame())
        world.pipeline.paused.clear()
        talk.resume_reading()
        assert talk in world.pipeline.paused
        assert wire.asked == ["pause"]
        world.store.answers.set()
        await world.pipeline.drain()
        assert wire.asked == ["pause", "resume"]

    converse(tmp_path, act)


def test_a_few_dear_frames_fill_the_window_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of many records each: one that sends such without waiting would fill the queue that all share."""
    monkeypatch.setattr(module, "WINDOW_COST", 5)

    async def act(world: World) -> None:
        talk, wire = world.begin()
        talk.receive(login(IMEI))
        world.store.answers.clear()
        talk.receive(frame(4))
        assert talk.pauses == NO_PAUSE
        talk.receive(frame(4))
        assert talk.pauses == Pause.QUEUE
        talk.resume_reading()
        assert talk.pauses == Pause.QUEUE
        world.store.answers.set()
        await world.pipeline.drain()
        assert talk.pauses == NO_PAUSE
        assert wire.asked == ["pause", "resume"]
        talk.receive(frame(4))
        assert talk.pauses == NO_PAUSE, "what is answered counts no more"

    converse(tmp_path, act)


def test_the_newest_conversation_of_a_terminal_ends_the_one_before(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        older, its = world.begin()
        older.receive(login(IMEI))
        newer, _ = world.begin(address="192.0.2.2:4000")
        newer.receive(login(IMEI))
        assert its.asked == ["close"]
        older.lost(None)
        assert world.shared.speaker(IMEI) is newer
        assert world.shared.count() == 1

    converse(tmp_path, act)


def test_nothing_is_acknowledged_where_nothing_is_kept(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        talk, wire = world.begin()
        talk.receive(login(IMEI))
        world.store.up = False

        async def full(*_: object) -> None:
            raise OSError(28, "no space")

        world.spool.append = full  # type: ignore[method-assign,assignment]
        talk.receive(frame(2))
        await world.pipeline.drain()
        assert wire.sent == b"\x01"
        assert wire.asked[-1] == "abort"

    converse(tmp_path, act)


@pytest.mark.parametrize(("processes", "share"), [(1, 6), (4, 2)])
def test_while_the_store_is_away_new_terminals_are_limited_too(tmp_path: Path, processes: int, share: int) -> None:
    async def act(world: World) -> None:
        world.store.up = False
        world.pipeline.keeper.store_up = False
        came = []
        for n in range(share + 2):
            talk, wire = world.begin()
            talk.receive(login(f"86000000000000{n}"))
            came.append(wire)
        assert [wire.sent for wire in came] == [b"\x01"] * share + [b""] * 2
        assert [wire.asked for wire in came] == [[]] * share + [["close"]] * 2
        assert world.metrics.refused["registration_rate"] == 2
        again, wire = world.begin()
        again.receive(login("860000000000000"))
        assert (wire.sent, again.row) == (b"\x01", PENDING)  # it was granted
        known, wire = world.begin()
        known.receive(login(IMEI))
        assert (wire.sent, known.row) == (b"\x01", 1)

    converse(tmp_path, act, processes, registrations_per_minute_per_address=6)
